/* Budgets for gas that we spend for others: per UTC day and purpose, for each address and for all together. Amounts are wei of the
 * chain's coin, not OPG. Reserve the most it can cost before anything is sent; settle when the cost is known. What is never settled
 * (a crash in between) stays counted, which is the safe side. */
#ifndef OPGATE_DB_GAS_H
#define OPGATE_DB_GAS_H

#include "db/db.h"

/* Sets `wei` aside under `id`, chosen by the caller: the same id again is the same reservation. ERR_LIMIT: refused, it would pass
 * `subject_max` for this address or `all_max` for the purpose today. ERR_CONFLICT: the id was used for something else. */
enum err db_gas_reserve(struct db *db, const struct uuid *id, const char *purpose, const struct address *subject, struct amount wei,
			struct amount subject_max, struct amount all_max) WARN_UNUSED;
/* What it cost, 0 when it was never sent; the first word stands. ERR_NOT_FOUND: no such reservation. */
enum err db_gas_settle(struct db *db, const struct uuid *id, struct amount used) WARN_UNUSED;

#endif
