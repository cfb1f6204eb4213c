/* The authorization inside a payment: EIP-3009 or Permit2 members, numbers as JavaScript reads them. See x402_payload.h. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "crypto/crypto.h"
#include "pay/x402_check.h"
#include "pay/x402_payload.h"

#define MALFORMED "invalid_payload"
#define UNSUPPORTED "unsupported_payload_type"

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* BigInt(string): blanks around, "" is 0, 0x 0o 0b without a sign, or decimal with one. false where BigInt throws. */
static bool number_from_text(const char *s, struct x402_number *ret)
{
	size_t len = strlen(s);
	unsigned base = 10;
	bool negative = false;
	while (len && is_blank(*s))
		s++, len--;
	while (len && is_blank(s[len - 1]))
		len--;
	*ret = (struct x402_number){ .range = X402_FITS };
	if (len == 0)
		return true;
	if (len > 2 && s[0] == '0' && strchr("xXoObB", s[1])) {
		base = s[1] == 'x' || s[1] == 'X' ? 16 : s[1] == 'o' || s[1] == 'O' ? 8 : 2;
		s += 2, len -= 2;
	} else if (len > 1 && (*s == '-' || *s == '+')) {
		negative = *s == '-';
		s++, len--;
	}
	enum err e = u256_parse(s, len, base, &ret->v);
	if (e == ERR_OVERFLOW)
		ret->range = X402_OVER;
	if (negative && (e == ERR_OVERFLOW || !u256_is_zero(&ret->v)))
		ret->range = X402_NEGATIVE;
	return e != ERR_BAD_FIELD;
}

/* BigInt(number): whole doubles only. */
static bool number_from_double(double d, struct x402_number *ret)
{
	int exponent;
	*ret = (struct x402_number){ .range = d < 0 ? X402_NEGATIVE : X402_FITS };
	if (!isfinite(d) || floor(d) != d)
		return false;
	if (d < 0)
		return true;
	double fraction = frexp(d, &exponent); /* d = fraction · 2^exponent, fraction below 1 with 53 bits */
	if (exponent <= 63) {
		ret->v = u256_from_u64((uint64_t)d);
		return true;
	}
	ret->v = u256_from_u64((uint64_t)ldexp(fraction, 53));
	for (int i = 53; i < exponent && ret->range == X402_FITS; i++)
		if (u256_add(&ret->v, &ret->v, &ret->v))
			ret->range = X402_OVER;
	return true;
}

static bool number_read(const json_t *object, const char *key, struct x402_number *ret)
{
	const json_t *j = json_object_get(object, key);
	if (json_is_string(j))
		return number_from_text(json_string_value(j), ret);
	return json_is_number(j) && number_from_double(json_number_value(j), ret);
}

static bool address_read(const json_t *object, const char *key, struct address *ret)
{
	return address_parse(json_string_value(json_object_get(object, key)), ret) == ERR_OK;
}

/* What typed data accepts for an address: all lower case, or the exact checksum. */
static bool address_read_typed(const json_t *object, const char *key, struct address *ret)
{
	const char *s = json_string_value(json_object_get(object, key));
	if (address_parse(s, ret))
		return false;
	return strcmp(s, address_format(ret).s) == 0 || strcmp(s, address_format_eip55(ret).s) == 0;
}

static bool signature_read(const json_t *payload, struct x402_auth *a)
{
	const char *s = json_string_value(json_object_get(payload, "signature"));
	if (!s)
		return false;
	size_t digits = strncmp(s, "0x", 2) == 0 ? strlen(s + 2) : 1;
	a->signature_len = digits / 2;
	a->signature = xmalloc(a->signature_len + 1);
	a->signature_hex = digits % 2 == 0 && hex_decode(s + 2, digits, a->signature, a->signature_len) == ERR_OK;
	if (!a->signature_hex)
		a->signature_len = 0;
	return true;
}

static const char *eip3009_read(const json_t *payload, struct x402_auth *a)
{
	const json_t *auth = json_object_get(payload, "authorization");
	const char *nonce = json_string_value(json_object_get(auth, "nonce"));
	uint8_t nonce_be[32] = { 0 };
	a->method = X402_EIP3009;
	if (!json_is_object(auth) || !number_read(auth, "value", &a->value) || !number_read(auth, "validAfter", &a->valid_after) ||
	    !number_read(auth, "validBefore", &a->valid_before))
		return MALFORMED;
	a->hashable = address_read_typed(auth, "from", &a->from);
	if (!address_read_typed(auth, "to", &a->to))
		a->hashable = false;
	if (!nonce || strncmp(nonce, "0x", 2) != 0 || hex_decode(nonce + 2, strlen(nonce + 2), nonce_be, sizeof(nonce_be)))
		a->hashable = false;
	a->nonce.v = u256_from_be(nonce_be);
	return NULL;
}

static const char *permit2_read(const json_t *payload, struct x402_auth *a)
{
	const json_t *auth = json_object_get(payload, "permit2Authorization");
	const json_t *permitted = json_object_get(auth, "permitted"), *witness = json_object_get(auth, "witness");
	a->method = X402_PERMIT2;
	a->hashable = true;
	if (!address_read(auth, "from", &a->from) || !address_read(auth, "spender", &a->spender) || !address_read(permitted, "token", &a->token) ||
	    !address_read(witness, "to", &a->to))
		return MALFORMED;
	if (a->upto && !address_read(witness, "facilitator", &a->facilitator))
		return MALFORMED;
	if (!number_read(permitted, "amount", &a->value) || !number_read(witness, "validAfter", &a->valid_after) ||
	    !number_read(auth, "deadline", &a->valid_before) || !number_read(auth, "nonce", &a->nonce))
		return MALFORMED;
	return NULL;
}

/* upto insists on strings for every member before it looks at any. */
static bool upto_shape(const json_t *payload)
{
	const json_t *auth = json_object_get(payload, "permit2Authorization");
	const json_t *permitted = json_object_get(auth, "permitted"), *witness = json_object_get(auth, "witness");
	const struct {
		const json_t *object;
		const char *key;
	} texts[] = {
		{ payload, "signature" }, { auth, "from" }, { auth, "spender" }, { auth, "nonce" }, { auth, "deadline" },
		{ permitted, "token" }, { permitted, "amount" }, { witness, "facilitator" }, { witness, "to" }, { witness, "validAfter" },
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (!json_is_string(json_object_get(texts[i].object, texts[i].key)))
			return false;
	return true;
}

/* Version 1 checks shapes first, and takes numbers as strings only. */
static bool v1_shape(const json_t *payload)
{
	const json_t *auth = json_object_get(payload, "authorization");
	static const char *const keys[] = { "from", "to", "value", "validAfter", "validBefore", "nonce" };
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (!json_is_string(json_object_get(auth, keys[i])))
			return false;
	return true;
}

const char *x402_auth_read(const struct x402_payment *p, enum x402_scheme scheme, struct x402_auth *ret)
{
	struct x402_auth a = { .upto = scheme == X402_UPTO };
	const char *why = NULL;
	if (scheme == X402_UPTO && !upto_shape(p->payload))
		return UNSUPPORTED;
	if (!json_is_object(p->payload) || (p->version == 1 && !v1_shape(p->payload)))
		return MALFORMED;
	if (p->version == 2 && json_object_get(p->payload, "permit2Authorization"))
		why = permit2_read(p->payload, &a);
	else
		why = eip3009_read(p->payload, &a);
	if (!why && !signature_read(p->payload, &a))
		why = MALFORMED;
	if (why)
		return why;
	*ret = a;
	return NULL;
}

void x402_auth_done(struct x402_auth *a)
{
	mem_cleanup_free(&a->signature);
	a->signature = NULL;
	a->signature_len = 0;
}

struct x402_claim_key x402_claim_key_of(const struct x402_offer *offer, const struct x402_auth *auth)
{
	struct x402_claim_key key = { .chain_id = offer->chain_id, .payer = auth->from };
	key.contract = auth->method == X402_PERMIT2 ? X402_PERMIT2_CONTRACT : offer->asset;
	u256_to_be(&auth->nonce.v, key.nonce);
	return key;
}
