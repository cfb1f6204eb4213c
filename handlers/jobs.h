/* Shared by jobs.c and waiters.c. */
#ifndef OPGATE_HANDLERS_JOBS_H
#define OPGATE_HANDLERS_JOBS_H

#include "db/jobs.h"
#include "handlers/app.h"

/* Answers with the caller's job as it stands: 200 when it has ended, else 202. */
void jobs_reply(struct request *req, const struct uuid *job);

#endif
