/* See registry.h. */
#include "handlers/registry.h"

#include <string.h>

#include "base/json.h"
#include "handlers/input.h"

bool registry_owns(const struct request *req, int64_t author)
{
	const struct principal *p = req->principal;
	return p && p->account == author;
}

enum err registry_not_found(struct request *req, const char *ref)
{
	request_fail_param(req, "model");
	return request_fail(req, ERR_MODEL_NOT_FOUND, "the model `%.200s` does not exist", ref);
}

enum err registry_model(struct request *req, struct model_row *ret)
{
	const char *author = request_param(req, "author"), *name = request_param(req, "name");
	struct model_ref ref;
	enum err e = model_ref_parse(author, name, &ref);
	if (!e)
		e = db_model_get(request_db(req), req->arena, &ref, ret);
	return e == ERR_NOT_FOUND ? registry_not_found(req, arena_printf(req->arena, "%s/%s", author, name)) : e;
}

enum err registry_model_owned(struct request *req, struct model_row *ret)
{
	struct version_row *rows;
	size_t n;
	enum err e = registry_model(req, ret);
	if (e || registry_owns(req, ret->author))
		return e;
	e = db_versions_list(request_db(req), req->arena, ret->id, false, 0, 1, &rows, &n);
	if (e)
		return e;
	if (n == 0) /* nobody else knows of it */
		return registry_not_found(req, ret->ref);
	return request_fail(req, ERR_FORBIDDEN, "the model `%s` is not yours", ret->ref);
}

enum err registry_draft(struct request *req, struct version_row *ret)
{
	struct model_row model;
	int64_t number;
	enum err e = registry_model_owned(req, &model);
	if (e)
		return e;
	if (!input_uint(request_param(req, "version"), &number) || number > INT32_MAX)
		return request_fail(req, ERR_NOT_FOUND, "version: must be the number of a draft");
	e = db_version_by_number(request_db(req), model.id, number, ret);
	if (e == ERR_NOT_FOUND)
		return request_fail(req, e, "the model `%s` has no version %lld", model.ref, (long long)number);
	if (!e && ret->published)
		return request_fail(req, ERR_CONFLICT, "version %lld is published and immutable; make a new version", (long long)number);
	return e;
}

const char *registry_digest(struct arena *arena, const struct hash *digest)
{
	return arena_printf(arena, "sha256:%s", hash_format(digest).s + 2);
}

json_t *registry_price(const struct listed_price *p)
{
	return json_must(json_pack("{s:s,s:s,s:s}", "currency", listed_currency(p), "input", amount_format(p->input).s, "output", amount_format(p->output).s));
}

enum err registry_price_read(struct request *req, const char *what, const json_t *object, bool output_required, struct listed_price *ret)
{
	struct price_input {
		const char *currency;
		struct amount input, output;
	} in = { "OPG", AMOUNT_ZERO, AMOUNT_ZERO };
	const struct json_field fields[] = {
		{ .name = "currency", .kind = JSON_FIELD_STR, .offset = offsetof(struct price_input, currency) },
		{ .name = "input", .kind = JSON_FIELD_AMOUNT, .offset = offsetof(struct price_input, input), .required = true },
		{ .name = "output", .kind = JSON_FIELD_AMOUNT, .offset = offsetof(struct price_input, output), .required = output_required },
	};
	struct json_why why;
	enum err e = JSON_READ(object, fields, &in, &why);

	if (e)
		return request_fail(req, e, "%s.%s", what, why.text);
	if (strcmp(in.currency, "OPG") != 0 && strcmp(in.currency, "USD") != 0)
		return request_fail(req, ERR_BAD_FIELD, "%s.currency: must be OPG or USD", what);
	*ret = (struct listed_price){ .usd = !strcmp(in.currency, "USD"), .input = in.input, .output = in.output };
	return ERR_OK;
}

json_t *registry_version_json(struct arena *arena, const struct version_row *v)
{
	return json_must(json_pack("{s:s,s:s,s:s,s:I,s:s,s:o,s:I,s:s,s:s?,s:o,s:o}",
		"id", arena_printf(arena, "%s@%lld", v->model_ref, (long long)v->number), "object", "model.version", "model", v->model_ref,
		"version", (json_int_t)v->number, "surface", v->surface, "price", registry_price(&v->royalty),
		"max_output_tokens", (json_int_t)v->max_output_units, "state", v->published ? "published" : "draft",
		"digest", v->published ? registry_digest(arena, &v->digest) : NULL, "created_at", json_time(v->created_at), "published_at", json_time(v->published_at)));
}
