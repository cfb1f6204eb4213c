/* Replies. The holder of a request fills x->reply; the daemon thread turns it into libmicrohttpd's response. No locks: the
 * hand-over between the two is exchange_ready(). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/json.h"
#include "http/internal.h"

void reply_done(struct reply *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
	r->set = false;
	r->kind = BODY_BYTES;
	r->p = NULL;
	r->len = 0;
}

void reply_header(struct request *req, const char *name, const char *value)
{
	char *copy = arena_strdup(req->arena, value);
	for (char *c = copy; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = ' '; /* a line break here would be a header of somebody else's making */
	for (struct header *h = req->x->reply.headers; h; h = h->next)
		if (!strcasecmp(h->name, name)) {
			h->value = copy;
			return;
		}
	struct header *h = arena_alloc(req->arena, sizeof(*h));
	*h = (struct header){ req->x->reply.headers, arena_strdup(req->arena, name), copy };
	req->x->reply.headers = h;
}

static const char *header_given(const struct reply *r, const char *name)
{
	for (const struct header *h = r->headers; h; h = h->next)
		if (!strcasecmp(h->name, name))
			return h->value;
	return NULL;
}

void reply_bytes(struct request *req, int status, const char *content_type, const void *p, size_t len)
{
	struct reply *r = &req->x->reply;
	reply_done(r);
	r->set = true;
	r->status = status;
	r->content_type = arena_strdup(req->arena, content_type);
	r->p = p;
	r->len = len;
}

void reply_json(struct request *req, int status, json_t *take_body)
{
	char *text = json_text(take_body);
	json_decref(take_body);
	arena_on_free(req->arena, free, text);
	reply_bytes(req, status, "application/json", text, strlen(text));
}

void reply_empty(struct request *req, int status)
{
	reply_bytes(req, status, NULL, NULL, 0);
}

/* ---- files ---- */

struct range {
	uint64_t first, last;
};

static bool number(const char **p, uint64_t *ret)
{
	uint64_t n = 0;
	const char *s = *p;
	if (*s < '0' || *s > '9')
		return false;
	for (; *s >= '0' && *s <= '9'; s++) {
		if (n > (UINT64_MAX - 9) / 10)
			return false;
		n = n * 10 + (uint64_t)(*s - '0');
	}
	*p = s;
	*ret = n;
	return true;
}

/* One range of bytes. -1: not one we serve (then the whole file is the answer), 0: outside the file, 1: ret is set. */
static int range_parse(const char *s, uint64_t size, struct range *ret)
{
	uint64_t a, b;
	if (!s || strncmp(s, "bytes=", 6))
		return -1;
	s += 6;
	if (*s == '-') {
		s++;
		if (!number(&s, &b) || *s)
			return -1;
		if (!b || !size)
			return 0;
		*ret = (struct range){ b < size ? size - b : 0, size - 1 };
		return 1;
	}
	if (!number(&s, &a) || *s++ != '-')
		return -1;
	b = UINT64_MAX;
	if (*s && (!number(&s, &b) || *s || b < a))
		return -1;
	if (a >= size)
		return 0;
	*ret = (struct range){ a, b < size ? b : size - 1 };
	return 1;
}

static bool etag_listed(const char *list, const char *etag)
{
	if (!list)
		return false;
	if (!strcmp(list, "*"))
		return true;
	for (const char *p = list; *p;) {
		p += strspn(p, " \t,");
		if (!strncmp(p, "W/", 2))
			p += 2;
		size_t n = strcspn(p, ",");
		size_t trimmed = n;
		while (trimmed && (p[trimmed - 1] == ' ' || p[trimmed - 1] == '\t'))
			trimmed--;
		if (trimmed == strlen(etag) && !memcmp(p, etag, trimmed))
			return true;
		p += n;
	}
	return false;
}

void reply_file(struct request *req, const char *content_type, int take_fd, uint64_t size, const char *etag)
{
	struct reply *r = &req->x->reply;
	if (etag)
		reply_header(req, "ETag", etag);
	if (etag && etag_listed(request_header(req, "If-None-Match"), etag)) {
		close(take_fd);
		reply_empty(req, 304);
		return;
	}
	reply_header(req, "Accept-Ranges", "bytes");
	const char *if_range = request_header(req, "If-Range");
	struct range range = { 0, 0 };
	int ranged = if_range && (!etag || strcmp(if_range, etag)) ? -1 : range_parse(request_header(req, "Range"), size, &range);
	if (ranged == 0) {
		close(take_fd);
		reply_header(req, "Content-Range", arena_printf(req->arena, "bytes */%llu", (unsigned long long)size));
		reply_empty(req, 416);
		return;
	}
	reply_done(r);
	r->set = true;
	r->kind = BODY_FILE;
	r->fd = take_fd;
	r->content_type = arena_strdup(req->arena, content_type);
	r->status = ranged > 0 ? 206 : 200;
	r->offset = ranged > 0 ? range.first : 0;
	r->len = ranged > 0 ? range.last - range.first + 1 : size;
	if (ranged > 0)
		reply_header(req, "Content-Range",
			     arena_printf(req->arena, "bytes %llu-%llu/%llu", (unsigned long long)range.first,
					  (unsigned long long)range.last, (unsigned long long)size));
}

/* ---- to the wire ---- */

static bool is_json(const char *type)
{
	return type && (!strncmp(type, "application/json", 16) || !strncmp(type, "application/problem+json", 24));
}

static void each_header(struct http_exchange *x, void (*add)(void *arg, const char *name, const char *value), void *arg)
{
	struct reply *r = &x->reply;
	for (const struct header *h = r->headers; h; h = h->next)
		add(arg, h->name, h->value);
	if (r->content_type)
		add(arg, "Content-Type", r->content_type);
	if (is_json(r->content_type) && !header_given(r, "Cache-Control"))
		add(arg, "Cache-Control", "no-store");
	add(arg, "X-Content-Type-Options", "nosniff");
	if (*x->req.id)
		add(arg, "X-Request-Id", x->req.id);
	options_cors(x, add, arg);
	if (x->close)
		add(arg, "Connection", "close");
}

static void add_to_response(void *arg, const char *name, const char *value)
{
	if (MHD_add_response_header(arg, name, value) != MHD_YES && *value) {
		/* libmicrohttpd takes no tab; nothing else is left to refuse. An answer without that header is still one. */
	}
}

struct MHD_Response *reply_response(struct http_exchange *x)
{
	struct reply *r = &x->reply;
	struct MHD_Response *m = NULL;
	switch (r->kind) {
	case BODY_BYTES:
		m = MHD_create_response_from_buffer(r->len, (void *)(uintptr_t)r->p, MHD_RESPMEM_PERSISTENT);
		break;
	case BODY_FILE:
		m = MHD_create_response_from_fd_at_offset64(r->len, r->fd, r->offset);
		if (m)
			r->fd = -1; /* the response closes it */
		break;
	case BODY_STREAM:
		m = stream_response(r->stream);
		break;
	}
	if (m)
		each_header(x, add_to_response, m);
	return m;
}

static void add_to_text(void *arg, const char *name, const char *value)
{
	(void)!buf_printf(arg, "%s: %s\r\n", name, value);
}

void reply_text(struct http_exchange *x, struct buf *out)
{
	struct reply *r = &x->reply;
	x->close = true;
	/* The sizes are ours and far below the buffer's bound: nothing here can fail. */
	(void)!buf_printf(out, "HTTP/1.1 %d %s\r\n", r->status, MHD_get_reason_phrase_for((unsigned)r->status));
	each_header(x, add_to_text, out);
	(void)!buf_printf(out, "Content-Length: %llu\r\n\r\n", (unsigned long long)r->len);
	if (!x->req.head && r->len)
		(void)!buf_append(out, r->p, r->len);
}
