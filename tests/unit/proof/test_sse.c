/* The event-stream reader: the WHATWG cases, any split the same, bounds, the hash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "proof/sse.h"

/* What a reader handed out, as text: E<data>| C<comment>| D| */
struct trace {
	struct buf out;
	enum err answer; /* what the handlers return */
};

static enum err note(struct trace *t, const char *kind, const char *p, size_t len)
{
	assert_int_equal(buf_puts(&t->out, kind), ERR_OK);
	assert_int_equal(buf_append(&t->out, p, len), ERR_OK);
	assert_int_equal(buf_puts(&t->out, "|"), ERR_OK);
	return t->answer;
}

static enum err on_event(void *arg, const char *data, size_t len)
{
	return note(arg, "E", data, len);
}

static enum err on_comment(void *arg, const char *text, size_t len)
{
	return note(arg, "C", text, len);
}

static enum err on_done(void *arg)
{
	return note(arg, "D", "", 0);
}

struct outcome {
	struct trace trace;
	struct hash hash;
	uint64_t events, bytes;
	bool done, partial;
	enum err err;
};

static void outcome_of(struct sse_reader *r, struct outcome *o)
{
	sse_reader_hash(r, &o->hash);
	o->events = sse_reader_events(r);
	o->bytes = sse_reader_bytes(r);
	o->done = sse_reader_done(r);
	o->partial = sse_reader_partial(r);
	sse_reader_free(r);
}

static struct sse_reader *reader_for(struct outcome *o)
{
	memset(o, 0, sizeof(*o));
	o->trace.out = BUF_INIT(1 << 22);
	assert_int_equal(buf_puts(&o->trace.out, ""), ERR_OK);
	return sse_reader_new(&(struct sse_handler){ on_event, on_comment, on_done, &o->trace });
}

static const struct { const char *in, *out; } CASES[] = {
	{ "data: a\n\n", "Ea|" },
	{ "data:a\n\n", "Ea|" },
	{ "data:  a\n\n", "E a|" },
	{ "data: a\r\n\r\n", "Ea|" },
	{ "data: a\r\r", "Ea|" },
	{ "data: a\r\n\n", "Ea|" },
	{ "data: a\n\r\n", "Ea|" },
	{ "data: a\n\rdata: b\n\r", "Ea|Eb|" },
	{ "data: a\ndata: b\n\n", "Ea\nb|" },
	{ "data: a\r\ndata: b\r\n\r\n", "Ea\nb|" },
	{ "data: a\rdata: b\r\r", "Ea\nb|" },
	{ "data: a\ndata\ndata:\n\n", "Ea\n\n|" },
	{ "data\n\n", "E|" },
	{ "data:\n\n", "E|" },
	{ "\n\n\n", "" },
	{ "data: a\n", "" },
	{ "data: a\n\ndata: cut", "Ea|" },
	{ "\xef\xbb\xbf" "data: a\n\n", "Ea|" },
	{ "\xef\xbb\xbf\xef\xbb\xbf" "data: a\n\n", "" },
	{ "data: x\n\n\xef\xbb\xbf" "data: a\n\n", "Ex|" },
	{ ": hello\n\ndata: a\n\n", "Chello|Ea|" },
	{ ":\n:x\n: : y\n", "C|Cx|C: y|" },
	{ "data: a\n: in between\ndata: b\n\n", "Cin between|Ea\nb|" },
	{ "event: e\nid: 3\nretry: 10\ndata: a\n\n", "Ea|" },
	{ "event: e\n\n", "" },
	{ "dat: a\n\nDATA: a\n\ndata : a\n\n data: a\n\n", "" },
	{ "data: a\n\ndata: [DONE]\n\n", "Ea|D|" },
	{ "data:[DONE]\r\n\r\n", "D|" },
	{ "data: [DONE]\n\ndata: after\n\n: after\n", "D|" },
	{ "data: [DONE] \n\ndata: [DONE\ndata: ]\n\n", "E[DONE] |E[DONE\n]|" },
	{ ": opgate-receipt abc\n\ndata: [DONE]\n\n", "Copgate-receipt abc|D|" },
	{ "data: {\"a\":\"b: c\"}\n\n", "E{\"a\":\"b: c\"}|" },
};

static void cases_at_every_split(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		const char *in = CASES[i].in;
		size_t len = strlen(in);
		struct outcome first;
		struct sse_reader *r = reader_for(&first);
		assert_int_equal(sse_reader_feed(r, in, len), ERR_OK);
		outcome_of(r, &first);
		assert_string_equal(first.trace.out.data, CASES[i].out);
		/* Split s: two pieces at s; s == len: byte by byte. */
		for (size_t s = 0; s <= len; s++) {
			struct outcome o;
			r = reader_for(&o);
			for (size_t at = 0; at < len && s == len; at++)
				assert_int_equal(sse_reader_feed(r, in + at, 1), ERR_OK);
			if (s < len) {
				assert_int_equal(sse_reader_feed(r, in, s), ERR_OK);
				assert_int_equal(sse_reader_feed(r, in + s, len - s), ERR_OK);
			}
			outcome_of(r, &o);
			assert_string_equal(o.trace.out.data, CASES[i].out);
			assert_true(hash_equal(&o.hash, &first.hash));
			assert_int_equal(o.events, first.events);
			assert_int_equal(o.bytes, first.bytes);
			assert_int_equal(o.done, first.done);
			assert_int_equal(o.partial, first.partial);
			buf_done(&o.trace.out);
		}
		buf_done(&first.trace.out);
	}
}

static void hash_is_data_and_lf(void **state)
{
	(void)state;
	static const char in[] = ": c\n\ndata: one\n\nevent: x\ndata: two\ndata: 2\n\ndata: [DONE]\n\n";
	static const char covered[] = "one\ntwo\n2\n";
	struct hash want, empty;
	struct outcome o;
	sha256_of(covered, sizeof(covered) - 1, &want);
	sha256_of("", 0, &empty);
	struct sse_reader *r = reader_for(&o);
	struct hash before;
	sse_reader_hash(r, &before);
	assert_true(hash_equal(&before, &empty));
	assert_int_equal(sse_reader_feed(r, in, sizeof(in) - 1), ERR_OK);
	outcome_of(r, &o);
	assert_true(hash_equal(&o.hash, &want));
	assert_int_equal(o.events, 2);
	assert_int_equal(o.bytes, 8);
	assert_true(o.done);
	assert_false(o.partial);
	buf_done(&o.trace.out);
}

/* Feeds `lines` data lines of `len` bytes each as one event, in chunks. */
static enum err feed_event(size_t lines, size_t len, size_t chunk, uint64_t *ret_events)
{
	struct buf b = BUF_INIT(1 << 24);
	_cleanup_free_ char *x = xmalloc(len + 1);
	memset(x, 'x', len);
	for (size_t i = 0; i < lines; i++) {
		assert_int_equal(buf_puts(&b, "data: "), ERR_OK);
		assert_int_equal(buf_append(&b, x, len), ERR_OK);
		assert_int_equal(buf_puts(&b, "\n"), ERR_OK);
	}
	assert_int_equal(buf_puts(&b, "\n"), ERR_OK);
	struct sse_reader *r = sse_reader_new(NULL);
	enum err e = ERR_OK;
	for (size_t at = 0; at < b.len && !e; at += chunk)
		e = sse_reader_feed(r, b.data + at, b.len - at < chunk ? b.len - at : chunk);
	*ret_events = sse_reader_events(r);
	if (e)
		assert_int_equal(sse_reader_feed(r, "\n", 1), e); /* for ever */
	sse_reader_free(r);
	buf_done(&b);
	return e;
}

static void bounded(void **state)
{
	(void)state;
	static const size_t chunks[] = { 1 << 24, 4096, 65537 };
	uint64_t events;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(feed_event(1, SSE_EVENT_MAX, chunks[i], &events), ERR_OK);
		assert_int_equal(events, 1);
		assert_int_equal(feed_event(1, SSE_EVENT_MAX + 1, chunks[i], &events), ERR_LIMIT);
		assert_int_equal(feed_event(1, 2 * SSE_EVENT_MAX, chunks[i], &events), ERR_LIMIT);
		assert_int_equal(feed_event(3, SSE_EVENT_MAX / 2, chunks[i], &events), ERR_LIMIT);
		assert_int_equal(events, 0);
	}
}

static void handler_stops_the_reading(void **state)
{
	(void)state;
	struct outcome o;
	struct sse_reader *r = reader_for(&o);
	o.trace.answer = ERR_CANCELLED;
	static const char in[] = "data: a\n\ndata: b\n\n";
	assert_int_equal(sse_reader_feed(r, in, sizeof(in) - 1), ERR_CANCELLED);
	o.trace.answer = ERR_OK;
	assert_int_equal(sse_reader_feed(r, in, sizeof(in) - 1), ERR_CANCELLED);
	outcome_of(r, &o);
	assert_string_equal(o.trace.out.data, "Ea|");
	buf_done(&o.trace.out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cases_at_every_split), cmocka_unit_test(hash_is_data_and_lf),
		cmocka_unit_test(bounded),		cmocka_unit_test(handler_stops_the_reading),
	};
	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
