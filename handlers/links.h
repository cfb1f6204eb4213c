/* Links to a job for somebody without an account: whoever knows one may read the job, its output and its receipt, and nothing else.
 * A link is the job's id and 128 bits that only this gateway can make of it, so nothing is stored. The id of the payment would not do:
 * it is public once the payment is settled. */
#ifndef OPGATE_HANDLERS_LINKS_H
#define OPGATE_HANDLERS_LINKS_H

#include "handlers/app.h"

const char *links_make(struct request *req, const struct uuid *job); /* the path, in the arena */

#endif
