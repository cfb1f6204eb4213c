/* See reconcile.h. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "pay/payouts.h"
#include "pay/reconcile.h"

#define BOOKS_DEADLINE_MS 120000 /* of what reads all of them: adding them up, and finding what is wrong */

/* x402 payments arrive at an address of their own. */
static enum err balances(const struct reconcile_with *w, uint64_t at, struct amount *ret)
{
	struct amount sum, more = AMOUNT_ZERO;
	enum err e = chain_token_balance(w->chain, &w->watch.token, &w->watch.treasury, at, &sum);

	if (!e && !address_is_zero(&w->pay_to))
		e = chain_token_balance(w->chain, &w->watch.token, &w->pay_to, at, &more);
	return e ? e : amount_add(sum, more, ret);
}

static struct amount missing(struct amount wanted, struct amount has)
{
	struct amount d = AMOUNT_ZERO;
	enum err e = amount_sub(wanted, amount_min(wanted, has), &d);

	return e ? AMOUNT_ZERO : d;
}

/* The contract's total lies between what the books had as paid before the block, and what was ever sent after it; the difference to the
 * former has left the treasury while the books still owe it. A payout that was lost or made twice is outside. */
static enum err payouts(const struct reconcile_with *w, struct db *db, uint64_t at, struct reconciliation *r)
{
	struct amount booked;
	struct payout_sums sums;
	enum err e;

	r->payouts_ok = true;
	r->leaving = AMOUNT_ZERO;
	if (address_is_zero(&w->payouts))
		return ERR_OK;
	e = payouts_total(w->chain, &w->payouts, at, &r->paid);
	if (!e)
		e = db_payouts_sums(db, &w->payouts, &sums);
	if (!e)
		e = amount_sub(r->books.paid_out, amount_min(r->books.paid_out, sums.elsewhere), &booked);
	if (e)
		return e;
	r->payouts_ok = amount_cmp(r->paid, booked) >= 0 && amount_cmp(r->paid, sums.most) <= 0;
	r->payouts_off = amount_cmp(r->paid, booked) < 0 ? missing(booked, r->paid) : missing(r->paid, sums.most);
	return r->payouts_ok ? amount_sub(r->paid, booked, &r->leaving) : ERR_OK;
}

/* The newest block, and not one from before what is booked: an endpoint may lag. */
static enum err head_read(const struct reconcile_with *w, struct db *db, uint64_t *ret)
{
	uint64_t booked = 0, head = 0;
	enum err e = db_audit_booked(db, &w->watch, &booked);

	if (!e)
		e = chain_head(w->chain, &head);
	if (!e && head < booked)
		e = ERR_NOT_FOUND;
	if (!e)
		*ret = head;
	return e;
}

/* All of one block, so that what leaves is seen once: in the treasury or in the contract's total. */
static enum err look_at_chain(const struct reconcile_with *w, struct db *db, struct reconciliation *r)
{
	struct amount covered, there, explained;
	uint64_t head = 0;
	enum err e = head_read(w, db, &head);

	if (!e)
		e = balances(w, head, &r->on_chain);
	if (!e)
		e = payouts(w, db, head, r);
	if (!e)
		e = amount_add(r->on_chain, r->books.unsettled, &covered);
	if (!e)
		e = amount_add(covered, r->leaving, &covered);
	if (!e)
		e = amount_add(r->on_chain, r->leaving, &there);
	if (!e)
		e = amount_add(there, r->in_flight.unproven, &explained);
	if (e)
		return e;
	r->custody = amount_cmp(covered, r->books.liabilities) >= 0 ? CUSTODY_OK : CUSTODY_SHORT;
	r->below_ledger = amount_cmp(explained, r->books.custody) < 0;
	r->uncovered = missing(r->books.liabilities, covered);
	r->below = missing(r->books.custody, there); /* what is in flight is there, too, as a rule: so this is what stays */
	r->has_gas = !address_is_zero(&w->gas_payer) && chain_native_balance(w->chain, &w->gas_payer, UINT64_MAX, &r->gas) == ERR_OK;
	return ERR_OK;
}

static bool payouts_hold(const struct reconciliation *r)
{
	return r->custody == CUSTODY_UNKNOWN || r->payouts_ok;
}

static bool chain_holds(const struct reconciliation *r)
{
	return r->custody == CUSTODY_OK && !r->below_ledger && payouts_hold(r);
}

/* What is missing must be missing twice: a block that is mined or replaced between two questions about it makes two blocks of one, and that
 * would stop everything. */
static void look_at_chain_twice(const struct reconcile_with *w, struct db *db, struct reconciliation *r)
{
	enum err e = look_at_chain(w, db, r);

	if (!e && !chain_holds(r))
		e = look_at_chain(w, db, r);
	if (!e)
		return;
	r->custody = CUSTODY_UNKNOWN;
	r->below_ledger = false;
}

static void add_found(json_t *found, const char *kind, struct amount missing, char *detail)
{
	json_array_append_new(found, json_must(json_pack("{s:s, s:s, s:s, s:s}", "kind", kind, "subject", "custody", "missing", amount_format(missing).s, "detail", detail)));
}

/* Writes down what does not hold, or that it holds again. */
static enum err report(const struct reconciliation *r, struct db *db)
{
	static const char *const kinds[] = { "ledger_sum", "balance", "hold", "capture", "custody_short", "custody_below_ledger", "payouts_differ" };
	_cleanup_json_ json_t *found = json_must(json_array());
	bool books = r->ledger_ok && r->balances_ok && r->holds_ok && r->captures_ok;
	enum err e = ERR_OK;

	if (!books) {
		int64_t usual = db_deadline_set(db, BOOKS_DEADLINE_MS);

		json_decref(found);
		found = NULL;
		e = db_books_first_wrong(db, &found);
		db_deadline_set(db, usual);
		if (e)
			return e;
	}
	if (r->custody == CUSTODY_SHORT) {
		_cleanup_free_ char *words = xasprintf("%s on chain and %s unsettled do not cover %s owed", amount_format(r->on_chain).s, amount_format(r->books.unsettled).s,
						       amount_format(r->books.liabilities).s);
		add_found(found, "custody_short", r->uncovered, words);
	}
	if (r->below_ledger) {
		_cleanup_free_ char *words = xasprintf("%s on chain, %s by the ledger; %s in flight does not explain it", amount_format(r->on_chain).s,
						       amount_format(r->books.custody).s, amount_format(r->in_flight.unproven).s);
		add_found(found, "custody_below_ledger", r->below, words);
	}
	if (!payouts_hold(r)) {
		_cleanup_free_ char *words = xasprintf("the Payouts contract has paid %s, which is not between what is booked and what was sent", amount_format(r->paid).s);
		add_found(found, "payouts_differ", r->payouts_off, words);
	}
	return db_mismatch_report(db, kinds, r->custody == CUSTODY_UNKNOWN ? 4 : 7, found);
}

/* They may take long; and should we not wait for them, the server notices and stops. */
static enum err read_books(struct db *db, struct reconciliation *r)
{
	enum err e = db_exec(db, "SELECT set_config('client_connection_check_interval', '1000', false)", NULL, NULL);
	int64_t from = clock_mono_ms(), usual;

	if (e == ERR_DB_DOWN) /* a server that cannot notice adds them up all the same */
		return e;
	usual = db_deadline_set(db, BOOKS_DEADLINE_MS);
	e = db_books(db, &r->books);
	db_deadline_set(db, usual);
	r->books_ms = clock_mono_ms() - from;
	return e;
}

static enum err read_all(const struct reconcile_with *w, struct db *db, struct reconciliation *r)
{
	int64_t of_books = 0;
	enum err e = read_books(db, r);

	if (!e)
		e = db_in_flight(db, &w->payouts, &r->in_flight);
	if (!e)
		e = db_deposit_sums(db, &r->deposits);
	if (!e)
		e = db_audit_at(db, &w->watch, &r->audited);
	if (!e)
		e = db_mismatches(db, &r->stopping, &of_books, &r->mismatches);
	if (e)
		return e;
	r->ledger_ok = !strcmp(r->books.ledger_sum, "0");
	r->balances_ok = r->books.wrong_balances == 0;
	r->holds_ok = r->books.wrong_holds == 0;
	r->captures_ok = r->books.wrong_captures == 0;
	/* The books were read first, and the chain is asked about no earlier block than theirs: what arrives in between can only make custody larger. */
	look_at_chain_twice(w, db, r);
	if (of_books == 0 && r->ledger_ok && r->balances_ok && r->holds_ok && r->captures_ok && r->custody != CUSTODY_SHORT && !r->below_ledger && payouts_hold(r))
		return ERR_OK;
	e = report(r, db);
	json_decref(r->mismatches);
	r->mismatches = NULL;
	return e ? e : db_mismatches(db, &r->stopping, &of_books, &r->mismatches);
}

enum err reconcile(struct pay *pay, struct db *db, const struct reconcile_with *with, struct reconciliation *ret)
{
	struct reconciliation r = { .checked_at = clock_wall_ms(), .custody = CUSTODY_UNKNOWN };
	enum err e = read_all(with, db, &r);

	if (e) {
		reconciliation_done(&r);
		return e;
	}
	r.ok = r.ledger_ok && r.balances_ok && r.holds_ok && r.captures_ok && r.custody != CUSTODY_SHORT && payouts_hold(&r) && r.stopping == 0;
	atomic_store(&pay->stopped, !r.ok);
	metric_set(METRIC_RECONCILED, r.ok);
	metric_set(METRIC_MISMATCHES, r.stopping);
	metric_set(METRIC_DEPOSITS_HELD, r.deposits.held);
	metric_set(METRIC_DEPOSITS_REVERSED, r.deposits.reversed);
	*ret = r;
	return ERR_OK;
}

void reconciliation_done(struct reconciliation *r)
{
	json_decref(r->mismatches);
	r->mismatches = NULL;
}

/* On chain less the ledger, signed. */
static json_t *difference_json(const struct reconciliation *r)
{
	bool less = amount_cmp(r->on_chain, r->books.custody) < 0;
	struct amount d = AMOUNT_ZERO;
	enum err e = less ? amount_sub(r->books.custody, r->on_chain, &d) : amount_sub(r->on_chain, r->books.custody, &d);
	_cleanup_free_ char *text = xasprintf("%s%s", less ? "-" : "", amount_format(d).s);

	return e ? json_null() : json_must(json_string(text));
}

static json_t *endpoints_json(const struct reconcile_with *w)
{
	const struct chain_pair *worse = atomic_load(&w->auditor->state) > atomic_load(&w->watcher->state) ? w->auditor : w->watcher;
	int state = atomic_load(&worse->state);

	return json_must(json_pack("{s:i, s:s, s:o}", "count", w->watcher->second ? 2 : 1, "state", chain_pair_state_name((enum pair_state)state), "block",
				   state == PAIR_AGREE ? json_null() : json_integer((json_int_t)atomic_load(&worse->block))));
}

json_t *reconciliation_json(const struct reconcile_with *with, const struct reconciliation *r)
{
	bool known = r->custody != CUSTODY_UNKNOWN;
	json_t *custody = json_must(json_pack("{s:o, s:s, s:s, s:o, s:s, s:o, s:o}", "on_chain", known ? json_string(amount_format(r->on_chain).s) : json_null(), "ledger",
					      amount_format(r->books.custody).s, "unsettled", amount_format(r->books.unsettled).s, "leaving", known ? json_string(amount_format(r->leaving).s) : json_null(), "liabilities",
					      amount_format(r->books.liabilities).s, "difference",
					      known ? difference_json(r) : json_null(), "ok", known ? json_boolean(r->custody == CUSTODY_OK) : json_null()));
	json_t *in_flight = json_must(json_pack("{s:I, s:I, s:I, s:s, s:s}", "transactions_signed", (json_int_t)r->in_flight.signed_, "transactions_mined",
						(json_int_t)r->in_flight.mined, "payments", (json_int_t)r->in_flight.settling, "amount",
						amount_format(r->in_flight.settling_amount).s, "unproven", amount_format(r->in_flight.unproven).s));
	json_t *deposits = json_must(json_pack("{s:s, s:I, s:s, s:I, s:s}", "unconfirmed", amount_format(r->deposits.seen_amount).s, "held", (json_int_t)r->deposits.held,
					       "held_amount", amount_format(r->deposits.held_amount).s, "reversed", (json_int_t)r->deposits.reversed, "reversal_loss",
					       amount_format(r->deposits.shortfall).s));
	json_t *body = json_must(json_pack("{s:b, s:s, s:b, s:b, s:b, s:o, s:o, s:o, s:b, s:s}", "ok", r->ok, "ledger_sum", r->books.ledger_sum, "balances_ok", r->balances_ok,
					   "holds_ok", r->holds_ok, "captures_ok", r->captures_ok, "custody_ok", known ? json_boolean(r->custody == CUSTODY_OK) : json_null(), "payouts_ok", known ? json_boolean(r->payouts_ok) : json_null(),
					   "custody", custody, "settlements_stopped", r->stopping > 0, "checked_at", time_format_rfc3339(r->checked_at).s));

	json_object_set_new(body, "in_flight", in_flight);
	json_object_set_new(body, "deposits", deposits);
	json_object_set_new(body, "endpoints", endpoints_json(with));
	json_object_set_new(body, "compared_block", json_integer((json_int_t)r->audited));
	json_object_set_new(body, "gas", r->has_gas ? json_must(json_pack("{s:s, s:s}", "address", address_format(&with->gas_payer).s, "balance", amount_format(r->gas).s)) : json_null());
	json_object_set(body, "mismatches", r->mismatches);
	return body;
}
