/* Where OPG/USD comes from: the sources as they are written in a setting, the number in a document, and when sources agree. */
#include "tests/unit/unit.h"

#include "pay/rates.h"

static struct amount amount(const char *s)
{
	struct amount a;

	assert_int_equal(amount_parse(s, strlen(s), &a), ERR_OK);
	return a;
}

static void test_sources(void **state)
{
	struct rate_source s[RATE_SOURCES_MAX];
	char bad[RATE_SOURCE_MAX];
	size_t n = 99;
	static const char *const refused[] = { "fixed:", "fixed:0", "fixed:-1", "fixed:1e3", "http://h/p", "http://h/p#", "http://h/p#price", "ftp://h/p#/a", "#/a", "0.05" };

	(void)state;
	assert_int_equal(rate_sources_parse("", s, &n, bad), ERR_OK);
	assert_int_equal(n, 0);
	assert_int_equal(rate_sources_parse(" fixed:0.05\thttps://a.example/v1?x=1#/data/0/price  ", s, &n, bad), ERR_OK);
	assert_int_equal(n, 2);
	assert_string_equal(amount_format(s[0].fixed).s, "50000000000000000");
	assert_string_equal(s[0].url, "");
	assert_string_equal(s[1].url, "https://a.example/v1?x=1");
	assert_string_equal(s[1].pointer, "/data/0/price");
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		assert_int_equal(rate_sources_parse(refused[i], s, &n, bad), ERR_BAD_FIELD);
		assert_string_equal(bad, refused[i]);
	}
	assert_int_equal(rate_sources_parse("fixed:1 fixed:1 fixed:1 fixed:1 fixed:1 fixed:1 fixed:1 fixed:1 fixed:9", s, &n, bad), ERR_BAD_FIELD);
	assert_string_equal(bad, "fixed:9");
}

static enum err read_it(const char *document, const char *pointer, struct amount *ret)
{
	return rate_read(document, strlen(document), pointer, ret);
}

static void assert_read(const char *document, const char *pointer, const char *want)
{
	struct amount a;

	assert_int_equal(read_it(document, pointer, &a), ERR_OK);
	assert_string_equal(amount_format(a).s, want);
}

static void test_read(void **state)
{
	struct amount a;

	(void)state;
	assert_read("{\"data\":[{\"p\":\"0.05\"}]}", "/data/0/p", "50000000000000000");
	assert_read("{\"p\":2}", "/p", "2000000000000000000");
	assert_read("{\"p\":0.5}", "/p", "500000000000000000");
	assert_read("{\"a/b\":{\"~\":\"1.000000000000000001\"}}", "/a~1b/~0", "1000000000000000001");
	assert_int_equal(read_it("{\"p\":1}", "/q", &a), ERR_NOT_FOUND);
	assert_int_equal(read_it("{\"p\":[1]}", "/p/1", &a), ERR_NOT_FOUND);
	assert_int_equal(read_it("{\"p\":[1]}", "/p/x", &a), ERR_NOT_FOUND);
	assert_int_equal(read_it("{\"p\":{}}", "/p", &a), ERR_BAD_FIELD);
	assert_int_equal(read_it("{\"p\":0}", "/p", &a), ERR_BAD_FIELD);
	assert_int_equal(read_it("{\"p\":-1}", "/p", &a), ERR_BAD_FIELD);
	assert_int_equal(read_it("{\"p\":\"NaN\"}", "/p", &a), ERR_BAD_FIELD);
	assert_int_equal(read_it("{\"p\":1e30}", "/p", &a), ERR_OVERFLOW);
	assert_int_equal(read_it("{\"p\":1e300}", "/p", &a), ERR_OVERFLOW);
	assert_int_equal(read_it("{\"p\":1e-30}", "/p", &a), ERR_BAD_FIELD); /* rounds to nothing */
	assert_int_equal(read_it("{\"p\":1", "/p", &a), ERR_BAD_JSON);
}

static enum err agree(const char *list, size_t sources, uint32_t bps, const char *want)
{
	struct amount values[RATE_SOURCES_MAX], ret;
	size_t n = 0;
	_cleanup_free_ char *words = xstrdup(list);
	char *rest = words, *word;
	enum err e;

	while ((word = strsep(&rest, " ")))
		if (*word)
			values[n++] = amount(word);
	e = rate_agree(values, n, sources, bps, &ret);
	if (!e)
		assert_string_equal(amount_format(ret).s, want);
	return e;
}

static void test_agree(void **state)
{
	(void)state;
	assert_int_equal(agree("1000", 1, 200, "1000"), ERR_OK);
	assert_int_equal(agree("1010 1000 990", 3, 200, "1000"), ERR_OK);
	assert_int_equal(agree("1000 1010", 2, 200, "1005"), ERR_OK);
	assert_int_equal(agree("1000 1001", 2, 200, "1000"), ERR_OK);       /* the half is cut: never in the seller's disfavour by more than 10^-18 */
	assert_int_equal(agree("1000 1020 979", 3, 200, "1010"), ERR_OK);    /* 979 is one too far from 1000 */
	assert_int_equal(agree("1000 1020 980", 3, 200, "1000"), ERR_OK);    /* 980 just counts */
	assert_int_equal(agree("1000 9000", 3, 200, NULL), ERR_CONFLICT);    /* neither is near the middle */
	assert_int_equal(agree("1000 1000", 4, 200, NULL), ERR_CONFLICT);    /* half is not more than half */
	assert_int_equal(agree("1000 1000 1000", 4, 200, "1000"), ERR_OK);
	assert_int_equal(agree("1000 1000 5000 5000 5000", 5, 200, "5000"), ERR_OK); /* a majority decides, whatever it says */
	assert_int_equal(agree("", 3, 200, NULL), ERR_CONFLICT);
	assert_int_equal(agree("170141183460469231731687303715884105727 170141183460469231731687303715884105727", 2, 0, NULL), ERR_OVERFLOW);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_sources), cmocka_unit_test(test_read), cmocka_unit_test(test_agree) };

	return cmocka_run_group_tests_name("rates", tests, NULL, NULL);
}
