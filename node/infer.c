/* One inference on its way to the backend and back. Begun by a worker (serve.c), then owned by the backend reactor's
 * callbacks; an answer that is not streamed is finished on a worker. The janitor's `gone` and the daemon's `on_drain` only
 * cancel and resume. References: the beginner's and the call's; agent->lock guards the list of the running. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "node/agent.h"

struct infer {
	struct agent *a;
	struct infer *next, **link; /* under agent->lock */
	atomic_int refs;
	struct request *req;
	struct served *served;
	bool place; /* ours until the answer is complete */
	struct ticket ticket;
	enum backend_path path;
	struct chat_request chat;
	char *body;
	int64_t started_at;

	struct net_call *call; /* valid once `started` */
	atomic_bool started, gone;

	/* what came; the reactor's, then the finisher's */
	int status;
	bool streamed;  /* the backend sends events */
	bool complete;  /* the last event and the receipt were written */
	const char *failure; /* why its answer is no answer */
	enum err error;
	char content_type[128], inference_length[32];
	struct buf answer;
	struct sse_rewrite *sse;
	struct stream *stream; /* from the first event on */
};

static void infer_unref(struct infer *i)
{
	if (atomic_fetch_sub(&i->refs, 1) != 1)
		return;
	if (i->call)
		net_call_unref(i->call);
	sse_rewrite_free(i->sse);
	buf_done(&i->answer);
	free(i->body);
	free(i);
}

static void place_release(struct infer *i)
{
	if (i->place)
		served_release(i->a, i->served);
	i->place = false;
}

/* The last thing done to an inference whose request is answered: from here on it does not count as running. */
static void infer_over(struct infer *i)
{
	place_release(i);
	pthread_mutex_lock(&i->a->lock);
	*i->link = i->next;
	if (i->next)
		i->next->link = i->link;
	pthread_mutex_unlock(&i->a->lock);
	infer_unref(i);
}

static void infer_stop(struct infer *i)
{
	if (atomic_load(&i->started))
		net_cancel(i->call);
}

/* The gateway hung up: on the janitor's thread. */
static void on_gone(void *arg)
{
	struct infer *i = arg;
	atomic_store(&i->gone, true);
	infer_stop(i);
}

static void on_drain(void *arg)
{
	struct infer *i = arg;
	net_resume(i->call);
}

/* ---- receipts ---- */

static char *infer_receipt(const struct infer *i, int status, const struct hash *response, struct units units)
{
	int64_t now = clock_wall_ms();
	struct receipt r = {
		.job_id = i->ticket.job_id, .attempt = i->ticket.attempt, .gateway = i->ticket.gateway, .node = i->a->address,
		.model_digest = i->ticket.model_digest, .request_hash = i->ticket.request_hash, .response_hash = *response,
		.profile_hash = i->served->profile_hash, .status = (uint16_t)status, .input_units = units.input,
		.output_units = units.output, .started_at = (uint64_t)i->started_at,
		.finished_at = (uint64_t)(now > i->started_at ? now : i->started_at),
	};
	memcpy(r.policy, i->ticket.policy, sizeof(r.policy));
	return receipt_write(i->a, &r);
}

/* What was produced until the gateway hung up. */
static void partial_push(struct infer *i)
{
	struct hash response;
	struct units units = { 0 };
	if (i->stream) {
		sse_rewrite_hash(i->sse, &response);
		units = sse_rewrite_units(i->sse);
	} else {
		sha256_of("", 0, &response);
	}
	receipt_push(i->a, infer_receipt(i, 499, &response, units));
}

/* ---- streamed ---- */

static enum err stream_put(void *arg, const char *p, size_t len)
{
	struct infer *i = arg;
	if (atomic_load(&i->gone))
		return ERR_CANCELLED;
	if (!i->stream) {
		reply_header(i->req, "Cache-Control", "no-store");
		i->stream = reply_stream(i->req, i->status, i->content_type);
		stream_on_drain(i->stream, on_drain, i);
	}
	enum err e = stream_write(i->stream, p, len);
	if (e == ERR_CANCELLED)
		atomic_store(&i->gone, true);
	return e;
}

/* [DONE] came: the receipt goes before ours. */
static enum err stream_complete(struct infer *i)
{
	struct hash response;
	if (!i->stream) {
		i->failure = "an event stream without events";
		return ERR_NODE_FAILED;
	}
	sse_rewrite_hash(i->sse, &response);
	_cleanup_free_ char *text = infer_receipt(i, i->status, &response, sse_rewrite_units(i->sse));
	_cleanup_free_ char *header = receipt_header(text);
	_cleanup_free_ char *last = xasprintf(": opgate-receipt %s\n\ndata: [DONE]\n\n", header);
	place_release(i); /* before the gateway can know, so that its next request finds the place */
	enum err e = stream_put(i, last, strlen(last));
	if (e)
		return e;
	i->complete = true;
	stream_end(i->stream);
	return ERR_OK;
}

static enum net_flow stream_data(struct infer *i, const void *p, size_t len)
{
	if (i->complete)
		return NET_CONTINUE; /* after [DONE] nothing is part of the answer */
	if (i->stream && stream_full(i->stream))
		return NET_PAUSE;
	enum err e = sse_rewrite_feed(i->sse, p, len);
	if (e && e != ERR_CANCELLED && !i->failure)
		i->failure = e == ERR_BAD_JSON ? "an event that is no JSON object" : "an event that is too large";
	if (!e && sse_rewrite_done(i->sse))
		e = stream_complete(i);
	return e ? NET_ABORT : NET_CONTINUE;
}

/* ---- the answer is over ---- */

static void failure_log(const struct infer *i)
{
	LOG_EVENT(LOG_WARN, "infer.backend_failed", L_STR("model", i->served->model), L_INT("status", i->status),
		  L_STR("error", err_info(i->error)->code), L_STR("detail", i->failure ? i->failure : net_call_error(i->call)),
		  L_INT("begun", i->stream != NULL));
}

static void refuse(struct infer *i)
{
	reply_error(i->req, request_fail(i->req, ERR_NODE_FAILED, "the backend gave no usable answer"));
	place_release(i);
	request_finish(i->req);
}

static void stream_over(struct infer *i)
{
	request_clear_gone(i->req);
	bool gone = atomic_load(&i->gone) && !i->complete;
	if (gone)
		partial_push(i);
	else if (!i->complete)
		failure_log(i);
	if (!i->stream) {
		refuse(i);
	} else {
		if (!i->complete)
			stream_abort(i->stream);
		stream_release(i->stream);
	}
	infer_over(i);
}

static void completion_name(struct infer *i, json_t *answer)
{
	_cleanup_free_ char *text = completion_rewrite(answer);
	struct buf named = BUF_INIT(NODE_ANSWER_MAX);
	if (!text || buf_puts(&named, text))
		return; /* too large to say it twice */
	buf_done(&i->answer);
	i->answer = named;
}

/* The units of a complete answer; false: it is no answer of that surface. */
static bool answer_units(struct infer *i, struct units *ret)
{
	*ret = (struct units){ 0 };
	if (i->status >= 400)
		return true;
	if (i->answer.len == 0)
		return false;
	if (i->path == PATH_INFER) {
		ret->input = 1;
		return i->answer.data[0] == '{' || *i->inference_length;
	}
	_cleanup_json_ json_t *j = NULL;
	if (json_parse(i->answer.data, i->answer.len, &j, NULL) || !json_is_object(j))
		return false;
	if (!units_from_usage(j, ret))
		*ret = (struct units){ .output = 1 };
	if (i->path == PATH_COMPLETIONS)
		completion_name(i, j);
	return true;
}

static void answer_send(struct infer *i, struct units units)
{
	struct hash response;
	sha256_of(i->answer.len ? i->answer.data : "", i->answer.len, &response);
	_cleanup_free_ char *text = infer_receipt(i, i->status, &response, units);
	_cleanup_free_ char *header = receipt_header(text);
	size_t len = i->answer.len;
	char *bytes = buf_steal(&i->answer);
	arena_on_free(i->req->arena, free, bytes);
	reply_header(i->req, "Opgate-Receipt", header);
	if (*i->inference_length)
		reply_header(i->req, "Inference-Header-Content-Length", i->inference_length);
	reply_bytes(i->req, i->status, arena_strdup(i->req->arena, i->content_type), bytes, len);
	place_release(i);
	request_finish(i->req);
}

/* On a worker: parsing and signing are not the reactor's work. */
static void answer_over(void *arg)
{
	struct infer *i = arg;
	struct units units;
	request_clear_gone(i->req);
	if (atomic_load(&i->gone)) {
		partial_push(i);
		refuse(i);
	} else if (i->error) {
		failure_log(i);
		refuse(i);
	} else if (!answer_units(i, &units)) {
		i->failure = "an answer that is not of its surface";
		failure_log(i);
		refuse(i);
	} else {
		answer_send(i, units);
	}
	infer_over(i);
}

/* ---- the backend's side ---- */

/* NULL, or why this head cannot begin an answer. */
static const char *head_bad(const struct infer *i)
{
	const char *coding = net_call_header(i->call, "Content-Encoding");
	if (coding && strcasecmp(coding, "identity") != 0)
		return "a content coding nobody asked for";
	if (i->status < 200 || (i->status >= 300 && i->status < 400) || i->status > 599)
		return "a status that is no answer";
	bool events = strncasecmp(i->content_type, "text/event-stream", 17) == 0;
	if (i->status < 300 && events != (i->path != PATH_INFER && i->chat.stream))
		return events ? "events nobody asked for" : "no event stream";
	return NULL;
}

static enum net_flow on_head(void *arg, int status)
{
	struct infer *i = arg;
	const char *type = net_call_header(i->call, "Content-Type");
	const char *length = net_call_header(i->call, "Inference-Header-Content-Length");
	i->status = status;
	snprintf(i->content_type, sizeof(i->content_type), "%s", type && *type ? type : "application/octet-stream");
	snprintf(i->inference_length, sizeof(i->inference_length), "%s", length ? length : "");
	i->failure = head_bad(i);
	if (i->failure)
		return NET_ABORT;
	i->streamed = status < 300 && i->path != PATH_INFER && i->chat.stream;
	if (i->streamed) {
		const struct sse_out out = { .write = stream_put, .arg = i };
		i->sse = sse_rewrite_new(!i->chat.wants_usage, &out);
	}
	return NET_CONTINUE;
}

static enum net_flow on_data(void *arg, const void *p, size_t len)
{
	struct infer *i = arg;
	if (i->streamed)
		return stream_data(i, p, len);
	if (buf_append(&i->answer, p, len)) {
		i->failure = "an answer that is too large";
		return NET_ABORT;
	}
	return NET_CONTINUE;
}

static void on_done(void *arg, enum err e, int status)
{
	struct infer *i = arg;
	i->status = status;
	i->error = i->failure && !e ? ERR_NODE_FAILED : e;
	if (i->streamed)
		stream_over(i);
	else
		http_post(i->a->http, answer_over, i);
}

/* ---- beginning ---- */

static struct infer *infer_new(struct agent *a, const struct infer_start *start)
{
	struct infer *i = xcalloc(1, sizeof(*i));
	i->a = a;
	i->req = start->req;
	i->served = start->served;
	i->place = true;
	i->ticket = start->ticket;
	i->path = start->path;
	i->chat = start->chat;
	i->body = start->body;
	i->started_at = clock_wall_ms();
	i->answer = BUF_INIT(NODE_ANSWER_MAX);
	atomic_init(&i->refs, 2);
	atomic_init(&i->started, false);
	atomic_init(&i->gone, false);
	pthread_mutex_lock(&a->lock);
	i->next = a->running;
	if (i->next)
		i->next->link = &i->next;
	i->link = &a->running;
	a->running = i;
	pthread_mutex_unlock(&a->lock);
	return i;
}

static char *backend_url(struct request *req, const struct infer_start *start)
{
	if (start->path == PATH_CHAT)
		return arena_printf(req->arena, "%s/v1/chat/completions", start->backend.base_url);
	if (start->path == PATH_COMPLETIONS)
		return arena_printf(req->arena, "%s/v1/completions", start->backend.base_url);
	return arena_printf(req->arena, "%s/v2/models/%s/infer", start->backend.base_url, start->backend.model);
}

enum err infer_begin(struct agent *a, const struct infer_start *start)
{
	struct request *req = start->req;
	struct net_header headers[2];
	size_t count = 0;
	const char *length = request_header(req, "Inference-Header-Content-Length"), *type = request_header(req, "Content-Type");
	headers[count++] = (struct net_header){ "Content-Type", start->path != PATH_INFER || !type ? "application/json" : type };
	if (length && start->path == PATH_INFER)
		headers[count++] = (struct net_header){ "Inference-Header-Content-Length", length };
	struct infer *i = infer_new(a, start);
	const struct net_request r = {
		.method = "POST", .url = backend_url(req, start), .headers = headers, .header_count = count,
		.body = start->body ? start->body : req->body, .body_len = start->body ? start->body_len : req->body_len,
		.deadline_ms = a->settings.request_timeout_ms, .stall_timeout_ms = a->settings.stall_timeout_ms,
		.response_max = start->path != PATH_INFER && start->chat.stream ? (size_t)1 << 40 : NODE_ANSWER_MAX,
		.on_head = on_head, .on_data = on_data, .on_done = on_done, .arg = i, .hold = true,
	};
	request_defer(req);
	request_on_gone(req, on_gone, i);
	enum err e = net_call(a->backend, &r, &i->call);
	if (e) {
		request_clear_gone(req);
		refuse(i);
		infer_over(i);
	} else {
		atomic_store(&i->started, true);
		if (atomic_load(&i->gone))
			net_cancel(i->call);
	}
	infer_unref(i);
	return ERR_OK;
}

void infer_cancel_all(struct agent *a)
{
	pthread_mutex_lock(&a->lock);
	for (struct infer *i = a->running; i; i = i->next)
		infer_stop(i);
	pthread_mutex_unlock(&a->lock);
}

size_t infer_count(struct agent *a)
{
	size_t count = 0;
	pthread_mutex_lock(&a->lock);
	for (const struct infer *i = a->running; i; i = i->next)
		count++;
	pthread_mutex_unlock(&a->lock);
	return count;
}
