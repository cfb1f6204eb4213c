/* What a job costs and who gets it: exact, rounded up once, never above the hold; and the charging table's own rules. */
#include <string.h>

#include "pay/charging.h"
#include "pay/price.h"
#include "tests/unit/unit.h"

static struct amount amount(const char *s)
{
	struct amount a;

	assert_int_equal(amount_parse(s, strlen(s), &a), ERR_OK);
	return a;
}

static void assert_amount(struct amount a, const char *expected)
{
	assert_string_equal(amount_format(a).s, expected);
}

static void test_split(void **state)
{
	const struct price p = { .ask_input = amount("3"), .ask_output = amount("7"), .royalty_input = amount("1"), .royalty_output = amount("2"), .fee_bps = 1000 };
	struct split s;

	(void)state;
	assert_int_equal(price_split(&p, 10, 5, &s), ERR_OK);
	assert_amount(s.ask, "65");
	assert_amount(s.royalty, "20");
	assert_amount(s.fee, "9"); /* 8.5 rounded up */
	assert_amount(s.total, "94");
}

static void test_free_model(void **state)
{
	const struct price p = { .fee_bps = 1000 };
	struct split s;

	(void)state;
	assert_int_equal(price_split(&p, 1000, 1000, &s), ERR_OK);
	assert_amount(s.total, "0");
}

static void test_no_fee(void **state)
{
	const struct price p = { .ask_input = amount("1"), .fee_bps = 0 };
	struct split s;

	(void)state;
	assert_int_equal(price_split(&p, 9, 0, &s), ERR_OK);
	assert_amount(s.total, "9");
	assert_amount(s.fee, "0");
}

static void test_overflow(void **state)
{
	const struct price p = { .ask_input = amount("170141183460469231731687303715884105727"), .fee_bps = 1 };
	struct split s;

	(void)state;
	assert_int_equal(price_split(&p, 2, 0, &s), ERR_OVERFLOW);
	assert_int_equal(price_split(&p, 1, 0, &s), ERR_OVERFLOW); /* the fee would not fit */
}

/* Any capture within the bounds of a hold is covered by it. */
static void test_never_above_the_hold(void **state)
{
	uint64_t seed = 88172645463325252u;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		uint64_t r[8];
		struct price ceiling, actual;
		struct split hold, charged, sum;

		for (int k = 0; k < 8; k++) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			r[k] = seed >> 32;
		}
		ceiling = (struct price){ amount_from_u64(r[0]), amount_from_u64(r[1]), amount_from_u64(r[2]), amount_from_u64(r[3]), (uint32_t)(r[4] % 10001) };
		actual = ceiling;
		actual.ask_input = amount_from_u64(r[0] ? r[5] % r[0] : 0);
		assert_int_equal(price_split(&ceiling, r[6] % 5000, r[7] % 5000, &hold), ERR_OK);
		assert_int_equal(price_split(&actual, (r[6] % 5000) / 2, (r[7] % 5000) / 3, &charged), ERR_OK);
		assert_true(amount_cmp(charged.total, hold.total) <= 0);
		assert_int_equal(amount_add(charged.ask, charged.royalty, &sum.total), ERR_OK);
		assert_int_equal(amount_add(sum.total, charged.fee, &sum.total), ERR_OK);
		assert_int_equal(amount_cmp(sum.total, charged.total), 0);
	}
}

/* Only a settled job is charged, and only a job that is not settled is an error to its caller. */
static void test_charging_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < OUTCOME_COUNT; i++) {
		const struct outcome_row *row = outcome_row((enum outcome)i);
		bool settled = !strcmp(row->state, "settled");

		assert_int_equal(settled, row->charge != CHARGE_NOTHING);
		if (!settled)
			assert_int_not_equal(row->err, ERR_OK);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(row->name, outcome_row((enum outcome)k)->name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split), cmocka_unit_test(test_free_model), cmocka_unit_test(test_no_fee),
		cmocka_unit_test(test_overflow), cmocka_unit_test(test_never_above_the_hold), cmocka_unit_test(test_charging_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
