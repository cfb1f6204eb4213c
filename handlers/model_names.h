/* Which version a caller means by a model's name, and who offers it. Besides author/name and digests, which the registry knows, there are names without
 * an author: OpenGradient's SDKs send nothing else, because they cut off what stands before the first slash. */
#ifndef OPGATE_HANDLERS_MODEL_NAMES_H
#define OPGATE_HANDLERS_MODEL_NAMES_H

#include "handlers/app.h"
#include "pay/quote.h"

/* A name without an author is one of the operator's aliases (setting model_aliases), or the one published model that is called so: of
 * two of that name neither is chosen, since nobody may be served, and pay for, what he did not mean. ERR_MODEL_NOT_FOUND has words. */
enum err model_names_find(struct request *req, const char *name, struct quote *ret) WARN_UNUSED;
/* NULL, or the first entry of the setting that is no `name=author/model`. */
const char *model_names_bad(const char *aliases);

#endif
