/* What OpenGradient calls data settlement, as HTTP: the headers that say what of a call goes on chain, waiting for it where that can be
 * said, its status later, and the documents that events name. The work itself is pay/records.c. */
#ifndef OPGATE_HANDLERS_RECORDS_H
#define OPGATE_HANDLERS_RECORDS_H

#include "handlers/paid.h"

/* Reads X-SETTLEMENT-TYPE (or X-SETTLE) and sets p->opengradient and p->spec.data; refuses what cannot be done, before money is spoken of. */
enum err records_read(struct request *req, struct paid *p) WARN_UNUSED;
/* The headers of an answer, when something of it will go on chain. */
void records_headers(struct request *req, const struct uuid *job, enum data_mode mode);
/* The answer is complete but for where its record is: it is finished when that is known, or the wait is over. */
void records_finish(struct request *req, const struct uuid *job);

#endif
