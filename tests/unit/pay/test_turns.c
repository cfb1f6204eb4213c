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
	sem_t *go;          /* NULL, or what each turn waits for */
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
	while (p->go && sem_wait(p->go) != 0)
		;
	return p->err;
}

static void log_failure(const char *event, int64_t number, const char *detail)
{
	assert_string_equal(event, "test_failed");
	assert_string_equal(detail, err_info(ERR_INTERNAL)->code);
	logged[logged_count++] = number;
}

static struct turns *start_with(struct play *p, int64_t poll_ms, int64_t gather_ms)
{
	const struct turns_config config = { .database_url = "postgresql://nobody@127.0.0.1:1/none", .poll_ms = poll_ms, .busy_ms = 0, .gather_ms = gather_ms, .turn = turn,
					     .log = log_failure, .name = "test" };

	return turns_start(&config, p, sizeof(*p));
}

static struct turns *start(struct play *p, int64_t poll_ms)
{
	return start_with(p, poll_ms, 0);
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
	struct play p = { .taken = &taken, .count = &count };
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
	struct play p = { .taken = &taken, .count = &count, .busy_until = 50 };
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
	struct play p = { .taken = &taken, .count = &count, .err = ERR_INTERNAL };
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

/* Three kicks came together once, so the next ones are waited for: for three of them, however long that may take; and fewer are not
 * forgotten when the time is up. */
static void test_kicks_that_come_together_share_a_turn(void **state)
{
	atomic_int count = 0;
	sem_t taken, go;
	struct play p = { .taken = &taken, .count = &count, .go = &go };
	struct turns *t;

	(void)state;
	sem_init(&taken, 0, 0);
	sem_init(&go, 0, 0);
	t = start_with(&p, FOREVER_MS, FOREVER_MS);
	turns_kick(t);
	wait_for(&taken, 1); /* it stands in its first turn */
	for (int i = 0; i < 3; i++)
		turns_kick(t);
	sem_post(&go);
	wait_for(&taken, 1);
	sem_post(&go);
	for (int i = 1; i <= 3; i++) {
		assert_int_equal(atomic_load(&count), 2); /* one turn for three kicks; and one or two more are no reason for another */
		turns_kick(t);
	}
	wait_for(&taken, 1);
	assert_int_equal(atomic_load(&count), 3);
	sem_post(&go);
	turns_stop(t);
	turns_free(t);

	atomic_store(&count, 0);
	t = start_with(&p, FOREVER_MS, 1);
	turns_kick(t);
	wait_for(&taken, 1);
	for (int i = 0; i < 3; i++)
		turns_kick(t);
	for (int i = 0; i < 4; i++)
		sem_post(&go);
	wait_for(&taken, 1);
	turns_kick(t);
	wait_for(&taken, 1); /* alone where three might come */
	turns_stop(t);
	turns_free(t);
	sem_destroy(&taken);
	sem_destroy(&go);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kicked_out_of_a_long_pause), cmocka_unit_test(test_busy_takes_no_pause),
		cmocka_unit_test(test_trouble_is_told_ever_more_rarely), cmocka_unit_test(test_nothing_to_stop), cmocka_unit_test(test_kicks_that_come_together_share_a_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
