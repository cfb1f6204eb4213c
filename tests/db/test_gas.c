/* Gas budgets: the sums are exact, no race shares the last of a budget, and what is never settled stays counted. */
#include <pthread.h>

#include "db/gas.h"
#include "tests/db/pg.h"

#define THREADS 8

static struct uuid id_of(uint8_t n)
{
	return (struct uuid){ { n, 0xda } };
}

static struct address subject(uint8_t n)
{
	return (struct address){ { 0x5b, n } };
}

static enum err reserve(struct db *db, uint8_t id, const char *purpose, uint8_t whom, uint64_t wei, uint64_t subject_max, uint64_t all_max)
{
	struct uuid which = id_of(id);
	struct address a = subject(whom);

	return db_gas_reserve(db, &which, purpose, &a, amount_from_u64(wei), amount_from_u64(subject_max), amount_from_u64(all_max));
}

static enum err settle(uint8_t id, uint64_t wei)
{
	struct uuid which = id_of(id);

	return db_gas_settle(pg, &which, amount_from_u64(wei));
}

static void assert_sums(const char *purpose, const char *all, const char *subjects)
{
	_cleanup_free_ char *a = xasprintf("SELECT coalesce(sum(wei), 0) AS v FROM gas_day WHERE purpose = '%s'", purpose);
	_cleanup_free_ char *s = xasprintf("SELECT coalesce(string_agg(wei::text, ' ' ORDER BY subject), '') AS v FROM gas_subject_day WHERE purpose = '%s'", purpose);

	assert_value(a, all);
	assert_value(s, subjects);
}

static int empty(void **state)
{
	(void)state;
	assert_ok(db_script(pg, "TRUNCATE gas_day, gas_subject_day, gas_reservation CASCADE"));
	return 0;
}

static void test_limits(void **state)
{
	(void)state;
	assert_ok(reserve(pg, 1, "a", 1, 60, 100, 150));
	assert_int_equal(reserve(pg, 2, "a", 1, 41, 100, 150), ERR_LIMIT); /* this address */
	assert_ok(reserve(pg, 3, "a", 1, 40, 100, 150));                   /* to the last wei */
	assert_int_equal(reserve(pg, 4, "a", 1, 1, 100, 150), ERR_LIMIT);
	assert_int_equal(reserve(pg, 5, "a", 2, 51, 100, 150), ERR_LIMIT); /* all together */
	assert_ok(reserve(pg, 6, "a", 2, 50, 100, 150));
	assert_int_equal(reserve(pg, 7, "a", 3, 1, 100, 150), ERR_LIMIT);
	assert_ok(reserve(pg, 8, "b", 1, 100, 100, 100)); /* another purpose has its own */
	assert_sums("a", "150", "100 50");
	assert_sums("b", "100", "100");
	assert_value("SELECT count(*) AS v FROM gas_reservation", "4"); /* a refusal leaves nothing */
}

static void test_settling(void **state)
{
	(void)state;
	assert_ok(reserve(pg, 1, "a", 1, 60, 100, 100));
	assert_ok(reserve(pg, 2, "a", 2, 40, 100, 100));
	assert_ok(settle(1, 7));
	assert_sums("a", "47", "7 40");
	assert_ok(settle(1, 50)); /* the first word stands */
	assert_sums("a", "47", "7 40");
	assert_int_equal(reserve(pg, 3, "a", 2, 54, 100, 100), ERR_LIMIT); /* what is not settled counts in full */
	assert_ok(reserve(pg, 3, "a", 1, 53, 100, 100));
	assert_ok(settle(2, 0)); /* never sent */
	assert_ok(settle(3, 99)); /* dearer than thought: it is told as it was */
	assert_sums("a", "106", "106 0");
	assert_int_equal(reserve(pg, 4, "a", 2, 0, 100, 100), ERR_LIMIT);
	assert_int_equal(settle(9, 1), ERR_NOT_FOUND);
}

static void test_same_reservation_again(void **state)
{
	(void)state;
	assert_ok(reserve(pg, 1, "a", 1, 100, 100, 100));
	assert_ok(reserve(pg, 1, "a", 1, 100, 100, 100)); /* an answer that was lost */
	assert_sums("a", "100", "100");
	assert_int_equal(reserve(pg, 1, "a", 2, 100, 1000, 1000), ERR_CONFLICT);
	assert_int_equal(reserve(pg, 1, "a", 1, 99, 1000, 1000), ERR_CONFLICT);
	assert_ok(settle(1, 3));
	assert_ok(reserve(pg, 1, "a", 1, 100, 100, 100)); /* still that one, and still settled */
	assert_sums("a", "3", "3");
}

/* Yesterday's use does not fill today's budget, and settling it does not empty today's. */
static void test_days(void **state)
{
	(void)state;
	assert_ok(reserve(pg, 1, "a", 1, 100, 100, 100));
	assert_ok(db_script(pg, "UPDATE gas_day SET day = day - 1; UPDATE gas_subject_day SET day = day - 1; UPDATE gas_reservation SET day = day - 1"));
	assert_ok(reserve(pg, 2, "a", 1, 100, 100, 100));
	assert_ok(settle(1, 4));
	assert_value("SELECT string_agg(wei::text, ' ' ORDER BY day) AS v FROM gas_day", "4 100");
	assert_value("SELECT string_agg(wei::text, ' ' ORDER BY day) AS v FROM gas_subject_day", "4 100");
	assert_int_equal(reserve(pg, 3, "a", 1, 1, 100, 100), ERR_LIMIT);
}

struct last {
	uint8_t id;
	enum err e;
};

static void *reserve_the_last(void *arg)
{
	struct db *db = db_new(pg_url, 30000);
	struct last *last = arg;

	last->e = reserve(db, last->id, "a", last->id, 6, 100, 100);
	db_free(db);
	return NULL;
}

/* Both are held up where they have looked at the sums, before either has changed anything: the second to look must look again. */
static void test_the_last_of_a_budget(void **state)
{
	struct last last[2] = { { 2, ERR_OK }, { 3, ERR_OK } };
	struct db *holder = db_new(pg_url, 30000);
	pthread_t threads[2];

	(void)state;
	assert_ok(reserve(pg, 1, "a", 1, 90, 100, 100));
	assert_ok(db_script(holder, "BEGIN; LOCK TABLE gas_reservation IN SHARE MODE"));
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reserve_the_last, &last[i]), 0);
	pg_wait_blocked(pg, 2);
	assert_ok(db_script(holder, "ROLLBACK"));
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_true((last[0].e == ERR_OK && last[1].e == ERR_LIMIT) || (last[0].e == ERR_LIMIT && last[1].e == ERR_OK));
	assert_sums("a", "96", "90 6");
	db_free(holder);
}

static void *race(void *arg)
{
	struct db *db = db_new(pg_url, 30000);
	uintptr_t granted = 0;
	uint8_t n = *(uint8_t *)arg;

	for (uint8_t i = 0; i < 10; i++)
		granted += reserve(db, (uint8_t)(n * 10 + i), "a", n, 10, 70, 333) == ERR_OK;
	db_free(db);
	return (void *)granted;
}

static void test_racing(void **state)
{
	pthread_t threads[THREADS];
	uint8_t n[THREADS];
	uintptr_t sum = 0;

	(void)state;
	for (uint8_t i = 0; i < THREADS; i++) {
		n[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, race, &n[i]), 0);
	}
	for (size_t i = 0; i < THREADS; i++) {
		void *granted = NULL;

		assert_int_equal(pthread_join(threads[i], &granted), 0);
		assert_true((uintptr_t)granted <= 7);
		sum += (uintptr_t)granted;
	}
	assert_int_equal(sum, 33);
	assert_value("SELECT sum(wei) AS v FROM gas_day", "330");
	assert_value("SELECT sum(wei) AS v FROM gas_subject_day", "330");
	assert_value("SELECT sum(reserved) AS v FROM gas_reservation", "330");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_limits, empty), cmocka_unit_test_setup(test_settling, empty),
		cmocka_unit_test_setup(test_same_reservation_again, empty), cmocka_unit_test_setup(test_days, empty),
		cmocka_unit_test_setup(test_the_last_of_a_budget, empty), cmocka_unit_test_setup(test_racing, empty),
	};

	return cmocka_run_group_tests(tests, pg_setup, pg_teardown);
}
