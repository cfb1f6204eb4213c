/* What the files of the facilitator share. */
#ifndef OPGATE_HANDLERS_FACILITATOR_H
#define OPGATE_HANDLERS_FACILITATOR_H

#include "handlers/app.h"

/* Answers with the job of a statement (settlement-batch-…, settlement-individual-…); ERR_NOT_FOUND when there is none of that name. */
enum err settle_data_job(struct request *req, const char *id) WARN_UNUSED;

#endif
