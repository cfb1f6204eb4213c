/* A saved event stream against a receipt. Called by the verdict; no state, no locks. */
#include "proof/stream_match.h"

#include <stdbool.h>
#include <string.h>

#include "base/base64.h"
#include "proof/document.h"
#include "proof/sse.h"

static const char RECEIPT_COMMENT[] = "opgate-receipt ";

struct seen {
	const char *receipt_text;
	size_t receipt_len;
	bool other_receipt;
};

static enum err on_comment(void *arg, const char *text, size_t len)
{
	struct seen *seen = arg;
	size_t head = sizeof(RECEIPT_COMMENT) - 1;
	if (len < head || memcmp(text, RECEIPT_COMMENT, head) != 0)
		return ERR_OK;
	uint8_t carried[DOC_JSON_MAX];
	size_t carried_len = 0;
	if (base64url_decode(text + head, len - head, carried, sizeof(carried), &carried_len) || carried_len != seen->receipt_len ||
	    memcmp(carried, seen->receipt_text, carried_len) != 0)
		seen->other_receipt = true;
	return ERR_OK;
}

/* Only comments, data lines and blank lines, all ended alike, and nothing but blank lines after [DONE]. */
static bool is_plain_stream(const char *p, size_t len)
{
	const char *first = memchr(p, '\n', len);
	if (!first || p[len - 1] != '\n')
		return false;
	size_t cr = first > p && first[-1] == '\r' ? 1 : 0;
	bool done = false;
	for (const char *end = p + len; p < end;) {
		const char *lf = memchr(p, '\n', (size_t)(end - p));
		size_t line = (size_t)(lf - p);
		if (line < cr || (cr && p[line - 1] != '\r') || memchr(p, '\r', line - cr))
			return false;
		line -= cr;
		bool data = line >= 6 && memcmp(p, "data: ", 6) == 0;
		if (line && (done || (!data && *p != ':')))
			return false;
		done |= line == 12 && memcmp(p, "data: [DONE]", 12) == 0;
		p = lf + 1;
	}
	return true;
}

enum stream_match stream_match(const void *body, size_t len, const struct hash *want, const char *receipt_text, size_t receipt_len)
{
	struct seen seen = { .receipt_text = receipt_text, .receipt_len = receipt_len };
	struct sse_handler handler = { .comment = on_comment, .arg = &seen };
	struct sse_reader *r = sse_reader_new(&handler);
	enum err e = sse_reader_feed(r, body, len);
	struct hash got;
	sse_reader_hash(r, &got);
	bool some = sse_reader_events(r) > 0 || sse_reader_done(r), partial = sse_reader_partial(r);
	sse_reader_free(r);
	if (e || !some || !hash_equal(&got, want))
		return STREAM_OTHER;
	if (seen.other_receipt)
		return STREAM_OTHER_RECEIPT;
	return partial || !is_plain_stream(body, len) ? STREAM_STRAY : STREAM_SAME;
}
