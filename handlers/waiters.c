/* See waiters.h. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "handlers/waiters.h"

struct waiter {
	struct waiter *next;
	struct request *req;
	const struct waited *what;
	struct uuid id;
	deadline_ms until;
};

struct waiters {
	pthread_mutex_t lock;
	struct waiter *head; /* bounded by the connections */
};

struct waiters *waiters_new(void)
{
	struct waiters *w = xcalloc(1, sizeof(*w));

	pthread_mutex_init(&w->lock, NULL);
	return w;
}

void waiters_free(struct waiters *w)
{
	if (!w)
		return;
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* On a worker. */
static void answer(void *arg)
{
	struct waiter *w = arg;

	w->what->reply(w->req, &w->id);
	request_finish(w->req);
	free(w);
}

static bool due(const struct waiter *w, const struct uuid *id, bool all)
{
	return all || (id ? !memcmp(&w->id, id, sizeof(*id)) : deadline_passed(w->until) || request_gone(w->req));
}

/* Takes those that are due out of the list and hands them to workers. */
static void release(struct app *app, const struct uuid *id, bool all)
{
	struct waiter *ready = NULL;

	pthread_mutex_lock(&app->waiters->lock);
	for (struct waiter **link = &app->waiters->head; *link;) {
		struct waiter *w = *link;

		if (due(w, id, all)) {
			*link = w->next;
			w->next = ready;
			ready = w;
		} else {
			link = &w->next;
		}
	}
	pthread_mutex_unlock(&app->waiters->lock);
	while (ready) {
		struct waiter *w = ready;

		ready = w->next;
		http_post(app->http, answer, w);
	}
}

void waiters_hold(struct request *req, const struct waited *what, const struct uuid *id, int64_t wait_ms)
{
	struct app *app = request_app(req);
	struct waiter *w = xcalloc(1, sizeof(*w));
	struct db *db = request_db(req);
	struct uuid own = *id; /* theirs may be gone with the request */

	w->req = req;
	w->what = what;
	w->id = own;
	w->until = deadline_in(wait_ms);
	pthread_mutex_lock(&app->waiters->lock);
	w->next = app->waiters->head;
	app->waiters->head = w;
	pthread_mutex_unlock(&app->waiters->lock);
	/* It may have ended before the list knew of us; from here on the request belongs to whoever takes the waiter. */
	if (what->ended(db, &own))
		waiters_notify(app, &own);
}

void waiters_add(struct request *req, const struct waited *what, const struct uuid *id, int64_t wait_ms)
{
	request_defer(req);
	waiters_hold(req, what, id, wait_ms);
}

void waiters_notify(struct app *app, const struct uuid *id)
{
	release(app, id, false);
}

void waiters_tick(struct app *app, struct db *db, bool all)
{
	const struct waited *what[64];
	struct uuid waiting[64];
	size_t n = 0;

	release(app, NULL, all);
	pthread_mutex_lock(&app->waiters->lock);
	for (struct waiter *w = app->waiters->head; w && n < 64; w = w->next, n++) {
		what[n] = w->what;
		waiting[n] = w->id;
	}
	pthread_mutex_unlock(&app->waiters->lock);
	/* What another gateway ended. */
	for (size_t i = 0; i < n; i++)
		if (what[i]->ended(db, &waiting[i]))
			waiters_notify(app, &waiting[i]);
}

int64_t waiters_preferred_ms(const struct request *req)
{
	const char *prefer = request_header(req, "Prefer");
	int64_t seconds = 0;

	if (!prefer)
		return 0;
	for (; *prefer; prefer++) {
		if (strncasecmp(prefer, "wait", 4) != 0)
			continue;
		prefer += 4;
		if (*prefer != '=')
			return *prefer == 0 || *prefer == ',' ? WAIT_SECONDS_MAX * 1000 : 0;
		for (prefer++; *prefer >= '0' && *prefer <= '9' && seconds <= WAIT_SECONDS_MAX; prefer++)
			seconds = seconds * 10 + (*prefer - '0');
		return (seconds < WAIT_SECONDS_MAX ? seconds : WAIT_SECONDS_MAX) * 1000;
	}
	return 0;
}
