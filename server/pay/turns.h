/* A thread that takes turns at something: one turn, a pause, the next; with a database connection of its own. The deposit watcher and
 * the settler are such threads. The pause is measured by the monotonic clock, ends early at a kick, and is short while a turn says
 * that it is busy: what was begun just now may be done at once, what was not done then may take long. */
#ifndef OPGATE_PAY_TURNS_H
#define OPGATE_PAY_TURNS_H

#include "db/db.h"

struct turns;

struct turns_config {
	const char *database_url;
	int64_t poll_ms, busy_ms; /* pause after a turn that was idle or failed; after one that was busy, at most */
	int64_t first_ms;         /* the first busy pause after a kick; each further one is twice as long. 0: all are busy_ms */
	bool cut;                 /* turns_stop does not wait for a statement that is under way */
	int64_t gather_ms;        /* from a kick to its turn at most, when others came with earlier ones, so that they share it */
	enum err (*turn)(const void *arg, struct db *db, bool *ret_busy);
	void (*log)(const char *event, int64_t number, const char *detail);
	const char *name;         /* the thread's; <name>_failed is logged at the first failure in a row, and then ever more rarely */
};

/* `arg` is copied (arg_size bytes) and wiped at the end: it may hold a key. */
struct turns *turns_start(const struct turns_config *config, const void *arg, size_t arg_size);
void turns_kick(struct turns *t); /* take one now; from any thread, until turns_free */
void turns_stop(struct turns *t); /* ends the thread after its turn; kicks still do no harm. Accepts NULL */
void turns_free(struct turns *t); /* after turns_stop. Accepts NULL */

#endif
