/* The setting model_aliases: what can be read, and what stops the start. */
#include "handlers/model_names.h"
#include "tests/unit/unit.h"

static void test_aliases(void **state)
{
	static const char *const good[] = { "", " ", "a=b/c", "a=b/c,d=e/f@1", " gpt-4.1=demo/x , o3=demo/y@sha256:00 " };
	static const struct { const char *text; size_t at; } bad[] = { { "a", 0 }, { "a=b", 0 }, { "=b/c", 0 }, { "a=", 0 }, { "a/b=c/d", 0 }, { "a=b/c,x", 6 }, { "a=b/c d", 6 } };

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_null(model_names_bad(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_ptr_equal(model_names_bad(bad[i].text), bad[i].text + bad[i].at);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_aliases) };

	return RUN_TESTS(tests);
}
