/* See facilitator.h. No locks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "chain/calls.h"
#include "pay/facilitator.h"
#include "pay/settler.h"

const char *facilitator_message(const char *reason)
{
	static const struct {
		const char *reason, *message;
	} messages[] = {
		{ FACILITATOR_NOT_REGISTERED, "payTo is not registered with this facilitator: its owner signs in and does POST /v1/payees" },
		{ FACILITATOR_NO_GAS, "the gas set aside for this payee, or for everybody, is used up for today (UTC); try again tomorrow" },
		{ FACILITATOR_ASSET, "only the OPG of this gateway's chain is settled here" },
		{ FACILITATOR_PAYEE_ONLY, "this payee has its own key say what `upto` takes: less than the maximum is settled with an API key (scope registry) or token "
					  "of the account that registered payTo" },
		{ FACILITATOR_PENDING, "sent, or about to be, and the chain has not said yet; do not ask for another payment. The same call again, or GET "
				       "/facilitator/settle/{paymentJob.jobId}, gives the result" },
	};

	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
		if (!strcmp(reason, messages[i].reason))
			return messages[i].message;
	return NULL;
}

/* ---- the body ---- */

static enum err malformed(struct x402_why *why, const char *text)
{
	snprintf(why->text, sizeof(why->text), "%s", text);
	return ERR_BAD_REQUEST;
}

static const char *offer_refusal(const json_t *requirements, int version)
{
	const char *scheme = json_string_value(json_object_get(requirements, "scheme")), *network = json_string_value(json_object_get(requirements, "network"));
	uint64_t chain_id;

	if (scheme && strcmp(scheme, "exact") != 0 && (version == 1 || strcmp(scheme, "upto") != 0))
		return "unsupported_scheme";
	if (network && (version == 1 ? x402_network_v1_parse(network, &chain_id) : x402_network_parse(network, &chain_id)))
		return "invalid_network";
	return "invalid_payment_requirements";
}

static void digest_of(const json_t *payload, const json_t *requirements, struct hash *ret)
{
	_cleanup_json_ json_t *both = json_must(json_pack("[O?, O]", json_object_get(payload, "payload"), requirements));
	_cleanup_free_ char *text = json_dumps(both, JSON_COMPACT | JSON_SORT_KEYS);

	if (!text)
		panic("a parsed body cannot be written again");
	sha256_of(text, strlen(text), ret);
}

enum err facilitator_request_read(json_t *body, struct facilitator_request *ret, struct x402_why *why)
{
	json_t *payload = json_object_get(body, "paymentPayload"), *requirements = json_object_get(body, "paymentRequirements");
	const json_t *version = json_object_get(body, "x402Version");
	struct facilitator_request r = { .version = 2 };
	struct x402_why unread = { "" };

	if (!json_is_object(payload) || !json_is_object(requirements))
		return malformed(why, "Missing paymentPayload or paymentRequirements");
	if (x402_payment_from_json(payload, &r.payment, &unread) != X402_DECODED) {
		r.refusal = "invalid_x402_version";
		*ret = r;
		return ERR_OK;
	}
	r.version = r.payment.version;
	if (version && (!json_is_number(version) || json_number_value(version) != r.version)) {
		x402_payment_done(&r.payment);
		return malformed(why, "x402Version is not that of paymentPayload");
	}
	if (x402_offer_read(requirements, r.version, &r.offer)) {
		x402_payment_done(&r.payment);
		r.refusal = offer_refusal(requirements, r.version);
	} else {
		digest_of(payload, requirements, &r.digest);
	}
	*ret = r;
	return ERR_OK;
}

void facilitator_request_name(struct facilitator_request *r, const char *name)
{
	struct sha256 *s = sha256_new();

	sha256_update(s, r->digest.b, sizeof(r->digest.b));
	sha256_update(s, name, strlen(name));
	sha256_final(s, &r->digest);
	sha256_free(s);
}

void facilitator_request_done(struct facilitator_request *r)
{
	x402_payment_done(&r->payment);
}

/* ---- is it good? ---- */

static struct authorization_key key_of(const struct x402_claim_key *claim)
{
	struct authorization_key key = { .chain_id = claim->chain_id, .verifier = claim->contract, .payer = claim->payer };

	memcpy(key.nonce.b, claim->nonce, sizeof(key.nonce.b));
	return key;
}

bool facilitator_key(const struct x402 *x, const struct facilitator_request *r, struct authorization_key *ret)
{
	_cleanup_json_ json_t *form = NULL;
	struct x402_claim_key claim;

	if (!x402_claim_key(x, &r->payment, &claim, &form))
		return false;
	*ret = key_of(&claim);
	return true;
}

/* What we are asked to settle, whatever was signed. */
static enum err terms_check(const struct x402 *x, struct db *db, const struct x402_offer *o, const char **ret_reason)
{
	bool known = false;
	enum err e;

	*ret_reason = NULL;
	if (o->chain_id != x->chain_id)
		*ret_reason = "invalid_network";
	else if (!address_equal(&o->asset, &x->token))
		*ret_reason = FACILITATOR_ASSET;
	else if (o->scheme == X402_UPTO && !address_equal(&o->facilitator, &x->facilitator))
		*ret_reason = "upto_facilitator_mismatch";
	if (*ret_reason)
		return ERR_OK;
	e = db_payee_known(db, &o->pay_to, &known);
	if (!e && !known)
		*ret_reason = FACILITATOR_NOT_REGISTERED;
	return e;
}

/* Tries exactly what the settler would send, alone. */
static enum err simulate(const struct x402 *x, const struct x402_paid *paid, struct amount amount, uint64_t *ret_gas, enum x402_fact *ret)
{
	const struct settler_config config = { .token = x->token, .contract = x->facilitator };
	struct settling one = { .payer = paid->auth.from, .amount = amount, .payload = paid->stored };
	struct buf data = BUF_INIT(TX_RAW_MAX), answer = BUF_INIT(4096);
	struct chain_message m = { .from = x->sender, .to = x->facilitator };
	struct u256 settled = { 0 };
	bool ok = false;
	enum err e;

	snprintf(one.scheme, sizeof(one.scheme), "%s", x402_scheme_name(paid->offer->scheme));
	snprintf(one.method, sizeof(one.method), "%s", x402_method_name(paid->auth.method));
	e = settler_batch(&config, &one, 1, &data, &m.gas);
	m.data = data.data;
	m.len = data.len;
	if (!e)
		e = chain_simulate(x->chain, &m, UINT64_MAX, &answer, &ok);
	if (!e && ok && calls_read_u256(answer.data, answer.len, &settled))
		e = ERR_CHAIN_DOWN;
	buf_done(&data);
	buf_done(&answer);
	if (e == ERR_BAD_FIELD || e == ERR_LIMIT) { /* it fits into no call */
		*ret = X402_NO;
		return ERR_OK;
	}
	if (!e) {
		*ret_gas = m.gas;
		*ret = ok && !u256_is_zero(&settled) ? X402_YES : X402_NO;
	}
	return e;
}

/* The chain's part. */
static enum err facts_check(const struct x402 *x, const struct x402_check *check, struct facilitator_good *g, const char **ret_reason)
{
	const struct x402_offer *o = g->paid.offer;
	struct x402_facts f;
	enum err e = x402_ask_facts(x, check, &g->paid, &f);

	if (e)
		return e;
	f.token_name_ok = o->name && strcmp(o->name, x->token_name) != 0 ? X402_NO : X402_YES;
	f.token_version_ok = o->version && strcmp(o->version, x->token_version) != 0 ? X402_NO : X402_YES;
	*ret_reason = x402_check_finish(check, &f);
	if (*ret_reason || amount_is_zero(g->amount))
		return ERR_OK;
	e = simulate(x, &g->paid, g->amount, &g->gas, &f.simulation_ok);
	if (!e)
		*ret_reason = x402_check_finish(check, &f);
	return e;
}

/* `upto`: the requirements of a settlement name what is to be taken, and what was signed for is its bound. */
static const char *read_payment(const struct x402 *x, const struct facilitator_request *r, bool settle, struct x402_offer *offer, struct x402_check *check, struct facilitator_good *g)
{
	struct u256 wanted = offer->amount;
	struct x402_auth auth;
	const char *reason;

	if (settle && offer->scheme == X402_UPTO) {
		reason = x402_auth_read(&r->payment, X402_UPTO, &auth);
		if (reason)
			return reason;
		if (auth.value.range == X402_FITS)
			offer->amount = auth.value.v;
		x402_auth_done(&auth);
	}
	reason = x402_read_for(&r->payment, offer, x402_now_s(x), check, &g->paid);
	if (reason)
		return reason;
	if (offer->scheme == X402_UPTO)
		reason = x402_capture_refusal(&g->paid.auth, &wanted);
	if (!reason && u256_to_amount(offer->scheme == X402_UPTO ? &wanted : &check->pays, &g->amount))
		reason = "invalid_payment_requirements";
	if (reason)
		x402_paid_done(&g->paid);
	return reason;
}

enum err facilitator_check(const struct x402 *x, struct db *db, const struct facilitator_request *r, bool settle, struct facilitator_good *ret,
			   const char **ret_reason)
{
	struct facilitator_good g = { .gas = 0 };
	struct x402_offer offer = r->offer;
	struct x402_check check;
	bool known = false;
	enum err e = terms_check(x, db, &offer, ret_reason);

	if (e || *ret_reason)
		return e;
	*ret_reason = read_payment(x, r, settle, &offer, &check, &g);
	if (*ret_reason)
		return ERR_OK;
	g.key = key_of(&g.paid.key);
	e = db_authorization_known(db, &g.key, &known);
	if (!e && known)
		*ret_reason = x402_used_reason(g.paid.auth.method);
	else if (!e)
		e = facts_check(x, &check, &g, ret_reason);
	g.paid.offer = &r->offer;
	if (e || *ret_reason)
		x402_paid_done(&g.paid);
	else
		*ret = g;
	return e;
}
