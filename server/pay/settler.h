/* The settler: takes payments that are `settling` to the chain, many in one transaction through contracts/Settler.sol, and looks after
 * each transaction until it is final. One process at a time works for a key (an advisory lock of the database); the nonce table is
 * the only source of nonces, and signed bytes are written before they are sent, so a death at any point repeats only those bytes. */
#ifndef OPGATE_PAY_SETTLER_H
#define OPGATE_PAY_SETTLER_H

#include "chain/send.h"
#include "chain/tx.h"
#include "db/payments.h"
#include "pay/turns.h"

#define SETTLER_BATCH_MAX 32 /* payments in one transaction */
#define SETTLER_SIGNATURE_MAX 2048
#define SETTLER_CALL_MAX 8192 /* what contracts/Settler.sol takes */

struct settler_config {
	struct chain *chain;
	const char *database_url;
	uint64_t chain_id;
	struct address token, pay_to, contract; /* contract: Settler */
	struct secret_key key;
	uint64_t confirmations; /* after which a transaction is not looked at any more */
	struct chain_fee_caps caps;
	int64_t poll_ms;
	/* Other work for the same key, after that for payments; or NULL. */
	enum err (*more)(const struct settler_config *c, struct db *db);
	const void *more_arg;
	_Atomic uint64_t *head; /* kept at the newest block number seen; or NULL */
	void (*ended)(void *arg, const struct uuid *payment); /* settled or failed */
	void *arg;
	void (*log)(const char *event, int64_t number, const char *detail);
};

/* One transaction by the settler's key: signed with the next nonce, written together with what it is for, sent, and from then on looked
 * after like all others. Only inside a turn. ERR_LIMIT: gas costs more than we pay. */
struct settler_order {
	const struct address *to;
	const struct buf *data;
	uint64_t gas;
	enum err (*write)(struct db *db, const struct signed_tx *tx, void *arg); /* db_settlement_begin, and the ties, in one transaction */
	void *arg;
};
enum err settler_send(const struct settler_config *c, struct db *db, const struct settler_order *call) WARN_UNUSED;

struct turns *settler_start(const struct settler_config *config); /* kick it when there is something to settle */

/* One turn, for tests. ret_busy: something is under way, come back soon. */
enum err settler_turn(const struct settler_config *c, struct db *db, bool *ret_busy) WARN_UNUSED;

/* Our call for this payment did not move the money: did somebody else's (then it is settled), or will it never come (failed)? */
enum err settler_find_out(const struct settler_config *c, struct db *db, const struct settling *p) WARN_UNUSED;

/* The settlement call of one payment: what a transaction of its own would carry, selector included. ERR_BAD_FIELD: the stored
 * authorization cannot be read. */
enum err settler_call(const struct settler_config *c, const struct settling *p, struct buf *out) WARN_UNUSED;
/* Settler.settle(items) for these payments. */
enum err settler_batch(const struct settler_config *c, const struct settling *payments, size_t count, struct buf *out, uint64_t *ret_gas) WARN_UNUSED;

#endif
