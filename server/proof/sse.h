/* Incremental reader of text/event-stream (WHATWG): any split of the bytes gives the same events. Bounded: one event's data
 * may have at most SSE_EVENT_MAX bytes. Also the running response hash of a streamed answer: SHA-256 over each event's data
 * followed by LF, in order, without comments and without [DONE]. After [DONE] nothing counts: no client reads on, so what
 * follows is neither handed out nor hashed. */
#ifndef OPGATE_PROOF_SSE_H
#define OPGATE_PROOF_SSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "crypto/crypto.h"

#define SSE_EVENT_MAX (1u << 20)

struct sse_reader; /* opaque, heap */

struct sse_handler {
	/* Each may be NULL. Data lines joined by LF; `[DONE]` comes as done. What they return other than ERR_OK ends the reading. */
	enum err (*event)(void *arg, const char *data, size_t len);
	enum err (*comment)(void *arg, const char *text, size_t len); /* without ':' and one leading space */
	enum err (*done)(void *arg); /* data: [DONE] */
	void *arg;
};

struct sse_reader *sse_reader_new(const struct sse_handler *handler);
enum err sse_reader_feed(struct sse_reader *r, const void *p, size_t len) WARN_UNUSED; /* ERR_LIMIT, or what a handler returned; then the same for ever */
/* The hash over the events so far, the number of them and the sum of their data bytes. */
void sse_reader_hash(const struct sse_reader *r, struct hash *ret);
uint64_t sse_reader_events(const struct sse_reader *r);
uint64_t sse_reader_bytes(const struct sse_reader *r);
bool sse_reader_done(const struct sse_reader *r); /* [DONE] was seen */
bool sse_reader_partial(const struct sse_reader *r); /* bytes of an unfinished line or event are waiting */
void sse_reader_free(struct sse_reader *r); /* accepts NULL */

/* One event as it goes on the wire: a "data: " line for each line of `data`, then the blank line. ERR_LIMIT: appended in part. */
enum err sse_frame(const char *data, size_t len, struct buf *out) WARN_UNUSED;

#endif
