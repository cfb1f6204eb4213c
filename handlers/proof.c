/* Checking a receipt for anyone, and who this gateway is. */
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "db/nodes.h"
#include "handlers/app.h"
#include "handlers/input.h"
#include "handlers/routes.h"
#include "proof/verdict.h"

struct verify_input {
	const char *receipt, *request, *request_base64, *response, *response_base64, *method, *path, *content_type, *inference_header_length, *statement;
	struct address node, gateway;
	struct hash model;
};

#define F(member, kind) { #member, JSON_FIELD_##kind, offsetof(struct verify_input, member), false, 0, 0 }
static const struct json_field VERIFY_FIELDS[] = {
	{ "receipt", JSON_FIELD_STR, offsetof(struct verify_input, receipt), true, 1, 2 * DOC_JSON_MAX },
	F(request, STR), F(request_base64, STR), F(response, STR), F(response_base64, STR), F(method, STR), F(path, STR), F(content_type, STR),
	F(inference_header_length, STR), F(statement, STR), F(node, ADDRESS), F(gateway, ADDRESS), F(model, HASH),
};
#undef F

/* Bytes given as text or as base64url; both NULL: not given. */
static enum err bytes_of(struct request *req, const char *name, const char *text, const char *base64, const void **ret, size_t *ret_len)
{
	uint8_t *decoded;
	size_t cap;

	*ret = text;
	*ret_len = text ? strlen(text) : 0;
	if (!base64)
		return ERR_OK;
	cap = strlen(base64);
	decoded = arena_alloc(req->arena, cap + 1);
	if (text || base64url_decode(base64, strlen(base64), decoded, cap, ret_len))
		return request_fail(req, ERR_BAD_FIELD, "%s_base64: must be base64url without padding, and instead of %s", name, name);
	*ret = decoded;
	return ERR_OK;
}

/* The receipt as text, or base64url as it travels in the header. */
static enum err receipt_of(struct request *req, const char *given, const char **ret, size_t *ret_len)
{
	const void *text = given;

	*ret_len = strlen(given);
	if (*given != '{') {
		enum err e = bytes_of(req, "receipt", NULL, given, &text, ret_len);

		if (e)
			return request_fail(req, ERR_BAD_FIELD, "receipt: must be the JSON form as a string, or base64url of it");
	}
	*ret = text;
	return ERR_OK;
}

/* Without a pin or a statement of the caller's, this gateway's own registry says whether the key is a node of that version. */
static enum err registered(struct request *req, const struct verify_input *in, const struct verdict_input *v, struct address *ret, bool *ret_known)
{
	struct node_registered row;
	struct receipt receipt;
	struct signature sig;
	struct json_why why;
	uint64_t chain_id;
	enum err e;

	*ret_known = !address_is_zero(&in->node);
	*ret = in->node;
	if (*ret_known || in->statement || doc_read(&RECEIPT_TYPE, v->receipt_text, v->receipt_len, &receipt, &chain_id, &sig, &why))
		return ERR_OK;
	e = db_node_registered(request_db(req), &receipt.node, &receipt.model_digest, &row);
	if (e)
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	if (row.registered_at > 0 && (uint64_t)row.registered_at > receipt.finished_at && (uint64_t)row.registered_at - receipt.finished_at > VERDICT_CLOCK_SLACK_MS)
		return ERR_OK; /* as with a statement: the registry says nothing about the time before */
	*ret = receipt.node;
	*ret_known = true;
	return ERR_OK;
}

enum err handle_verify(struct request *req)
{
	struct app *app = request_app(req);
	struct verify_input in = { 0 };
	static const struct hash none;
	struct address node;
	bool known = false;
	struct verdict_report *report = arena_alloc(req->arena, sizeof(*report));
	struct verdict_input v = { .chain_id = (uint64_t)app->settings->chain_id, .own_chain = true, .now_ms = clock_wall_ms() };
	enum err e = INPUT_READ(req, VERIFY_FIELDS, &in);

	if (!e)
		e = receipt_of(req, in.receipt, &v.receipt_text, &v.receipt_len);
	if (!e)
		e = bytes_of(req, "request", in.request, in.request_base64, &v.request_body, &v.request_len);
	if (!e)
		e = bytes_of(req, "response", in.response, in.response_base64, &v.response_body, &v.response_len);
	if (!e)
		e = registered(req, &in, &v, &node, &known);
	if (e)
		return e;
	v.node = known ? &node : NULL;
	v.own_gateway = address_is_zero(&in.gateway);
	v.gateway = v.own_gateway ? &app->gateway : &in.gateway;
	v.statement_text = in.statement;
	v.statement_len = in.statement ? strlen(in.statement) : 0;
	v.model_digest = hash_equal(&in.model, &none) ? NULL : &in.model;
	v.request_method = in.method;
	v.request_path = in.path;
	v.request_content_type = in.content_type;
	v.request_inference_header_length = in.inference_header_length;
	verdict_check(&v, report);
	reply_json(req, 200, verdict_json(report));
	return ERR_OK;
}

enum err handle_gateway_info(struct request *req)
{
	const struct app *app = request_app(req);
	const struct settings *s = app->settings;

	reply_json(req, 200, json_must(json_pack("{s:s, s:I, s:s, s:s, s:s, s:I, s:I, s:o}", "address", address_format(&app->gateway).s, "chain_id", (json_int_t)s->chain_id,
						 "opg_token", address_format(&s->opg_token).s, "treasury", address_format(&s->treasury).s, "base_url", s->base_url,
						 "deposit_confirmations", (json_int_t)s->deposit_confirmations, "platform_fee_bps",
						 (json_int_t)s->platform_fee_bps, "depositor",
						 address_is_zero(&s->depositor_contract) || !app->settler ? json_null() : json_string(address_format(&s->depositor_contract).s))));
	return ERR_OK;
}
