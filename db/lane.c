/* See lane.h. One thread, one connection: two claims at once would not see each other in what all payers are served before it is settled. `lock`
 * guards the queue; an operation belongs to its submitter until queued, then to the lane until `done` is posted. */
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/gather.h"
#include "base/mem.h"
#include "base/thread.h"
#include "base/metrics.h"
#include "db/lane.h"

#define GATHER_MS 8 /* payments whose like have come together lately wait that long for each other */
#define OUTCOME_DEADLINE_MS 2000 /* then the submitter is told, who may come again; a thread of his is waiting */

struct op {
	struct op *next;
	enum lane_kind kind;
	json_t *item;
	bool settled;  /* err and status are final */
	deadline_ms deadline; /* to learn the outcome, through lost connections too */
	bool unknown;  /* an earlier try ended without an answer: it may have happened */
	enum err err;
	enum lane_status status;
	int64_t account; /* of a claim */
	sem_t done;
};

struct lane {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct op *head, **tail;
	size_t queued;
	bool stopping;
	struct db *db;
	struct gather together; /* payments */
};

static const struct {
	const char *sql;
	bool opens;  /* it happened if the job is there; whoever waits for it needs to know */
	bool claims; /* and the statement tells the account */
} KINDS[] = {
	[LANE_OPEN] = { "SELECT ord, status FROM job_open($1)", true, false },
	[LANE_CLOSE] = { "SELECT ord, status FROM job_close($1)", false, false },
	[LANE_PAYMENT_CLAIM] = { "SELECT ord, status, value FROM payments_claim($1)", true, true },
	[LANE_PAYMENT_PRODUCE] = { "SELECT ord, status FROM payments_produce($1)", false, false },
	[LANE_PAYMENT_CLOSE] = { "SELECT ord, status FROM payments_close($1)", false, false },
};

static const char *op_id(const struct op *op)
{
	return json_string_value(json_object_get(op->kind == LANE_PAYMENT_CLAIM ? json_object_get(op->item, "job") : op->item, "id"));
}

/* ok, …: final. retry: must be asked alone. */
static bool status_parse(const char *s, enum lane_status *ret)
{
	static const char *const names[] = { [LANE_OK] = "ok", [LANE_KEY_REVOKED] = "key_revoked", [LANE_INSUFFICIENT] = "insufficient",
					     [LANE_KEY_EXISTS] = "key_exists", [LANE_FENCED] = "fenced", [LANE_CLAIMED_BEFORE] = "claimed_before",
					     [LANE_EXPOSED] = "exposed" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(s, names[i])) {
			*ret = (enum lane_status)i;
			return true;
		}
	return false;
}

static void settle(struct op *op, enum err e, enum lane_status status)
{
	op->settled = true;
	op->err = e;
	op->status = status;
}

/* One statement over several operations of one kind; fills what is final. */
static enum err run_batch(struct lane *lane, enum lane_kind kind, struct op **ops, size_t count)
{
	_cleanup_json_ json_t *batch = json_must(json_array());
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	for (size_t i = 0; i < count; i++)
		json_array_append(batch, ops[i]->item);
	db_json(&p, batch);
	FAULT(lane_batch_before);
	e = db_query(lane->db, KINDS[kind].sql, &p, &r);
	FAULT(lane_batch_after);
	if (e)
		return e;
	for (int i = 0; i < db_rows(r); i++) {
		enum lane_status status;
		int64_t ord = db_get_int(r, i, "ord");

		if (ord < 1 || (size_t)ord > count)
			return ERR_INTERNAL;
		if (KINDS[kind].claims)
			ops[ord - 1]->account = db_get_int(r, i, "value");
		if (status_parse(db_get_text(r, i, "status"), &status))
			settle(ops[ord - 1], ERR_OK, status);
	}
	metric_add(METRIC_LANE_BATCHES, 1);
	metric_add(METRIC_LANE_ENTRIES, (int64_t)count);
	return ERR_OK;
}

/* After a lost answer: did it happen? An opening is the existence of the job; a closing is its end by this very item; what was
 * produced is its answer, by this very attempt, or the end that came with its money meanwhile. */
static enum err read_back(struct lane *lane, struct op *op, bool *ret_happened)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_text(&p, op_id(op));
	e = db_query(lane->db, "SELECT account, state, outcome, attempt FROM job WHERE id = $1::uuid", &p, &r);
	if (e)
		return e;
	*ret_happened = db_rows(r) == 1;
	if (*ret_happened && KINDS[op->kind].opens)
		op->account = db_get_int(r, 0, "account");
	else if (*ret_happened)
		*ret_happened = db_get_int(r, 0, "attempt") == json_integer_value(json_object_get(op->item, "attempt")) &&
				((op->kind == LANE_PAYMENT_PRODUCE && !strcmp(db_get_text(r, 0, "state"), "produced")) ||
				 !strcmp(db_get_text(r, 0, "outcome"), json_string_value(json_object_get(op->item, "outcome"))));
	return ERR_OK;
}

static void pause_ms(long ms)
{
	struct timespec t = { .tv_nsec = ms * 1000000L };

	nanosleep(&t, NULL);
}

/* Was it refused because it, or its like, happened before? */
static bool met_another(const struct op *op, enum err e)
{
	return e == ERR_CONFLICT ||
	       (!e && op->settled && (op->status == LANE_KEY_EXISTS || op->status == LANE_CLAIMED_BEFORE || op->status == LANE_FENCED));
}

/* One operation alone, until it is final: through lost connections too, up to its deadline. */
static void run_alone(struct lane *lane, struct op *op)
{
	bool tried = op->unknown; /* it may still be on its way when we ask again */

	metric_add(METRIC_LANE_REPLAYS, 1);
	for (;;) {
		bool happened = false;
		enum err e = op->unknown ? read_back(lane, op, &happened) : ERR_OK;

		if (!e && happened) {
			settle(op, ERR_OK, LANE_OK);
			return;
		}
		if (!e) {
			op->unknown = false;
			e = run_batch(lane, op->kind, &op, 1);
			if (tried && met_another(op, e) && !read_back(lane, op, &happened) && happened) {
				settle(op, ERR_OK, LANE_OK); /* it was our own earlier try that stood in the way */
				return;
			}
		}
		if (!e && op->settled)
			return;
		if (e && e != ERR_DB_DOWN) {
			settle(op, e, LANE_OK);
			return;
		}
		if (!e) { /* "retry" for an operation that was alone: cannot be */
			settle(op, ERR_INTERNAL, LANE_OK);
			return;
		}
		op->unknown = tried = true;
		/* Whoever closes comes again by himself: he must not hold up those behind him. */
		if (!KINDS[op->kind].opens || deadline_passed(op->deadline)) {
			settle(op, ERR_DB_DOWN, LANE_OK);
			return;
		}
		pause_ms(100);
	}
}

static void run_kind(struct lane *lane, enum lane_kind kind, struct op *const *all, size_t count)
{
	struct op *ops[LANE_BATCH_MAX];
	size_t n = 0;
	bool down = false;
	enum err e;

	for (size_t i = 0; i < count; i++)
		if (all[i]->kind == kind)
			ops[n++] = all[i];
	if (!n)
		return;
	e = run_batch(lane, kind, ops, n);
	for (size_t i = 0; i < n; i++) {
		if (e == ERR_DB_DOWN)
			ops[i]->unknown = true;
		if (!ops[i]->settled && down && (!KINDS[kind].opens || deadline_passed(ops[i]->deadline)))
			settle(ops[i], ERR_DB_DOWN, LANE_OK); /* the one before it has looked for all of them */
		if (!ops[i]->settled)
			run_alone(lane, ops[i]);
		down = ops[i]->err == ERR_DB_DOWN;
	}
}

/* The steps of a payment cost the database almost the same for eight as for one, and its chain takes much longer than the wait. Jobs
 * paid from a balance, and a payment that is alone, wait for nobody. Enters and leaves with the lock. */
static void gather(struct lane *lane)
{
	struct timespec until;

	if (!lane->head || lane->head->kind < LANE_PAYMENT_CLAIM || gather_complete(&lane->together, lane->queued))
		return;
	until = cond_until(GATHER_MS);
	while (!gather_complete(&lane->together, lane->queued) && !lane->stopping && pthread_cond_timedwait(&lane->wake, &lane->lock, &until) == 0)
		;
}

static void note_gathered(struct lane *lane, struct op *const *ops, size_t n)
{
	size_t payments = 0;

	for (size_t i = 0; i < n; i++)
		payments += ops[i]->kind >= LANE_PAYMENT_CLAIM;
	if (payments > 0)
		gather_went(&lane->together, payments);
}

static size_t take_batch(struct lane *lane, struct op **ret)
{
	size_t n = 0;

	pthread_mutex_lock(&lane->lock);
	while (!lane->head && !lane->stopping)
		pthread_cond_wait(&lane->wake, &lane->lock);
	gather(lane);
	while (lane->head && n < LANE_BATCH_MAX) {
		ret[n++] = lane->head;
		lane->head = lane->head->next;
	}
	if (!lane->head)
		lane->tail = &lane->head;
	lane->queued -= n;
	note_gathered(lane, ret, n);
	pthread_mutex_unlock(&lane->lock);
	return n;
}

static void *lane_main(void *arg)
{
	struct lane *lane = arg;
	struct op *ops[LANE_BATCH_MAX];
	size_t n;

	thread_name("lane");
	while ((n = take_batch(lane, ops)) > 0) {
		/* Closings first: they free the money that openings may need. */
		run_kind(lane, LANE_CLOSE, ops, n);
		run_kind(lane, LANE_PAYMENT_CLOSE, ops, n);
		run_kind(lane, LANE_PAYMENT_PRODUCE, ops, n);
		run_kind(lane, LANE_OPEN, ops, n);
		run_kind(lane, LANE_PAYMENT_CLAIM, ops, n);
		for (size_t i = 0; i < n; i++)
			sem_post(&ops[i]->done);
	}
	return NULL;
}

struct lane *lane_start(const char *database_url, int64_t statement_deadline_ms)
{
	struct lane *lane = xcalloc(1, sizeof(*lane));

	lane->db = db_new(database_url, statement_deadline_ms);
	lane->tail = &lane->head;
	pthread_mutex_init(&lane->lock, NULL);
	cond_init_mono(&lane->wake);
	if (pthread_create(&lane->thread, NULL, lane_main, lane))
		abort();
	return lane;
}

void lane_stop(struct lane *lane)
{
	if (!lane)
		return;
	pthread_mutex_lock(&lane->lock);
	lane->stopping = true;
	pthread_cond_signal(&lane->wake);
	pthread_mutex_unlock(&lane->lock);
	pthread_join(lane->thread, NULL);
	db_free(lane->db);
	pthread_cond_destroy(&lane->wake);
	pthread_mutex_destroy(&lane->lock);
	free(lane);
}

static enum err submit(struct lane *lane, enum lane_kind kind, json_t *take_item, enum lane_status *ret, int64_t *ret_account)
{
	struct op op = { .kind = kind, .item = take_item, .deadline = deadline_in(OUTCOME_DEADLINE_MS) };
	bool full;

	sem_init(&op.done, 0, 0);
	pthread_mutex_lock(&lane->lock);
	full = lane->queued >= LANE_QUEUE_MAX || lane->stopping;
	if (!full) {
		*lane->tail = &op;
		lane->tail = &op.next;
		lane->queued++;
		if (lane->queued == 1 || gather_complete(&lane->together, lane->queued)) /* those between find it awake, waiting for the last */
			pthread_cond_signal(&lane->wake);
	}
	pthread_mutex_unlock(&lane->lock);
	if (full)
		op.err = ERR_OVERLOADED;
	else
		while (sem_wait(&op.done) != 0)
			;
	sem_destroy(&op.done);
	json_decref(op.item);
	if (!op.err)
		*ret = op.status;
	if (!op.err && ret_account)
		*ret_account = op.account;
	return op.err;
}

enum err lane_submit(struct lane *lane, enum lane_kind kind, json_t *take_item, enum lane_status *ret)
{
	return submit(lane, kind, take_item, ret, NULL);
}

enum err lane_submit_claim(struct lane *lane, json_t *take_item, enum lane_status *ret, int64_t *ret_account)
{
	return submit(lane, LANE_PAYMENT_CLAIM, take_item, ret, ret_account);
}
