/* See x402_extend.h. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "handlers/x402.h"
#include "handlers/x402_extend.h"
#include "pay/x402_siwx.h"

/* ---- what is declared ---- */

struct x402_resource x402_resource_of(struct request *req, const char *path, const char *model)
{
	return (struct x402_resource){ .url = arena_printf(req->arena, "%s%s", request_app(req)->settings->base_url, path),
				       .description = arena_printf(req->arena, "inference by %s", model), .mime_type = "application/json", .method = "POST" };
}

struct x402_declared x402_declared_of(struct request *req, const char *model)
{
	const struct x402 *x = &request_app(req)->x402;
	const char *route = req->route->name;
	bool sponsors = !amount_is_zero(x->sponsor_payer_max) && !amount_is_zero(x->sponsor_all_max);

	return (struct x402_declared){ .call = !strcmp(route, "chat_completions") ? X402_CALL_CHAT : !strcmp(route, "completions") ? X402_CALL_COMPLETIONS : X402_CALL_TENSORS,
				       .model = model, .identifier_required = x->identifier_required, .permits = sponsors && x->token_permits,
				       .approvals = sponsors };
}

static struct x402_siwx siwx_of(struct request *req, const struct hash *digest)
{
	const struct app *app = request_app(req);

	return (struct x402_siwx){ .base_url = app->settings->base_url, .uri = arena_printf(req->arena, "%s%s", app->settings->base_url, req->path),
				   .chain_id = app->x402.chain_id, .request = *digest, .key = &app->x402.siwx_key };
}

json_t *x402_declared_json(struct request *req, const struct x402_declared *declared)
{
	const struct x402_siwx siwx = siwx_of(req, &declared->request);
	json_t *all = x402_extensions_json(declared);

	json_object_set_new(all, X402_SIWX, x402_siwx_challenge(&siwx, clock_wall_ms()));
	return all;
}

const char *x402_echo_refusal(struct request *req, const struct x402_payment *payment, const struct x402_terms *terms)
{
	_cleanup_json_ json_t *declared = NULL;

	if (json_object_size(payment->extensions) == 0 || x402_payment_match(payment, terms->offers, terms->count) < 0)
		return NULL;
	declared = x402_declared_json(req, &terms->declared);
	return x402_payment_extensions_ok(payment, declared) ? NULL : X402_ECHO_MISMATCH;
}

/* ---- payment-identifier ---- */

#define KEY_PREFIX "idempotency-key-"

/* An Idempotency-Key means the same, in any letters. */
static const char *identifier_of_key(struct request *req, const char *key)
{
	struct hash h;

	sha256_of(key, strlen(key), &h);
	return arena_printf(req->arena, KEY_PREFIX "%s", hash_format(&h).s + 2);
}

enum err x402_identifier_of(struct request *req, const struct x402_payment *payment, const char **ret_id)
{
	enum x402_identified given = x402_identifier_read(payment, ret_id);
	const char *key = request_header(req, "Idempotency-Key");

	if (given == X402_ID_MALFORMED)
		return request_fail(req, ERR_BAD_FIELD, "payment-identifier: id must have 16 to 128 characters of A-Z, a-z, 0-9, _ and -");
	if (given == X402_ID_GIVEN)
		return ERR_OK;
	if (request_app(req)->x402.identifier_required && payment->version == 2)
		return request_fail(req, ERR_BAD_FIELD, "payment-identifier: an id is required here");
	*ret_id = key ? identifier_of_key(req, key) : NULL;
	return ERR_OK;
}

enum err x402_answer_identified(struct request *req, const struct paid *p, const struct address *payer, const char *id)
{
	_cleanup_payment_row_ struct payment_row row = { 0 };
	enum err e = id ? db_payment_identified(request_db(req), payer, id, &row) : ERR_NOT_FOUND;

	if (e || row.age_ms >= X402_REPLAY_MS)
		return e ? e : ERR_NOT_FOUND;
	if (!hash_equal(&row.request_digest, &p->spec.body_digest) && !strncmp(id, KEY_PREFIX, strlen(KEY_PREFIX)))
		return request_fail(req, ERR_KEY_REUSED, "Idempotency-Key: was used for another request");
	if (!hash_equal(&row.request_digest, &p->spec.body_digest))
		return request_fail(req, ERR_CONFLICT, "payment-identifier: this id was used for another request");
	if (!strcmp(row.state, "dropped")) /* nothing was taken: it may be tried again */
		return ERR_NOT_FOUND;
	return x402_answer_earlier(req, p, &row);
}

/* ---- sign-in-with-x ---- */

enum err x402_answer_signed_in(struct request *req, const struct paid *p, const char **ret_why)
{
	const struct x402 *x = &request_app(req)->x402;
	const struct x402_siwx siwx = siwx_of(req, &p->spec.body_digest);
	const char *header = request_header(req, X402_SIWX);
	_cleanup_payment_row_ struct payment_row row = { 0 };
	struct x402_signed_in in;
	struct json_why why;
	bool accepts = false;
	enum err e;

	if (!header)
		return ERR_NOT_FOUND;
	if (x402_siwx_read(&siwx, header, clock_wall_ms(), &in, &why)) {
		*ret_why = arena_strdup(req->arena, why.text);
		return ERR_NOT_FOUND;
	}
	if (!in.by_key && (e = wallet_accepts(x->chain, &in.address, &in.digest, in.signature, in.signature_len, WALLET_STATEMENT_GAS, &accepts)))
		return e;
	if (!in.by_key && !accepts) {
		*ret_why = "sign-in-with-x: the signature is not the wallet's";
		return ERR_NOT_FOUND;
	}
	e = db_payment_for_request(request_db(req), &in.address, &p->spec.body_digest, X402_REPLAY_MS, &row);
	if (e)
		return e; /* it has not paid for this: the terms, and the challenge stays good */
	e = db_siwx_nonce_use(request_db(req), in.nonce.s, &in.address, SIWE_LIFETIME_MS + SIWE_CLOCK_SKEW_MS);
	if (e == ERR_CONFLICT)
		*ret_why = "sign-in-with-x: this challenge was used before";
	return e == ERR_CONFLICT ? ERR_NOT_FOUND : e ? e : x402_answer_earlier(req, p, &row);
}
