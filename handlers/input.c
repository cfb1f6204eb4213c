/* See input.h. No state. */
#include "handlers/input.h"

#include <string.h>

static void decref(void *j)
{
	json_decref(j);
}

enum err input_json(struct request *req, json_t **ret)
{
	struct json_why why;
	json_t *j;
	if (json_parse(req->body ? req->body : "", req->body_len, &j, &why))
		return request_fail(req, ERR_BAD_JSON, "%s", why.text);
	arena_on_free(req->arena, decref, j);
	*ret = j;
	return ERR_OK;
}

enum err input_read(struct request *req, const struct json_field *fields, size_t count, void *out)
{
	struct json_why why;
	json_t *j;
	if (req->body_len == 0) {
		j = json_must(json_object());
		arena_on_free(req->arena, decref, j);
	} else {
		enum err e = input_json(req, &j);
		if (e)
			return e;
	}
	enum err e = json_read(j, fields, count, out, &why);
	return e ? request_fail(req, e, "%s", why.text) : ERR_OK;
}

bool input_uint(const char *s, int64_t *ret)
{
	size_t n = strlen(s);
	if (n == 0 || n > 18 || strspn(s, "0123456789") != n || (s[0] == '0' && n > 1))
		return false;
	int64_t v = 0;
	for (; *s; s++)
		v = v * 10 + (*s - '0');
	*ret = v;
	return true;
}

enum err input_limit(struct request *req, int64_t standard, int64_t max, size_t *ret)
{
	const char *s = request_query(req, "limit");
	int64_t v = standard;
	if (s && (!input_uint(s, &v) || v < 1 || v > max))
		return request_fail(req, ERR_BAD_FIELD, "limit: must be a number between 1 and %lld", (long long)max);
	*ret = (size_t)v;
	return ERR_OK;
}

enum err input_page(struct request *req, int64_t standard, int64_t max, size_t *ret_limit, int64_t *ret_after)
{
	const char *after = request_query(req, "after");
	int64_t v = 0;
	enum err e = input_limit(req, standard, max, ret_limit);
	if (e)
		return e;
	if (after && !input_uint(after, &v))
		return request_fail(req, ERR_BAD_FIELD, "after: must be an id of the list");
	*ret_after = v;
	return ERR_OK;
}

json_t *json_time(int64_t wall_ms)
{
	return json_must(wall_ms ? json_string(time_format_rfc3339(wall_ms).s) : json_null());
}
