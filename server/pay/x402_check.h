/* Is a payment good? First everything that can be said without the chain, in the order and with the words of the official
 * facilitator; then, from a few facts of the chain, the rest. Whoever asks the chain is somebody else. Called by handlers and the
 * facilitator; pure functions. */
#ifndef OPGATE_PAY_X402_CHECK_H
#define OPGATE_PAY_X402_CHECK_H

#include "crypto/crypto.h"
#include "pay/x402_payload.h"

extern const struct address X402_PERMIT2_CONTRACT, X402_EXACT_PROXY, X402_UPTO_PROXY;

#define X402_GRACE_S 6 /* an authorization must live this long from now */

/* The EIP-712 digest the payer signed for this offer; false when a member does not fit its type. */
bool x402_digest(const struct x402_offer *offer, const struct x402_auth *auth, struct hash *ret);
/* The signature that would settle: an ERC-6492 wrapping taken off (EIP-3009). Borrowed from the auth; false when it cannot be read. */
bool x402_signature(const struct x402_auth *auth, const uint8_t **ret, size_t *ret_len) WARN_UNUSED;
/* Who signed the digest: 65 bytes, v 0, 1, 27 or 28, any s. ERR_BAD_SIGNATURE. */
enum err x402_recover(const struct hash *digest, const uint8_t *signature, size_t len, struct address *ret) WARN_UNUSED;
/* Permit2 keeps used nonces as bits: word = nonce >> 8, bit = nonce & 255. */
uint8_t x402_permit2_bit(const struct u256 *nonce, uint8_t ret_word_be[32]);

/* What the chain must say before a payment is believed. */
enum {
	X402_NEED_PAYER_CODE = 1, /* has the payer code? */
	X402_NEED_ERC1271 = 2,    /* only if it has: isValidSignature(digest, signature) */
	X402_NEED_ASSET_CODE = 4,
	X402_NEED_NONCE = 8,      /* authorizationState(from, nonce) of the token, or Permit2's bitmap */
	X402_NEED_BALANCE = 16,   /* balanceOf(from) */
	X402_NEED_ALLOWANCE = 32, /* allowance(from, Permit2) */
	X402_NEED_PROXY = 64,     /* is the Permit2 proxy there? */
};

enum x402_fact { X402_UNKNOWN, X402_NO, X402_YES };

/* What was asked and answered. Unknown facts refuse nothing, except a contract wallet whose signature was not confirmed. */
struct x402_facts {
	enum x402_fact payer_has_code, erc1271_ok, asset_has_code, nonce_used, proxy_deployed;
	enum x402_fact token_has_eip3009, token_name_ok, token_version_ok; /* diagnosis of a failed simulation */
	enum x402_fact simulation_ok;  /* eth_call of the settlement */
	bool allowance_sponsored;      /* an approval comes with the payment: a missing allowance is fine */
	bool balance_known, allowance_known;
	struct u256 balance, allowance;
};

struct x402_check {
	unsigned needs;              /* X402_NEED_… */
	struct hash digest;
	struct u256 pays;            /* what the authorization moves; for upto at most */
	const uint8_t *signature;    /* for ERC-1271 and settlement: an ERC-6492 wrapping taken off (EIP-3009); borrowed from the auth */
	size_t signature_len;
	/* for x402_check_finish */
	int version;
	enum x402_method method;
	struct u256 amount;
	bool eoa_signed;             /* the payer's own key signed */
	bool eoa_settles;            /* in a form the contract accepts from an account without code */
	bool factory;                /* ERC-6492 names a factory */
	const char *after_signature; /* the refusal if the signature is good; NULL: none */
	const char *after_balance;   /* version 1 looks at the balance before the value */
};

/* NULL: facts are needed; else the reason, whatever the chain says. */
const char *x402_check_begin(const struct x402_offer *offer, const struct x402_payment *payment, const struct x402_auth *auth, int64_t now_s, struct x402_check *ret);
/* NULL: good; else the reason. */
const char *x402_check_finish(const struct x402_check *check, const struct x402_facts *facts);

/* May this much be captured of an upto authorization? NULL or the reason. */
const char *x402_capture_refusal(const struct x402_auth *auth, const struct u256 *amount);

#endif
