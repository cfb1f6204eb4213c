/* Authentication, scopes, roles and rate limits, before any handler; on a worker. Keys are looked up in the database on
 * every request, so a revoked one is dead at once. Locks: only those of rate.c. */
#include "handlers/guard.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "auth/apikey.h"
#include "auth/jwt.h"
#include "base/base64.h"
#include "db/keys.h"
#include "handlers/rate.h"
#include "proof/statements.h"

#define NODE_CLOCK_SKEW_MS (60 * 1000)

static int64_t rate_of(const struct settings *s, const char *class)
{
	return strcmp(class, "read") == 0 ? s->rate_read : strcmp(class, "paid") == 0 ? s->rate_paid : strcmp(class, "auth") == 0 ? s->rate_auth : s->rate_write;
}

static enum err rate_refuse(struct request *req, const char *class, int64_t wait_s)
{
	char text[24];
	snprintf(text, sizeof(text), "%lld", (long long)wait_s);
	reply_header(req, "Retry-After", text);
	return request_fail(req, ERR_RATE_LIMITED, "too many requests of class `%s`", class);
}

static enum err guard_rate(struct request *req, const struct rate_key *key, bool take)
{
	int64_t rate = rate_of(request_app(req)->settings, key->class), wait = 1;
	bool ok = take ? rate_take(key, rate, clock_mono_ms(), &wait) : rate_peek(key, rate, clock_mono_ms(), &wait);
	return ok ? ERR_OK : rate_refuse(req, key->class, wait);
}

static struct rate_key rate_by_ip(const struct request *req, const char *class, char kind)
{
	const char *ip = request_client_ip(req);
	return (struct rate_key){ .class = class, .kind = kind, .id = ip ? ip : "", .len = ip ? strlen(ip) : 0 };
}

bool guard_is_admin(const struct app *app, const struct address *address)
{
	const char *p = app->settings->admin_addresses;
	while (p && *p) {
		char text[43];
		struct address a;
		p += strspn(p, ", ");
		size_t n = strcspn(p, ", ");
		if (n == 42) {
			memcpy(text, p, n);
			text[n] = '\0';
			if (!address_parse(text, &a) && address_equal(&a, address))
				return true;
		}
		p += n;
	}
	return false;
}

/* The credential, or NULL when there is none that is shaped like one of ours: SDKs send placeholders. */
static const char *guard_credential(const struct request *req)
{
	const char *s = request_header(req, "Authorization");
	if (s && strncasecmp(s, "Bearer ", 7) == 0) {
		s += 7 + strspn(s + 7, " ");
		if (apikey_shaped(s) || token_shaped(s))
			return s;
	}
	s = request_header(req, "x-api-key");
	return s && apikey_shaped(s) ? s : NULL;
}

static bool scope_held(const char *scopes, const char *wanted)
{
	size_t n = strlen(wanted);
	for (const char *p = scopes; *p; p += strcspn(p, " "), p += strspn(p, " "))
		if (strncmp(p, wanted, n) == 0 && (p[n] == ' ' || p[n] == '\0'))
			return true;
	return false;
}

static enum err scope_refuse(struct request *req, const char *scope)
{
	if (strcmp(scope, "keys") == 0)
		return request_fail(req, ERR_FORBIDDEN, "API keys are made and revoked with a token from /v1/auth/siwe");
	if (strcmp(scope, "payouts") == 0) /* no key can have it */
		return request_fail(req, ERR_FORBIDDEN, "what money goes out, and to whom, is said with a token from /v1/auth/siwe, not with an API key");
	return request_fail(req, ERR_FORBIDDEN, "the API key lacks the scope `%s`", scope);
}

static enum err guard_key(struct request *req, const char *text, struct principal *p)
{
	struct key_holder holder;
	struct hash hash;
	if (!apikey_well_formed(text))
		return request_fail(req, ERR_BAD_KEY, "the API key is mistyped: its checksum is wrong");
	apikey_hash(text, &hash);
	enum err e = db_key_find(request_db(req), &hash, &holder);
	if (e == ERR_NOT_FOUND)
		return request_fail(req, ERR_BAD_KEY, "the API key is unknown, revoked or expired");
	if (e)
		return e;
	if (req->route->scope && !scope_held(holder.scopes, req->route->scope))
		return scope_refuse(req, req->route->scope);
	p->account = holder.account;
	p->address = holder.address;
	p->api_key = holder.key;
	return ERR_OK;
}

static enum err guard_token(struct request *req, const char *text, struct principal *p)
{
	struct app *app = request_app(req);
	struct token_claims claims;
	struct json_why why;
	enum err e = token_check(app->jwt_secret, app->settings->base_url, clock_wall_ms() / 1000, text, &claims, &why);
	if (e)
		return request_fail(req, e, "%s", why.text);
	p->account = claims.account;
	p->address = claims.address;
	p->signed_in_at = claims.signed_in_at;
	return ERR_OK;
}

/* Guessing credentials costs a look-up each: an address that failed too often waits. */
static enum err guard_resolve(struct request *req, const char *credential, struct principal *p)
{
	struct rate_key failures = rate_by_ip(req, "auth", 'f');
	enum err e = guard_rate(req, &failures, false);
	if (e)
		return e;
	e = apikey_shaped(credential) ? guard_key(req, credential, p) : guard_token(req, credential, p);
	if (e == ERR_BAD_KEY || e == ERR_BAD_TOKEN) {
		int64_t wait;
		(void)rate_take(&failures, request_app(req)->settings->rate_auth, clock_mono_ms(), &wait);
	}
	return e;
}

static enum err guard_account(struct request *req)
{
	const char *credential = guard_credential(req);
	if (!credential) {
		if (req->route->auth == ROUTE_ACCOUNT) {
			reply_header(req, "WWW-Authenticate", "Bearer");
			return request_fail(req, ERR_UNAUTHENTICATED, "this route needs an API key (ogk_…) or a token; none was sent that is shaped like one");
		}
		struct rate_key by_ip = rate_by_ip(req, req->route->rate, 'i');
		return guard_rate(req, &by_ip, true);
	}
	struct principal *p = arena_alloc(req->arena, sizeof(*p));
	enum err e = guard_resolve(req, credential, p);
	if (e)
		return e;
	p->admin = guard_is_admin(request_app(req), &p->address);
	if (req->route->role && !(strcmp(req->route->role, "admin") == 0 && p->admin))
		return request_fail(req, ERR_FORBIDDEN, "this route needs the role `%s`", req->route->role);
	req->principal = p;
	struct rate_key by_account = { .class = req->route->rate, .kind = 'a', .id = &p->account, .len = sizeof(p->account) };
	return guard_rate(req, &by_account, true);
}

static const char *method_name(enum http_method m)
{
	static const char *const names[] = { [HTTP_GET] = "GET", [HTTP_POST] = "POST", [HTTP_PUT] = "PUT", [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE" };
	return names[m];
}

/* The signed header as a statement whose signature is right. */
static enum err node_request_read(struct request *req, struct node_request *ret)
{
	const char *header = request_header(req, "Opgate-Node");
	char text[DOC_JSON_MAX];
	size_t len;
	struct signature sig;
	struct address signer;
	struct json_why why;
	uint64_t chain_id;
	if (!header)
		return request_fail(req, ERR_UNAUTHENTICATED, "this route needs the header Opgate-Node");
	if (base64url_decode(header, strlen(header), (uint8_t *)text, sizeof(text), &len))
		return request_fail(req, ERR_BAD_SIGNATURE, "Opgate-Node: not base64url");
	if (doc_read(&NODE_REQUEST_TYPE, text, len, ret, &chain_id, &sig, &why))
		return request_fail(req, ERR_BAD_SIGNATURE, "Opgate-Node: %s", why.text);
	if (chain_id != (uint64_t)request_app(req)->settings->chain_id)
		return request_fail(req, ERR_BAD_SIGNATURE, "Opgate-Node: signed for another chain");
	if (doc_signer(&NODE_REQUEST_TYPE, ret, chain_id, &sig, &signer) || !address_equal(&signer, &ret->node))
		return request_fail(req, ERR_BAD_SIGNATURE, "Opgate-Node: not signed by the node");
	return ERR_OK;
}

enum err guard_node(struct request *req, struct address *ret_node)
{
	struct node_request nr;
	struct address named;
	struct hash body;
	const char *param = request_param(req, "address");
	enum err e = node_request_read(req, &nr);
	if (e)
		return e;
	if (!address_equal(&nr.gateway, &request_app(req)->gateway))
		return request_fail(req, ERR_BAD_SIGNATURE, "Opgate-Node: signed for another gateway");
	if (!param || address_parse(param, &named) || !address_equal(&named, &nr.node))
		return request_fail(req, ERR_FORBIDDEN, "Opgate-Node: signed by another node than the path names");
	sha256_of(req->body ? req->body : "", req->body_len, &body);
	if (strcmp(nr.method, method_name(req->method)) != 0 || strcmp(nr.path, req->path) != 0 || req->query[0] || !hash_equal(&body, &nr.body_hash))
		return request_fail(req, ERR_BAD_SIGNATURE, "Opgate-Node: signed for another method, path or body");
	int64_t now = clock_wall_ms();
	if (nr.issued_at > INT64_MAX || (int64_t)nr.issued_at > now + NODE_CLOCK_SKEW_MS || (int64_t)nr.issued_at < now - NODE_CLOCK_SKEW_MS)
		return request_fail(req, ERR_BAD_SIGNATURE, "Opgate-Node: issuedAt is more than a minute away from our clock");
	e = db_node_nonce_use(request_db(req), &nr.node, &nr.nonce);
	if (e == ERR_CONFLICT)
		return request_fail(req, ERR_BAD_SIGNATURE, "Opgate-Node: this nonce was used before");
	if (e == ERR_FORBIDDEN)
		return request_fail(req, ERR_FORBIDDEN, "the node is not registered, or banned");
	if (!e)
		*ret_node = nr.node;
	return e;
}

enum err guard_fresh(struct request *req)
{
	const struct principal *p = req->principal;
	int64_t limit = request_app(req)->settings->payout_sign_in_ms;
	if (clock_wall_ms() - p->signed_in_at * 1000 > limit)
		return request_fail(req, ERR_BAD_TOKEN, "moving money needs a sign-in of the last %lld seconds: sign in again", (long long)limit / 1000);
	return ERR_OK;
}

enum err guard_before(struct request *req)
{
	struct rate_key by_ip = rate_by_ip(req, req->route->rate, 'i');
	struct node_principal *node;
	enum err e;
	switch (req->route->auth) {
	case ROUTE_PUBLIC:
		return guard_rate(req, &by_ip, true);
	case ROUTE_NODE:
		e = guard_rate(req, &by_ip, true);
		if (e)
			return e;
		node = arena_alloc(req->arena, sizeof(*node));
		e = guard_node(req, &node->node);
		if (!e)
			req->principal = node;
		return e;
	case ROUTE_OPTIONAL:
	case ROUTE_ACCOUNT:
		return guard_account(req);
	}
	return ERR_INTERNAL;
}
