/* What every paid request has in common: which model, under which policy, bounded how, under which Idempotency-Key; and how it is
 * answered: at once, as a stream, or replayed. Called by inference.c and jobs.c. */
#ifndef OPGATE_HANDLERS_PAID_H
#define OPGATE_HANDLERS_PAID_H

#include "handlers/app.h"
#include "pay/run.h"

struct paid {
	const char *model;     /* reference as named by the caller */
	const char *surface;   /* what the route speaks: "chat", "tensor", or NULL when the version decides */
	const char *policy;    /* "none" or "signed" */
	int64_t max_output;    /* -1: not bounded by the caller */
	bool stream;           /* the caller wants events */
	bool background;       /* a job to be queued, not a request to be answered */
	bool opengradient;     /* the request speaks its protocol: it names a settlement mode */
	bool has_max_price;
	struct amount max_price;
	struct run_spec spec;  /* for pay */
	struct quote *quote;   /* in the arena */
};

/* Reads headers, query and (for chat) the body. Errors are recorded on the request. */
enum err paid_read(struct request *req, const char *model_or_null, const char *surface_or_null, struct paid *ret) WARN_UNUSED;
/* Resolves the model, checks the surface and the price, fills the quote. */
enum err paid_quote(struct request *req, struct paid *p) WARN_UNUSED;
/* The last part of that: what a body so long may cost by p->quote->version. */
enum err paid_price(struct request *req, struct paid *p, size_t body_len) WARN_UNUSED;
/* The earlier job of this Idempotency-Key, if any: ERR_OK and *ret_found, or ERR_KEY_REUSED. */
enum err paid_find_replay(struct request *req, const struct paid *p, struct uuid *ret_job, bool *ret_found) WARN_UNUSED;
/* Words for a status other than LANE_OK and LANE_KEY_EXISTS. */
enum err paid_refused(struct request *req, const struct paid *p, enum lane_status status) WARN_UNUSED;
/* Runs it in the foreground: the request is deferred and will be answered. */
enum err paid_run(struct request *req, struct paid *p) WARN_UNUSED;

/* Opgate-Job, and Opgate-Receipt when there is one. */
void paid_headers(struct request *req, const struct uuid *job, const char *receipt);

#endif
