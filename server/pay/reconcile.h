/* Do the books hold, does the treasury cover them, and do they agree with the chain's own logs (audit.h)? Three-valued where the chain
 * is concerned: an endpoint that does not answer makes custody unknown, never wrong. What does not hold stops new paid work
 * (pay->stopped), and settlements and payouts (settlement_stopped), until it holds again or an operator resolves it; where it first
 * appeared is kept in the table mismatch. */
#ifndef OPGATE_PAY_RECONCILE_H
#define OPGATE_PAY_RECONCILE_H

#include "chain/pair.h"
#include "db/audit.h"
#include "db/ledger.h"
#include "pay/pay.h"

enum custody { CUSTODY_OK, CUSTODY_SHORT, CUSTODY_UNKNOWN };

struct reconcile_with { /* the chain's side */
	struct chain *chain;
	struct chain_pair *watcher, *auditor; /* whose state is shown */
	struct watch watch;
	struct address pay_to, payouts, gas_payer; /* zero: none */
};

struct reconciliation {
	struct books books;
	struct in_flight in_flight;
	struct deposit_sums deposits;
	bool balances_ok, holds_ok, captures_ok, ledger_ok;
	enum custody custody;
	bool below_ledger;      /* less on chain than booked, and what is in flight does not explain it */
	struct amount on_chain; /* unless unknown */
	struct amount leaving;  /* likewise: paid out by the contract, not booked yet; still owed by the books, gone from the treasury */
	bool payouts_ok;        /* likewise: the contract paid no less than is booked, and no more than was sent */
	struct amount paid;     /* likewise: what it has paid; zero without a contract */
	struct amount uncovered, below, payouts_off; /* by how much custody is short, is less than booked, and payouts are off */
	bool has_gas;
	struct amount gas; /* wei the settling key has left */
	uint64_t audited;  /* newest block compared */
	json_t *mismatches;
	int64_t stopping; /* of them */
	bool ok;          /* everything known holds, custody not short, nothing open */
	int64_t checked_at; /* wall ms */
	int64_t books_ms;   /* how long adding them up took */
};
void reconciliation_done(struct reconciliation *r);

enum err reconcile(struct pay *pay, struct db *db, const struct reconcile_with *with, struct reconciliation *ret) WARN_UNUSED;
json_t *reconciliation_json(const struct reconcile_with *with, const struct reconciliation *r);

#endif
