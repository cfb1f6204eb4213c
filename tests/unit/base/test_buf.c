/* The byte buffer: growth, the hard maximum, consuming and stealing. */
#include "base/buf.h"
#include "tests/unit/unit.h"

static void grows_and_terminates(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf b = BUF_INIT(100000);
	for (int i = 0; i < 10000; i++) {
		assert_int_equal(buf_append(&b, "ab", 2), ERR_OK);
		assert_int_equal(b.data[b.len], '\0');
	}
	assert_int_equal(b.len, 20000);
	assert_int_equal(buf_puts(&b, "xyz"), ERR_OK);
	assert_int_equal(buf_printf(&b, "-%05d", 42), ERR_OK);
	assert_string_equal(b.data + 20000, "xyz-00042");
	assert_true(b.cap <= b.max + 1);
}

static void refuses_past_the_maximum(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf b = BUF_INIT(5);
	assert_int_equal(buf_append(&b, "abcdef", 6), ERR_LIMIT);
	assert_int_equal(b.len, 0);
	assert_int_equal(buf_puts(&b, "abc"), ERR_OK);
	assert_int_equal(buf_puts(&b, "def"), ERR_LIMIT);
	assert_int_equal(buf_printf(&b, "%d", 100), ERR_LIMIT);
	assert_string_equal(b.data, "abc");
	assert_int_equal(buf_append(&b, "x", SIZE_MAX), ERR_LIMIT);
	assert_int_equal(buf_puts(&b, "de"), ERR_OK);
	assert_string_equal(b.data, "abcde");
	assert_int_equal(buf_puts(&b, ""), ERR_OK);
	assert_int_equal(buf_puts(&b, "f"), ERR_LIMIT);
	_cleanup_buf_ struct buf tight = BUF_INIT(200);
	for (int i = 0; i < 200; i++)
		assert_int_equal(buf_append(&tight, "x", 1), ERR_OK);
	assert_int_equal(tight.cap, 201); /* never more memory than the maximum and its NUL */
	_cleanup_buf_ struct buf none = BUF_INIT(0);
	assert_int_equal(buf_puts(&none, "f"), ERR_LIMIT);
	assert_int_equal(buf_append(&none, NULL, 0), ERR_OK);
	assert_string_equal(none.data, "");
}

static void consume_and_reset(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf b = BUF_INIT(64);
	buf_consume(&b, 3); /* nothing there yet */
	buf_reset(&b);
	assert_int_equal(buf_puts(&b, "hello world"), ERR_OK);
	buf_consume(&b, 6);
	assert_string_equal(b.data, "world");
	assert_int_equal(b.len, 5);
	buf_consume(&b, 99);
	assert_int_equal(b.len, 0);
	assert_string_equal(b.data, "");
	assert_int_equal(buf_puts(&b, "x"), ERR_OK);
	buf_reset(&b);
	assert_int_equal(b.len, 0);
	assert_string_equal(b.data, "");
	assert_true(b.cap > 0);
}

static void steal(void **state)
{
	(void)state;
	struct buf b = BUF_INIT(64);
	char *s = buf_steal(&b);
	assert_string_equal(s, "");
	free(s);
	assert_int_equal(buf_puts(&b, "mine"), ERR_OK);
	s = buf_steal(&b);
	assert_string_equal(s, "mine");
	free(s);
	assert_null(b.data);
	assert_int_equal(b.len, 0);
	assert_int_equal(b.max, 64);
	assert_int_equal(buf_puts(&b, "again"), ERR_OK);
	buf_done(&b);
	assert_null(b.data);
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_and_terminates),
		cmocka_unit_test(refuses_past_the_maximum),
		cmocka_unit_test(consume_and_reset),
		cmocka_unit_test(steal),
	};
	return RUN_TESTS(tests);
}
