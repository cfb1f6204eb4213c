/* Request memory: alignment, zeroing, independence of objects, callbacks newest first. */
#include "base/arena.h"
#include "tests/unit/unit.h"

static void objects_are_aligned_zeroed_and_apart(void **state)
{
	(void)state;
	struct arena *a = arena_new();
	unsigned char *p[400];
	size_t sizes[400], total = 0;
	for (size_t i = 0; i < COUNT_OF(p); i++) {
		sizes[i] = i * 37 % 2500; /* small ones, large ones, and the border between */
		total += sizes[i];
		p[i] = arena_alloc(a, sizes[i]);
		assert_int_equal((uintptr_t)p[i] % 16, 0);
		for (size_t k = 0; k < sizes[i]; k++)
			assert_int_equal(p[i][k], 0);
		memset(p[i], (int)(i % 251), sizes[i]);
	}
	for (size_t i = 0; i < COUNT_OF(p); i++)
		for (size_t k = 0; k < sizes[i]; k++)
			assert_int_equal(p[i][k], i % 251);
	assert_int_equal(arena_used(a), total);
	arena_free(a);
	arena_free(NULL);
}

static void empty_objects_are_distinct(void **state)
{
	(void)state;
	struct arena *a = arena_new();
	void *p = arena_alloc(a, 0), *q = arena_alloc(a, 0);
	assert_ptr_not_equal(p, q);
	arena_free(a);
}

static void strings(void **state)
{
	(void)state;
	struct arena *a = arena_new();
	assert_null(arena_strdup(a, NULL));
	assert_string_equal(arena_strdup(a, "hello"), "hello");
	assert_string_equal(arena_strndup(a, "hello", 4), "hell");
	assert_string_equal(arena_strndup(a, NULL, 0), "");
	assert_string_equal(arena_printf(a, "%s/%d", "jobs", 12), "jobs/12");
	char *bin = arena_memdup(a, "a\0b", 3);
	assert_memory_equal(bin, "a\0b", 3);
	char big[5000];
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_string_equal(arena_printf(a, "%s", big), big);
	arena_free(a);
}

static char order[8];
static struct arena *current;

static void note(void *arg)
{
	order[strlen(order)] = *(char *)arg;
}

static void note_and_register(void *arg)
{
	note(arg);
	arena_on_free(current, note, "d"); /* a callback may still use the arena */
}

static void callbacks_run_newest_first(void **state)
{
	(void)state;
	current = arena_new();
	arena_on_free(current, note, "a");
	arena_on_free(current, note_and_register, "b");
	arena_on_free(current, note, arena_strdup(current, "c"));
	assert_string_equal(order, "");
	assert_int_equal(arena_used(current), 2);
	arena_free(current);
	assert_string_equal(order, "cbda");
}

static void absurd_alloc(void *arg)
{
	arena_alloc(arg, SIZE_MAX - 8);
}

static void absurd_sizes_abort(void **state)
{
	(void)state;
	struct arena *a = arena_new();
	assert_true(unit_aborts(absurd_alloc, a));
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_are_aligned_zeroed_and_apart),
		cmocka_unit_test(empty_objects_are_distinct),
		cmocka_unit_test(strings),
		cmocka_unit_test(callbacks_run_newest_first),
		cmocka_unit_test(absurd_sizes_abort),
	};
	return RUN_TESTS(tests);
}
