/* API keys, and the nonces of signed node requests: what the guard asks. Called by handlers/guard.c and handlers/keys.c.
 * One statement each; no cache anywhere, so a revoked key is dead at once on every gateway. */
#ifndef OPGATE_DB_KEYS_H
#define OPGATE_DB_KEYS_H

#include "base/arena.h"
#include "db/db.h"

#define KEYS_LIVE_MAX 200 /* per account */

struct key_row {
	int64_t id;
	const char *name, *prefix;
	const char *scopes; /* separated by one space */
	int64_t created_at, expires_at, revoked_at; /* wall ms; 0: none */
};

/* Who a key acts for. ERR_NOT_FOUND: no such key, or revoked, or expired. */
struct key_holder {
	int64_t key, account;
	struct address address;
	char scopes[128];
};
enum err db_key_find(struct db *db, const struct hash *secret_hash, struct key_holder *ret) WARN_UNUSED;

struct key_new {
	int64_t account;
	const char *name, *prefix;
	struct hash secret_hash;
	const char *const *scopes;
	size_t scope_count;
	int64_t expires_at; /* wall ms; 0: never */
};
enum err db_key_create(struct db *db, struct arena *arena, const struct key_new *key, struct key_row *ret) WARN_UNUSED; /* ERR_LIMIT past KEYS_LIVE_MAX */
/* Newest first, ids below `before` (0: from the newest); at most max. */
enum err db_keys_list(struct db *db, struct arena *arena, int64_t account, int64_t before, size_t max, struct key_row **ret, size_t *ret_count) WARN_UNUSED;
enum err db_key_revoke(struct db *db, int64_t account, int64_t id) WARN_UNUSED; /* again is fine; ERR_NOT_FOUND for a foreign one */

/* Uses up a nonce of a registered, not banned node. ERR_CONFLICT: used before; ERR_FORBIDDEN: not registered, or banned. */
enum err db_node_nonce_use(struct db *db, const struct address *node, const struct hash *nonce) WARN_UNUSED;

#endif
