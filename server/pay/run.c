/* Opening a run and its attempts; see run.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "db/records.h"
#include "pay/run_internal.h"

struct run *run_new(struct pay *pay, const struct quote *quote)
{
	struct run *run = xcalloc(1, sizeof(*run));

	run->pay = pay;
	run->quote = *quote;
	run->current = -1;
	pthread_mutex_init(&run->lock, NULL);
	return run;
}

void run_free(struct run *run)
{
	attempt_result_done(&run->result);
	free(run->path);
	free(run->content_type);
	free(run->tensor_header_length);
	free(run->request_id);
	free(run->owned_body);
	pthread_mutex_destroy(&run->lock);
	free(run);
}

const struct uuid *run_job(const struct run *run)
{
	return &run->id;
}

const struct run_payment *run_payment_of(const struct run *run)
{
	return run->payment.set ? &run->payment : NULL;
}

static void on_stream(void *arg, const char *content_type)
{
	struct run *run = arg;

	if (!run->front.begin)
		return;
	run->begun = true;
	run->front.begin(run->front.arg, content_type);
}

static enum net_flow on_event(void *arg, const char *data, size_t len)
{
	struct run *run = arg;
	enum net_flow flow = NET_CONTINUE;

	if (run->front.event)
		flow = run->front.event(run->front.arg, data, len);
	if (flow != NET_ABORT && run->passed++ == 0)
		FAULT(first_event);
	return flow;
}

static void on_end(void *arg, struct attempt_result *result)
{
	struct run *run = arg;

	FAULT(answer_received);
	run->result = *result;
	*result = (struct attempt_result){ 0 };
	http_post(run->pay->http, run_finish, run);
}

static struct ticket make_ticket(const struct run *run, const struct offer_row *offer)
{
	struct ticket t = { .job_id = run->id, .attempt = (uint32_t)run->attempt_no, .gateway = run->pay->gateway, .node = offer->node,
			    .model_digest = run->quote.version.digest, .request_hash = run->request_hash };

	snprintf(t.policy, sizeof(t.policy), "%s", run->policy);
	return t;
}

void run_start_attempt(struct run *run)
{
	const struct offer_row *offer = &run->quote.candidates[run->current];
	int64_t left = deadline_left(run->deadline);
	struct attempt_spec spec = {
		.net = run->pay->nodes, .gateway_key = &run->pay->gateway_key, .chain_id = run->pay->chain_id, .ticket = make_ticket(run, offer),
		.node_url = offer->url, .path = run->path, .content_type = run->content_type, .tensor_header_length = run->tensor_header_length,
		.request_id = run->request_id, .body = run->body, .body_len = run->body_len, .deadline_ms = left > 1 ? left : 1,
		.stall_timeout_ms = run->pay->stall_timeout_ms, .keep_stream = run->keep_answer, .on_stream = on_stream, .on_event = on_event, .on_end = on_end,
		.arg = run,
	};
	struct attempt *attempt = NULL;
	enum err e;

	run->tried |= 1u << run->current;
	attempt_result_done(&run->result);
	/* Held across the start: on_end cannot finish the run before `attempt` is known, because finishing takes the lock first. */
	pthread_mutex_lock(&run->lock);
	e = attempt_start(&spec, &attempt);
	run->attempt = attempt;
	if (!e && run->cancelled != CANCEL_NONE)
		attempt_cancel(attempt);
	pthread_mutex_unlock(&run->lock);
	FAULT(attempt_sent);
	if (e) {
		run->result = (struct attempt_result){ .err = e, .error = "the node's URL cannot be called" };
		http_post(run->pay->http, run_finish, run);
	}
}

static void fill(struct run *run, const struct run_spec *spec)
{
	run->id = uuid_new();
	run->account = spec->account;
	snprintf(run->policy, sizeof(run->policy), "%s", spec->policy);
	run->path = xstrdup(spec->path);
	run->content_type = xstrdup(spec->content_type);
	run->tensor_header_length = spec->tensor_header_length ? xstrdup(spec->tensor_header_length) : NULL;
	run->request_id = spec->request_id ? xstrdup(spec->request_id) : NULL;
	run->body = spec->body;
	run->body_len = spec->body_len;
	/* The same payment with the same request gets it again; an individual record has it in its document. */
	run->keep_answer = spec->idempotency_key || spec->payment || spec->data == DATA_INDIVIDUAL;
	run->deadline = deadline_in(run->pay->job_timeout_ms);
	request_hash("POST", spec->path, spec->content_type, spec->tensor_header_length, spec->body, spec->body_len, &run->request_hash);
}

static struct job_open opening(const struct run *run, const struct run_spec *spec)
{
	const struct quote *q = spec->quote;

	return (struct job_open){
		.id = run->id, .account = spec->account, .api_key = spec->api_key, .version = q->version.id, .author = q->version.author, .hold = q->hold.total,
		.policy = spec->policy, .path = spec->path, .content_type = spec->content_type, .tensor_header_length = spec->tensor_header_length,
		.request_hash = run->request_hash, .input_units_max = q->input_units_max, .output_units_max = q->output_units_max,
		.royalty_input = q->version.royalty_input, .royalty_output = q->version.royalty_output, .ask_input_max = q->ceiling.ask_input,
		.ask_output_max = q->ceiling.ask_output, .fee_bps = q->ceiling.fee_bps, .timeout_ms = run->pay->job_timeout_ms, .lease = run->pay->instance,
		.route = spec->route, .idempotency_key = spec->idempotency_key, .body_digest = spec->body_digest,
	};
}

/* Before the job is there: then none that was promised can be forgotten, whoever dies. */
static enum err want_record(const struct run *run, struct db *db, const struct run_spec *spec)
{
	bool individual = spec->data == DATA_INDIVIDUAL;

	if (spec->data == DATA_PRIVATE)
		return ERR_OK;
	return db_record_want(db, &run->id, individual, individual ? spec->body : NULL, individual ? spec->body_len : 0);
}

enum err run_open(struct pay *pay, const struct run_spec *spec, const struct run_front *front, enum lane_status *ret_status)
{
	int chosen = quote_choose(pay, spec->quote, 0);
	const struct offer_row *offer = &spec->quote->candidates[chosen < 0 ? 0 : chosen];
	struct job_open open;
	struct run *run;
	enum err e;

	if (chosen < 0)
		return ERR_OVERLOADED;
	run = run_new(pay, spec->quote);
	fill(run, spec);
	run->front = *front;
	run->attempt_no = 1;
	run->current = chosen;
	open = opening(run, spec);
	open.node = offer->node;
	open.operator_ = offer->operator_account;
	open.ask_input = offer->ask_input;
	open.ask_output = offer->ask_output;
	e = want_record(run, http_worker_state(), spec);
	FAULT(job_opening);
	if (!e)
		e = spec->payment ? payment_open(run, http_worker_state(), spec, &open, ret_status) : db_job_open(pay->lane, &open, ret_status);
	if (e == ERR_DB_DOWN)
		runs_unsettled(pay->runs, &run->id, 0); /* it may be there, or still come */
	if (e || *ret_status != LANE_OK) {
		health_release(pay->health, &offer->node, false);
		run_free(run);
		return e;
	}
	FAULT(job_opened);
	metric_add(METRIC_JOBS_STARTED, 1);
	runs_add(pay->runs, run);
	run->front.opened(run->front.arg, run);
	if (run->payment.set)
		payment_begin(run, http_worker_state());
	else
		run_start_attempt(run);
	return ERR_OK;
}

enum err run_open_background(struct pay *pay, struct db *db, const struct run_spec *spec, struct uuid *ret_job, int64_t *ret_account,
			     enum lane_status *ret_status)
{
	struct run *run = run_new(pay, spec->quote);
	struct job_open open;
	enum err e;

	fill(run, spec);
	open = opening(run, spec);
	open.background = true;
	open.body = spec->body;
	open.body_len = spec->body_len;
	e = want_record(run, db, spec);
	FAULT(job_opening);
	if (!e && spec->payment) {
		e = payment_open(run, db, spec, &open, ret_status);
		if (e == ERR_DB_DOWN)
			e = ERR_PAYMENT_PENDING;
	} else if (!e) {
		e = db_job_open(pay->lane, &open, ret_status);
	}
	/* With a key the caller asks again and finds it; without one it would be run, and paid, for nobody. A payment can be
	 * repeated like a key. */
	if (e == ERR_DB_DOWN && !spec->idempotency_key && !spec->payment)
		runs_unsettled(pay->runs, &run->id, run->account);
	if (!e && *ret_status == LANE_OK) {
		FAULT(job_queued);
		metric_add(METRIC_JOBS_STARTED, 1);
		*ret_job = run->id;
		*ret_account = run->account;
		if (spec->payment)
			pay->settle_now(pay->settle_now_arg);
	}
	run_free(run);
	return e;
}

void run_cancel(struct run *run, enum cancel_reason why)
{
	pthread_mutex_lock(&run->lock);
	if (run->cancelled == CANCEL_NONE)
		run->cancelled = why;
	if (run->attempt)
		attempt_cancel(run->attempt);
	pthread_mutex_unlock(&run->lock);
}

void run_resume(struct run *run)
{
	pthread_mutex_lock(&run->lock);
	if (run->attempt)
		attempt_resume(run->attempt);
	pthread_mutex_unlock(&run->lock);
}
