/* Accounts and sign-in nonces. Called by handlers/auth.c, handlers/accounts.c and handlers/guard.c. Every function is one
 * statement, or two that are each safe alone; no locks of its own. */
#ifndef OPGATE_DB_ACCOUNTS_H
#define OPGATE_DB_ACCOUNTS_H

#include "db/db.h"

#define HANDLE_MAX 39

struct account_row {
	int64_t id;
	struct address address;
	char handle[HANDLE_MAX + 1]; /* "" until one is chosen */
	int64_t created_at;          /* wall ms */
};

/* The account of an address, made when new. */
/* Somebody has proven to hold this address: as ensure, and remembered. */
enum err db_account_signed_in(struct db *db, const struct address *address, struct account_row *ret) WARN_UNUSED;
enum err db_account_ensure(struct db *db, const struct address *address, struct account_row *ret) WARN_UNUSED;
enum err db_account_get(struct db *db, int64_t id, struct account_row *ret) WARN_UNUSED; /* ERR_NOT_FOUND */
/* A handle is chosen once: it is half of model ids that others pin. ERR_CONFLICT: taken, or another one was chosen before. */
enum err db_account_set_handle(struct db *db, int64_t id, const char *handle, struct account_row *ret) WARN_UNUSED;

/* Stores a nonce for lifetime_ms and sweeps a few dead ones, so the table stays small without a sweeper. */
enum err db_siwe_nonce_add(struct db *db, const char *nonce, int64_t lifetime_ms, int64_t *ret_expires_at) WARN_UNUSED;
/* Deletes all of them; ret_live[i]: nonces[i] was stored, unused and not expired until now. */
enum err db_siwe_nonces_use(struct db *db, const char *const *nonces, size_t count, bool *ret_live) WARN_UNUSED;

#endif
