/* See turns.h. The lock guards the stop flag and the kicks; everything else is the thread's own. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/gather.h"
#include "base/mem.h"
#include "base/thread.h"
#include "chain/chain.h"
#include "crypto/crypto.h"
#include "pay/turns.h"

#define STATEMENT_DEADLINE_MS 10000

struct turns {
	struct turns_config config;
	char *database_url;
	void *arg;
	size_t arg_size;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stopping;
	atomic_bool leaving; /* the same, for a statement that is under way */
	unsigned kicks; /* since the last turn */
	struct gather together; /* kicks */
};

static bool pause_or_stop(struct turns *t, int64_t ms, bool *ret_kicked)
{
	struct timespec until = cond_until(ms);
	bool stop;

	pthread_mutex_lock(&t->lock);
	while (!t->stopping && t->kicks == 0 && pthread_cond_timedwait(&t->wake, &t->lock, &until) == 0)
		;
	until = cond_until(t->config.gather_ms);
	while (!t->stopping && t->kicks > 0 && !gather_complete(&t->together, t->kicks) && pthread_cond_timedwait(&t->wake, &t->lock, &until) == 0)
		;
	*ret_kicked = t->kicks > 0;
	if (t->kicks > 0)
		gather_went(&t->together, t->kicks);
	t->kicks = 0;
	stop = t->stopping;
	pthread_mutex_unlock(&t->lock);
	return stop;
}

static int64_t busy_pause(const struct turns_config *c, int64_t last, bool kicked)
{
	int64_t first = c->first_ms > 0 && c->first_ms < c->busy_ms ? c->first_ms : c->busy_ms;

	return kicked || last == 0 ? first : 2 * last < c->busy_ms ? 2 * last : c->busy_ms;
}

static void *turns_main(void *arg)
{
	struct turns *t = arg;
	struct db *db = db_new(t->database_url, STATEMENT_DEADLINE_MS);
	int64_t failures = 0, busy_ms = 0;
	bool busy = false, kicked = false;
	char failed[64];

	snprintf(failed, sizeof(failed), "%s_failed", t->config.name);
	thread_name(t->config.name);
	if (t->config.cut)
		db_abandon_on(db, &t->leaving);
	while (!pause_or_stop(t, busy ? busy_ms : t->config.poll_ms, &kicked)) {
		enum err e = t->config.turn(t->arg, db, &busy);

		if (e && (failures & (failures - 1)) == 0)
			t->config.log(failed, failures, e == ERR_CHAIN_DOWN ? chain_error() : e == ERR_DB_DOWN ? db_error(db) : err_info(e)->code);
		failures = e ? failures + 1 : 0;
		busy = busy && !e;
		busy_ms = busy ? busy_pause(&t->config, busy_ms, kicked) : 0;
	}
	db_free(db);
	return NULL;
}

struct turns *turns_start(const struct turns_config *config, const void *arg, size_t arg_size)
{
	struct turns *t = xcalloc(1, sizeof(*t));

	t->config = *config;
	t->database_url = xstrdup(config->database_url);
	t->arg = xmalloc(arg_size);
	t->arg_size = arg_size;
	memcpy(t->arg, arg, arg_size);
	pthread_mutex_init(&t->lock, NULL);
	cond_init_mono(&t->wake);
	if (pthread_create(&t->thread, NULL, turns_main, t))
		panic("no thread can be started");
	return t;
}

static void set_flags(struct turns *t, bool stop)
{
	pthread_mutex_lock(&t->lock);
	t->kicks++;
	t->stopping |= stop;
	if (stop || t->kicks == 1 || gather_complete(&t->together, t->kicks)) /* those between find it awake, waiting for the last */
		pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->lock);
}

void turns_kick(struct turns *t)
{
	set_flags(t, false);
}

void turns_stop(struct turns *t)
{
	if (!t)
		return;
	atomic_store(&t->leaving, true);
	set_flags(t, true);
	pthread_join(t->thread, NULL);
}

void turns_free(struct turns *t)
{
	if (!t)
		return;
	pthread_cond_destroy(&t->wake);
	pthread_mutex_destroy(&t->lock);
	crypto_wipe(t->arg, t->arg_size);
	free(t->arg);
	free(t->database_url);
	free(t);
}
