/* Jobs in the database: opening and closing go through the lane (one statement for many), the rest are single fenced
 * statements here. A write that names (lease, attempt) changes nothing once another gateway has taken the job over. */
#ifndef OPGATE_DB_JOBS_H
#define OPGATE_DB_JOBS_H

#include "db/lane.h"

struct job_open {
	struct uuid id;
	int64_t account, api_key /* 0: none */, version, author;
	struct amount hold;
	const char *policy;
	bool background;     /* true: state queued, attempt 0, body kept; false: running, attempt 1, node set */
	const char *path, *content_type, *tensor_header_length /* or NULL */;
	struct hash request_hash;
	const void *body; /* background only */
	size_t body_len;
	int64_t input_units_max, output_units_max;
	struct amount royalty_input, royalty_output, ask_input_max, ask_output_max;
	int64_t fee_bps, timeout_ms;
	struct uuid lease;
	struct address node; /* not background */
	int64_t operator_;
	struct amount ask_input, ask_output;
	const char *route, *idempotency_key /* or NULL */;
	struct hash body_digest;
};
json_t *db_job_open_item(const struct job_open *j); /* what job_open takes; new reference */
enum err db_job_open(struct lane *lane, const struct job_open *j, enum lane_status *ret) WARN_UNUSED;

struct job_close {
	struct uuid id;
	int64_t account;
	bool leased;
	struct uuid lease; /* expected */
	int attempt;       /* expected */
	const char *state, *outcome;
	struct amount ask, royalty, fee; /* zero unless state is settled */
	const char *error;               /* or NULL */
	/* the answer, where there is one */
	int response_status; /* 0: none */
	const char *response_type, *response_header_length; /* the latter of a binary tensor answer; or NULL */
	const struct hash *response_hash;
	const void *response_body; /* stored when not NULL */
	size_t response_len;
	const char *receipt, *verdict;
	json_t *verdict_report; /* borrowed */
	int64_t input_units, output_units; /* -1: none */
};
json_t *db_job_close_item(const struct job_close *c);
enum err db_job_close(struct lane *lane, const struct job_close *c, enum lane_status *ret) WARN_UNUSED;

/* A job as everyone reads it. Strings live in the row's result: free with db_job_row_done. */
struct job_row {
	struct db_result *r;
	int row;
	struct uuid id;
	int64_t account, version, author, operator_, fee_bps;
	const char *state, *outcome, *policy, *path, *content_type, *tensor_header_length, *receipt, *error, *verdict;
	bool background, cancel_requested, leased, has_node, has_response_hash, has_units;
	struct uuid lease;
	int attempt;
	struct hash request_hash, response_hash, digest;
	struct address node;
	struct amount hold, charged, ask, royalty, fee, royalty_input, royalty_output, ask_input, ask_output, ask_input_max, ask_output_max;
	int64_t input_units_max, output_units_max, input_units, output_units, left_ms, created_at /* wall ms */;
	int response_status;
};
void db_job_row_done(struct job_row *j);
#define _cleanup_job_row_ __attribute__((cleanup(db_job_row_done)))
/* account 0: whoever owns it (for the gateway itself). ERR_NOT_FOUND. */
enum err db_job_get(struct db *db, const struct uuid *id, int64_t account, struct job_row *ret) WARN_UNUSED;
json_t *db_job_json(const struct job_row *j); /* as GET /v1/jobs/{id} answers */
enum err db_job_list(struct db *db, int64_t account, const struct uuid *after /* or NULL */, int limit, json_t **ret) WARN_UNUSED;
/* The stored answer; the caller frees. ERR_NOT_FOUND when none is stored. */
struct job_output {
	char *body; /* free it */
	size_t len;
	char type[128], header_length[24]; /* the latter "" when it has none */
	int status;
};
enum err db_job_output(struct db *db, const struct uuid *id, int64_t account, struct job_output *ret) WARN_UNUSED;
enum err db_job_body(struct db *db, const struct uuid *id, char **ret, size_t *ret_len) WARN_UNUSED;

/* queued → running with a new attempt on this node. ERR_CONFLICT: somebody else has it, or it ended. */
enum err db_job_claim(struct db *db, const struct uuid *id, const struct uuid *lease, int attempt_now, const struct address *node, int64_t operator_,
		      struct amount ask_input, struct amount ask_output) WARN_UNUSED;
/* running → running: the attempt failed (why), the next one goes to another node. ERR_CONFLICT: fenced. */
enum err db_job_retry(struct db *db, const struct uuid *id, const struct uuid *lease, int attempt_now, const char *failure, const struct address *node,
		      int64_t operator_, struct amount ask_input, struct amount ask_output) WARN_UNUSED;
/* running → queued: no node for now. */
enum err db_job_requeue(struct db *db, const struct uuid *id, const struct uuid *lease, int attempt_now, const char *failure) WARN_UNUSED;
/* running → produced, with the answer and the finding; the capture follows. Takes what job_close would store. */
enum err db_job_produce(struct db *db, const struct job_close *c) WARN_UNUSED;
/* Asks for cancellation; ret_state is the state at that moment. ERR_NOT_FOUND. */
enum err db_job_cancel(struct db *db, const struct uuid *id, int64_t account, char ret_state[16]) WARN_UNUSED;

/* Whose answer a key holds. ERR_NOT_FOUND. */
enum err db_idempotency_get(struct db *db, int64_t account, const char *route, const char *key, struct uuid *ret_job, struct hash *ret_digest) WARN_UNUSED;

/* ---- leases ---- */
enum err db_instance_beat(struct db *db, const struct uuid *instance) WARN_UNUSED;
/* Ids of queued background jobs, at most 16 of one version: first the oldest of each, then the second of each, and so on, so that
 * versions without room do not hide the others. */
enum err db_jobs_queued(struct db *db, struct uuid *ret, size_t max, size_t *ret_count) WARN_UNUSED;
/* Takes over up to max jobs whose gateway is silent, or that are past their deadline by grace: new lease, attempt + 1 so that the
 * old owner is fenced. The caller then resolves each by its state. */
enum err db_jobs_reap(struct db *db, const struct uuid *me, int64_t instance_timeout_ms, struct uuid *ret, size_t max, size_t *ret_count) WARN_UNUSED;

#endif
