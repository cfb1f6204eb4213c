/* What the paying side of the gateway works with: built once by main, read-only afterwards except the parts with their own locks. */
#ifndef OPGATE_PAY_PAY_H
#define OPGATE_PAY_PAY_H

#include <stdatomic.h>

#include "crypto/crypto.h"
#include "db/lane.h"
#include "http/http.h"
#include "net/net.h"
#include "relay/health.h"

struct runs;

struct pay {
	struct lane *lane;
	struct net *nodes; /* hostile */
	struct health *health;
	struct http_server *http; /* for http_post: endings run on workers */
	struct runs *runs;        /* what runs in this process */
	struct secret_key gateway_key;
	struct address gateway;
	uint64_t chain_id;
	struct uuid instance;
	uint32_t fee_bps;
	int64_t job_timeout_ms, stall_timeout_ms, node_timeout_ms, instance_timeout_ms;
	int attempts_max;
	atomic_bool draining; /* SIGTERM: what runs goes on, nothing else is begun */
	atomic_bool leaving;  /* the drain's time is up: what still runs is left to another process */
	atomic_bool stopped; /* reconciliation failed: no new paid work */
	/* A payment is to be settled: the settler looks at once. */
	void (*settle_now)(void *arg);
	void *settle_now_arg;
	int64_t payment_wait_ms; /* how long a caller waits for the chain before it gets a status link */
	/* A background job ended here: whoever waits for it can be answered. */
	void (*job_ended)(void *arg, const struct uuid *job);
	void *job_ended_arg;
	/* Something worth a log line happened to a job; the top decides. */
	void (*log_job)(const char *event, const struct uuid *job, const char *detail);
};

#endif
