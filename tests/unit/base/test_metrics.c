/* Counters under threads, and the text format. */
#include "base/metrics.h"
#include "tests/unit/unit.h"

#include <pthread.h>

static void *add_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < 50000; i++) {
		metric_add(METRIC_REQUESTS, 1);
		metric_add(METRIC_JOBS_RUNNING, i % 2 ? -1 : 1);
	}
	return NULL;
}

static void no_increment_is_lost(void **state)
{
	(void)state;
	pthread_t threads[4];
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add_many, NULL), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		pthread_join(threads[i], NULL);
	assert_true(metric_get(METRIC_REQUESTS) == 200000);
	assert_true(metric_get(METRIC_JOBS_RUNNING) == 0);
}

static void renders_every_metric(void **state)
{
	(void)state;
	metric_set(METRIC_REQUESTS, 3);
	metric_set(METRIC_RECONCILED, -1);
	_cleanup_buf_ struct buf b = BUF_INIT(65536);
	assert_int_equal(metrics_render(&b), ERR_OK);
	static const char first[] = "# HELP opgate_http_requests_total HTTP requests answered\n"
				    "# TYPE opgate_http_requests_total counter\n"
				    "opgate_http_requests_total 3\n# HELP ";
	assert_memory_equal(b.data, first, sizeof(first) - 1);
	assert_non_null(strstr(b.data, "\n# TYPE opgate_reconciliation_ok gauge\nopgate_reconciliation_ok -1\n"));
	int lines = 0;
	for (const char *p = b.data; *p; p++)
		lines += *p == '\n';
	assert_int_equal(lines, 3 * METRIC_COUNT);
	assert_int_equal(b.data[b.len - 1], '\n');
}

static void a_full_buffer_is_an_error(void **state)
{
	(void)state;
	_cleanup_buf_ struct buf b = BUF_INIT(100);
	assert_int_equal(metrics_render(&b), ERR_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_increment_is_lost),
		cmocka_unit_test(renders_every_metric),
		cmocka_unit_test(a_full_buffer_is_an_error),
	};
	return RUN_TESTS(tests);
}
