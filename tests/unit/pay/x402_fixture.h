/* Payments for tests: members as raw JSON text, signed here (rightly, or wrongly in every way that was recorded). */
#ifndef OPGATE_TESTS_X402_FIXTURE_H
#define OPGATE_TESTS_X402_FIXTURE_H

#include "base/base64.h"
#include "base/json.h"
#include "pay/x402_check.h"
#include "pay/x402_headers.h"
#include "tests/unit/unit.h"
#include "x402_vectors.h"

#define ASSET "0x5FbDB2315678afecb367f032d93F642f64180aa3"
#define PAY_TO "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
#define FACILITATOR "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
#define OTHER "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"
#define PRICE "1000000000000000"
#define NONCE "0x1111111111111111111111111111111111111111111111111111111111111111"

static inline struct address addr(const char *s)
{
	struct address a;
	assert_int_equal(address_parse(s, &a), ERR_OK);
	return a;
}

static inline struct u256 num(const char *s)
{
	struct u256 a;
	assert_int_equal(u256_parse(s, strlen(s), 10, &a), ERR_OK);
	return a;
}

/* upto, exact by Permit2, exact by EIP-3009: the order of CLIENT_227_ALL. */
enum { OFFER_UPTO, OFFER_PERMIT2, OFFER_EXACT, OFFER_COUNT };

static inline void offers_make(struct x402_offer ret[OFFER_COUNT])
{
	const struct x402_offer base = { .chain_id = 84532, .amount = num(PRICE), .asset = addr(ASSET), .pay_to = addr(PAY_TO), .max_timeout_s = 300,
					 .name = "OPG", .version = "1", .quote = VECTOR_QUOTE };
	ret[OFFER_UPTO] = ret[OFFER_PERMIT2] = ret[OFFER_EXACT] = base;
	ret[OFFER_UPTO].scheme = X402_UPTO;
	ret[OFFER_UPTO].method = ret[OFFER_PERMIT2].method = X402_PERMIT2;
	ret[OFFER_UPTO].facilitator = addr(FACILITATOR);
}

enum sig {
	SIG_GOOD, SIG_DEFAULTS /* over the members before they were changed */, SIG_HIGH_S, SIG_V01, SIG_HIGH_V01, SIG_FLIPPED, SIG_64, SIG_66, SIG_EMPTY, SIG_NOT_HEX, SIG_NO_0X,
	SIG_ODD, SIG_ZERO, SIG_COMPACT, SIG_KEY, SIG_CHAIN, SIG_CONTRACT, SIG_NAME, SIG_RECEIVE, SIG_V29, SIG_R_ZERO, SIG_S_ORDER, SIG_6492, SIG_6492_BAD,
	SIG_MISSING, SIG_NUMBER,
};

/* Raw JSON; NULL takes the default. */
struct members {
	const char *from, *to, *value, *after, *before, *nonce; /* Permit2: to and after of the witness, before is the deadline */
	const char *token, *spender, *facilitator;
};

#define PLAIN { .from = NULL }

static inline const char *or_default(const char *raw, const char *fallback)
{
	return raw ? raw : fallback;
}

static inline char *payload_text(int offer, const struct members *m, const char *signature_raw)
{
	if (offer == OFFER_EXACT)
		return xasprintf("{\"signature\":%s,\"authorization\":{\"from\":%s,\"to\":%s,\"value\":%s,\"validAfter\":%s,\"validBefore\":%s,\"nonce\":%s}}", signature_raw,
				 or_default(m->from, "\"" VECTOR_PAYER "\""), or_default(m->to, "\"" PAY_TO "\""), or_default(m->value, "\"" PRICE "\""),
				 or_default(m->after, "\"0\""), or_default(m->before, "\"1767225900\""), or_default(m->nonce, "\"" NONCE "\""));
	return xasprintf("{\"signature\":%s,\"permit2Authorization\":{\"from\":%s,\"permitted\":{\"token\":%s,\"amount\":%s},\"spender\":%s,\"nonce\":%s,\"deadline\":%s,"
			 "\"witness\":{\"to\":%s,%s%s%s\"validAfter\":%s}}}",
			 signature_raw, or_default(m->from, "\"" VECTOR_PAYER "\""), or_default(m->token, "\"" ASSET "\""), or_default(m->value, "\"" PRICE "\""),
			 or_default(m->spender, offer == OFFER_UPTO ? "\"0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002\"" : "\"0x402085c248EeA27D92E8b30b2C58ed07f9E20001\""),
			 or_default(m->nonce, "\"12345678901234567890\""), or_default(m->before, "\"1767225900\""), or_default(m->to, "\"" PAY_TO "\""),
			 offer == OFFER_UPTO ? "\"facilitator\":" : "", offer == OFFER_UPTO ? or_default(m->facilitator, "\"" FACILITATOR "\"") : "", offer == OFFER_UPTO ? "," : "",
			 or_default(m->after, "\"0\""));
}

static inline void payment_make(int version, const struct x402_offer *offer, const char *payload, struct x402_payment *ret)
{
	struct x402_why why;
	_cleanup_json_ json_t *accepted = x402_offer_json(offer);
	_cleanup_free_ char *accepted_text = json_text(accepted);
	_cleanup_free_ char *text = version == 2 ? xasprintf("{\"x402Version\":2,\"payload\":%s,\"accepted\":%s}", payload, accepted_text)
						 : xasprintf("{\"x402Version\":1,\"scheme\":\"exact\",\"network\":\"base-sepolia\",\"payload\":%s}", payload);
	_cleanup_free_ char *header = base64_encode(text, strlen(text));
	assert_int_equal((version == 2 ? x402_payment_decode : x402_payment_decode_v1)(header, ret, &why), X402_DECODED);
}

/* n - s, and the other v. */
static inline void signature_twin(struct signature *sig)
{
	static const uint8_t order[32] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
					   0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41 };
	struct u256 n = u256_from_be(order), s = u256_from_be(sig->b + 32);
	assert_int_equal(u256_sub(&n, &s, &s), ERR_OK);
	u256_to_be(&s, sig->b + 32);
	sig->b[64] = sig->b[64] == 27 ? 28 : 27;
}

/* The digest a wallet would sign that was led to another domain, or another type. */
static inline void digest_make(int index, const struct members *m, enum sig how, struct hash *ret)
{
	struct x402_offer offers[OFFER_COUNT], *o = &offers[index];
	struct x402_payment p;
	struct x402_auth a;
	offers_make(offers);
	const struct members none = PLAIN;
	_cleanup_free_ char *payload = payload_text(index, how == SIG_DEFAULTS ? &none : m, "\"0x\"");
	payment_make(2, o, payload, &p);
	assert_null(x402_auth_read(&p, o->scheme, &a));
	if (how == SIG_CHAIN)
		o->chain_id = 1;
	if (how == SIG_CONTRACT)
		o->asset = addr(OTHER);
	if (how == SIG_NAME)
		o->name = "OPF";
	assert_true(x402_digest(o, &a, ret));
	x402_auth_done(&a);
	x402_payment_done(&p);
}

/* The same members under ReceiveWithAuthorization. */
static inline void digest_receive(struct hash *ret)
{
	struct eip712 e;
	struct hash domain, nonce;
	struct address asset = addr(ASSET), from = addr(VECTOR_PAYER), to = addr(PAY_TO);
	uint8_t price[32];
	struct u256 v = num(PRICE);
	u256_to_be(&v, price);
	memset(nonce.b, 0x11, 32);
	eip712_domain("OPG", "1", 84532, &asset, &domain);
	eip712_begin(&e, "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)");
	eip712_address(&e, &from);
	eip712_address(&e, &to);
	eip712_word(&e, price);
	eip712_uint(&e, 0);
	eip712_uint(&e, VECTOR_NOW + 300);
	eip712_hash(&e, &nonce);
	eip712_digest(&e, &domain, ret);
}

/* abi.encode(factory, calldata, signature) and the mark. */
static inline char *wrapped(const struct signature *sig, bool bad)
{
	uint8_t b[32 * 9 + 32] = { 0 };
	b[31] = 1; /* factory 0x…01 */
	b[63] = 0x60;
	b[95] = 0x80;
	b[0x80 + 31] = 65;
	if (bad)
		memset(b + 0x80, 0xff, 32);
	memcpy(b + 0xa0, sig->b, 65);
	for (size_t i = sizeof(b) - 32; i < sizeof(b); i += 2) {
		b[i] = 0x64;
		b[i + 1] = 0x92;
	}
	char hex[2 * sizeof(b) + 1];
	hex_encode(b, sizeof(b), hex);
	return xasprintf("\"0x%s\"", hex);
}

static inline char *signature_special(enum sig how, const struct signature *sig)
{
	const char *hex = signature_format(sig).s;
	switch (how) {
	case SIG_64: return xasprintf("\"%.130s\"", hex);
	case SIG_66: return xasprintf("\"%s00\"", hex);
	case SIG_EMPTY: return xstrdup("\"0x\"");
	case SIG_NOT_HEX: return xasprintf("\"%.131szz\"", hex);
	case SIG_NO_0X: return xasprintf("\"%s\"", hex + 2);
	case SIG_ODD: return xasprintf("\"%.131s\"", hex);
	case SIG_MISSING: return xstrdup("null");
	case SIG_NUMBER: return xstrdup("7");
	case SIG_6492: return wrapped(sig, false);
	case SIG_6492_BAD: return wrapped(sig, true);
	default: return xasprintf("\"%s\"", hex);
	}
}

/* The signature as raw JSON. */
static inline char *signature_make(int index, const struct members *m, enum sig how)
{
	struct secret_key key;
	struct signature sig;
	struct hash digest;
	assert_int_equal(secret_key_parse(VECTOR_KEY, &key), ERR_OK);
	if (how == SIG_KEY)
		key.b[31] ^= 1;
	if (how == SIG_RECEIVE)
		digest_receive(&digest);
	else
		digest_make(index, m, how, &digest);
	ecdsa_sign(&key, &digest, &sig);
	if (how == SIG_HIGH_S || how == SIG_HIGH_V01)
		signature_twin(&sig);
	if (how == SIG_V01 || how == SIG_HIGH_V01)
		sig.b[64] = (uint8_t)(sig.b[64] - 27);
	if (how == SIG_V29)
		sig.b[64] = 29;
	if (how == SIG_FLIPPED)
		sig.b[40] ^= 4;
	if (how == SIG_R_ZERO)
		memset(sig.b, 0, 32);
	if (how == SIG_S_ORDER)
		memset(sig.b + 32, 0xff, 32);
	if (how == SIG_ZERO)
		memset(sig.b, 0, 65);
	if (how == SIG_COMPACT) { /* EIP-2098: the parity in the top bit of s, 64 bytes */
		sig.b[32] = (uint8_t)(sig.b[32] | (sig.b[64] == 28 ? 0x80 : 0));
		how = SIG_64;
	}
	return signature_special(how, &sig);
}

#endif
