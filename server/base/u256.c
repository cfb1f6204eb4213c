/* 256-bit unsigned arithmetic on four limbs. Called by pay and chain; no state, no locks. */
#include "base/u256.h"

#include <string.h>

struct u256 u256_from_u64(uint64_t v)
{
	return (struct u256){ { v, 0, 0, 0 } };
}

struct u256 u256_from_be(const uint8_t be[32])
{
	struct u256 a = U256_ZERO;
	for (int i = 0; i < 32; i++)
		a.limb[3 - i / 8] = a.limb[3 - i / 8] << 8 | be[i];
	return a;
}

void u256_to_be(const struct u256 *a, uint8_t ret_be[32])
{
	for (int i = 0; i < 32; i++)
		ret_be[i] = (uint8_t)(a->limb[3 - i / 8] >> (56 - 8 * (i % 8)));
}

struct u256 u256_from_amount(struct amount a)
{
	uint8_t be[32];
	amount_to_be(a, be);
	return u256_from_be(be);
}

enum err u256_to_amount(const struct u256 *a, struct amount *ret)
{
	uint8_t be[32];
	u256_to_be(a, be);
	return amount_from_be(be, ret);
}

enum err u256_to_u64(const struct u256 *a, uint64_t *ret)
{
	if (a->limb[1] || a->limb[2] || a->limb[3])
		return ERR_OVERFLOW;
	*ret = a->limb[0];
	return ERR_OK;
}

static unsigned digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned)(c - 'a') + 10;
	if (c >= 'A' && c <= 'F')
		return (unsigned)(c - 'A') + 10;
	return 16;
}

enum err u256_parse(const char *s, size_t len, unsigned base, struct u256 *ret)
{
	struct u256 v = U256_ZERO;
	if (len == 0)
		return ERR_BAD_FIELD;
	/* Whether it is a number at all comes before whether it fits: the two are answered differently. */
	for (size_t i = 0; i < len; i++)
		if (digit_value(s[i]) >= base)
			return ERR_BAD_FIELD;
	for (size_t i = 0; i < len; i++) {
		struct u256 digit = u256_from_u64(digit_value(s[i]));
		if (u256_mul_u64(&v, base, &v) || u256_add(&v, &digit, &v))
			return ERR_OVERFLOW;
	}
	*ret = v;
	return ERR_OK;
}

/* Divides in place by 10^19, the largest power of ten in a limb; returns the remainder. */
static uint64_t chunk_take(struct u256 *a)
{
	const uint64_t chunk = 10000000000000000000u;
	unsigned __int128 rest = 0;
	for (int i = 3; i >= 0; i--) {
		rest = rest << 64 | a->limb[i];
		a->limb[i] = (uint64_t)(rest / chunk);
		rest %= chunk;
	}
	return (uint64_t)rest;
}

struct u256_str u256_format(const struct u256 *a)
{
	struct u256 left = *a;
	struct u256_str out;
	char reversed[5 * 19];
	size_t n = 0;
	do {
		uint64_t chunk = chunk_take(&left);
		for (int i = 0; i < 19; i++, chunk /= 10)
			reversed[n++] = (char)('0' + (int)(chunk % 10));
	} while (!u256_is_zero(&left));
	while (n > 1 && reversed[n - 1] == '0')
		n--;
	for (size_t i = 0; i < n; i++)
		out.s[i] = reversed[n - 1 - i];
	out.s[n] = '\0';
	return out;
}

int u256_cmp(const struct u256 *a, const struct u256 *b)
{
	for (int i = 3; i >= 0; i--)
		if (a->limb[i] != b->limb[i])
			return a->limb[i] > b->limb[i] ? 1 : -1;
	return 0;
}

bool u256_equal(const struct u256 *a, const struct u256 *b)
{
	return u256_cmp(a, b) == 0;
}

bool u256_is_zero(const struct u256 *a)
{
	return (a->limb[0] | a->limb[1] | a->limb[2] | a->limb[3]) == 0;
}

enum err u256_add(const struct u256 *a, const struct u256 *b, struct u256 *ret)
{
	struct u256 sum;
	unsigned __int128 carry = 0;
	for (int i = 0; i < 4; i++) {
		carry += (unsigned __int128)a->limb[i] + b->limb[i];
		sum.limb[i] = (uint64_t)carry;
		carry >>= 64;
	}
	if (carry)
		return ERR_OVERFLOW;
	*ret = sum;
	return ERR_OK;
}

enum err u256_sub(const struct u256 *a, const struct u256 *b, struct u256 *ret)
{
	struct u256 rest;
	uint64_t borrow = 0;
	if (u256_cmp(a, b) < 0)
		return ERR_OVERFLOW;
	for (int i = 0; i < 4; i++) {
		unsigned __int128 d = (unsigned __int128)a->limb[i] - b->limb[i] - borrow;
		rest.limb[i] = (uint64_t)d;
		borrow = d >> 64 != 0;
	}
	*ret = rest;
	return ERR_OK;
}

enum err u256_mul_u64(const struct u256 *a, uint64_t n, struct u256 *ret)
{
	struct u256 product;
	unsigned __int128 carry = 0;
	for (int i = 0; i < 4; i++) {
		carry += (unsigned __int128)a->limb[i] * n;
		product.limb[i] = (uint64_t)carry;
		carry >>= 64;
	}
	if (carry)
		return ERR_OVERFLOW;
	*ret = product;
	return ERR_OK;
}
