/* What the node answers: its routes, and the checks before an inference is begun. Called by the HTTP workers. Only the pinned
 * gateway's tickets are served; everything else here is read-only and public. */
#include <stdlib.h>
#include <string.h>

#include "node/agent.h"

static struct agent *request_agent(const struct request *req)
{
	return req->app;
}

/* Which of the backend's paths this request means. */
enum wanted { WANT_TENSOR, WANT_CHAT, WANT_COMPLETIONS, WANT_ANY };

static enum err path_of(struct request *req, const struct served *s, enum wanted wanted, enum backend_path *ret)
{
	bool tensor = s->surface == NODE_TENSOR;
	if (wanted != WANT_ANY && tensor != (wanted == WANT_TENSOR))
		return request_fail(req, ERR_UNPROCESSABLE, "the ticket's version is a %s model", node_surface_name(s->surface));
	*ret = tensor ? PATH_INFER : wanted == WANT_COMPLETIONS ? PATH_COMPLETIONS : PATH_CHAT;
	return ERR_OK;
}

/* The body for the backend and the ticket's only use; the place is held. */
static enum err start_prepare(struct agent *a, struct infer_start *start)
{
	struct request *req = start->req;
	struct json_why why = { "" };
	enum err e = ERR_OK;
	if (start->path != PATH_INFER)
		e = chat_rewrite(req->body, req->body_len, start->backend.model, &start->chat, &start->body, &why);
	if (e)
		return request_fail(req, e, "%s", why.text);
	start->body_len = start->body ? strlen(start->body) : 0;
	e = ticket_table_use(a->tickets, &start->ticket, clock_wall_ms());
	if (e == ERR_CONFLICT)
		return request_fail(req, e, "ticket: this attempt was served before");
	return e ? request_fail(req, e, "too many tickets are remembered") : ERR_OK;
}

static enum err serve(struct request *req, enum wanted wanted)
{
	struct agent *a = request_agent(req);
	const struct ticket_request asked = {
		.method = "POST", .path = req->path, .content_type = request_header(req, "Content-Type"),
		.inference_header_length = request_header(req, "Inference-Header-Content-Length"), .body = req->body, .body_len = req->body_len,
	};
	struct infer_start start = { .req = req };
	struct json_why why = { "" };
	enum err e = ticket_check(a, request_header(req, "Opgate-Ticket"), &asked, clock_wall_ms(), &start.ticket, &why);
	if (e)
		return request_fail(req, e, "%s", why.text);
	start.served = served_find(a, &start.ticket.model_digest);
	if (!start.served)
		return request_fail(req, ERR_MODEL_NOT_FOUND, "ticket: this node does not serve that version");
	e = path_of(req, start.served, wanted, &start.path);
	if (e)
		return e;
	e = served_acquire(a, start.served, &start.backend);
	if (e) {
		reply_header(req, "Retry-After", "1");
		return request_fail(req, e, e == ERR_OVERLOADED ? "all places are taken" : "the backend is not ready");
	}
	e = start_prepare(a, &start);
	if (e) {
		free(start.body);
		served_release(a, start.served);
		return e;
	}
	return infer_begin(a, &start);
}

static enum err handle_infer(struct request *req) { return serve(req, WANT_TENSOR); }
static enum err handle_chat(struct request *req) { return serve(req, WANT_CHAT); }
static enum err handle_completions(struct request *req) { return serve(req, WANT_COMPLETIONS); }
static enum err handle_job(struct request *req) { return serve(req, WANT_ANY); }

static enum err handle_livez(struct request *req)
{
	static const char body[] = "{\"live\":true}";
	reply_bytes(req, 200, "application/json", body, sizeof(body) - 1);
	return ERR_OK;
}

static enum err handle_profile(struct request *req)
{
	struct agent *a = request_agent(req);
	struct hash hash;
	if (hash_parse(request_param(req, "hash"), &hash))
		return ERR_NOT_FOUND;
	const char *profile = NULL;
	pthread_mutex_lock(&a->lock);
	for (const struct served *s = a->served; s && !profile; s = s->next)
		if (hash_equal(&s->profile_hash, &hash))
			profile = s->profile; /* lives as long as the agent */
	pthread_mutex_unlock(&a->lock);
	if (!profile)
		return ERR_NOT_FOUND;
	reply_bytes(req, 200, "application/json", profile, strlen(profile));
	return ERR_OK;
}

void node_after(struct request *req, int status, int64_t us)
{
	LOG_EVENT(status >= 500 ? LOG_WARN : LOG_DEBUG, "request", L_STR("id", req->id), L_STR("route", req->route ? req->route->name : ""),
		  L_INT("status", status), L_INT("us", us));
}

#define POST(pattern_, name_, surface_, fn) \
	{ .method = HTTP_POST, .pattern = pattern_, .name = name_, .mode = ROUTE_WORKER, .auth = ROUTE_PUBLIC, .body_max = NODE_BODY_MAX, \
	  .rate = "paid", .surface = surface_, .handler = fn, .summary = name_ }
#define GET(pattern_, name_, mode_, fn) \
	{ .method = HTTP_GET, .pattern = pattern_, .name = name_, .mode = mode_, .auth = ROUTE_PUBLIC, .rate = "read", \
	  .surface = SURFACE_PROBLEM, .handler = fn, .summary = name_ }

const struct route NODE_ROUTES[] = {
	GET("/livez", "livez", ROUTE_INLINE, handle_livez),
	GET("/profile/{hash}", "profile", ROUTE_WORKER, handle_profile),
	POST("/v2/models/{model*}/infer", "infer", SURFACE_OIP, handle_infer),
	POST("/v2/models/{model*}/versions/{version}/infer", "infer_version", SURFACE_OIP, handle_infer),
	POST("/v1/chat/completions", "chat", SURFACE_OPENAI, handle_chat),
	POST("/v1/completions", "completions", SURFACE_OPENAI, handle_completions),
	POST("/v1/jobs", "job", SURFACE_PROBLEM, handle_job),
};
const size_t NODE_ROUTES_COUNT = sizeof(NODE_ROUTES) / sizeof(NODE_ROUTES[0]);
