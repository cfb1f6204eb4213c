/* Clocks and RFC 3339. Called by everyone; no state, no locks. */
#include "base/clock.h"

#include <time.h>

#include "base/mem.h"

#define MS_PER_DAY INT64_C(86400000)

static int64_t clock_read_ms(clockid_t id)
{
	struct timespec ts;
	if (clock_gettime(id, &ts) != 0)
		panic("clock_gettime failed");
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_mono_ms(void)
{
	return clock_read_ms(CLOCK_MONOTONIC);
}

int64_t clock_wall_ms(void)
{
	return clock_read_ms(CLOCK_REALTIME);
}

deadline_ms deadline_in(int64_t ms)
{
	int64_t now = clock_mono_ms(), at;
	if (__builtin_add_overflow(now, ms, &at))
		return ms < 0 ? INT64_MIN : INT64_MAX;
	return at;
}

int64_t deadline_left(deadline_ms d)
{
	int64_t now = clock_mono_ms(); /* never negative, so d - now cannot overflow upwards */
	return d > now ? d - now : 0;
}

bool deadline_passed(deadline_ms d)
{
	return clock_mono_ms() >= d;
}

/* Days since 1970-01-01 of a proleptic Gregorian date (years start in March, so leap days come last). */
static int64_t days_from_civil(int64_t y, int m, int d)
{
	y -= m <= 2;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t yoe = y - era * 400;
	int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
	return era * 146097 + doe - 719468;
}

static void civil_from_days(int64_t days, int *ret_y, int *ret_m, int *ret_d)
{
	days += 719468;
	int64_t era = (days >= 0 ? days : days - 146096) / 146097;
	int64_t doe = days - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;
	*ret_d = (int)(doy - (153 * mp + 2) / 5 + 1);
	*ret_m = (int)(mp < 10 ? mp + 3 : mp - 9);
	*ret_y = (int)(yoe + era * 400 + (*ret_m <= 2));
}

static void put_digits(char *at, int n, int v)
{
	for (; n > 0; v /= 10)
		at[--n] = (char)('0' + v % 10);
}

struct time_str time_format_rfc3339(int64_t wall_ms)
{
	/* RFC 3339 has four-digit years only. */
	int64_t lowest = days_from_civil(0, 1, 1) * MS_PER_DAY;
	int64_t highest = days_from_civil(10000, 1, 1) * MS_PER_DAY - 1;
	if (wall_ms < lowest)
		wall_ms = lowest;
	if (wall_ms > highest)
		wall_ms = highest;
	int64_t days = wall_ms / MS_PER_DAY, rest = wall_ms % MS_PER_DAY;
	if (rest < 0) {
		rest += MS_PER_DAY;
		days--;
	}
	int y, m, d, ms = (int)rest;
	civil_from_days(days, &y, &m, &d);
	struct time_str out = { "0000-00-00T00:00:00.000Z" };
	put_digits(out.s, 4, y);
	put_digits(out.s + 5, 2, m);
	put_digits(out.s + 8, 2, d);
	put_digits(out.s + 11, 2, ms / 3600000);
	put_digits(out.s + 14, 2, ms / 60000 % 60);
	put_digits(out.s + 17, 2, ms / 1000 % 60);
	put_digits(out.s + 20, 3, ms % 1000);
	return out;
}

/* Exactly n digits at *p, which moves on; -1 when there are fewer. */
static int take_digits(const char **p, int n)
{
	int v = 0;
	for (int i = 0; i < n; i++, (*p)++) {
		if (**p < '0' || **p > '9')
			return -1;
		v = v * 10 + (**p - '0');
	}
	return v;
}

static bool take_char(const char **p, char lower, char upper)
{
	if (**p != lower && **p != upper)
		return false;
	(*p)++;
	return true;
}

static int days_in_month(int y, int m)
{
	static const int len[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
	return len[m - 1] + (m == 2 && leap);
}

/* ".123456" as milliseconds, rounded down; 0 without a point; -1 when malformed. */
static int take_fraction_ms(const char **p)
{
	if (!take_char(p, '.', '.'))
		return 0;
	int ms = 0, digits = 0;
	for (; **p >= '0' && **p <= '9'; (*p)++) {
		if (digits < 3)
			ms = ms * 10 + (**p - '0');
		if (digits < 4)
			digits++;
	}
	if (digits == 0)
		return -1;
	for (; digits < 3; digits++)
		ms *= 10;
	return ms;
}

/* "Z" or "+hh:mm" up to the end of the text. */
static bool take_offset_minutes(const char **p, int *ret)
{
	if (take_char(p, 'z', 'Z')) {
		*ret = 0;
		return **p == '\0';
	}
	int sign = **p == '-' ? -1 : 1, h, m;
	if (!take_char(p, '+', '-'))
		return false;
	if ((h = take_digits(p, 2)) < 0 || h > 23 || !take_char(p, ':', ':') || (m = take_digits(p, 2)) < 0 || m > 59)
		return false;
	*ret = sign * (h * 60 + m);
	return **p == '\0';
}

bool time_parse_rfc3339(const char *s, int64_t *ret_wall_ms)
{
	const char *p = s;
	int y, mon, d, h, min, sec, ms, offset;
	if (!s || (y = take_digits(&p, 4)) < 0 || !take_char(&p, '-', '-'))
		return false;
	if ((mon = take_digits(&p, 2)) < 1 || mon > 12 || !take_char(&p, '-', '-'))
		return false;
	if ((d = take_digits(&p, 2)) < 1 || d > days_in_month(y, mon) || !take_char(&p, 't', 'T'))
		return false;
	if ((h = take_digits(&p, 2)) < 0 || h > 23 || !take_char(&p, ':', ':'))
		return false;
	if ((min = take_digits(&p, 2)) < 0 || min > 59 || !take_char(&p, ':', ':'))
		return false;
	if ((sec = take_digits(&p, 2)) < 0 || sec > 60 || (ms = take_fraction_ms(&p)) < 0)
		return false;
	if (!take_offset_minutes(&p, &offset))
		return false;
	int64_t minutes = days_from_civil(y, mon, d) * 1440 + h * 60 + min - offset;
	/* A leap second exists only at the end of a UTC day; it reads as the second after it. */
	if (sec == 60 && (minutes + 1) % 1440 != 0)
		return false;
	*ret_wall_ms = (minutes * 60 + sec) * 1000 + ms;
	return true;
}
