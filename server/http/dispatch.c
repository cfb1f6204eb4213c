/* Between the daemon threads and the workers: suspends a request, runs `before` and the handler on a worker, and makes sure
 * that exactly one answer comes of it. Each hand-over takes a reference for the worker; a deferred request one more. */
#include "base/metrics.h"
#include "http/internal.h"

static enum err run_before(struct http_exchange *x)
{
	enum err (*before)(struct request *) = x->server->config.before;
	return before ? before(&x->req) : ERR_OK;
}

/* What the handler left: an answer, an error, a promise (deferred), or nothing. */
static void settle(struct http_exchange *x, enum err e)
{
	if (x->deferred && !e)
		return; /* another thread may already have answered: nothing here is ours any more */
	if (x->finished)
		return;
	if (e)
		reply_error(&x->req, e);
	else if (!x->reply.set)
		reply_error(&x->req, ERR_INTERNAL);
	bool deferred = x->deferred;
	(void)exchange_ready(x);
	if (deferred)
		exchange_unref(x);
}

static enum err upload_flush(struct http_exchange *x)
{
	enum err e = x->body.len ? x->server->config.upload.write(x->req.upload, x->body.data, x->body.len) : ERR_OK;
	buf_reset(&x->body);
	return e;
}

static void run_request(void *arg)
{
	struct http_exchange *x = arg;
	bool upload = x->req.route->mode == ROUTE_UPLOAD;
	enum err e = ERR_OK;
	if (atomic_load(&x->server->stopping))
		e = ERR_STOPPING;
	else if (deadline_passed(x->req.deadline))
		e = ERR_DEADLINE;
	if (!e)
		e = upload ? upload_flush(x) : run_before(x);
	if (!e)
		e = x->req.route->handler(&x->req);
	settle(x, e);
	exchange_unref(x);
}

static void stage_end(struct http_exchange *x, enum err e)
{
	if (e)
		reply_error(&x->req, e);
	(void)exchange_ready(x);
	exchange_unref(x);
}

static void run_upload_begin(void *arg)
{
	struct http_exchange *x = arg;
	struct upload_sink *sink = &x->server->config.upload;
	enum err e = run_before(x);
	if (!e && !sink->begin)
		e = ERR_INTERNAL;
	if (!e)
		e = sink->begin(x->req.app, &x->req, &x->req.upload);
	x->upload_begun = !e;
	stage_end(x, e);
}

static void run_upload_write(void *arg)
{
	struct http_exchange *x = arg;
	stage_end(x, upload_flush(x));
}

static bool hand_over(struct http_exchange *x, enum wait_for wait_for, void (*fn)(void *), bool urgent)
{
	struct http_server *s = x->server;
	if (!worker_reserve(s, urgent)) {
		reply_error(&x->req, atomic_load(&s->draining) ? ERR_STOPPING : ERR_OVERLOADED);
		metric_add(METRIC_REQUESTS_REFUSED, 1);
		return false;
	}
	enum stage before = x->stage;
	x->stage = STAGE_WAIT;
	x->wait_for = wait_for;
	x->req.deadline = deadline_in(s->config.handler_timeout_ms);
	x->job = (struct job){ .fn = fn, .arg = x };
	exchange_ref(x);
	if (!exchange_suspend(x)) {
		worker_give_back(s, urgent);
		x->stage = before;
		reply_error(&x->req, ERR_STOPPING);
		exchange_unref(x);
		return false;
	}
	worker_push(s, &x->job, urgent);
	return true;
}

bool dispatch_request(struct http_exchange *x)
{
	return hand_over(x, WAIT_ANSWER, run_request, x->req.route->mode == ROUTE_UPLOAD);
}

bool dispatch_upload_begin(struct http_exchange *x)
{
	return hand_over(x, WAIT_BEFORE, run_upload_begin, false);
}

bool dispatch_upload_write(struct http_exchange *x)
{
	return hand_over(x, WAIT_WRITE, run_upload_write, true);
}

enum MHD_Result dispatch_inline(struct http_exchange *x)
{
	x->req.deadline = deadline_in(x->server->config.handler_timeout_ms);
	enum err e = x->req.route->handler(&x->req);
	if (!x->deferred) {
		settle(x, e);
		return exchange_answer(x);
	}
	/* request_defer suspended: whoever answers resumes, and the next call finds the answer. */
	x->stage = STAGE_WAIT;
	x->wait_for = WAIT_ANSWER;
	settle(x, e);
	return atomic_load(&x->server->killed) ? MHD_NO : MHD_YES;
}

void request_defer(struct request *req)
{
	struct http_exchange *x = req->x;
	x->deferred = true;
	request_copy_headers(x);
	exchange_ref(x);
	if (req->route->mode == ROUTE_INLINE)
		(void)!exchange_suspend(x);
	janitor_watch(x);
}

void request_finish(struct request *req)
{
	struct http_exchange *x = req->x;
	if (!x->reply.set)
		reply_error(req, ERR_INTERNAL);
	pthread_mutex_lock(&x->lock);
	x->gone_fn = NULL;
	pthread_mutex_unlock(&x->lock);
	(void)exchange_ready(x);
	exchange_unref(x);
}
