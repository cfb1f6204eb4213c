/* The caller's own account. */
#include <string.h>

#include "db/accounts.h"
#include "handlers/app.h"
#include "handlers/input.h"
#include "handlers/routes.h"

static enum err account_reply(struct request *req, const struct account_row *a)
{
	const struct principal *p = req->principal;
	reply_header(req, "Cache-Control", "no-store");
	reply_json(req, 200, json_must(json_pack("{s:s,s:s?,s:o,s:b}", "address", address_format(&a->address).s, "handle",
		a->handle[0] ? a->handle : NULL, "created_at", json_time(a->created_at), "admin", (int)p->admin)));
	return ERR_OK;
}

enum err handle_me_get(struct request *req)
{
	const struct principal *p = req->principal;
	struct account_row a;
	enum err e = db_account_get(request_db(req), p->account, &a);
	return e ? e : account_reply(req, &a);
}

/* Small letters, digits and inner hyphens; nothing that looks like an address, and no first segment of our own routes. */
static bool handle_ok(const char *s)
{
	static const char *const reserved[] = { "api", "assets", "livez", "readyz", "metrics", "facilitator", "v0", "v1", "v2", "v3", "main",
						"admin", "opgate", "gateway", "platform", "treasury", "system", "me", "signing-key", "health" };
	size_t n = strlen(s);
	if (n < 1 || n > HANDLE_MAX || strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != n || s[0] == '-' || s[n - 1] == '-' || strncmp(s, "0x", 2) == 0)
		return false;
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		if (strcmp(s, reserved[i]) == 0)
			return false;
	return true;
}

enum err handle_me_patch(struct request *req)
{
	static const struct json_field fields[] = { { .name = "handle", .kind = JSON_FIELD_STR, .offset = 0, .required = true } };
	const struct principal *p = req->principal;
	const char *handle = NULL;
	struct account_row a;
	enum err e = INPUT_READ(req, fields, &handle);
	if (e)
		return e;
	if (!handle_ok(handle))
		return request_fail(req, ERR_BAD_FIELD, "handle: 1 to %d of a-z, 0-9 and inner hyphens; not starting with 0x, not a reserved word", HANDLE_MAX);
	e = db_account_set_handle(request_db(req), p->account, handle, &a);
	if (e == ERR_CONFLICT)
		return request_fail(req, e, "handle: taken, or another one was chosen before: it is part of model ids and cannot change");
	return e ? e : account_reply(req, &a);
}
