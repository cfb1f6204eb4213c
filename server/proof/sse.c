/* The event-stream reader and the hash of a streamed answer. Called by the relay, the agent and the verdict; one owner per
 * reader, no locks. Everything is decided per finished line, so where the bytes were split cannot matter. */
#include "proof/sse.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define LINE_MAX_BYTES (SSE_EVENT_MAX + 64u) /* the longest data and its field name */

struct sse_reader {
	struct sse_handler handler;
	struct buf line; /* of the line not yet ended */
	struct buf data; /* of the event not yet ended */
	bool has_data;   /* a data field was seen, maybe empty */
	bool after_cr;   /* the line ended with CR: an LF now belongs to it */
	bool first_line; /* a byte order mark may stand before it */
	bool done;
	enum err failed; /* sticky */
	struct sha256 *hash;
	uint64_t events, bytes;
};

struct sse_reader *sse_reader_new(const struct sse_handler *handler)
{
	struct sse_reader *r = xcalloc(1, sizeof(*r));
	if (handler)
		r->handler = *handler;
	r->line = BUF_INIT(LINE_MAX_BYTES);
	r->data = BUF_INIT(SSE_EVENT_MAX);
	r->first_line = true;
	r->hash = sha256_new();
	return r;
}

void sse_reader_free(struct sse_reader *r)
{
	if (!r)
		return;
	buf_done(&r->line);
	buf_done(&r->data);
	sha256_free(r->hash);
	free(r);
}

static enum err event_end(struct sse_reader *r)
{
	if (!r->has_data)
		return ERR_OK;
	r->has_data = false;
	const char *data = r->data.len ? r->data.data : "";
	size_t len = r->data.len;
	enum err e = ERR_OK;
	if (len == 6 && memcmp(data, "[DONE]", 6) == 0) {
		r->done = true;
		if (r->handler.done)
			e = r->handler.done(r->handler.arg);
	} else {
		sha256_update(r->hash, data, len);
		sha256_update(r->hash, "\n", 1);
		r->events++;
		r->bytes += len;
		if (r->handler.event)
			e = r->handler.event(r->handler.arg, data, len);
	}
	buf_reset(&r->data);
	return e;
}

static enum err data_line(struct sse_reader *r, const char *value, size_t len)
{
	enum err e = r->has_data ? buf_append(&r->data, "\n", 1) : ERR_OK;
	if (!e)
		e = buf_append(&r->data, value, len);
	r->has_data = true;
	return e;
}

static enum err line_end(struct sse_reader *r)
{
	const char *p = r->line.len ? r->line.data : "";
	size_t len = r->line.len;
	if (r->first_line && len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
		p += 3;
		len -= 3;
	}
	r->first_line = false;
	if (len == 0)
		return event_end(r);
	const char *colon = memchr(p, ':', len);
	size_t name_len = colon ? (size_t)(colon - p) : len;
	const char *value = colon ? colon + 1 : p + len;
	size_t value_len = (size_t)(p + len - value);
	if (value_len && *value == ' ') {
		value++;
		value_len--;
	}
	if (name_len == 0)
		return r->handler.comment ? r->handler.comment(r->handler.arg, value, value_len) : ERR_OK;
	if (name_len == 4 && memcmp(p, "data", 4) == 0)
		return data_line(r, value, value_len);
	return ERR_OK; /* event, id, retry and unknown fields carry no data */
}

/* Length of the bytes before the next CR or LF. */
static size_t run_len(const char *p, size_t len)
{
	const char *lf = memchr(p, '\n', len);
	if (lf)
		len = (size_t)(lf - p);
	const char *cr = memchr(p, '\r', len);
	return cr ? (size_t)(cr - p) : len;
}

static enum err feed(struct sse_reader *r, const char *p, size_t len)
{
	while (len > 0 && !r->done) {
		if (r->after_cr && *p == '\n') {
			r->after_cr = false;
			p++;
			len--;
			continue;
		}
		r->after_cr = false;
		size_t run = run_len(p, len);
		enum err e = buf_append(&r->line, p, run);
		if (e)
			return e;
		if (run == len)
			return ERR_OK;
		r->after_cr = p[run] == '\r';
		p += run + 1;
		len -= run + 1;
		e = line_end(r);
		buf_reset(&r->line);
		if (e)
			return e;
	}
	return ERR_OK;
}

enum err sse_reader_feed(struct sse_reader *r, const void *p, size_t len)
{
	if (!r->failed)
		r->failed = feed(r, p, len);
	return r->failed;
}

void sse_reader_hash(const struct sse_reader *r, struct hash *ret)
{
	sha256_peek(r->hash, ret);
}

uint64_t sse_reader_events(const struct sse_reader *r)
{
	return r->events;
}

uint64_t sse_reader_bytes(const struct sse_reader *r)
{
	return r->bytes;
}

bool sse_reader_done(const struct sse_reader *r)
{
	return r->done;
}

bool sse_reader_partial(const struct sse_reader *r)
{
	return r->line.len > 0 || r->has_data;
}

enum err sse_frame(const char *data, size_t len, struct buf *out)
{
	const char *end = data + len;
	enum err e = ERR_OK;

	for (;;) {
		const char *nl = memchr(data, '\n', (size_t)(end - data));
		const char *stop = nl ? nl : end;

		if (!e)
			e = buf_puts(out, "data: ");
		if (!e)
			e = buf_append(out, data, (size_t)(stop - data));
		if (!e)
			e = buf_puts(out, "\n");
		if (e || !nl)
			break;
		data = nl + 1;
	}
	return e ? e : buf_puts(out, "\n");
}
