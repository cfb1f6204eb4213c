/* Money: parsing, formatting, checked arithmetic, shares. Expected numbers were computed apart, with big integers. */
#include "base/amount.h"
#include "base/hex.h"
#include "tests/unit/unit.h"

#define MAX "170141183460469231731687303715884105727" /* 2^127-1 */

static struct amount amt(const char *s)
{
	struct amount a;
	if (amount_parse(s, strlen(s), &a))
		fail_msg("not an amount: %s", s);
	return a;
}

static void assert_amount(struct amount a, const char *want)
{
	assert_string_equal(amount_format(a).s, want);
}

static void parses_and_formats(void **state)
{
	(void)state;
	static const char *const good[] = {
		"0", "1", "9", "10", "1000000000000000000", "18446744073709551615", "18446744073709551616",
		"99999999999999999999999999999999999999", "100000000000000000000000000000000000000",
		"170141183460469231731687303715884105719", "170141183460469231731687303715884105726", MAX,
	};
	for (size_t i = 0; i < COUNT_OF(good); i++)
		assert_amount(amt(good[i]), good[i]);
	assert_amount(amount_from_u64(UINT64_MAX), "18446744073709551615");
	struct amount a;
	assert_int_equal(amount_parse("12345", 3, &a), ERR_OK); /* the length decides, not a NUL */
	assert_amount(a, "123");
}

static void refuses(void **state)
{
	(void)state;
	static const char *const malformed[] = {
		"", " ", "-1", "+1", "-0", "00", "01", "0000", "1.0", "1e3", "1E3", "0x10", " 1", "1 ", "1,000", "1_000", "a", "1a",
		"\xd9\xa1", "Infinity", "NaN", "00000000000000000000000000000000000000001",
	};
	static const char *const too_big[] = {
		"170141183460469231731687303715884105728", "170141183460469231731687303715884105730",
		"200000000000000000000000000000000000000", "340282366920938463463374607431768211456" /* 2^128 */,
		"340282366920938463463374607431768211457", "999999999999999999999999999999999999999",
		"1000000000000000000000000000000000000000", "99999999999999999999999999999999999999999999999999999999999999999999999999",
	};
	struct amount a = amount_from_u64(77);
	for (size_t i = 0; i < COUNT_OF(malformed); i++)
		assert_int_equal(amount_parse(malformed[i], strlen(malformed[i]), &a), ERR_BAD_FIELD);
	for (size_t i = 0; i < COUNT_OF(too_big); i++)
		assert_int_equal(amount_parse(too_big[i], strlen(too_big[i]), &a), ERR_OVERFLOW);
	assert_int_equal(amount_parse("1\0002", 3, &a), ERR_BAD_FIELD);
	assert_amount(a, "77");
}

static void big_endian_words(void **state)
{
	(void)state;
	uint8_t word[32], back[32];
	static const struct {
		const char *hex, *text; /* text NULL: overflow */
	} cases[] = {
		{ "0000000000000000000000000000000000000000000000000000000000000000", "0" },
		{ "0000000000000000000000000000000000000000000000000de0b6b3a7640000", "1000000000000000000" },
		{ "000000000000000000000000000000007fffffffffffffffffffffffffffffff", MAX },
		{ "0000000000000000000000000000000080000000000000000000000000000000", NULL },
		{ "0000000000000000000000000000000100000000000000000000000000000000", NULL },
		{ "0100000000000000000000000000000000000000000000000000000000000000", NULL },
		{ "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", NULL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct amount a = amount_from_u64(5);
		assert_int_equal(hex_decode(cases[i].hex, 64, word, 32), ERR_OK);
		assert_int_equal(amount_from_be(word, &a), cases[i].text ? ERR_OK : ERR_OVERFLOW);
		assert_amount(a, cases[i].text ? cases[i].text : "5");
		if (cases[i].text) {
			memset(back, 0xaa, sizeof(back));
			amount_to_be(a, back);
			assert_memory_equal(back, word, 32);
		}
	}
}

static void adds_subtracts_multiplies(void **state)
{
	(void)state;
	struct amount r = amount_from_u64(5), one = amount_from_u64(1), max = amt(MAX);
	assert_int_equal(amount_add(amt("18446744073709551615"), one, &r), ERR_OK);
	assert_amount(r, "18446744073709551616");
	assert_int_equal(amount_add(amt("170141183460469231731687303715884105726"), one, &r), ERR_OK);
	assert_amount(r, MAX);
	assert_int_equal(amount_add(max, one, &r), ERR_OVERFLOW);
	assert_int_equal(amount_add(one, max, &r), ERR_OVERFLOW);
	assert_int_equal(amount_add(max, max, &r), ERR_OVERFLOW);
	assert_int_equal(amount_add(max, AMOUNT_ZERO, &r), ERR_OK);
	assert_amount(r, MAX);
	assert_int_equal(amount_sub(max, max, &r), ERR_OK);
	assert_true(amount_is_zero(r));
	assert_int_equal(amount_sub(amt("18446744073709551616"), one, &r), ERR_OK);
	assert_amount(r, "18446744073709551615");
	assert_int_equal(amount_sub(AMOUNT_ZERO, one, &r), ERR_OVERFLOW);
	assert_amount(r, "18446744073709551615");
	assert_int_equal(amount_mul(amt("1000000000000000000"), 1000000000000000000, &r), ERR_OK);
	assert_amount(r, "1000000000000000000000000000000000000");
	assert_int_equal(amount_mul(amt("9223372036854775807"), UINT64_MAX, &r), ERR_OK);
	assert_amount(r, "170141183460469231704017187605319778305");
	assert_int_equal(amount_mul(amt("9223372036854775808"), UINT64_MAX, &r), ERR_OK);
	assert_amount(r, "170141183460469231722463931679029329920");
	assert_int_equal(amount_mul(amt("9223372036854775809"), UINT64_MAX, &r), ERR_OVERFLOW);
	assert_int_equal(amount_mul(max, 1, &r), ERR_OK);
	assert_int_equal(amount_mul(max, 0, &r), ERR_OK);
	assert_true(amount_is_zero(r));
	assert_int_equal(amount_mul(max, 2, &r), ERR_OVERFLOW);
	assert_int_equal(amount_mul(amt("85070591730234615865843651857942052863"), 2, &r), ERR_OK);
	assert_amount(r, "170141183460469231731687303715884105726");
	assert_int_equal(amount_mul(amt("85070591730234615865843651857942052864"), 2, &r), ERR_OVERFLOW);
}

static void shares(void **state)
{
	(void)state;
	static const struct {
		const char *a;
		uint32_t bps;
		const char *floor, *ceil; /* NULL: overflow */
	} cases[] = {
		{ "0", 10000, "0", "0" },
		{ "1", 0, "0", "0" },
		{ "1", 1, "0", "1" },
		{ "9999", 1, "0", "1" },
		{ "10000", 1, "1", "1" },
		{ "10001", 1, "1", "2" },
		{ "3", 5000, "1", "2" },
		{ "1000000000000000001", 250, "25000000000000000", "25000000000000001" },
		{ "123456789012345678901234567890", 2750, "33950616978395061697839506169", "33950616978395061697839506170" },
		{ MAX, 10000, MAX, MAX },
		{ MAX, 9999, "170124169342123184808514134985512517316", "170124169342123184808514134985512517317" },
		{ MAX, 3333, "56708056447374394936171378328504172438", "56708056447374394936171378328504172439" },
		{ MAX, 1, "17014118346046923173168730371588410", "17014118346046923173168730371588411" },
		{ MAX, 10001, NULL, NULL },
		{ MAX, UINT32_MAX, NULL, NULL },
		{ "170124171043364895242163087407143391388", 10001, "170141183460469231731687303715884105727", NULL }, /* the last that fits, by its rest */
		{ "170124171043364895242163087407143391389", 10001, NULL, NULL },
		{ "10000", UINT32_MAX, "4294967295", "4294967295" },
		{ "9999", UINT32_MAX, "4294537798", "4294537799" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct amount r = amount_from_u64(5);
		assert_int_equal(amount_share_floor(amt(cases[i].a), cases[i].bps, &r), cases[i].floor ? ERR_OK : ERR_OVERFLOW);
		assert_amount(r, cases[i].floor ? cases[i].floor : "5");
		r = amount_from_u64(5);
		assert_int_equal(amount_share_ceil(amt(cases[i].a), cases[i].bps, &r), cases[i].ceil ? ERR_OK : ERR_OVERFLOW);
		assert_amount(r, cases[i].ceil ? cases[i].ceil : "5");
	}
}

/* Small enough for 64 bits: the plain formula is the judge. And floor + complement's ceiling is always the whole. */
static void shares_agree_with_the_plain_formula(void **state)
{
	(void)state;
	for (int i = 0; i < 20000; i++) {
		uint32_t small[3];
		random_bytes(small, sizeof(small));
		uint64_t a = small[0], bps = small[1] % 10001;
		struct amount lo, hi, rest, whole;
		assert_int_equal(amount_share_floor(amount_from_u64(a), (uint32_t)bps, &lo), ERR_OK);
		assert_int_equal(amount_share_ceil(amount_from_u64(a), (uint32_t)bps, &hi), ERR_OK);
		assert_int_equal(amount_cmp(lo, amount_from_u64(a * bps / 10000)), 0);
		assert_int_equal(amount_cmp(hi, amount_from_u64((a * bps + 9999) / 10000)), 0);

		uint8_t word[32] = { 0 };
		random_bytes(word + 16, 16);
		word[16] &= 0x7f;
		assert_int_equal(amount_from_be(word, &whole), ERR_OK);
		assert_int_equal(amount_share_floor(whole, (uint32_t)bps, &lo), ERR_OK);
		assert_int_equal(amount_share_ceil(whole, 10000 - (uint32_t)bps, &rest), ERR_OK);
		assert_int_equal(amount_add(lo, rest, &hi), ERR_OK);
		assert_int_equal(amount_cmp(hi, whole), 0);
		struct amount_str text = amount_format(whole);
		assert_int_equal(amount_cmp(amt(text.s), whole), 0);
	}
}

static void compares(void **state)
{
	(void)state;
	struct amount small = amt("18446744073709551615"), big = amt("18446744073709551616");
	assert_true(amount_cmp(small, big) < 0);
	assert_true(amount_cmp(big, small) > 0);
	assert_int_equal(amount_cmp(big, big), 0);
	assert_amount(amount_min(small, big), "18446744073709551615");
	assert_amount(amount_min(big, small), "18446744073709551615");
	assert_amount(amount_max(small, big), "18446744073709551616");
	assert_amount(amount_max(big, small), "18446744073709551616");
	assert_true(amount_is_zero(AMOUNT_ZERO));
	assert_false(amount_is_zero(big)); /* its low 64 bits are zero */
}

static void decimals(void **state)
{
	static const struct { const char *s, *want; } good[] = {
		{ "0", "0" }, { "1", "1000000000000000000" }, { "0.05", "50000000000000000" }, { "12.000000000000000001", "12000000000000000001" },
		{ "0.000000000000000000", "0" }, { "170141183460469231731.687303715884105727", MAX },
	};
	static const char *const malformed[] = { "", ".", "1.", ".5", "01", "00.1", "-1", "+1", "1e3", "1,5", "1.2.3", " 1", "0x1", "0.0000000000000000001" };
	struct amount a;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		assert_int_equal(amount_parse_decimal(good[i].s, strlen(good[i].s), &a), ERR_OK);
		assert_amount(a, good[i].want);
	}
	for (size_t i = 0; i < COUNT_OF(malformed); i++)
		assert_int_equal(amount_parse_decimal(malformed[i], strlen(malformed[i]), &a), ERR_BAD_FIELD);
	assert_int_equal(amount_parse_decimal("170141183460469231731.687303715884105728", 40, &a), ERR_OVERFLOW);
	assert_int_equal(amount_parse_decimal("9999999999999999999999", 22, &a), ERR_OVERFLOW);
	assert_int_equal(amount_parse_decimal("1000000000000000000000000000000000000000000000000", 49, &a), ERR_OVERFLOW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_and_formats),
		cmocka_unit_test(refuses),
		cmocka_unit_test(decimals),
		cmocka_unit_test(big_endian_words),
		cmocka_unit_test(adds_subtracts_multiplies),
		cmocka_unit_test(shares),
		cmocka_unit_test(shares_agree_with_the_plain_formula),
		cmocka_unit_test(compares),
	};
	return RUN_TESTS(tests);
}
