/* Waiting for company: those who came together lately may come together again, and one step for all of them costs little more than for
 * one. Who is alone waits for nobody. The owner's lock guards it, and the owner bounds the wait. */
#ifndef OPGATE_BASE_GATHER_H
#define OPGATE_BASE_GATHER_H

#include <stdbool.h>
#include <stddef.h>

struct gather {
	size_t quarters; /* of how many came; one is forgotten each time fewer do */
};

static inline bool gather_complete(const struct gather *g, size_t here)
{
	return 4 * here >= g->quarters;
}

/* So many went together. */
static inline void gather_went(struct gather *g, size_t count)
{
	g->quarters = gather_complete(g, count) ? 4 * count : g->quarters - 1;
}

#endif
