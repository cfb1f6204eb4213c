/* What of an answered call goes on chain: OpenGradient's settlement modes, in every spelling its SDKs and documents have used.
 * Called by handlers; pure functions. */
#ifndef OPGATE_PAY_DATA_MODE_H
#define OPGATE_PAY_DATA_MODE_H

#include "base/err.h"

enum data_mode {
	DATA_PRIVATE,    /* nothing */
	DATA_BATCH,      /* the root of a tree over the hashes of many calls */
	DATA_INDIVIDUAL, /* the hashes of this call, and the name of a document with its input and output */
};

/* Upper and lower case are the same, and so are - and _. ERR_BAD_FIELD: none of them. */
enum err data_mode_parse(const char *text, enum data_mode *ret) WARN_UNUSED;
const char *data_mode_name(enum data_mode mode);

#endif
