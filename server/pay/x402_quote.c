/* See x402_quote.h. A token is base64url(fields || HMAC-SHA256(key, label || fields) cut to 128 bits); numbers are a length byte and
 * that many big-endian bytes, because most of them are small and every byte travels twice in a header. */
#include "pay/x402_quote.h"

#include <string.h>

#include "base/base64.h"
#include "base/mem.h"
#include "base/u256.h"
#include "crypto/crypto.h"

#define FORMAT 1
#define MAC_LEN 16
#define NUMBERS 10
/* format, numbers, digest, route, seal */
#define TOKEN_BYTES_MAX (1 + NUMBERS * 33 + 32 + 1 + X402_ROUTE_MAX + MAC_LEN)
#define LABEL "opgate x402 quote\n"

struct cursor {
	const uint8_t *at, *end;
	bool bad;
};

static size_t put_number(uint8_t *to, const struct u256 *v)
{
	uint8_t be[32];
	size_t skip = 0;
	u256_to_be(v, be);
	while (skip < 32 && be[skip] == 0)
		skip++;
	to[0] = (uint8_t)(32 - skip);
	memcpy(to + 1, be + skip, 32 - skip);
	return 33 - skip;
}

static const uint8_t *take(struct cursor *c, size_t len)
{
	const uint8_t *p = c->at;
	if (c->bad || (size_t)(c->end - c->at) < len) {
		c->bad = true;
		return NULL;
	}
	c->at += len;
	return p;
}

static struct u256 take_number(struct cursor *c)
{
	uint8_t be[32] = { 0 };
	const uint8_t *len = take(c, 1);
	const uint8_t *p = len && *len <= 32 ? take(c, *len) : NULL;
	if (!p) {
		c->bad = true;
		return U256_ZERO;
	}
	memcpy(be + 32 - *len, p, *len);
	return u256_from_be(be);
}

static uint64_t take_u64(struct cursor *c)
{
	struct u256 v = take_number(c);
	uint64_t out = 0;
	if (u256_to_u64(&v, &out))
		c->bad = true;
	return out;
}

static struct amount take_amount(struct cursor *c)
{
	struct u256 v = take_number(c);
	struct amount out = AMOUNT_ZERO;
	if (u256_to_amount(&v, &out))
		c->bad = true;
	return out;
}

static void seal_of(const struct hash *key, const uint8_t *fields, size_t len, struct hash *ret)
{
	uint8_t text[sizeof(LABEL) - 1 + TOKEN_BYTES_MAX];
	memcpy(text, LABEL, sizeof(LABEL) - 1);
	memcpy(text + sizeof(LABEL) - 1, fields, len);
	hmac_sha256(key->b, sizeof(key->b), text, sizeof(LABEL) - 1 + len, ret);
}

char *x402_quote_seal(const struct hash *key, const struct x402_quote *q)
{
	const struct u256 numbers[NUMBERS] = {
		u256_from_u64((uint64_t)q->expires_s), u256_from_u64(q->body_max), u256_from_u64(q->input_max), u256_from_u64(q->output_max),
		u256_from_amount(q->price), u256_from_amount(q->unit.ask_input), u256_from_amount(q->unit.ask_output),
		u256_from_amount(q->unit.royalty_input), u256_from_amount(q->unit.royalty_output), u256_from_u64(q->unit.fee_bps),
	};
	uint8_t bytes[TOKEN_BYTES_MAX];
	size_t n = 0, route_len = strnlen(q->route, X402_ROUTE_MAX - 1);
	struct hash mac;
	bytes[n++] = FORMAT;
	for (size_t i = 0; i < NUMBERS; i++)
		n += put_number(bytes + n, &numbers[i]);
	memcpy(bytes + n, q->model.b, sizeof(q->model.b));
	n += sizeof(q->model.b);
	bytes[n++] = (uint8_t)route_len;
	memcpy(bytes + n, q->route, route_len);
	n += route_len;
	seal_of(key, bytes, n, &mac);
	memcpy(bytes + n, mac.b, MAC_LEN);
	n += MAC_LEN;
	char *token = xmalloc(base64url_encoded_len(n) + 1);
	base64url_encode(bytes, n, token);
	return token;
}

/* The fields of a token whose seal is good. */
static enum err fields_read(const uint8_t *p, size_t len, struct x402_quote *ret)
{
	struct cursor c = { p, p + len, false };
	struct x402_quote q = { .price = AMOUNT_ZERO };
	const uint8_t *format = take(&c, 1);
	uint64_t expires = take_u64(&c);
	q.expires_s = (int64_t)expires;
	q.body_max = take_u64(&c);
	q.input_max = take_u64(&c);
	q.output_max = take_u64(&c);
	q.price = take_amount(&c);
	q.unit.ask_input = take_amount(&c);
	q.unit.ask_output = take_amount(&c);
	q.unit.royalty_input = take_amount(&c);
	q.unit.royalty_output = take_amount(&c);
	uint64_t bps = take_u64(&c);
	q.unit.fee_bps = (uint32_t)bps;
	const uint8_t *model = take(&c, sizeof(q.model.b));
	const uint8_t *route_len = take(&c, 1);
	const uint8_t *route = route_len ? take(&c, *route_len) : NULL;
	if (c.bad || *format != FORMAT || c.at != c.end || *route_len >= X402_ROUTE_MAX || expires > INT64_MAX || bps > UINT32_MAX)
		return ERR_BAD_TOKEN;
	memcpy(q.model.b, model, sizeof(q.model.b));
	memcpy(q.route, route, *route_len);
	*ret = q;
	return ERR_OK;
}

enum err x402_quote_open(const struct hash *key, const char *token, int64_t now_s, struct x402_quote *ret)
{
	uint8_t bytes[TOKEN_BYTES_MAX];
	size_t len, text_len = token ? strnlen(token, 2 * TOKEN_BYTES_MAX) : 0;
	struct hash mac;
	if (base64url_decode(token, text_len, bytes, sizeof(bytes), &len) || len < MAC_LEN)
		return ERR_BAD_TOKEN;
	len -= MAC_LEN;
	seal_of(key, bytes, len, &mac);
	if (!crypto_equal(mac.b, bytes + len, MAC_LEN))
		return ERR_BAD_TOKEN;
	enum err e = fields_read(bytes, len, ret);
	if (e)
		return e;
	return now_s >= ret->expires_s ? ERR_DEADLINE : ERR_OK;
}

bool x402_quote_covers(const struct x402_quote *q, const char *route, const struct hash *model, uint64_t body_len, uint64_t input_max, uint64_t output_max)
{
	return strcmp(q->route, route) == 0 && hash_equal(&q->model, model) && body_len <= q->body_max && input_max <= q->input_max && output_max <= q->output_max;
}

int64_t x402_quote_expiry(int64_t now_s, int64_t life_s)
{
	return (now_s / life_s + 2) * life_s;
}

uint64_t x402_quote_body_max(uint64_t body_len)
{
	uint64_t bound = 1024;
	while (bound < body_len && bound < (uint64_t)1 << 62)
		bound *= 2;
	return bound;
}
