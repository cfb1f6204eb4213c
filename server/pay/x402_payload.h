/* A payment as a client sends it: PAYMENT-SIGNATURE (version 2) or X-PAYMENT (version 1), read the way the official servers read
 * them, matched against our offers, and its authorization taken apart. Nothing here believes a signature yet; that is x402_check.h.
 * Called by handlers and the facilitator; pure functions. */
#ifndef OPGATE_PAY_X402_PAYLOAD_H
#define OPGATE_PAY_X402_PAYLOAD_H

#include <jansson.h>
#include <stdbool.h>

#include "pay/x402_terms.h"

struct x402_payment {
	json_t *root; /* owned; everything below is borrowed from it */
	int version;
	const char *scheme, *network;  /* the chosen terms (version 2: of `accepted`); NULL when missing */
	const json_t *accepted;        /* version 2; NULL when missing */
	const json_t *payload, *extensions;
};

struct x402_why {
	char text[96]; /* the `error` of the 402 */
};

enum x402_decoded {
	X402_DECODED,
	X402_UNPAID,  /* nothing that could be read as a payment: the answer is an ordinary 402 */
	X402_REFUSED, /* `why` says it */
};

/* The value of PAYMENT-SIGNATURE / X-PAYMENT. ret is to be released after X402_DECODED only. */
enum x402_decoded x402_payment_decode(const char *header, struct x402_payment *ret, struct x402_why *why);
enum x402_decoded x402_payment_decode_v1(const char *header, struct x402_payment *ret, struct x402_why *why);
/* A paymentPayload a facilitator was sent (either version, told by x402Version); takes its own reference. */
enum x402_decoded x402_payment_from_json(json_t *payload, struct x402_payment *ret, struct x402_why *why);
void x402_payment_done(struct x402_payment *p);

/* Index of the offer whose terms the payment repeats; -1 when none: the refusal is X402_NO_MATCH (version 1: X402_NO_MATCH_V1). */
int x402_payment_match(const struct x402_payment *p, const struct x402_offer *offers, size_t count);
#define X402_NO_MATCH "No matching payment requirements"
#define X402_NO_MATCH_V1 "Unable to find matching payment requirements"
#define X402_UNPAID_TEXT "Payment required"
#define X402_UNPAID_TEXT_V1 "X-PAYMENT header is required"

/* The sealed quote of the terms the client repeats; NULL when there is none. */
const char *x402_payment_quote(const struct x402_payment *p);

/* Does every extension the client sent and we advertised (may be NULL) still say what we said? If not: X402_ECHO_MISMATCH. */
bool x402_payment_extensions_ok(const struct x402_payment *p, const json_t *advertised);
#define X402_ECHO_MISMATCH "extension_echo_mismatch"
/* `info` of an extension the client sent; NULL when absent. */
const json_t *x402_payment_extension(const struct x402_payment *p, const char *key);
/* info.id of payment-identifier when it has the right form (16..128 of [A-Za-z0-9_-]), else NULL. */
const char *x402_payment_identifier(const struct x402_payment *p);

/* ---- the authorization ---- */

/* A number as JavaScript's BigInt() would read it; outside of uint256 it is kept as such, so that it compares right and signs nothing. */
enum x402_range { X402_FITS, X402_NEGATIVE, X402_OVER };
struct x402_number {
	enum x402_range range;
	struct u256 v; /* X402_FITS */
};

struct x402_auth {
	enum x402_method method; /* by what was sent, not by what was offered */
	bool upto;               /* Permit2 with a facilitator in the witness */
	struct address from, to; /* to: EIP-3009's, or the witness's */
	struct x402_number value;        /* EIP-3009 value, or the permitted amount */
	struct x402_number valid_after;  /* EIP-3009's, or the witness's */
	struct x402_number valid_before; /* EIP-3009's, or Permit2's deadline */
	struct x402_number nonce;        /* EIP-3009: its 32 bytes */
	struct address token, spender, facilitator; /* Permit2; facilitator: upto */
	bool hashable;           /* false: some member cannot stand in typed data, so no signature can be right */
	bool signature_hex;      /* 0x and whole bytes */
	uint8_t *signature;      /* owned */
	size_t signature_len;
};

/* `scheme` is the matched offer's. NULL, or the reason of the refusal; ret is to be released after NULL only. */
const char *x402_auth_read(const struct x402_payment *p, enum x402_scheme scheme, struct x402_auth *ret);
void x402_auth_done(struct x402_auth *a);

/* What a payment is known by, whatever its signature looks like: claimed before any work is done for it. */
struct x402_claim_key {
	uint64_t chain_id;
	struct address contract; /* the token for EIP-3009, else Permit2 */
	struct address payer;
	uint8_t nonce[32]; /* big-endian */
};
struct x402_claim_key x402_claim_key_of(const struct x402_offer *offer, const struct x402_auth *auth);

#endif
