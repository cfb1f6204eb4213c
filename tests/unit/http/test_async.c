/* Answers that come later, streams, clients that leave, and deadlines. */
#include "async.h"

#include <limits.h>
#include <sys/resource.h>

/* ---- deferred ---- */

static void deferred_answers_arrive(void **state)
{
	(void)state;
	char *a = ask(port, GET("/deferred?say=one") GET("/inline?say=two") GET_CLOSE("/deferred?say=three"));
	assert_int_equal(count_of(a, "HTTP/1.1 200"), 3);
	assert_contains(a, "\r\n\r\none");
	assert_contains(a, "\r\n\r\ntwo");
	assert_contains(a, "\r\n\r\nthree");
	free(a);
	a = ask(port, GET("/back") GET_CLOSE("/inline-back"));
	assert_int_equal(count_of(a, "HTTP/1.1 503"), 2);
	assert_int_equal(count_of(a, "nobody took it"), 4 / 2);
	free(a);
}

static void client_gone_while_suspended(void **state)
{
	(void)state;
	int64_t counted = metric_get(METRIC_CLIENT_GONE);
	int fd = client_open(port);
	client_puts(fd, GET("/hold"));
	wait_until(atomic_load(&held));
	struct request *req = atomic_load(&held);
	assert_false(request_gone(req));
	int64_t left = clock_mono_ms();
	close(fd);
	wait_until(atomic_load(&gone_calls) == 1);
	assert_true(clock_mono_ms() - left < 1000);
	assert_true(request_gone(req));
	assert_int_equal(metric_get(METRIC_CLIENT_GONE) - counted, 1);
	reply_empty(req, 204);
	request_finish(req);
	assert_int_equal(http_drain(server, deadline_in(PATIENCE_MS)), 0);
	assert_int_equal(atomic_load(&gone_calls), 1);
}

static void cleared_gone_does_not_run(void **state)
{
	(void)state;
	int fd = client_open(port);
	client_puts(fd, GET("/hold"));
	wait_until(atomic_load(&held));
	struct request *req = atomic_load(&held);
	request_clear_gone(req);
	close(fd);
	wait_until(request_gone(req));
	assert_int_equal(atomic_load(&gone_calls), 0);
	/* registered after the client left: runs all the same */
	request_on_gone(req, note_gone, NULL);
	wait_until(atomic_load(&gone_calls) == 1);
	reply_empty(req, 204);
	request_finish(req);
}

/* ---- streams ---- */

static void streams_arrive_whole(void **state)
{
	(void)state;
	static const char *const paths[] = { "/short", "/direct", "/inline-stream" };
	for (size_t p = 0; p < 3; p++) {
		char req[128];
		snprintf(req, sizeof(req), "GET %s HTTP/1.1\r\n" H "\r\nGET %s HTTP/1.1\r\n" H "Connection: close\r\n\r\n", paths[p], paths[p]);
		char *a = ask(port, req);
		assert_int_equal(count_of(a, "HTTP/1.1 200"), 2);
		assert_int_equal(count_of(a, "data: "), 40);
		assert_int_equal(count_of(a, "data: 19\n\n"), 2);
		assert_int_equal(count_of(a, "\r\n0\r\n\r\n"), 2);
		free(a);
	}
	char *a = ask(port, "HEAD /short HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_status(a, 200);
	assert_string_equal(body_of(a), "");
	free(a);
	a = ask(port, "GET /short HTTP/1.0\r\n\r\n");
	assert_status(a, 505);
	free(a);
	assert_int_equal(http_drain(server, deadline_in(PATIENCE_MS)), 0);
}

static void heartbeats_go_between_events(void **state)
{
	(void)state;
	int fd = open_stream();
	struct text t = { NULL, 0 };
	assert_int_equal(stream_write(the_stream, "data: a\n\n", 9), ERR_OK);
	client_read_until(fd, &t, "data: a\n\n");
	client_read_until(fd, &t, ": \n\n\r\n");
	/* half an event: silence */
	assert_int_equal(stream_write(the_stream, "data: b", 7), ERR_OK);
	client_read_until(fd, &t, "data: b");
	size_t beats = count_of(t.s, "\r\n: \n\n");
	assert_false(client_more(fd, &t, 700));
	assert_int_equal(count_of(t.s, "\r\n: \n\n"), beats);
	assert_int_equal(stream_write(the_stream, "\n\n", 2), ERR_OK);
	stream_end(the_stream);
	stream_release(the_stream);
	client_read_until(fd, &t, "\r\n0\r\n\r\n");
	free(t.s);
	close(fd);
	assert_int_equal(atomic_load(&gone_calls), 0);
}

static atomic_int drains;

static void note_drain(void *arg)
{
	(void)arg;
	atomic_fetch_add(&drains, 1);
}

static bool drained_since(int seen)
{
	for (int i = 0; i < 100 && atomic_load(&drains) == seen; i++)
		poll(NULL, 0, 1);
	return atomic_load(&drains) != seen;
}

static void a_slow_reader_bounds_memory(void **state)
{
	(void)state;
	int fd = open_stream();
	atomic_store(&drains, 0);
	stream_on_drain(the_stream, note_drain, NULL);
	static char part[8192];
	memset(part, 'x', sizeof(part));
	size_t sent = 0;
	enum err e = ERR_OK;
	int seen;
	/* The client reads nothing: what the kernel takes is bounded, and so is the ring. A full ring alone may only mean that the
	 * daemon is slower than we are, and it drains then: that is followed for as long as it is seen, and nothing below depends on
	 * whether the end was. */
	do {
		seen = atomic_load(&drains);
		while (sent < (64u << 20) && !(e = stream_write(the_stream, part, sizeof(part))))
			sent += sizeof(part);
		assert_int_equal(e, ERR_LIMIT);
		assert_true(sent < (32u << 20));
	} while (drained_since(seen));
	size_t got = 0;
	struct text t = { NULL, 0 };
	while (stream_full(the_stream) || atomic_load(&drains) == seen) {
		assert_true(client_more(fd, &t, PATIENCE_MS));
		got += t.len;
		t.len = 0;
	}
	assert_int_equal(stream_write(the_stream, part, sizeof(part)), ERR_OK);
	sent += sizeof(part);
	stream_end(the_stream);
	assert_int_equal(stream_write(the_stream, part, 1), ERR_CANCELLED);
	stream_release(the_stream);
	while (got < sent && client_more(fd, &t, PATIENCE_MS)) {
		got += t.len;
		t.len = 0;
	}
	assert_true(got >= sent);
	free(t.s);
	close(fd);
	assert_int_equal(atomic_load(&gone_calls), 0);
}

static void client_gone_while_streaming(void **state)
{
	(void)state;
	int fd = open_stream();
	struct text t = { NULL, 0 };
	assert_int_equal(stream_write(the_stream, "data: a\n\n", 9), ERR_OK);
	client_read_until(fd, &t, "data: a");
	free(t.s);
	close(fd);
	wait_until(atomic_load(&gone_calls) == 1);
	wait_until(stream_write(the_stream, "data: b\n\n", 9) == ERR_CANCELLED);
	assert_int_equal(http_drain(server, deadline_in(PATIENCE_MS)), 0); /* the connection is freed before the producer lets go */
	request_clear_gone(the_request);
	stream_release(the_stream);
}

static void an_aborted_stream_is_cut(void **state)
{
	(void)state;
	int fd = open_stream();
	assert_int_equal(stream_write(the_stream, "data: a\n\n", 9), ERR_OK);
	stream_abort(the_stream);
	stream_release(the_stream);
	struct text t = client_read_all(fd);
	assert_contains(t.s, "data: a\n\n");
	assert_null(strstr(t.s, "\r\n0\r\n"));
	free(t.s);
	close(fd);
	assert_int_equal(http_drain(server, deadline_in(PATIENCE_MS)), 0);
	assert_int_equal(atomic_load(&gone_calls), 0);
}

static long cpu_us(void)
{
	struct rusage r;
	getrusage(RUSAGE_SELF, &r);
	return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000 + r.ru_utime.tv_usec + r.ru_stime.tv_usec;
}

/* Who turns in circles does so all the time; a machine that is busy with something else charges us for it now and then. */
static void idle_streams_cost_no_cpu(void **state)
{
	(void)state;
	int fd = open_stream();
	struct text t = { NULL, 0 };
	long used = LONG_MAX;
	client_read_until(fd, &t, ": \n\n");
	for (int window = 0; window < 20 && used >= 50000; window++) {
		long before = cpu_us();
		assert_false(client_more(fd, &t, 100));
		used = cpu_us() - before;
	}
	assert_true(used < 50000);
	stream_end(the_stream);
	stream_release(the_stream);
	free(t.s);
	close(fd);
}

/* ---- deadlines ---- */

static void drip(const char *start, const char *piece, int64_t at_least, int64_t at_most)
{
	int fd = client_open(port);
	int64_t begin = clock_mono_ms();
	client_puts(fd, start);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	while (poll(&p, 1, 40) == 0) {
		if (clock_mono_ms() - begin > PATIENCE_MS)
			fail_msg("still open");
		client_puts(fd, piece); /* never idle */
	}
	int64_t took = clock_mono_ms() - begin;
	struct text t = client_read_all(fd);
	close(fd);
	if (t.len && strncmp(t.s, "HTTP/1.1 408 ", 13))
		fail_msg("got %s", t.s);
	free(t.s);
	assert_true(took >= at_least - 60 && took <= at_most);
}

static void slow_clients_are_cut(void **state)
{
	(void)state;
	drip("GET /quick HTTP/1.1\r\n" H, "X: y\r\n", 400, 5000);
	drip("", "G", 400, 5000);
	drip("POST /quick HTTP/1.1\r\n" H "Content-Length: 500\r\n\r\n", "b", 600, 5000);
	drip("POST /quick HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", "1\r\nb\r\n", 600, 5000);
	/* a suspended request is not: its body is in */
	int fd = client_open(port);
	client_puts(fd, GET("/hold"));
	wait_until(atomic_load(&held));
	struct text t = { NULL, 0 };
	assert_false(client_more(fd, &t, 900));
	assert_int_equal(atomic_load(&gone_calls), 0);
	reply_empty(atomic_load(&held), 204);
	request_finish(atomic_load(&held));
	client_read_until(fd, &t, "HTTP/1.1 204");
	free(t.s);
	close(fd);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)
	const struct CMUnitTest tests[] = {
		T(deferred_answers_arrive), T(client_gone_while_suspended), T(cleared_gone_does_not_run), T(streams_arrive_whole),
		T(heartbeats_go_between_events), T(a_slow_reader_bounds_memory), T(client_gone_while_streaming), T(an_aborted_stream_is_cut),
		T(idle_streams_cost_no_cpu), T(slow_clients_are_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
