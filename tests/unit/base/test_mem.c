/* Allocation helpers and panic. */
#include "base/mem.h"
#include "tests/unit/unit.h"

static void copies(void **state)
{
	(void)state;
	_cleanup_free_ char *a = xstrdup("opgate");
	assert_string_equal(a, "opgate");
	_cleanup_free_ char *b = xstrndup("opgate", 2);
	assert_string_equal(b, "op");
	_cleanup_free_ char *c = xstrndup("op", 100); /* never reads past the NUL */
	assert_string_equal(c, "op");
	_cleanup_free_ char *d = xasprintf("%s-%d", "x", 7);
	assert_string_equal(d, "x-7");
}

static void zero_sizes_are_pointers(void **state)
{
	(void)state;
	_cleanup_free_ void *a = xmalloc(0), *b = xcalloc(0, 8), *c = xrealloc(NULL, 0);
	assert_non_null(a);
	assert_non_null(b);
	assert_non_null(c);
}

static void calloc_is_zeroed_and_realloc_keeps(void **state)
{
	(void)state;
	unsigned char *p = xcalloc(64, 4);
	for (int i = 0; i < 256; i++)
		assert_int_equal(p[i], 0);
	memset(p, 0x5a, 256);
	p = xrealloc(p, 4096);
	for (int i = 0; i < 256; i++)
		assert_int_equal(p[i], 0x5a);
	free(p);
}

static void call_panic(void *arg)
{
	panic(arg);
}

static void call_calloc_overflow(void *arg)
{
	volatile size_t half = SIZE_MAX / 2; /* volatile: the compiler would refuse the constant */
	*(void **)arg = xcalloc(half, 4);
}

static void failures_abort(void **state)
{
	(void)state;
	void *p = NULL;
	assert_true(unit_aborts(call_panic, "on purpose"));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)
	assert_true(unit_aborts(call_calloc_overflow, &p)); /* sanitizers end the process in their own way */
#else
	(void)p;
	(void)call_calloc_overflow;
#endif
}

static int freed;
struct thing { int n; };
static void thing_free(struct thing *t)
{
	freed += t->n;
}
DEFINE_CLEANUP(struct thing *, thing_free)

static void cleanup_runs_at_scope_end(void **state)
{
	(void)state;
	struct thing one = { 1 };
	{
		_cleanup_(thing_free_cleanup) struct thing *t = &one;
		_cleanup_(thing_free_cleanup) struct thing *none = NULL;
		assert_int_equal(freed, 0);
		(void)t;
		(void)none;
	}
	assert_int_equal(freed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies),
		cmocka_unit_test(zero_sizes_are_pointers),
		cmocka_unit_test(calloc_is_zeroed_and_realloc_keeps),
		cmocka_unit_test(failures_abort),
		cmocka_unit_test(cleanup_runs_at_scope_end),
	};
	return RUN_TESTS(tests);
}
