/* What the deposit watcher writes: blocks looked at, deposits seen, credited, taken back. The cursor moves by compare-and-set in the
 * transaction that writes what was found, so several watchers cannot count anything twice. */
#ifndef OPGATE_DB_DEPOSITS_H
#define OPGATE_DB_DEPOSITS_H

#include "db/db.h"

struct watch { /* what is watched */
	int64_t chain_id;
	struct address token, treasury;
};

/* Who the sender of a Transfer is, as the chain shows it. */
enum deposit_sender {
	DEPOSIT_FROM_KEY,      /* an address with a key: its own account is credited */
	DEPOSIT_FROM_CONTRACT, /* credited when somebody signed in or paid as this address before, held otherwise */
	DEPOSIT_FROM_NOBODY,   /* a mint: held */
	DEPOSIT_FROM_US,       /* pay_to, or a contract of ours: our own money moved, no deposit */
};
struct deposit_seen {
	struct hash tx;
	uint32_t ordinal;
	struct address from;
	enum deposit_sender sender;
	struct amount amount;
};

/* Its three parameters, and a question with them that is answered by one `number`; for those who follow a chain. */
void db_watch_push(struct db_params *p, const struct watch *w);
enum err db_watch_number(struct db *db, const char *sql, const struct watch *w, uint64_t *ret) WARN_UNUSED;

/* The last block looked at and its hash; makes the cursor at `start` when there is none. has_hash false: none remembered. */
enum err db_watch_cursor(struct db *db, const struct watch *w, uint64_t start, uint64_t *ret_number, struct hash *ret_hash, bool *ret_has_hash) WARN_UNUSED;
/* The last block looked at; 0 when there is no cursor. Writes nothing. */
enum err db_watch_at(struct db *db, const struct watch *w, uint64_t *ret) WARN_UNUSED;
/* Hash remembered for a block. ERR_NOT_FOUND. */
enum err db_watch_block(struct db *db, const struct watch *w, uint64_t number, struct hash *ret) WARN_UNUSED;
#define DB_WATCH_KEEPS 1024 /* hashes remembered behind the cursor: how deep a reorganisation is followed */
/* The blocks behind the cursor (which must stand at `from`) up to `number` were looked at; these deposits are of the last one. Stores it and
 * them, credits what has `confirmations` now (its own block included), forgets hashes too old to matter. ERR_CONFLICT: another watcher
 * was first. */
enum err db_watch_advance(struct db *db, const struct watch *w, uint64_t from, uint64_t number, const struct hash *hash, const struct deposit_seen *seen, size_t count,
			  uint64_t confirmations, int64_t *ret_credited) WARN_UNUSED;
/* The chain changed its mind from block `number` on: takes back what was in those blocks; the cursor goes to number - 1. */
enum err db_watch_rewind(struct db *db, const struct watch *w, uint64_t cursor_now, uint64_t number) WARN_UNUSED;

/* Held deposits, oldest first, of one sender or (NULL) of all, as GET /v1/deposits/held answers. */
enum err db_deposits_held(struct db *db, const struct address *sender, int64_t after, int limit, json_t **ret) WARN_UNUSED;

struct deposit_row { /* what a claim is about */
	struct address token, treasury, sender;
	struct hash tx;
	uint32_t ordinal;
};
enum err db_deposit_get(struct db *db, int64_t id, struct deposit_row *ret) WARN_UNUSED; /* ERR_NOT_FOUND */
/* Credits a held deposit to the account of `claimant`; again with the same one is well. ERR_CONFLICT: not held, or given to another. */
enum err db_deposit_claim(struct db *db, int64_t id, const struct address *claimant) WARN_UNUSED;

struct deposit_sums {
	int64_t held, reversed;      /* how many there are */
	struct amount held_amount;
	struct amount seen_amount;   /* on chain, not credited yet */
	struct amount shortfall;     /* of reversed ones: booked as our loss */
};
enum err db_deposit_sums(struct db *db, struct deposit_sums *ret) WARN_UNUSED;

enum err db_deposits_list(struct db *db, int64_t account, int64_t after, int limit, json_t **ret) WARN_UNUSED;

#endif
