/* Co-authors: whose the royalty of a model is, from the next capture on. It moves money, so it takes what a withdrawal takes. */
#include "handlers/app.h"
#include "handlers/guard.h"
#include "handlers/input.h"
#include "handlers/registry.h"
#include "handlers/routes.h"

#define WHOLE 10000

static json_t *author_json(const struct address *address, uint32_t bps)
{
	return json_must(json_pack("{s:s, s:i}", "address", address_format(address).s, "bps", (int)bps));
}

static enum err reply_authors(struct request *req, const struct model_row *model)
{
	const struct principal *p = req->principal;
	struct model_share shares[MODEL_SHARES_MAX];
	json_t *others, *list;
	uint32_t left = WHOLE;
	size_t count = 0;
	enum err e = db_model_shares(request_db(req), model->id, shares, &count);

	if (e)
		return e;
	others = json_must(json_array());
	for (size_t i = 0; i < count; i++) {
		json_array_append_new(others, author_json(&shares[i].address, shares[i].bps));
		left -= shares[i].bps;
	}
	list = json_must(json_array());
	json_array_append_new(list, author_json(&p->address, left));
	json_array_extend(list, others);
	json_decref(others);
	reply_json(req, 200, json_must(json_pack("{s:s, s:o}", "model", model->ref, "authors", list)));
	return ERR_OK;
}

enum err handle_authors_get(struct request *req)
{
	struct model_row model;
	enum err e = registry_model_owned(req, &model);

	return e ? e : reply_authors(req, &model);
}

static enum err read_one(struct request *req, const json_t *j, struct model_share *ret)
{
	struct one {
		struct address address;
		int64_t bps;
	} one;
	static const struct json_field fields[] = {
		{ .name = "address", .kind = JSON_FIELD_ADDRESS, .offset = offsetof(struct one, address), .required = true },
		{ .name = "bps", .kind = JSON_FIELD_INT, .offset = offsetof(struct one, bps), .required = true, .min = 1, .max = WHOLE },
	};
	struct json_why why;
	enum err e = json_read(j, fields, 2, &one, &why);

	if (!e && address_is_zero(&one.address))
		return request_fail(req, ERR_BAD_FIELD, "authors: the zero address is nobody");
	if (e)
		return request_fail(req, e, "authors: %s", why.text);
	*ret = (struct model_share){ .address = one.address, .bps = (uint32_t)one.bps };
	return ERR_OK;
}

/* Everybody but the owner, who has what is left; together they are the whole. */
static enum err read_authors(struct request *req, const json_t *list, struct model_share *ret, size_t *ret_count)
{
	const struct principal *p = req->principal;
	uint32_t sum = 0;
	bool owner = false;

	*ret_count = 0;
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct model_share one;
		enum err e = read_one(req, json_array_get(list, i), &one);

		if (e)
			return e;
		sum += one.bps;
		bool is_owner = address_equal(&one.address, &p->address), twice = is_owner && owner;
		for (size_t k = 0; k < *ret_count; k++)
			twice = twice || address_equal(&ret[k].address, &one.address);
		if (twice)
			return request_fail(req, ERR_BAD_FIELD, "authors: %s is in it twice", address_format(&one.address).s);
		owner = owner || is_owner;
		if (!is_owner && *ret_count == MODEL_SHARES_MAX)
			return request_fail(req, ERR_BAD_FIELD, "authors: at most %d besides the owner", MODEL_SHARES_MAX);
		if (!is_owner)
			ret[(*ret_count)++] = one;
	}
	return sum == WHOLE ? ERR_OK : request_fail(req, ERR_BAD_FIELD, "authors: bps must add up to %d", WHOLE);
}

enum err handle_authors_put(struct request *req)
{
	struct input {
		json_t *authors;
	} in = { 0 };
	static const struct json_field fields[] = {
		{ .name = "authors", .kind = JSON_FIELD_ARRAY, .offset = offsetof(struct input, authors), .required = true, .min = 1, .max = MODEL_SHARES_MAX + 1 },
	};
	struct model_share shares[MODEL_SHARES_MAX];
	struct model_row model;
	size_t count = 0;
	enum err e = guard_fresh(req);

	if (!e)
		e = INPUT_READ(req, fields, &in);
	if (!e)
		e = registry_model_owned(req, &model);
	if (!e)
		e = read_authors(req, in.authors, shares, &count);
	if (!e)
		e = db_model_shares_set(request_db(req), model.id, shares, count);
	return e ? e : reply_authors(req, &model);
}
