/* See reconcile.h. */
#include <string.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "pay/reconcile.h"

/* x402 payments arrive at an address of their own. */
static enum err add_paid(struct chain *chain, const struct address *token, const struct address *pay_to, struct amount *sum)
{
	struct amount more = AMOUNT_ZERO;
	enum err e = address_is_zero(pay_to) ? ERR_OK : chain_token_balance(chain, token, pay_to, UINT64_MAX, &more);

	return e ? e : amount_add(*sum, more, sum);
}

enum err reconcile(struct pay *pay, struct db *db, struct chain *chain, const struct address *token, const struct address *treasury,
		   const struct address *pay_to, struct reconciliation *ret)
{
	struct reconciliation r = { .checked_at = clock_wall_ms() };
	struct amount covered;
	enum err e = db_books(db, &r.books);

	if (e)
		return e;
	r.ledger_ok = !strcmp(r.books.ledger_sum, "0");
	r.balances_ok = r.books.wrong_balances == 0;
	r.holds_ok = r.books.wrong_holds == 0;
	r.captures_ok = r.books.wrong_captures == 0;
	/* The books were read first: what arrives on chain in between can only make custody larger. */
	r.custody = CUSTODY_UNKNOWN;
	if (chain_token_balance(chain, token, treasury, UINT64_MAX, &r.on_chain) == ERR_OK && add_paid(chain, token, pay_to, &r.on_chain) == ERR_OK &&
	    amount_add(r.on_chain, r.books.unsettled, &covered) == ERR_OK)
		r.custody = amount_cmp(covered, r.books.liabilities) >= 0 ? CUSTODY_OK : CUSTODY_SHORT;
	r.ok = r.ledger_ok && r.balances_ok && r.holds_ok && r.captures_ok && r.custody != CUSTODY_SHORT;
	atomic_store(&pay->stopped, !r.ok);
	metric_set(METRIC_RECONCILED, r.ok);
	*ret = r;
	return ERR_OK;
}

json_t *reconciliation_json(const struct reconciliation *r)
{
	bool known = r->custody != CUSTODY_UNKNOWN;
	json_t *custody = json_must(json_pack("{s:o, s:s, s:s, s:s, s:o}", "on_chain", known ? json_string(amount_format(r->on_chain).s) : json_null(), "ledger",
					      amount_format(r->books.custody).s, "unsettled", amount_format(r->books.unsettled).s, "liabilities", amount_format(r->books.liabilities).s, "ok",
					      known ? json_boolean(r->custody == CUSTODY_OK) : json_null()));

	return json_must(json_pack("{s:b, s:s, s:b, s:b, s:b, s:o, s:o, s:s}", "ok", r->ok, "ledger_sum", r->books.ledger_sum, "balances_ok", r->balances_ok,
				   "holds_ok", r->holds_ok, "captures_ok", r->captures_ok, "custody_ok",
				   known ? json_boolean(r->custody == CUSTODY_OK) : json_null(), "custody", custody, "checked_at",
				   time_format_rfc3339(r->checked_at).s));
}
