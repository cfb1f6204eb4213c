/* Deposits by signature whose gas we pay: the intent is a row before anything is signed or sent, and the row follows its transaction
 * (a trigger on settlement_tx). What arrives is the deposit watcher's business alone. */
#ifndef OPGATE_DB_SPONSORED_H
#define OPGATE_DB_SPONSORED_H

#include "db/payments.h"

struct sponsored_new {
	struct uuid id;
	uint64_t chain_id;
	int64_t account;
	struct address owner;
	const char *method; /* permit2 or permit */
	struct hash nonce;
	struct amount amount, gas_cost;
	int64_t valid_until; /* s */
	const void *call;
	size_t call_len;
	struct amount gas_account_max, gas_all_max; /* a day */
};
/* ERR_CONFLICT: this signature was given before. ERR_IN_PROGRESS: one of this account is under way. ERR_LIMIT: the day's gas is spent. */
enum err db_sponsored_open(struct db *db, const struct sponsored_new *d) WARN_UNUSED;
enum err db_sponsored_get(struct db *db, int64_t account, const struct uuid *id, json_t **ret) WARN_UNUSED; /* ERR_NOT_FOUND */

struct sponsored { /* to be sent */
	struct uuid id;
	int64_t valid_until;
	char *call; /* free it */
	size_t call_len;
};
enum err db_sponsored_next(struct db *db, uint64_t chain_id, struct sponsored *ret) WARN_UNUSED; /* ERR_NOT_FOUND */
/* Writes the signed transaction and ties the deposit to it, in one transaction. ERR_CONFLICT: the nonce is taken, or it is not queued. */
enum err db_sponsored_write(struct db *db, const struct uuid *id, const struct signed_tx *tx) WARN_UNUSED;
enum err db_sponsored_fail(struct db *db, const struct uuid *id, const char *reason) WARN_UNUSED;

#endif
