/* The table of a node's settings in docs/OPERATIONS.md is the one in the code. Runs in the repository's folder, as make does. */
#include "node/settings.h"

#include "base/mem.h"
#include "tests/unit/unit.h"

static void documentation_has_the_table(void **state)
{
	(void)state;
	static const char from[] = "<!-- table: opgate node --help -->\n";
	char *doc = xcalloc(1, 1 << 20), *table = NULL;
	size_t len = 0;
	FILE *f = fopen("docs/OPERATIONS.md", "r");
	assert_non_null(f);
	assert_true(fread(doc, 1, (1 << 20) - 1, f) > 0);
	fclose(f);
	char *start = strstr(doc, from);
	assert_non_null(start);
	start += strlen(from);
	char *end = strstr(start, "<!-- end -->");
	assert_non_null(end);
	*end = '\0';
	FILE *out = open_memstream(&table, &len);
	config_print_markdown(NODE_SETTINGS, NODE_SETTINGS_COUNT, out);
	fclose(out);
	assert_string_equal(start, table); /* when red: put the table of opgate node --help between the markers */
	free(table);
	free(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(documentation_has_the_table) };
	return RUN_TESTS(tests);
}
