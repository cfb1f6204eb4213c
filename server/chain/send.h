/* Sending: what a transaction will cost, whether it would work, giving it to the chain, and what became of it. Called by the
 * settler from any thread; no locks. As in chain.h every call has the chain's deadline, answers are bounded and read
 * strictly, outputs are written only on success, and the words of the last failure are in chain_error().
 *
 * Nothing an endpoint says about a transaction we gave it is final: the words of an error are a hint what to ask next. Only a
 * receipt in a block that stays, or a used nonce, ends a transaction's story. */
#ifndef OPGATE_CHAIN_SEND_H
#define OPGATE_CHAIN_SEND_H

#include "chain/chain.h"

/* ---- Accounts ---- */
enum chain_when { CHAIN_LATEST, CHAIN_PENDING /* counts what waits in the endpoint's pool, too */ };
enum err chain_nonce(struct chain *c, const struct address *a, enum chain_when when, uint64_t *ret) WARN_UNUSED; /* the next one */
/* Wei at a block number (UINT64_MAX: latest). ERR_OVERFLOW above 2^127-1. */
enum err chain_native_balance(struct chain *c, const struct address *a, uint64_t at, struct amount *ret) WARN_UNUSED;
/* Appends the code; nothing for an account without. A delegation (EIP-7702) is code. */
enum err chain_code_at(struct chain *c, const struct address *a, uint64_t at, struct buf *out) WARN_UNUSED;

/* ---- Would it work? ---- */
struct chain_message {
	struct address from, to;
	const void *data;
	size_t len;
	uint64_t gas; /* no more than this */
};
/* ERR_OK: the chain ran it. ret_ok says how it ended, `out` gets what it answered, or the revert data. A revert's words are in
 * chain_error(); they are a contract's, not to be believed. */
enum err chain_simulate(struct chain *c, const struct chain_message *m, uint64_t at, struct buf *out, bool *ret_ok) WARN_UNUSED;
/* ERR_UNPROCESSABLE: it would revert, or need more than m->gas. */
enum err chain_gas_estimate(struct chain *c, const struct chain_message *m, uint64_t *ret) WARN_UNUSED;

/* ---- Fees, in wei for a unit of gas ---- */
struct chain_fee_caps {
	uint64_t priority, fee; /* what we pay at most; fee includes the priority fee */
};
struct chain_fees {
	uint64_t base; /* of the head block */
	uint64_t priority, fee; /* what to sign: priority <= fee <= the caps */
	bool affordable;        /* fee covers base + priority; if not, waiting is better than sending */
};
/* Twice the base fee and the priority fee the endpoint suggests, both capped. */
enum err chain_fees(struct chain *c, const struct chain_fee_caps *caps, struct chain_fees *ret) WARN_UNUSED;
/* The same, of fees that are known. */
void chain_fees_of(uint64_t base, uint64_t priority, const struct chain_fee_caps *caps, struct chain_fees *ret);
/* What a replacement of a transaction with the fees `sent` signs: an eighth more of each (pools want a tenth), or today's fees
 * where they are higher. ERR_LIMIT when the caps leave no room for that. */
enum err chain_fees_bump(const struct chain_fees *sent, const struct chain_fees *now, const struct chain_fee_caps *caps,
			 struct chain_fees *ret) WARN_UNUSED;

/* ---- Sending ---- */
enum chain_sent {
	CHAIN_SENT,                   /* taken: the endpoint answers the transaction's own hash */
	CHAIN_SENT_KNOWN,             /* it already has exactly this transaction */
	CHAIN_SENT_NONCE_TOO_LOW,     /* the nonce is used: perhaps by this transaction. Ask by hash */
	CHAIN_SENT_UNDERPRICED,       /* for the pool, or to replace what has this nonce */
	CHAIN_SENT_INSUFFICIENT_FUNDS, /* the sender cannot pay for the gas */
	CHAIN_SENT_REJECTED,          /* will not be taken as it is */
	CHAIN_SENT_UNKNOWN,           /* no answer that can be used: it may have been taken */
};
enum chain_sent chain_send_raw(struct chain *c, const void *raw, size_t len);
/* What the words of a refusal mean, whoever wrapped them; words that mean two things mean UNKNOWN. */
enum chain_sent chain_sent_by_words(const char *words);
const char *chain_sent_name(enum chain_sent s);

/* ---- What became of it ---- */
/* More than a transaction can make: a log costs 375 gas at least, a transaction has 2^24 (EIP-7825). What cannot be read would be waited for
 * for ever. */
#define CHAIN_RECEIPT_LOGS_MAX 65536
struct chain_log { /* its ordinal is its index in the receipt */
	struct address address;
	struct hash topics[4];
	size_t topic_count;
	const uint8_t *data; /* in the receipt's `bytes` */
	size_t data_len;
};
struct chain_receipt {
	struct hash tx, block;
	uint64_t block_number;
	bool ok; /* false: it was mined and reverted; its nonce is used */
	struct address from, to; /* to: zero for a creation */
	uint64_t gas_used, gas_price; /* the effective price: wei for a unit */
	struct chain_log *logs;
	size_t log_count;
	uint8_t *bytes;
};
/* ERR_NOT_FOUND: the endpoint has none (not mined, or not seen yet, or mined in a block that is gone). The block may still go:
 * compare its hash with the chain before believing in it. Free with chain_receipt_done. */
enum err chain_receipt(struct chain *c, const struct hash *tx, struct chain_receipt *ret) WARN_UNUSED;
void chain_receipt_done(struct chain_receipt *r);
/* Is it true, as far as one endpoint can be held to its word? The chain's block of that number must be the receipt's and hold the
 * transaction, and the logs that this block has from `contract` must be those of the receipt. It must be one that only we make log:
 * a block can be filled with a token's logs by anybody. ERR_NOT_FOUND: the chain has another block there (or none yet). ERR_CONFLICT: the
 * endpoint contradicts itself, the words say how. */
enum err chain_receipt_check(struct chain *c, const struct chain_receipt *r, const struct address *contract) WARN_UNUSED;

/* Are these bytes somewhere in what the transaction calls with? One the endpoint does not know is ERR_CHAIN_DOWN. */
enum err chain_tx_carries(struct chain *c, const struct hash *tx, const void *bytes, size_t len, bool *ret) WARN_UNUSED;

/* ---- Money that came by somebody else's transaction ---- */
struct chain_payment {
	struct address token, payer, to;
	struct amount amount;
	uint64_t from_block; /* not after the money can have moved */
	uint64_t to_block;   /* not before; an endpoint that does not have it says nothing */
};
struct chain_arrival { /* a Transfer: the ordinal is its index in the receipt */
	struct hash tx;
	uint32_t log;
};
#define CHAIN_PAYMENT_LOGS_MAX 256
bool chain_log_pays(const struct chain_log *log, const struct chain_payment *p);
/* The transfer this EIP-3009 authorization made. ERR_NOT_FOUND: none; ret_seen: because it was cancelled or paid something else, and the
 * chain has a log of that. */
enum err chain_authorization_tx(struct chain *c, const struct chain_payment *p, const struct hash *nonce, struct chain_arrival *ret, bool *ret_seen) WARN_UNUSED;
/* All transfers of exactly this amount from payer to `to`, oldest first. More than `max` are not known. */
enum err chain_payment_logs(struct chain *c, const struct chain_payment *p, struct chain_arrival *ret, size_t max, size_t *ret_count) WARN_UNUSED;
/* Did the payer say that this nonce of Permit2 is not to be used? */
enum err chain_permit2_invalidated(struct chain *c, const struct chain_payment *p, const struct hash *nonce, bool *ret) WARN_UNUSED;
/* The transaction with the first log of `address` in this block that has these two topics first. ERR_NOT_FOUND. */
enum err chain_log_tx(struct chain *c, const struct address *address, const struct hash topics[2], uint64_t block, struct hash *ret) WARN_UNUSED;

#endif
