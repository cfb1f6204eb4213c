/* Event streams from any node: no input may crash, and where the bytes are split must not matter. The first byte says how
 * they are split. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "proof/sse.h"
#include "proof/stream_match.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
	struct hash out; /* over everything handed out */
	struct hash hash;
	uint64_t events, bytes, done;
	enum err e;
};

struct sink {
	struct sha256 *s;
};

static enum err note(void *arg, char kind, const char *p, size_t len)
{
	struct sink *sink = arg;
	sha256_update(sink->s, &kind, 1);
	sha256_update(sink->s, &len, sizeof(len));
	sha256_update(sink->s, p, len);
	return ERR_OK;
}

static enum err on_event(void *arg, const char *data, size_t len)
{
	return note(arg, 'E', data, len);
}

static enum err on_comment(void *arg, const char *text, size_t len)
{
	return note(arg, 'C', text, len);
}

static enum err on_done(void *arg)
{
	return note(arg, 'D', "", 0);
}

static struct outcome read_in(const uint8_t *p, size_t len, size_t piece)
{
	struct outcome o;
	memset(&o, 0, sizeof(o));
	struct sink sink = { sha256_new() };
	struct sse_reader *r = sse_reader_new(&(struct sse_handler){ on_event, on_comment, on_done, &sink });
	for (size_t at = 0; at < len && !o.e; at += piece)
		o.e = sse_reader_feed(r, p + at, len - at < piece ? len - at : piece);
	sse_reader_hash(r, &o.hash);
	o.events = sse_reader_events(r);
	o.bytes = sse_reader_bytes(r);
	o.done = sse_reader_done(r);
	sse_reader_free(r);
	sha256_final(sink.s, &o.out);
	sha256_free(sink.s);
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	crypto_init();
	if (size == 0)
		return 0;
	size_t piece = 1 + data[0];
	struct outcome whole = read_in(data + 1, size - 1, size), split = read_in(data + 1, size - 1, piece);
	if (!hash_equal(&whole.out, &split.out) || !hash_equal(&whole.hash, &split.hash) || whole.events != split.events ||
	    whole.bytes != split.bytes || whole.done != split.done || whole.e != split.e)
		panic("fuzz_sse: a split changed the events");
	if (whole.bytes > size)
		panic("fuzz_sse: more came out than went in");
	(void)stream_match(data + 1, size - 1, &whole.hash, "", 0);
	return 0;
}
