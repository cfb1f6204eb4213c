/* GET /discovery/resources: what a wallet can buy here right now, in the form the bazaar clients of x402 read. One resource for each
 * served model; its terms are those of a 402 for the example of a request that stands beside them. Chat models share a URL, as they do
 * for every OpenAI client: the example names the model. */
#include <string.h>

#include "db/registry.h"
#include "handlers/input.h"
#include "handlers/paid.h"
#include "handlers/registry.h"
#include "handlers/routes.h"
#include "handlers/x402_extend.h"

#define LIMIT 20
#define LIMIT_MAX 100

/* Everything here has one receiver, network and kind; a filter that asks for another leaves nothing. */
static bool nothing_wanted(struct request *req, const char **ret_surface)
{
	const struct x402 *x = &request_app(req)->x402;
	const char *type = request_query(req, "type"), *pay_to = request_query(req, "payTo"), *scheme = request_query(req, "scheme");
	const char *network = request_query(req, "network"), *extension = request_query(req, "extensions");
	struct x402_declared declared = x402_declared_of(req, "");
	_cleanup_json_ json_t *extensions = x402_declared_json(req, &declared);
	struct address wanted;

	*ret_surface = scheme && !strcmp(scheme, "upto") ? "chat" : NULL;
	return !x->chain || (type && strcmp(type, "http") != 0) || (pay_to && (address_parse(pay_to, &wanted) || !address_equal(&wanted, &x->pay_to))) ||
	       (scheme && strcmp(scheme, "exact") != 0 && (strcmp(scheme, "upto") != 0 || address_is_zero(&x->facilitator))) || (network && strcmp(network, x402_network_format(x->chain_id).s) != 0) ||
	       (extension && !json_object_get(extensions, extension));
}

static json_t *resource_json(const struct x402_terms *t, const struct model_served *m)
{
	_cleanup_json_ json_t *declared = x402_extensions_json(&t->declared);
	json_t *accepts = json_must(json_array());

	for (size_t i = 0; i < t->count; i++)
		json_array_append_new(accepts, x402_offer_json(&t->offers[i]));
	return json_must(json_pack("{s:s,s:s,s:i,s:o,s:o,s:s,s:s,s:s,s:[s,s],s:{s:O}}", "resource", t->resource.url, "type", "http", "x402Version", 2, "accepts", accepts,
				   "lastUpdated", json_time(m->changed_at), "description", t->resource.description, "mimeType", t->resource.mime_type, "serviceName", "opgate", "tags",
				   "inference", m->version.surface, "extensions", X402_BAZAAR, json_object_get(declared, X402_BAZAAR)));
}

/* ERR_NO_NODE and the like: it is not served after all. */
static enum err resource_make(struct request *req, const struct model_served *m, json_t *items)
{
	bool chat = !strcmp(m->version.surface, "chat");
	const char *path = chat ? "/v1/chat/completions" : arena_printf(req->arena, "/v2/models/%s/infer", m->version.model_ref);
	const struct x402_resource resource = x402_resource_of(req, path, m->version.model_ref);
	struct paid p = { .quote = arena_alloc(req->arena, sizeof(*p.quote)) };
	struct x402_declared declared = x402_declared_of(req, m->version.model_ref);
	struct x402_terms terms;
	size_t body_len;
	enum err e;

	declared.call = chat ? X402_CALL_CHAT : X402_CALL_TENSORS;
	body_len = x402_example_size(&declared, &p.max_output);
	e = quote_find(&request_app(req)->pay, request_db(req), registry_digest(req->arena, &m->version.digest), p.quote);
	if (!e)
		e = paid_price(req, &p, body_len);
	if (!e)
		e = x402_terms_make(&request_app(req)->x402, p.quote, chat ? "chat_completions" : "oip_infer", body_len, &resource, &terms);
	if (e)
		return e == ERR_DB_DOWN ? e : ERR_OK;
	terms.declared = declared;
	json_array_append_new(items, resource_json(&terms, m));
	x402_terms_done(&terms);
	return ERR_OK;
}

enum err handle_discovery(struct request *req)
{
	const char *surface, *after = request_query(req, "offset");
	_cleanup_json_ json_t *items = json_must(json_array());
	struct model_served *rows = NULL;
	size_t limit = 0, count = 0;
	int64_t offset = 0, total = 0;
	enum err e = input_limit(req, LIMIT, LIMIT_MAX, &limit);

	if (!e && after && !input_uint(after, &offset))
		e = request_fail(req, ERR_BAD_FIELD, "offset: must be a number");
	if (!e && !nothing_wanted(req, &surface))
		e = db_models_served(request_db(req), req->arena, surface, request_app(req)->pay.node_timeout_ms, offset, limit, &rows, &count, &total);
	for (size_t i = 0; !e && i < count; i++)
		e = resource_make(req, &rows[i], items);
	if (e)
		return e;
	reply_json(req, 200, json_must(json_pack("{s:i,s:O,s:{s:I,s:I,s:I}}", "x402Version", 2, "items", items, "pagination", "limit", (json_int_t)limit, "offset",
						 (json_int_t)offset, "total", (json_int_t)total)));
	return ERR_OK;
}

enum err handle_facilitator_discovery(struct request *req)
{
	return handle_discovery(req);
}
