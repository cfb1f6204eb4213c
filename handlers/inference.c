/* Inference as its protocols speak it: OpenAI chat and completions, Open Inference Protocol v2. The body goes to the node unchanged. */
#include <string.h>

#include "handlers/paid.h"
#include "handlers/routes.h"

static enum err infer(struct request *req, const char *model, const char *surface)
{
	struct paid p;
	enum err e = paid_read(req, model, surface, &p);

	return e ? e : paid_run(req, &p);
}

enum err handle_chat_completions(struct request *req)
{
	return infer(req, NULL, "chat");
}

enum err handle_completions(struct request *req)
{
	return infer(req, NULL, "chat");
}

enum err handle_oip_infer(struct request *req)
{
	return infer(req, request_param(req, "model"), "tensor");
}

/* author/name and a version number make one reference. */
static const char *pinned(struct request *req)
{
	return arena_printf(req->arena, "%s@%s", request_param(req, "model"), request_param(req, "version"));
}

enum err handle_oip_infer_version(struct request *req)
{
	return infer(req, pinned(req), "tensor");
}

/* ---- what the protocol asks about a server and a model ---- */

enum err handle_oip_server(struct request *req)
{
	reply_json(req, 200, json_must(json_pack("{s:s, s:s, s:[]}", "name", "opgate", "version", "0.1.0", "extensions")));
	return ERR_OK;
}

enum err handle_oip_live(struct request *req)
{
	reply_json(req, 200, json_must(json_pack("{s:b}", "live", 1)));
	return ERR_OK;
}

enum err handle_oip_ready(struct request *req)
{
	bool ready = db_exec(request_db(req), "SELECT 1", NULL, NULL) == ERR_OK && !atomic_load(&request_app(req)->pay.stopped);

	reply_json(req, ready ? 200 : 503, json_must(json_pack("{s:b}", "ready", ready)));
	return ERR_OK;
}

static enum err find(struct request *req, struct quote *q)
{
	const char *ref = request_param(req, "model");
	enum err e = quote_find(&request_app(req)->pay, request_db(req), ref, q);

	return e == ERR_MODEL_NOT_FOUND ? request_fail(req, e, "model: \"%.200s\" does not exist or has no published version", ref) : e;
}

enum err handle_oip_model(struct request *req)
{
	struct quote *q = arena_alloc(req->arena, sizeof(*q));
	enum err e = find(req, q);

	if (e)
		return e;
	reply_json(req, 200, json_must(json_pack("{s:s, s:[o], s:s, s:[], s:[]}", "name", q->version.model_ref, "versions",
						 json_sprintf("%lld", (long long)q->version.number), "platform", "opgate", "inputs", "outputs")));
	return ERR_OK;
}

enum err handle_oip_model_ready(struct request *req)
{
	struct quote *q = arena_alloc(req->arena, sizeof(*q));
	enum err e = find(req, q);

	if (!e)
		e = quote_make(&request_app(req)->pay, 1, -1, q);
	if (e == ERR_NO_NODE)
		return request_fail(req, e, "no node serves %.200s right now", q->version.model_ref);
	if (!e)
		reply_json(req, 200, json_must(json_pack("{s:s, s:b}", "name", q->version.model_ref, "ready", 1)));
	return e;
}
