/* The deposit watcher: one thread that walks the chain block by block (far behind: from deposit to deposit) and credits OPG transfers to
 * the treasury. It may run in every gateway: the cursor in the database lets one of them win each block. */
#ifndef OPGATE_PAY_DEPOSITS_H
#define OPGATE_PAY_DEPOSITS_H

#include "chain/pair.h"
#include "db/deposits.h"
#include "pay/turns.h"

struct deposits_config {
	struct chain_pair *pair; /* only what both say is credited, or taken back */
	const char *database_url;
	struct watch watch;
	const struct address *own; /* pay_to, our contracts: what they send is no deposit */
	size_t own_count;
	uint64_t from_block; /* where a new watch begins; blocks before are never looked at */
	uint64_t confirmations;
	int64_t poll_ms;
	/* Rate-limited words for the log: credited deposits, reorganisations, trouble. */
	void (*log)(const char *event, int64_t number, const char *detail);
};

struct turns *deposits_start(const struct deposits_config *config);

/* One step, for tests: looks at the next block or notices a reorganisation. *ret_more: call again at once. */
enum err deposits_step(const struct deposits_config *config, struct db *db, bool *ret_more) WARN_UNUSED;

#endif
