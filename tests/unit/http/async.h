/* Handlers that answer later, and a thread that answers for them as a reactor would; shared by the tests of deferral and stopping. */
#ifndef OPGATE_TESTS_HTTP_ASYNC_H
#define OPGATE_TESTS_HTTP_ASYNC_H

#include "fixture.h"

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

static int open_stream(void)
{
	int fd = client_open(port);
	client_puts(fd, GET("/stream"));
	wait_until(atomic_load(&stream_ready));
	return fd;
}

#endif
