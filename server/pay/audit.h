/* The auditor: one thread that compares the chain's own logs with the books, block by block behind the deposit watcher, where blocks
 * are final. Each Transfer to the treasury must be a deposit, each settlement of our Settler a payment, each transfer out a payout; and
 * each confirmed deposit and settled payment must have its log. What does not agree is a row of the table mismatch, which stops
 * settlements and payouts (settlement_stopped) until it is gone or an operator resolves it. It may run in every gateway. */
#ifndef OPGATE_PAY_AUDIT_H
#define OPGATE_PAY_AUDIT_H

#include "chain/pair.h"
#include "db/audit.h"
#include "pay/deposits.h"

/* What one thread remembers between turns; begins as zeros. */
struct audit_memory {
	bool doubt;          /* something did not agree: it counts when it does not a second time, a turn later */
	struct hash missing; /* the same for rows without logs: what was missed the last time */
};

struct audit_config {
	struct chain_pair *pair; /* of its own */
	const char *database_url;
	struct watch watch;
	struct address pay_to, settler; /* zero: none */
	const struct address *own; /* as in deposits_config */
	size_t own_count;
	uint64_t from_block, confirmations;
	int64_t poll_ms;
	atomic_bool *stopped; /* set while settlement_stopped says so */
	struct audit_memory *memory;
	void (*log)(const char *event, int64_t number, const char *detail);
};

struct turns *audit_start(const struct audit_config *config);
/* One step, for tests. *ret_more: there are more blocks to compare. */
enum err audit_step(const struct audit_config *c, struct db *db, bool *ret_more) WARN_UNUSED;

json_t *audit_scope(const struct watch *w, const struct address *pay_to, const struct address *own, size_t own_count);
json_t *audit_movement_json(const struct chain_movement *m);

#endif
