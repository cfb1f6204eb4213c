/* Answers that come later, streams, clients that leave, deadlines, draining and stopping. */
#include "fixture.h"

#include <sys/resource.h>

static struct http_server *server;
static uint16_t port;
static atomic_int statuses[600];

/* ---- a thread that answers deferred requests, as a reactor would ---- */

struct task {
	struct task *next;
	void (*fn)(struct request *req);
	struct request *req;
};

static pthread_mutex_t tasks_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t tasks_cond = PTHREAD_COND_INITIALIZER;
static struct task *tasks;
static bool tasks_stop;
static pthread_t tasks_thread;

static void *tasks_main(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&tasks_lock);
	for (;;) {
		struct task *t = tasks;
		if (t) {
			tasks = t->next;
			pthread_mutex_unlock(&tasks_lock);
			t->fn(t->req);
			free(t);
			pthread_mutex_lock(&tasks_lock);
		} else if (tasks_stop) {
			break;
		} else {
			pthread_cond_wait(&tasks_cond, &tasks_lock);
		}
	}
	pthread_mutex_unlock(&tasks_lock);
	return NULL;
}

static void later(struct request *req, void (*fn)(struct request *req))
{
	struct task *t = xcalloc(1, sizeof(*t));
	*t = (struct task){ .fn = fn, .req = req };
	pthread_mutex_lock(&tasks_lock);
	t->next = tasks;
	tasks = t;
	pthread_cond_signal(&tasks_cond);
	pthread_mutex_unlock(&tasks_lock);
}

/* ---- handlers ---- */

static void answer_now(struct request *req)
{
	const char *say = request_query(req, "say");
	reply_bytes(req, 200, "text/plain", say ? say : "-", say ? strlen(say) : 1);
	request_finish(req);
}

static enum err on_deferred(struct request *req)
{
	request_defer(req);
	later(req, answer_now);
	return ERR_OK;
}

static enum err on_taken_back(struct request *req)
{
	request_defer(req);
	return request_fail(req, ERR_NO_NODE, "nobody took it");
}

static _Atomic(struct request *) held;
static atomic_int gone_calls;

static void note_gone(void *arg)
{
	(void)arg;
	atomic_fetch_add(&gone_calls, 1);
}

static enum err on_hold(struct request *req)
{
	request_defer(req);
	request_on_gone(req, note_gone, NULL);
	atomic_store(&held, req);
	return ERR_OK;
}

static atomic_int held_many;
static struct request *many[512];

static enum err on_hold_many(struct request *req)
{
	request_defer(req);
	many[atomic_fetch_add(&held_many, 1)] = req;
	return ERR_OK;
}

static struct stream *the_stream;
static struct request *the_request;
static atomic_bool stream_ready;

static enum err on_stream(struct request *req)
{
	request_defer(req);
	request_on_gone(req, note_gone, NULL);
	the_request = req;
	the_stream = reply_stream(req, 200, "text/event-stream");
	atomic_store(&stream_ready, true);
	return ERR_OK;
}

static void stream_short(struct request *req)
{
	struct stream *s = reply_stream(req, 200, "text/event-stream");
	for (int i = 0; i < 20; i++) {
		char event[64];
		int n = snprintf(event, sizeof(event), "data: %d\n\n", i);
		if (stream_write(s, event, (size_t)n))
			break;
		if (i % 7 == 0)
			sched_yield();
	}
	stream_end(s);
	stream_release(s);
}

static enum err on_stream_short(struct request *req)
{
	request_defer(req);
	later(req, stream_short);
	return ERR_OK;
}

static enum err on_stream_direct(struct request *req)
{
	stream_short(req);
	return ERR_OK;
}

static enum err on_quick(struct request *req)
{
	reply_empty(req, 204);
	return ERR_OK;
}

static void after(struct request *req, int status, int64_t us)
{
	(void)req;
	(void)us;
	atomic_fetch_add(&statuses[status], 1);
}

static atomic_int states;

static void *state_new(void *app)
{
	(void)app;
	atomic_fetch_add(&states, 1);
	return &states;
}

static void state_free(void *state)
{
	assert_ptr_equal(state, &states);
	atomic_fetch_sub(&states, 1);
}

#define R(m, p, md, h) { .method = HTTP_##m, .pattern = p, .name = p, .mode = ROUTE_##md, .body_max = 1000, .handler = h }
static const struct route table[] = {
	R(GET, "/deferred", WORKER, on_deferred),       R(GET, "/inline", INLINE, on_deferred),
	R(GET, "/back", WORKER, on_taken_back),         R(GET, "/inline-back", INLINE, on_taken_back),
	R(GET, "/hold", WORKER, on_hold),               R(GET, "/many", WORKER, on_hold_many),
	R(GET, "/stream", WORKER, on_stream),           R(GET, "/short", WORKER, on_stream_short),
	R(GET, "/direct", WORKER, on_stream_direct),    R(GET, "/inline-stream", INLINE, on_stream_direct),
	R(POST, "/quick", WORKER, on_quick),
};

static int start(void **state)
{
	(void)state;
	struct http_config c = {
		.host = "127.0.0.1", .daemons = 2, .workers = 2, .queue_max = 600, .connections_max = 2000, .header_timeout_ms = 400,
		.request_timeout_ms = 600, .handler_timeout_ms = 30000, .routes = table, .route_count = sizeof(table) / sizeof(*table),
		.after = after, .worker_new = state_new, .worker_free = state_free, .heartbeat_ms = 200,
	};
	for (int i = 0; i < 600; i++)
		atomic_store(&statuses[i], 0);
	atomic_store(&held, NULL);
	atomic_store(&gone_calls, 0);
	atomic_store(&held_many, 0);
	atomic_store(&stream_ready, false);
	tasks_stop = false;
	if (pthread_create(&tasks_thread, NULL, tasks_main, NULL) || http_start(&c, &server))
		return -1;
	port = http_port(server);
	return 0;
}

static void stop_tasks(void)
{
	pthread_mutex_lock(&tasks_lock);
	tasks_stop = true;
	pthread_cond_signal(&tasks_cond);
	pthread_mutex_unlock(&tasks_lock);
	pthread_join(tasks_thread, NULL);
}

static int stop(void **state)
{
	(void)state;
	http_stop(server);
	stop_tasks();
	assert_int_equal(atomic_load(&states), 0);
	return 0;
}

#define GET(path) "GET " path " HTTP/1.1\r\n" H "\r\n"
#define GET_CLOSE(path) "GET " path " HTTP/1.1\r\n" H "Connection: close\r\n\r\n"

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

static int open_stream(void)
{
	int fd = client_open(port);
	client_puts(fd, GET("/stream"));
	wait_until(atomic_load(&stream_ready));
	return fd;
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
	/* the client reads nothing: what the kernel takes is bounded, and so is the ring */
	while (sent < (64u << 20) && !(e = stream_write(the_stream, part, sizeof(part))))
		sent += sizeof(part);
	assert_int_equal(e, ERR_LIMIT);
	assert_true(sent < (32u << 20));
	assert_true(stream_full(the_stream));
	size_t got = 0;
	struct text t = { NULL, 0 };
	while (stream_full(the_stream) || !atomic_load(&drains)) {
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

static void idle_streams_cost_no_cpu(void **state)
{
	(void)state;
	int fd = open_stream();
	struct text t = { NULL, 0 };
	client_read_until(fd, &t, ": \n\n");
	struct rusage a, b;
	getrusage(RUSAGE_SELF, &a);
	assert_false(client_more(fd, &t, 100));
	getrusage(RUSAGE_SELF, &b);
	long used = (b.ru_utime.tv_sec - a.ru_utime.tv_sec + b.ru_stime.tv_sec - a.ru_stime.tv_sec) * 1000000 + b.ru_utime.tv_usec -
		    a.ru_utime.tv_usec + b.ru_stime.tv_usec - a.ru_stime.tv_usec;
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

/* ---- the end ---- */

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
		T(deferred_answers_arrive), T(client_gone_while_suspended), T(cleared_gone_does_not_run), T(streams_arrive_whole),
		T(heartbeats_go_between_events), T(a_slow_reader_bounds_memory), T(client_gone_while_streaming), T(an_aborted_stream_is_cut),
		T(idle_streams_cost_no_cpu), T(slow_clients_are_cut), T(draining_refuses_and_waits),
		cmocka_unit_test_setup(stop_with_suspended_connections, start), cmocka_unit_test_setup(stop_under_load, start),
		T(posted_work_runs_on_workers), T(races),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
