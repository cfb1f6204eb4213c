/* Shared by jobs.c, links.c, waiters.c and x402.c. The caller is req->principal. */
#ifndef OPGATE_HANDLERS_JOBS_H
#define OPGATE_HANDLERS_JOBS_H

#include "db/jobs.h"
#include "handlers/app.h"

/* Answers with the caller's job as it stands, 200 when it has ended, else 202; or once it has ended, for as long as `Prefer: wait` says. */
enum err jobs_show_or_wait(struct request *req, const struct uuid *job) WARN_UNUSED;
/* The same for a job that this request has made: it is accepted, whether it can be shown or not. */
void jobs_show_accepted(struct request *req, const struct uuid *job);
/* The stored answer of an account's job, as it came from the node but with this status; 0: its own. ERR_NOT_FOUND, without words. */
enum err jobs_answer(struct request *req, const struct uuid *job, int64_t account, int status) WARN_UNUSED;
enum err jobs_output(struct request *req, const struct uuid *job) WARN_UNUSED;
enum err jobs_receipt(struct request *req, const struct uuid *job) WARN_UNUSED;

#endif
