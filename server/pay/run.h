/* A run: one job on its way from hold to end inside this process. It owns the attempts, the failover, the verdict and the closing;
 * who asked (a waiting request, an event stream, or nobody: a background job) is its front.
 *
 *   handler (worker)        reactor                       worker
 *   run_open: hold  →  attempt → events to the front  →  finish: next attempt, or verdict → close → front.ended
 *
 * `lock` guards attempt/cancel; everything else belongs to the one thread the run is on at the moment. */
#ifndef OPGATE_PAY_RUN_H
#define OPGATE_PAY_RUN_H

#include "db/payments.h"
#include "pay/charging.h"
#include "pay/data_mode.h"
#include "pay/quote.h"
#include "proof/verdict.h"
#include "relay/attempt.h"

struct run;

/* How a run that x402 pays for stands with its payment. */
enum payment_state { PAYMENT_CLAIMED, PAYMENT_SETTLED, PAYMENT_FAILED, PAYMENT_PENDING /* sent, and the chain has not said */ };
struct run_payment {
	bool set;
	struct uuid id;
	struct address payer;
	bool upfront, upto;
	bool asked; /* the settler may know of it: nobody can say any more that nothing is taken */
	bool stored; /* the answer is: the end need not say it again */
	struct amount amount_max, amount; /* amount: what is settled */
	enum payment_state state;
	bool closed; /* settled, and the job whose answer is stored ended with that */
	struct hash tx; /* settled */
	char reason[64]; /* failed */
};

struct run_end {
	struct uuid job;
	enum outcome outcome;
	enum err err;       /* ERR_OK: deliver the answer */
	const char *detail; /* words for the caller when not */
	int status;         /* the node's answer (also for `rejected`) */
	const char *content_type, *tensor_header_length; /* the latter "" when none */
	const char *body;
	size_t body_len;
	bool streamed;
	const char *receipt; /* JSON form, or NULL */
	struct split charged;
	const struct run_payment *payment; /* NULL: paid from a balance */
};

struct run_front {
	void *arg;
	void (*opened)(void *arg, struct run *run);                         /* worker: the hold is placed, nothing was sent yet */
	void (*begin)(void *arg, const char *content_type);                 /* reactor: first event of a stream follows */
	enum net_flow (*event)(void *arg, const char *data, size_t len);    /* reactor: NET_PAUSE is "taken, wait for run_resume" */
	void (*ended)(void *arg, const struct run_end *end);                /* worker, exactly once, last; end's memory is the run's */
};

struct run_spec {
	int64_t account, api_key;
	const char *policy; /* "none" or "signed" */
	const char *path, *content_type, *tensor_header_length, *request_id;
	const void *body; /* must live until front.ended (foreground); copied into the database (background) */
	size_t body_len;
	const char *route, *idempotency_key; /* or NULL */
	struct hash body_digest;
	struct quote *quote;
	const struct payment_claim *payment; /* NULL: from the balance of `account` */
	bool upfront;                        /* settled before the work */
	enum data_mode data;                 /* what goes on chain when it is answered */
};

/* Places the hold and starts the first attempt: front.opened has come, front.ended will come. With an error or a status other than
 * LANE_OK neither comes and nothing happened (LANE_KEY_EXISTS: look the key up). ERR_OVERLOADED: every node is full. */
enum err run_open(struct pay *pay, const struct run_spec *spec, const struct run_front *front, enum lane_status *ret_status) WARN_UNUSED;
/* Places the hold and queues the job. With a payment: it runs once that is settled; ret_job's account is the payer's, *ret_account.
 * ERR_PAYMENT_PENDING: nobody knows whether it was claimed, and with that its money asked for. */
enum err run_open_background(struct pay *pay, struct db *db, const struct run_spec *spec, struct uuid *ret_job, int64_t *ret_account,
			     enum lane_status *ret_status) WARN_UNUSED;
const struct uuid *run_job(const struct run *run);
const struct run_payment *run_payment_of(const struct run *run); /* NULL: paid from a balance. Inside front.begin */

enum cancel_reason { CANCEL_NONE, CANCEL_CLIENT_LEFT, CANCEL_OWNER };
void run_cancel(struct run *run, enum cancel_reason why); /* any thread, before front.ended has been entered */
void run_resume(struct run *run);                         /* likewise */

/* ---- all runs of this process (runs.c) ---- */
struct runs *runs_new(void);
void runs_free(struct runs *runs);
size_t runs_count(struct runs *runs);
/* Takes queued background jobs that a node has room for. On a worker or the janitor, with its own connection. */
void runs_dispatch(struct pay *pay, struct db *db);
/* A payment ended: the run that waits for it, if it is here, goes on. Any thread. `tx`: it is written that this one settled it, and, if
 * `closed`, that the job ended with it; NULL: the run looks for itself. */
void runs_payment_ended(struct pay *pay, const struct uuid *payment, const struct hash *tx, bool closed);
/* One turn of housekeeping: heartbeat, cancel requests, partial receipts that never came, orphans of dead gateways, the queue. */
enum err runs_tick(struct pay *pay, struct db *db) WARN_UNUSED;
/* A node's receipt for a stream that was cut; that receipt->node signed it was checked. ERR_NOT_FOUND: no run waits for it. */
enum err runs_partial_receipt(struct pay *pay, const struct receipt *receipt, const char *text, size_t len) WARN_UNUSED;
#endif
