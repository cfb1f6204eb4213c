/* See deposits.h. The thread's only lock guards its own stop flag. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fault.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "pay/deposits.h"

#define STATEMENT_DEADLINE_MS 10000

struct deposits {
	struct deposits_config config;
	char *database_url;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stopping;
};

/* The youngest block we remember that the chain still has, and the cursor back to it. */
static enum err rewind_chain(const struct deposits_config *c, struct db *db, uint64_t cursor)
{
	uint64_t number = cursor;

	for (; number > 0; number--) {
		struct chain_block block;
		struct hash ours;
		enum err e = db_watch_block(db, &c->watch, number, &ours);

		if (e == ERR_NOT_FOUND)
			break; /* older than anything remembered: look again from here */
		if (!e)
			e = chain_block_by_number(c->chain, number, &block);
		if (e && e != ERR_NOT_FOUND)
			return e;
		if (!e && hash_equal(&block.hash, &ours))
			break;
	}
	c->log("chain_reorganised", (int64_t)number + 1, "taking back deposits from this block on");
	return db_watch_rewind(db, &c->watch, cursor, number + 1);
}

static enum err look_at(const struct deposits_config *c, struct db *db, const struct chain_block *block)
{
	struct chain_transfer *transfers = NULL;
	size_t count = 0;
	enum err e = chain_transfers_in_block(c->chain, &c->watch.token, &c->watch.treasury, &block->hash, &transfers, &count);
	_cleanup_free_ struct deposit_seen *seen = xcalloc(count ? count : 1, sizeof(*seen));
	int64_t credited = 0;

	for (size_t i = 0; !e && i < count; i++) {
		seen[i] = (struct deposit_seen){ .tx = transfers[i].tx, .ordinal = transfers[i].ordinal, .from = transfers[i].from };
		/* More than the ledger can hold cannot be real OPG: stop and say so rather than credit something else. */
		e = amount_from_be(transfers[i].value_be, &seen[i].amount);
	}
	free(transfers);
	if (count > 0)
		FAULT(deposit_seen);
	if (!e)
		e = db_watch_advance(db, &c->watch, block->number, &block->hash, seen, count, c->confirmations, &credited);
	if (credited > 0)
		FAULT(deposit_written);
	if (!e && credited > 0) {
		metric_add(METRIC_DEPOSITS, credited);
		c->log("deposits_credited", credited, "");
	}
	return e;
}

/* The endpoint is behind us. When its newest block is one of ours it only lags, and has taken nothing back. */
static enum err step_behind(const struct deposits_config *c, struct db *db, uint64_t head, uint64_t cursor)
{
	struct chain_block block;
	struct hash ours;
	enum err e = db_watch_block(db, &c->watch, head, &ours);

	if (!e)
		e = chain_block_by_number(c->chain, head, &block);
	if (e == ERR_NOT_FOUND)
		return ERR_OK;
	return e ? e : hash_equal(&block.hash, &ours) ? ERR_OK : rewind_chain(c, db, cursor);
}

enum err deposits_step(const struct deposits_config *c, struct db *db, bool *ret_more)
{
	struct chain_block block;
	struct hash ours;
	uint64_t head = 0, cursor = 0;
	bool has_hash = false;
	enum err e = chain_head(c->chain, &head);

	*ret_more = false;
	if (!e)
		e = db_watch_cursor(db, &c->watch, 0, &cursor, &ours, &has_hash);
	if (e)
		return e;
	if (head < cursor || (head == cursor && !has_hash)) /* a shorter chain, or nothing new on one we know nothing of */
		return head < cursor && has_hash ? step_behind(c, db, head, cursor) : ERR_OK;
	e = chain_block_by_number(c->chain, head == cursor ? cursor : cursor + 1, &block);
	if (e)
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	if (has_hash && !hash_equal(head == cursor ? &block.hash : &block.parent, &ours)) {
		*ret_more = true;
		return rewind_chain(c, db, cursor);
	}
	if (head == cursor)
		return ERR_OK;
	*ret_more = cursor + 1 < head;
	return look_at(c, db, &block);
}

static bool wait_or_stop(struct deposits *d, int64_t ms)
{
	struct timespec t;
	bool stop;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (ms % 1000) * 1000000L;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000L;
	}
	pthread_mutex_lock(&d->lock);
	while (!d->stopping && ms > 0 && pthread_cond_timedwait(&d->wake, &d->lock, &t) == 0)
		;
	stop = d->stopping;
	pthread_mutex_unlock(&d->lock);
	return stop;
}

static void *watch_main(void *arg)
{
	struct deposits *d = arg;
	struct db *db = db_new(d->database_url, STATEMENT_DEADLINE_MS);
	int64_t failures = 0;

	for (bool more = false; !wait_or_stop(d, more ? 0 : d->config.poll_ms);) {
		enum err e = deposits_step(&d->config, db, &more);

		if (e == ERR_CONFLICT) { /* another gateway's watcher was first */
			more = false;
			e = ERR_OK;
		}
		/* At the first failure and then ever more rarely. */
		if (e && (failures & (failures - 1)) == 0)
			d->config.log("deposits_failed", failures, e == ERR_CHAIN_DOWN ? chain_error() : e == ERR_DB_DOWN ? db_error(db) : err_info(e)->code);
		failures = e ? failures + 1 : 0;
		if (e)
			more = false;
	}
	db_free(db);
	return NULL;
}

struct deposits *deposits_start(const struct deposits_config *config)
{
	struct deposits *d = xcalloc(1, sizeof(*d));

	d->config = *config;
	d->database_url = xstrdup(config->database_url);
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->wake, NULL);
	if (pthread_create(&d->thread, NULL, watch_main, d))
		abort();
	return d;
}

void deposits_stop(struct deposits *d)
{
	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	d->stopping = true;
	pthread_cond_signal(&d->wake);
	pthread_mutex_unlock(&d->lock);
	pthread_join(d->thread, NULL);
	pthread_cond_destroy(&d->wake);
	pthread_mutex_destroy(&d->lock);
	free(d->database_url);
	free(d);
}
