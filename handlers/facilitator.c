/* The facilitator as official x402 clients and OpenGradient's servers know it: what is supported, whether a payment is good, settling
 * it, and what became of that. Refusals are answers (200), as theirs are; only what cannot be read is an error. */
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "db/gas.h"
#include "handlers/facilitator.h"
#include "handlers/input.h"
#include "handlers/routes.h"
#include "handlers/waiters.h"
#include "pay/facilitator.h"
#include "pay/turns.h"

#define PAYMENT_JOB "payment-"
#define PAYMENT_QUEUE "x402-settle-payment-queue"
#define REORG_MAX 64 /* the settler's newest block may be one of a branch that goes away */

static enum err must_be_on(struct request *req)
{
	if (!request_app(req)->facilitator.chain)
		return request_fail(req, ERR_NOT_FOUND, "this gateway has no settling key, so it is no facilitator");
	if (atomic_load(&request_app(req)->pay.stopped))
		return request_fail(req, ERR_SETTLEMENT_STOPPED, "reconciliation failed; nothing is settled until it is resolved");
	return ERR_OK;
}

/* ---- supported ---- */

enum err handle_facilitator_supported(struct request *req)
{
	const struct x402 *x = &request_app(req)->facilitator;
	const struct x402_network_str network = x402_network_format(x->chain_id);
	const char *v1 = x->chain ? x402_network_v1(x->chain_id) : NULL;
	json_t *kinds = json_must(json_array());
	json_t *signers = json_must(json_object());

	if (x->chain) {
		json_array_append_new(kinds, json_must(json_pack("{s:i, s:s, s:s}", "x402Version", 2, "scheme", "exact", "network", network.s)));
		json_array_append_new(kinds, json_must(json_pack("{s:i, s:s, s:s, s:{s:s}}", "x402Version", 2, "scheme", "upto", "network", network.s, "extra",
								 "facilitatorAddress", address_format_eip55(&x->facilitator).s)));
		json_object_set_new(signers, "eip155:*", json_must(json_pack("[s]", address_format_eip55(&x->sender).s)));
	}
	if (v1)
		json_array_append_new(kinds, json_must(json_pack("{s:i, s:s, s:s}", "x402Version", 1, "scheme", "exact", "network", v1)));
	reply_json(req, 200, json_must(json_pack("{s:o, s:[], s:o}", "kinds", kinds, "extensions", "signers", signers)));
	return ERR_OK;
}

/* ---- what every call begins with ---- */

static enum err read_request(struct request *req, struct facilitator_request *ret)
{
	struct x402_why why = { "" };
	json_t *body = NULL;
	enum err e = must_be_on(req);

	if (!e)
		e = input_json(req, &body);
	if (!e && facilitator_request_read(body, ret, &why))
		e = request_fail(req, ERR_BAD_REQUEST, "%s", why.text);
	return e;
}

/* At the fee cap: whatever the fees are when it is sent, it costs no more. */
static enum err gas_cost(const struct request *req, uint64_t gas, struct amount *ret)
{
	return amount_mul(amount_from_u64((uint64_t)request_app(req)->settings->gas_fee_max), gas, ret);
}

static enum err gas_refusal(struct request *req, const struct facilitator_request *r, uint64_t gas, const char **ret_reason)
{
	const struct settings *s = request_app(req)->settings;
	struct amount cost;
	enum err e = gas_cost(req, gas, &cost);

	if (!e)
		e = db_gas_room(request_db(req), FACILITATOR_PURPOSE, &r->offer.pay_to, cost, s->facilitator_gas_payee, s->facilitator_gas_all);
	if (e == ERR_LIMIT)
		*ret_reason = FACILITATOR_NO_GAS;
	return e == ERR_LIMIT ? ERR_OK : e;
}

/* What could not be settled now is neither promised nor taken; what was taken before is answered. */
static enum err must_be_open(struct request *req)
{
	const char *closed = x402_closed(&request_app(req)->facilitator);

	return closed ? request_fail(req, ERR_CHAIN_DOWN, "%s", closed) : ERR_OK;
}

/* ---- verify ---- */

static enum err verify(struct request *req, const struct facilitator_request *r, const char **ret_reason)
{
	struct facilitator_good good;
	enum err e = must_be_open(req);

	if (!e)
		e = facilitator_check(&request_app(req)->facilitator, request_db(req), r, false, &good, ret_reason);
	if (e || *ret_reason)
		return e;
	x402_paid_done(&good.paid);
	return gas_refusal(req, r, good.gas, ret_reason);
}

enum err handle_facilitator_verify(struct request *req)
{
	struct facilitator_request r;
	struct authorization_key key;
	const char *reason;
	bool known;
	enum err e = read_request(req, &r);

	if (e)
		return e;
	reason = r.refusal;
	known = !reason && facilitator_key(&request_app(req)->facilitator, &r, &key);
	if (!reason)
		e = verify(req, &r, &reason);
	facilitator_request_done(&r);
	if (!e)
		reply_json(req, 200, x402_verify_json(reason, reason ? facilitator_message(reason) : NULL, known ? &key.payer : NULL));
	return e;
}

/* ---- answers to settle ---- */

static void refuse(struct request *req, int version, const char *reason, const struct authorization_key *key)
{
	const struct x402_receipt receipt = { .version = version, .error_reason = reason, .error_message = facilitator_message(reason), .payer = key ? &key->payer : NULL,
					      .chain_id = request_app(req)->facilitator.chain_id };

	reply_json(req, 200, x402_receipt_json(&receipt));
}

/* While nothing is final the transaction is the one that was sent last: clients ask once more when there is one. */
static json_t *receipt_json(const struct request *req, const struct facilitation_row *row)
{
	bool settled = !strcmp(row->state, "settled"), failed = !strcmp(row->state, "failed");
	const char *reason = failed ? row->reason : FACILITATOR_PENDING;
	const struct u256 amount = u256_from_amount(row->amount);
	const struct x402_receipt receipt = { .version = row->version, .success = settled, .error_reason = settled ? NULL : reason,
					      .error_message = settled ? NULL : facilitator_message(reason), .payer = &row->payer,
					      .transaction = row->has_tx_hash ? &row->tx_hash : !settled && !failed && row->has_sent ? &row->sent : NULL,
					      .chain_id = request_app(req)->facilitator.chain_id, .amount = !strcmp(row->scheme, "upto") ? &amount : NULL };

	return x402_receipt_json(&receipt);
}

static json_t *job_json(const struct request *req, const struct facilitation_row *row)
{
	bool settled = !strcmp(row->state, "settled"), failed = !strcmp(row->state, "failed");
	const char *status = settled ? "succeeded" : failed ? "failed" : row->has_sent ? "processing" : "queued";
	char id[64];

	snprintf(id, sizeof(id), PAYMENT_JOB "%s", uuid_format(&row->id).s);
	return json_must(json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "jobId", id, "queue", PAYMENT_QUEUE, "status", status, "createdAt", json_time(row->created_at),
				   "updatedAt", json_time(row->updated_at), "result", settled || failed ? receipt_json(req, row) : json_null()));
}

static const char *used_reason(const struct facilitation_row *row)
{
	return x402_used_reason(!strcmp(row->method, "eip3009") ? X402_EIP3009 : X402_PERMIT2);
}

/* The money came, and somebody was told so: for whoever asks now it buys nothing more. */
static void refuse_told(struct request *req, const struct facilitation_row *row)
{
	const struct x402_receipt receipt = { .version = row->version, .error_reason = used_reason(row), .payer = &row->payer,
					      .error_message = "settled by this transaction, which was said to another call. A call that has an Idempotency-Key from "
							       "the first time on is answered again",
					      .transaction = row->has_tx_hash ? &row->tx_hash : NULL, .chain_id = request_app(req)->facilitator.chain_id };

	reply_header(req, "Cache-Control", "no-store");
	reply_json(req, 200, x402_receipt_json(&receipt));
}

/* Success is said to one call: a seller hands over for each that hears it. A call with a key of its own is known to be the same one, and who
 * has gone hears nothing. */
static enum err reply_settlement(struct request *req, const struct facilitation_row *row)
{
	bool first = true;
	json_t *body;
	enum err e = ERR_OK;

	if (!strcmp(row->state, "settled") && !request_header(req, "Idempotency-Key") && !request_gone(req))
		e = db_facilitation_tell(request_db(req), &row->id, &first);
	if (e)
		return e;
	if (!first) {
		refuse_told(req, row);
		return ERR_OK;
	}
	body = receipt_json(req, row);
	json_object_set_new(body, "paymentJob", job_json(req, row));
	reply_header(req, "Cache-Control", "no-store");
	reply_json(req, !strcmp(row->state, "settling") ? 202 : 200, body);
	return ERR_OK;
}

static bool facilitation_ended(struct db *db, const struct uuid *id)
{
	_cleanup_facilitation_row_ struct facilitation_row row = { 0 };

	return db_facilitation_get(db, id, &row) == ERR_OK && strcmp(row.state, "settling") != 0;
}

static void facilitation_reply(struct request *req, const struct uuid *id)
{
	_cleanup_facilitation_row_ struct facilitation_row row = { 0 };
	enum err e = db_facilitation_get(request_db(req), id, &row);

	if (!e)
		e = reply_settlement(req, &row);
	if (e)
		reply_error(req, e);
}

static const struct waited WAITED_FACILITATION = { facilitation_ended, facilitation_reply };

static void wait_for_end(struct request *req, const struct uuid *id)
{
	turns_kick(request_app(req)->settler);
	waiters_add(req, &WAITED_FACILITATION, id, request_app(req)->settings->payment_wait_ms);
}

/* ---- settle ---- */

/* The same call came before: its result, if nobody else was told. Another call with that authorization gets nothing. ERR_NOT_FOUND: it is new. */
static enum err repeat(struct request *req, const struct facilitator_request *r, const struct authorization_key *key)
{
	_cleanup_facilitation_row_ struct facilitation_row row = { 0 };
	enum err e = db_facilitation_find(request_db(req), key, &row);

	if (e)
		return e;
	if (!hash_equal(&row.request_digest, &r->digest))
		refuse(req, r->version, used_reason(&row), key);
	else if (!strcmp(row.state, "settling"))
		wait_for_end(req, &row.id);
	else
		e = reply_settlement(req, &row);
	return e;
}

/* Nobody knows whether it was written: not a failure, and the same call again finds out. */
static void reply_unknown(struct request *req, const struct facilitator_request *r, const struct authorization_key *key)
{
	reply_header(req, "Cache-Control", "no-store");
	reply_header(req, "Retry-After", "2");
	refuse(req, r->version, FACILITATOR_PENDING, key);
}

static enum err claim(struct request *req, const struct facilitator_request *r, const struct authorization_key *key, const struct facilitator_good *good)
{
	const struct app *app = request_app(req);
	uint64_t head = atomic_load(&app->facilitator.view->head);
	struct facilitation f = { .version = r->version, .key = *key, .payee = r->offer.pay_to, .request_digest = r->digest,
				  .scheme = x402_scheme_name(r->offer.scheme), .method = x402_method_name(good->paid.auth.method), .amount_max = good->paid.amount,
				  .amount = good->amount, .payload = good->paid.stored, .block = head > REORG_MAX ? head - REORG_MAX : 0,
				  .gas_payee_max = app->settings->facilitator_gas_payee, .gas_all_max = app->settings->facilitator_gas_all };
	enum err e;

	random_bytes(f.id.b, sizeof(f.id.b)); /* names the status link: not to be guessed */
	e = gas_cost(req, good->gas, &f.gas);
	if (e)
		return e;
	e = db_facilitation_claim(request_db(req), &f);
	FAULT(facilitation_claimed);
	if (e == ERR_OK)
		wait_for_end(req, &f.id);
	else if (e == ERR_LIMIT)
		refuse(req, r->version, FACILITATOR_NO_GAS, key);
	else if (e == ERR_NOT_FOUND)
		refuse(req, r->version, FACILITATOR_NOT_REGISTERED, key);
	else if (e == ERR_CONFLICT)
		return repeat(req, r, key);
	else
		reply_unknown(req, r, key);
	return ERR_OK;
}

/* What `upto` takes is the seller's word: whoever pays could give it first, and the least. A seller who has once sent his key is asked for it. */
static enum err payee_must_ask(struct request *req, const struct facilitator_request *r, const struct facilitator_good *good, const char **ret_reason)
{
	const struct principal *p = req->principal;
	bool may = true;
	enum err e = r->offer.scheme == X402_UPTO ? db_payee_asks(request_db(req), &r->offer.pay_to, p ? p->account : 0, &may) : ERR_OK;

	if (!e && !may && amount_cmp(good->amount, good->paid.amount) < 0)
		*ret_reason = FACILITATOR_PAYEE_ONLY;
	return e;
}

static enum err take(struct request *req, const struct facilitator_request *r, const struct facilitator_good *good)
{
	const char *reason = NULL;
	enum err e = payee_must_ask(req, r, good, &reason);

	if (e)
		return e;
	if (reason)
		refuse(req, r->version, reason, &good->key);
	else
		e = claim(req, r, &good->key, good);
	if (e == ERR_NOT_FOUND) { /* it was brought to us as a payment to ourselves */
		refuse(req, r->version, x402_used_reason(good->paid.auth.method), &good->key);
		e = ERR_OK;
	}
	return e;
}

/* `key` is NULL when what was sent names no authorization: then the check says what is wrong with it. */
static enum err settle(struct request *req, const struct facilitator_request *r, const struct authorization_key *key)
{
	struct facilitator_good good;
	const char *reason = NULL;
	enum err e = key ? repeat(req, r, key) : ERR_NOT_FOUND;

	if (e != ERR_NOT_FOUND)
		return e;
	e = must_be_open(req);
	if (!e)
		e = facilitator_check(&request_app(req)->facilitator, request_db(req), r, true, &good, &reason);
	if (e)
		return e;
	if (reason) { /* perhaps only because the same call was claimed since, and by now settled */
		e = key ? repeat(req, r, key) : ERR_NOT_FOUND;
		if (e != ERR_NOT_FOUND)
			return e;
		refuse(req, r->version, reason, key);
		return ERR_OK;
	}
	e = take(req, r, &good);
	x402_paid_done(&good.paid);
	return e;
}

enum err handle_facilitator_settle(struct request *req)
{
	const char *name = request_header(req, "Idempotency-Key");
	struct facilitator_request r;
	struct authorization_key key;
	enum err e = name && (!*name || strlen(name) > 255) ? request_fail(req, ERR_BAD_FIELD, "Idempotency-Key: must have 1 to 255 characters") : read_request(req, &r);

	if (e)
		return e;
	if (name)
		facilitator_request_name(&r, name);
	if (r.refusal)
		refuse(req, r.version, r.refusal, NULL);
	else
		e = settle(req, &r, facilitator_key(&request_app(req)->facilitator, &r, &key) ? &key : NULL);
	facilitator_request_done(&r);
	return e;
}

/* ---- the job ---- */

static enum err payment_job(struct request *req, const char *id_text)
{
	_cleanup_facilitation_row_ struct facilitation_row row = { 0 };
	struct uuid id;
	bool first;
	enum err e = uuid_parse(id_text, &id) ? ERR_NOT_FOUND : db_facilitation_get(request_db(req), &id, &row);

	if (!e && !strcmp(row.state, "settled") && !row.told)
		e = db_facilitation_tell(request_db(req), &id, &first); /* who reads it here hands over for it, too */
	if (!e)
		reply_json(req, 200, job_json(req, &row));
	return e;
}

enum err handle_facilitator_settle_get(struct request *req)
{
	const char *id = request_param(req, "job");
	enum err e;

	reply_header(req, "Cache-Control", "no-store");
	e = !strncmp(id, PAYMENT_JOB, strlen(PAYMENT_JOB)) ? payment_job(req, id + strlen(PAYMENT_JOB)) : settle_data_job(req, id);
	return e == ERR_NOT_FOUND ? request_fail(req, e, "Settlement job not found: %s", id) : e;
}
