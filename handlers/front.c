/* See front.h. Threads: opened on a worker; begin and event on a reactor; ended on a worker, after the last event; gone on the janitor,
 * drained on a daemon. `run` is set before anything can fire; ended clears gone before it touches anything. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/mem.h"
#include "handlers/front.h"
#include "handlers/paid.h"
#include "handlers/records.h"
#include "handlers/x402.h"
#include "proof/sse.h"

#define FRAME_MAX (2u << 20)

struct front {
	struct request *req;
	_Atomic(struct run *) run; /* NULL before it is opened and once it has ended */
	struct stream *stream;
	struct buf frame;
	enum data_mode data;
	bool cut; /* the client left, or could not be written to */
};

static void on_gone(void *arg)
{
	struct front *f = arg;
	struct run *run = atomic_load(&f->run);

	if (run)
		run_cancel(run, CANCEL_CLIENT_LEFT);
}

static void on_drain(void *arg)
{
	struct front *f = arg;
	struct run *run = atomic_load(&f->run);

	if (run)
		run_resume(run);
}

static void begin(void *arg, const char *content_type)
{
	struct front *f = arg;

	paid_headers(f->req, run_job(atomic_load(&f->run)), NULL);
	x402_begin(f->req, run_payment_of(atomic_load(&f->run)));
	records_headers(f->req, run_job(atomic_load(&f->run)), f->data);
	reply_header(f->req, "X-Accel-Buffering", "no");
	reply_header(f->req, "Cache-Control", "no-store");
	f->stream = reply_stream(f->req, 200, content_type);
	if (f->stream)
		stream_on_drain(f->stream, on_drain, f);
	else
		f->cut = true;
}

static enum err write_frame(struct front *f)
{
	enum err e = stream_write(f->stream, f->frame.data, f->frame.len);

	buf_reset(&f->frame);
	return e;
}

/* A caller who left cancels the run; an event larger than a stream can take is the node's fault and just ends the attempt. */
static enum net_flow event(void *arg, const char *data, size_t len)
{
	struct front *f = arg;
	enum err e = f->cut ? ERR_CANCELLED : sse_frame(data, len, &f->frame);

	if (!e)
		e = write_frame(f);
	if (e == ERR_CANCELLED) {
		f->cut = true;
		on_gone(f);
	}
	if (e)
		return NET_ABORT;
	return stream_full(f->stream) ? NET_PAUSE : NET_CONTINUE;
}

/* The last words of a stream: the receipt and [DONE], or an error object. */
static void end_stream(struct front *f, const struct run_end *end)
{
	enum err e;

	if (end->err == ERR_OK && end->receipt) {
		size_t len = strlen(end->receipt);
		_cleanup_free_ char *encoded = xmalloc(base64url_encoded_len(len) + 1);

		base64url_encode(end->receipt, len, encoded);
		e = buf_printf(&f->frame, ": opgate-receipt %s\n\ndata: [DONE]\n\n", encoded);
	} else if (end->err == ERR_OK) {
		e = buf_puts(&f->frame, "data: [DONE]\n\n");
	} else {
		const struct err_info *info = err_info(end->err);
		_cleanup_json_ json_t *error = json_must(json_pack("{s:{s:s, s:s, s:n, s:s, s:s, s:b, s:b}}", "error", "message", x402_detail(f->req, end, end->detail), "type", "server_error",
								   "param", "code", info->code, "request_id", f->req->id, "retryable", info->retryable,
								   "charged", !amount_is_zero(end->charged.total)));
		_cleanup_free_ char *text = json_text(error);

		e = buf_printf(&f->frame, "data: %s\n\n", text);
	}
	if (!e && !f->cut)
		e = write_frame(f);
	if (e || f->cut)
		stream_abort(f->stream);
	else
		stream_end(f->stream);
	stream_release(f->stream);
}

/* What the node said was wrong, for the caller: its words, bounded, under our code for its status. */
static enum err rejected(struct request *req, const struct run_end *end)
{
	_cleanup_json_ json_t *body = json_loadb(end->body, end->body_len, 0, NULL);
	json_t *error = json_object_get(body, "error");
	const char *words = json_is_object(error) ? json_string_value(json_object_get(error, "message")) : json_string_value(error);
	enum err e = end->status == 400 ? ERR_BAD_REQUEST : end->status == 413 ? ERR_TOO_LARGE : end->status == 415 ? ERR_UNSUPPORTED_MEDIA : ERR_UNPROCESSABLE;

	return request_fail(req, e, "%s", x402_detail(req, end, arena_printf(req->arena, "the node refused the request: %.300s", words ? words : "no reason given")));
}

static void answer(struct front *f, const struct run_end *end)
{
	struct request *req = f->req;
	bool recorded = end->err == ERR_OK && f->data != DATA_PRIVATE;

	paid_headers(req, &end->job, end->receipt);
	if (x402_answer(req, end))
		;
	else if (end->err == ERR_OK) {
		if (*end->tensor_header_length)
			reply_header(req, "Inference-Header-Content-Length", end->tensor_header_length);
		reply_bytes(req, end->status, arena_strdup(req->arena, end->content_type), arena_memdup(req->arena, end->body, end->body_len), end->body_len);
	} else if (end->outcome == OUTCOME_REJECTED)
		reply_error(req, rejected(req, end));
	else
		reply_error(req, request_fail(req, end->err, "%s", x402_detail(req, end, end->detail)));
	if (recorded)
		records_headers(req, &end->job, f->data);
	if (recorded && f->data == DATA_INDIVIDUAL)
		records_finish(req, &end->job); /* its job is closed: the event takes a block */
	else
		request_finish(req);
}

static void ended(void *arg, const struct run_end *end)
{
	struct front *f = arg;

	request_clear_gone(f->req);
	if (f->stream)
		stream_on_drain(f->stream, NULL, NULL);
	atomic_store(&f->run, NULL);
	if (f->stream)
		end_stream(f, end);
	else
		answer(f, end);
	buf_done(&f->frame);
	free(f);
}

static void opened(void *arg, struct run *run)
{
	struct front *f = arg;

	atomic_store(&f->run, run);
	request_defer(f->req);
	request_on_gone(f->req, on_gone, f);
}

enum err front_run(struct request *req, const struct run_spec *spec, enum lane_status *ret_status)
{
	struct front *f = xcalloc(1, sizeof(*f));
	const struct run_front front = { .arg = f, .opened = opened, .begin = begin, .event = event, .ended = ended };
	enum err e;

	f->req = req;
	f->data = spec->data;
	f->frame = BUF_INIT(FRAME_MAX);
	e = run_open(&request_app(req)->pay, spec, &front, ret_status);
	if (e || *ret_status != LANE_OK)
		free(f); /* it was not opened */
	return e;
}
