/* Models: the list OpenAI clients read, one model with versions and offers, creating and describing. */
#include <string.h>

#include "handlers/app.h"
#include "handlers/input.h"
#include "handlers/registry.h"
#include "handlers/routes.h"

#define OFFERS_SHOWN 1000

/* What a unit costs a caller: (ask + royalty) and the platform's fee on it, rounded up. */
static enum err unit_price(struct amount ask, struct amount royalty, uint32_t fee_bps, struct amount *ret)
{
	struct amount sum, fee;
	enum err e = amount_add(ask, royalty, &sum);
	if (!e)
		e = amount_share_ceil(sum, fee_bps, &fee);
	return e ? e : amount_add(sum, fee, ret);
}

/* null while nobody serves it, or its price in USD cannot be told in OPG. */
static json_t *price_json(const struct request *req, const struct model_listed *m)
{
	uint32_t bps = (uint32_t)request_app(req)->settings->platform_fee_bps;
	struct amount input, output;
	if (!m->asked || !m->version.priced || unit_price(m->ask_input, m->version.royalty_input, bps, &input) || unit_price(m->ask_output, m->version.royalty_output, bps, &output))
		return json_must(json_null());
	json_t *j = json_must(json_pack("{s:s,s:s}", "input", amount_format(input).s, "output", amount_format(output).s));
	json_object_set_new(j, "asset", json_must(json_string("OPG")));
	json_object_set_new(j, "decimals", json_must(json_integer(18)));
	return j;
}

/* The object of the list; m->version.id == 0: nothing is published yet. */
static json_t *model_json(const struct request *req, const struct model_listed *m)
{
	const struct version_row *v = &m->version;
	json_t *j = json_must(json_pack("{s:s,s:s,s:I,s:s,s:s}", "id", m->model.ref, "object", "model", "created", (json_int_t)(m->model.created_at / 1000),
		"owned_by", m->model.owner, "title", m->model.title));
	if (v->id == 0)
		return j;
	json_t *more = json_must(json_pack("{s:s,s:I,s:s,s:o,s:o,s:I,s:I}", "surface", v->surface, "version", (json_int_t)v->number,
		"digest", registry_digest(req->arena, &v->digest), "price", price_json(req, m), "royalty", registry_price(&v->royalty),
		"offers", (json_int_t)m->offers, "max_output_tokens", (json_int_t)v->max_output_units));
	json_object_update(j, more);
	json_decref(more);
	return j;
}

static enum err list_filter(struct request *req, struct model_ref *author, struct model_filter *f)
{
	const char *by = request_query(req, "author"), *after = request_query(req, "after");
	struct model_ref ref;
	struct model_row row;
	enum err e = input_limit(req, 1000, 1000, &f->max);
	if (e)
		return e;
	f->node_timeout_ms = request_app(req)->settings->node_timeout_ms;
	f->surface = request_query(req, "surface");
	if (f->surface && strcmp(f->surface, "chat") != 0 && strcmp(f->surface, "tensor") != 0)
		return request_fail(req, ERR_BAD_FIELD, "surface: must be chat or tensor");
	if (by && model_ref_parse(by, "any", author))
		return request_fail(req, ERR_BAD_FIELD, "author: must be a handle or an address");
	if (by)
		f->author = author;
	if (!after)
		return ERR_OK;
	e = model_ref_parse_id(after, strlen(after), &ref);
	if (!e)
		e = db_model_get(request_db(req), req->arena, &ref, &row);
	if (e)
		return e == ERR_NOT_FOUND ? request_fail(req, ERR_BAD_FIELD, "after: must be the id of a model") : e;
	f->before = row.id;
	return ERR_OK;
}

enum err handle_models_list(struct request *req)
{
	struct model_filter f = { 0 };
	struct model_ref author;
	struct model_listed *rows;
	size_t n;
	enum err e = list_filter(req, &author, &f);
	if (e)
		return e;
	size_t limit = f.max++;
	e = db_models_list(request_db(req), req->arena, &f, &rows, &n);
	if (e)
		return e;
	bool more = n > limit;
	if (more)
		n = limit;
	json_t *data = json_must(json_array());
	for (size_t i = 0; i < n; i++)
		json_array_append_new(data, model_json(req, &rows[i]));
	reply_json(req, 200, json_must(json_pack("{s:s,s:o,s:b,s:s?,s:s?}", "object", "list", "data", data, "has_more", (int)more,
		"first_id", n ? rows[0].model.ref : NULL, "last_id", n ? rows[n - 1].model.ref : NULL)));
	return ERR_OK;
}

struct model_input {
	const char *name, *title, *description;
};
#define MODEL_TEXT_FIELDS \
	{ .name = "title", .kind = JSON_FIELD_STR, .offset = offsetof(struct model_input, title), .min = 0, .max = 200 }, \
	{ .name = "description", .kind = JSON_FIELD_STR, .offset = offsetof(struct model_input, description), .min = 0, .max = 20000 }

enum err handle_models_create(struct request *req)
{
	static const struct json_field fields[] = {
		{ .name = "name", .kind = JSON_FIELD_STR, .offset = offsetof(struct model_input, name), .required = true }, MODEL_TEXT_FIELDS };
	const struct principal *p = req->principal;
	struct model_input in = { .title = "", .description = "" };
	struct model_listed m = { 0 };
	struct model_ref ref = { .address = p->address };
	enum err e = INPUT_READ(req, fields, &in);
	if (e)
		return e;
	if (!model_name_ok(in.name))
		return request_fail(req, ERR_BAD_FIELD, "name: 1 to %d of A-Z, a-z, 0-9, '.', '_' and '-', starting with a letter or digit", MODEL_NAME_MAX);
	e = db_model_create(request_db(req), p->account, in.name, in.title, in.description);
	if (e == ERR_CONFLICT)
		return request_fail(req, e, "you have a model named `%s` already", in.name);
	if (!e) {
		memcpy(ref.name, in.name, strlen(in.name) + 1);
		e = db_model_get(request_db(req), req->arena, &ref, &m.model);
	}
	if (e)
		return e;
	json_t *body = model_json(req, &m);
	json_object_set_new(body, "description", json_must(json_string(m.model.description)));
	reply_json(req, 201, body);
	return ERR_OK;
}

enum err handle_models_patch(struct request *req)
{
	static const struct json_field fields[] = { MODEL_TEXT_FIELDS };
	const struct principal *p = req->principal;
	struct model_input in = { 0 };
	struct model_listed m = { 0 };
	enum err e = INPUT_READ(req, fields, &in);
	if (!e)
		e = registry_model_owned(req, &m.model);
	if (!e)
		e = db_model_patch(request_db(req), m.model.id, p->account, in.title, in.description);
	if (!e)
		e = registry_model(req, &m.model);
	if (e)
		return e;
	json_t *body = model_json(req, &m);
	json_object_set_new(body, "description", json_must(json_string(m.model.description)));
	reply_json(req, 200, body);
	return ERR_OK;
}

static json_t *offer_json(struct arena *arena, const struct model_offer *o)
{
	return json_must(json_pack("{s:s,s:s,s:o,s:I,s:s,s:s,s:I,s:s}", "node", address_format(&o->node).s, "operator", address_format(&o->operator_).s,
		"ask", registry_price(&o->ask), "capacity", (json_int_t)o->capacity, "precision", o->precision,
		"profile_hash", hash_format(&o->profile_hash).s, "version", (json_int_t)o->version, "digest", registry_digest(arena, &o->digest)));
}

/* One model: m->model is set, and m->version when one was named; otherwise the newest published one is taken. */
static enum err model_reply(struct request *req, struct model_listed *m)
{
	struct version_row *versions;
	struct model_offer *offers;
	size_t version_count, offer_count;
	bool owner = registry_owns(req, m->model.author);
	enum err e = db_versions_list(request_db(req), req->arena, m->model.id, owner, 0, 1000, &versions, &version_count);
	if (!e)
		e = db_model_offers(request_db(req), req->arena, m->model.id, request_app(req)->settings->node_timeout_ms, &offers, &offer_count);
	if (e)
		return e;
	for (size_t i = 0; i < version_count && m->version.id == 0; i++)
		if (versions[i].published)
			m->version = versions[i];
	if (m->version.id == 0 && !owner)
		return registry_not_found(req, m->model.ref);
	json_t *offers_json = json_must(json_array()), *versions_json = json_must(json_array());
	for (size_t i = 0; i < offer_count; i++) {
		json_array_append_new(offers_json, offer_json(req->arena, &offers[i]));
		if (offers[i].version == m->version.number && m->offers++ == 0) { /* the cheapest comes first */
			m->asked = offers[i].priced;
			m->ask_input = offers[i].ask_input;
			m->ask_output = offers[i].ask_output;
		}
	}
	for (size_t i = 0; i < version_count; i++)
		json_array_append_new(versions_json, registry_version_json(req->arena, &versions[i]));
	json_t *body = model_json(req, m);
	json_object_set_new(body, "description", json_must(json_string(m->model.description)));
	json_object_set_new(body, "versions", versions_json);
	json_object_set_new(body, "offers", offers_json);
	reply_json(req, 200, body);
	return ERR_OK;
}

/* `id` is all that db_version_resolve takes; without a revision the owner sees a model nothing was published of, too. */
static enum err model_show(struct request *req, const char *id)
{
	struct model_listed m = { 0 };
	struct model_ref ref;
	bool pinned = strchr(id, '@') || strncmp(id, "sha256:", 7) == 0;
	enum err e;
	if (pinned) {
		e = db_version_resolve(request_db(req), id, &m.version);
		if (e)
			return e == ERR_MODEL_NOT_FOUND ? registry_not_found(req, id) : e;
		e = model_ref_parse_id(m.version.model_ref, strlen(m.version.model_ref), &ref);
	} else {
		e = model_ref_parse_id(id, strlen(id), &ref);
	}
	if (!e)
		e = db_model_get(request_db(req), req->arena, &ref, &m.model);
	if (e)
		return e == ERR_NOT_FOUND ? registry_not_found(req, id) : e;
	if (pinned)
		m.model.ref = id;
	return model_reply(req, &m);
}

enum err handle_models_get(struct request *req)
{
	return model_show(req, arena_printf(req->arena, "%s/%s", request_param(req, "author"), request_param(req, "name")));
}

enum err handle_models_get_one(struct request *req)
{
	return model_show(req, request_param(req, "model"));
}
