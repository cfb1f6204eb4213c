/* The contract calls we make, as bytes: tokens (ERC-20, EIP-3009, EIP-2612), Permit2, the x402 proxies, smart wallets and
 * Multicall3; and the strict reading of what they answer. Pure, no locks.
 *
 * Every calls_… function appends selector and arguments to `out` (ERR_LIMIT: nothing was appended). */
#ifndef OPGATE_CHAIN_CALLS_H
#define OPGATE_CHAIN_CALLS_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/hex.h"
#include "base/u256.h"
#include "crypto/crypto.h"

extern const struct address CALLS_PERMIT2;          /* 0x000000000022d473030f116ddee9f6b43ac78ba3 */
extern const struct address CALLS_X402_EXACT_PROXY; /* 0x402085c248eea27d92e8b30b2c58ed07f9e20001 */
extern const struct address CALLS_X402_UPTO_PROXY;  /* 0x4020a4f3b7b90cca423b9fabcc0ce57c6c240002 */
extern const struct address CALLS_MULTICALL3;       /* 0xca11bde05977b3631167028862be2a173976ca11 */

/* ---- ERC-20 ---- */
enum err calls_erc20_balance_of(const struct address *owner, struct buf *out) WARN_UNUSED;
enum err calls_erc20_transfer(const struct address *to, const struct u256 *value, struct buf *out) WARN_UNUSED;
enum err calls_erc20_approve(const struct address *spender, const struct u256 *value, struct buf *out) WARN_UNUSED;
enum err calls_erc20_allowance(const struct address *owner, const struct address *spender, struct buf *out) WARN_UNUSED;
/* Is this exactly approve(spender, value)? No bytes more. */
bool calls_parse_approve(const void *data, size_t len, struct address *ret_spender, struct u256 *ret_value);

/* ---- EIP-3009 ---- */
struct calls_authorization {
	struct address from, to;
	struct u256 value, valid_after, valid_before;
	struct hash nonce;
};
/* transferWithAuthorization: with v, r, s, for keys; with bytes, for whatever a smart wallet calls a signature. */
enum err calls_eip3009_transfer(const struct calls_authorization *a, const struct signature *sig, struct buf *out) WARN_UNUSED;
enum err calls_eip3009_transfer_bytes(const struct calls_authorization *a, const void *sig, size_t sig_len, struct buf *out) WARN_UNUSED;
enum err calls_eip3009_state(const struct address *authorizer, const struct hash *nonce, struct buf *out) WARN_UNUSED;

/* ---- EIP-2612 ---- */
struct calls_permit {
	struct u256 value, deadline;
	struct signature sig;
};
enum err calls_eip2612_permit(const struct address *owner, const struct address *spender, const struct calls_permit *p,
			      struct buf *out) WARN_UNUSED;
enum err calls_eip2612_nonces(const struct address *owner, struct buf *out) WARN_UNUSED;

/* ---- Permit2 ---- */
struct calls_permit2 {
	struct address token;
	struct u256 amount, nonce, deadline;
};
enum err calls_permit2_nonce_bitmap(const struct address *owner, const struct u256 *word, struct buf *out) WARN_UNUSED;
/* The word of the bitmap that holds this nonce, and its bit: nonce >> 8 and nonce & 255. */
void calls_permit2_nonce_place(const struct u256 *nonce, struct u256 *ret_word, uint8_t *ret_bit);
/* Is the bit set in a word that nonceBitmap answered? */
bool calls_permit2_nonce_used(const struct u256 *bitmap, uint8_t bit);
/* permitTransferFrom of one token, without witness. */
enum err calls_permit2_transfer(const struct calls_permit2 *p, const struct address *to, const struct u256 *amount,
				const struct address *owner, const void *sig, size_t sig_len, struct buf *out) WARN_UNUSED;

/* ---- Our Depositor (contracts/Depositor.sol): a signer's tokens to the treasury ---- */
enum err calls_deposit_permit2(const struct address *owner, const struct calls_permit2 *p, const void *sig, size_t sig_len, struct buf *out) WARN_UNUSED;
enum err calls_deposit_permit(const struct address *owner, const struct calls_permit *p, struct buf *out) WARN_UNUSED;

/* ---- x402 proxies ---- */
struct calls_x402 {
	struct calls_permit2 permit;
	struct address owner;
	bool upto;                         /* which of the two proxies: these members are only its own */
	struct u256 upto_amount;           /* what is captured of permit.amount */
	struct address upto_facilitator;   /* part of the witness */
	struct address to;                 /* of the witness */
	struct u256 valid_after;           /* of the witness */
	const void *sig;
	size_t sig_len;
	const struct calls_permit *sponsored; /* settleWithPermit; NULL: settle */
};
enum err calls_x402_settle(const struct calls_x402 *s, struct buf *out) WARN_UNUSED;

/* ---- Smart wallets ---- */
enum err calls_erc1271(const struct hash *digest, const void *sig, size_t sig_len, struct buf *out) WARN_UNUSED;

/* ---- Multicall3.aggregate3: every call may fail alone ---- */
struct calls_item {
	struct address target;
	const void *data;
	size_t len;
};
struct calls_result {
	bool ok;
	const uint8_t *data; /* in the bytes read */
	size_t len;
};
enum err calls_aggregate3(const struct calls_item *items, size_t count, struct buf *out) WARN_UNUSED;
/* Exactly `count` results in the one canonical encoding; ERR_BAD_FIELD otherwise, with ret half written. */
enum err calls_read_aggregate3(const void *p, size_t len, struct calls_result *ret, size_t count) WARN_UNUSED;

/* ---- Our Settler (contracts/Settler.sol): many settlements in one transaction ---- */
struct calls_settlement {
	const void *call; /* what a transaction of its own would carry: EIP-3009's transfer or an x402 settle, by their selectors */
	size_t len;
	struct address token; /* EIP-3009: whom to call. Others: not looked at */
	uint64_t gas_limit;
	struct hash ref; /* our name for it, in its event */
};
/* ERR_BAD_FIELD for a call the contract does not make. */
enum err calls_settler_settle(const struct calls_settlement *items, size_t count, struct buf *out) WARN_UNUSED;
struct calls_settled {
	size_t index; /* of the item */
	struct hash ref;
	enum { CALLS_SETTLED, CALLS_SETTLE_FAILED, CALLS_SETTLE_SKIPPED } end;
	unsigned why;          /* SKIPPED: the contract's enum Why */
	const uint8_t *reason; /* FAILED: the first bytes of what it reverted with; in `data` */
	size_t reason_len;
};
/* From a log; that its address is our contract's is for the caller to see. False: another event, or not exactly in form. */
bool calls_read_settled(const struct hash *topics, size_t topic_count, const void *data, size_t len, struct calls_settled *ret);

/* ---- Our Payouts (contracts/Payouts.sol): many transfers in one transaction, each id once ---- */
struct calls_payout {
	struct hash id;
	struct address to;
	struct u256 amount;
};
enum err calls_payouts_pay(const struct calls_payout *items, size_t count, struct buf *out) WARN_UNUSED;
enum err calls_payouts_end_of(const struct hash *id, struct buf *out) WARN_UNUSED;
enum err calls_read_end_of(const void *p, size_t len, bool *ret_ended, uint64_t *ret_block) WARN_UNUSED; /* whether, and where its event is */
enum err calls_payouts_total(struct buf *out) WARN_UNUSED;
extern const struct hash CALLS_PAYOUTS_PAID; /* the topic of its event Paid; the next is the id */
struct calls_paid_out {
	struct hash id;
	enum { CALLS_PAID, CALLS_PAY_REFUSED, CALLS_PAY_SKIPPED } end;
	struct address to;    /* this and the amount: not when SKIPPED */
	struct u256 amount;
	enum { CALLS_PAY_ENDED, CALLS_PAY_SHORT, CALLS_PAY_NOT_ENOUGH_GAS } why; /* SKIPPED: the contract's enum Why */
};
/* As calls_read_settled. */
bool calls_read_paid_out(const struct hash *topics, size_t topic_count, const void *data, size_t len, struct calls_paid_out *ret);

/* ---- Answers; ERR_BAD_FIELD for anything but the exact form ---- */
enum err calls_read_u256(const void *p, size_t len, struct u256 *ret) WARN_UNUSED; /* exactly one word */
enum err calls_read_bool(const void *p, size_t len, bool *ret) WARN_UNUSED;          /* one word, 0 or 1 */
bool calls_erc1271_accepts(const void *p, size_t len); /* exactly one word, the magic value and zeros */

#endif
