/* Reading the books: balances, movements, and the sums that must hold. Writing is the lane's and the deposits' business. */
#ifndef OPGATE_DB_LEDGER_H
#define OPGATE_DB_LEDGER_H

#include "db/db.h"

struct balance {
	struct amount available, held, author, operator_;
};
enum err db_balance(struct db *db, int64_t account, struct balance *ret) WARN_UNUSED;

/* Movements of one account, newest first, as GET /v1/transfers answers; after = 0 starts at the newest. */
enum err db_transfers(struct db *db, int64_t account, int64_t after, int limit, json_t **ret) WARN_UNUSED;

/* All sums of one snapshot. */
struct books {
	char ledger_sum[84];      /* must be "0" */
	int64_t wrong_balances;   /* guarded accounts whose balance differs from the sum of their entries: must be 0 */
	int64_t wrong_holds;      /* accounts whose held balance differs from the sum of their open holds: must be 0 */
	int64_t wrong_captures;   /* jobs whose books differ from their row (charged, split): must be 0 */
	struct amount liabilities; /* what we owe to others: all but custody and our own fee and loss */
	struct amount unsettled;   /* x402: accepted and not on chain yet; counts towards custody */
	struct amount paid_out;    /* payouts that are booked as paid */
	struct amount custody;     /* what the ledger says the treasury holds */
};
enum err db_books(struct db *db, struct books *ret) WARN_UNUSED;
enum err db_fold(struct db *db) WARN_UNUSED;

#endif
