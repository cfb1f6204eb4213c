/* Unsigned 256-bit numbers, as contracts and payment protocols have them: parsed, compared, added and subtracted with checks.
 * Money inside the gateway is struct amount; this is for what others sign, where a number that does not fit is refused, never cut. */
#ifndef OPGATE_BASE_U256_H
#define OPGATE_BASE_U256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/amount.h"
#include "base/err.h"

struct u256 {
	uint64_t limb[4]; /* least significant first */
};

#define U256_STR_MAX 79 /* 78 digits and a NUL */
#define U256_ZERO ((struct u256){ { 0, 0, 0, 0 } })

struct u256_str {
	char s[U256_STR_MAX];
};

struct u256 u256_from_u64(uint64_t v);
struct u256 u256_from_amount(struct amount a);
struct u256 u256_from_be(const uint8_t be[32]);
void u256_to_be(const struct u256 *a, uint8_t ret_be[32]);
enum err u256_to_amount(const struct u256 *a, struct amount *ret) WARN_UNUSED; /* ERR_OVERFLOW above 2^127-1 */
enum err u256_to_u64(const struct u256 *a, uint64_t *ret) WARN_UNUSED;         /* ERR_OVERFLOW */

/* Digits of base 2, 8, 10 or 16 (either case) and nothing else; leading zeros are fine. ERR_BAD_FIELD, ERR_OVERFLOW from 2^256 on. */
enum err u256_parse(const char *s, size_t len, unsigned base, struct u256 *ret) WARN_UNUSED;
struct u256_str u256_format(const struct u256 *a); /* decimal: u256_format(&a).s */

int u256_cmp(const struct u256 *a, const struct u256 *b);
bool u256_equal(const struct u256 *a, const struct u256 *b);
bool u256_is_zero(const struct u256 *a);
enum err u256_add(const struct u256 *a, const struct u256 *b, struct u256 *ret) WARN_UNUSED; /* ERR_OVERFLOW */
enum err u256_sub(const struct u256 *a, const struct u256 *b, struct u256 *ret) WARN_UNUSED; /* ERR_OVERFLOW when a < b */
enum err u256_mul_u64(const struct u256 *a, uint64_t n, struct u256 *ret) WARN_UNUSED;       /* ERR_OVERFLOW */

#endif
