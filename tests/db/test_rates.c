/* Prices in USD: what they are in OPG, when there is a rate to tell it by, and when there is none. */
#include "tests/db/pg.h"

#include "db/rates.h"

static struct amount amount(const char *s)
{
	struct amount a;

	assert_int_equal(amount_parse(s, strlen(s), &a), ERR_OK);
	return a;
}

static int empty(void **state)
{
	(void)state;
	return db_script(pg, "TRUNCATE usd_rate");
}

static void assert_opg(const char *currency, const char *sum, const char *want)
{
	_cleanup_free_ char *sql = xasprintf("SELECT coalesce(opg_of('%s', %s)::text, 'none') AS v", currency, sum);
	_cleanup_result_ struct db_result *r = NULL;

	assert_ok(db_query_one(pg, sql, NULL, &r));
	assert_string_equal(db_get_text(r, 0, "v"), want);
}

static bool set(const char *value, int64_t max_age_ms, int64_t jump_bps)
{
	bool accepted = false;

	assert_ok(db_rate_set(pg, amount(value), max_age_ms, jump_bps, &accepted));
	return accepted;
}

static void test_opg_needs_no_rate(void **state)
{
	struct usd_rate r;

	(void)state;
	assert_opg("OPG", "7", "7");
	assert_opg("USD", "7", "none");
	assert_int_equal(db_rate_get(pg, &r), ERR_NOT_FOUND);
}

static void test_rounded_up(void **state)
{
	(void)state;
	assert_true(set("50000000000000000", 600000, 1000)); /* 0.05 USD */
	assert_opg("OPG", "7", "7");
	assert_opg("USD", "0", "0");
	assert_opg("USD", "1", "20");
	assert_opg("USD", "1000000000000000000", "20000000000000000000");
	assert_ok(db_script(pg, "TRUNCATE usd_rate"));
	assert_true(set("3000000000000000000", 600000, 1000)); /* 3 USD */
	assert_opg("USD", "1", "1"); /* a third, up */
	assert_opg("USD", "3", "1");
	assert_opg("USD", "4", "2");
	assert_opg("USD", "170141183460469231731687303715884105727", "56713727820156410577229101238628035243");
}

static void test_past_what_an_amount_can_be(void **state)
{
	(void)state;
	assert_true(set("1", 600000, 1000)); /* 10^-18 USD */
	assert_opg("USD", "170141183460469231731", "170141183460469231731000000000000000000");
	assert_opg("USD", "170141183460469231732", "none");
}

static void test_runs_out(void **state)
{
	struct usd_rate r;

	(void)state;
	assert_true(set("2", 600000, 1000));
	assert_ok(db_rate_get(pg, &r));
	assert_true(r.good);
	assert_int_equal(r.good_until - r.at, 600000);
	assert_ok(db_script(pg, "UPDATE usd_rate SET good_until = clock_timestamp()"));
	assert_ok(db_rate_get(pg, &r));
	assert_false(r.good);
	assert_opg("USD", "1", "none");
}

static void test_jump(void **state)
{
	(void)state;
	assert_true(set("1000", 600000, 1000));
	assert_true(set("1100", 600000, 1000));  /* by a tenth, just so */
	assert_false(set("1211", 600000, 1000)); /* by more */
	assert_false(set("989", 600000, 1000));
	assert_opg("USD", "1100", "1000000000000000000"); /* the last good one stands */
	assert_ok(db_script(pg, "UPDATE usd_rate SET good_until = clock_timestamp()"));
	assert_true(set("1211", 600000, 1000)); /* it lasted longer than the rate it differed from */
	assert_opg("USD", "1211", "1000000000000000000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_opg_needs_no_rate, empty), cmocka_unit_test_setup(test_rounded_up, empty),
		cmocka_unit_test_setup(test_past_what_an_amount_can_be, empty), cmocka_unit_test_setup(test_runs_out, empty), cmocka_unit_test_setup(test_jump, empty),
	};

	return cmocka_run_group_tests_name("rates", tests, pg_setup, pg_teardown);
}
