/* A thread that takes turns: kicked out of a long pause, busy without one, stopped in the middle, and not noisy when it keeps failing. */
#include <semaphore.h>
#include <stdatomic.h>

#include "pay/turns.h"
#include "tests/unit/unit.h"

#define FOREVER_MS ((int64_t)3600 * 1000)

struct play {
	sem_t *taken;       /* posted by each turn */
	atomic_int *count;
	int busy_until;     /* turns that say they are busy */
	enum err err;
};

static int64_t logged[16];
static size_t logged_count;

static enum err turn(const void *arg, struct db *db, bool *ret_busy)
{
	const struct play *p = arg;
	int n = atomic_fetch_add(p->count, 1) + 1;

	assert_non_null(db);
	*ret_busy = n < p->busy_until;
	sem_post(p->taken);
	return p->err;
}

static void log_failure(const char *event, int64_t number, const char *detail)
{
	assert_string_equal(event, "failed");
	assert_string_equal(detail, err_info(ERR_INTERNAL)->code);
	logged[logged_count++] = number;
}

static struct turns *start(struct play *p, int64_t poll_ms)
{
	const struct turns_config config = { .database_url = "postgresql://nobody@127.0.0.1:1/none", .poll_ms = poll_ms, .busy_ms = 0, .turn = turn, .log = log_failure,
					     .failed_event = "failed" };

	return turns_start(&config, p, sizeof(*p));
}

static void wait_for(sem_t *s, int turns)
{
	while (turns-- > 0)
		assert_int_equal(sem_wait(s), 0);
}

static void test_kicked_out_of_a_long_pause(void **state)
{
	atomic_int count = 0;
	sem_t taken;
	struct play p = { &taken, &count, 0, ERR_OK };
	struct turns *t;

	(void)state;
	sem_init(&taken, 0, 0);
	t = start(&p, FOREVER_MS);
	for (int i = 1; i <= 3; i++) {
		turns_kick(t);
		wait_for(&taken, 1);
		assert_int_equal(atomic_load(&count), i); /* one turn for a kick */
	}
	turns_stop(t);
	turns_kick(t); /* late, and harmless */
	turns_free(t);
	sem_destroy(&taken);
}

static void test_busy_takes_no_pause(void **state)
{
	atomic_int count = 0;
	sem_t taken;
	struct play p = { &taken, &count, 50, ERR_OK };
	struct turns *t;

	(void)state;
	sem_init(&taken, 0, 0);
	t = start(&p, FOREVER_MS);
	turns_kick(t);
	wait_for(&taken, 50);
	turns_stop(t);
	assert_int_equal(atomic_load(&count), 50); /* then it was idle, and would have paused for an hour */
	turns_free(t);
	sem_destroy(&taken);
}

static void test_trouble_is_told_ever_more_rarely(void **state)
{
	static const int64_t expected[] = { 0, 1, 2, 4, 8 };
	atomic_int count = 0;
	sem_t taken;
	struct play p = { &taken, &count, 0, ERR_INTERNAL };
	struct turns *t;

	(void)state;
	sem_init(&taken, 0, 0);
	t = start(&p, 0);
	wait_for(&taken, 16);
	turns_stop(t);
	assert_true(logged_count >= 5);
	assert_memory_equal(logged, expected, sizeof(expected));
	turns_free(t);
	sem_destroy(&taken);
}

static void test_nothing_to_stop(void **state)
{
	(void)state;
	turns_stop(NULL);
	turns_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kicked_out_of_a_long_pause), cmocka_unit_test(test_busy_takes_no_pause),
		cmocka_unit_test(test_trouble_is_told_ever_more_rarely), cmocka_unit_test(test_nothing_to_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
