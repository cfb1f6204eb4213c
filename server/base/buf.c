/* The growable byte buffer. One owner at a time; no locks. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Makes room for len more bytes and a NUL. */
static enum err buf_reserve(struct buf *b, size_t len)
{
	if (b->len > b->max || len > b->max - b->len || b->max == SIZE_MAX)
		return ERR_LIMIT;
	size_t need = b->len + len + 1;
	if (need > b->cap) {
		size_t cap = b->cap < 128 ? 128 : b->cap;
		while (cap < need)
			cap = cap > SIZE_MAX / 2 ? need : cap * 2;
		if (cap > b->max + 1)
			cap = b->max + 1;
		b->data = xrealloc(b->data, cap);
		b->cap = cap;
	}
	return ERR_OK;
}

enum err buf_append(struct buf *b, const void *p, size_t len)
{
	enum err e = buf_reserve(b, len);
	if (e)
		return e;
	if (len)
		memcpy(b->data + b->len, p, len);
	b->len += len;
	b->data[b->len] = '\0';
	return ERR_OK;
}

enum err buf_puts(struct buf *b, const char *s)
{
	return buf_append(b, s, strlen(s));
}

enum err buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		panic("buf_printf: bad format");
	enum err e = buf_reserve(b, (size_t)n);
	if (!e) {
		vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
		b->len += (size_t)n;
	}
	va_end(again);
	return e;
}

void buf_consume(struct buf *b, size_t len)
{
	if (len > b->len)
		len = b->len;
	if (len == 0)
		return;
	memmove(b->data, b->data + len, b->len - len);
	b->len -= len;
	b->data[b->len] = '\0';
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	if (b->data)
		b->data[0] = '\0';
}

void buf_done(struct buf *b)
{
	free(b->data);
	*b = BUF_INIT(b->max);
}

char *buf_steal(struct buf *b)
{
	char *data = b->data ? b->data : xstrdup("");
	*b = BUF_INIT(b->max);
	return data;
}
