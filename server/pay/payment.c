/* Runs that x402 pays for. The claim opens the job; then either the money is settled first and the work follows (upfront), or the
 * work is done, its answer stored as produced, the money settled, and only then is the answer given. Whoever waits for the chain
 * does not hold a thread: the run is parked in `runs` until the settler says that its payment ended, or the wait does. */
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "pay/run_internal.h"

static const struct split NOTHING;

enum err payment_open(struct run *run, struct db *db, const struct run_spec *spec, struct job_open *open, enum lane_status *ret_status)
{
	const struct payment_claim *claim = spec->payment;
	enum err e;

	open->hold = claim->amount_max;
	e = claim->limited && !claim->identifier && !claim->gas ? db_payment_claim_shared(run->pay->lane, claim, open, &run->account) : db_payment_claim(db, claim, open, &run->account);
	FAULT(payment_claimed);
	*ret_status = e == ERR_CONFLICT ? LANE_KEY_EXISTS : LANE_OK;
	if (e)
		return e == ERR_CONFLICT ? ERR_OK : e;
	run->payment = (struct run_payment){ .set = true, .id = claim->id, .payer = claim->payer, .upfront = spec->upfront, .upto = !strcmp(claim->scheme, "upto"),
					     .amount_max = claim->amount_max };
	return ERR_OK;
}

static void wait_for_chain(struct run *run)
{
	struct pay *pay = run->pay;

	runs_wait_payment(pay->runs, run, pay->payment_wait_ms);
	pay->settle_now(pay->settle_now_arg);
}

void payment_begin(struct run *run, struct db *db)
{
	enum err e;

	if (!run->payment.upfront) {
		run_start_attempt(run);
		return;
	}
	run->payment.amount = run->payment.amount_max;
	run->payment.asked = true;
	e = db_payment_settle(db, &run->payment.id, run->payment.amount);
	FAULT(payment_settling);
	if (e) {
		health_release(run->pay->health, &run->quote.candidates[run->current].node, false);
		run_over(run, OUTCOME_INTERNAL_ERROR, ERR_PAYMENT_PENDING, &NOTHING); /* it may be asked for, or not: found out later */
	} else if (amount_is_zero(run->payment.amount)) {
		payment_resume(run);
	} else {
		wait_for_chain(run);
	}
}

/* The end is written; dropped: the money never came. When the books refuse that end, one that charges nobody: a job always ends.
 * Once the money was asked for, what could not be written is not a failure but not known yet: nobody is told to pay again. */
static void close_payment(struct run *run, enum outcome o, bool dropped)
{
	struct split split;
	enum err e;

	for (;;) {
		_cleanup_json_ json_t *report = NULL;
		struct job_close c;

		e = run_closing(run, o, &c, &split, &report);
		if (!e)
			e = db_payment_close_shared(run->pay->lane, &run->payment.id, &c, dropped, dropped ? outcome_row(o)->name : NULL);
		FAULT(payment_closed);
		if (!e || e == ERR_CONFLICT || e == ERR_DB_DOWN || e == ERR_OVERLOADED || o == OUTCOME_INTERNAL_ERROR)
			break;
		run->pay->log_job("end_refused", &run->id, outcome_row(o)->name);
		o = OUTCOME_INTERNAL_ERROR;
	}
	run_over(run, o, e && run->payment.asked ? ERR_PAYMENT_PENDING : e, &split);
}

/* The job ended when its money came; what that says is known. */
static void end_closed(struct run *run)
{
	_cleanup_json_ json_t *report = NULL;
	struct job_close c;
	struct split split;
	enum err e = run_closing(run, run->outcome, &c, &split, &report);

	run_over(run, run->outcome, e, &split);
}

/* The answer is good: it is stored, and with that what it costs is to be taken. */
static enum err produce(struct run *run, enum outcome o, struct split *ret_split)
{
	_cleanup_json_ json_t *report = NULL;
	struct job_close c;
	enum err e = run_closing(run, o, &c, ret_split, &report);

	run->payment.amount = run->payment.upto ? amount_min(ret_split->total, run->payment.amount_max) : run->payment.amount_max;
	if (e)
		return e;
	e = db_payment_produce(run->pay->lane, &run->payment.id, &c, run->payment.amount);
	FAULT(payment_settling);
	run->payment.asked = e != ERR_CONFLICT && e != ERR_OVERLOADED; /* a lost answer says nothing */
	run->payment.stored = !e;
	return e;
}

void payment_conclude(struct run *run, enum outcome o)
{
	struct split split;
	enum err e;

	if (run->payment.upfront || outcome_row(o)->charge == CHARGE_NOTHING) {
		close_payment(run, o, !run->payment.upfront);
		return;
	}
	run->outcome = o;
	e = produce(run, o, &split);
	if (e) {
		close_payment(run, OUTCOME_INTERNAL_ERROR, true);
		return;
	}
	if (run->passed) /* upto, streamed: the caller has all of it */
		run_tell(run, o, ERR_OK, &split);
	if (amount_is_zero(run->payment.amount))
		payment_resume(run);
	else
		wait_for_chain(run);
}

static enum err look(struct run *run, struct db *db)
{
	_cleanup_payment_row_ struct payment_row row = { 0 };
	enum err e = db_payment_get(db, &run->payment.id, &row);

	if (e)
		return e;
	run->payment.state = !strcmp(row.state, "settled") ? PAYMENT_SETTLED : !strcmp(row.state, "failed") ? PAYMENT_FAILED : PAYMENT_PENDING;
	if (row.has_tx_hash)
		run->payment.tx = row.tx_hash;
	run->payment.closed = row.outcome && !strcmp(row.outcome, outcome_row(run->outcome)->name);
	snprintf(run->payment.reason, sizeof(run->payment.reason), "%s", row.reason ? row.reason : "");
	return ERR_OK;
}

/* The caller waited long enough and gets the status link; the run goes on without one, so that the answer is there when they ask. */
static void wait_alone(struct run *run, bool started)
{
	if (!started && !run->owned_body) {
		run->owned_body = xmalloc(run->body_len + 1);
		memcpy(run->owned_body, run->body, run->body_len);
		run->body = run->owned_body;
	}
	run->payment.state = PAYMENT_PENDING;
	run_tell(run, started ? run->outcome : OUTCOME_SETTLEMENT_FAILED, ERR_PAYMENT_PENDING, &NOTHING);
	runs_wait_payment(run->pay->runs, run, run->pay->payment_wait_ms);
}

void payment_resume(void *arg)
{
	struct run *run = arg;
	struct db *db = http_worker_state();
	bool started = run->result.status != 0;
	enum err e = run->payment.state == PAYMENT_SETTLED ? ERR_OK : look(run, db);

	if (!e && run->payment.state == PAYMENT_SETTLED && !started && run->cancelled == CANCEL_NONE) {
		run_start_attempt(run); /* upfront: paid, now the work */
		return;
	}
	if ((e || run->payment.state == PAYMENT_PENDING) && !atomic_load(&run->pay->leaving)) {
		wait_alone(run, started);
		return;
	}
	if (!started)
		health_release(run->pay->health, &run->quote.candidates[run->current].node, false);
	if (!e && run->payment.state == PAYMENT_SETTLED && run->payment.closed && run->payment.stored)
		end_closed(run);
	else if (!e && run->payment.state == PAYMENT_SETTLED)
		close_payment(run, started ? run->outcome : OUTCOME_CLIENT_LEFT, false);
	else if (!e && run->payment.state == PAYMENT_FAILED)
		close_payment(run, OUTCOME_SETTLEMENT_FAILED, true);
	else
		run_over(run, started ? run->outcome : OUTCOME_SETTLEMENT_FAILED, ERR_PAYMENT_PENDING, &NOTHING); /* left to the next process */
}

/* ---- jobs in the background: settled before they are taken from the queue ---- */

enum err payment_of_queued(struct run *run, struct db *db)
{
	_cleanup_payment_row_ struct payment_row row = { 0 };
	enum err e = db_payment_of_job(db, &run->id, &row);

	if (e)
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	run->payment = (struct run_payment){ .set = true, .id = row.id, .payer = row.payer, .upfront = true, .asked = true, .amount_max = row.amount_max,
					     .amount = row.amount, .state = PAYMENT_SETTLED };
	return ERR_OK;
}

/* ---- orphans ---- */

/* What is settled first and then not worked for is the payer's, on his account. */
static enum outcome orphan_end(const struct job_row *job, const struct payment_row *row, enum outcome otherwise)
{
	if (!strcmp(row->state, "failed"))
		return OUTCOME_SETTLEMENT_FAILED;
	if (strcmp(row->state, "settled") != 0)
		return OUTCOME_GATEWAY_LOST;
	return job->background ? otherwise : !strcmp(job->state, "produced") ? OUTCOME_DELIVERED : OUTCOME_GATEWAY_LOST;
}

enum err payment_orphan(struct pay *pay, struct db *db, const struct job_row *job, enum outcome otherwise)
{
	struct job_close c = { .id = job->id, .account = job->account, .leased = true, .lease = job->lease, .attempt = job->attempt, .input_units = -1,
			       .output_units = -1 };
	_cleanup_payment_row_ struct payment_row row = { 0 };
	struct split split = NOTHING;
	enum outcome o;
	enum err e = db_payment_of_job(db, &job->id, &row);

	if (e)
		return e;
	if (!strcmp(row.state, "settling"))
		return ERR_PAYMENT_PENDING;
	o = orphan_end(job, &row, otherwise);
	if (o == OUTCOME_GATEWAY_LOST && job->background)
		return ERR_NOT_FOUND;
	if (o == OUTCOME_DELIVERED) {
		const struct price price = { .ask_input = job->ask_input, .ask_output = job->ask_output, .royalty_input = job->royalty_input,
					     .royalty_output = job->royalty_output, .fee_bps = (uint32_t)job->fee_bps };

		e = price_split(&price, (uint64_t)job->input_units, (uint64_t)job->output_units, &split);
		if (e)
			return e;
	}
	c.state = outcome_row(o)->state;
	c.outcome = outcome_row(o)->name;
	c.error = outcome_row(o)->err == ERR_OK ? NULL : err_info(outcome_row(o)->err)->code;
	c.ask = split.ask;
	c.royalty = split.royalty;
	c.fee = split.fee;
	e = db_payment_close(db, &row.id, &c, strcmp(row.state, "settled") != 0, c.outcome);
	FAULT(orphan_closed);
	if (!e)
		pay->log_job("orphan_resolved", &job->id, c.outcome);
	if (!e && job->background && pay->job_ended)
		pay->job_ended(pay->job_ended_arg, &job->id);
	return e;
}
