/* Nodes: registration signed by node and operator, offers, heartbeats, and our signed word about them. What a node does to
 * itself comes with its signed request (guard.c); what it may change is its own row only. */
#include <stdlib.h>
#include <string.h>

#include "db/nodes.h"
#include "handlers/app.h"
#include "handlers/input.h"
#include "handlers/registry.h"
#include "handlers/routes.h"
#include "net/net.h"
#include "proof/statements.h"

#define REGISTRATION_SKEW_MS ((int64_t)10 * 60 * 1000)
#define NODES_SHOWN_MAX 100

/* ---- showing ---- */

static enum err node_json(struct request *req, const struct node_row *n, json_t **ret)
{
	json_t *offers = NULL;
	enum err e = db_offers_of_node(request_db(req), &n->address, &offers);
	if (e)
		return e;
	bool alive = strcmp(n->state, "active") == 0 && n->heartbeat_age_ms < request_app(req)->settings->node_timeout_ms;
	*ret = json_must(json_pack("{s:s,s:s,s:s,s:s,s:b,s:o,s:o,s:o}", "address", address_format(&n->address).s, "operator",
		address_format(&n->operator_).s, "url", n->url, "state", n->state, "alive", (int)alive, "registered_at", json_time(n->registered_at),
		"heartbeat_at", json_time(n->heartbeat_at), "offers", offers));
	return ERR_OK;
}

static enum err node_reply(struct request *req, int status, const struct address *node)
{
	struct node_row row;
	json_t *body = NULL;
	enum err e = db_node_get(request_db(req), node, &row);
	if (!e)
		e = node_json(req, &row, &body);
	if (!e)
		reply_json(req, status, body);
	return e;
}

/* {address} of the path. */
static enum err node_param(struct request *req, struct address *ret)
{
	const char *text = request_param(req, "address");
	if (!text || address_parse(text, ret))
		return request_fail(req, ERR_NOT_FOUND, "address: must be the address of a node");
	return ERR_OK;
}

enum err handle_nodes_list(struct request *req)
{
	struct node_row rows[NODES_SHOWN_MAX + 1];
	struct address after;
	size_t limit = 0, n = 0;
	const char *s = request_query(req, "after");
	if (s && address_parse(s, &after))
		return request_fail(req, ERR_BAD_FIELD, "after: must be the address of a node");
	enum err e = input_limit(req, 50, NODES_SHOWN_MAX, &limit);
	if (!e)
		e = db_nodes_list(request_db(req), s ? &after : NULL, rows, limit + 1, &n);
	if (e)
		return e;
	bool more = n > limit;
	n = more ? limit : n;
	_cleanup_json_ json_t *data = json_must(json_array());
	for (size_t i = 0; i < n; i++) {
		json_t *one = NULL;
		e = node_json(req, &rows[i], &one);
		if (e)
			return e;
		json_array_append_new(data, one);
	}
	reply_json(req, 200, json_must(json_pack("{s:s,s:O,s:b,s:s?,s:s?}", "object", "list", "data", data, "has_more", (int)more, "first_id",
		n ? address_format(&rows[0].address).s : NULL, "last_id", n ? address_format(&rows[n - 1].address).s : NULL)));
	return ERR_OK;
}

enum err handle_nodes_get(struct request *req)
{
	struct address node;
	enum err e = node_param(req, &node);
	return e ? e : node_reply(req, 200, &node);
}

enum err handle_profiles_get(struct request *req)
{
	struct hash hash;
	char *document = NULL;
	if (hash_parse(request_param(req, "hash"), &hash))
		return request_fail(req, ERR_NOT_FOUND, "hash: must be the SHA-256 of a profile");
	enum err e = db_profile_get(request_db(req), &hash, &document);
	if (e)
		return e;
	arena_on_free(req->arena, free, document);
	reply_bytes(req, 200, "application/json", document, strlen(document));
	return ERR_OK;
}

/* ---- registering ---- */

struct register_input {
	const char *registration, *operator_signature;
};

/* The statement out of its text, with both signatures checked. */
static enum err registration_read(struct request *req, const struct register_input *in, struct registration *ret)
{
	struct app *app = request_app(req);
	struct json_why why = { "" };
	struct signature node_sig, operator_sig;
	struct address signer;
	uint64_t chain_id = 0;
	if (doc_read(&REGISTRATION_TYPE, in->registration, strlen(in->registration), ret, &chain_id, &node_sig, &why))
		return request_fail(req, ERR_BAD_FIELD, "registration: %s", why.text);
	if (chain_id != (uint64_t)app->settings->chain_id)
		return request_fail(req, ERR_BAD_FIELD, "registration: for another chain");
	if (!address_equal(&ret->gateway, &app->gateway))
		return request_fail(req, ERR_BAD_FIELD, "registration: for another gateway");
	if (doc_signer(&REGISTRATION_TYPE, ret, chain_id, &node_sig, &signer) || !address_equal(&signer, &ret->node))
		return request_fail(req, ERR_BAD_SIGNATURE, "registration: not signed by the node's key");
	if (signature_parse(in->operator_signature, &operator_sig) ||
	    doc_signer(&REGISTRATION_TYPE, ret, chain_id, &operator_sig, &signer) || !address_equal(&signer, &ret->operator_))
		return request_fail(req, ERR_BAD_SIGNATURE, "operator_signature: not the operator's over the same statement");
	if (net_url_check(ret->url, app->settings->allow_private_nodes) || strpbrk(ret->url, "?#"))
		return request_fail(req, ERR_BAD_FIELD, "url: must be a public http or https URL without user, query or fragment");
	return ERR_OK;
}

/* Fresh, or the very statement that is stored already (a restart of a node whose operator signed elsewhere). */
static enum err registration_fresh(struct request *req, const struct registration *r, const char *text)
{
	int64_t now = clock_wall_ms();
	bool known = false;
	if (r->issued_at <= (uint64_t)(now + REGISTRATION_SKEW_MS) && (int64_t)r->issued_at >= now - REGISTRATION_SKEW_MS)
		return ERR_OK;
	enum err e = db_node_registration_known(request_db(req), &r->node, text, &known);
	if (e || known)
		return e;
	return request_fail(req, ERR_BAD_FIELD, "registration: issuedAt is more than ten minutes away from our clock");
}

enum err handle_nodes_register(struct request *req)
{
	static const struct json_field fields[] = {
		{ .name = "registration", .kind = JSON_FIELD_STR, .offset = offsetof(struct register_input, registration), .required = true, .min = 1, .max = DOC_JSON_MAX },
		{ .name = "operator_signature", .kind = JSON_FIELD_STR, .offset = offsetof(struct register_input, operator_signature), .required = true, .min = 132, .max = 132 },
	};
	struct register_input in = { 0 };
	struct registration r;
	enum err e = INPUT_READ(req, fields, &in);
	if (!e)
		e = registration_read(req, &in, &r);
	if (!e)
		e = registration_fresh(req, &r, in.registration);
	if (e)
		return e;
	const struct node_registration row = { .node = r.node, .operator_ = r.operator_, .url = r.url, .issued_at = (int64_t)r.issued_at,
					       .text = in.registration, .operator_signature = in.operator_signature };
	e = db_node_register(request_db(req), &row);
	if (e == ERR_CONFLICT)
		return request_fail(req, e, "registration: an equal or newer one is stored");
	if (e == ERR_FORBIDDEN)
		return request_fail(req, e, "this node is banned");
	return e ? e : node_reply(req, 201, &r.node);
}

/* ---- what a node says about itself ---- */

static const struct address *node_self(const struct request *req)
{
	const struct node_principal *p = req->principal;
	return &p->node;
}

enum err handle_nodes_heartbeat(struct request *req)
{
	enum err e = db_node_heartbeat(request_db(req), node_self(req));
	return e ? e : node_reply(req, 200, node_self(req));
}

enum err handle_nodes_drain(struct request *req)
{
	enum err e = db_node_drain(request_db(req), node_self(req));
	return e ? e : node_reply(req, 200, node_self(req));
}

struct offer_input {
	struct hash digest;
	json_t *ask;
	int64_t capacity;
	const char *precision, *profile;
};
static const struct json_field offer_fields[] = {
	{ .name = "digest", .kind = JSON_FIELD_HASH, .offset = offsetof(struct offer_input, digest), .required = true },
	{ .name = "ask", .kind = JSON_FIELD_OBJECT, .offset = offsetof(struct offer_input, ask), .required = true },
	{ .name = "capacity", .kind = JSON_FIELD_INT, .offset = offsetof(struct offer_input, capacity), .required = true, .min = 1, .max = 10000 },
	{ .name = "precision", .kind = JSON_FIELD_STR, .offset = offsetof(struct offer_input, precision), .min = 0, .max = 32 },
	{ .name = "profile", .kind = JSON_FIELD_STR, .offset = offsetof(struct offer_input, profile), .required = true, .min = 2, .max = NODE_PROFILE_MAX },
};

static enum err offer_read(struct request *req, size_t index, const json_t *item, struct offer_new *ret)
{
	struct offer_input in = { .precision = "" };
	struct json_why why = { "must be an object" };
	enum err e = json_is_object(item) ? JSON_READ(item, offer_fields, &in, &why) : ERR_BAD_FIELD;
	if (e)
		return request_fail(req, e, "offers[%zu]: %s", index, why.text);
	e = registry_price_read(req, arena_printf(req->arena, "offers[%zu].ask", index), in.ask, true, &ret->ask);
	if (e)
		return e;
	_cleanup_json_ json_t *profile = NULL;
	if (json_parse(in.profile, strlen(in.profile), &profile, &why) || !json_is_object(profile))
		return request_fail(req, ERR_BAD_FIELD, "offers[%zu].profile: must be the text of a JSON object", index);
	ret->digest = in.digest;
	ret->capacity = in.capacity;
	ret->precision = in.precision;
	ret->profile = in.profile;
	sha256_of(in.profile, strlen(in.profile), &ret->profile_hash);
	return ERR_OK;
}

static enum err offers_read(struct request *req, const json_t *list, struct offer_new *ret)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		enum err e = offer_read(req, i, json_array_get(list, i), &ret[i]);
		if (e)
			return e;
		for (size_t k = 0; k < i; k++)
			if (hash_equal(&ret[k].digest, &ret[i].digest))
				return request_fail(req, ERR_BAD_FIELD, "offers[%zu].digest: offered twice", i);
	}
	return ERR_OK;
}

enum err handle_nodes_offers(struct request *req)
{
	static const struct json_field fields[] = { { .name = "offers", .kind = JSON_FIELD_ARRAY, .offset = 0, .required = true, .min = 0, .max = NODE_OFFERS_MAX } };
	json_t *list = NULL;
	size_t bad = 0;
	enum err e = INPUT_READ(req, fields, &list);
	if (e)
		return e;
	struct offer_new *offers = arena_alloc(req->arena, sizeof(*offers) * (json_array_size(list) + 1));
	e = offers_read(req, list, offers);
	if (e)
		return e;
	e = db_offers_replace(request_db(req), node_self(req), offers, json_array_size(list), &bad);
	if (e == ERR_UNPROCESSABLE)
		return request_fail(req, ERR_BAD_FIELD, "offers[%zu].digest: no published version has it", bad);
	return e ? e : node_reply(req, 200, node_self(req));
}

/* ---- our word about them ---- */

enum err handle_nodes_statement(struct request *req)
{
	struct app *app = request_app(req);
	struct node_statement st = { .gateway = app->gateway, .issued_at = (uint64_t)clock_wall_ms() };
	struct node_registered known;
	struct signature sig;
	enum err e = node_param(req, &st.node);
	if (e)
		return e;
	if (hash_parse(request_param(req, "digest"), &st.model_digest))
		return request_fail(req, ERR_NOT_FOUND, "digest: must be sha256: and 64 hex digits");
	e = db_node_registered(request_db(req), &st.node, &st.model_digest, &known);
	if (e == ERR_NOT_FOUND)
		return request_fail(req, e, "this node never offered that version");
	if (e)
		return e;
	st.operator_ = known.operator_;
	st.profile_hash = known.profile_hash;
	st.registered_at = (uint64_t)known.registered_at;
	doc_sign(&NODE_STATEMENT_TYPE, &st, (uint64_t)app->settings->chain_id, &app->gateway_key, &sig);
	char *text = doc_write(&NODE_STATEMENT_TYPE, &st, (uint64_t)app->settings->chain_id, &sig);
	arena_on_free(req->arena, free, text);
	reply_bytes(req, 200, "application/json", text, strlen(text));
	return ERR_OK;
}
