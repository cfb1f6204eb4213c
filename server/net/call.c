/* One outbound call: its curl handle, what curl may do with it, and what its callbacks make of the answer.
 * net_call runs on the caller's thread until the call is posted; the callbacks run on the call's reactor thread. Locks nothing
 * itself (posting takes the reactor's lock). */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/hostile.h"
#include "net/internal.h"

#define CONNECT_TIMEOUT_MS 3000
#define RESPONSE_MAX ((size_t)1 << 20)
#define CONNECTION_IDLE_MAX_S 55L /* below the 60 s after which common servers close an idle connection */
#define HEADERS_MAX 64

void call_fail(struct net_call *call, enum err e, const char *why)
{
	if (call->fail != ERR_OK)
		return;
	call->fail = e;
	call->why = why;
}

static void call_active(struct net_call *call)
{
	call->active_at = clock_mono_ms();
}

/* ---- the answer's head ---- */

/* The first pair at or after `p` of that name; NULL: none. */
static const char *head_find(const struct net_call *call, const char *p, const char *name)
{
	const char *end = call->head.data + call->head.len;

	while (p < end && strcasecmp(p, name) != 0) {
		p += strlen(p) + 1;
		p += strlen(p) + 1;
	}
	return p < end ? p : NULL;
}

const char *net_call_header(struct net_call *call, const char *name)
{
	const char *found, *value;

	if (call->head.len == 0)
		return NULL;
	found = head_find(call, call->head.data, name);
	if (!found)
		return NULL;
	value = found + strlen(found) + 1;
	return head_find(call, value + strlen(value) + 1, name) ? NULL : value;
}

static size_t head_count(const struct net_call *call, const char *name)
{
	const char *p = call->head.len ? head_find(call, call->head.data, name) : NULL;
	size_t n = 0;

	for (; p; n++) {
		p += strlen(p) + 1;
		p = head_find(call, p + strlen(p) + 1, name);
	}
	return n;
}

/* Keeps one header line. Anything two parsers could read differently ends the call. */
static bool head_keep(struct net_call *call, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len), *value, *end = line + len;

	if (!colon || colon == line || memchr(line, '\0', len) || memchr(line, '\r', len))
		return false;
	for (const char *p = line; p < colon; p++)
		if (*p <= ' ' || *p > '~')
			return false; /* also a folded line, which starts with a space */
	for (value = colon + 1; value < end && (*value == ' ' || *value == '\t'); value++)
		;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	return buf_append(&call->head, line, (size_t)(colon - line)) == ERR_OK && buf_append(&call->head, "", 1) == ERR_OK &&
	       buf_append(&call->head, value, (size_t)(end - value)) == ERR_OK && buf_append(&call->head, "", 1) == ERR_OK;
}

/* Sets `framed`; false when the head says two things about the body's length. */
static bool head_framing(struct net_call *call)
{
	size_t lengths = head_count(call, "Content-Length"), codings = head_count(call, "Transfer-Encoding");

	if (lengths + codings > 1)
		return false;
	if (codings && strcasecmp(net_call_header(call, "Transfer-Encoding"), "chunked") != 0)
		return false;
	if (lengths) {
		const char *v = net_call_header(call, "Content-Length");

		if (*v == '\0' || v[strspn(v, "0123456789")] != '\0')
			return false;
	}
	call->framed = lengths + codings == 1 || call->bodyless || call->status == 204 || call->status == 304;
	return true;
}

static bool head_end(struct net_call *call)
{
	long status = 0;

	if (curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK || status < 100 || status > 599) {
		call_fail(call, ERR_IO, "the answer's status is malformed");
		return false;
	}
	if (status < 200)
		return true; /* interim: another head follows */
	call->status = (int)status;
	if (!head_framing(call)) {
		call->status = 0; /* no answer we can speak of */
		call_fail(call, ERR_IO, "the answer's framing is ambiguous");
		return false;
	}
	call->head_done = true;
	if (call->req.on_head)
		switch (call->req.on_head(call->req.arg, call->status)) {
		case NET_CONTINUE:
			break;
		case NET_PAUSE:
			call->hold = true;
			break;
		case NET_ABORT:
			call_fail(call, ERR_CANCELLED, "the receiver wants no more");
			return false;
		}
	return true;
}

static size_t on_header(char *p, size_t size, size_t count, void *arg)
{
	struct net_call *call = arg;
	size_t all = size * count, len = all;

	if (atomic_load(&call->cancelled))
		return CURL_WRITEFUNC_ERROR;
	call_active(call);
	call->head_bytes += all;
	if (call->head_bytes > NET_HEAD_MAX) {
		call_fail(call, ERR_TOO_LARGE, "the answer's headers are too large");
		return CURL_WRITEFUNC_ERROR;
	}
	if (call->head_done)
		return all; /* trailers say nothing we need */
	if (len >= 5 && memcmp(p, "HTTP/", 5) == 0) {
		buf_reset(&call->head);
		return all;
	}
	if (len > 0 && p[len - 1] == '\n')
		len--;
	if (len > 0 && p[len - 1] == '\r')
		len--;
	if (len == 0)
		return head_end(call) ? all : CURL_WRITEFUNC_ERROR;
	if (head_keep(call, p, len))
		return all;
	call_fail(call, ERR_IO, "the answer has a malformed header");
	return CURL_WRITEFUNC_ERROR;
}

/* ---- the answer's body ---- */

static size_t on_body(char *p, size_t size, size_t count, void *arg)
{
	struct net_call *call = arg;
	size_t len = size * count;
	uint64_t taken = atomic_load_explicit(&call->body_bytes, memory_order_relaxed);

	if (atomic_load(&call->cancelled))
		return CURL_WRITEFUNC_ERROR;
	call_active(call);
	if (!call->head_done) {
		call_fail(call, ERR_IO, "the answer has a body before its head");
		return CURL_WRITEFUNC_ERROR;
	}
	if (call->hold) {
		call->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	if (len > call->req.response_max - taken) { /* counted here: curl's own limit sees neither chunked nor unframed bodies */
		call_fail(call, ERR_TOO_LARGE, "the answer's body is too large");
		return CURL_WRITEFUNC_ERROR;
	}
	if (call->req.on_data)
		switch (call->req.on_data(call->req.arg, p, len)) {
		case NET_CONTINUE:
			break;
		case NET_PAUSE:
			call->paused = true;
			return CURL_WRITEFUNC_PAUSE;
		case NET_ABORT:
			call_fail(call, ERR_CANCELLED, "the receiver wants no more");
			return CURL_WRITEFUNC_ERROR;
		}
	atomic_store_explicit(&call->body_bytes, taken + len, memory_order_relaxed);
	return len;
}

/* ---- connections ---- */

static void call_refuse(struct net_call *call)
{
	call->refused = true;
	call->why = "the address is not public";
}

static bool call_judges(const struct net_call *call)
{
	return call->net->config.hostile && !call->net->config.allow_private;
}

/* curl hands us the resolved address, whatever the URL spelled. */
static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct net_call *call = arg;
	int fd;

	if (purpose != CURLSOCKTYPE_IPCXN)
		return CURL_SOCKET_BAD;
	if (call_judges(call) && !sockaddr_is_public(&address->addr, address->addrlen)) {
		call_refuse(call);
		return CURL_SOCKET_BAD;
	}
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/* Runs each time the request is about to be sent, on a new connection or a reused one. curl sends a request again when a
 * reused connection ends without a byte of answer, although the other side may have acted on it: we allow that only when
 * nothing had been sent or sending twice does no harm. */
static int on_send(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct net_call *call = arg;
	long sent = 0;

	(void)local_ip, (void)port, (void)local_port;
	if (call_judges(call) && !address_text_is_public(ip)) {
		call_refuse(call);
		return CURL_PREREQFUNC_ABORT;
	}
	if (!call->repeatable && (curl_easy_getinfo(call->easy, CURLINFO_REQUEST_SIZE, &sent) != CURLE_OK || sent > 0)) {
		call_fail(call, ERR_IO, "the connection ended after the request was sent");
		return CURL_PREREQFUNC_ABORT;
	}
	return CURL_PREREQFUNC_OK;
}

/* ---- making one ---- */

static bool header_is_ours(const char *name)
{
	static const char *const ours[] = { "Host", "Content-Length", "Transfer-Encoding", "Connection", "Expect", "TE", "Upgrade" };

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strcasecmp(name, ours[i]) == 0)
			return true;
	return false;
}

static bool token_is_valid(const char *s)
{
	static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

	return s && *s && s[strspn(s, token)] == '\0';
}

static bool header_is_valid(const struct net_header *h)
{
	if (!token_is_valid(h->name) || header_is_ours(h->name) || !h->value)
		return false;
	for (const char *p = h->value; *p; p++)
		if (((unsigned char)*p < ' ' && *p != '\t') || *p == 0x7f)
			return false;
	return true;
}

static void call_header(struct net_call *call, const char *line)
{
	struct curl_slist *list = curl_slist_append(call->headers, line);

	if (!list)
		abort(); /* out of memory, as everywhere */
	call->headers = list;
}

static enum err call_headers(struct net_call *call, const struct net_request *request)
{
	bool typed = false;

	if (request->header_count > HEADERS_MAX)
		return ERR_BAD_FIELD;
	for (size_t i = 0; i < request->header_count; i++) {
		const struct net_header *h = &request->headers[i];

		if (!header_is_valid(h))
			return ERR_BAD_FIELD;
		typed |= strcasecmp(h->name, "Content-Type") == 0;
		/* curl reads "Name:" as "leave it out" and "Name;" as "empty" */
		_cleanup_free_ char *line = *h->value ? xasprintf("%s: %s", h->name, h->value) : xasprintf("%s;", h->name);
		call_header(call, line);
	}
	if (!typed)
		call_header(call, "Content-Type:"); /* no form type that nobody asked for */
	call_header(call, "Expect:"); /* no waiting for a 100 that may never come */
	return ERR_OK;
}

#define SET(option, value) (rc = rc ? rc : curl_easy_setopt(call->easy, (option), (value)))

static CURLcode call_set_method(struct net_call *call)
{
	const char *method = call->req.method;
	bool get = strcmp(method, "GET") == 0, post = strcmp(method, "POST") == 0;
	CURLcode rc = CURLE_OK;

	call->bodyless = strcmp(method, "HEAD") == 0;
	call->repeatable = call->req.repeatable || ((get || call->bodyless) && call->req.body_len == 0);
	if (call->bodyless) {
		SET(CURLOPT_NOBODY, 1L);
	} else if (call->req.body_len > 0 || post || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0) {
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDS, call->req.body_len ? call->req.body : "");
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->req.body_len);
		if (!post)
			SET(CURLOPT_CUSTOMREQUEST, method);
	} else if (!get) {
		SET(CURLOPT_CUSTOMREQUEST, method);
	}
	return rc;
}

static CURLcode call_set_options(struct net_call *call)
{
	CURLcode rc = CURLE_OK;

	SET(CURLOPT_PRIVATE, call);
	SET(CURLOPT_ERRORBUFFER, call->error);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L); /* a cancelled name look-up is left behind, not waited for on the reactor's thread */
	SET(CURLOPT_URL, call->req.url);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, ""); /* with NOPROXY: the environment chooses no proxy, which would be judged instead of the target */
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_USERAGENT, "opgate");
	SET(CURLOPT_HTTPHEADER, call->headers);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)call->req.connect_timeout_ms);
	SET(CURLOPT_MAXAGE_CONN, CONNECTION_IDLE_MAX_S);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, call);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, call);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_open);
	SET(CURLOPT_OPENSOCKETDATA, call);
	SET(CURLOPT_PREREQFUNCTION, on_send);
	SET(CURLOPT_PREREQDATA, call);
	return rc ? rc : call_set_method(call);
}

/* Calls to one authority share a reactor, so that they share its idle connections. */
static size_t authority_hash(const char *url)
{
	const char *p = strstr(url, "://");
	uint64_t h = 14695981039346656037u;

	for (p = p ? p + 3 : url; *p && *p != '/' && *p != '?' && *p != '#'; p++)
		h = (h ^ (uint64_t)(*p | 0x20)) * 1099511628211u;
	return (size_t)(h ^ (h >> 32));
}

enum err call_make(struct net *net, const struct net_request *request, struct net_call **ret)
{
	struct net_call *call;

	if (!request->url || !token_is_valid(request->method) || !request->on_done || request->deadline_ms <= 0)
		return ERR_BAD_FIELD;
	call = xcalloc(1, sizeof(*call));
	call->refs = 1;
	call->net = net;
	atomic_fetch_add(&net->refs, 1);
	call->reactor = &net->reactors[authority_hash(request->url) % net->config.reactors];
	call->head = BUF_INIT(2 * NET_HEAD_MAX);
	call->req = *request;
	if (call->req.connect_timeout_ms <= 0)
		call->req.connect_timeout_ms = CONNECT_TIMEOUT_MS;
	if (call->req.response_max == 0)
		call->req.response_max = RESPONSE_MAX;
	call->easy = curl_easy_init();
	if (!call->easy)
		abort();
	if (call_headers(call, request) != ERR_OK || call_set_options(call) != CURLE_OK) {
		call_free(call);
		return ERR_BAD_FIELD;
	}
	call->req.url = call->req.method = NULL;
	call->req.headers = NULL;
	call->deadline = deadline_in(request->deadline_ms);
	*ret = call;
	return ERR_OK;
}

void call_free(struct net_call *call)
{
	struct net *net = call->net;

	curl_easy_cleanup(call->easy);
	curl_slist_free_all(call->headers);
	buf_done(&call->head);
	mem_cleanup_free(&call);
	net_unref(net);
}

enum err net_call(struct net *net, const struct net_request *request, struct net_call **ret)
{
	struct net_call *call;
	enum err e = call_make(net, request, &call);

	if (e != ERR_OK)
		return e;
	if (ret) {
		if (request->hold)
			net_call_ref(call);
		*ret = call; /* before it runs: its callbacks may look for it */
	}
	e = reactor_post(call, NET_OP_START);
	if (e != ERR_OK) {
		if (ret && request->hold)
			net_call_unref(call);
		net_call_unref(call);
	}
	return e;
}

void net_resume(struct net_call *call)
{
	enum err e = reactor_post(call, NET_OP_RESUME);

	(void)e; /* a stopping reactor cancels it anyway */
}

void net_cancel(struct net_call *call)
{
	enum err e;

	atomic_store(&call->cancelled, true);
	e = reactor_post(call, NET_OP_CANCEL);
	(void)e;
}

void net_call_ref(struct net_call *call)
{
	atomic_fetch_add(&call->refs, 1);
}

void net_call_unref(struct net_call *call)
{
	if (atomic_fetch_sub(&call->refs, 1) == 1)
		call_free(call);
}

/* ---- how it ended ---- */

enum err call_result(struct net_call *call, CURLcode code)
{
	if (atomic_load(&call->cancelled))
		return ERR_CANCELLED;
	if (call->fail != ERR_OK)
		return call->fail;
	if (code == CURLE_OK && call->head_done && call->framed)
		return ERR_OK;
	if (code == CURLE_OK)
		call->why = call->head_done ? "the answer's end cannot be told from a broken connection" : "no answer";
	else if (call->error[0] == '\0' && !call->why)
		call->why = curl_easy_strerror(code);
	return call->refused && !call->head_done ? ERR_FORBIDDEN : ERR_IO;
}

uint64_t net_call_body_bytes(const struct net_call *call)
{
	return atomic_load_explicit(&call->body_bytes, memory_order_relaxed);
}

const char *net_call_error(const struct net_call *call)
{
	return call->why ? call->why : call->error;
}
