/* sign-in-with-x (CAIP-122) inside a 402: a challenge for wallets, and what one sends back in the header SIGN-IN-WITH-X. A challenge is
 * stored nowhere: its nonce is our MAC over the request and the time, which moves in steps, so that the same request gets the same bytes
 * for a while. That each wallet uses it once is for the caller to see (db_siwx_nonce_use), as is a wallet with code. Called by handlers;
 * pure functions. */
#ifndef OPGATE_PAY_X402_SIWX_H
#define OPGATE_PAY_X402_SIWX_H

#include <jansson.h>

#include "auth/siwe.h"
#include "chain/wallet.h"

struct x402_siwx {
	const char *base_url, *uri; /* uri: of the resource, below base_url */
	uint64_t chain_id;
	struct hash request; /* digest of all that makes one request another */
	const struct hash *key;
};

#define X402_SIWX_STEP_MS 5000 /* short: a wallet that signs in again sooner is refused, and its client pays again */

/* {info, supportedChains, schema}; new reference. */
json_t *x402_siwx_challenge(const struct x402_siwx *s, int64_t now_ms);

struct x402_signed_in {
	struct address address;
	struct siwe_nonce nonce;
	struct hash digest; /* of the message, EIP-191 */
	bool by_key;        /* the address's own key signed; if not, a wallet with code may still accept the signature */
	uint8_t signature[WALLET_SIGNATURE_MAX];
	size_t signature_len;
};
/* Anything but a signature that only a contract can judge is refused here. ERR_BAD_FIELD, ERR_BAD_TOKEN, ERR_BAD_SIGNATURE with words. */
enum err x402_siwx_read(const struct x402_siwx *s, const char *header, int64_t now_ms, struct x402_signed_in *ret, struct json_why *why) WARN_UNUSED;

#endif
