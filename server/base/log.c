/* One JSON object a line on stderr. Called by handlers, the node agent and main. Lock-free: a line is built on the
 * stack and leaves in one write(2), so lines of different threads do not mix. */
#include "base/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_MAX_BYTES 16384
#define LINE_TAIL 32      /* kept free for ,"truncated":true} and the newline */
#define VALUE_MAX_BYTES 2048 /* of one string, before escaping */

static _Atomic int level_min = LOG_INFO;
static _Thread_local const char *request_id;

struct line {
	size_t len;
	bool full;
	char data[LINE_MAX_BYTES];
};

void log_set_level(enum log_level min)
{
	atomic_store_explicit(&level_min, (int)min, memory_order_relaxed);
}

void log_set_request(const char *id)
{
	request_id = id;
}

static void line_put(struct line *l, const char *p, size_t len)
{
	if (l->full || len > sizeof(l->data) - LINE_TAIL - l->len) {
		l->full = true;
		return;
	}
	memcpy(l->data + l->len, p, len);
	l->len += len;
}

static void line_puts(struct line *l, const char *s)
{
	line_put(l, s, strlen(s));
}

/* Length of the well-formed UTF-8 sequence at s (RFC 3629), or 0. */
static size_t utf8_len(const unsigned char *s, size_t left)
{
	unsigned char c = s[0];
	size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
	if (n == 0 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* overlong forms, surrogates, beyond U+10FFFF */
	if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f) || (c == 0xf0 && s[1] < 0x90) || (c == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static void line_put_string(struct line *l, const char *s)
{
	size_t len = strnlen(s, VALUE_MAX_BYTES + 1);
	bool cut = len > VALUE_MAX_BYTES;
	if (cut) {
		len = VALUE_MAX_BYTES;
		while (len > 0 && ((unsigned char)s[len] & 0xc0) == 0x80)
			len--; /* not in the middle of a character */
	}
	line_puts(l, "\"");
	for (size_t i = 0, n; i < len; i += n) {
		unsigned char c = (unsigned char)s[i];
		n = utf8_len((const unsigned char *)s + i, len - i);
		if (n == 0) {
			n = 1;
			line_puts(l, "\\ufffd");
		} else if (c == '"' || c == '\\') {
			line_put(l, (char[]){ '\\', (char)c }, 2);
		} else if (c == '\n') {
			line_puts(l, "\\n");
		} else if (c < 0x20 || c == 0x7f) {
			char esc[8];
			snprintf(esc, sizeof(esc), "\\u%04x", c);
			line_puts(l, esc);
		} else {
			line_put(l, s + i, n);
		}
	}
	line_puts(l, cut ? "...\"" : "\"");
}

static void line_put_pair(struct line *l, const char *key, const char *str, int64_t num)
{
	size_t start = l->len;
	if (l->full)
		return;
	line_puts(l, start > 1 ? "," : "");
	line_put_string(l, key);
	line_puts(l, ":");
	if (str) {
		line_put_string(l, str);
	} else {
		char digits[24];
		snprintf(digits, sizeof(digits), "%lld", (long long)num);
		line_puts(l, digits);
	}
	if (l->full)
		l->len = start; /* whole pairs only */
}

static void line_write(const struct line *l)
{
	const char *p = l->data;
	size_t left = l->len;
	while (left > 0) {
		ssize_t n = write(STDERR_FILENO, p, left);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nowhere left to complain */
		p += n;
		left -= (size_t)n;
	}
}

void log_fields(enum log_level level, const char *event, const struct log_field *fields, size_t count)
{
	static const char *const names[] = { "debug", "info", "warn", "error" };
	if ((int)level < atomic_load_explicit(&level_min, memory_order_relaxed))
		return;
	int saved_errno = errno; /* logging must not disturb the caller's error handling */
	struct line l;
	l.len = 0;
	l.full = false;
	line_puts(&l, "{");
	line_put_pair(&l, "ts", time_format_rfc3339(clock_wall_ms()).s, 0);
	line_put_pair(&l, "level", names[level], 0);
	line_put_pair(&l, "event", event, 0);
	if (request_id)
		line_put_pair(&l, "request_id", request_id, 0);
	for (size_t i = 0; i < count; i++)
		line_put_pair(&l, fields[i].key, fields[i].str, fields[i].num);
	const char *tail = l.full ? ",\"truncated\":true}\n" : "}\n";
	memcpy(l.data + l.len, tail, strlen(tail)); /* LINE_TAIL bytes were kept free */
	l.len += strlen(tail);
	line_write(&l);
	errno = saved_errno;
}
