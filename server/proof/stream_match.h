/* Does a saved event stream hold exactly the events of a receipt? Called by the verdict only.
 * The hash covers the data of the events. What it does not cover may only be what carries nothing: line ends of one kind,
 * comments, [DONE]. Anything else in the file was put there by somebody else. */
#ifndef OPGATE_PROOF_STREAM_MATCH_H
#define OPGATE_PROOF_STREAM_MATCH_H

#include <stddef.h>

#include "base/hex.h"

enum stream_match {
	STREAM_SAME,
	STREAM_OTHER,         /* other events, or no event stream at all */
	STREAM_STRAY,         /* the right events, and bytes that are no part of an answer */
	STREAM_OTHER_RECEIPT, /* the right events, and a receipt in a comment that is not the given one */
};

enum stream_match stream_match(const void *body, size_t len, const struct hash *want, const char *receipt_text, size_t receipt_len);

#endif
