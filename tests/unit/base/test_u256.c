/* 256-bit numbers: both ends of the range, every conversion, and no wrap anywhere. */
#include "base/u256.h"
#include "tests/unit/unit.h"

#define MAX_TEXT "115792089237316195423570985008687907853269984665640564039457584007913129639935"
#define OVER_TEXT "115792089237316195423570985008687907853269984665640564039457584007913129639936"
#define TWO_64 "18446744073709551616"
#define TWO_127 "170141183460469231731687303715884105728"

static struct u256 num(const char *s)
{
	struct u256 a;
	assert_int_equal(u256_parse(s, strlen(s), 10, &a), ERR_OK);
	return a;
}

static void assert_num(const struct u256 *a, const char *expected)
{
	assert_string_equal(u256_format(a).s, expected);
}

static void test_decimal(void **state)
{
	(void)state;
	static const char *const same[] = { "0", "1", "9", "10", "9999999999999999999", "10000000000000000000", "18446744073709551615", TWO_64, TWO_127,
					    "340282366920938463463374607431768211456", "100000000000000000000000000000000000000000000000000000000000000000000000000000", MAX_TEXT };
	struct u256 a = u256_from_u64(7);
	for (size_t i = 0; i < COUNT_OF(same); i++) {
		a = num(same[i]);
		assert_num(&a, same[i]);
	}
	a = num("000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000012");
	assert_num(&a, "12");
	assert_int_equal(u256_parse(OVER_TEXT, strlen(OVER_TEXT), 10, &a), ERR_OVERFLOW);
	assert_int_equal(u256_parse(MAX_TEXT "0", strlen(MAX_TEXT) + 1, 10, &a), ERR_OVERFLOW);
	assert_num(&a, "12"); /* written only on success */
	static const char *const bad[] = { "", "-1", "+1", " 1", "1 ", "1e3", "1.0", "0x1", "1_000", "a", "\xd9\xa1", OVER_TEXT "x" };
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(u256_parse(bad[i], strlen(bad[i]), 10, &a), ERR_BAD_FIELD);
	assert_int_equal(u256_parse("12x", 2, 10, &a), ERR_OK); /* no further than len */
}

static void test_other_bases(void **state)
{
	(void)state;
	struct u256 a;
	assert_int_equal(u256_parse("ffFFffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", 64, 16, &a), ERR_OK);
	assert_num(&a, MAX_TEXT);
	assert_int_equal(u256_parse("10000000000000000000000000000000000000000000000000000000000000000", 65, 16, &a), ERR_OVERFLOW);
	assert_int_equal(u256_parse("0000000000000000000000000000000000000000000000000000000000000000000ff", 69, 16, &a), ERR_OK);
	assert_num(&a, "255");
	assert_int_equal(u256_parse("777", 3, 8, &a), ERR_OK);
	assert_num(&a, "511");
	assert_int_equal(u256_parse("101", 3, 2, &a), ERR_OK);
	assert_num(&a, "5");
	assert_int_equal(u256_parse("102", 3, 2, &a), ERR_BAD_FIELD);
	assert_int_equal(u256_parse("8", 1, 8, &a), ERR_BAD_FIELD);
	assert_int_equal(u256_parse("fg", 2, 16, &a), ERR_BAD_FIELD);
}

static void test_bytes(void **state)
{
	(void)state;
	uint8_t in[32], out[32];
	for (int i = 0; i < 32; i++)
		in[i] = (uint8_t)(i + 1);
	struct u256 a = u256_from_be(in);
	assert_true(a.limb[3] == 0x0102030405060708u && a.limb[0] == 0x191a1b1c1d1e1f20u);
	u256_to_be(&a, out);
	assert_memory_equal(in, out, 32);
	assert_num(&a, "455867356320691211509944977504407603390036387149619137164185182714736811808");
}

static void test_narrower(void **state)
{
	(void)state;
	struct u256 a = num("18446744073709551615");
	struct amount m;
	uint64_t v = 0;
	assert_int_equal(u256_to_u64(&a, &v), ERR_OK);
	assert_true(v == UINT64_MAX);
	a = num(TWO_64);
	assert_int_equal(u256_to_u64(&a, &v), ERR_OVERFLOW);
	a = num("170141183460469231731687303715884105727");
	assert_int_equal(u256_to_amount(&a, &m), ERR_OK);
	assert_string_equal(amount_format(m).s, "170141183460469231731687303715884105727");
	struct u256 back = u256_from_amount(m);
	assert_true(u256_equal(&a, &back));
	a = num(TWO_127);
	assert_int_equal(u256_to_amount(&a, &m), ERR_OVERFLOW);
	/* what would be small if it were cut to 64, 128 or 255 bits */
	static const char *const wraps[] = { "340282366920938463463374607431768211457", "57896044618658097711785492504343953926634992332820282019728792003956564819969", MAX_TEXT };
	for (size_t i = 0; i < COUNT_OF(wraps); i++) {
		a = num(wraps[i]);
		assert_int_equal(u256_to_amount(&a, &m), ERR_OVERFLOW);
		assert_int_equal(u256_to_u64(&a, &v), ERR_OVERFLOW);
	}
}

static void test_order(void **state)
{
	(void)state;
	static const char *const rising[] = { "0", "1", "18446744073709551615", TWO_64, TWO_127, "6277101735386680763835789423207666416102355444464034512896", MAX_TEXT };
	for (size_t i = 0; i < COUNT_OF(rising); i++)
		for (size_t j = 0; j < COUNT_OF(rising); j++) {
			struct u256 a = num(rising[i]), b = num(rising[j]);
			assert_int_equal(u256_cmp(&a, &b), (i > j) - (i < j));
			assert_int_equal(u256_equal(&a, &b), i == j);
		}
	struct u256 zero = U256_ZERO, high = num(MAX_TEXT);
	assert_true(u256_is_zero(&zero));
	assert_false(u256_is_zero(&high));
}

static void test_arithmetic(void **state)
{
	(void)state;
	struct u256 max = num(MAX_TEXT), one = u256_from_u64(1), a, b = num("340282366920938463463374607431768211456");
	assert_int_equal(u256_add(&max, &one, &a), ERR_OVERFLOW);
	assert_int_equal(u256_sub(&max, &one, &a), ERR_OK);
	assert_int_equal(u256_add(&a, &one, &a), ERR_OK);
	assert_true(u256_equal(&a, &max));
	assert_int_equal(u256_sub(&b, &one, &a), ERR_OK); /* borrows through two limbs */
	assert_num(&a, "340282366920938463463374607431768211455");
	assert_int_equal(u256_add(&a, &one, &a), ERR_OK);
	assert_true(u256_equal(&a, &b));
	assert_int_equal(u256_sub(&one, &b, &a), ERR_OVERFLOW);
	assert_int_equal(u256_sub(&b, &b, &a), ERR_OK);
	assert_true(u256_is_zero(&a));
	assert_int_equal(u256_mul_u64(&max, 1, &a), ERR_OK);
	assert_int_equal(u256_mul_u64(&max, 2, &a), ERR_OVERFLOW);
	assert_int_equal(u256_mul_u64(&max, 0, &a), ERR_OK);
	assert_true(u256_is_zero(&a));
	a = num("18446744073709551615");
	assert_int_equal(u256_mul_u64(&a, UINT64_MAX, &a), ERR_OK); /* in place */
	assert_num(&a, "340282366920938463426481119284349108225");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decimal), cmocka_unit_test(test_other_bases), cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_narrower), cmocka_unit_test(test_order), cmocka_unit_test(test_arithmetic),
	};
	return RUN_TESTS(tests);
}
