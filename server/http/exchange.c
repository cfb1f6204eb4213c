/* One request from its first line to its completion. libmicrohttpd calls exchange_access several times on the connection's
 * daemon thread: once when the headers are in, then per piece of body, then once more at the end, and again whenever a
 * suspended connection was resumed. x->stage says which call this is.
 *
 * A suspend is always answered by exactly one resume: x->suspended, under x->lock, is the token. References: one of
 * libmicrohttpd's (until completed), one of each worker or deferred holder, one of each stream, one of the janitor's. */
#include "http/internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#include "base/metrics.h"

static int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

size_t exchange_keep_raw(void *cls, struct MHD_Connection *c, char *s)
{
	(void)cls;
	(void)c;
	return strlen(s); /* no decoding: %00 would cut the path, and %2f and dot segments would hide */
}

void *exchange_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
	struct http_server *s = cls;
	struct http_exchange *x = xcalloc(1, sizeof(*x));
	struct arena *a = arena_new();
	if (!uri)
		uri = "";
	const char *mark = strchrnul(uri, '?');
	*x = (struct http_exchange){
		.server = s,
		.conn = conn_of(mhd),
		.mhd = mhd,
		.fd = conn_of(mhd)->fd,
		.raw_uri = uri,
		.raw_uri_len = strlen(uri),
		.start_us = now_us(),
		.reply.fd = -1,
		.req = {
			.arena = a,
			.id = "",
			.path = arena_strndup(a, uri, (size_t)(mark - uri)),
			.query = arena_strdup(a, *mark ? mark + 1 : ""),
			.body = "",
			.app = s->config.app,
			.x = x,
		},
	};
	atomic_init(&x->refs, 1);
	atomic_fetch_add(&s->refs, 1);
	pthread_mutex_init(&x->lock, NULL);
	pthread_cond_init(&x->gone_idle, NULL);
	struct conn *c = x->conn;
	memcpy(x->ip, c->ip, sizeof(x->ip));
	if (atomic_load(&c->phase) == CONN_IDLE)
		(void)conn_phase(c, CONN_HEAD, deadline_in(s->config.header_timeout_ms));
	pthread_mutex_lock(&c->lock);
	c->x = x;
	x->killed = atomic_load(&s->killed);
	pthread_mutex_unlock(&c->lock);
	return x;
}

void exchange_ref(struct http_exchange *x)
{
	atomic_fetch_add(&x->refs, 1);
}

void exchange_unref(struct http_exchange *x)
{
	if (atomic_fetch_sub(&x->refs, 1) != 1)
		return;
	struct http_server *s = x->server;
	if (x->upload_begun && !x->upload_taken)
		s->config.upload.abandon(x->req.upload);
	reply_done(&x->reply);
	buf_done(&x->body);
	arena_free(x->req.arena);
	pthread_cond_destroy(&x->gone_idle);
	pthread_mutex_destroy(&x->lock);
	free(x);
	server_unref(s);
}

bool exchange_suspend(struct http_exchange *x)
{
	pthread_mutex_lock(&x->lock);
	bool ok = !x->killed && !x->suspended;
	if (ok) {
		x->suspended = true;
		MHD_suspend_connection(x->mhd);
	}
	pthread_mutex_unlock(&x->lock);
	return ok;
}

bool exchange_ready(struct http_exchange *x)
{
	pthread_mutex_lock(&x->lock);
	x->ready = true;
	bool late = x->completed;
	if (late)
		x->reply.stream = NULL;
	if (x->suspended) {
		x->suspended = false;
		MHD_resume_connection(x->mhd);
	}
	pthread_mutex_unlock(&x->lock);
	return !late;
}

void exchange_kill(struct http_exchange *x)
{
	pthread_mutex_lock(&x->lock);
	x->killed = true;
	if (x->suspended) {
		x->suspended = false;
		MHD_resume_connection(x->mhd);
	}
	pthread_mutex_unlock(&x->lock);
	exchange_mark_gone(x);
}

void exchange_mark_gone(struct http_exchange *x)
{
	pthread_mutex_lock(&x->lock);
	bool first = !atomic_exchange(&x->gone, true);
	bool post = x->gone_fn && !x->gone_posted;
	x->gone_posted |= post;
	bool ours = x->killed || x->unread;
	/* Before it is ready, the reply belongs to whoever makes it. */
	struct stream *stream = x->ready && !x->completed ? x->reply.stream : NULL;
	if (stream)
		stream_ref(stream);
	pthread_mutex_unlock(&x->lock);
	if (first && !ours)
		metric_add(METRIC_CLIENT_GONE, 1);
	if (post)
		janitor_post_gone(x);
	if (stream) {
		stream_cut(stream);
		stream_unref(stream);
	}
}

/* ---- answering ---- */

/* While a body is still arriving libmicrohttpd takes no response, and closing with unread bytes in the socket would destroy
 * the answer on its way. So: the answer by hand, no more from us, and a short while of listening to nothing. */
static enum MHD_Result answer_by_hand(struct http_exchange *x)
{
	_cleanup_buf_ struct buf out = BUF_INIT(HTTP_LINGER_MAX);
	reply_text(x, &out);
	if (!conn_phase(x->conn, CONN_LINGER, deadline_in(HTTP_LINGER_MS)))
		return MHD_NO;
	x->stage = STAGE_LINGER;
	x->status = x->reply.status;
	x->body_seen = 0;
	ssize_t n = send(x->conn->fd, out.data, out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n != (ssize_t)out.len)
		return MHD_NO;
	shutdown(x->conn->fd, SHUT_WR);
	return MHD_YES;
}

static enum MHD_Result linger(struct http_exchange *x, size_t *len)
{
	if (!*len)
		return MHD_NO; /* all of it came: nothing more to wait for */
	x->body_seen += *len;
	*len = 0;
	return x->body_seen < HTTP_LINGER_MAX ? MHD_YES : MHD_NO;
}

static enum MHD_Result answer_queue(struct http_exchange *x)
{
	pthread_mutex_lock(&x->lock);
	bool killed = x->killed;
	pthread_mutex_unlock(&x->lock);
	if (killed && x->reply.kind == BODY_STREAM)
		return MHD_NO;
	struct MHD_Response *r = reply_response(x);
	if (!r)
		return MHD_NO;
	x->stage = STAGE_ANSWERED;
	x->status = x->reply.status;
	enum MHD_Result ok = MHD_queue_response(x->mhd, (unsigned)x->status, r);
	MHD_destroy_response(r);
	return ok;
}

enum MHD_Result exchange_answer(struct http_exchange *x)
{
	if (!conn_phase(x->conn, CONN_BUSY, 0))
		return MHD_NO;
	return answer_queue(x);
}

/* An answer before the body was read: the connection ends with it. */
static enum MHD_Result refuse(struct http_exchange *x, enum err e)
{
	x->close = true;
	if (e)
		reply_error(&x->req, e);
	return x->has_body ? answer_by_hand(x) : exchange_answer(x);
}

/* ---- the calls ---- */

static int method_of(struct http_exchange *x, const char *method)
{
	static const char *const names[] = { [HTTP_GET] = "GET", [HTTP_POST] = "POST", [HTTP_PUT] = "PUT",
					     [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE" };
	x->req.head = !strcmp(method, "HEAD");
	if (x->req.head)
		method = "GET";
	for (int m = 0; m < (int)(sizeof(names) / sizeof(*names)); m++)
		if (!strcmp(method, names[m]))
			return m;
	return -1;
}

/* A refusal that need not end the connection: the body, when it is small, is read and dropped first. */
static enum MHD_Result refuse_softly(struct http_exchange *x, enum err e)
{
	if (e)
		reply_error(&x->req, e);
	if (x->declared > HTTP_DISCARD_MAX)
		return refuse(x, ERR_OK);
	x->refused_body = true;
	return MHD_YES;
}

static enum err too_large(struct http_exchange *x)
{
	return request_fail(&x->req, ERR_TOO_LARGE, "the body may have at most %zu bytes", x->req.route->body_max);
}

static enum MHD_Result route_call(struct http_exchange *x, const char *method)
{
	int m = method_of(x, method);
	enum err e = router_match(x->server->router, m, x->req.path, &x->match);
	if (!strcmp(method, "OPTIONS") && e == ERR_METHOD_NOT_ALLOWED) {
		options_reply(x);
		return refuse_softly(x, ERR_OK);
	}
	if (e) {
		x->allow = e == ERR_METHOD_NOT_ALLOWED ? options_allow(x, x->match.allow) : NULL;
		return refuse_softly(x, e);
	}
	x->req.method = (enum http_method)m;
	x->req.route = x->match.route;
	if (x->declared > x->req.route->body_max)
		return refuse(x, too_large(x));
	if (x->req.route->mode != ROUTE_UPLOAD) {
		x->body = BUF_INIT(x->req.route->body_max);
		return MHD_YES;
	}
	x->body = BUF_INIT(HTTP_UPLOAD_CHUNK);
	return dispatch_upload_begin(x) ? MHD_YES : refuse(x, ERR_OK);
}

static enum MHD_Result first_call(struct http_exchange *x, const char *method, const char *version)
{
	struct http_server *s = x->server;
	x->stage = STAGE_BODY;
	x->began = true;
	atomic_fetch_add(&s->inflight, 1);
	x->req.id = guard_request_id(x);
	x->req.head = !strcmp(method, "HEAD");
	enum err e = guard_check(x, method, version);
	if (!conn_phase(x->conn, CONN_BODY, deadline_in(s->config.request_timeout_ms)))
		return MHD_NO;
	if (e)
		return refuse(x, e);
	if (atomic_load(&s->draining))
		return refuse(x, ERR_STOPPING);
	return route_call(x, method);
}

static enum MHD_Result body_call(struct http_exchange *x, const char *data, size_t *len)
{
	x->body_seen += *len;
	if (x->refused_body) {
		*len = 0;
		return x->body_seen > HTTP_DISCARD_MAX ? refuse(x, ERR_OK) : MHD_YES;
	}
	const struct route *route = x->req.route;
	if (x->body_seen > route->body_max) {
		*len = 0;
		return refuse(x, too_large(x));
	}
	size_t room = route->mode == ROUTE_UPLOAD ? HTTP_UPLOAD_CHUNK - x->body.len : *len;
	size_t n = *len < room ? *len : room;
	if (n && buf_append(&x->body, data, n))
		return MHD_NO;
	x->body_seen -= *len - n; /* seen again after the resume */
	*len -= n;
	/* Suspend only with bytes left over: libmicrohttpd calls again in the same loop when a chunk was eaten whole. */
	if (!*len || dispatch_upload_write(x))
		return MHD_YES;
	*len = 0;
	return refuse(x, ERR_OK);
}

static enum MHD_Result last_call(struct http_exchange *x)
{
	if (!conn_phase(x->conn, CONN_BUSY, 0))
		return MHD_NO;
	if (x->refused_body)
		return exchange_answer(x);
	if (x->req.route->mode != ROUTE_UPLOAD) {
		x->req.body = x->body.data ? x->body.data : "";
		x->req.body_len = x->body.len;
	}
	if (x->req.route->mode == ROUTE_INLINE)
		return dispatch_inline(x);
	return dispatch_request(x) ? MHD_YES : exchange_answer(x);
}

static enum MHD_Result resumed_call(struct http_exchange *x, const char *data, size_t *len)
{
	pthread_mutex_lock(&x->lock);
	bool ready = x->ready, killed = x->killed;
	if (ready)
		x->ready = x->wait_for == WAIT_ANSWER;
	pthread_mutex_unlock(&x->lock);
	if (!ready) {
		*len = 0;
		return killed ? MHD_NO : MHD_YES;
	}
	if (x->wait_for == WAIT_ANSWER)
		return exchange_answer(x);
	if (x->reply.set) { /* a worker's stage of an upload found an error */
		*len = 0;
		return refuse(x, ERR_OK);
	}
	x->stage = STAGE_BODY;
	return x->wait_for == WAIT_WRITE && *len ? body_call(x, data, len) : MHD_YES;
}

enum MHD_Result exchange_access(void *cls, struct MHD_Connection *c, const char *url, const char *method, const char *version,
				const char *data, size_t *len, void **context)
{
	struct http_exchange *x = *context;
	(void)cls;
	(void)c;
	(void)url;
	if (!x)
		return MHD_NO;
	switch (x->stage) {
	case STAGE_HEAD:
		return first_call(x, method, version);
	case STAGE_BODY:
		return *len ? body_call(x, data, len) : last_call(x);
	case STAGE_WAIT:
		return resumed_call(x, data, len);
	case STAGE_LINGER:
		return linger(x, len);
	case STAGE_ANSWERED:
		break;
	}
	return MHD_NO;
}

/* ---- the end ---- */

static void account(struct http_exchange *x, bool gone)
{
	struct http_server *s = x->server;
	int status = x->status ? x->status : gone ? 499 : 0;
	if (x->status)
		metric_add(METRIC_REQUESTS, 1);
	if (x->status >= 500)
		metric_add(METRIC_REQUESTS_5XX, 1);
	if (s->config.after)
		s->config.after(&x->req, status, now_us() - x->start_us);
}

void exchange_completed(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode code)
{
	struct http_exchange *x = *context;
	(void)cls;
	(void)mhd;
	if (!x)
		return;
	*context = NULL;
	struct http_server *s = x->server;
	pthread_mutex_lock(&x->conn->lock);
	x->conn->x = NULL;
	pthread_mutex_unlock(&x->conn->lock);
	janitor_unwatch(x);
	pthread_mutex_lock(&x->lock);
	x->completed = true;
	x->mhd = NULL;
	bool killed = x->killed;
	/* Resumed by the stop, with the reply still in somebody else's hands: theirs to clean up. */
	struct stream *stream = x->ready || x->stage != STAGE_WAIT ? x->reply.stream : NULL;
	if (stream)
		x->reply.stream = NULL;
	pthread_mutex_unlock(&x->lock);
	bool whole = stream ? stream_finished(stream) : code == MHD_REQUEST_TERMINATED_COMPLETED_OK;
	bool gone = x->began && !killed && !whole && x->stage != STAGE_LINGER;
	if (gone)
		exchange_mark_gone(x);
	if (stream) {
		stream_close(stream);
		stream_unref(stream);
	}
	if (x->began) {
		account(x, gone);
		(void)conn_phase(x->conn, CONN_IDLE, deadline_in(s->config.idle_timeout_ms + s->config.header_timeout_ms));
		server_leave(s);
	}
	exchange_unref(x);
}
