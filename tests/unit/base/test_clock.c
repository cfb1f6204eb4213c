/* RFC 3339 both ways, and deadlines. */
#include "base/clock.h"
#include "tests/unit/unit.h"

#include <time.h>

static const struct {
	const char *text;
	int64_t ms;
} known[] = {
	{ "1970-01-01T00:00:00.000Z", 0 },
	{ "1969-12-31T23:59:59.999Z", -1 },
	{ "2000-02-29T12:34:56.789Z", 951827696789 },
	{ "2026-01-02T03:04:05.678Z", 1767323045678 },
	{ "2038-01-19T03:14:08.000Z", 2147483648000 },
	{ "2100-03-01T00:00:00.000Z", 4107542400000 },
	{ "0000-01-01T00:00:00.000Z", -62167219200000 },
	{ "9999-12-31T23:59:59.999Z", 253402300799999 },
};

static void formats_and_parses_known_times(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(known); i++) {
		int64_t ms = 12345;
		assert_string_equal(time_format_rfc3339(known[i].ms).s, known[i].text);
		assert_true(time_parse_rfc3339(known[i].text, &ms));
		assert_true(ms == known[i].ms);
	}
	assert_string_equal(time_format_rfc3339(INT64_MAX).s, "9999-12-31T23:59:59.999Z");
	assert_string_equal(time_format_rfc3339(INT64_MIN).s, "0000-01-01T00:00:00.000Z");
}

static void agrees_with_libc(void **state)
{
	(void)state;
	for (int64_t s = -3000000000; s < 20000000000; s += 86400 * 3 + 7919) {
		time_t t = (time_t)s;
		struct tm tm;
		char text[40];
		int64_t ms;
		assert_non_null(gmtime_r(&t, &tm));
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S.000Z", &tm);
		assert_string_equal(time_format_rfc3339(s * 1000).s, text);
		assert_true(time_parse_rfc3339(text, &ms) && ms == s * 1000);
	}
}

static void parses_offsets_fractions_and_leap_seconds(void **state)
{
	(void)state;
	static const struct {
		const char *a, *b; /* the same moment */
	} same[] = {
		{ "2026-01-02T05:34:05.678+02:30", "2026-01-02T03:04:05.678Z" },
		{ "2026-01-01T20:04:05.678-07:00", "2026-01-02T03:04:05.678Z" },
		{ "2026-01-02T03:04:05-00:00", "2026-01-02T03:04:05.000Z" },
		{ "2026-01-02t03:04:05z", "2026-01-02T03:04:05.000Z" },
		{ "2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05.100Z" },
		{ "2026-01-02T03:04:05.0199999999999999999Z", "2026-01-02T03:04:05.019Z" },
		{ "2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z" },
		{ "1990-12-31T15:59:60-08:00", "1991-01-01T00:00:00Z" },
	};
	for (size_t i = 0; i < COUNT_OF(same); i++) {
		int64_t a = 1, b = 2;
		assert_true(time_parse_rfc3339(same[i].a, &a));
		assert_true(time_parse_rfc3339(same[i].b, &b));
		assert_true(a == b);
	}
}

static void refuses_malformed(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"", "2026", "2026-01-02", "2026-01-02T03:04:05", "2026-01-02 03:04:05Z", "2026-01-02T03:04Z",
		"2026-1-02T03:04:05Z", "26-01-02T03:04:05Z", "+2026-01-02T03:04:05Z", "2026-00-02T03:04:05Z",
		"2026-13-02T03:04:05Z", "2026-01-00T03:04:05Z", "2026-01-32T03:04:05Z", "2026-04-31T03:04:05Z",
		"2025-02-29T03:04:05Z", "2100-02-29T03:04:05Z", "2026-01-02T24:00:00Z", "2026-01-02T03:60:05Z",
		"2026-01-02T03:04:61Z", "2026-01-02T03:04:60Z", "2026-01-02T03:04:05.Z", "2026-01-02T03:04:05,5Z",
		"2026-01-02T03:04:05+0200", "2026-01-02T03:04:05+24:00", "2026-01-02T03:04:05+02:60", "2026-01-02T03:04:05+2:00",
		"2026-01-02T03:04:05Z ", " 2026-01-02T03:04:05Z", "2026-01-02T03:04:05ZZ", "2026-01-02T03:04:05+01:00Z",
		"2026-01-02T03:04:05.678", "2026-01-02T03:04:-5Z",
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		int64_t ms = 77;
		if (time_parse_rfc3339(bad[i], &ms))
			fail_msg("accepted: %s", bad[i]);
		assert_true(ms == 77);
	}
	int64_t ms;
	assert_false(time_parse_rfc3339(NULL, &ms));
}

static void deadlines(void **state)
{
	(void)state;
	deadline_ms past = deadline_in(-5), far = deadline_in(60000);
	assert_true(deadline_passed(past));
	assert_true(deadline_left(past) == 0);
	assert_false(deadline_passed(far));
	assert_true(deadline_left(far) > 50000 && deadline_left(far) <= 60000);
	assert_true(deadline_in(INT64_MAX) == INT64_MAX); /* for ever, not overflowed into the past */
	assert_true(deadline_passed(deadline_in(INT64_MIN)));
	assert_true(deadline_left(INT64_MIN) == 0);
	int64_t a = clock_mono_ms(), b = clock_mono_ms();
	assert_true(b >= a);
	assert_true(clock_wall_ms() > INT64_C(1700000000000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats_and_parses_known_times),
		cmocka_unit_test(agrees_with_libc),
		cmocka_unit_test(parses_offsets_fractions_and_leap_seconds),
		cmocka_unit_test(refuses_malformed),
		cmocka_unit_test(deadlines),
	};
	return RUN_TESTS(tests);
}
