/* OpenGradient's settlement modes, as its SDKs and documents have spelt them. */
#include "pay/data_mode.h"
#include "tests/unit/unit.h"

static void test_spellings(void **state)
{
	static const char *const known[3][8] = {
		[DATA_PRIVATE] = { "private", "Private", "pivate", "settle", "SETTLE", "SETTLE_INDIVIDUAL" },
		[DATA_BATCH] = { "batch", "settle-batch", "SETTLE_BATCH", "BATCH_HASHED" },
		[DATA_INDIVIDUAL] = { "individual", "inidvidual", "settle-metadata", "SETTLE_METADATA", "SETTLE_INDIVIDUAL_WITH_METADATA", "INDIVIDUAL_FULL" },
	};
	static const char *const unknown[] = { "", " ", "batc", "batchs", "private ", "private,batch", "settle batch", "none", "0" };
	enum data_mode mode;

	(void)state;
	for (int m = 0; m < 3; m++)
		for (size_t i = 0; i < 8 && known[m][i]; i++) {
			assert_int_equal(data_mode_parse(known[m][i], &mode), ERR_OK);
			assert_int_equal(mode, m);
		}
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_int_equal(data_mode_parse(unknown[i], &mode), ERR_BAD_FIELD);
	for (int m = 0; m < 3; m++) {
		assert_int_equal(data_mode_parse(data_mode_name((enum data_mode)m), &mode), ERR_OK);
		assert_int_equal(mode, m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_spellings) };

	return RUN_TESTS(tests);
}
