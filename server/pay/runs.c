/* All runs of this process, the queue, and the jobs of dead gateways. See run.h. `lock` guards the list and the waiting marks. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "pay/run_internal.h"
#include "pay/x402_quote.h"

#define PARTIAL_WAIT_MS 5000
#define BATCH 64

#define QUOTED_BEFORE_MS 10000 /* a job is written in the request that made its price */
#define UNSETTLED_MS 60000 /* longer than any statement can still be on its way */

struct unsettled {
	struct unsettled *next;
	struct uuid job;
	int64_t unwanted_by; /* the account whose caller was told that there is no such job; or 0 */
	deadline_ms until;
};

struct runs {
	pthread_mutex_t lock;
	pthread_mutex_t turn; /* of housekeeping; taken before lock */
	struct unsettled *unsettled;
	struct run *head;
	size_t count;
	atomic_bool queued; /* a background job found no room: look again when one ends */
	atomic_bool dispatching;
};

struct runs *runs_new(void)
{
	struct runs *runs = xcalloc(1, sizeof(*runs));

	pthread_mutex_init(&runs->lock, NULL);
	pthread_mutex_init(&runs->turn, NULL);
	return runs;
}

void runs_free(struct runs *runs)
{
	if (!runs)
		return;
	for (struct unsettled *u = runs->unsettled, *next; u; u = next) {
		next = u->next;
		free(u);
	}
	pthread_mutex_destroy(&runs->turn);
	pthread_mutex_destroy(&runs->lock);
	free(runs);
}

void runs_add(struct runs *runs, struct run *run)
{
	pthread_mutex_lock(&runs->lock);
	run->next = runs->head;
	if (run->next)
		run->next->link = &run->next;
	run->link = &runs->head;
	runs->head = run;
	metric_set(METRIC_JOBS_RUNNING, (int64_t)++runs->count);
	pthread_mutex_unlock(&runs->lock);
}

static void dispatch_posted(void *arg)
{
	runs_dispatch(arg, http_worker_state());
}

void runs_remove(struct runs *runs, struct run *run)
{
	pthread_mutex_lock(&runs->lock);
	*run->link = run->next;
	if (run->next)
		run->next->link = run->link;
	metric_set(METRIC_JOBS_RUNNING, (int64_t)--runs->count);
	pthread_mutex_unlock(&runs->lock);
	if (atomic_exchange(&runs->queued, false))
		http_post(run->pay->http, dispatch_posted, run->pay);
}

size_t runs_count(struct runs *runs)
{
	size_t n;

	pthread_mutex_lock(&runs->lock);
	n = runs->count;
	pthread_mutex_unlock(&runs->lock);
	return n;
}

void runs_mark_queued(struct runs *runs)
{
	atomic_store(&runs->queued, true);
}

void runs_unsettled(struct runs *runs, const struct uuid *job, int64_t unwanted_by)
{
	struct unsettled *u = xcalloc(1, sizeof(*u));

	u->job = *job;
	u->unwanted_by = unwanted_by;
	u->until = deadline_in(UNSETTLED_MS);
	pthread_mutex_lock(&runs->lock);
	u->next = runs->unsettled;
	runs->unsettled = u;
	pthread_mutex_unlock(&runs->lock);
}

/* ---- partial receipts ---- */

void runs_wait_partial(struct runs *runs, struct run *run)
{
	pthread_mutex_lock(&runs->lock);
	run->waiting = true;
	run->wait_until = deadline_in(PARTIAL_WAIT_MS);
	pthread_mutex_unlock(&runs->lock);
}

enum err runs_partial_receipt(struct pay *pay, const struct receipt *receipt, const char *text, size_t len)
{
	struct run *found = NULL;
	bool early = false;

	/* Only from the node that was asked: the caller knows the job's id, and may have a node of his own. */
	pthread_mutex_lock(&pay->runs->lock);
	for (struct run *run = pay->runs->head; run && !found; run = run->next)
		if (!memcmp(run->id.b, receipt->job_id.b, sizeof(run->id.b)) && (uint32_t)run->attempt_no == receipt->attempt &&
		    address_equal(&run->quote.candidates[run->current].node, &receipt->node))
			found = run;
	early = found && !found->waiting;
	if (found && !early)
		found->waiting = false; /* ours now */
	pthread_mutex_unlock(&pay->runs->lock);
	if (!found)
		return ERR_NOT_FOUND;
	if (early)
		return ERR_OVERLOADED; /* the node was quicker than our own end of the attempt: it asks again */
	FAULT(partial_received);
	free(found->result.receipt);
	found->result.receipt = xstrndup(text, len);
	found->result.receipt_len = len;
	http_post(pay->http, run_conclude_partial, found);
	return ERR_OK;
}

static void give_up_partials(struct pay *pay)
{
	for (;;) {
		struct run *found = NULL;

		pthread_mutex_lock(&pay->runs->lock);
		for (struct run *run = pay->runs->head; run && !found; run = run->next)
			if (run->waiting && (deadline_passed(run->wait_until) || atomic_load(&pay->leaving)))
				found = run;
		if (found)
			found->waiting = false;
		pthread_mutex_unlock(&pay->runs->lock);
		if (!found)
			return;
		http_post(pay->http, run_conclude_partial, found);
	}
}

/* ---- payments ---- */

void runs_wait_payment(struct runs *runs, struct run *run, int64_t wait_ms)
{
	pthread_mutex_lock(&runs->lock);
	run->settling = true;
	run->wait_until = deadline_in(wait_ms);
	pthread_mutex_unlock(&runs->lock);
}

/* Runs parked for a payment go on: that of `payment`, or (NULL) those whose time is up. */
static void resume_payments(struct pay *pay, const struct uuid *payment, const struct hash *tx, bool closed)
{
	for (;;) {
		struct run *found = NULL;

		pthread_mutex_lock(&pay->runs->lock);
		for (struct run *run = pay->runs->head; run && !found; run = run->next)
			if (run->settling && (payment ? !memcmp(run->payment.id.b, payment->b, sizeof(payment->b))
						      : deadline_passed(run->wait_until) || atomic_load(&pay->leaving)))
				found = run;
		if (found)
			found->settling = false;
		if (found && tx) {
			found->payment.state = PAYMENT_SETTLED;
			found->payment.tx = *tx;
			found->payment.closed = closed;
		}
		pthread_mutex_unlock(&pay->runs->lock);
		if (!found)
			return;
		http_post(pay->http, payment_resume, found);
	}
}

/* Payments that another gateway's settler brought to an end, or whose word was missed. */
static enum err look_at_payments(struct pay *pay, struct db *db)
{
	struct uuid waiting[BATCH], ended[BATCH];
	size_t count = 0, n = 0;
	enum err e;

	pthread_mutex_lock(&pay->runs->lock);
	for (struct run *run = pay->runs->head; run && count < BATCH; run = run->next)
		if (run->settling)
			waiting[count++] = run->payment.id;
	pthread_mutex_unlock(&pay->runs->lock);
	if (count == 0)
		return ERR_OK;
	e = db_payments_ended(db, waiting, count, ended, &n);
	for (size_t i = 0; !e && i < n; i++)
		resume_payments(pay, &ended[i], NULL, false);
	return e;
}

void runs_payment_ended(struct pay *pay, const struct uuid *payment, const struct hash *tx, bool closed)
{
	resume_payments(pay, payment, tx, closed);
}

/* ---- ends that wait for the database ---- */

void runs_park(struct runs *runs, struct run *run)
{
	pthread_mutex_lock(&runs->lock);
	run->parked = true;
	pthread_mutex_unlock(&runs->lock);
}

static void unpark(struct pay *pay, bool database_answers)
{
	for (;;) {
		struct run *found = NULL;

		pthread_mutex_lock(&pay->runs->lock);
		for (struct run *run = pay->runs->head; run && !found; run = run->next)
			if (run->parked && (database_answers || deadline_passed(run->close_until) || atomic_load(&pay->leaving)))
				found = run;
		if (found)
			found->parked = false;
		pthread_mutex_unlock(&pay->runs->lock);
		if (!found)
			return;
		http_post(pay->http, run_conclude_parked, found);
	}
}

/* ---- the queue ---- */

/* When its price was made: with the job, or, when a wallet pays, with a quote that was sealed before. */
static enum err quoted_when(struct db *db, const struct job_row *job, struct asked_when *ret)
{
	_cleanup_payment_row_ struct payment_row paid = { 0 };
	enum err e = db_payment_of_job(db, &job->id, &paid);

	if (e && e != ERR_NOT_FOUND)
		return e;
	*ret = (struct asked_when){ .since = job->created_at - (e ? QUOTED_BEFORE_MS : 2 * X402_QUOTE_LIFE_S * 1000), .until = job->created_at };
	return ERR_OK;
}

/* Candidates the hold does not cover are left out; who asks in USD works at the rate the job was promised at, as if it had stood still. */
static enum err keep_affordable(struct quote *q, struct db *db, const struct job_row *job)
{
	const struct price most = { .ask_input = job->ask_input_max, .ask_output = job->ask_output_max };
	struct asked_when when;
	enum err e = quoted_when(db, job, &when);

	if (!e)
		e = quote_keep(q, db, &most, &when);
	if (e)
		return e;
	q->ceiling.royalty_input = job->royalty_input;
	q->ceiling.royalty_output = job->royalty_output;
	q->ceiling.fee_bps = (uint32_t)job->fee_bps;
	q->input_units_max = job->input_units_max;
	q->output_units_max = job->output_units_max;
	return ERR_OK;
}

static struct run *run_of_job(struct pay *pay, const struct quote *q, const struct job_row *job, char *take_body, size_t body_len, int chosen)
{
	struct run *run = run_new(pay, q);

	run->id = job->id;
	run->account = job->account;
	snprintf(run->policy, sizeof(run->policy), "%s", job->policy);
	run->path = xstrdup(job->path);
	run->content_type = xstrdup(job->content_type);
	run->tensor_header_length = job->tensor_header_length ? xstrdup(job->tensor_header_length) : NULL;
	run->body = run->owned_body = take_body;
	run->body_len = body_len;
	run->request_hash = job->request_hash;
	run->background = run->keep_answer = true;
	run->deadline = deadline_in(job->left_ms > 0 ? job->left_ms : 0);
	run->attempt_no = job->attempt + 1;
	run->current = chosen;
	return run;
}

static void start_queued(struct pay *pay, struct db *db, const struct uuid *id)
{
	_cleanup_job_row_ struct job_row job = { 0 };
	struct quote *q = xcalloc(1, sizeof(*q));
	_cleanup_free_ void *freed = q;
	char digest[80];
	struct run *run = NULL;
	char *body = NULL;
	size_t body_len = 0;
	int chosen;
	enum err e;

	if (db_job_get(db, id, 0, &job) || strcmp(job.state, "queued") != 0 || job.cancel_requested || job.left_ms <= 0)
		return;
	snprintf(digest, sizeof(digest), "sha256:%s", hash_format(&job.digest).s + 2);
	if (quote_find(pay, db, digest, q) || quote_make(pay, 1, -1, q))
		return;
	e = keep_affordable(q, db, &job);
	if (e && e != ERR_NO_NODE)
		return;
	chosen = e ? -1 : quote_choose(pay, q, 0);
	if (chosen < 0) {
		runs_mark_queued(pay->runs);
		return;
	}
	e = db_job_body(db, id, &body, &body_len);
	if (!e) {
		run = run_of_job(pay, q, &job, body, body_len, chosen);
		e = payment_of_queued(run, db);
	}
	if (!e) {
		e = db_job_claim(db, id, &pay->instance, job.attempt, &q->candidates[chosen].node, q->candidates[chosen].operator_account,
				 q->candidates[chosen].ask_input, q->candidates[chosen].ask_output);
		if (e == ERR_DB_DOWN)
			runs_unsettled(pay->runs, id, 0);
	}
	if (e) {
		health_release(pay->health, &q->candidates[chosen].node, false);
		if (run)
			run_free(run);
		return;
	}
	FAULT(job_claimed);
	runs_add(pay->runs, run);
	run_start_attempt(run);
}

void runs_dispatch(struct pay *pay, struct db *db)
{
	struct uuid ids[BATCH];
	size_t n = 0;

	if (atomic_load(&pay->draining))
		return;
	if (atomic_exchange(&pay->runs->dispatching, true)) {
		runs_mark_queued(pay->runs); /* whoever dispatches now may have looked before this job was there */
		return;
	}
	if (db_jobs_queued(db, ids, BATCH, &n) == ERR_OK)
		for (size_t i = 0; i < n; i++)
			start_queued(pay, db, &ids[i]);
	atomic_store(&pay->runs->dispatching, false);
	if (n == BATCH)
		runs_mark_queued(pay->runs);
}

/* ---- orphans ---- */

static enum outcome orphan_outcome(const struct job_row *job)
{
	if (!strcmp(job->state, "produced"))
		return !strcmp(job->verdict ? job->verdict : "", "passed") ? OUTCOME_DELIVERED : OUTCOME_UNPROVEN;
	if (!strcmp(job->state, "queued"))
		return job->cancel_requested ? OUTCOME_CANCELLED_QUEUED : OUTCOME_DEADLINE_QUEUED;
	if (job->cancel_requested)
		return OUTCOME_CANCELLED_RUNNING;
	return job->left_ms <= 0 ? OUTCOME_DEADLINE_RUNNING : OUTCOME_GATEWAY_LOST;
}

/* Resolves a job this process has just taken over (db_jobs_reap): run it again, capture what was produced, or void. */
static enum err resolve_orphan(struct pay *pay, struct db *db, const struct uuid *id)
{
	_cleanup_job_row_ struct job_row job = { 0 };
	struct job_close c = { .id = *id, .leased = true, .lease = pay->instance, .input_units = -1, .output_units = -1 };
	enum lane_status status = LANE_OK;
	enum outcome o;
	enum err e = db_job_get(db, id, 0, &job);

	if (e)
		return e;
	o = orphan_outcome(&job);
	e = payment_orphan(pay, db, &job, o);
	if (e != ERR_NOT_FOUND)
		return e;
	if (o == OUTCOME_GATEWAY_LOST && job.background) {
		e = db_job_requeue(db, id, &pay->instance, job.attempt, "gateway_lost");
		FAULT(orphan_requeued);
		return e;
	}
	c.account = job.account;
	c.attempt = job.attempt;
	c.state = outcome_row(o)->state;
	c.outcome = outcome_row(o)->name;
	c.error = outcome_row(o)->err == ERR_OK ? NULL : err_info(outcome_row(o)->err)->code;
	if (outcome_row(o)->charge != CHARGE_NOTHING) {
		const struct price price = { .ask_input = job.ask_input, .ask_output = job.ask_output, .royalty_input = job.royalty_input,
					     .royalty_output = job.royalty_output, .fee_bps = (uint32_t)job.fee_bps };
		struct split split;

		e = price_split(&price, (uint64_t)job.input_units, (uint64_t)job.output_units, &split);
		if (e)
			return e;
		c.ask = split.ask;
		c.royalty = split.royalty;
		c.fee = split.fee;
	}
	e = db_job_close(pay->lane, &c, &status);
	FAULT(orphan_closed);
	if (!e && status == LANE_OK) {
		metric_add(outcome_row(o)->charge == CHARGE_NOTHING ? METRIC_JOBS_VOIDED : METRIC_JOBS_SETTLED, 1);
		pay->log_job("orphan_resolved", id, c.outcome);
		if (pay->job_ended)
			pay->job_ended(pay->job_ended_arg, id);
	}
	return e;
}

/* Jobs this process holds and has lost sight of: the database was away when one was opened, claimed or closed. What is still ours
 * is resolved like an orphan; what is not there may yet come. */
static enum err settle_unsettled(struct pay *pay, struct db *db)
{
	struct unsettled *list, *kept = NULL, **end = &kept;
	enum err e = ERR_OK;

	pthread_mutex_lock(&pay->runs->lock);
	list = pay->runs->unsettled;
	pay->runs->unsettled = NULL;
	pthread_mutex_unlock(&pay->runs->lock);
	while (list) {
		struct unsettled *u = list;
		_cleanup_job_row_ struct job_row job = { 0 };
		enum err found = e ? e : db_job_get(db, &u->job, 0, &job);
		bool ours = !found && job.leased && !memcmp(job.lease.b, pay->instance.b, sizeof(job.lease.b));
		char state[16];

		list = u->next;
		if (!found && u->unwanted_by)
			found = db_job_cancel(db, &u->job, u->unwanted_by, state);
		else if (ours)
			found = resolve_orphan(pay, db, &u->job);
		if (found == ERR_DB_DOWN || found == ERR_OVERLOADED || found == ERR_PAYMENT_PENDING ||
		    (found == ERR_NOT_FOUND && !deadline_passed(u->until))) {
			e = found == ERR_NOT_FOUND || found == ERR_PAYMENT_PENDING ? e : found;
			*end = u;
			end = &u->next;
		} else {
			free(u);
		}
	}
	pthread_mutex_lock(&pay->runs->lock);
	*end = pay->runs->unsettled;
	pay->runs->unsettled = kept;
	pthread_mutex_unlock(&pay->runs->lock);
	return e;
}

/* Runs whose owner asked to cancel through any gateway. */
static enum err cancel_requested(struct pay *pay, struct db *db)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_uuid(&p, &pay->instance);
	e = db_query(db, "SELECT id FROM job WHERE state = 'running' AND cancel_requested AND lease = $1::uuid", &p, &r);
	if (e)
		return e;
	pthread_mutex_lock(&pay->runs->lock);
	for (int i = 0; i < db_rows(r); i++) {
		struct uuid id;

		db_get_uuid(r, i, "id", &id);
		for (struct run *run = pay->runs->head; run; run = run->next)
			if (!memcmp(run->id.b, id.b, sizeof(id.b)))
				run_cancel(run, CANCEL_OWNER);
	}
	pthread_mutex_unlock(&pay->runs->lock);
	return ERR_OK;
}

static enum err tick(struct pay *pay, struct db *db)
{
	struct uuid ids[BATCH];
	size_t n = 0;
	enum err e = db_instance_beat(db, &pay->instance);

	give_up_partials(pay);
	resume_payments(pay, NULL, NULL, false);
	unpark(pay, e == ERR_OK);
	if (!e)
		e = look_at_payments(pay, db);
	if (!e)
		e = cancel_requested(pay, db);
	if (!e)
		e = settle_unsettled(pay, db);
	if (e || atomic_load(&pay->draining))
		return e;
	e = db_jobs_reap(db, &pay->instance, pay->instance_timeout_ms, ids, BATCH, &n);
	if (!e && n > 0)
		FAULT(orphan_taken);
	for (size_t i = 0; i < n; i++) {
		enum err one = e ? e : resolve_orphan(pay, db, &ids[i]);

		if (one)
			runs_unsettled(pay->runs, &ids[i], 0); /* taken over, so nobody else will look at it */
		e = one == ERR_DB_DOWN || one == ERR_OVERLOADED ? one : e;
	}
	if (!e)
		runs_dispatch(pay, db);
	return e;
}

/* One turn at a time in this process: two would take over the same jobs from each other. */
enum err runs_tick(struct pay *pay, struct db *db)
{
	enum err e;

	pthread_mutex_lock(&pay->runs->turn);
	e = tick(pay, db);
	pthread_mutex_unlock(&pay->runs->turn);
	return e;
}
