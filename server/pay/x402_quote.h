/* The quote inside an offer (extra.quote): what we promised, under our own seal, so that a payment made for one job cannot buy
 * another and a price change between the 402 and the payment is honoured until the quote expires. A token is the same bytes for the
 * same values: an offer that carries it stays byte-stable. Called by handlers; pure functions. */
#ifndef OPGATE_PAY_X402_QUOTE_H
#define OPGATE_PAY_X402_QUOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/amount.h"
#include "base/hex.h"
#include "pay/price.h"

#define X402_ROUTE_MAX 64
#define X402_QUOTE_LIFE_S 600 /* a quote holds for this long at least, and at most for twice as long */

struct x402_quote {
	struct amount price;            /* at the bounds below: what the offer asks */
	struct price unit;              /* what usage is charged at */
	struct hash model;              /* the version's digest */
	uint64_t body_max;              /* bytes */
	uint64_t input_max, output_max; /* units */
	int64_t expires_s;              /* unix time */
	char route[X402_ROUTE_MAX];     /* operation id */
};

/* Text of [A-Za-z0-9_-], keyed by a secret of 32 bytes; the caller frees. */
char *x402_quote_seal(const struct hash *key, const struct x402_quote *quote);
/* ERR_BAD_TOKEN: not ours, or changed. ERR_DEADLINE: expired at now_s; *ret is filled then, too. */
enum err x402_quote_open(const struct hash *key, const char *token, int64_t now_s, struct x402_quote *ret) WARN_UNUSED;
/* Is the job at hand inside what was quoted? */
bool x402_quote_covers(const struct x402_quote *quote, const char *route, const struct hash *model, uint64_t body_len, uint64_t input_max, uint64_t output_max);

/* An expiry between life_s and 2·life_s from now that stays the same for life_s seconds, and a body bound that stays the same for
 * bodies of similar size (the next power of two, at least 1024): with these the terms of a route and price do not flicker. */
int64_t x402_quote_expiry(int64_t now_s, int64_t life_s);
uint64_t x402_quote_body_max(uint64_t body_len);

#endif
