/* See turns.h. The lock guards the stop and kick flags; everything else is the thread's own. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
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
	pthread_cond_t wake; /* on the monotonic clock: a wall clock set back would stretch the pause */
	bool stopping, kicked;
};

static bool pause_or_stop(struct turns *t, int64_t ms)
{
	struct timespec until;
	bool stop;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (ms % 1000) * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	pthread_mutex_lock(&t->lock);
	while (!t->stopping && !t->kicked && pthread_cond_timedwait(&t->wake, &t->lock, &until) == 0)
		;
	t->kicked = false;
	stop = t->stopping;
	pthread_mutex_unlock(&t->lock);
	return stop;
}

static void *turns_main(void *arg)
{
	struct turns *t = arg;
	struct db *db = db_new(t->database_url, STATEMENT_DEADLINE_MS);
	int64_t failures = 0;

	for (bool busy = false; !pause_or_stop(t, busy ? t->config.busy_ms : t->config.poll_ms);) {
		enum err e = t->config.turn(t->arg, db, &busy);

		if (e && (failures & (failures - 1)) == 0)
			t->config.log(t->config.failed_event, failures, e == ERR_CHAIN_DOWN ? chain_error() : e == ERR_DB_DOWN ? db_error(db) : err_info(e)->code);
		failures = e ? failures + 1 : 0;
		busy = busy && !e;
	}
	db_free(db);
	return NULL;
}

struct turns *turns_start(const struct turns_config *config, const void *arg, size_t arg_size)
{
	struct turns *t = xcalloc(1, sizeof(*t));
	pthread_condattr_t attr;

	t->config = *config;
	t->database_url = xstrdup(config->database_url);
	t->arg = xmalloc(arg_size);
	t->arg_size = arg_size;
	memcpy(t->arg, arg, arg_size);
	pthread_mutex_init(&t->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&t->thread, NULL, turns_main, t))
		panic("no thread can be started");
	return t;
}

static void set_flags(struct turns *t, bool stop)
{
	pthread_mutex_lock(&t->lock);
	t->kicked = true;
	t->stopping |= stop;
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
