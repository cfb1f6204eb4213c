/* The heap of calls by the time they must be looked at again (deadline or stall). Called by reactor.c only, on the reactor's
 * thread; locks nothing. We keep our own clock because curl's runs neither for calls that wait for a connection slot nor for
 * paused ones. */
#include "base/mem.h"
#include "net/internal.h"

static void timers_put(struct timers *t, size_t pos, struct net_call *call)
{
	t->v[pos] = call;
	call->timer_pos = pos;
}

static void timers_up(struct timers *t, size_t pos)
{
	struct net_call *call = t->v[pos];

	while (pos > 0) {
		size_t parent = (pos - 1) / 2;

		if (t->v[parent]->wake <= call->wake)
			break;
		timers_put(t, pos, t->v[parent]);
		pos = parent;
	}
	timers_put(t, pos, call);
}

static void timers_down(struct timers *t, size_t pos)
{
	struct net_call *call = t->v[pos];

	for (;;) {
		size_t child = 2 * pos + 1;

		if (child >= t->count)
			break;
		if (child + 1 < t->count && t->v[child + 1]->wake < t->v[child]->wake)
			child++;
		if (call->wake <= t->v[child]->wake)
			break;
		timers_put(t, pos, t->v[child]);
		pos = child;
	}
	timers_put(t, pos, call);
}

void timers_add(struct timers *t, struct net_call *call)
{
	if (t->count == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 64;
		t->v = xrealloc(t->v, t->cap * sizeof(*t->v));
	}
	timers_put(t, t->count++, call);
	timers_up(t, call->timer_pos);
}

void timers_moved(struct timers *t, struct net_call *call)
{
	timers_up(t, call->timer_pos);
	timers_down(t, call->timer_pos);
}

void timers_remove(struct timers *t, struct net_call *call)
{
	size_t pos = call->timer_pos;
	struct net_call *last = t->v[--t->count];

	if (last == call)
		return;
	timers_put(t, pos, last);
	timers_moved(t, last);
}

struct net_call *timers_first(const struct timers *t)
{
	return t->count ? t->v[0] : NULL;
}

void timers_free(struct timers *t)
{
	mem_cleanup_free(&t->v);
	*t = (struct timers){ 0 };
}
