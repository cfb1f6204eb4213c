/* Shared by run.c, run_end.c and runs.c. */
#ifndef OPGATE_PAY_RUN_INTERNAL_H
#define OPGATE_PAY_RUN_INTERNAL_H

#include <pthread.h>

#include "pay/run.h"

struct run {
	struct run *next, **link; /* in runs, under its lock */
	struct pay *pay;
	struct run_front front;
	struct uuid id;
	int64_t account;
	struct quote quote;
	char policy[16];
	char *path, *content_type, *tensor_header_length, *request_id;
	const char *body; /* the front's, or owned_body */
	size_t body_len;
	char *owned_body;
	struct hash request_hash;
	bool background, keep_answer;
	deadline_ms deadline;
	int attempt_no;
	uint32_t tried;
	int current; /* candidate of the running attempt */
	uint64_t passed; /* events handed to the front */
	struct run_payment payment;
	enum outcome outcome; /* while the payment settles */
	bool begun;      /* the front was told that a stream begins: no other answer can follow */

	pthread_mutex_t lock;
	struct attempt *attempt; /* while one runs */
	enum cancel_reason cancelled;

	struct attempt_result result; /* of the attempt that ended */
	struct verdict_report report;
	bool has_report;
	bool settling; /* waits for the payment until wait_until; under runs' lock */
	bool waiting; /* for a partial receipt until wait_until; under runs' lock */
	deadline_ms wait_until;
	bool parked; /* its end waits for the database until close_until; under runs' lock */
	enum outcome end;
	deadline_ms close_until; /* 0: not tried yet */
};

/* run.c */
struct run *run_new(struct pay *pay, const struct quote *quote);
void run_free(struct run *run);
void run_start_attempt(struct run *run); /* run->current is acquired; ends in run_finish on a worker */
/* run_end.c */
void run_finish(void *run); /* on a worker: the attempt ended */
void run_conclude(struct run *run, struct db *db, enum outcome outcome); /* verdict is in run->report: close, tell the front, free */
/* Everything an end says, but how the money goes. `report` is the caller's to free. */
enum err run_closing(const struct run *run, enum outcome o, struct job_close *ret, struct split *ret_split, json_t **ret_report) WARN_UNUSED;
void run_over(struct run *run, enum outcome o, enum err e, const struct split *split); /* it is closed (or could not be): tell the front, free */
/* The front's end comes now, the run's later: it has no front any more. */
void run_tell(struct run *run, enum outcome o, enum err e, const struct split *split);
void run_conclude_parked(void *run); /* on a worker: closes it once more */
void run_conclude_partial(void *run); /* on a worker: the partial receipt came (result.receipt) or did not */
/* payment.c: runs paid by x402 */
enum err payment_open(struct run *run, struct db *db, const struct run_spec *spec, struct job_open *open, enum lane_status *ret_status) WARN_UNUSED;
void payment_begin(struct run *run, struct db *db);                   /* settle first, or start the work */
void payment_conclude(struct run *run, enum outcome o); /* instead of run_conclude */
/* A job from the queue: if x402 paid for it, its end is that of a payment that was settled first. */
enum err payment_of_queued(struct run *run, struct db *db) WARN_UNUSED;
/* The end of a job nobody runs any more, by what became of its payment; `otherwise`: what it would be if nobody had paid. ERR_NOT_FOUND:
 * it has none, or is to be queued again; ERR_PAYMENT_PENDING: later. */
enum err payment_orphan(struct pay *pay, struct db *db, const struct job_row *job, enum outcome otherwise) WARN_UNUSED;
void payment_resume(void *run);                                        /* on a worker: the payment ended, or the wait did */
/* runs.c */
void runs_add(struct runs *runs, struct run *run);
void runs_remove(struct runs *runs, struct run *run);
void runs_wait_partial(struct runs *runs, struct run *run);
void runs_wait_payment(struct runs *runs, struct run *run, int64_t wait_ms);
void runs_park(struct runs *runs, struct run *run); /* run_conclude_parked comes when the database is back, or too late for waiting */
void runs_mark_queued(struct runs *runs); /* some background job waits for room */
/* What became of it in the database is not known: found out in later turns. unwanted_by: the account that was told there is no such
 * job, so that it is cancelled should there be one; or 0. */
void runs_unsettled(struct runs *runs, const struct uuid *job, int64_t unwanted_by);

#endif
