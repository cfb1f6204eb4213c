/* The group-commit lane: many threads hand in job openings and closings, one thread commits them in batches of up to
 * LANE_BATCH_MAX with one statement each, and every caller gets its own status. While one batch commits the next gathers,
 * so a lone caller waits for nobody. If a batch fails, its items are replayed one by one, so that one bad item cannot fail
 * its neighbours; after a lost connection the outcome is read back by the job's own id before anything is said. */
#ifndef OPGATE_DB_LANE_H
#define OPGATE_DB_LANE_H

#include "db/db.h"

#define LANE_BATCH_MAX 256
#define LANE_QUEUE_MAX 8192

struct lane;

enum lane_kind { LANE_OPEN, LANE_CLOSE };

enum lane_status { LANE_OK, LANE_KEY_REVOKED, LANE_INSUFFICIENT, LANE_KEY_EXISTS, LANE_FENCED };

struct lane *lane_start(const char *database_url, int64_t statement_deadline_ms);
void lane_stop(struct lane *lane); /* commits what is queued, then ends; accepts NULL */
/* Blocks until committed or known not to be. `item` is the object job_open or job_close takes (db/jobs.c makes it) and is
 * freed here. ERR_OVERLOADED: queue full. ERR_DB_DOWN: the outcome could not be learned in time. */
enum err lane_submit(struct lane *lane, enum lane_kind kind, json_t *take_item, enum lane_status *ret) WARN_UNUSED;

#endif
