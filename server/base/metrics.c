/* The metrics table. Written from every thread with relaxed atomics, rendered by the /metrics handler; no locks. */
#include "base/metrics.h"

#include <inttypes.h>
#include <stdatomic.h>

static _Atomic int64_t values[METRIC_COUNT];

static const struct {
	const char *name, *type, *help;
} rows[METRIC_COUNT] = {
#define X(sym, name, type, help) [METRIC_##sym] = { name, type, help },
	METRICS_TABLE(X)
#undef X
};

void metric_add(enum metric m, int64_t n)
{
	atomic_fetch_add_explicit(&values[m], n, memory_order_relaxed);
}

void metric_set(enum metric m, int64_t value)
{
	atomic_store_explicit(&values[m], value, memory_order_relaxed);
}

int64_t metric_get(enum metric m)
{
	return atomic_load_explicit(&values[m], memory_order_relaxed);
}

enum err metrics_render(struct buf *out)
{
	for (int m = 0; m < METRIC_COUNT; m++) {
		enum err e = buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %" PRId64 "\n", rows[m].name, rows[m].help,
					rows[m].name, rows[m].type, rows[m].name, metric_get((enum metric)m));
		if (e)
			return e;
	}
	return ERR_OK;
}
