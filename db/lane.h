/* The group-commit lane: many threads hand in job openings and closings, and those of x402 payments, one thread commits them in batches of up to
 * LANE_BATCH_MAX with one statement each, and every caller gets its own status. While one batch commits the next gathers,
 * so a lone caller waits for nobody. If a batch fails, its items are replayed one by one, so that one bad item cannot fail
 * its neighbours; after a lost connection the outcome is read back by the job's own id before anything is said. */
#ifndef OPGATE_DB_LANE_H
#define OPGATE_DB_LANE_H

#include "db/db.h"

#define LANE_BATCH_MAX 256
#define LANE_QUEUE_MAX 8192

struct lane;

enum lane_kind { LANE_OPEN, LANE_CLOSE, LANE_PAYMENT_CLAIM, LANE_PAYMENT_PRODUCE, LANE_PAYMENT_CLOSE };

enum lane_status { LANE_OK, LANE_KEY_REVOKED, LANE_INSUFFICIENT, LANE_KEY_EXISTS, LANE_FENCED, LANE_CLAIMED_BEFORE, LANE_EXPOSED };

struct lane *lane_start(const char *database_url, int64_t statement_deadline_ms);
void lane_stop(struct lane *lane); /* commits what is queued, then ends; accepts NULL */
/* Blocks until committed or known not to be. `item` is the object the kind's function takes (db/jobs.c and db/payments.c make it), with
 * the job's id in it, and is freed here. ERR_OVERLOADED: queue full. ERR_DB_DOWN: the outcome could not be learned in time. */
enum err lane_submit(struct lane *lane, enum lane_kind kind, json_t *take_item, enum lane_status *ret) WARN_UNUSED;
/* The same for LANE_PAYMENT_CLAIM: ret_account is the payer's, when the status is LANE_OK. */
enum err lane_submit_claim(struct lane *lane, json_t *take_item, enum lane_status *ret, int64_t *ret_account) WARN_UNUSED;

#endif
