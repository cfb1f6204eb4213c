/* See x402.h. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "handlers/front.h"
#include "handlers/jobs.h"
#include "handlers/links.h"
#include "handlers/records.h"
#include "handlers/routes.h"
#include "handlers/x402.h"
#include "handlers/x402_extend.h"
#include "pay/outside.h"
#include "pay/x402.h"

#define REORG_MAX 64      /* the settler's newest block may be one of a branch that goes away */

static bool is_v1(const struct request *req)
{
	return !request_header(req, "PAYMENT-SIGNATURE");
}

/* ---- answers ---- */

/* Why a payment gets nothing. */
struct refusal {
	const char *reason; /* NULL: it was taken, or answered */
	struct address payer;
	bool has_payer, passes; /* the same may be good in a moment */
};

/* 402 (412 when Permit2 must be approved first) with the terms for both versions of the protocol. */
static void reply_terms(struct request *req, const struct x402_terms *t, const struct refusal *why)
{
	_cleanup_json_ json_t *extensions = x402_declared_json(req, &t->declared);
	_cleanup_free_ char *header = x402_required_header(t->offers, t->count, &t->resource, why->reason, extensions);
	_cleanup_free_ char *body = x402_required_body_v1(t->offers, t->count, &t->resource, why->reason, why->has_payer ? &why->payer : NULL);

	if (why->passes)
		reply_header(req, "Retry-After", "2");
	reply_header(req, "PAYMENT-REQUIRED", header);
	reply_header(req, "Cache-Control", "no-store");
	reply_bytes(req, x402_reason_status(why->reason), "application/json", arena_strdup(req->arena, body), strlen(body));
}

static void receipt_header(struct request *req, const struct x402_receipt *r)
{
	_cleanup_free_ char *text = x402_receipt_header(r);

	reply_header(req, r->version == 1 ? "X-PAYMENT-RESPONSE" : "PAYMENT-RESPONSE", text);
	if (r->transaction)
		reply_header(req, "x-processing-hash", hash_format(r->transaction).s); /* where OpenGradient's SDKs look for it */
}

#define SENT_TEXT "the payment was sent and the chain has not said yet; do not pay again. The same payment with the same request gets the answer"
#define UNKNOWN_TEXT "it is not known yet whether the payment was accepted; do not pay again. The same payment with the same request finds out"

static void reply_pending(struct request *req, const struct uuid *payment, const char *detail)
{
	const char *url = arena_printf(req->arena, "/v1/payments/%s", uuid_format(payment).s);

	reply_header(req, "Location", url);
	reply_header(req, "Retry-After", "2");
	reply_json(req, 202, json_must(json_pack("{s:s, s:s, s:s, s:s}", "payment", uuid_format(payment).s, "state", "pending", "status_url", url, "detail", detail)));
}

static struct x402_receipt receipt_of(struct request *req, const struct run_payment *p, struct u256 *amount)
{
	*amount = u256_from_amount(p->amount);
	return (struct x402_receipt){ .version = is_v1(req) ? 1 : 2, .success = p->state == PAYMENT_SETTLED, .error_reason = p->reason, .payer = &p->payer,
				      .transaction = p->state == PAYMENT_SETTLED && !amount_is_zero(p->amount) ? &p->tx : NULL,
				      .chain_id = request_app(req)->x402.chain_id, .amount = p->upto ? amount : NULL };
}

void x402_begin(struct request *req, const struct run_payment *p)
{
	struct u256 amount;

	if (!p)
		return;
	reply_header(req, "Opgate-Payment", uuid_format(&p->id).s);
	if (p->state == PAYMENT_SETTLED) { /* upfront */
		struct x402_receipt r = receipt_of(req, p, &amount);

		receipt_header(req, &r);
	}
}

bool x402_answer(struct request *req, const struct run_end *end)
{
	const struct run_payment *p = end->payment;
	struct u256 amount;
	struct x402_receipt r;

	if (!p)
		return false;
	reply_header(req, "Opgate-Payment", uuid_format(&p->id).s);
	reply_header(req, "Cache-Control", end->err == ERR_OK ? "private" : "no-store");
	if (end->err == ERR_PAYMENT_PENDING) {
		reply_pending(req, &p->id, SENT_TEXT);
		return true;
	}
	if (p->state != PAYMENT_SETTLED && p->state != PAYMENT_FAILED)
		return false; /* nothing was taken: the ordinary error */
	if (p->state == PAYMENT_SETTLED && end->err) /* paid for, and there is no answer */
		reply_header(req, "Opgate-Credited", arena_printf(req->arena, "%s %s", amount_format(p->amount).s, address_format_eip55(&p->payer).s));
	r = receipt_of(req, p, &amount);
	if (r.success || r.version == 2) /* version 1 has no receipt for a failure */
		receipt_header(req, &r);
	return false;
}

const char *x402_detail(struct request *req, const struct run_end *end, const char *detail)
{
	const struct run_payment *p = end->payment;

	if (p && p->state == PAYMENT_FAILED && *p->reason) /* version 1 has no other place for it */
		return arena_printf(req->arena, "%s (%s)", detail, p->reason);
	if (!p || p->state != PAYMENT_SETTLED || !end->err)
		return detail;
	return arena_printf(req->arena, "%s. The payment was settled before the work: its %s base units are on the account of %s; sign in with that wallet to use them",
			    detail, amount_format(p->amount).s, address_format_eip55(&p->payer).s);
}

/* ---- jobs in the background ---- */

/* The payer has proven who he is: the job is shown to him, with the link that shows it to him again. */
static void show_job(struct request *req, const struct uuid *job, int64_t account)
{
	struct principal *payer = arena_alloc(req->arena, sizeof(*payer));

	*payer = (struct principal){ .account = account };
	req->principal = payer;
	reply_header(req, "Location", links_make(req, job));
	jobs_show_accepted(req, job);
}

/* Settled before it is run, because nobody knows when that will be: the authorization has only minutes. */
static enum err queue_paid(struct request *req, struct paid *p, struct payment_claim *claim, enum lane_status *ret_status)
{
	struct uuid job;
	int64_t account = 0;
	enum err e;

	p->spec.payment = claim;
	p->spec.upfront = true;
	e = run_open_background(&request_app(req)->pay, request_db(req), &p->spec, &job, &account, ret_status);
	if ((e && e != ERR_PAYMENT_PENDING) || *ret_status != LANE_OK)
		return e;
	reply_header(req, "Opgate-Payment", uuid_format(&claim->id).s);
	reply_header(req, "Cache-Control", "no-store");
	if (e) { /* perhaps the money is taken: no failure, or who begins again pays twice */
		reply_pending(req, &claim->id, UNKNOWN_TEXT);
		return ERR_OK;
	}
	records_headers(req, &job, p->spec.data);
	show_job(req, &job, account);
	return ERR_OK;
}

/* ---- an earlier use of the same authorization ---- */

/* The same payment for the same request: the answer, or what became of it. Not for ever: once on chain an authorization is no secret. */
enum err x402_answer_earlier(struct request *req, const struct paid *p, const struct payment_row *row)
{
	_cleanup_job_row_ struct job_row job = { 0 };
	enum err e = db_job_get(request_db(req), &row->job, row->account, &job);

	if (e)
		return e;
	reply_header(req, "Opgate-Payment", uuid_format(&row->id).s);
	paid_headers(req, &row->job, !strcmp(row->state, "settled") ? job.receipt : NULL);
	reply_header(req, "Cache-Control", "no-store");
	if (p->background) {
		reply_header(req, "Idempotent-Replayed", "true");
		show_job(req, &row->job, row->account);
		return ERR_OK;
	}
	if (!row->outcome) {
		reply_pending(req, &row->id, SENT_TEXT);
		return ERR_OK;
	}
	if (!strcmp(row->state, "settled")) {
		struct u256 amount = u256_from_amount(row->amount);
		struct x402_receipt r = { .version = is_v1(req) ? 1 : 2, .success = true, .payer = &row->payer, .transaction = row->has_tx_hash ? &row->tx_hash : NULL,
					  .chain_id = request_app(req)->x402.chain_id, .amount = !strcmp(row->scheme, "upto") ? &amount : NULL };

		receipt_header(req, &r);
	}
	reply_header(req, "Idempotent-Replayed", "true");
	e = jobs_answer(req, &row->job, row->account, 0);
	if (e == ERR_NOT_FOUND && (!strcmp(row->outcome, outcome_row(OUTCOME_DELIVERED)->name) || !strcmp(row->outcome, outcome_row(OUTCOME_UNPROVEN)->name)))
		return request_fail(req, ERR_CONFLICT, "the answer was delivered once and is too large to be kept");
	if (e == ERR_NOT_FOUND)
		return request_fail(req, ERR_CONFLICT, "this payment's job ended as %s; what was settled and not charged is on the account of %s: sign in with that "
							"wallet to use it", row->outcome, address_format_eip55(&row->payer).s);
	return e;
}

/* A permit that came along is no part of it, and was stored only where it was needed. */
static bool same_authorization(const json_t *stored, const json_t *form)
{
	_cleanup_json_ json_t *one = json_must(json_copy((json_t *)stored)), *two = json_must(json_copy((json_t *)form));

	json_object_del(one, "permit");
	json_object_del(two, "permit");
	return json_equal(one, two);
}

/* `form`: the authorization that came. One that names the same nonce and says or signs something else is not the payment that was made:
 * whoever sends it has seen the other on chain, or is trying. */
static bool may_be_answered(const struct payment_row *row, const struct paid *p, const json_t *form)
{
	return same_authorization(row->payload, form) && hash_equal(&row->request_digest, &p->spec.body_digest) && strcmp(row->state, "dropped") != 0 && row->age_ms < X402_REPLAY_MS;
}

/* By now its terms may have changed, its time be over and its money be taken: whatever refused it, what it was once used for counts. And a copy
 * may be faster than the chain's word. ERR_NOT_FOUND: it gets no answer. */
static enum err repeat_earlier(struct request *req, const struct paid *p, const struct x402_payment *payment)
{
	_cleanup_payment_row_ struct payment_row earlier = { 0 };
	_cleanup_json_ json_t *form = NULL;
	struct x402_claim_key key;
	struct hash nonce;
	enum err e = x402_claim_key(&request_app(req)->x402, payment, &key, &form) ? ERR_OK : ERR_NOT_FOUND;

	if (e)
		return e;
	memcpy(nonce.b, key.nonce, sizeof(nonce.b));
	e = db_payment_find(request_db(req), key.chain_id, &key.contract, &key.payer, &nonce, &earlier);
	if (e)
		return e;
	return may_be_answered(&earlier, p, form) ? x402_answer_earlier(req, p, &earlier) : ERR_NOT_FOUND;
}

/* ---- a new one ---- */

/* Served before it is settled only while that risks little: not for wallets with code (they can change their mind), not while an approval
 * is to be mined first, not above the caps (payment_claim says so); and a stream by `exact` cannot be held back until its end, so it is settled first. */
static enum err claim_and_run(struct request *req, struct paid *p, const struct x402_paid *paid, struct payment_claim *claim, enum lane_status *ret_status)
{
	bool exact = paid->offer->scheme == X402_EXACT;
	enum err e;

	p->spec.payment = claim;
	p->spec.upfront = exact && (p->stream || paid->payer_has_code || (paid->sponsored && paid->gas.raw));
	claim->limited = !p->spec.upfront;
	e = front_run(req, &p->spec, ret_status);
	if (e == ERR_LIMIT && exact) {
		p->spec.upfront = true;
		claim->limited = false;
		e = front_run(req, &p->spec, ret_status);
	}
	if (e == ERR_LIMIT)
		return request_fail(req, ERR_RATE_LIMITED, "too much is served and not settled yet; try again in a moment, or pay by exact");
	return e == ERR_OVERLOADED ? request_fail(req, e, "every node that serves this model is busy") : e;
}

/* Runs, answers, or says why not. */
static enum err run_paid(struct request *req, struct paid *p, struct x402_paid *paid, const char *id, struct refusal *ret)
{
	struct x402 *x = &request_app(req)->x402;
	struct payment_claim claim = { .chain_id = paid->key.chain_id, .verifier = paid->key.contract, .payer = paid->key.payer,
				       .request_digest = p->spec.body_digest, .scheme = x402_scheme_name(paid->offer->scheme),
				       .method = x402_method_name(paid->auth.method), .amount_max = paid->amount, .payload = paid->stored,
				       .payer_max = x->exposure_payer_max, .all_max = x->exposure_all_max, .identifier = id,
				       .has_balance = paid->balance_known, .balance = paid->balance, .identifier_window_ms = X402_REPLAY_MS, .gas = paid->sponsored ? &paid->gas : NULL };
	uint64_t head = atomic_load(&x->view->head);
	enum lane_status status = LANE_OK;
	enum err e;

	claim.block = head > REORG_MAX ? head - REORG_MAX : 0;
	random_bytes(claim.id.b, sizeof(claim.id.b)); /* names the status link: not to be guessed */
	memcpy(claim.nonce.b, paid->key.nonce, sizeof(claim.nonce.b));
	p->spec.idempotency_key = NULL;
	e = p->background ? queue_paid(req, p, &claim, &status) : claim_and_run(req, p, paid, &claim, &status);
	if (e == ERR_FORBIDDEN) { /* we do not pay for the approval: the payer may */
		ret->reason = "permit2_allowance_required";
		return ERR_OK;
	}
	if (e == ERR_INSUFFICIENT_FUNDS) { /* by what is open of theirs; what was taken of it a moment ago is booked in the next */
		ret->reason = "insufficient_funds";
		ret->passes = true;
		return ERR_OK;
	}
	if (e || status == LANE_OK)
		return e;
	e = x402_answer_identified(req, p, &paid->key.payer, id);
	if (e != ERR_NOT_FOUND)
		return e;
	ret->reason = x402_used_reason(paid->auth.method);
	return ERR_OK;
}

static enum err judge(struct request *req, struct paid *p, struct x402_check *check, struct x402_paid *paid, const char *id, struct refusal *ret)
{
	const struct x402 *x = &request_app(req)->x402;
	const char *refused = NULL;
	struct x402_why why;
	/* A wallet's signature is not checked yet; for it the claim finds the name. */
	enum err e = check->eoa_signed ? x402_answer_identified(req, p, &paid->key.payer, id) : ERR_NOT_FOUND;

	if (e != ERR_NOT_FOUND)
		return e;
	e = x402_ask_chain(x, check, paid, &refused);
	if (!e && !refused && x->outside)
		e = outside_verify(x, paid, &why, &refused);
	if (!e && !refused)
		return run_paid(req, p, paid, id, ret);
	ret->reason = refused ? arena_strdup(req->arena, refused) : NULL;
	return e;
}

static enum err with_payment(struct request *req, struct paid *p, const struct x402_payment *payment, const struct x402_terms *terms, struct refusal *ret)
{
	struct x402_check check;
	struct x402_paid paid;
	const char *id = NULL;
	enum err e;

	ret->reason = x402_echo_refusal(req, payment, terms);
	if (!ret->reason)
		ret->reason = x402_read(payment, terms, &check, &paid);
	if (ret->reason)
		return ERR_OK;
	e = x402_identifier_of(req, payment, &id);
	if (!e)
		e = judge(req, p, &check, &paid, id, ret);
	ret->payer = paid.key.payer;
	ret->has_payer = true;
	x402_paid_done(&paid);
	return e;
}

static enum err terms_for(struct request *req, const struct paid *p, const struct x402_payment *payment, struct x402_terms *ret)
{
	const struct x402 *x = &request_app(req)->x402;
	const struct x402_resource resource = x402_resource_of(req, req->path, p->quote->version.model_ref);
	const char *sealed = payment ? x402_payment_quote(payment) : NULL;
	enum err e = sealed ? x402_terms_reopen(x, request_db(req), p->quote, req->route->name, req->body_len, &resource, sealed, ret) : ERR_BAD_TOKEN;

	if (e == ERR_BAD_TOKEN || e == ERR_DEADLINE)
		e = x402_terms_make(x, p->quote, req->route->name, req->body_len, &resource, ret);
	if (e)
		return e;
	ret->declared = x402_declared_of(req, p->quote->version.model_ref);
	ret->declared.request = p->spec.body_digest;
	return ERR_OK;
}

/* Makes the terms; runs what is paid by them, or says why not. */
static enum err sell(struct request *req, struct paid *p, const struct x402_payment *payment, struct x402_terms *ret, struct refusal *ret_refusal)
{
	const char *closed = x402_closed(&request_app(req)->x402);
	enum err e;

	if (closed)
		return request_fail(req, ERR_CHAIN_DOWN, "%s", closed);
	e = paid_quote(req, p);
	if (!e)
		e = terms_for(req, p, payment, ret);
	if (e)
		return e;
	if (p->background)
		x402_terms_exact_only(ret);
	if (p->opengradient) /* its SDKs can pay by exact too, and take what comes first; there it is upto */
		x402_terms_upto_first(ret);
	return payment ? with_payment(req, p, payment, ret, ret_refusal) : ERR_OK;
}

/* `payment` is NULL when none came, or none that could be read: `error` says so. */
static enum err run_or_offer(struct request *req, struct paid *p, const struct x402_payment *payment, const char *error)
{
	struct refusal refusal = { 0 };
	struct x402_terms terms = { 0 };
	enum err e = x402_answer_signed_in(req, p, &error), earlier = ERR_NOT_FOUND;

	if (e != ERR_NOT_FOUND)
		return e;
	refusal.reason = payment ? NULL : error;
	e = sell(req, p, payment, &terms, &refusal);
	if (payment && (e || refusal.reason))
		earlier = repeat_earlier(req, p, payment);
	if (earlier != ERR_NOT_FOUND)
		e = earlier;
	else if (!e && refusal.reason)
		reply_terms(req, &terms, &refusal);
	x402_terms_done(&terms);
	return e;
}

enum err x402_run(struct request *req, struct paid *p)
{
	const char *v2 = request_header(req, "PAYMENT-SIGNATURE"), *v1 = request_header(req, "X-PAYMENT");
	struct x402_payment payment;
	struct x402_why why = { X402_UNPAID_TEXT };
	enum x402_decoded decoded;
	enum err e;

	if (!request_app(req)->x402.chain)
		return request_fail(req, ERR_UNAUTHENTICATED, "an API key or a token is required");
	if (request_header_repeated(req, "PAYMENT-SIGNATURE") || request_header_repeated(req, "X-PAYMENT")) /* which one? neither */
		return run_or_offer(req, p, NULL, X402_UNPAID_TEXT);
	decoded = v2 ? x402_payment_decode(v2, &payment, &why) : v1 ? x402_payment_decode_v1(v1, &payment, &why) : X402_UNPAID;
	if (decoded != X402_DECODED)
		return run_or_offer(req, p, NULL, decoded == X402_UNPAID ? X402_UNPAID_TEXT : why.text);
	e = run_or_offer(req, p, &payment, NULL);
	x402_payment_done(&payment);
	return e;
}

/* ---- the status link ---- */

enum err handle_payments_get(struct request *req)
{
	_cleanup_payment_row_ struct payment_row row = { 0 };
	struct uuid id;
	enum err e = uuid_parse(request_param(req, "id"), &id) ? ERR_NOT_FOUND : db_payment_get(request_db(req), &id, &row);

	if (e)
		return e == ERR_NOT_FOUND ? request_fail(req, e, "no such payment") : e;
	reply_header(req, "Cache-Control", "no-store");
	reply_json(req, 200, json_must(json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:{s:s, s:i}}", "id", uuid_format(&row.id).s, "state", row.state, "amount_max",
						 amount_format(row.amount_max).s, "amount",
						 !strcmp(row.state, "settled") || !strcmp(row.state, "credited") ? json_string(amount_format(row.amount).s) : json_null(), "transaction",
						 row.has_tx_hash ? json_string(hash_format(&row.tx_hash).s) : json_null(), "reason",
						 row.reason ? json_string(row.reason) : json_null(), "asset", "symbol", "OPG", "decimals", 18)));
	return ERR_OK;
}
