/* The contract calls we make, as bytes: tokens (ERC-20, EIP-3009, EIP-2612), Permit2, the x402 proxies, smart wallets and
 * Multicall3; and the strict reading of what they answer. Pure, no locks.
 *
 * Every calls_… function appends selector and arguments to `out` (ERR_LIMIT: nothing was appended). Numbers of the protocol
 * are whole uint256, 32 bytes big-endian, because a signer may have signed any of them. */
#ifndef OPGATE_CHAIN_CALLS_H
#define OPGATE_CHAIN_CALLS_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/hex.h"
#include "crypto/crypto.h"

extern const struct address CALLS_PERMIT2;          /* 0x000000000022d473030f116ddee9f6b43ac78ba3 */
extern const struct address CALLS_X402_EXACT_PROXY; /* 0x402085c248eea27d92e8b30b2c58ed07f9e20001 */
extern const struct address CALLS_X402_UPTO_PROXY;  /* 0x4020a4f3b7b90cca423b9fabcc0ce57c6c240002 */
extern const struct address CALLS_MULTICALL3;       /* 0xca11bde05977b3631167028862be2a173976ca11 */

/* ---- ERC-20 ---- */
enum err calls_erc20_balance_of(const struct address *owner, struct buf *out) WARN_UNUSED;
enum err calls_erc20_transfer(const struct address *to, const uint8_t value_be[32], struct buf *out) WARN_UNUSED;
enum err calls_erc20_approve(const struct address *spender, const uint8_t value_be[32], struct buf *out) WARN_UNUSED;
enum err calls_erc20_allowance(const struct address *owner, const struct address *spender, struct buf *out) WARN_UNUSED;
/* Is this exactly approve(spender, value)? No bytes more. */
bool calls_parse_approve(const void *data, size_t len, struct address *ret_spender, uint8_t ret_value_be[32]);

/* ---- EIP-3009 ---- */
struct calls_authorization {
	struct address from, to;
	uint8_t value_be[32], valid_after_be[32], valid_before_be[32];
	struct hash nonce;
};
/* transferWithAuthorization: with v, r, s, for keys; with bytes, for whatever a smart wallet calls a signature. */
enum err calls_eip3009_transfer(const struct calls_authorization *a, const struct signature *sig, struct buf *out) WARN_UNUSED;
enum err calls_eip3009_transfer_bytes(const struct calls_authorization *a, const void *sig, size_t sig_len, struct buf *out) WARN_UNUSED;
enum err calls_eip3009_state(const struct address *authorizer, const struct hash *nonce, struct buf *out) WARN_UNUSED;

/* ---- EIP-2612 ---- */
struct calls_permit {
	uint8_t value_be[32], deadline_be[32];
	struct signature sig;
};
enum err calls_eip2612_permit(const struct address *owner, const struct address *spender, const struct calls_permit *p,
			      struct buf *out) WARN_UNUSED;
enum err calls_eip2612_nonces(const struct address *owner, struct buf *out) WARN_UNUSED;

/* ---- Permit2 ---- */
struct calls_permit2 {
	struct address token;
	uint8_t amount_be[32], nonce_be[32], deadline_be[32];
};
enum err calls_permit2_nonce_bitmap(const struct address *owner, const uint8_t word_be[32], struct buf *out) WARN_UNUSED;
/* The word of the bitmap that holds this nonce, and its bit: nonce >> 8 and nonce & 255. */
void calls_permit2_nonce_place(const uint8_t nonce_be[32], uint8_t ret_word_be[32], uint8_t *ret_bit);
/* Is the bit set in a word that nonceBitmap answered? */
bool calls_permit2_nonce_used(const uint8_t bitmap_be[32], uint8_t bit);
/* permitTransferFrom of one token, without witness. */
enum err calls_permit2_transfer(const struct calls_permit2 *p, const struct address *to, const uint8_t amount_be[32],
				const struct address *owner, const void *sig, size_t sig_len, struct buf *out) WARN_UNUSED;

/* ---- x402 proxies ---- */
struct calls_x402 {
	struct calls_permit2 permit;
	struct address owner;
	bool upto;                         /* which of the two proxies: these members are only its own */
	uint8_t upto_amount_be[32];        /* what is captured of permit.amount */
	struct address upto_facilitator;   /* part of the witness */
	struct address to;                 /* of the witness */
	uint8_t valid_after_be[32];        /* of the witness */
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

/* ---- Answers; ERR_BAD_FIELD for anything but the exact form ---- */
enum err calls_read_word(const void *p, size_t len, uint8_t ret_be[32]) WARN_UNUSED; /* exactly one word */
enum err calls_read_bool(const void *p, size_t len, bool *ret) WARN_UNUSED;          /* one word, 0 or 1 */
bool calls_erc1271_accepts(const void *p, size_t len); /* exactly one word, the magic value and zeros */

#endif
