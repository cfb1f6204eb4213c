/* x402 payments and the transactions that settle them. Claiming and closing move money in the same transaction as the job; every
 * step is in the database before it is on the wire. */
#ifndef OPGATE_DB_PAYMENTS_H
#define OPGATE_DB_PAYMENTS_H

#include "db/jobs.h"

struct payment_gas { /* what we are to pay for an approval that comes with a payment, wei of the chain's coin */
	struct amount wei;                /* at most; counted against today's budgets of the purpose "sponsor" */
	struct amount payer_max, all_max; /* those */
	/* a transaction of the payer's that we broadcast; raw NULL: a permit, which is part of the settlement */
	const void *raw;
	size_t raw_len;
	struct hash hash;
	uint64_t nonce;
	bool unlimited;       /* it approves all there can be */
	struct amount top_up; /* coin the payer lacks for it, part of wei */
};

struct payment_claim {
	struct uuid id;
	uint64_t chain_id;
	struct address verifier, payer; /* verifier: the token or Permit2 */
	struct hash nonce;
	struct hash request_digest;
	const char *scheme, *method;
	struct amount amount_max;
	json_t *payload; /* borrowed */
	uint64_t block;  /* one not after now */
	bool limited;    /* served before it is settled, so only within these */
	struct amount payer_max, all_max;
	bool has_balance;    /* the payer's tokens, as the chain said just now: they must cover this and what is open of theirs */
	struct amount balance;
	const char *identifier;       /* the payer's own name for it, or NULL */
	int64_t identifier_window_ms; /* how long a name stands */
	const struct payment_gas *gas; /* NULL: none */
};
/* One transaction: the payment row, the money, the job (whose hold is amount_max). ret_account is the payer's. ERR_CONFLICT: this
 * authorization was claimed before (db_payment_find tells by whom), or the name stands for another one (db_payment_identified).
 * ERR_LIMIT: too much is served and not settled yet. ERR_INSUFFICIENT_FUNDS: the balance is spoken for, or what took of it is not booked yet. ERR_FORBIDDEN: the budget does not cover its gas, or another approval is in the
 * way. A job in the background waits in the queue until its payment, which is to be taken at once, is settled. */
enum err db_payment_claim(struct db *db, const struct payment_claim *c, const struct job_open *job, int64_t *ret_account) WARN_UNUSED;
/* The same in one transaction with others of this moment, for claims without a name and without gas. */
enum err db_payment_claim_shared(struct lane *lane, const struct payment_claim *c, const struct job_open *job, int64_t *ret_account) WARN_UNUSED;

struct payment_row {
	struct db_result *r;
	struct uuid id, job;
	struct address payer;
	int64_t account;
	struct hash request_digest;
	const char *state, *scheme, *method, *reason, *outcome; /* outcome: of the job, NULL while open */
	struct amount amount_max, amount;
	bool has_tx_hash;
	struct hash tx_hash;
	int64_t age_ms; /* since the claim */
	json_t *payload; /* what was claimed, as payment_claim had it */
};
void db_payment_row_done(struct payment_row *p);
#define _cleanup_payment_row_ __attribute__((cleanup(db_payment_row_done)))
enum err db_payment_get(struct db *db, const struct uuid *id, struct payment_row *ret) WARN_UNUSED;
enum err db_payment_find(struct db *db, uint64_t chain_id, const struct address *verifier, const struct address *payer, const struct hash *nonce,
			 struct payment_row *ret) WARN_UNUSED; /* ERR_NOT_FOUND */
enum err db_payment_of_job(struct db *db, const struct uuid *job, struct payment_row *ret) WARN_UNUSED; /* ERR_NOT_FOUND */
enum err db_payment_identified(struct db *db, const struct address *payer, const char *identifier, struct payment_row *ret) WARN_UNUSED; /* ERR_NOT_FOUND */
/* The payer's newest payment for exactly this request that was not dropped, at most so old; ERR_NOT_FOUND. */
enum err db_payment_for_request(struct db *db, const struct address *payer, const struct hash *request_digest, int64_t max_age_ms, struct payment_row *ret) WARN_UNUSED;
/* A challenge of sign-in-with-x is used up. ERR_CONFLICT: it was before. */
enum err db_siwx_nonce_use(struct db *db, const char *nonce, const struct address *address, int64_t lifetime_ms) WARN_UNUSED;
/* Of these payments, those whose money came or never will. */
enum err db_payments_ended(struct db *db, const struct uuid *ids, size_t count, struct uuid *ret, size_t *ret_count) WARN_UNUSED;

/* claimed → settling: `amount` is to be taken (nothing: settled at once, there is nothing to take). ERR_CONFLICT: not claimed any more. */
enum err db_payment_settle(struct db *db, const struct uuid *id, struct amount amount) WARN_UNUSED;
/* Closes the job; dropped: the money never came (why). ERR_CONFLICT: fenced. */
enum err db_payment_close(struct db *db, const struct uuid *id, const struct job_close *c, bool dropped, const char *why) WARN_UNUSED;
enum err db_payment_close_shared(struct lane *lane, const struct uuid *id, const struct job_close *c, bool dropped, const char *why) WARN_UNUSED;
/* The answer is stored and db_payment_settle done, both or neither, in one transaction with others of this moment. ERR_CONFLICT: fenced. */
enum err db_payment_produce(struct lane *lane, const struct uuid *id, const struct job_close *c, struct amount amount) WARN_UNUSED;

/* ---- the settler's side ---- */

struct settling { /* a payment to be taken, or a settlement for somebody else (facilitations.h) */
	struct uuid id;
	bool facilitated;
	struct address payee; /* when facilitated; otherwise it is us */
	struct address payer;
	struct hash nonce;
	char method[16], scheme[8];
	struct amount amount;
	uint64_t claim_block;
	json_t *payload; /* new reference */
};
/* Of both kinds: what is to be settled, has no transaction yet and waits for no approval, oldest first. From here on "payments" are both. */
enum err db_payments_settling(struct db *db, struct settling *ret, size_t max, size_t *ret_count) WARN_UNUSED;

/* Of one kind only: those somebody else is to settle for us, and what we settle for others. */
enum err db_settling_for_us(struct db *db, struct settling *ret, size_t max, size_t *ret_count) WARN_UNUSED;
enum err db_settling_for_others(struct db *db, struct settling *ret, size_t max, size_t *ret_count) WARN_UNUSED;

struct signed_tx {
	uint64_t chain_id;
	struct address sender;
	uint64_t nonce;
	struct hash hash;
	const void *raw;
	size_t raw_len;
	struct amount max_fee;
};
/* What a turn of the settler finds to be begun. */
struct settler_agenda {
	bool mine;     /* this connection owns the key; otherwise the rest says nothing */
	bool stopped;  /* nothing new begins while ledger and chain disagree */
	bool settling, approvals, deposits, records; /* there are some */
};
/* One owner for each address (a settling key's, a receiver's) among all gateways: the lock lives and dies with this connection, which the
 * database ends when it says nothing for idle_ms. */
enum err db_settler_own(struct db *db, const struct address *whose, int64_t idle_ms, bool *ret) WARN_UNUSED;
enum err db_settler_release(struct db *db, const struct address *whose) WARN_UNUSED; /* what was owned */
enum err db_settler_agenda(struct db *db, const struct address *whose, int64_t idle_ms, struct settler_agenda *ret) WARN_UNUSED;

/* The next nonce of a key: one more than the last written, but at least `at_least` (what the chain says). */
enum err db_settlement_nonce(struct db *db, uint64_t chain_id, const struct address *sender, uint64_t at_least, uint64_t *ret) WARN_UNUSED;
/* Writes the signed transaction and ties the payments to it, in one transaction. ERR_CONFLICT: the nonce is taken. */
enum err db_settlement_write(struct db *db, const struct signed_tx *tx, const struct uuid *payments, size_t count) WARN_UNUSED;
/* Its first half, inside a transaction of the caller's: what the transaction carries is tied to *ret_id there. */
enum err db_settlement_insert(struct db *db, const struct signed_tx *tx, int64_t *ret_id) WARN_UNUSED;
/* A replacement: same nonce, other fees. */
enum err db_settlement_replace(struct db *db, int64_t id, const struct signed_tx *tx) WARN_UNUSED;

struct open_tx { /* a transaction that is not final: its newest form */
	int64_t id;
	struct address sender;
	uint64_t nonce;
	bool mined, unsettled; /* it carries payments that are not settled */
	int64_t forms; /* how many there are */
	uint64_t block_number;
	struct hash block_hash, hash;
	struct amount max_fee;
	int64_t age_ms; /* since the newest form was first sent */
	int64_t idle_ms; /* since it was last sent */
	char *raw;      /* free it */
	size_t raw_len;
};
/* Those that are not mined first, each kind oldest first: many that wait for confirmations keep nobody waiting. */
enum err db_settlements_open(struct db *db, uint64_t chain_id, const struct address *sender, struct open_tx *ret, size_t max, size_t *ret_count) WARN_UNUSED;
/* What other keys than this one have open, which carries payouts or does not: some of it, others each time. */
enum err db_settlements_former(struct db *db, uint64_t chain_id, const struct address *own, bool payouts, struct open_tx *ret, size_t max, size_t *ret_count) WARN_UNUSED;
enum err db_settlement_tried(struct db *db, int64_t id) WARN_UNUSED; /* its newest form was sent again */
/* All hashes of one transaction, newest first. */
enum err db_settlement_hashes(struct db *db, int64_t id, struct hash *ret, size_t max, size_t *ret_count) WARN_UNUSED;
/* The payments of one transaction that are not ended. */
enum err db_settlement_payments(struct db *db, int64_t id, struct settling *ret, size_t max, size_t *ret_count) WARN_UNUSED;
struct arrival { /* a payment's Transfer in a receipt */
	struct uuid payment;
	uint32_t log; /* its ordinal there */
	bool closed;  /* its job ended with it: set by db_settlement_mined */
};
struct mined_tx { /* as its receipt says */
	bool succeeded;
	uint64_t block_number;
	struct hash block, hash;
	struct amount cost; /* wei: what it carried for others has its share of it, in place of the gas set aside */
};
/* Mined; each payment whose money was seen to arrive is settled in the same transaction, and its job, when the answer is stored, ends in it. */
enum err db_settlement_mined(struct db *db, int64_t id, const struct mined_tx *mined, struct arrival *arrived, size_t count) WARN_UNUSED;
enum err db_settlement_unmined(struct db *db, int64_t id) WARN_UNUSED; /* a reorganisation took it back: it is sent again */
enum err db_settlement_replaced(struct db *db, int64_t id) WARN_UNUSED; /* its nonce is gone: its payments and payouts get another transaction */
/* Final: it is not looked at any more. What it moved for payments that were given up is booked in the same transaction.
 * ERR_CONFLICT: a job of theirs is still open, come again. */
enum err db_settlement_final(struct db *db, int64_t id, const struct hash *tx_hash, const struct arrival *late, size_t late_count) WARN_UNUSED;
/* A transaction of ours says what it settled: these payments are its own, even if they were tied to a later one meanwhile. What it carries
 * that is not ended, with them, as db_settlement_payments. */
enum err db_settlement_take_over(struct db *db, int64_t id, const struct uuid *said, size_t said_count, struct settling *ret, size_t max, size_t *ret_count) WARN_UNUSED;
struct given_up { /* a payment nobody expects money for */
	struct uuid id;
	struct address payer;
	struct amount amount;
};
/* Of these payments, those that were given up (failed ones too: their jobs are still open). */
enum err db_payments_given_up(struct db *db, const struct uuid *payments, size_t count, struct given_up *ret, size_t *ret_count) WARN_UNUSED;
/* How many payments are booked as settled by this transaction, besides these. */
enum err db_settlement_disputed(struct db *db, int64_t id, const struct hash *tx_hash, const struct uuid *payments, size_t count, int64_t *ret) WARN_UNUSED;
/* Whose transfer is that? */
enum transfer_of {
	TRANSFER_OTHERS,  /* not of a transaction of ours, or of one that has nothing more to say; and no payment has it */
	TRANSFER_OURS,    /* of one whose receipt is still to be read: it may be another payment's */
	TRANSFER_CLAIMED, /* it paid for a payment */
};
enum err db_transfer_of(struct db *db, const struct hash *tx_hash, uint32_t log, enum transfer_of *ret) WARN_UNUSED;
/* The row of this nonce, if there is one: its state and, when it was replaced, its newest form. ERR_NOT_FOUND. */
enum err db_settlement_at_nonce(struct db *db, uint64_t chain_id, const struct address *sender, uint64_t nonce, bool *ret_replaced, int64_t *ret_id) WARN_UNUSED;
enum err db_settlement_revive(struct db *db, int64_t id) WARN_UNUSED; /* replaced → signed: what took its nonce is gone */
enum err db_settlement_revive_as(struct db *db, int64_t id, const struct signed_tx *tx) WARN_UNUSED; /* the same in a new form */
/* The money came with this Transfer. ERR_CONFLICT: that one paid for another payment. */
enum err db_payment_arrived(struct db *db, const struct uuid *payment, const struct hash *tx_hash, uint32_t log) WARN_UNUSED;
/* It will never come: the job is resolved by whoever waits for it, or by the reaper. */
enum err db_payment_failed(struct db *db, const struct uuid *payment, const char *reason) WARN_UNUSED;

#endif
