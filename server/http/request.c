/* What a handler asks of its request. Called by whoever holds the request: a daemon thread, a worker, or the thread it was
 * deferred to; one at a time. Only the on_gone part is shared with the janitor, under the exchange's lock. */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "http/internal.h"

const char *request_header(const struct request *req, const char *name)
{
	const struct http_exchange *x = req->x;
	if (!x->headers_copied)
		return MHD_lookup_connection_value(x->mhd, MHD_HEADER_KIND, name);
	for (const struct header *h = x->headers; h; h = h->next)
		if (!strcasecmp(h->name, name))
			return h->value;
	return NULL;
}

struct header_count {
	const char *name;
	unsigned count;
};

static enum MHD_Result header_count(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
	struct header_count *c = cls;
	(void)kind;
	(void)value;
	c->count += !strcasecmp(key, c->name);
	return MHD_YES;
}

bool request_header_repeated(const struct request *req, const char *name)
{
	struct header_count c = { name, 0 };
	if (!req->x->headers_copied)
		MHD_get_connection_values(req->x->mhd, MHD_HEADER_KIND, header_count, &c);
	for (const struct header *h = req->x->headers; req->x->headers_copied && h; h = h->next)
		(void)header_count(&c, MHD_HEADER_KIND, h->name, h->value);
	return c.count > 1;
}

static enum MHD_Result header_copy(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
	struct http_exchange *x = cls;
	(void)kind;
	struct header *h = arena_alloc(x->req.arena, sizeof(*h));
	*h = (struct header){ x->headers, arena_strdup(x->req.arena, key), arena_strdup(x->req.arena, value ? value : "") };
	x->headers = h;
	return MHD_YES;
}

/* A deferred request may outlive its connection, when the server stops: its headers must then be its own. */
void request_copy_headers(struct http_exchange *x)
{
	MHD_get_connection_values(x->mhd, MHD_HEADER_KIND, header_copy, x);
	x->headers_copied = true;
}

/* Both checks were made by the guard: this cannot fail. */
static const char *decoded(const struct request *req, struct slice raw, bool plus)
{
	char *out = arena_alloc(req->arena, raw.len + 1);
	long n = url_decode(raw.p, raw.len, plus, out);
	if (n < 0)
		return NULL;
	out[n] = '\0';
	return out;
}

const char *request_param(const struct request *req, const char *name)
{
	const struct route_match *m = &req->x->match;
	size_t want = strlen(name);
	for (size_t i = 0; i < m->param_count; i++)
		if (m->params[i].name.len == want && !memcmp(m->params[i].name.p, name, want))
			return decoded(req, m->params[i].raw, false);
	return NULL;
}

const char *request_query(const struct request *req, const char *name)
{
	struct slice raw;
	return query_find(req->query, name, &raw) ? decoded(req, raw, true) : NULL;
}

const char *request_client_ip(const struct request *req)
{
	return req->x->ip;
}

void *request_take_upload(struct request *req)
{
	req->x->upload_taken = true;
	return req->upload;
}

enum err request_fail(struct request *req, enum err e, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0)
		return e;
	size_t len = strlen(text);
	while (len && !utf8_valid(text, len)) /* cut inside a character, or a caller's bytes */
		len--;
	req->x->fail_text = arena_strndup(req->arena, text, len);
	return e;
}

void request_fail_param(struct request *req, const char *param)
{
	req->x->fail_param = arena_strdup(req->arena, param);
}

/* ---- the client's leaving ---- */

void request_on_gone(struct request *req, void (*fn)(void *arg), void *arg)
{
	struct http_exchange *x = req->x;
	pthread_mutex_lock(&x->lock);
	x->gone_fn = fn;
	x->gone_arg = arg;
	bool post = fn && atomic_load(&x->gone) && !x->gone_posted;
	x->gone_posted |= post;
	pthread_mutex_unlock(&x->lock);
	if (post)
		janitor_post_gone(x);
	else
		janitor_watch(x);
}

void request_clear_gone(struct request *req)
{
	struct http_exchange *x = req->x;
	pthread_mutex_lock(&x->lock);
	x->gone_fn = NULL;
	while (x->gone_running && !pthread_equal(x->gone_thread, pthread_self()))
		pthread_cond_wait(&x->gone_idle, &x->lock);
	pthread_mutex_unlock(&x->lock);
}

bool request_gone(const struct request *req)
{
	struct http_exchange *x = req->x;
	if (atomic_load(&x->gone))
		return true;
	pthread_mutex_lock(&x->lock);
	/* The descriptor is the connection's as long as the exchange is not completed. */
	struct pollfd p = { .fd = x->fd, .events = POLLRDHUP };
	bool gone = x->completed || (poll(&p, 1, 0) == 1 && p.revents & (POLLRDHUP | POLLHUP | POLLERR));
	pthread_mutex_unlock(&x->lock);
	return gone;
}
