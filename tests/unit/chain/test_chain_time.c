/* Whose clock judges a deadline: the machine's while the chain agrees, the chain's when the machine is wrong. Milliseconds are of the
 * monotonic clock, seconds since 1970 of the others. */
#include "tests/unit/unit.h"

#include "chain/chain_time.h"

#define T0 1800000000ll /* what is right at monotonic 0 */

static void saw(struct chain_time *t, uint64_t number, int64_t block_s, int64_t mono_ms, int64_t wall_s)
{
	struct chain_block b = { .number = number, .timestamp = (uint64_t)block_s };

	chain_time_saw(t, &b, mono_ms, wall_s * 1000);
}

static int64_t now(const struct chain_time *t, int64_t mono_ms, int64_t wall_s)
{
	return chain_time_now_s(t, mono_ms, wall_s * 1000);
}

static void test_before_anything(void **state)
{
	struct chain_time t = { 0 };

	(void)state;
	assert_int_equal(now(&t, 5000, T0 + 5), T0 + 5);
}

static void test_they_agree(void **state)
{
	struct chain_time t = { 0 };

	(void)state;
	saw(&t, 1, T0, 1000, T0 + 1);
	saw(&t, 2, T0 + 1, 3000, T0 + 3); /* two seconds behind: blocks are */
	assert_int_equal(now(&t, 4000, T0 + 4), T0 + 4);
	assert_int_equal(now(&t, 4000, T0 + 7), T0 + 7); /* five apart, just so */
	assert_int_equal(now(&t, 4000, T0 + 8), T0 + 2);
}

static void test_machine_is_wrong(void **state)
{
	static const int64_t off[] = { -3600, 3600 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(off); i++) {
		struct chain_time t = { 0 };

		saw(&t, 10, T0, 0, T0 + off[i]);
		saw(&t, 11, T0 + 2, 2000, T0 + 2 + off[i]); /* a new block says what time it is */
		assert_int_equal(now(&t, 3000, T0 + 3 + off[i]), T0 + 3);
	}
}

static void test_clock_is_set_while_running(void **state)
{
	struct chain_time t = { 0 };

	(void)state;
	saw(&t, 10, T0, 0, T0);
	saw(&t, 11, T0 + 2, 2000, T0 + 2);
	assert_int_equal(now(&t, 3000, T0 + 3 - 3600), T0 + 3);
	assert_int_equal(now(&t, 3000, T0 + 3 + 3600), T0 + 3);
}

/* How old the first block is cannot be known; a chain may sleep for hours. */
static void test_chain_that_sleeps(void **state)
{
	struct chain_time t = { 0 };

	(void)state;
	saw(&t, 10, T0 - 7200, 0, T0);
	assert_int_equal(now(&t, 1000, T0 + 1), T0 + 1);
	saw(&t, 10, T0 - 7200, 60000, T0 + 60); /* the same again */
	assert_int_equal(now(&t, 61000, T0 + 61), T0 + 61);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_before_anything), cmocka_unit_test(test_they_agree), cmocka_unit_test(test_machine_is_wrong),
		cmocka_unit_test(test_clock_is_set_while_running), cmocka_unit_test(test_chain_that_sleeps),
	};
	return RUN_TESTS(tests);
}
