/* Deposits by signature: for wallets without gas. The signature is tried on the chain first, then written down, then sent by the settler. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "chain/wallet.h"
#include "db/sponsored.h"
#include "handlers/app.h"
#include "handlers/input.h"
#include "handlers/routes.h"
#include "pay/sponsor.h"

#define DEADLINE_MIN_S 60
#define DEADLINE_MAX_S 86400 /* an old signature must not lie in the queue */

struct deposit_input {
	const char *method, *nonce, *signature;
	struct amount amount;
	int64_t deadline;
};
static const struct json_field deposit_fields[] = {
	{ .name = "method", .kind = JSON_FIELD_STR, .offset = offsetof(struct deposit_input, method), .required = true, .min = 1, .max = 16 },
	{ .name = "amount", .kind = JSON_FIELD_AMOUNT, .offset = offsetof(struct deposit_input, amount), .required = true },
	{ .name = "nonce", .kind = JSON_FIELD_STR, .offset = offsetof(struct deposit_input, nonce), .min = 1, .max = 78 },
	{ .name = "deadline", .kind = JSON_FIELD_INT, .offset = offsetof(struct deposit_input, deadline), .required = true, .min = 1, .max = 253402300799 },
	{ .name = "signature", .kind = JSON_FIELD_STR, .offset = offsetof(struct deposit_input, signature), .required = true, .min = 4, .max = 2 + 2 * WALLET_SIGNATURE_MAX },
};

/* Fields as they can be, before anybody is asked. */
static enum err read_request(struct request *req, const struct deposit_input *in, uint8_t signature[WALLET_SIGNATURE_MAX], struct sponsor_request *ret)
{
	const struct settings *s = request_app(req)->settings;
	int64_t now = clock_wall_ms() / 1000;

	*ret = (struct sponsor_request){ .owner = &((const struct principal *)req->principal)->address, .permit2 = !strcmp(in->method, "permit2"), .amount = in->amount,
					 .deadline = in->deadline, .signature = signature };
	if (!ret->permit2 && strcmp(in->method, "permit"))
		return request_fail(req, ERR_BAD_FIELD, "method: must be permit2 or permit");
	if (ret->permit2 != (in->nonce != NULL) || (in->nonce && u256_parse(in->nonce, strlen(in->nonce), 10, &ret->nonce)))
		return request_fail(req, ERR_BAD_FIELD, "nonce: a decimal number, for permit2 only");
	if (wallet_signature_read(in->signature, signature, &ret->signature_len))
		return request_fail(req, ERR_BAD_FIELD, "signature: must be 0x and hex digits");
	if (in->deadline < now + DEADLINE_MIN_S || in->deadline > now + DEADLINE_MAX_S)
		return request_fail(req, ERR_BAD_FIELD, "deadline: must be between a minute and a day from now");
	if (amount_is_zero(in->amount) || amount_cmp(in->amount, s->sponsor_deposit_min) < 0)
		return request_fail(req, ERR_UNPROCESSABLE, "amount: we pay the gas of deposits from %s base units on", amount_format(s->sponsor_deposit_min).s);
	return ERR_OK;
}

static enum err open_it(struct request *req, const struct sponsor_request *r, const struct buf *call, const struct hash *nonce, struct amount gas_cost, struct uuid *ret_id)
{
	const struct settings *s = request_app(req)->settings;
	const struct sponsored_new d = { .id = uuid_new(), .chain_id = (uint64_t)s->chain_id, .account = ((const struct principal *)req->principal)->account, .owner = *r->owner,
					 .method = r->permit2 ? "permit2" : "permit", .nonce = *nonce, .amount = r->amount, .gas_cost = gas_cost, .valid_until = r->deadline,
					 .call = call->data, .call_len = call->len, .gas_account_max = s->sponsor_gas_account, .gas_all_max = s->sponsor_gas_all };
	enum err e = db_sponsored_open(request_db(req), &d);

	if (e == ERR_CONFLICT)
		return request_fail(req, e, "this signature was given before");
	if (e == ERR_IN_PROGRESS)
		return request_fail(req, ERR_CONFLICT, "a deposit of this account is under way; wait for its end");
	if (e == ERR_LIMIT)
		return request_fail(req, ERR_RATE_LIMITED, "the gas we pay for in a day is used up; send the deposit yourself, or come back tomorrow");
	*ret_id = d.id;
	return e;
}

enum err handle_deposits_create(struct request *req)
{
	struct app *app = request_app(req);
	const struct settings *s = app->settings;
	const struct chain_fee_caps caps = { .priority = (uint64_t)s->gas_priority_max, .fee = (uint64_t)s->gas_fee_max };
	struct buf call = BUF_INIT(SETTLER_CALL_MAX);
	uint8_t signature[WALLET_SIGNATURE_MAX];
	struct deposit_input in = { 0 };
	struct sponsor_request r;
	struct amount gas_cost;
	struct hash nonce;
	struct uuid id;
	json_t *body = NULL;
	enum err e = INPUT_READ(req, deposit_fields, &in);

	if (!e && (!app->settler || address_is_zero(&s->depositor_contract)))
		e = request_fail(req, ERR_UNPROCESSABLE, "this gateway takes no deposits by signature; transfer OPG to the treasury");
	if (!e && atomic_load(&app->pay.stopped))
		e = ERR_SETTLEMENT_STOPPED;
	if (!e)
		e = read_request(req, &in, signature, &r);
	if (!e) {
		e = sponsor_prepare(app->chain, &s->opg_token, &s->depositor_contract, &app->settler_sender, &caps, &r, &call, &nonce, &gas_cost);
		if (e == ERR_UNPROCESSABLE)
			e = request_fail(req, e, "the chain would refuse it: the signature, the allowance or the funds are not there");
		else if (e == ERR_BAD_FIELD)
			e = request_fail(req, e, "signature: must have 65 bytes");
		else if (e == ERR_LIMIT)
			e = request_fail(req, ERR_OVERLOADED, "gas costs more than we pay right now");
	}
	if (!e)
		e = open_it(req, &r, &call, &nonce, gas_cost, &id);
	buf_done(&call);
	if (!e)
		e = db_sponsored_get(request_db(req), ((const struct principal *)req->principal)->account, &id, &body);
	if (e)
		return e;
	turns_kick(app->settler);
	reply_header(req, "Location", arena_printf(req->arena, "/v1/deposits/sponsored/%s", uuid_format(&id).s));
	reply_json(req, 202, body);
	return ERR_OK;
}

enum err handle_deposits_sponsored(struct request *req)
{
	struct uuid id;
	json_t *body = NULL;
	enum err e = uuid_parse(request_param(req, "id"), &id) ? ERR_NOT_FOUND : ERR_OK;

	if (!e)
		e = db_sponsored_get(request_db(req), ((const struct principal *)req->principal)->account, &id, &body);
	if (!e)
		reply_json(req, 200, body);
	return e;
}
