/* The error table: complete, with unique codes and sensible statuses. */
#include "base/err.h"
#include "tests/unit/unit.h"

static void rows_are_complete_and_unique(void **state)
{
	(void)state;
	for (int i = 0; i < ERR_COUNT; i++) {
		const struct err_info *row = err_info((enum err)i);
		assert_non_null(row->code);
		assert_true(row->code[0] != '\0');
		assert_non_null(row->hint);
		for (const char *p = row->code; *p; p++)
			assert_true((*p >= 'a' && *p <= 'z') || *p == '_');
		if (i == ERR_OK)
			assert_int_equal(row->http_status, 200);
		else
			assert_in_range(row->http_status, 400, 599);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(row->code, err_info((enum err)j)->code);
	}
}

static void known_rows(void **state)
{
	(void)state;
	assert_int_equal(ERR_OK, 0);
	assert_string_equal(err_info(ERR_OK)->code, "ok");
	assert_string_equal(err_info(ERR_INSUFFICIENT_FUNDS)->code, "insufficient_funds");
	assert_int_equal(err_info(ERR_INSUFFICIENT_FUNDS)->http_status, 402);
	assert_false(err_info(ERR_INSUFFICIENT_FUNDS)->retryable);
	assert_int_equal(err_info(ERR_OVERLOADED)->http_status, 503);
	assert_true(err_info(ERR_OVERLOADED)->retryable);
}

static void outside_the_table_is_internal(void **state)
{
	(void)state;
	assert_string_equal(err_info((enum err)ERR_COUNT)->code, "internal_error");
	assert_string_equal(err_info((enum err)-1)->code, "internal_error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_complete_and_unique),
		cmocka_unit_test(known_rows),
		cmocka_unit_test(outside_the_table_is_internal),
	};
	return RUN_TESTS(tests);
}
