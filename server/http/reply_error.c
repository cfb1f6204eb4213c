/* An error as each surface expects it, always with the stable code, the request id, and whether to retry. Called by the
 * dispatcher for handlers that return an error, by the boundary's own refusals, and by deferred code. No locks. */
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "http/internal.h"

/* Some errors only travel between modules. */
static enum err public_error(enum err e)
{
	switch ((int)e) {
	case ERR_OK:
	case ERR_LIMIT:
	case ERR_OVERFLOW:
	case ERR_IO:
	case ERR_CANCELLED:
		return ERR_INTERNAL;
	default:
		return e;
	}
}

static enum surface surface_of(const struct request *req)
{
	static const char *const openai[] = { "/v1/chat", "/v1/completions", "/v1/embeddings" };
	if (req->route)
		return req->route->surface;
	for (size_t i = 0; i < sizeof(openai) / sizeof(*openai); i++)
		if (!strncmp(req->path, openai[i], strlen(openai[i])))
			return SURFACE_OPENAI;
	if (!strncmp(req->path, "/v2", 3) && (req->path[3] == '/' || !req->path[3]))
		return SURFACE_OIP;
	return SURFACE_PROBLEM;
}

static const char *openai_type(int status)
{
	if (status == 402)
		return "insufficient_quota";
	if (status == 429)
		return "rate_limit_error";
	return status >= 500 ? "server_error" : "invalid_request_error";
}

struct shape {
	const struct request *req;
	const struct err_info *info;
	const char *message;
};

static json_t *openai_object(const struct shape *s)
{
	return json_must(json_pack("{s:s, s:s, s:s?, s:s, s:s, s:b, s:b}", "message", s->message, "type",
				   openai_type(s->info->http_status), "param", s->req->x->fail_param, "code", s->info->code, "request_id",
				   s->req->id, "retryable", s->info->retryable, "charged", 0));
}

static json_t *oip_object(const struct shape *s)
{
	return json_must(json_pack("{s:s, s:s, s:s, s:b, s:b}", "error", s->message, "code", s->info->code, "request_id", s->req->id,
				   "retryable", s->info->retryable, "charged", 0));
}

static json_t *problem_object(const struct shape *s, bool both)
{
	const char *instance = utf8_valid(s->req->path, strlen(s->req->path)) ? s->req->path : "/";
	json_t *j = json_must(json_pack("{s:o, s:s, s:i, s:s, s:s, s:s, s:s, s:b, s:b, s:s}", "type",
					json_sprintf("/errors/%s", s->info->code), "title",
					MHD_get_reason_phrase_for((unsigned)s->info->http_status), "status", s->info->http_status,
					"detail", s->message, "instance", instance, "code", s->info->code, "request_id", s->req->id,
					"retryable", s->info->retryable, "charged", 0, "hint", s->info->hint));
	if (both)
		json_object_set_new(j, "error", openai_object(s));
	return j;
}

static void error_headers(struct request *req, enum err e, int status)
{
	struct http_exchange *x = req->x;
	if (status == 401)
		reply_header(req, "WWW-Authenticate", "Bearer");
	bool retry_given = false;
	for (const struct header *h = x->reply.headers; h; h = h->next)
		retry_given |= !strcasecmp(h->name, "Retry-After");
	if ((status == 503 || status == 429 || e == ERR_IN_PROGRESS) && !retry_given)
		reply_header(req, "Retry-After", "1");
	if (status == 405 && x->allow)
		reply_header(req, "Allow", x->allow);
}

void reply_error(struct request *req, enum err e)
{
	e = public_error(e);
	const struct err_info *info = err_info(e);
	struct shape s = { req, info, req->x->fail_text ? req->x->fail_text : info->hint };
	enum surface surface = surface_of(req);
	error_headers(req, e, info->http_status);
	switch (surface) {
	case SURFACE_OPENAI:
		reply_json(req, info->http_status, json_must(json_pack("{s:o}", "error", openai_object(&s))));
		return;
	case SURFACE_OIP:
		reply_json(req, info->http_status, oip_object(&s));
		return;
	case SURFACE_PROBLEM:
	case SURFACE_BOTH:
		break;
	}
	reply_json(req, info->http_status, problem_object(&s, surface == SURFACE_BOTH));
	req->x->reply.content_type = "application/problem+json";
}
