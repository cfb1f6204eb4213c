/* Hex, fixed-size words and randomness. Called by everyone; no state, no locks. */
#include "base/hex.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"

void hex_encode(const void *p, size_t len, char *ret)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *b = p;
	for (size_t i = 0; i < len; i++) {
		ret[2 * i] = digits[b[i] >> 4];
		ret[2 * i + 1] = digits[b[i] & 15];
	}
	ret[2 * len] = '\0';
}

/* One more than the digit's value; 0: none. */
static const uint8_t digit_values[256] = {
	['0'] = 1, ['1'] = 2, ['2'] = 3, ['3'] = 4, ['4'] = 5, ['5'] = 6, ['6'] = 7, ['7'] = 8, ['8'] = 9, ['9'] = 10,
	['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16, ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

int hex_digit(char c)
{
	return digit_values[(uint8_t)c] - 1;
}

enum err hex_decode(const char *s, size_t len, uint8_t *ret, size_t ret_len)
{
	if (len % 2 != 0 || len / 2 != ret_len)
		return ERR_BAD_FIELD;
	for (size_t i = 0; i < len; i++)
		if (hex_digit(s[i]) < 0)
			return ERR_BAD_FIELD;
	for (size_t i = 0; i < ret_len; i++)
		ret[i] = (uint8_t)(hex_digit(s[2 * i]) << 4 | hex_digit(s[2 * i + 1]));
	return ERR_OK;
}

struct address_str address_format(const struct address *a)
{
	struct address_str out = { "0x" };
	hex_encode(a->b, sizeof(a->b), out.s + 2);
	return out;
}

enum err address_parse(const char *s, struct address *ret)
{
	if (!s || s[0] != '0' || s[1] != 'x')
		return ERR_BAD_FIELD;
	return hex_decode(s + 2, strnlen(s + 2, 41), ret->b, sizeof(ret->b));
}

bool address_equal(const struct address *a, const struct address *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

bool address_is_zero(const struct address *a)
{
	static const struct address zero;
	return address_equal(a, &zero);
}

struct hash_str hash_format(const struct hash *h)
{
	struct hash_str out = { "0x" };
	hex_encode(h->b, sizeof(h->b), out.s + 2);
	return out;
}

enum err hash_parse(const char *s, struct hash *ret)
{
	if (!s)
		return ERR_BAD_FIELD;
	if (strncmp(s, "0x", 2) == 0)
		s += 2;
	else if (strncmp(s, "sha256:", 7) == 0)
		s += 7;
	return hex_decode(s, strnlen(s, 65), ret->b, sizeof(ret->b));
}

bool hash_equal(const struct hash *a, const struct hash *b)
{
	volatile uint8_t diff = 0; /* volatile: no early exit may be invented */
	for (size_t i = 0; i < sizeof(a->b); i++)
		diff |= a->b[i] ^ b->b[i];
	return diff == 0;
}

struct uuid_str uuid_format(const struct uuid *u)
{
	struct uuid_str out;
	char hex[33];
	hex_encode(u->b, sizeof(u->b), hex);
	char *p = out.s;
	for (int i = 0; i < 32; i++) {
		if (i == 8 || i == 12 || i == 16 || i == 20)
			*p++ = '-';
		*p++ = hex[i];
	}
	*p = '\0';
	return out;
}

enum err uuid_parse(const char *s, struct uuid *ret)
{
	if (!s || strnlen(s, 37) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-')
		return ERR_BAD_FIELD;
	char hex[32];
	memcpy(hex, s, 8);
	memcpy(hex + 8, s + 9, 4);
	memcpy(hex + 12, s + 14, 4);
	memcpy(hex + 16, s + 19, 4);
	memcpy(hex + 20, s + 24, 12);
	return hex_decode(hex, sizeof(hex), ret->b, sizeof(ret->b));
}

struct uuid uuid_new(void)
{
	struct uuid u;
	random_bytes(u.b, sizeof(u.b));
	uint64_t ms = (uint64_t)clock_wall_ms();
	for (int i = 0; i < 6; i++)
		u.b[i] = (uint8_t)(ms >> (40 - 8 * i));
	u.b[6] = (uint8_t)(0x70 | (u.b[6] & 0x0f)); /* version 7 */
	u.b[8] = (uint8_t)(0x80 | (u.b[8] & 0x3f)); /* RFC 9562 variant */
	return u;
}

void random_bytes(void *p, size_t len)
{
	uint8_t *b = p;
	while (len > 0) {
		ssize_t n = getrandom(b, len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			panic("getrandom failed");
		b += n;
		len -= (size_t)n;
	}
}
