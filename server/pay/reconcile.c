/* See reconcile.h. */
#include <string.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "pay/payouts.h"
#include "pay/reconcile.h"

/* x402 payments arrive at an address of their own. */
static enum err balances(const struct reconcile_with *w, uint64_t at, struct amount *ret)
{
	struct amount sum, more = AMOUNT_ZERO;
	enum err e = chain_token_balance(w->chain, &w->token, &w->treasury, at, &sum);

	if (!e && !address_is_zero(&w->pay_to))
		e = chain_token_balance(w->chain, &w->token, &w->pay_to, at, &more);
	return e ? e : amount_add(sum, more, ret);
}

/* The contract's total lies between what the books had as paid before the block, and what was ever sent after it; the difference to the
 * former has left the treasury while the books still owe it. A payout that was lost or made twice is outside. */
static enum err payouts(const struct reconcile_with *w, struct db *db, uint64_t at, struct reconciliation *r)
{
	struct amount total, booked;
	struct payout_sums sums;
	enum err e;

	r->payouts_ok = true;
	r->leaving = AMOUNT_ZERO;
	if (address_is_zero(&w->payouts))
		return ERR_OK;
	e = payouts_total(w->chain, &w->payouts, at, &total);
	if (!e)
		e = db_payouts_sums(db, &w->payouts, &sums);
	if (!e)
		e = amount_sub(r->books.paid_out, amount_min(r->books.paid_out, sums.elsewhere), &booked);
	if (e)
		return e;
	r->payouts_ok = amount_cmp(total, booked) >= 0 && amount_cmp(total, sums.most) <= 0;
	return r->payouts_ok ? amount_sub(total, booked, &r->leaving) : ERR_OK;
}

/* All of one block, so that what leaves is seen once: in the treasury or in the contract's total. */
static enum err look_at_chain(const struct reconcile_with *w, struct db *db, struct reconciliation *r)
{
	struct amount covered;
	uint64_t head = 0;
	enum err e = chain_head(w->chain, &head);

	if (!e)
		e = balances(w, head, &r->on_chain);
	if (!e)
		e = payouts(w, db, head, r);
	if (!e)
		e = amount_add(r->on_chain, r->books.unsettled, &covered);
	if (!e)
		e = amount_add(covered, r->leaving, &covered);
	if (!e)
		r->custody = amount_cmp(covered, r->books.liabilities) >= 0 ? CUSTODY_OK : CUSTODY_SHORT;
	return e;
}

enum err reconcile(struct pay *pay, struct db *db, const struct reconcile_with *with, struct reconciliation *ret)
{
	struct reconciliation r = { .checked_at = clock_wall_ms(), .custody = CUSTODY_UNKNOWN };
	enum err e = db_books(db, &r.books);

	if (e)
		return e;
	r.ledger_ok = !strcmp(r.books.ledger_sum, "0");
	r.balances_ok = r.books.wrong_balances == 0;
	r.holds_ok = r.books.wrong_holds == 0;
	r.captures_ok = r.books.wrong_captures == 0;
	/* The books were read first: what arrives on chain in between can only make custody larger. */
	if (look_at_chain(with, db, &r))
		r.custody = CUSTODY_UNKNOWN;
	r.ok = r.ledger_ok && r.balances_ok && r.holds_ok && r.captures_ok && (r.custody == CUSTODY_UNKNOWN || (r.custody == CUSTODY_OK && r.payouts_ok));
	atomic_store(&pay->stopped, !r.ok);
	metric_set(METRIC_RECONCILED, r.ok);
	*ret = r;
	return ERR_OK;
}

json_t *reconciliation_json(const struct reconciliation *r)
{
	bool known = r->custody != CUSTODY_UNKNOWN;
	json_t *custody = json_must(json_pack("{s:o, s:s, s:s, s:o, s:s, s:o}", "on_chain", known ? json_string(amount_format(r->on_chain).s) : json_null(), "ledger",
					      amount_format(r->books.custody).s, "unsettled", amount_format(r->books.unsettled).s, "leaving",
					      known ? json_string(amount_format(r->leaving).s) : json_null(), "liabilities", amount_format(r->books.liabilities).s, "ok",
					      known ? json_boolean(r->custody == CUSTODY_OK) : json_null()));

	return json_must(json_pack("{s:b, s:s, s:b, s:b, s:b, s:o, s:o, s:o, s:s}", "ok", r->ok, "ledger_sum", r->books.ledger_sum, "balances_ok", r->balances_ok,
				   "holds_ok", r->holds_ok, "captures_ok", r->captures_ok, "custody_ok",
				   known ? json_boolean(r->custody == CUSTODY_OK) : json_null(), "payouts_ok", known ? json_boolean(r->payouts_ok) : json_null(),
				   "custody", custody, "checked_at",
				   time_format_rfc3339(r->checked_at).s));
}
