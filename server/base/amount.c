/* Checked money arithmetic: the only file that looks inside struct amount. No state, no locks, no floats. */
#include "base/amount.h"

#include <string.h>

#define UNITS_MAX (~(unsigned __int128)0 >> 1) /* 2^127-1 */
#define BPS_ONE 10000u
#define DECIMALS 18

struct amount amount_from_u64(uint64_t units)
{
	return (struct amount){ units };
}

enum err amount_parse(const char *s, size_t len, struct amount *ret)
{
	if (len == 0 || (len > 1 && s[0] == '0'))
		return ERR_BAD_FIELD;
	for (size_t i = 0; i < len; i++)
		if (s[i] < '0' || s[i] > '9')
			return ERR_BAD_FIELD;
	if (len >= AMOUNT_STR_MAX)
		return ERR_OVERFLOW;
	unsigned __int128 v = 0;
	for (size_t i = 0; i < len; i++) {
		unsigned digit = (unsigned)(s[i] - '0');
		if (v > (UNITS_MAX - digit) / 10)
			return ERR_OVERFLOW;
		v = v * 10 + digit;
	}
	ret->units = v;
	return ERR_OK;
}

enum err amount_parse_decimal(const char *s, size_t len, struct amount *ret)
{
	const char *point = memchr(s, '.', len);
	size_t whole = point ? (size_t)(point - s) : len, decimals = point ? len - whole - 1 : 0;
	char digits[AMOUNT_STR_MAX + DECIMALS];
	size_t n = 0;

	if (whole == 0 || (whole > 1 && s[0] == '0') || (point && decimals == 0) || decimals > DECIMALS)
		return ERR_BAD_FIELD;
	if (whole >= AMOUNT_STR_MAX)
		return ERR_OVERFLOW;
	for (size_t i = 0; i < len; i++)
		if (s + i != point)
			digits[n++] = s[i];
	while (decimals++ < DECIMALS)
		digits[n++] = '0';
	for (whole = 0; whole + 1 < n && digits[whole] == '0';)
		whole++;
	return amount_parse(digits + whole, n - whole, ret);
}

struct amount_str amount_format(struct amount a)
{
	struct amount_str out;
	char reversed[AMOUNT_STR_MAX];
	size_t n = 0;
	do {
		reversed[n++] = (char)('0' + (int)(a.units % 10));
		a.units /= 10;
	} while (a.units);
	for (size_t i = 0; i < n; i++)
		out.s[i] = reversed[n - 1 - i];
	out.s[n] = '\0';
	return out;
}

enum err amount_from_be(const uint8_t be[32], struct amount *ret)
{
	unsigned __int128 v = 0;
	for (int i = 0; i < 32; i++) {
		if (i < 16 && be[i])
			return ERR_OVERFLOW;
		v = v << 8 | be[i];
	}
	if (v > UNITS_MAX)
		return ERR_OVERFLOW;
	ret->units = v;
	return ERR_OK;
}

void amount_to_be(struct amount a, uint8_t ret_be[32])
{
	memset(ret_be, 0, 16);
	for (int i = 31; i >= 16; i--) {
		ret_be[i] = (uint8_t)a.units;
		a.units >>= 8;
	}
}

enum err amount_add(struct amount a, struct amount b, struct amount *ret)
{
	if (a.units > UNITS_MAX - b.units)
		return ERR_OVERFLOW;
	ret->units = a.units + b.units;
	return ERR_OK;
}

enum err amount_sub(struct amount a, struct amount b, struct amount *ret)
{
	if (a.units < b.units)
		return ERR_OVERFLOW;
	ret->units = a.units - b.units;
	return ERR_OK;
}

enum err amount_mul(struct amount a, uint64_t n, struct amount *ret)
{
	if (n != 0 && a.units > UNITS_MAX / n)
		return ERR_OVERFLOW;
	ret->units = a.units * n;
	return ERR_OK;
}

/* a·bps/10000 without the product: with a = 10000·q + r it is q·bps + r·bps/10000, and r·bps fits 64 bits. */
static enum err amount_share(struct amount a, uint32_t bps, bool up, struct amount *ret)
{
	uint64_t low = (uint64_t)(a.units % BPS_ONE) * bps;
	struct amount high, sum, tail = { low / BPS_ONE + (up && low % BPS_ONE != 0) };
	enum err e = amount_mul((struct amount){ a.units / BPS_ONE }, bps, &high);
	if (!e)
		e = amount_add(high, tail, &sum);
	if (!e)
		*ret = sum;
	return e;
}

enum err amount_share_floor(struct amount a, uint32_t bps, struct amount *ret)
{
	return amount_share(a, bps, false, ret);
}

enum err amount_share_ceil(struct amount a, uint32_t bps, struct amount *ret)
{
	return amount_share(a, bps, true, ret);
}

int amount_cmp(struct amount a, struct amount b)
{
	return (a.units > b.units) - (a.units < b.units);
}

bool amount_is_zero(struct amount a)
{
	return a.units == 0;
}

struct amount amount_min(struct amount a, struct amount b)
{
	return amount_cmp(a, b) <= 0 ? a : b;
}

struct amount amount_max(struct amount a, struct amount b)
{
	return amount_cmp(a, b) >= 0 ? a : b;
}
