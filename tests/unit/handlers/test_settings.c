/* The table of settings in docs/OPERATIONS.md is the one in the code. Runs in the repository's folder, as make does. */
#include "base/mem.h"
#include "handlers/settings.h"
#include "tests/unit/unit.h"

static char *file_read(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = xcalloc(1, 1 << 20);
	if (!f)
		fail_msg("%s cannot be opened", path);
	size_t n = fread(text, 1, (1 << 20) - 1, f);
	fclose(f);
	assert_true(n > 0);
	return text;
}

static void documentation_has_the_table(void **state)
{
	(void)state;
	static const char from[] = "<!-- table: opgate config --markdown -->\n";
	char *doc = file_read("docs/OPERATIONS.md"), *start = strstr(doc, from), *table = NULL;
	size_t len = 0;
	assert_non_null(start);
	start += strlen(from);
	char *end = strstr(start, "<!-- end -->");
	assert_non_null(end);
	*end = '\0';
	FILE *out = open_memstream(&table, &len);
	config_print_markdown(SETTINGS, SETTINGS_COUNT, out);
	fclose(out);
	assert_string_equal(start, table); /* when red: put the output of opgate config --markdown between the markers */
	free(table);
	free(doc);
}

static void names_and_words(void **state)
{
	(void)state;
	for (size_t i = 0; i < SETTINGS_COUNT; i++) {
		assert_true(strlen(SETTINGS[i].doc) > 5);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(SETTINGS[i].name, SETTINGS[k].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(documentation_has_the_table), cmocka_unit_test(names_and_words) };
	return RUN_TESTS(tests);
}
