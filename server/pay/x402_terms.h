/* What a paid route asks for, in the words of x402: offers as values, and the texts of a 402 for version 2 (a header) and
 * version 1 (a body). The same values give the same bytes: clients echo them and are matched strictly. Called by handlers and
 * the facilitator; pure functions. */
#ifndef OPGATE_PAY_X402_TERMS_H
#define OPGATE_PAY_X402_TERMS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/hex.h"
#include "base/u256.h"

enum x402_scheme { X402_EXACT, X402_UPTO };
enum x402_method { X402_EIP3009, X402_PERMIT2 };

struct x402_offer {
	enum x402_scheme scheme;
	enum x402_method method; /* what the offer asks for; upto is always Permit2. A payer may still answer exact with the other one */
	uint64_t chain_id;
	struct u256 amount; /* the price; for upto the maximum */
	struct address asset, pay_to;
	uint32_t max_timeout_s;
	const char *name, *version;      /* EIP-712 domain of the asset */
	struct address facilitator;      /* upto: the only sender the contract lets settle */
	const char *payment_flow;        /* NULL, or "upfront": settled before the work */
	const char *quote;               /* NULL, or a sealed quote (x402_quote.h) */
};

struct x402_resource {
	const char *url, *description, *mime_type;
	const char *method; /* HTTP method, for version 1's outputSchema; NULL leaves it out */
};

struct x402_network_str { char s[28]; };
struct x402_network_str x402_network_format(uint64_t chain_id);              /* "eip155:84532" */
enum err x402_network_parse(const char *s, uint64_t *ret_chain_id) WARN_UNUSED; /* exactly what format writes; ERR_BAD_FIELD */
const char *x402_network_v1(uint64_t chain_id);                              /* "base-sepolia"; NULL when version 1 has no name for it */
enum err x402_network_v1_parse(const char *name, uint64_t *ret_chain_id) WARN_UNUSED;
const char *x402_scheme_name(enum x402_scheme scheme);
const char *x402_method_name(enum x402_method method); /* as the database calls it */

/* One PaymentRequirements object. Version 1 knows only `exact` by EIP-3009 on named networks: x402_offer_in_v1 says which. */
json_t *x402_offer_json(const struct x402_offer *offer);
bool x402_offer_in_v1(const struct x402_offer *offer);
json_t *x402_offer_json_v1(const struct x402_offer *offer, const struct x402_resource *resource);
/* The other way, for what a facilitator is sent; strings stay borrowed from the object. ERR_BAD_FIELD. */
enum err x402_offer_read(const json_t *requirements, int version, struct x402_offer *ret) WARN_UNUSED;

/* PaymentRequired as JSON text and as the value of PAYMENT-REQUIRED (standard base64, padded). extensions may be NULL. The caller frees. */
char *x402_required_json(const struct x402_offer *offers, size_t count, const struct x402_resource *resource, const char *error, const json_t *extensions);
char *x402_required_header(const struct x402_offer *offers, size_t count, const struct x402_resource *resource, const char *error, const json_t *extensions);
/* The body of the same 402 for version 1; payer (NULL: left out) is named in refusals. The caller frees. */
char *x402_required_body_v1(const struct x402_offer *offers, size_t count, const struct x402_resource *resource, const char *error, const struct address *payer);

#endif
