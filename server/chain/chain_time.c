/* See chain_time.h. */
#include "chain/chain_time.h"

/* A new block is as old as the time since we last looked at most; after a longer silence it says little. */
#define FRESH_MS 15000
/* Blocks tell the time by steps of seconds: that close together, the clock of the machine says the same and says it finer. */
#define AGREE_S 5

void chain_time_saw(struct chain_time *t, const struct chain_block *head, int64_t mono_ms, int64_t wall_ms)
{
	int64_t at = (int64_t)head->timestamp, mono_s = mono_ms / 1000;
	bool known = atomic_load(&t->known), fresh = known && head->number > t->number && mono_ms - t->seen_ms < FRESH_MS;

	if (!known) /* how old the first one is cannot be known: chains may sleep. It is never from the future */
		atomic_store(&t->offset_s, (at > wall_ms / 1000 ? at : wall_ms / 1000) - mono_s);
	else if (fresh || at > mono_s + atomic_load(&t->offset_s))
		atomic_store(&t->offset_s, at - mono_s);
	if (!known || head->number > t->number)
		t->number = head->number;
	t->seen_ms = mono_ms;
	atomic_store(&t->known, true);
}

int64_t chain_time_now_s(const struct chain_time *t, int64_t mono_ms, int64_t wall_ms)
{
	int64_t wall_s = wall_ms / 1000, chain_s = mono_ms / 1000 + atomic_load(&t->offset_s), apart_s = chain_s > wall_s ? chain_s - wall_s : wall_s - chain_s;

	return atomic_load(&t->known) && apart_s > AGREE_S ? chain_s : wall_s;
}
