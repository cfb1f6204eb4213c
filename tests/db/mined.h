/* A settling transaction that was mined, for tests that do not look at what ended with it. */
#ifndef OPGATE_TESTS_DB_MINED_H
#define OPGATE_TESTS_DB_MINED_H

#include "db/payments.h"
#include "tests/db/pg.h"

static enum err settlement_mined(int64_t tx, bool succeeded, const struct hash *hash, uint64_t cost, struct arrival *arrived, size_t count)
{
	const struct mined_tx mined = { .succeeded = succeeded, .block_number = 9, .block = { { 0xb1 } }, .hash = *hash, .cost = amount_from_u64(cost) };

	return db_settlement_mined(pg, tx, &mined, arrived, count);
}

#endif
