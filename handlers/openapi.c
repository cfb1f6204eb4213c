/* See openapi.h. `lock` guards the making of the text; once made it never changes. */
#include "handlers/openapi.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "handlers/app.h"
#include "handlers/routes.h"
#include "handlers/schemas.h"

#define ERRORS_PUBLIC ERR_LIMIT /* from there on errors travel between modules only */

static json_t *schema_must(const char *text)
{
	return json_must(json_quoted(text));
}

static json_t *ref_to(const char *kind, const char *name)
{
	return json_must(json_pack("{s:o}", "$ref", json_must(json_sprintf("#/components/%s/%s", kind, name))));
}

static void push(json_t *array, json_t *take)
{
	if (json_array_append_new(array, take))
		panic("openapi: out of memory");
}

static void put(json_t *object, const char *name, json_t *take)
{
	if (json_object_set_new(object, name, take))
		panic("openapi: a member could not be set");
}

/* ---- what a route says about itself ---- */

static const struct route_detail *detail_of(const struct route *r)
{
	static const struct route_detail none;
	for (size_t i = 0; i < ROUTE_DETAILS_COUNT; i++)
		if (strcmp(ROUTE_DETAILS[i].route, r->name) == 0)
			return &ROUTE_DETAILS[i];
	return &none;
}

/* Which part of the documentation: the groups of routes.h by their first words; anything new is its own group until named here. */
static json_t *tag_of(const struct route *r)
{
	static const char *const tags[][2] = {
		{ "livez", "operations" }, { "readyz", "operations" }, { "metrics", "operations" }, { "openapi.json", "operations" },
		{ "auth", "accounts" }, { "me", "accounts" }, { "keys", "accounts" }, { "models", "registry" }, { "versions", "registry" },
		{ "{author}", "registry" }, { "nodes", "nodes" }, { "profiles", "nodes" }, { "quotes", "jobs" }, { "jobs", "jobs" }, { "links", "jobs" },
		{ "chat", "OpenAI" }, { "completions", "OpenAI" }, { "verify", "proof" }, { "settlements", "proof" }, { "blobs", "proof" }, { "gateway", "proof" }, { "balance", "money" },
		{ "transfers", "money" }, { "deposits", "money" }, { "reconciliation", "money" }, { "", "pages" }, { "assets", "pages" },
	};
	const char *s = r->pattern + 1;
	if (strncmp(s, "v2", 2) == 0)
		return json_must(json_string("Open Inference Protocol"));
	if (strncmp(s, "v1/", 3) == 0)
		s += 3;
	size_t n = strcspn(s, "/");
	for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
		if (strlen(tags[i][0]) == n && strncmp(tags[i][0], s, n) == 0)
			return json_must(json_string(tags[i][1]));
	return json_must(json_stringn(s, n));
}

static const char *method_of(const struct route *r)
{
	static const char *const names[] = { [HTTP_GET] = "get", [HTTP_POST] = "post", [HTTP_PUT] = "put", [HTTP_PATCH] = "patch", [HTTP_DELETE] = "delete" };
	return names[r->method];
}

/* ---- parameters ---- */

static bool word_in(const char *words, const char *word)
{
	size_t n = strlen(word);
	for (const char *p = words; *p; p += strcspn(p, " "), p += strspn(p, " "))
		if (strcspn(p, " ") == n && strncmp(p, word, n) == 0)
			return true;
	return false;
}

static json_t *parameter_json(const struct route_parameter *p)
{
	json_t *j = json_must(json_pack("{s:s,s:s,s:s,s:o}", "name", p->name, "in", p->in, "description", p->description, "schema", schema_must(p->schema)));
	if (strcmp(p->in, "path") == 0)
		put(j, "required", json_true());
	return j;
}

static void path_parameter_add(json_t *list, const char *name)
{
	const struct route_parameter plain = { "", "path", name, "{'type':'string'}", name };
	for (size_t i = 0; i < ROUTE_PARAMETERS_COUNT; i++)
		if (strcmp(ROUTE_PARAMETERS[i].in, "path") == 0 && strcmp(ROUTE_PARAMETERS[i].name, name) == 0) {
			push(list, parameter_json(&ROUTE_PARAMETERS[i]));
			return;
		}
	push(list, parameter_json(&plain));
}

/* "{model*}" and "{path...}" lose what only our router understands; each parameter is declared on the way. */
static char *path_of(const struct route *r, json_t *parameters)
{
	char *path = xmalloc(strlen(r->pattern) + 1), *out = path;
	for (const char *p = r->pattern; *p;) {
		if (*p != '{') {
			*out++ = *p++;
			continue;
		}
		size_t n = strcspn(p + 1, "*.}");
		_cleanup_free_ char *name = xstrndup(p + 1, n);
		path_parameter_add(parameters, name);
		*out++ = '{';
		memcpy(out, name, n);
		out += n;
		*out++ = '}';
		p += strcspn(p, "}") + 1;
	}
	*out = '\0';
	return path;
}

static void parameters_add(json_t *list, const struct route *r)
{
	for (size_t i = 0; i < ROUTE_PARAMETERS_COUNT; i++)
		if (word_in(ROUTE_PARAMETERS[i].routes, r->name))
			push(list, parameter_json(&ROUTE_PARAMETERS[i]));
}

/* ---- bodies ---- */

static json_t *content_of(const char *type, json_t *take_schema)
{
	json_t *media = json_must(json_object());
	if (take_schema)
		put(media, "schema", take_schema);
	return json_must(json_pack("{s:o}", type, media));
}

/* A body that need not have anything in it need not be there: input_read takes none for {}. */
static bool body_needed(const char *schema)
{
	for (size_t i = 0; i < SCHEMAS_COUNT; i++) {
		if (strcmp(SCHEMAS[i].name, schema) != 0)
			continue;
		_cleanup_json_ json_t *j = schema_must(SCHEMAS[i].text);
		const json_t *members = json_object_get(j, "required");
		return !json_is_array(members) || json_array_size(members) > 0;
	}
	return true;
}

static json_t *request_body_of(const struct route *r)
{
	const struct route_detail *d = detail_of(r);
	if (d->request_type)
		return json_must(json_pack("{s:b,s:o}", "required", 1, "content", content_of(d->request_type, d->request_schema ? schema_must(d->request_schema) : NULL)));
	if (r->request_schema)
		return json_must(json_pack("{s:b,s:o}", "required", body_needed(r->request_schema), "content", content_of("application/json", ref_to("schemas", r->request_schema))));
	return NULL;
}

static json_t *success_of(const struct route *r)
{
	const struct route_detail *d = detail_of(r);
	json_t *answer = json_must(json_pack("{s:s}", "description", r->summary));
	if (r->response_schema)
		put(answer, "content", content_of("application/json", ref_to("schemas", r->response_schema)));
	else if (d->response_type)
		put(answer, "content", content_of(d->response_type, d->response_schema ? schema_must(d->response_schema) : NULL));
	if (d->response_also_type)
		put(json_object_get(answer, "content"), d->response_also_type, json_must(json_object()));
	return answer;
}

static const char *error_response_of(const struct route *r)
{
	static const char *const names[] = { [SURFACE_PROBLEM] = "Problem", [SURFACE_OPENAI] = "OpenAIError", [SURFACE_OIP] = "OipError", [SURFACE_BOTH] = "ProblemWithError" };
	return names[r->surface];
}

/* Can this route answer an error of this status? */
static bool may_answer(const struct route *r, int status)
{
	bool paid = strcmp(r->rate, "paid") == 0, body = r->body_max > 0 || r->mode == ROUTE_UPLOAD;
	switch (status) {
	case 401: case 403:
		return r->auth != ROUTE_PUBLIC;
	case 402: case 502: case 504:
		return paid;
	case 404:
		return paid || strchr(r->pattern, '{');
	case 409: case 422:
		return r->method != HTTP_GET;
	case 408: case 411: case 413: case 415:
		return body;
	case 405: case 414: case 431: case 505: /* whatever the route; not the route's */
		return false;
	default:
		return true; /* 400, 429, 500, 503 */
	}
}

static json_t *responses_of(const struct route *r)
{
	const struct route_detail *d = detail_of(r);
	json_t *all = json_must(json_object());
	char text[12];
	snprintf(text, sizeof(text), "%d", d->status ? d->status : 200);
	put(all, text, success_of(r));
	snprintf(text, sizeof(text), "%d", d->also_status);
	if (d->also_status)
		put(all, text, success_of(r));
	for (int i = ERR_OK + 1; i < ERRORS_PUBLIC; i++) {
		int status = err_info((enum err)i)->http_status;
		snprintf(text, sizeof(text), "%d", status);
		if (may_answer(r, status) && !json_object_get(all, text))
			put(all, text, ref_to("responses", error_response_of(r)));
	}
	put(all, "default", ref_to("responses", error_response_of(r)));
	return all;
}

/* ---- operations ---- */

static void security_add(json_t *op, const struct route *r)
{
	json_t *list = json_must(json_array());
	if (r->auth == ROUTE_OPTIONAL)
		push(list, json_must(json_object()));
	if (r->auth == ROUTE_OPTIONAL || r->auth == ROUTE_ACCOUNT)
		push(list, json_must(json_pack("{s:[]}", "bearerAuth")));
	if (r->auth == ROUTE_NODE)
		push(list, json_must(json_pack("{s:[]}", "nodeSignature")));
	put(op, "security", list);
	if (r->scope)
		put(op, "x-scope", json_must(json_string(r->scope)));
	if (r->role)
		put(op, "x-role", json_must(json_string(r->role)));
}

static void operation_add(json_t *paths, const struct route *r)
{
	json_t *parameters = json_must(json_array());
	_cleanup_free_ char *path = path_of(r, parameters);
	parameters_add(parameters, r);
	json_t *op = json_must(json_pack("{s:s,s:s,s:[o],s:o}", "operationId", r->name, "summary", r->summary, "tags", tag_of(r), "parameters", parameters));
	json_t *body = request_body_of(r);
	if (body)
		put(op, "requestBody", body);
	put(op, "responses", responses_of(r));
	security_add(op, r);
	put(op, "x-body-max", json_must(json_integer((json_int_t)r->body_max)));
	put(op, "x-rate-class", json_must(json_string(r->rate)));
	json_t *item = json_object_get(paths, path);
	if (!item) {
		item = json_must(json_object());
		put(paths, path, item);
	}
	put(item, method_of(r), op);
}

/* ---- components ---- */

static json_t *error_codes(void)
{
	json_t *list = json_must(json_array());
	for (int i = ERR_OK + 1; i < ERRORS_PUBLIC; i++) {
		const struct err_info *e = err_info((enum err)i);
		push(list, json_must(json_pack("{s:s,s:i,s:b,s:s}", "code", e->code, "status", e->http_status, "retryable", (int)e->retryable, "hint", e->hint)));
	}
	return list;
}

static json_t *schemas_json(void)
{
	json_t *all = json_must(json_object()), *codes = json_must(json_array());
	for (size_t i = 0; i < SCHEMAS_COUNT; i++)
		put(all, SCHEMAS[i].name, schema_must(SCHEMAS[i].text));
	for (int i = ERR_OK + 1; i < ERRORS_PUBLIC; i++)
		push(codes, json_must(json_string(err_info((enum err)i)->code)));
	put(json_object_get(all, "ErrorCode"), "enum", codes);
	return all;
}

static json_t *responses_json(void)
{
	static const char *const names[][2] = { { "Problem", "application/problem+json" }, { "ProblemWithError", "application/problem+json" },
						{ "OpenAIError", "application/json" }, { "OipError", "application/json" } };
	json_t *all = json_must(json_object());
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		put(all, names[i][0], json_must(json_pack("{s:s,s:o}", "description", "An error; its code is stable, and charged says whether anything was paid",
			"content", content_of(names[i][1], ref_to("schemas", names[i][0])))));
	return all;
}

static json_t *security_schemes(void)
{
	return json_must(json_pack("{s:{s:s,s:s,s:s},s:{s:s,s:s,s:s,s:s}}",
		"bearerAuth", "type", "http", "scheme", "bearer", "description", "an API key, or a token from /v1/auth/siwe",
		"nodeSignature", "type", "apiKey", "in", "header", "name", "Opgate-Node",
		"description", "base64url of a NodeRequest statement signed by the node's key over method, path, body hash, time and nonce"));
}

json_t *openapi_document(const struct route *routes, size_t count, const char *base_url)
{
	json_t *paths = json_must(json_object());
	for (size_t i = 0; i < count; i++)
		operation_add(paths, &routes[i]);
	return json_must(json_pack("{s:s,s:{s:s,s:s,s:s},s:[{s:s}],s:o,s:{s:o,s:o,s:o},s:o}", "openapi", "3.1.0", "info", "title", "opgate", "version", "1",
		"description", "An open gateway and marketplace for AI inference that can be checked", "servers", "url", base_url, "paths", paths,
		"components", "schemas", schemas_json(), "responses", responses_json(), "securitySchemes", security_schemes(), "x-errors", error_codes()));
}

/* ---- serving ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *document; /* lives as long as the process */

void openapi_build(const char *base_url)
{
	pthread_mutex_lock(&lock);
	if (!document) {
		_cleanup_json_ json_t *j = openapi_document(ROUTE_TABLE, ROUTE_TABLE_COUNT, base_url);
		document = json_text(j);
	}
	pthread_mutex_unlock(&lock);
}

enum err handle_openapi(struct request *req)
{
	openapi_build(request_app(req)->settings->base_url);
	reply_header(req, "Cache-Control", "no-cache");
	reply_bytes(req, 200, "application/json", document, strlen(document));
	return ERR_OK;
}
