/* API keys of the caller: listed, made (the text is shown once), revoked. Every statement carries the caller's account. */
#include <stdio.h>
#include <string.h>

#include "auth/apikey.h"
#include "db/keys.h"
#include "handlers/app.h"
#include "handlers/guard.h"
#include "handlers/input.h"
#include "handlers/routes.h"

static const char *const SCOPES[] = GUARD_SCOPES;
#define SCOPE_COUNT (sizeof(SCOPES) / sizeof(SCOPES[0]))

static json_t *key_json(const struct key_row *k)
{
	json_t *scopes = json_must(json_array());
	for (const char *p = k->scopes; *p; p += strspn(p, " ")) {
		size_t n = strcspn(p, " ");
		json_array_append_new(scopes, json_must(json_stringn(p, n)));
		p += n;
	}
	char id[24];
	snprintf(id, sizeof(id), "%lld", (long long)k->id);
	return json_must(json_pack("{s:s,s:s,s:s,s:o,s:o,s:o,s:o}", "id", id, "name", k->name, "prefix", k->prefix, "scopes", scopes, "created_at",
		json_time(k->created_at), "expires_at", json_time(k->expires_at), "revoked_at", json_time(k->revoked_at)));
}

enum err handle_keys_list(struct request *req)
{
	const struct principal *p = req->principal;
	struct key_row *rows;
	size_t limit, n;
	int64_t after = 0;
	enum err e = input_page(req, 50, 200, &limit, &after);
	if (!e)
		e = db_keys_list(request_db(req), req->arena, p->account, after, limit + 1, &rows, &n);
	if (e)
		return e;
	bool more = n > limit;
	json_t *data = json_must(json_array());
	for (size_t i = 0; i < n && i < limit; i++)
		json_array_append_new(data, key_json(&rows[i]));
	reply_json(req, 200, json_must(json_pack("{s:s,s:o,s:b}", "object", "list", "data", data, "has_more", (int)more)));
	return ERR_OK;
}

struct key_input {
	const char *name, *expires_at;
	json_t *scopes;
	int64_t expires_in;
};
static const struct json_field key_fields[] = {
	{ .name = "name", .kind = JSON_FIELD_STR, .offset = offsetof(struct key_input, name), .required = true, .min = 1, .max = 100 },
	{ .name = "scopes", .kind = JSON_FIELD_ARRAY, .offset = offsetof(struct key_input, scopes), .min = 1, .max = SCOPE_COUNT },
	{ .name = "expires_at", .kind = JSON_FIELD_STR, .offset = offsetof(struct key_input, expires_at), .min = 1, .max = 40 },
	{ .name = "expires_in", .kind = JSON_FIELD_INT, .offset = offsetof(struct key_input, expires_in), .min = 1, .max = 315360000 },
};

/* The wanted scopes as our own constants, each once. */
static enum err scopes_read(struct request *req, const json_t *wanted, const char *ret[SCOPE_COUNT], size_t *ret_count)
{
	bool have[SCOPE_COUNT] = { false };
	for (size_t i = 0; i < json_array_size(wanted); i++) {
		const char *s = json_string_value(json_array_get(wanted, i));
		size_t k = 0;
		while (s && k < SCOPE_COUNT && strcmp(s, SCOPES[k]) != 0)
			k++;
		if (!s || k == SCOPE_COUNT)
			return request_fail(req, ERR_BAD_FIELD, "scopes: each must be one of inference, registry, read");
		have[k] = true;
	}
	*ret_count = 0;
	for (size_t k = 0; k < SCOPE_COUNT; k++)
		if (have[k])
			ret[(*ret_count)++] = SCOPES[k];
	return ERR_OK;
}

static enum err expiry_read(struct request *req, const struct key_input *in, int64_t *ret)
{
	int64_t now = clock_wall_ms();
	*ret = 0;
	if (in->expires_at && in->expires_in)
		return request_fail(req, ERR_BAD_FIELD, "expires_in: give it or expires_at, not both");
	if (in->expires_in)
		*ret = now + in->expires_in * 1000;
	else if (in->expires_at && (!time_parse_rfc3339(in->expires_at, ret) || *ret <= now))
		return request_fail(req, ERR_BAD_FIELD, "expires_at: must be an RFC 3339 time in the future");
	return ERR_OK;
}

enum err handle_keys_create(struct request *req)
{
	const struct principal *p = req->principal;
	const char *scopes[SCOPE_COUNT] = { "inference", "read" };
	struct key_input in = { 0 };
	struct key_new new = { .account = p->account, .scopes = scopes, .scope_count = 2 };
	struct key_row row;
	enum err e = INPUT_READ(req, key_fields, &in);
	if (!e && in.scopes)
		e = scopes_read(req, in.scopes, scopes, &new.scope_count);
	if (!e)
		e = expiry_read(req, &in, &new.expires_at);
	if (e)
		return e;
	struct apikey key = apikey_new();
	new.name = in.name;
	new.prefix = arena_strndup(req->arena, key.s, APIKEY_SHOWN);
	apikey_hash(key.s, &new.secret_hash);
	e = db_key_create(request_db(req), req->arena, &new, &row);
	if (e == ERR_LIMIT)
		return request_fail(req, ERR_UNPROCESSABLE, "an account can hold %d live keys; revoke one first", KEYS_LIVE_MAX);
	if (!e) {
		json_t *body = key_json(&row);
		json_object_set_new(body, "key", json_must(json_string(key.s)));
		reply_header(req, "Cache-Control", "no-store");
		reply_json(req, 201, body);
	}
	crypto_wipe(&key, sizeof(key));
	return e;
}

enum err handle_keys_revoke(struct request *req)
{
	const struct principal *p = req->principal;
	int64_t id;
	if (!input_uint(request_param(req, "id"), &id))
		return ERR_NOT_FOUND;
	enum err e = db_key_revoke(request_db(req), p->account, id);
	if (!e)
		reply_empty(req, 204);
	return e;
}
