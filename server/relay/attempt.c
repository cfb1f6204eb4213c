/* See attempt.h. All callbacks of one attempt come on its reactor's thread, so its fields need no lock; cancel and resume only
 * touch the call handle, which they keep alive with a reference. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "base/clock.h"
#include "base/mem.h"
#include "proof/sse.h"
#include "relay/attempt.h"

#define TICKET_SLACK_MS 5000

struct attempt {
	atomic_int refs;
	struct attempt_spec spec;
	struct net_call *call;
	struct attempt_result result;
	struct sse_reader *sse;
	enum net_flow flow;    /* of the last event */
	bool begun;            /* on_stream was called: with the first event, because until then another node may answer instead */
	atomic_bool paused, resumed; /* resumed: attempt_resume came while an event was being handled */
	enum err stream_error; /* why the stream was given up, if it was */
};

void attempt_result_done(struct attempt_result *r)
{
	buf_done(&r->body);
	free(r->receipt);
	r->receipt = NULL;
}

void attempt_unref(struct attempt *a)
{
	if (!a || atomic_fetch_sub(&a->refs, 1) != 1)
		return;
	if (a->call)
		net_call_unref(a->call);
	sse_reader_free(a->sse);
	attempt_result_done(&a->result);
	free(a);
}

static void take_receipt(struct attempt *a, const char *base64, size_t len)
{
	size_t cap = DOC_JSON_MAX;
	char *text;

	if (a->result.receipt || len > 2 * DOC_JSON_MAX)
		return;
	text = xmalloc(cap + 1);
	if (base64url_decode(base64, len, (uint8_t *)text, cap, &a->result.receipt_len)) {
		free(text);
		return;
	}
	text[a->result.receipt_len] = 0;
	a->result.receipt = text;
}

static enum err on_sse_event(void *arg, const char *data, size_t len)
{
	struct attempt *a = arg;

	if (a->spec.keep_stream && sse_frame(data, len, &a->result.body)) {
		a->spec.keep_stream = false; /* too large to be kept: it is still delivered, but never stored in part */
		buf_done(&a->result.body);
	}
	if (a->spec.on_stream && !a->begun)
		a->spec.on_stream(a->spec.arg, a->result.content_type);
	a->begun = true;
	if (a->spec.on_event) {
		enum net_flow flow = a->spec.on_event(a->spec.arg, data, len);

		if (flow == NET_ABORT)
			return ERR_CANCELLED;
		if (flow == NET_PAUSE)
			a->flow = NET_PAUSE;
	}
	return ERR_OK;
}

static enum err on_sse_comment(void *arg, const char *text, size_t len)
{
	static const char prefix[] = "opgate-receipt ";

	if (len > sizeof(prefix) - 1 && !memcmp(text, prefix, sizeof(prefix) - 1))
		take_receipt(arg, text + sizeof(prefix) - 1, len - (sizeof(prefix) - 1));
	return ERR_OK;
}

static enum err on_sse_done(void *arg)
{
	struct attempt *a = arg;

	a->result.done = true;
	if (a->spec.keep_stream && buf_puts(&a->result.body, "data: [DONE]\n\n"))
		buf_done(&a->result.body);
	return ERR_OK;
}

static bool is_event_stream(const char *content_type)
{
	return content_type && !strncasecmp(content_type, "text/event-stream", 17);
}

/* What a node calls its answer, kept only when it can be stored and passed on: printable ASCII. */
static const char *content_type_of(const struct attempt *a)
{
	const char *type = net_call_header(a->call, "content-type");

	for (const char *c = type; c && *c; c++)
		if (*c < ' ' || *c > '~')
			return NULL;
	return type;
}

/* Digits only: it goes on to the caller as a header. */
static bool is_count(const char *s)
{
	return s && *s && strlen(s) < 20 && strspn(s, "0123456789") == strlen(s);
}

static enum net_flow on_head(void *arg, int status)
{
	struct attempt *a = arg;
	const char *type = content_type_of(a);
	const char *receipt = net_call_header(a->call, "opgate-receipt");
	const char *length = net_call_header(a->call, "inference-header-content-length");
	const char *coding = net_call_header(a->call, "content-encoding");

	a->result.status = status;
	snprintf(a->result.content_type, sizeof(a->result.content_type), "%s", type ? type : "application/octet-stream");
	snprintf(a->result.tensor_header_length, sizeof(a->result.tensor_header_length), "%s", is_count(length) ? length : "");
	if (receipt)
		take_receipt(a, receipt, strlen(receipt));
	if (status == 200 && is_event_stream(type)) {
		const struct sse_handler handler = { .event = on_sse_event, .comment = on_sse_comment, .done = on_sse_done, .arg = a };

		a->result.streamed = true;
		a->sse = sse_reader_new(&handler);
	}
	/* Bytes in a coding that we pass on without its name would be garbage to the caller. */
	if (coding && strcasecmp(coding, "identity") != 0) {
		a->stream_error = ERR_IO;
		return NET_ABORT;
	}
	return NET_CONTINUE;
}

static enum net_flow on_data(void *arg, const void *p, size_t len)
{
	struct attempt *a = arg;

	if (atomic_load(&a->paused))
		return NET_PAUSE;
	if (!a->sse)
		return buf_append(&a->result.body, p, len) ? NET_ABORT : NET_CONTINUE;
	a->flow = NET_CONTINUE;
	atomic_store(&a->resumed, false);
	a->stream_error = sse_reader_feed(a->sse, p, len);
	if (a->stream_error)
		return NET_ABORT;
	if (a->flow == NET_PAUSE) {
		atomic_store(&a->paused, true); /* this piece was taken; the next waits */
		if (atomic_load(&a->resumed))   /* the reader drained in between: nobody else would wake us */
			atomic_store(&a->paused, false);
	}
	return NET_CONTINUE;
}

static void on_done(void *arg, enum err e, int status)
{
	struct attempt *a = arg;
	struct attempt_result *r = &a->result;

	r->err = a->stream_error ? a->stream_error : e;
	snprintf(r->error, sizeof(r->error), "%s", r->err ? net_call_error(a->call) : "");
	if (status)
		r->status = status;
	if (a->sse) {
		sse_reader_hash(a->sse, &r->response_hash);
		r->events = sse_reader_events(a->sse);
		r->bytes = sse_reader_bytes(a->sse);
	} else {
		sha256_of(r->body.data ? r->body.data : "", r->body.len, &r->response_hash);
		r->bytes = r->body.len;
	}
	a->spec.on_end(a->spec.arg, r);
	attempt_unref(a);
}

static char *ticket_header(const struct attempt_spec *spec)
{
	struct ticket ticket = spec->ticket;
	struct signature sig;
	_cleanup_free_ char *text = NULL;
	char *header;

	ticket.expires_at = (uint64_t)(clock_wall_ms() + spec->deadline_ms + TICKET_SLACK_MS);
	doc_sign(&TICKET_TYPE, &ticket, spec->chain_id, spec->gateway_key, &sig);
	text = doc_write(&TICKET_TYPE, &ticket, spec->chain_id, &sig);
	header = xmalloc(base64url_encoded_len(strlen(text)) + 1);
	base64url_encode(text, strlen(text), header);
	return header;
}

enum err attempt_start(const struct attempt_spec *spec, struct attempt **ret)
{
	struct attempt *a = xcalloc(1, sizeof(*a));
	_cleanup_free_ char *ticket = ticket_header(spec);
	_cleanup_free_ char *url = xasprintf("%s%s", spec->node_url, spec->path);
	struct net_header headers[6] = { { "Content-Type", spec->content_type }, { "Opgate-Ticket", ticket } };
	size_t count = 2;
	struct net_request request;
	enum err e;

	if (spec->tensor_header_length)
		headers[count++] = (struct net_header){ "Inference-Header-Content-Length", spec->tensor_header_length };
	if (spec->request_id)
		headers[count++] = (struct net_header){ "X-Request-Id", spec->request_id };
	if (spec->client_accept)
		headers[count++] = (struct net_header){ "Accept", spec->client_accept };
	a->spec = *spec;
	a->result.body = BUF_INIT(ANSWER_MAX);
	atomic_init(&a->refs, 2); /* the starter's and the call's */
	request = (struct net_request){
		.method = "POST", .url = url, .headers = headers, .header_count = count, .body = spec->body, .body_len = spec->body_len,
		.deadline_ms = spec->deadline_ms, .stall_timeout_ms = spec->stall_timeout_ms, .response_max = STREAM_MAX,
		.on_head = on_head, .on_data = on_data, .on_done = on_done, .arg = a, .hold = true,
	};
	*ret = a; /* before the call: callbacks may come at once */
	e = net_call(spec->net, &request, &a->call);
	if (e) {
		*ret = NULL;
		a->call = NULL;
		atomic_store(&a->refs, 1);
		attempt_unref(a);
	}
	return e;
}

void attempt_cancel(struct attempt *a)
{
	net_cancel(a->call);
}

void attempt_resume(struct attempt *a)
{
	atomic_store(&a->resumed, true);
	if (atomic_exchange(&a->paused, false))
		net_resume(a->call);
}
