/* What we settle for others, and to whom: registered payees, and one row for each authorization, which the settler takes as it takes
 * a payment (payments.h). No ledger: the money goes from payer to payee. */
#ifndef OPGATE_DB_FACILITATIONS_H
#define OPGATE_DB_FACILITATIONS_H

#include "db/db.h"

/* ---- payees ---- */
#define PAYEES_MAX 100 /* of one account */
/* `proven_at` (ms): when the address agreed to be registered by this account. ERR_CONFLICT: a newer word of it stands for another
 * account. ERR_LIMIT: the account has PAYEES_MAX. */
enum err db_payee_register(struct db *db, const struct address *payee, int64_t account, int64_t proven_at) WARN_UNUSED;
enum err db_payee_delete(struct db *db, const struct address *payee, int64_t account) WARN_UNUSED; /* ERR_NOT_FOUND */
enum err db_payee_known(struct db *db, const struct address *payee, bool *ret) WARN_UNUSED;
/* May who asks (0: nobody known) say what is taken for it? Once the account that registered it has asked, nobody else may. */
enum err db_payee_asks(struct db *db, const struct address *payee, int64_t account, bool *ret) WARN_UNUSED;
/* Of one account: [{address, registered_at, gas_today}], at most PAYEES_MAX. */
enum err db_payees_list(struct db *db, int64_t account, json_t **ret) WARN_UNUSED;

/* ---- settlements ---- */
struct authorization_key { /* what an authorization is known by */
	uint64_t chain_id;
	struct address verifier, payer; /* verifier: the token or Permit2 */
	struct hash nonce;
};
/* Did anybody bring it before, for us or for somebody else? */
enum err db_authorization_known(struct db *db, const struct authorization_key *key, bool *ret) WARN_UNUSED;

struct facilitation {
	struct uuid id;
	int version; /* of the protocol */
	struct authorization_key key;
	struct address payee;
	struct hash request_digest;
	const char *scheme, *method;
	struct amount amount_max, amount; /* amount 0: settled at once, there is nothing to take */
	json_t *payload;                  /* borrowed */
	uint64_t block;                   /* one not after now */
	struct amount gas, gas_payee_max, gas_all_max; /* wei: what it can cost at most, and the budgets of the day */
};
/* One transaction: gas is set aside and the row written; then the settler finds it. ERR_CONFLICT: the authorization is known.
 * ERR_NOT_FOUND: the payee is not registered. ERR_LIMIT: the gas budget does not allow it. */
enum err db_facilitation_claim(struct db *db, const struct facilitation *f) WARN_UNUSED;

struct facilitation_row {
	struct db_result *r;
	struct uuid id;
	int version;
	struct address payer, payee;
	struct hash request_digest;
	const char *state, *scheme, *method, *reason; /* reason: NULL unless failed */
	struct amount amount_max, amount;
	bool has_tx_hash, has_sent, told;
	struct hash tx_hash; /* of the transaction that moved the money */
	struct hash sent;    /* of the newest form of ours */
	int64_t created_at, updated_at; /* ms */
};
void db_facilitation_row_done(struct facilitation_row *f);
#define _cleanup_facilitation_row_ __attribute__((cleanup(db_facilitation_row_done)))
enum err db_facilitation_get(struct db *db, const struct uuid *id, struct facilitation_row *ret) WARN_UNUSED;
/* May a call without a key of its own be told that it is settled? The first may. */
enum err db_facilitation_tell(struct db *db, const struct uuid *id, bool *ret_first) WARN_UNUSED;
enum err db_facilitation_find(struct db *db, const struct authorization_key *key, struct facilitation_row *ret) WARN_UNUSED; /* ERR_NOT_FOUND */

#endif
