/* Being paid out: settings and addresses, withdrawals, what was earned. Whoever changes where money goes, or moves it, must have signed
 * in a moment ago; API keys cannot (their scopes do not include `payouts`). */
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "db/jobs.h"
#include "db/payouts.h"
#include "handlers/app.h"
#include "handlers/guard.h"
#include "handlers/input.h"
#include "handlers/routes.h"
#include "pay/turns.h"
#include "proof/statements.h"

#define STATEMENT_AGE_MS (10 * 60 * 1000)

static const struct principal *caller(const struct request *req)
{
	return req->principal;
}

static enum err check_on(struct request *req)
{
	return address_is_zero(&request_app(req)->settings->payouts_contract) ? request_fail(req, ERR_UNPROCESSABLE, "this gateway pays nothing out") : ERR_OK;
}

/* Nothing is paid to addresses of ours, or to the token: it would be lost to the account. */
static enum err check_receiver(struct request *req, const struct address *to)
{
	const struct app *app = request_app(req);
	bool ours = address_is_zero(to) || address_equal(to, &app->settings->opg_token);

	for (size_t i = 0; i < app->own_count; i++)
		ours = ours || address_equal(to, &app->own[i]);
	return ours ? request_fail(req, ERR_BAD_FIELD, "address: nothing is paid out to the zero address, the token, the treasury or our contracts") : ERR_OK;
}

/* ---- settings ---- */

static enum err reply_settings(struct request *req)
{
	json_t *body = NULL;
	enum err e = db_payout_settings(request_db(req), caller(req)->account, request_app(req)->settings->payout_minimum, &body);

	if (!e) {
		json_object_set_new(body, "address_delay_ms", json_must(json_integer(request_app(req)->settings->payout_address_delay_ms)));
		reply_json(req, 200, body);
	}
	return e;
}

enum err handle_payouts_settings_get(struct request *req)
{
	return reply_settings(req);
}

struct settings_input {
	struct address address;
	const char *schedule, *statement;
	struct amount minimum;
};

/* The account's own signature over exactly this address: a stolen token alone does not move anybody's payouts. */
static enum err read_statement(struct request *req, const struct settings_input *in, struct payout_address *ret, struct signature *ret_sig)
{
	const struct app *app = request_app(req);
	int64_t now = clock_wall_ms();
	struct address signer;
	struct json_why why;
	uint64_t chain_id = 0;
	enum err e = doc_read(&PAYOUT_ADDRESS_TYPE, in->statement, strlen(in->statement), ret, &chain_id, ret_sig, &why);

	if (e)
		return request_fail(req, ERR_BAD_SIGNATURE, "statement: %s", why.text);
	if (chain_id != (uint64_t)app->settings->chain_id || !address_equal(&ret->gateway, &app->gateway))
		return request_fail(req, ERR_BAD_SIGNATURE, "statement: signed for another gateway or chain");
	if (!address_equal(&ret->account, &caller(req)->address) || !address_equal(&ret->to, &in->address))
		return request_fail(req, ERR_BAD_SIGNATURE, "statement: signed for another account or address");
	if (ret->issued_at > (uint64_t)(now + STATEMENT_AGE_MS) || ret->issued_at < (uint64_t)(now - STATEMENT_AGE_MS))
		return request_fail(req, ERR_BAD_SIGNATURE, "statement: issuedAt is more than ten minutes away from our clock");
	if (doc_signer(&PAYOUT_ADDRESS_TYPE, ret, chain_id, ret_sig, &signer) || !address_equal(&signer, &ret->account))
		return request_fail(req, ERR_BAD_SIGNATURE, "statement: not signed by the account");
	return ERR_OK;
}

static enum err choose(struct request *req, const struct settings_input *in)
{
	const struct app *app = request_app(req);
	struct payout_address statement;
	struct payout_signed proof = { 0 };
	struct signature sig;
	enum err e = check_receiver(req, &in->address);

	if (!e && in->statement) {
		e = read_statement(req, in, &statement, &sig);
		proof = (struct payout_signed){ .nonce = statement.nonce, .signature = sig.b, .len = sizeof(sig.b) };
	}
	if (e)
		return e;
	e = db_payout_choose(request_db(req), caller(req)->account, &in->address, in->statement ? &proof : NULL, app->settings->payout_address_delay_ms);
	if (e == ERR_UNPROCESSABLE)
		return request_fail(req, e, "statement: an address that is not on the list needs a PayoutAddress signed by the account");
	return e == ERR_CONFLICT ? request_fail(req, e, "statement: this one was used before; sign another nonce") : e;
}

enum err handle_payouts_settings_put(struct request *req)
{
	static const struct json_field fields[] = {
		{ .name = "address", .kind = JSON_FIELD_ADDRESS, .offset = offsetof(struct settings_input, address) },
		{ .name = "statement", .kind = JSON_FIELD_STR, .offset = offsetof(struct settings_input, statement), .min = 1, .max = DOC_JSON_MAX },
		{ .name = "schedule", .kind = JSON_FIELD_STR, .offset = offsetof(struct settings_input, schedule), .required = true },
		{ .name = "minimum", .kind = JSON_FIELD_AMOUNT, .offset = offsetof(struct settings_input, minimum) },
	};
	const struct amount platform = request_app(req)->settings->payout_minimum;
	struct settings_input in = { .minimum = platform };
	enum err e = guard_fresh(req);

	if (!e)
		e = INPUT_READ(req, fields, &in);
	if (e)
		return e;
	if (strcmp(in.schedule, "manual") != 0 && strcmp(in.schedule, "daily") != 0 && strcmp(in.schedule, "weekly") != 0)
		return request_fail(req, ERR_BAD_FIELD, "schedule: must be manual, daily or weekly");
	if (amount_cmp(in.minimum, platform) < 0)
		return request_fail(req, ERR_BAD_FIELD, "minimum: the platform's is %s base units", amount_format(platform).s);
	if (in.statement && address_is_zero(&in.address))
		return request_fail(req, ERR_BAD_FIELD, "address: the statement is about one; name it");
	if (!address_is_zero(&in.address))
		e = choose(req, &in);
	if (!e)
		e = db_payout_schedule_set(request_db(req), caller(req)->account, in.schedule, in.minimum);
	return e ? e : reply_settings(req);
}

/* Not only for those who signed in just now: whoever sees a strange address must be quick. */
enum err handle_payouts_address_cancel(struct request *req)
{
	struct address to;
	enum err e = address_parse(request_param(req, "address"), &to) ? ERR_NOT_FOUND : db_payout_cancel(request_db(req), caller(req)->account, &to);

	if (!e)
		reply_empty(req, 204);
	return e;
}

/* ---- withdrawals ---- */

struct withdrawal_input {
	const char *source;
	struct amount amount;
	struct address address;
};

static enum err read_withdrawal(struct request *req, struct withdrawal_input *in, struct payout_ask *ret)
{
	static const struct json_field fields[] = {
		{ .name = "source", .kind = JSON_FIELD_STR, .offset = offsetof(struct withdrawal_input, source), .required = true },
		{ .name = "amount", .kind = JSON_FIELD_AMOUNT, .offset = offsetof(struct withdrawal_input, amount) },
		{ .name = "address", .kind = JSON_FIELD_ADDRESS, .offset = offsetof(struct withdrawal_input, address) },
	};
	enum err e = INPUT_READ(req, fields, in);

	if (e)
		return e;
	if (!strcmp(in->source, "available"))
		ret->kind = PAYOUT_AVAILABLE;
	else if (!strcmp(in->source, "author"))
		ret->kind = PAYOUT_AUTHOR;
	else if (!strcmp(in->source, "operator"))
		ret->kind = PAYOUT_OPERATOR;
	else
		return request_fail(req, ERR_BAD_FIELD, "source: must be available, author or operator");
	ret->amount = amount_is_zero(in->amount) ? NULL : &in->amount;
	if (ret->amount && ret->kind != PAYOUT_AVAILABLE)
		return request_fail(req, ERR_BAD_FIELD, "amount: earnings are paid out whole, so that each payout names its jobs");
	if (address_is_zero(&in->address))
		return ERR_OK;
	ret->to = &in->address;
	return check_receiver(req, ret->to);
}

static enum err read_idempotency(struct request *req, struct payout_ask *ret)
{
	ret->key = request_header(req, "Idempotency-Key");
	ret->route = req->route->name;
	sha256_of(req->body ? req->body : "", req->body_len, &ret->body_digest);
	if (ret->key && (!*ret->key || strlen(ret->key) > 255))
		return request_fail(req, ERR_BAD_FIELD, "Idempotency-Key: must have 1 to 255 characters");
	return ERR_OK;
}

static enum err reply_withdrawal(struct request *req, const struct uuid *id, int status)
{
	json_t *body = NULL;
	enum err e = db_payout_get(request_db(req), caller(req)->account, id, &body);

	if (!e)
		reply_json(req, status, body);
	return e;
}

static enum err replay(struct request *req, const struct payout_ask *ask)
{
	struct uuid id;
	struct hash digest;
	enum err e = db_idempotency_get(request_db(req), ask->account, ask->route, ask->key, &id, &digest);

	if (e)
		return e;
	if (!hash_equal(&digest, &ask->body_digest))
		return request_fail(req, ERR_KEY_REUSED, "Idempotency-Key: was used for another request");
	reply_header(req, "Idempotent-Replayed", "true");
	return reply_withdrawal(req, &id, 201);
}

/* What the refusal ends with when some of the money is only not final yet. */
struct not_final {
	char text[128];
};

static struct not_final not_final(struct request *req, const struct payout_ask *ask)
{
	struct not_final n = { "" };
	struct amount amount;

	if (!db_payout_not_final(request_db(req), ask->account, ask->kind, &amount) && !amount_is_zero(amount))
		snprintf(n.text, sizeof(n.text), "; %s base units that came by x402 are not final on chain yet", amount_format(amount).s);
	return n;
}

static enum err refuse(struct request *req, const struct payout_ask *ask, enum err e)
{
	switch (e) {
	case ERR_FORBIDDEN:
		return request_fail(req, e, "address: it is not on the list of this account, or not valid yet (GET /v1/payouts/settings)");
	case ERR_IN_PROGRESS:
		return request_fail(req, ERR_CONFLICT, "source: a payout of these earnings is under way; what was earned since is in the next one");
	case ERR_LIMIT:
		return request_fail(req, ERR_UNPROCESSABLE, "amount: there is less than the minimum of %s base units to pay out%s", amount_format(ask->minimum).s,
				    not_final(req, ask).text);
	case ERR_INSUFFICIENT_FUNDS:
		return request_fail(req, e, "amount: it is more than is available%s", not_final(req, ask).text);
	default:
		return e;
	}
}

enum err handle_withdrawals_create(struct request *req)
{
	struct app *app = request_app(req);
	struct withdrawal_input in = { 0 };
	struct payout_ask ask = { .id = uuid_new(), .account = caller(req)->account, .minimum = app->settings->payout_minimum };
	enum err e = check_on(req);

	if (!e)
		e = guard_fresh(req);
	if (!e)
		e = read_withdrawal(req, &in, &ask);
	if (!e)
		e = read_idempotency(req, &ask);
	if (e)
		return e;
	if (atomic_load(&app->pay.stopped))
		return ERR_SETTLEMENT_STOPPED;
	e = db_payout_open(request_db(req), &ask);
	if (e == ERR_CONFLICT)
		return replay(req, &ask);
	if (e)
		return refuse(req, &ask, e);
	FAULT(payout_asked);
	if (app->payouts)
		turns_kick(app->payouts);
	return reply_withdrawal(req, &ask.id, 201);
}

enum err handle_withdrawals_list(struct request *req)
{
	const char *text = request_query(req, "after");
	struct uuid after;
	size_t limit = 0;
	json_t *body = NULL;
	enum err e = input_limit(req, 50, 200, &limit);

	if (!e && text && uuid_parse(text, &after))
		e = request_fail(req, ERR_BAD_FIELD, "after: must be an id of the list");
	if (!e)
		e = db_payouts_list(request_db(req), caller(req)->account, text ? &after : NULL, (int)limit, &body);
	if (!e)
		reply_json(req, 200, body);
	return e;
}

enum err handle_withdrawals_get(struct request *req)
{
	struct uuid id;

	return uuid_parse(request_param(req, "id"), &id) ? ERR_NOT_FOUND : reply_withdrawal(req, &id, 200);
}

enum err handle_earnings_get(struct request *req)
{
	json_t *body = NULL;
	enum err e = db_earnings(request_db(req), caller(req)->account, &body);

	if (!e)
		reply_json(req, 200, body);
	return e;
}
