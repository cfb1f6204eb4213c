/* See reconciler.h. The lock guards what was seen last; the rest is the thread's own. */
#include "pay/reconciler.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "pay/turns.h"

#define PAUSE_MS 30000
#define SHARE 10      /* the books are not added up again before this many times as long has passed as it took, */
#define QUICK_MS 500  /* unless it takes less */
#define WAIT_MS 2000  /* of those who ask, while a look takes less */
#define WAITING_MAX 8 /* of them: they are workers */
#define LONG_MS 30000 /* a look that failed after as much is not begun again at once */

struct reconciler {
	struct reconciler_config config;
	struct turns *turns;
	pthread_mutex_t lock;
	pthread_cond_t seen;
	bool stopped;
	uint64_t begun, ended; /* looks */
	int64_t took_ms;       /* the newest that ended */
	enum err err;          /* likewise */
	json_t *body;          /* of the newest that saw something; NULL: none */
	deadline_ms next;      /* look is not before this */
	size_t waiting;        /* who asked */
};

static bool begin(struct reconciler *r)
{
	bool due;

	pthread_mutex_lock(&r->lock);
	due = deadline_passed(r->next);
	r->begun += due;
	pthread_mutex_unlock(&r->lock);
	return due;
}

static void end(struct reconciler *r, enum err e, int64_t took_ms, int64_t pause_ms, json_t *take_body)
{
	pthread_mutex_lock(&r->lock);
	r->ended = r->begun;
	r->err = e;
	r->took_ms = took_ms;
	r->next = deadline_in(pause_ms);
	if (!e) {
		json_decref(r->body);
		r->body = take_body;
	}
	pthread_cond_broadcast(&r->seen);
	pthread_mutex_unlock(&r->lock);
}

static enum err look(const void *arg, struct db *db, bool *ret_busy)
{
	struct reconciler *r = *(struct reconciler *const *)arg;
	int64_t from = clock_mono_ms(), took;
	struct reconciliation seen;
	json_t *body;
	enum err e;

	*ret_busy = false;
	if (!begin(r))
		return ERR_OK;
	e = reconcile(r->config.pay, db, &r->config.with, &seen);
	took = clock_mono_ms() - from;
	if (e) {
		end(r, e, took, took > LONG_MS ? took : 0, NULL);
		return e;
	}
	body = reconciliation_json(&r->config.with, &seen);
	r->config.saw(r->config.arg, &seen);
	reconciliation_done(&seen);
	end(r, ERR_OK, took, seen.books_ms > QUICK_MS ? SHARE * seen.books_ms : 0, body);
	return ERR_OK;
}

struct reconciler *reconciler_start(const struct reconciler_config *config)
{
	struct reconciler *r = xcalloc(1, sizeof(*r));
	const struct turns_config turns = { .database_url = config->database_url, .poll_ms = PAUSE_MS, .cut = true, .turn = look, .log = config->log,
					    .name = "reconciler" };

	r->config = *config;
	r->next = deadline_in(0);
	pthread_mutex_init(&r->lock, NULL);
	cond_init_mono(&r->seen);
	r->turns = turns_start(&turns, &r, sizeof(struct reconciler *));
	turns_kick(r->turns);
	return r;
}

void reconciler_kick(struct reconciler *r)
{
	if (r)
		turns_kick(r->turns);
}

/* Until one that is begun from now on has ended, if that can be expected soon. */
static void wait_for_look(struct reconciler *r)
{
	const uint64_t mine = r->begun + 1;
	const bool soon = (r->took_ms < WAIT_MS || r->err) && deadline_passed(r->next) && r->waiting < WAITING_MAX;
	struct timespec until = cond_until(soon ? WAIT_MS : 0);

	turns_kick(r->turns);
	r->waiting++;
	while (!r->stopped && r->ended < mine && pthread_cond_timedwait(&r->seen, &r->lock, &until) == 0)
		;
	r->waiting--;
}

enum err reconciler_ask(struct reconciler *r, json_t **ret)
{
	enum err e;

	pthread_mutex_lock(&r->lock);
	wait_for_look(r);
	e = r->err ? r->err : r->body ? ERR_OK : ERR_OVERLOADED;
	if (!e)
		*ret = json_must(json_deep_copy(r->body));
	pthread_mutex_unlock(&r->lock);
	return e;
}

void reconciler_stop(struct reconciler *r)
{
	if (!r)
		return;
	turns_stop(r->turns);
	pthread_mutex_lock(&r->lock);
	r->stopped = true;
	pthread_cond_broadcast(&r->seen);
	pthread_mutex_unlock(&r->lock);
}

void reconciler_free(struct reconciler *r)
{
	if (!r)
		return;
	turns_free(r->turns);
	pthread_cond_destroy(&r->seen);
	pthread_mutex_destroy(&r->lock);
	json_decref(r->body);
	free(r);
}
