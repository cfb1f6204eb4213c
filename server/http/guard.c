/* What this libmicrohttpd lets through and must not reach a handler: everything two parsers could read differently.
 * Called once per request, on the daemon thread, when the headers are in. Locks nothing. */
#include <string.h>
#include <strings.h>

#include "http/internal.h"

struct walk {
	struct http_exchange *x;
	enum err err;
	const char *why;
	const char *next_line; /* where the next header line must begin, NULL: unknown layout */
	unsigned count, length, encoding, host;
	const char *length_value, *encoding_value;
	uint64_t once_seen; /* bit per row of once[] */
};

/* Headers that mean something else when repeated. (A payment given twice is no payment, which is not this file's to say.) */
static const char *const once[] = {
	"Content-Type", "Authorization", "Idempotency-Key", "Expect", "Range",
};

static bool fail(struct walk *w, const char *why)
{
	if (!w->why)
		w->why = why;
	return false;
}

static bool is_token(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		if (!alnum && (!c || !strchr("!#$%&'*+-.^_`|~", c)))
			return false;
	}
	return len > 0;
}

static bool value_ok(const char *v)
{
	for (; *v; v++)
		if (((unsigned char)*v < 0x20 && *v != '\t') || *v == 0x7f)
			return false;
	return true;
}

static bool header_once(struct walk *w, const char *key)
{
	for (size_t i = 0; i < sizeof(once) / sizeof(*once); i++) {
		if (strcasecmp(key, once[i]))
			continue;
		if (w->once_seen & 1u << i)
			return fail(w, "a header twice that may stand once only");
		w->once_seen |= 1u << i;
	}
	return true;
}

static enum MHD_Result header_visit(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_len, const char *value,
				    size_t value_len)
{
	struct walk *w = cls;
	(void)kind;
	w->count++;
	if (!value) {
		value = "";
		value_len = 0;
	}
	/* The parser works on the bytes as they came, in place: a header that does not end exactly where the next one begins
	 * held a NUL, was folded, or ended with a bare LF. The value seen here would be a part of what was sent. */
	if (w->next_line) {
		if (key != w->next_line)
			return fail(w, "a header with a NUL, a folded line or a bare LF") ? MHD_YES : MHD_NO;
		w->next_line = value + value_len + 2;
	}
	if (!is_token(key, key_len) || strlen(key) != key_len)
		return fail(w, "a malformed header name") ? MHD_YES : MHD_NO;
	if (strlen(value) != value_len || !value_ok(value))
		return fail(w, "a control character in a header") ? MHD_YES : MHD_NO;
	if (!strcasecmp(key, "Content-Length")) {
		w->length++;
		w->length_value = value;
	} else if (!strcasecmp(key, "Transfer-Encoding")) {
		w->encoding++;
		w->encoding_value = value;
	} else if (!strcasecmp(key, "Host")) {
		w->host++;
		if (!*value || strpbrk(value, " \t,/@"))
			fail(w, "a malformed Host header");
	} else {
		header_once(w, key);
	}
	return w->why ? MHD_NO : MHD_YES;
}

static bool length_parse(const char *s, uint64_t *ret)
{
	uint64_t n = 0;
	if (!*s)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || n > (INT64_MAX - 9) / 10)
			return false;
		n = n * 10 + (uint64_t)(*s - '0');
	}
	*ret = n;
	return true;
}

static void check_framing(struct walk *w)
{
	struct http_exchange *x = w->x;
	if (w->length + w->encoding > 1)
		fail(w, "more than one of Content-Length and Transfer-Encoding");
	else if (w->encoding && (x->http10 || strcasecmp(w->encoding_value, "chunked")))
		fail(w, "a Transfer-Encoding other than chunked");
	else if (w->length && !length_parse(w->length_value, &x->declared))
		fail(w, "a malformed Content-Length");
	else if (w->host > 1 || (!w->host && !x->http10))
		fail(w, w->host ? "more than one Host header" : "no Host header");
	x->chunked = w->encoding > 0;
	x->has_body = w->encoding || w->length > 1 || x->declared;
}

/* The head of the request in memory, [method, method + size): lines must follow each other without a gap. */
static void check_layout_start(struct walk *w, const char *method, const char *version)
{
	struct http_exchange *x = w->x;
	if (!x->server->layout_known)
		return;
	if (!x->raw_uri || x->raw_uri + x->raw_uri_len + 1 != version || method + strlen(method) + 1 != x->raw_uri)
		fail(w, "a malformed request line");
	w->next_line = version + strlen(version) + 2;
}

static void check_layout_end(struct walk *w, const char *method)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(w->x->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	if (w->next_line && info && w->next_line + 2 != method + info->header_size)
		fail(w, "a header with a NUL, a folded line or a bare LF");
}

static enum err check_size(struct http_exchange *x)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(x->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	if (x->raw_uri_len > HTTP_URI_MAX)
		return request_fail(&x->req, ERR_URI_TOO_LONG, "the URL may have at most %d bytes", HTTP_URI_MAX);
	if (info && info->header_size > HTTP_HEAD_MAX)
		return request_fail(&x->req, ERR_HEADERS_TOO_LARGE, "the headers may have at most %d bytes", HTTP_HEAD_MAX);
	return ERR_OK;
}

static enum err finish(struct walk *w)
{
	if (!w->why)
		return ERR_OK;
	return request_fail(&w->x->req, ERR_BAD_REQUEST, "the request has %s", w->why);
}

enum err guard_check(struct http_exchange *x, const char *method, const char *version)
{
	struct walk w = { .x = x };
	if (strcmp(version, "HTTP/1.1") && strcmp(version, "HTTP/1.0")) {
		x->has_body = true; /* unknown: the connection ends here */
		return ERR_HTTP_VERSION;
	}
	x->http10 = !strcmp(version, "HTTP/1.0");
	check_layout_start(&w, method, version);
	MHD_get_connection_values_n(x->mhd, MHD_HEADER_KIND, header_visit, &w);
	if (!w.why)
		check_layout_end(&w, method);
	check_framing(&w);
	enum err size = check_size(x);
	if (size)
		return size;
	if (!is_token(method, strlen(method)))
		fail(&w, "a malformed method");
	if (!w.why) {
		const char *why = path_check(x->req.path);
		if (!why)
			why = query_check(x->req.query);
		if (why)
			return request_fail(&x->req, ERR_BAD_REQUEST, "the URL has %s", why);
	}
	return finish(&w);
}

const char *guard_request_id(struct http_exchange *x)
{
	const char *given = request_header(&x->req, "X-Request-Id");
	size_t n = given ? strlen(given) : 0;
	bool sane = n >= 1 && n <= 64;
	for (size_t i = 0; i < n && sane; i++)
		sane = (given[i] >= '0' && given[i] <= '9') || ((given[i] | 32) >= 'a' && (given[i] | 32) <= 'z') ||
		       strchr("._-", given[i]);
	if (sane)
		return arena_strdup(x->req.arena, given);
	struct uuid id = uuid_new();
	return arena_strdup(x->req.arena, uuid_format(&id).s);
}
