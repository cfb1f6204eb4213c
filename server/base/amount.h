/* Money: base units of OPG (18 decimals). A one-member struct so that `+` does not compile; all arithmetic is checked.
 * Range 0 … 2^127-1. On the wire and in SQL: decimal strings without sign, leading zeros or exponent. */
#ifndef OPGATE_BASE_AMOUNT_H
#define OPGATE_BASE_AMOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct amount {
	unsigned __int128 units; /* touch only in amount.c: `make check-source` refuses it elsewhere */
};

#define AMOUNT_STR_MAX 40 /* 39 digits and a NUL */
#define AMOUNT_ZERO ((struct amount){ 0 })

struct amount_str {
	char s[AMOUNT_STR_MAX];
};

struct amount amount_from_u64(uint64_t units);
enum err amount_parse(const char *s, size_t len, struct amount *ret) WARN_UNUSED;    /* ERR_BAD_FIELD, ERR_OVERFLOW */
/* "1.25" with up to 18 digits behind the point, to 10^-18: for sums that people write. ERR_BAD_FIELD, ERR_OVERFLOW */
enum err amount_parse_decimal(const char *s, size_t len, struct amount *ret) WARN_UNUSED;
struct amount_str amount_format(struct amount a);                                   /* amount_format(a).s */
enum err amount_from_be(const uint8_t be[32], struct amount *ret) WARN_UNUSED;       /* uint256; ERR_OVERFLOW */
void amount_to_be(struct amount a, uint8_t ret_be[32]);
enum err amount_add(struct amount a, struct amount b, struct amount *ret) WARN_UNUSED; /* ERR_OVERFLOW */
enum err amount_sub(struct amount a, struct amount b, struct amount *ret) WARN_UNUSED; /* ERR_OVERFLOW when a < b */
enum err amount_mul(struct amount a, uint64_t n, struct amount *ret) WARN_UNUSED;      /* ERR_OVERFLOW */
/* a × bps / 10000, rounded down / up. */
enum err amount_share_floor(struct amount a, uint32_t bps, struct amount *ret) WARN_UNUSED;
enum err amount_share_ceil(struct amount a, uint32_t bps, struct amount *ret) WARN_UNUSED;
int amount_cmp(struct amount a, struct amount b);
bool amount_is_zero(struct amount a);
struct amount amount_min(struct amount a, struct amount b);
struct amount amount_max(struct amount a, struct amount b);

#endif
