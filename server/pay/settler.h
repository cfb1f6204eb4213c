/* The settler: takes payments that are `settling`, and settlements for others, to the chain, many in one transaction through
 * contracts/Settler.sol, and looks after each transaction until it is final. One process at a time works for a key (an advisory lock
 * of the database); the nonce table is the only source of nonces, and signed bytes are written before they are sent, so a death at
 * any point repeats only those bytes. */
#ifndef OPGATE_PAY_SETTLER_H
#define OPGATE_PAY_SETTLER_H

#include "chain/chain_time.h"
#include "chain/send.h"
#include "chain/tx.h"
#include "db/payments.h"
#include "pay/turns.h"

#define SETTLER_BATCH_MAX 32 /* payments in one transaction */
#define SETTLER_CALL_MAX 8192 /* what contracts/Settler.sol takes */

/* What its turns learn, for those who make offers; it is the only one who writes. */
struct settler_view {
	_Atomic uint64_t head;    /* the newest block number seen */
	struct chain_time time;
	_Atomic bool wrong_chain; /* the endpoint is another chain now: nothing is sent, nothing believed */
	_Atomic bool low_gas;     /* the settling key could not pay for much more */
	int64_t gas_seen_ms;      /* its own, as the next */
	struct chain_look look;   /* what this turn goes by: fees and nonce for what it signs */
	int64_t look_ms;          /* when that was asked; 0: it failed */
	uint64_t mined;           /* the newest block that a transaction was booked in */
	struct settler_agenda agenda; /* and what there is to begin */
	size_t look_from;         /* which of the open ones is looked at first */
	int64_t former_ms, former_since_ms; /* when it was looked for what other keys had sent: last and first */
};

struct settler_config;

/* What a key's transactions are for: x402 payments, or payouts (payouts.h). Everything else about them is the same. */
struct settler_work {
	enum err (*begin)(const struct settler_config *c, struct db *db, size_t *ret_count);             /* signs and sends what is new */
	enum err (*mined)(const struct settler_config *c, struct db *db, const struct open_tx *t, const struct chain_receipt *r, uint64_t head);
	enum err (*waiting)(const struct settler_config *c, struct db *db, const struct open_tx *t, uint64_t head); /* each turn while it is mined and not final */
	enum err (*final)(const struct settler_config *c, struct db *db, const struct open_tx *t);
};

struct settler_config {
	const struct settler_work *work; /* NULL: payments */
	struct chain *chain;
	const char *database_url;
	uint64_t chain_id;
	struct address token, pay_to, contract, depositor; /* contracts Settler and Depositor; zero: none */
	struct secret_key key;
	struct address from; /* the key's; zero: who only watches has none */
	bool others_only; /* somebody else settles what is paid to us (outside.h) */
	uint64_t confirmations; /* after which a transaction is not looked at any more */
	uint64_t answer_confirmations; /* with which a payment counts as settled; 1: a receipt is enough */
	int64_t patience_ms; /* for a transaction that is not mined; and for endpoints that lag */
	struct amount gas_min; /* wei: with less, `low_gas` */
	struct chain_fee_caps caps;
	int64_t poll_ms;
	/* Other work for the settling key, after that for payments; or NULL. Not for other kinds of work. */
	enum err (*more)(const struct settler_config *c, struct db *db);
	const void *more_arg;
	struct settler_view *view;
	/* Settled by this transaction (NULL: settled or failed); closed: and its job ended with it. */
	void (*ended)(void *arg, const struct uuid *payment, const struct hash *tx, bool closed);
	void *arg;
	void (*log)(const char *event, int64_t number, const char *detail);
};

/* Whom the money of an item goes to: as it was signed, whatever pay_to is by now. */
struct address settler_receiver(const struct settler_config *c, const struct settling *p);

struct turns *settler_start(const struct settler_config *config); /* kick it when there is something to settle */

/* A look at the chain, for a view that is filled before the first turn. ERR_CHAIN_DOWN: no answer, or another chain. */
enum err settler_look(const struct settler_config *c) WARN_UNUSED;

/* One turn, for tests. ret_busy: something is under way, come back soon. */
enum err settler_turn(const struct settler_config *c, struct db *db, bool *ret_busy) WARN_UNUSED;

/* A look without the gas of a key, for those who settle nothing themselves. */
enum err settler_watch(const struct settler_config *c, struct chain_block *ret_head) WARN_UNUSED;
/* A gateway that sleeps keeps its connection, and with it the key; so the database ends one that says nothing for that long, and another
 * gateway goes on. */
int64_t settler_idle_ms(const struct settler_config *c);

/* For those who do the work: signs with the key's next nonce; chain, nonce and fees are filled in (ERR_LIMIT: gas costs more than we
 * pay, or too many wait to be mined). `ret` borrows from raw. */
enum err settler_sign(const struct settler_config *c, struct db *db, struct tx *tx, struct buf *raw, struct signed_tx *ret) WARN_UNUSED;
/* Gives signed bytes to the chain, once they are written. Whatever it says: the receipts decide. */
void settler_send(const struct settler_config *c, const void *raw, size_t len);

enum settler_seen {
	SETTLER_UNUSED,  /* its authorization was not used */
	SETTLER_USED,    /* for nothing that came here: cancelled, or signed again for somebody else */
	SETTLER_UNSHOWN, /* used, and no log says for what: Permit2 has none; or the endpoint lacks it */
	SETTLER_SETTLED, /* the money came, and that is written */
};
/* What the chain says about a payment at the block `at`. ERR_CONFLICT: another transaction of ours must be read first, come again. */
enum err settler_trace(const struct settler_config *c, struct db *db, const struct settling *p, uint64_t at, enum settler_seen *ret) WARN_UNUSED;
/* Our call for this payment did not move the money: did somebody else's (then it is settled), or will it never come (failed)? `at`: a
 * block not before our call. `late`: what no log has shown by now will not come. *ret_ended: one of them is written; otherwise come
 * again. ERR_CONFLICT as above. */
enum err settler_find_out(const struct settler_config *c, struct db *db, const struct settling *p, uint64_t at, bool late, bool *ret_ended) WARN_UNUSED;
/* Why it will never come, for the payer; `used`: the authorization is, by whatever. */
const char *settler_reason(const struct settler_config *c, const struct settling *p, bool used);

/* Approvals that payments wait for: one step each. `head`: a block number seen. *ret_busy: some are not ended. */
enum err settler_approvals(const struct settler_config *c, struct db *db, uint64_t head, bool *ret_busy) WARN_UNUSED;

/* The settlement call of one payment: what a transaction of its own would carry, selector included. ERR_BAD_FIELD: the stored
 * authorization cannot be read. */
enum err settler_call(const struct settler_config *c, const struct settling *p, struct buf *out) WARN_UNUSED;
#define SETTLER_PERMIT_LEN 128
/* The permit of a payment by Permit2 as every call that uses it has it: token, amount, nonce and deadline. ERR_BAD_FIELD. */
enum err settler_permit(const struct settler_config *c, const struct settling *p, uint8_t ret[SETTLER_PERMIT_LEN]) WARN_UNUSED;
/* Settler.settle(items) for these payments. */
enum err settler_batch(const struct settler_config *c, const struct settling *payments, size_t count, struct buf *out, uint64_t *ret_gas) WARN_UNUSED;

#endif
