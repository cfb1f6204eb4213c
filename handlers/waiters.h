/* Requests that wait for the end of something that others bring about: a background job (Prefer: wait=N), a settlement, a record. One mutex
 * around a list; answered on workers. */
#ifndef OPGATE_HANDLERS_WAITERS_H
#define OPGATE_HANDLERS_WAITERS_H

#include "handlers/app.h"

#define WAIT_SECONDS_MAX 60

struct waited { /* what is waited for */
	bool (*ended)(struct db *db, const struct uuid *id);
	void (*reply)(struct request *req, const struct uuid *id); /* it as it stands, or what of it was still missing; on a worker */
};

struct waiters *waiters_new(void);
void waiters_free(struct waiters *w);
/* Defers the request; it is answered when that ends or the time is up. */
void waiters_add(struct request *req, const struct waited *what, const struct uuid *id, int64_t wait_ms);
/* The same for a request that is deferred already. */
void waiters_hold(struct request *req, const struct waited *what, const struct uuid *id, int64_t wait_ms);
void waiters_notify(struct app *app, const struct uuid *id); /* it ended */
/* Answers those whose time is up, or all of them (at shutdown). Called by the janitor; also looks for what ended elsewhere. */
void waiters_tick(struct app *app, struct db *db, bool all);
/* N of `Prefer: wait=N` in ms, bounded; 0 when absent. */
int64_t waiters_preferred_ms(const struct request *req);

#endif
