/* The chain's clock, as far as its blocks tell. A contract judges the deadlines of an authorization by the time of the block it is
 * used in, so whoever accepts one must judge by the same clock and not by the machine's, which may be wrong. One thread tells what
 * it saw (the settler), all may ask; atomics, no locks. */
#ifndef OPGATE_CHAIN_CHAIN_TIME_H
#define OPGATE_CHAIN_CHAIN_TIME_H

#include <stdatomic.h>

#include "chain/chain.h"

struct chain_time {
	_Atomic int64_t offset_s; /* chain's time less the monotonic clock's */
	_Atomic bool known;
	uint64_t number; /* the newest block seen, and when: the teller's own */
	int64_t seen_ms;
};

/* The newest block at this moment of the two clocks. */
void chain_time_saw(struct chain_time *t, const struct chain_block *head, int64_t mono_ms, int64_t wall_ms);
int64_t chain_time_now_s(const struct chain_time *t, int64_t mono_ms, int64_t wall_ms); /* s since 1970; the wall clock's while it agrees with what was seen, or nothing was */

#endif
