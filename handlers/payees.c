/* Payees: the addresses the facilitator settles to. An account registers its own address by being signed in, and another one with
 * that address's signature, so that nobody has gas spent in somebody else's name. */
#include <string.h>

#include "db/facilitations.h"
#include "handlers/app.h"
#include "handlers/input.h"
#include "handlers/routes.h"
#include "proof/statements.h"

#define CONSENT_SKEW_MS ((int64_t)10 * 60 * 1000)

static const struct principal *caller(const struct request *req)
{
	return req->principal;
}

/* The address's word that this account may register it here, given just now. */
static enum err consent_read(struct request *req, const char *text, struct payee_consent *ret)
{
	const struct app *app = request_app(req);
	int64_t now = clock_wall_ms();
	struct json_why why = { "" };
	struct signature signature;
	struct address signer;
	uint64_t chain_id = 0;

	if (doc_read(&PAYEE_CONSENT_TYPE, text, strlen(text), ret, &chain_id, &signature, &why))
		return request_fail(req, ERR_BAD_FIELD, "consent: %s", why.text);
	if (chain_id != (uint64_t)app->settings->chain_id || !address_equal(&ret->gateway, &app->gateway))
		return request_fail(req, ERR_BAD_FIELD, "consent: for another chain or gateway");
	if (!address_equal(&ret->account, &caller(req)->address))
		return request_fail(req, ERR_BAD_FIELD, "consent: for another account");
	if (ret->issued_at > (uint64_t)(now + CONSENT_SKEW_MS) || (int64_t)ret->issued_at < now - CONSENT_SKEW_MS)
		return request_fail(req, ERR_BAD_FIELD, "consent: issuedAt is more than ten minutes away from our clock");
	if (doc_signer(&PAYEE_CONSENT_TYPE, ret, chain_id, &signature, &signer) || !address_equal(&signer, &ret->payee))
		return request_fail(req, ERR_BAD_SIGNATURE, "consent: not signed by the address it names as payee");
	return ERR_OK;
}

struct payee_input {
	struct address address;
	const char *consent;
};
static const struct json_field payee_fields[] = {
	{ .name = "address", .kind = JSON_FIELD_ADDRESS, .offset = offsetof(struct payee_input, address) },
	{ .name = "consent", .kind = JSON_FIELD_STR, .offset = offsetof(struct payee_input, consent), .min = 1, .max = DOC_JSON_MAX },
};

static enum err register_payee(struct request *req, const struct address *payee, int64_t proven_at)
{
	const struct settings *s = request_app(req)->settings;
	enum err e;

	if (address_equal(payee, &s->pay_to) || address_equal(payee, &s->treasury) || address_is_zero(payee))
		return request_fail(req, ERR_UNPROCESSABLE, "address: the gateway's own addresses and the zero address are no payees");
	e = db_payee_register(request_db(req), payee, caller(req)->account, proven_at);
	if (e == ERR_LIMIT)
		return request_fail(req, ERR_UNPROCESSABLE, "an account can have %d payees", PAYEES_MAX);
	if (e == ERR_CONFLICT)
		return request_fail(req, e, "address: a newer consent of it stands for another account");
	if (!e)
		reply_json(req, 201, json_must(json_pack("{s:s}", "address", address_format(payee).s)));
	return e;
}

enum err handle_payees_create(struct request *req)
{
	struct payee_input in = { .address = caller(req)->address };
	struct payee_consent consent = { .issued_at = (uint64_t)clock_wall_ms() };
	enum err e = INPUT_READ(req, payee_fields, &in);

	if (e)
		return e;
	if (in.consent) {
		e = consent_read(req, in.consent, &consent);
		if (!e && !address_equal(&consent.payee, &in.address))
			e = request_fail(req, ERR_BAD_FIELD, "consent: names another payee than address");
	} else if (!address_equal(&in.address, &caller(req)->address)) {
		e = request_fail(req, ERR_BAD_FIELD, "consent: needed for an address that is not the account's own");
	}
	return e ? e : register_payee(req, &in.address, (int64_t)consent.issued_at);
}

enum err handle_payees_list(struct request *req)
{
	json_t *data = NULL;
	enum err e = db_payees_list(request_db(req), caller(req)->account, &data);

	if (!e)
		reply_json(req, 200, json_must(json_pack("{s:s, s:o, s:b, s:s}", "object", "list", "data", data, "has_more", 0, "gas_payee_max",
							 amount_format(request_app(req)->settings->facilitator_gas_payee).s)));
	return e;
}

enum err handle_payees_delete(struct request *req)
{
	struct address payee;
	enum err e = address_parse(request_param(req, "address"), &payee) ? ERR_NOT_FOUND : db_payee_delete(request_db(req), &payee, caller(req)->account);

	if (e == ERR_NOT_FOUND)
		return request_fail(req, e, "not a payee of this account");
	if (!e)
		reply_empty(req, 204);
	return e;
}
