/* Log lines: valid JSON, one write each, whatever the values are. Stderr is a datagram socket here, so that every
 * write(2) is one message. */
#include "base/json.h"
#include "base/log.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/clock.h"

static int saved_stderr = -1, reader = -1;
static char message[65536];

static int capture_start(void **state)
{
	(void)state;
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0)
		return -1;
	struct timeval patience = { .tv_sec = 20 };
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	saved_stderr = dup(STDERR_FILENO);
	dup2(pair[1], STDERR_FILENO);
	close(pair[1]);
	reader = pair[0];
	log_set_level(LOG_INFO);
	log_set_request(NULL);
	return 0;
}

static int capture_stop(void **state)
{
	(void)state;
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(reader);
	return 0;
}

/* The next message as parsed JSON: exactly one line, nothing after it. */
static json_t *next_line(void)
{
	ssize_t n = recv(reader, message, sizeof(message) - 1, 0);
	assert_true(n > 0);
	message[n] = '\0';
	assert_int_equal(message[n - 1], '\n');
	assert_ptr_equal(strchr(message, '\n'), message + n - 1);
	json_t *line = NULL;
	struct json_why why;
	if (json_parse(message, (size_t)n, &line, &why))
		fail_msg("not JSON: %s: %s", why.text, message);
	return line;
}

static bool nothing_written(void)
{
	return recv(reader, message, sizeof(message), MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static const char *text_of(const json_t *line, const char *key)
{
	return json_string_value(json_object_get(line, key));
}

static void a_line_has_its_fields_in_order(void **state)
{
	(void)state;
	int64_t before = clock_wall_ms(), at = 0;
	log_set_request("req-1");
	errno = ENOENT;
	LOG_EVENT(LOG_WARN, "job.voided", L_STR("job", "j1"), L_INT("status", -504), L_STR("none", NULL));
	assert_int_equal(errno, ENOENT);
	_cleanup_json_ json_t *line = next_line();
	assert_true(time_parse_rfc3339(text_of(line, "ts"), &at));
	assert_true(at >= before && at <= clock_wall_ms());
	assert_string_equal(text_of(line, "level"), "warn");
	assert_string_equal(text_of(line, "event"), "job.voided");
	assert_string_equal(text_of(line, "request_id"), "req-1");
	assert_string_equal(text_of(line, "job"), "j1");
	assert_true(json_integer_value(json_object_get(line, "status")) == -504);
	assert_string_equal(text_of(line, "none"), "");
	assert_int_equal(json_object_size(line), 7);
	assert_memory_equal(message, "{\"ts\":\"", 7);
	log_set_request(NULL);
	log_fields(LOG_ERROR, "plain", NULL, 0);
	_cleanup_json_ json_t *plain = next_line();
	assert_null(json_object_get(plain, "request_id"));
	assert_int_equal(json_object_size(plain), 3);
}

static void escapes_everything(void **state)
{
	(void)state;
	char all[256], wanted[] = "\"\\/\b\f\n\r\t\x7f <\xc3\xa9\xe2\x82\xac\xf0\x9f\x92\xa9";
	for (int i = 0; i < 255; i++)
		all[i] = (char)(i + 1);
	all[255] = '\0';
	LOG_EVENT(LOG_INFO, "x\"y", L_STR("good", wanted), L_STR("all", all), L_STR("k\"\n", "v"), L_STR("overlong", "\xc0\xaf\xed\xa0\x80"),
		  L_STR("cut", "\xe2\x82"));
	_cleanup_json_ json_t *line = next_line();
	assert_string_equal(text_of(line, "event"), "x\"y");
	assert_string_equal(text_of(line, "good"), wanted);
	assert_string_equal(text_of(line, "k\"\n"), "v");
	assert_memory_equal(text_of(line, "all"), all, 127); /* ASCII as it was */
	assert_string_equal(text_of(line, "overlong"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	assert_string_equal(text_of(line, "cut"), "\xef\xbf\xbd\xef\xbf\xbd");
}

static void bounds_values_and_lines(void **state)
{
	(void)state;
	static char big[100001], control[2001];
	for (size_t i = 0; i + 3 < sizeof(big); i += 3)
		memcpy(big + i, "\xe2\x82\xac", 3); /* the cut must not fall inside a character */
	memset(control, 1, sizeof(control) - 1); /* grows sixfold */
	LOG_EVENT(LOG_INFO, "big", L_STR("v", big), L_INT("n", 7));
	_cleanup_json_ json_t *line = next_line();
	size_t len = strlen(text_of(line, "v"));
	assert_true(len > 1000 && len < 3000);
	assert_string_equal(text_of(line, "v") + len - 3, "...");
	assert_null(strstr(text_of(line, "v"), "\xef\xbf\xbd")); /* no character was cut in two */
	assert_true(json_integer_value(json_object_get(line, "n")) == 7);
	assert_null(json_object_get(line, "truncated"));
	LOG_EVENT(LOG_INFO, "big", L_STR("a", control), L_STR("b", control), L_INT("n", 7));
	_cleanup_json_ json_t *cut = next_line();
	assert_string_equal(text_of(cut, "a"), control);
	assert_null(json_object_get(cut, "b"));
	assert_true(json_is_true(json_object_get(cut, "truncated")));
	assert_true(strlen(message) <= 16384);
}

static void levels(void **state)
{
	(void)state;
	log_fields(LOG_DEBUG, "hidden", NULL, 0);
	assert_true(nothing_written());
	log_set_level(LOG_ERROR);
	log_fields(LOG_WARN, "hidden", NULL, 0);
	assert_true(nothing_written());
	log_set_level(LOG_DEBUG);
	log_fields(LOG_DEBUG, "shown", NULL, 0);
	_cleanup_json_ json_t *line = next_line();
	assert_string_equal(text_of(line, "level"), "debug");
}

static void *log_many(void *arg)
{
	log_set_request(arg);
	for (int i = 0; i < 200; i++)
		LOG_EVENT(LOG_INFO, "tick", L_STR("of", arg), L_INT("i", i));
	return NULL;
}

static void threads_do_not_mix(void **state)
{
	(void)state;
	static char *names[] = { "a", "b", "c", "d" };
	pthread_t threads[COUNT_OF(names)];
	int64_t seen[COUNT_OF(names)] = { 0 };
	for (size_t i = 0; i < COUNT_OF(names); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_many, names[i]), 0);
	for (size_t i = 0; i < 200 * COUNT_OF(names); i++) {
		_cleanup_json_ json_t *line = next_line();
		const char *who = text_of(line, "request_id");
		assert_string_equal(who, text_of(line, "of")); /* the id belongs to the thread */
		assert_true(json_integer_value(json_object_get(line, "i")) == seen[who[0] - 'a']++);
	}
	for (size_t i = 0; i < COUNT_OF(names); i++)
		pthread_join(threads[i], NULL);
	assert_true(nothing_written());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_line_has_its_fields_in_order, capture_start, capture_stop),
		cmocka_unit_test_setup_teardown(escapes_everything, capture_start, capture_stop),
		cmocka_unit_test_setup_teardown(bounds_values_and_lines, capture_start, capture_stop),
		cmocka_unit_test_setup_teardown(levels, capture_start, capture_stop),
		cmocka_unit_test_setup_teardown(threads_do_not_mix, capture_start, capture_stop),
	};
	return RUN_TESTS(tests);
}
