/* OPTIONS, Allow and CORS. Credentials are never cookies here, so any listed origin may read any answer. */
#include <string.h>
#include <strings.h>

#include "http/internal.h"

#define ALLOWED_HEADERS \
	"Authorization, x-api-key, Content-Type, Idempotency-Key, Prefer, PAYMENT-SIGNATURE, SIGN-IN-WITH-X, X-PAYMENT, X-Request-Id, Last-Event-ID, " \
	"X-SETTLEMENT-TYPE, X-SETTLE, Opgate-Policy, Opgate-Model, Opgate-Quote, Opgate-Max-Price, Inference-Header-Content-Length, " \
	"Access-Control-Expose-Headers" /* the x402 clients send this one with a request */
#define EXPOSED_HEADERS \
	"Opgate-Job, Opgate-Receipt, X-Request-Id, Idempotent-Replayed, Retry-After, PAYMENT-REQUIRED, PAYMENT-RESPONSE, " \
	"Opgate-Verdict, X-PAYMENT-RESPONSE, ETag, Location, Link, Opgate-Payment, Opgate-Credited, Inference-Header-Content-Length, x-processing-hash, x-settlement-tx-hash, " \
	"x-settlement-walrus-blob-id, X-Settlement-Job-ID, X-Settlement-Status, X-Settlement-Type"

const char *options_allow(struct http_exchange *x, unsigned methods)
{
	static const char *const names[] = { [HTTP_GET] = "GET, HEAD", [HTTP_POST] = "POST", [HTTP_PUT] = "PUT",
					     [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE" };
	const char *list = "OPTIONS";
	for (size_t m = 0; m < sizeof(names) / sizeof(*names); m++)
		if (methods & 1u << m)
			list = arena_printf(x->req.arena, "%s, %s", list, names[m]);
	return list;
}

/* Headers that clients make up within a prefix: ours, and those of the OpenAI libraries. */
static bool may_ask(const char *name, size_t len)
{
	static const char *const prefixes[] = { "opgate-", "x-stainless-", "openai-" };
	if (len > 64)
		return false;
	for (size_t i = 0; i < len; i++)
		if (name[i] != '-' && !((name[i] | 32) >= 'a' && (name[i] | 32) <= 'z') && !(name[i] >= '0' && name[i] <= '9'))
			return false;
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++)
		if (len > strlen(prefixes[i]) && !strncasecmp(name, prefixes[i], strlen(prefixes[i])))
			return true;
	return false;
}

static const char *headers_allowed(struct http_exchange *x)
{
	const char *list = ALLOWED_HEADERS;
	const char *p = request_header(&x->req, "Access-Control-Request-Headers");
	unsigned added = 0;
	while (p && *p && added < 32) {
		p += strspn(p, " \t,");
		size_t n = strcspn(p, " \t,");
		if (may_ask(p, n)) {
			list = arena_printf(x->req.arena, "%s, %.*s", list, (int)n, p);
			added++;
		}
		p += n;
	}
	return list;
}

void options_reply(struct http_exchange *x)
{
	struct request *req = &x->req;
	const char *allow = options_allow(x, x->match.allow);
	reply_empty(req, 204);
	reply_header(req, "Allow", allow);
	if (!x->server->config.cors_origin)
		return;
	reply_header(req, "Access-Control-Allow-Methods", allow);
	reply_header(req, "Access-Control-Allow-Headers", headers_allowed(x));
	reply_header(req, "Access-Control-Max-Age", "600");
}

void options_cors(struct http_exchange *x, void (*add)(void *arg, const char *name, const char *value), void *arg)
{
	const char *origin = x->server->config.cors_origin;
	if (!origin)
		return;
	add(arg, "Access-Control-Allow-Origin", origin);
	add(arg, "Access-Control-Expose-Headers", EXPOSED_HEADERS);
	if (strcmp(origin, "*"))
		add(arg, "Vary", "Origin");
}
