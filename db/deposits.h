/* What the deposit watcher writes: blocks looked at, deposits seen, credited, taken back. The cursor moves by compare-and-set in the
 * transaction that writes what was found, so several watchers cannot count anything twice. */
#ifndef OPGATE_DB_DEPOSITS_H
#define OPGATE_DB_DEPOSITS_H

#include "db/db.h"

struct watch { /* what is watched */
	int64_t chain_id;
	struct address token, treasury;
};

struct deposit_seen {
	struct hash tx;
	uint32_t ordinal;
	struct address from;
	struct amount amount;
};

/* The last block looked at and its hash; makes the cursor at `start` when there is none. has_hash false: none remembered. */
enum err db_watch_cursor(struct db *db, const struct watch *w, uint64_t start, uint64_t *ret_number, struct hash *ret_hash, bool *ret_has_hash) WARN_UNUSED;
/* Hash remembered for a block. ERR_NOT_FOUND. */
enum err db_watch_block(struct db *db, const struct watch *w, uint64_t number, struct hash *ret) WARN_UNUSED;
/* Block `number` = cursor + 1 was looked at: stores it and its deposits, credits what has `confirmations` now (its own block
 * included), forgets hashes too old to matter. ERR_CONFLICT: another watcher was first. */
enum err db_watch_advance(struct db *db, const struct watch *w, uint64_t number, const struct hash *hash, const struct deposit_seen *seen, size_t count,
			  uint64_t confirmations, int64_t *ret_credited) WARN_UNUSED;
/* The chain changed its mind from block `number` on: takes back what was in those blocks; the cursor goes to number - 1. */
enum err db_watch_rewind(struct db *db, const struct watch *w, uint64_t cursor_now, uint64_t number) WARN_UNUSED;

enum err db_deposits_list(struct db *db, int64_t account, int64_t after, int limit, json_t **ret) WARN_UNUSED;

#endif
