/* The end of an attempt: another one, or a finding, a row of the charging table, and the closing. See run.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "pay/run_internal.h"

#define CLOSE_WAIT_MS 15000 /* how long an end waits for the database before the caller is told so */
#define REPLAY_MAX (4u << 20) /* of a foreground answer that is kept for its Idempotency-Key */

static bool is_rejection(int status)
{
	return status == 400 || status == 402 || status == 413 || status == 415 || status == 422;
}

/* ---- the verdict on arrival ---- */

static void check_receipt(struct run *run)
{
	const struct offer_row *offer = &run->quote.candidates[run->current];
	const struct attempt_result *r = &run->result;
	struct ticket ticket = { .job_id = run->id, .attempt = (uint32_t)run->attempt_no, .gateway = run->pay->gateway, .node = offer->node,
				 .model_digest = run->quote.version.digest, .request_hash = run->request_hash };
	struct verdict_input in = {
		.receipt_text = r->receipt, .receipt_len = r->receipt_len, .chain_id = run->pay->chain_id, .node = &offer->node, .gateway = &run->pay->gateway,
		.ticket = &ticket, .model_digest = &run->quote.version.digest, .request_hash = &run->request_hash, .response_hash = &r->response_hash,
		.profile_hash = &offer->profile_hash, .input_units_max = (uint64_t)run->quote.input_units_max,
		.output_units_max = (uint64_t)run->quote.output_units_max, .now_ms = clock_wall_ms(),
	};

	snprintf(ticket.policy, sizeof(ticket.policy), "%s", run->policy);
	if (r->receipt) {
		verdict_check(&in, &run->report);
	} else {
		run->report = (struct verdict_report){ .verdict = VERDICT_UNVERIFIABLE, .count = 1,
						       .checks = { { .name = "form", .result = VERDICT_UNVERIFIABLE, .detail = "the node sent no receipt" } } };
	}
	run->has_report = true;
	if (run->report.verdict == VERDICT_FAILED)
		metric_add(METRIC_VERDICT_FAILED, 1);
}

/* A status the receipt names other than the one that came is a lie about what was answered. */
static void check_status(struct run *run)
{
	struct verdict_report *rep = &run->report;

	if (!rep->has_receipt || rep->receipt.status == run->result.status)
		return;
	for (size_t i = 0; i < rep->count; i++)
		if (!strcmp(rep->checks[i].name, "status")) {
			rep->checks[i].result = VERDICT_FAILED;
			snprintf(rep->checks[i].detail, sizeof(rep->checks[i].detail), "the receipt says %u, the answer came with %d", rep->receipt.status,
				 run->result.status);
		}
	rep->verdict = VERDICT_FAILED;
}

static enum outcome judge_complete(struct run *run)
{
	bool empty = run->result.streamed ? run->result.events == 0 : run->result.body.len == 0;
	bool lost = run->background && !run->result.body.data; /* a stream too large to be kept: nobody would ever read it */

	if (empty)
		return OUTCOME_EMPTY_OUTPUT;
	if (lost)
		return OUTCOME_NODE_FAILED;
	check_receipt(run);
	check_status(run);
	if (run->report.verdict == VERDICT_PASSED)
		return OUTCOME_DELIVERED;
	if (!strcmp(run->policy, "none"))
		return OUTCOME_UNPROVEN;
	return run->report.verdict == VERDICT_UNVERIFIABLE ? OUTCOME_NO_RECEIPT : OUTCOME_BAD_RECEIPT;
}

static enum outcome judge(struct run *run)
{
	const struct attempt_result *r = &run->result;
	bool complete = r->err == ERR_OK && r->status >= 200 && r->status < 300 && (!r->streamed || r->done);
	bool left = run->cancelled != CANCEL_NONE;

	/* Events that reached a caller are paid for, whether he left or asked to cancel. */
	if (run->cancelled == CANCEL_OWNER && (run->background || !run->passed))
		return OUTCOME_CANCELLED_RUNNING;
	if (atomic_load(&run->pay->leaving) && !complete)
		return OUTCOME_GATEWAY_LOST;
	if (left && !(complete && r->streamed))
		return run->passed ? OUTCOME_PARTIAL : OUTCOME_CLIENT_LEFT;
	if (complete)
		return judge_complete(run);
	if (deadline_passed(run->deadline))
		return OUTCOME_DEADLINE_RUNNING;
	if (run->passed)
		return OUTCOME_NODE_BROKE;
	if (r->err == ERR_OK && is_rejection(r->status))
		return OUTCOME_REJECTED;
	return OUTCOME_NODE_FAILED;
}

/* The node's own failure, seen before the caller got a byte: another node may do better. */
static bool another_may_do_better(const struct run *run, enum outcome o)
{
	return !run->passed && !run->begun && run->cancelled == CANCEL_NONE && !atomic_load(&run->pay->leaving) && !deadline_passed(run->deadline) &&
	       run->attempt_no < run->pay->attempts_max &&
	       (o == OUTCOME_NODE_FAILED || o == OUTCOME_BAD_RECEIPT || o == OUTCOME_NO_RECEIPT || o == OUTCOME_EMPTY_OUTPUT);
}

static bool node_is_at_fault(enum outcome o)
{
	return o == OUTCOME_NODE_FAILED || o == OUTCOME_NODE_BROKE || o == OUTCOME_BAD_RECEIPT || o == OUTCOME_NO_RECEIPT || o == OUTCOME_EMPTY_OUTPUT;
}

/* ---- closing ---- */

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* What is charged for: the receipt's units, cut to what body, limits and bytes make plausible. */
static void count_units(const struct run *run, enum charge charge, uint64_t *ret_input, uint64_t *ret_output)
{
	bool chat = !strcmp(run->quote.version.surface, "chat");
	bool valid = run->report.has_receipt && run->report.verdict != VERDICT_FAILED;
	uint64_t input = valid ? run->report.receipt.input_units : chat ? 0 : 1;
	uint64_t output = valid ? run->report.receipt.output_units : run->result.events;
	uint64_t bytes = run->result.bytes;

	if (charge == CHARGE_COUNTED && run->result.streamed)
		output = min_u64(output, run->passed);
	*ret_input = min_u64(input, (uint64_t)run->quote.input_units_max);
	*ret_output = min_u64(min_u64(output, bytes), (uint64_t)run->quote.output_units_max);
}

static void fill_answer(const struct run *run, bool delivered, struct job_close *c)
{
	const struct attempt_result *r = &run->result;

	if (r->status) {
		c->response_status = r->status;
		c->response_type = r->content_type;
		c->response_header_length = *r->tensor_header_length ? r->tensor_header_length : NULL;
		c->response_hash = &r->response_hash;
	}
	if (run->has_report) {
		c->receipt = run->report.has_receipt ? r->receipt : NULL;
		c->verdict = verdict_name(run->report.verdict);
	}
	if (delivered && run->keep_answer && r->body.data && (run->background || r->body.len <= REPLAY_MAX)) {
		c->response_body = r->body.data;
		c->response_len = r->body.len;
	}
}

/* Fenced: by our own closing, whose answer was lost, or by another gateway (which takes a new attempt number first). */
static enum err closed_before(const struct run *run, struct db *db, const char *outcome)
{
	_cleanup_job_row_ struct job_row job = { 0 };
	enum err e = db_job_get(db, &run->id, 0, &job);

	if (e)
		return e;
	return job.outcome && !strcmp(job.outcome, outcome) && job.attempt == run->attempt_no ? ERR_OK : ERR_CONFLICT;
}

enum err run_closing(const struct run *run, enum outcome o, struct job_close *ret, struct split *ret_split, json_t **ret_report)
{
	const struct outcome_row *row = outcome_row(o);
	struct price price = quote_price(&run->quote, &run->quote.candidates[run->current]);
	struct job_close c = { .id = run->id, .account = run->account, .leased = true, .lease = run->pay->instance, .attempt = run->attempt_no,
			       .state = row->state, .outcome = row->name, .error = row->err == ERR_OK ? NULL : err_info(row->err)->code,
			       .input_units = -1, .output_units = -1 };
	struct split split = { AMOUNT_ZERO, AMOUNT_ZERO, AMOUNT_ZERO, AMOUNT_ZERO };
	enum err e = ERR_OK;

	*ret_report = NULL;
	if (o != OUTCOME_INTERNAL_ERROR && !run->payment.stored) { /* there the answer may be what the books refused */
		if (run->has_report)
			c.verdict_report = *ret_report = verdict_json(&run->report);
		fill_answer(run, row->charge != CHARGE_NOTHING, &c);
	}
	if (row->charge != CHARGE_NOTHING) {
		uint64_t input, output;

		count_units(run, row->charge, &input, &output);
		c.input_units = (int64_t)input;
		c.output_units = (int64_t)output;
		e = price_split(&price, input, output, &split);
		c.ask = split.ask;
		c.royalty = split.royalty;
		c.fee = split.fee;
	}
	*ret = c;
	*ret_split = split;
	return e;
}

/* Writes the end down. Background answers are stored as produced first, so that a death between here and the capture
 * loses nothing: the reaper captures what is produced. */
static enum err close_job(struct run *run, struct db *db, enum outcome o, struct split *ret)
{
	_cleanup_json_ json_t *report = NULL;
	enum lane_status status = LANE_OK;
	struct job_close c;
	struct split split;
	enum err e = run_closing(run, o, &c, &split, &report);

	if (!e && run->background && outcome_row(o)->charge != CHARGE_NOTHING) {
		e = db_job_produce(db, &c);
		FAULT(produced);
		if (!e)
			c.response_body = NULL; /* is stored now */
		if (e == ERR_DB_DOWN)
			e = ERR_OK; /* the closing says all of it again, and waits for the database */
	}
	FAULT(closing);
	if (!e)
		e = db_job_close(run->pay->lane, &c, &status);
	FAULT(closed);
	if (!e && status == LANE_FENCED)
		e = closed_before(run, db, outcome_row(o)->name);
	if (!e)
		*ret = split;
	return e;
}

/* The end as judged; or, when the books refuse that (rather than being out of reach), an end that charges nobody: a job always ends. */
static enum err close_surely(struct run *run, struct db *db, enum outcome *o, struct split *ret)
{
	enum err e = close_job(run, db, *o, ret);

	if (!e || e == ERR_CONFLICT || e == ERR_DB_DOWN || e == ERR_OVERLOADED)
		return e;
	run->pay->log_job("end_refused", &run->id, outcome_row(*o)->name);
	*o = OUTCOME_INTERNAL_ERROR;
	return close_job(run, db, *o, ret);
}

void run_tell(struct run *run, enum outcome o, enum err e, const struct split *split)
{
	const struct outcome_row *row = outcome_row(o);
	const struct attempt_result *r = &run->result;
	struct run_end end = { .job = run->id, .outcome = o, .err = e ? e : row->err, .status = r->status, .content_type = r->content_type,
			       .tensor_header_length = r->tensor_header_length, .body = r->body.data ? r->body.data : "", .body_len = r->body.len, .streamed = r->streamed,
			       .receipt = run->has_report && run->report.has_receipt ? r->receipt : NULL, .charged = *split,
			       .payment = run->payment.set ? &run->payment : NULL };

	end.detail = e == ERR_PAYMENT_PENDING ? "the payment was sent and the chain has not said yet; do not pay again" :
		     e == ERR_CONFLICT ? "the job was resolved by another gateway; nothing was charged here" :
		     e		       ? "the job could not be closed; nothing was charged" :
					 row->when;
	if (end.err == ERR_CONFLICT)
		end.err = ERR_DEADLINE;
	if (run->front.ended)
		run->front.ended(run->front.arg, &end);
	run->front = (struct run_front){ 0 };
}

void run_conclude(struct run *run, struct db *db, enum outcome o)
{
	struct split split = { AMOUNT_ZERO, AMOUNT_ZERO, AMOUNT_ZERO, AMOUNT_ZERO };
	enum err e;

	if (run->payment.set) {
		payment_conclude(run, o);
		return;
	}
	if (!run->close_until)
		run->close_until = deadline_in(CLOSE_WAIT_MS);
	e = close_surely(run, db, &o, &split);
	if ((e == ERR_DB_DOWN || e == ERR_OVERLOADED) && !deadline_passed(run->close_until) && !atomic_load(&run->pay->leaving)) {
		run->end = o;
		runs_park(run->pay->runs, run); /* not on this thread: others need it to be told that the database is away */
		return;
	}
	run_over(run, o, e, &split);
}

void run_over(struct run *run, enum outcome o, enum err e, const struct split *split)
{
	struct pay *pay = run->pay;
	struct uuid id = run->id;
	bool background = run->background;

	if (e) {
		pay->log_job(e == ERR_PAYMENT_PENDING ? "payment_pending" : "job_not_closed", &id, err_info(e)->code);
		runs_unsettled(pay->runs, &id, 0);
	} else {
		metric_add(outcome_row(o)->charge == CHARGE_NOTHING ? METRIC_JOBS_VOIDED : METRIC_JOBS_SETTLED, 1);
		pay->log_job("job_ended", &id, outcome_row(o)->name);
	}
	runs_remove(pay->runs, run);
	run_tell(run, o, e, split);
	FAULT(answer_sent);
	run_free(run);
	if (background && pay->job_ended)
		pay->job_ended(pay->job_ended_arg, &id);
}

void run_conclude_parked(void *arg)
{
	struct run *run = arg;

	run_conclude(run, http_worker_state(), run->end);
}

/* ---- after an attempt ---- */

/* Sends the job to another node. False when there is none, or the job is no longer ours. */
static bool try_another(struct run *run, struct db *db, enum outcome o)
{
	int failed = run->current, next = quote_choose(run->pay, &run->quote, run->tried);
	const struct offer_row *offer;
	enum err e;

	if (next < 0)
		return false;
	offer = &run->quote.candidates[next];
	e = db_job_retry(db, &run->id, &run->pay->instance, run->attempt_no, outcome_row(o)->name, &offer->node, offer->operator_account, offer->ask_input,
			 offer->ask_output);
	if (e) {
		health_release(run->pay->health, &offer->node, false);
		run->current = failed;
		return false;
	}
	FAULT(attempt_replaced);
	run->current = next;
	run->attempt_no++;
	run->has_report = false;
	run_start_attempt(run);
	return true;
}

/* Nobody waits for a background job, so it can wait until a node it has not tried has room: back to the queue. */
static bool wait_for_room(struct run *run, struct db *db, enum outcome o)
{
	struct pay *pay = run->pay;

	if (!run->background || (run->tried | 1u << run->current) == (1u << run->quote.candidate_count) - 1)
		return false;
	if (db_job_requeue(db, &run->id, &pay->instance, run->attempt_no, outcome_row(o)->name))
		return false;
	runs_mark_queued(pay->runs);
	runs_remove(pay->runs, run);
	run_free(run);
	return true;
}

/* The process ends before the job: it goes back to the queue, and the next process runs it again. */
static void leave_to_another(struct run *run, struct db *db)
{
	enum err e = db_job_requeue(db, &run->id, &run->pay->instance, run->attempt_no, "gateway_stopped");

	run->pay->log_job("job_left", &run->id, e ? err_info(e)->code : "queued again");
	runs_remove(run->pay->runs, run);
	run_free(run);
}

void run_finish(void *arg)
{
	struct run *run = arg;
	struct db *db = http_worker_state();
	struct attempt *attempt;
	enum outcome o;

	pthread_mutex_lock(&run->lock);
	attempt = run->attempt;
	run->attempt = NULL;
	pthread_mutex_unlock(&run->lock);
	attempt_unref(attempt);
	o = judge(run);
	FAULT(verdict_made);
	health_release(run->pay->health, &run->quote.candidates[run->current].node, node_is_at_fault(o));
	if (node_is_at_fault(o)) {
		metric_add(METRIC_NODE_FAILURES, 1);
		run->pay->log_job("attempt_failed", &run->id, run->result.err ? run->result.error : outcome_row(o)->name);
	}
	if (o == OUTCOME_GATEWAY_LOST && run->background) {
		leave_to_another(run, db);
		return;
	}
	if (o == OUTCOME_PARTIAL) {
		runs_wait_partial(run->pay->runs, run);
		FAULT(partial_waiting);
		return;
	}
	if (another_may_do_better(run, o) && (try_another(run, db, o) || wait_for_room(run, db, o)))
		return;
	run_conclude(run, db, o);
}

/* The node's word on a stream that was cut. What it sent and what arrived here may differ by what was on the way, so the response
 * hash counts only when it is equal; the charge goes by what was counted here. */
void run_conclude_partial(void *arg)
{
	struct run *run = arg;
	struct attempt_result *r = &run->result;
	bool valid;

	if (r->receipt) {
		struct hash counted = r->response_hash;
		struct json_why why;
		struct receipt said;
		struct signature sig;
		uint64_t chain_id;

		if (doc_read(&RECEIPT_TYPE, r->receipt, r->receipt_len, &said, &chain_id, &sig, &why) == ERR_OK)
			r->response_hash = said.response_hash;
		check_receipt(run);
		r->response_hash = counted;
	}
	valid = r->receipt && run->report.verdict == VERDICT_PASSED;
	if (valid && !hash_equal(&run->report.receipt.response_hash, &r->response_hash))
		run->report.verdict = VERDICT_UNVERIFIABLE;
	run_conclude(run, http_worker_state(), valid ? OUTCOME_PARTIAL : OUTCOME_CLIENT_LEFT);
}
