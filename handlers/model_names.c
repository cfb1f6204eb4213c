/* See model_names.h. */
#include <string.h>

#include "handlers/model_names.h"
#include "handlers/registry.h"

#define SEPARATORS ", \t"

/* The entry at `p`, split at its `=`. False: it has none, or a half is empty. */
static bool split(const char *p, size_t len, size_t *ret_name)
{
	const char *eq = memchr(p, '=', len);

	*ret_name = eq ? (size_t)(eq - p) : 0;
	return *ret_name > 0 && *ret_name + 1 < len;
}

const char *model_names_bad(const char *aliases)
{
	for (const char *p = aliases + strspn(aliases, SEPARATORS); *p;) {
		size_t len = strcspn(p, SEPARATORS), name = 0;

		if (!split(p, len, &name) || memchr(p, '/', name) || !memchr(p + name, '/', len - name))
			return p;
		p += len;
		p += strspn(p, SEPARATORS);
	}
	return NULL;
}

/* What the operator says that this name stands for, or NULL. */
static const char *alias_of(struct request *req, const char *name)
{
	const char *aliases = request_app(req)->settings->model_aliases;
	size_t want = strlen(name);

	for (const char *p = aliases + strspn(aliases, SEPARATORS); *p;) {
		size_t len = strcspn(p, SEPARATORS), have = 0;

		if (split(p, len, &have) && have == want && !memcmp(p, name, want))
			return arena_printf(req->arena, "%.*s", (int)(len - have - 1), p + have + 1);
		p += len;
		p += strspn(p, SEPARATORS);
	}
	return NULL;
}

/* The one model that is called so, whoever the author is. */
static enum err find_by_name(struct request *req, const char *name, struct quote *ret)
{
	enum err e = db_version_of_name(request_db(req), name, &ret->version);

	return e ? e : quote_find(&request_app(req)->pay, request_db(req), registry_digest(req->arena, &ret->version.digest), ret);
}

enum err model_names_find(struct request *req, const char *name, struct quote *ret)
{
	const char *alias = strchr(name, '/') ? NULL : alias_of(req, name);
	enum err e = quote_find(&request_app(req)->pay, request_db(req), alias ? alias : name, ret);

	if (e == ERR_MODEL_NOT_FOUND && !alias)
		e = find_by_name(req, name, ret);
	if (e != ERR_MODEL_NOT_FOUND && e != ERR_CONFLICT)
		return e;
	request_fail_param(req, "model");
	if (e == ERR_CONFLICT)
		return request_fail(req, ERR_MODEL_NOT_FOUND, "model: several authors have published \"%.200s\"; say author/%.200s", name, name);
	return request_fail(req, e, "model: \"%.200s\" does not exist or has no published version", name);
}
