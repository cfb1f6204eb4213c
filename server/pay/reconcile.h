/* Do the books hold, and does the treasury cover them? Three-valued where the chain is concerned: an endpoint that does not answer
 * makes custody unknown, never wrong. Broken books stop new paid work (pay->stopped) until they hold again. */
#ifndef OPGATE_PAY_RECONCILE_H
#define OPGATE_PAY_RECONCILE_H

#include "chain/chain.h"
#include "db/ledger.h"
#include "pay/pay.h"

enum custody { CUSTODY_OK, CUSTODY_SHORT, CUSTODY_UNKNOWN };

struct reconcile_with { /* the chain's side */
	struct chain *chain;
	struct address token, treasury;
	struct address pay_to, payouts; /* zero: none */
};

struct reconciliation {
	struct books books;
	bool balances_ok, holds_ok, captures_ok, ledger_ok;
	enum custody custody;
	struct amount on_chain; /* unless unknown */
	struct amount leaving;  /* likewise: paid out by the contract, not booked yet; still owed by the books, gone from the treasury */
	bool payouts_ok;        /* likewise: the contract paid no less than is booked, and no more than was sent */
	bool ok;                /* everything known holds, custody not short */
	int64_t checked_at;     /* wall ms */
};

enum err reconcile(struct pay *pay, struct db *db, const struct reconcile_with *with, struct reconciliation *ret) WARN_UNUSED;
json_t *reconciliation_json(const struct reconciliation *r);

#endif
