/* Draining and stopping, and the races of suspending and resuming that stopping makes worse. */
#include "async.h"

static void draining_refuses_and_waits(void **state)
{
	(void)state;
	int fd = client_open(port);
	client_puts(fd, GET("/hold"));
	wait_until(atomic_load(&held));
	assert_int_equal(http_drain(server, deadline_in(50)), 1);
	char *a = ask(port, GET("/deferred"));
	assert_status(a, 503);
	assert_contains(a, "\"code\":\"stopping\"");
	assert_contains(a, "Connection: close\r\n");
	free(a);
	reply_empty(atomic_load(&held), 204);
	request_finish(atomic_load(&held));
	assert_int_equal(http_drain(server, deadline_in(PATIENCE_MS)), 0);
	struct text t = { NULL, 0 };
	client_read_until(fd, &t, "HTTP/1.1 204");
	free(t.s);
	close(fd);
}

/* libmicrohttpd would abort the process. What is answered after the stop is answered to nobody. */
static void stop_with_suspended_connections(void **state)
{
	(void)state;
	int fds[300];
	for (int i = 0; i < 300; i++) {
		fds[i] = client_open(port);
		client_puts(fds[i], GET("/many"));
	}
	wait_until(atomic_load(&held_many) == 300);
	int fd = open_stream();
	http_stop(server);
	assert_int_equal(atomic_load(&gone_calls), 1);
	assert_int_equal(stream_write(the_stream, "x", 1), ERR_CANCELLED);
	stream_end(the_stream);
	stream_release(the_stream);
	for (int i = 0; i < 300; i++) {
		assert_non_null(request_header(many[i], "host"));
		if (i % 3 == 0) {
			struct stream *s = reply_stream(many[i], 200, "text/event-stream");
			assert_int_equal(stream_write(s, "x", 1), ERR_CANCELLED);
			stream_release(s);
			continue;
		}
		assert_true(request_gone(many[i]));
		reply_bytes(many[i], 200, "text/plain", "late", 4);
		request_finish(many[i]);
	}
	for (int i = 0; i < 300; i++) {
		struct text t = client_read_all(fds[i]);
		assert_int_equal(t.len, 0);
		free(t.s);
		close(fds[i]);
	}
	close(fd);
	stop_tasks();
}

static void *stopper(void *arg)
{
	(void)arg;
	http_stop(server);
	return NULL;
}

static void stop_under_load(void **state)
{
	(void)state;
	int fds[100];
	for (int i = 0; i < 100; i++) {
		fds[i] = client_open(port);
		client_puts(fds[i], i % 2 ? GET("/deferred") GET("/short") GET("/deferred") : GET("/short") GET("/inline") GET("/short"));
	}
	pthread_t t;
	assert_int_equal(pthread_create(&t, NULL, stopper, NULL), 0);
	for (int i = 0; i < 100; i++) {
		free(client_read_all(fds[i]).s);
		close(fds[i]);
	}
	pthread_join(t, NULL);
	stop_tasks();
}

static atomic_int posted;

static void on_posted(void *arg)
{
	assert_ptr_equal(http_worker_state(), &states);
	atomic_fetch_add((atomic_int *)arg, 1);
}

static void posted_work_runs_on_workers(void **state)
{
	(void)state;
	atomic_store(&posted, 0);
	assert_null(http_worker_state());
	for (int i = 0; i < 1000; i++)
		http_post(server, on_posted, &posted);
	wait_until(atomic_load(&posted) == 1000);
}

/* Suspend and resume race in both orders, thousands of times. */
struct load {
	pthread_t thread;
	int rounds;
	unsigned answers;
};

static void *load_main(void *arg)
{
	struct load *l = arg;
	int fd = client_open(port);
	for (int i = 0; i < l->rounds; i++) {
		static const char *const requests[] = { GET("/deferred?say=x"), GET("/inline?say=x"), GET("/short"), GET("/direct"),
							GET("/inline-stream") };
		struct text t = { NULL, 0 };
		int which = i % 5;
		client_puts(fd, requests[which]);
		client_read_until(fd, &t, which < 2 ? "\r\n\r\nx" : "\r\n0\r\n\r\n");
		l->answers += count_of(t.s, "HTTP/1.1 200");
		free(t.s);
		if (i % 97 == 96) { /* leave in the middle of one */
			client_puts(fd, requests[(i / 97) % 5]);
			close(fd);
			fd = client_open(port);
		}
	}
	close(fd);
	return NULL;
}

static void races(void **state)
{
	(void)state;
	struct load loads[4];
	for (int i = 0; i < 4; i++) {
		loads[i] = (struct load){ .rounds = 1500 };
		assert_int_equal(pthread_create(&loads[i].thread, NULL, load_main, &loads[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(loads[i].thread, NULL);
		assert_int_equal(loads[i].answers, 1500);
	}
	assert_int_equal(http_drain(server, deadline_in(PATIENCE_MS)), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)
	const struct CMUnitTest tests[] = {
		T(draining_refuses_and_waits), cmocka_unit_test_setup(stop_with_suspended_connections, start),
		cmocka_unit_test_setup(stop_under_load, start), T(posted_work_runs_on_workers), T(races),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
