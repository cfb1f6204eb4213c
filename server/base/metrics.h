/* Counters and gauges for /metrics: one table, relaxed atomics, no labels that name tenants. */
#ifndef OPGATE_BASE_METRICS_H
#define OPGATE_BASE_METRICS_H

#include <stdint.h>

#include "base/buf.h"

/* symbol, Prometheus name, type, help */
#define METRICS_TABLE(X) \
	X(REQUESTS, "opgate_http_requests_total", "counter", "HTTP requests answered") \
	X(REQUESTS_5XX, "opgate_http_5xx_total", "counter", "HTTP requests answered with 5xx") \
	X(REQUESTS_REFUSED, "opgate_http_refused_total", "counter", "HTTP requests refused by admission (503)") \
	X(JOBS_STARTED, "opgate_jobs_started_total", "counter", "jobs whose hold was placed") \
	X(JOBS_SETTLED, "opgate_jobs_settled_total", "counter", "jobs captured") \
	X(JOBS_VOIDED, "opgate_jobs_voided_total", "counter", "jobs that ended without capture") \
	X(JOBS_RUNNING, "opgate_jobs_running", "gauge", "jobs now running in this process") \
	X(VERDICT_FAILED, "opgate_verdict_failed_total", "counter", "receipts that failed verification") \
	X(LANE_BATCHES, "opgate_lane_batches_total", "counter", "ledger batches committed") \
	X(LANE_ENTRIES, "opgate_lane_entries_total", "counter", "ledger operations committed") \
	X(LANE_REPLAYS, "opgate_lane_replays_total", "counter", "ledger batches replayed one by one") \
	X(DB_ERRORS, "opgate_db_errors_total", "counter", "database errors and deadline overruns") \
	X(DEPOSITS, "opgate_deposits_credited_total", "counter", "deposits credited") \
	X(CLIENT_GONE, "opgate_client_gone_total", "counter", "clients that left before their answer") \
	X(NODE_FAILURES, "opgate_node_failures_total", "counter", "attempts a node failed") \
	X(SETTLER_GAS, "opgate_settler_gas_wei", "gauge", "what the settling key has for gas, at most 2^63-1; 0 before it is known") \
	X(WORKER_QUEUE, "opgate_worker_queue", "gauge", "requests waiting for a worker") \
	X(USD_RATES, "opgate_usd_rates_total", "counter", "OPG/USD rates that were accepted") \
	X(USD_RATES_REFUSED, "opgate_usd_rates_refused_total", "counter", "times the sources gave no rate, or one that jumps") \
	X(RECONCILED, "opgate_reconciliation_ok", "gauge", "1 when the last reconciliation held")

enum metric {
#define X(sym, name, type, help) METRIC_##sym,
	METRICS_TABLE(X)
#undef X
	METRIC_COUNT
};

void metric_add(enum metric m, int64_t n);
void metric_set(enum metric m, int64_t value);
int64_t metric_get(enum metric m);
enum err metrics_render(struct buf *out) WARN_UNUSED; /* Prometheus text format 0.0.4 */

#endif
