/* See x402.h. No locks. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "chain/calls.h"
#include "chain/wallet.h"
#include "pay/x402.h"

#define WALLET_GAS 80000 /* what a settlement leaves a wallet for its own check (settler_calls.c) */

/* ---- the chain, as the settler sees it ---- */

const char *x402_closed(const struct x402 *x)
{
	if (atomic_load(&x->view->wrong_chain))
		return "the chain's endpoint answers for another chain: payments cannot be settled";
	return atomic_load(&x->view->low_gas) ? "the settling key is short of gas: payments cannot be settled" : NULL;
}

int64_t x402_now_s(const struct x402 *x)
{
	return chain_time_now_s(&x->view->time, clock_mono_ms(), clock_wall_ms());
}

/* ---- terms ---- */

void x402_terms_done(struct x402_terms *t)
{
	free(t->sealed);
	t->sealed = NULL;
}

static void make_offers(const struct x402 *x, bool chat, struct x402_terms *t)
{
	const struct x402_offer base = { .scheme = X402_EXACT, .method = X402_EIP3009, .chain_id = x->chain_id, .amount = u256_from_amount(t->quote.price),
					 .asset = x->token, .pay_to = x->pay_to, .max_timeout_s = x->timeout_s, .name = x->token_name,
					 .version = x->token_version, .quote = t->sealed };

	t->now_s = x402_now_s(x);
	t->offers[0] = base;
	t->offers[1] = base;
	t->offers[1].method = X402_PERMIT2;
	t->count = 2;
	if (chat && !address_is_zero(&x->facilitator)) { /* what is used is known only at the end: the caller signs a maximum */
		t->offers[2] = t->offers[1];
		t->offers[2].scheme = X402_UPTO;
		t->offers[2].facilitator = x->facilitator;
		t->count = 3;
	}
}

static bool is_chat(const struct quote *q)
{
	return !strcmp(q->version.surface, "chat");
}

enum err x402_terms_make(const struct x402 *x, const struct quote *q, const char *route, size_t body_len, const struct x402_resource *resource,
			 struct x402_terms *ret)
{
	uint64_t body_max = x402_quote_body_max(body_len), input_max = is_chat(q) ? body_max : 1;
	struct x402_terms t = { .resource = *resource };
	struct split split;
	enum err e = price_split(&q->ceiling, input_max, (uint64_t)q->output_units_max, &split);

	if (e)
		return e;
	t.quote = (struct x402_quote){ .price = split.total, .unit = q->ceiling, .model = q->version.digest, .body_max = body_max, .input_max = input_max,
				       .output_max = (uint64_t)q->output_units_max, .expires_s = x402_quote_expiry((int64_t)time(NULL), X402_QUOTE_LIFE_S) };
	strncpy(t.quote.route, route, sizeof(t.quote.route) - 1);
	t.sealed = x402_quote_seal(&x->quote_key, &t.quote);
	make_offers(x, is_chat(q), &t);
	*ret = t;
	return ERR_OK;
}

void x402_terms_exact_only(struct x402_terms *t)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->count; i++)
		if (t->offers[i].scheme == X402_EXACT)
			t->offers[kept++] = t->offers[i];
	t->count = kept;
}

void x402_terms_upto_first(struct x402_terms *t)
{
	struct x402_offer upto;
	size_t i = 0;

	while (i < t->count && t->offers[i].scheme != X402_UPTO)
		i++;
	if (i == t->count)
		return;
	upto = t->offers[i];
	memmove(&t->offers[1], &t->offers[0], i * sizeof(t->offers[0]));
	t->offers[0] = upto;
}

/* By whoever promised: the author his royalty, and each node its own ask. What one node asked binds no other. */
static enum err keep_promise(const struct x402_quote *sealed, struct db *db, struct quote *q)
{
	const struct asked_when made = { .since = (sealed->expires_s - 2 * X402_QUOTE_LIFE_S) * 1000, .until = (sealed->expires_s - X402_QUOTE_LIFE_S) * 1000,
					 .changed = true };
	enum err e = quote_keep(q, db, &sealed->unit, &made);

	if (e)
		return e == ERR_NO_NODE ? ERR_BAD_TOKEN : e;
	q->ceiling = sealed->unit;
	q->version.royalty_input = sealed->unit.royalty_input;
	q->version.royalty_output = sealed->unit.royalty_output;
	return ERR_OK;
}

enum err x402_terms_reopen(const struct x402 *x, struct db *db, struct quote *q, const char *route, size_t body_len, const struct x402_resource *resource,
			   const char *sealed, struct x402_terms *ret)
{
	struct x402_terms t = { .resource = *resource };
	enum err e = x402_quote_open(&x->quote_key, sealed, (int64_t)time(NULL), &t.quote);

	if (!e && !x402_quote_covers(&t.quote, route, &q->version.digest, body_len, is_chat(q) ? body_len : 1, (uint64_t)q->output_units_max))
		e = ERR_BAD_TOKEN;
	if (!e)
		e = keep_promise(&t.quote, db, q);
	if (e)
		return e;
	t.sealed = xstrdup(sealed);
	make_offers(x, is_chat(q), &t);
	*ret = t;
	return ERR_OK;
}

/* ---- a payment ---- */

void x402_paid_done(struct x402_paid *p)
{
	x402_auth_done(&p->auth);
	x402_sponsor_done(&p->sponsor);
	json_decref(p->stored);
	p->stored = NULL;
}

static void store_bytes(json_t *o, const char *name, const void *p, size_t len)
{
	_cleanup_free_ char *hex = xmalloc(2 * len + 3);

	hex[0] = '0';
	hex[1] = 'x';
	hex_encode(p, len, hex + 2);
	json_object_set_new(o, name, json_must(json_string(hex)));
}

static void store_number(json_t *o, const char *name, const struct x402_number *n)
{
	uint8_t be[32];

	u256_to_be(&n->v, be);
	store_bytes(o, name, be, sizeof(be));
}

/* What settler_calls.c reads. */
static json_t *plain_form(const struct x402_auth *a, const uint8_t *signature, size_t signature_len)
{
	json_t *o = json_must(json_object());

	store_bytes(o, "from", a->from.b, 20);
	store_bytes(o, "to", a->to.b, 20);
	store_number(o, "value", &a->value);
	store_number(o, "validAfter", &a->valid_after);
	store_number(o, "validBefore", &a->valid_before);
	store_number(o, "nonce", &a->nonce);
	store_bytes(o, "signature", signature, signature_len);
	return o;
}

bool x402_claim_key(const struct x402 *x, const struct x402_payment *payment, struct x402_claim_key *ret, json_t **ret_form)
{
	const uint8_t *signature;
	size_t len;
	const struct x402_offer offer = { .chain_id = x->chain_id, .asset = x->token };
	struct x402_auth auth;

	if (x402_auth_read(payment, payment->scheme && !strcmp(payment->scheme, "upto") ? X402_UPTO : X402_EXACT, &auth))
		return false;
	bool ok = x402_signature(&auth, &signature, &len);

	if (ok) {
		*ret = x402_claim_key_of(&offer, &auth);
		*ret_form = plain_form(&auth, signature, len);
	}
	x402_auth_done(&auth);
	return ok;
}

const char *x402_read(const struct x402_payment *payment, const struct x402_terms *terms, struct x402_check *ret_check, struct x402_paid *ret)
{
	int i = x402_payment_match(payment, terms->offers, terms->count);
	const char *reason;

	if (i < 0)
		return payment->version == 1 ? X402_NO_MATCH_V1 : X402_NO_MATCH;
	reason = x402_read_for(payment, &terms->offers[i], terms->now_s, ret_check, ret);
	if (reason)
		return reason;
	reason = x402_sponsor_read(payment, ret->offer, &ret->auth, terms->now_s, &ret->sponsor);
	if (reason)
		x402_paid_done(ret);
	return reason;
}

const char *x402_read_for(const struct x402_payment *payment, const struct x402_offer *offer, int64_t now_s, struct x402_check *ret_check,
			  struct x402_paid *ret)
{
	struct x402_paid p = { .offer = offer };
	const char *reason = x402_auth_read(payment, offer->scheme, &p.auth);

	if (reason)
		return reason;
	reason = x402_check_begin(p.offer, payment, &p.auth, now_s, ret_check);
	if (!reason && ret_check->signature_len > WALLET_SIGNATURE_MAX)
		reason = p.auth.method == X402_PERMIT2 ? "invalid_permit2_signature" : payment->version == 1 ? "invalid_exact_evm_payload_signature" : "invalid_exact_evm_signature";
	if (reason) {
		x402_auth_done(&p.auth);
		return reason;
	}
	if (u256_to_amount(&ret_check->pays, &p.amount)) { /* version 1 may pay more than was asked: all of it is booked */
		x402_paid_done(&p);
		return payment->version == 1 ? "insufficient_funds" : "invalid_exact_evm_payload_authorization_value_mismatch"; /* nobody has as much */
	}
	p.key = x402_claim_key_of(p.offer, &p.auth);
	p.stored = plain_form(&p.auth, ret_check->signature, ret_check->signature_len);
	*ret = p;
	return NULL;
}

/* ---- facts ---- */

static struct chain_ask ask_of(const struct x402_auth *a)
{
	struct chain_ask ask = { .payer = a->from, .permit2 = a->method == X402_PERMIT2 };
	struct u256 word;
	uint8_t bit;

	calls_permit2_nonce_place(&a->nonce.v, &word, &bit);
	u256_to_be(ask.permit2 ? &word : &a->nonce.v, ask.place.b);
	return ask;
}

static bool nonce_used(const struct x402_auth *a, const struct u256 *state)
{
	struct u256 word;
	uint8_t bit;

	calls_permit2_nonce_place(&a->nonce.v, &word, &bit);
	return a->method == X402_PERMIT2 ? calls_permit2_nonce_used(state, bit) : !u256_is_zero(state);
}

enum err x402_ask_facts(const struct x402 *x, const struct x402_check *check, struct x402_paid *paid, struct x402_facts *ret)
{
	const struct x402_auth *a = &paid->auth;
	const struct chain_ask ask = ask_of(a);
	struct chain_facts said;
	bool accepts = false;
	enum err e = chain_facts_ask(x->facts, &ask, &said);

	if (e)
		return e;
	struct x402_facts f = { .asset_has_code = X402_YES, .proxy_deployed = X402_YES, /* checked at start */
				.payer_has_code = said.has_code ? X402_YES : X402_NO, .nonce_used = nonce_used(a, &said.nonce) ? X402_YES : X402_NO,
				.balance_known = true, .balance = said.balance, .allowance_known = ask.permit2, .allowance = said.allowance };
	/* A call of its own: the wallet's code is the payer's, and what it does must not hold up or spoil the answer for others. */
	if (said.has_code)
		e = wallet_accepts(x->chain, &a->from, &check->digest, check->signature, check->signature_len, WALLET_GAS, &accepts);
	f.erc1271_ok = accepts ? X402_YES : X402_NO;
	paid->payer_has_code = said.has_code;
	paid->balance_known = u256_to_amount(&said.balance, &paid->balance) == ERR_OK; /* more than there can be covers everything */
	*ret = f;
	return e;
}

static void store_permit(json_t *o, const struct calls_permit *permit)
{
	const struct x402_number value = { .v = permit->value }, deadline = { .v = permit->deadline };
	json_t *p = json_must(json_object());

	store_number(p, "value", &value);
	store_number(p, "deadline", &deadline);
	store_bytes(p, "signature", permit->sig.b, sizeof(permit->sig.b));
	json_object_set_new(o, "permit", p);
}

/* Only where nothing but the allowance is missing. */
static enum err ask_sponsor(const struct x402 *x, const struct x402_check *check, struct x402_paid *paid, struct x402_facts *f, const char **ret_reason)
{
	struct x402_facts with = *f;
	enum err e;

	with.allowance_sponsored = true;
	if (!paid->sponsor.by || amount_is_zero(x->sponsor_payer_max) || amount_is_zero(x->sponsor_all_max) || !x402_check_finish(check, f) || x402_check_finish(check, &with))
		return ERR_OK;
	e = x402_sponsor_ask(x, check, paid, ret_reason);
	f->allowance_sponsored = !e && paid->sponsored;
	if (f->allowance_sponsored && paid->sponsor.by == X402_BY_PERMIT)
		store_permit(paid->stored, &paid->sponsor.permit);
	return e;
}

enum err x402_ask_chain(const struct x402 *x, const struct x402_check *check, struct x402_paid *paid, const char **ret_reason)
{
	const char *unsponsored = NULL;
	struct x402_facts f;
	enum err e = x402_ask_facts(x, check, paid, &f);

	if (!e)
		e = ask_sponsor(x, check, paid, &f, &unsponsored);
	if (!e)
		*ret_reason = unsponsored ? unsponsored : x402_check_finish(check, &f);
	return e;
}

const char *x402_used_reason(enum x402_method method)
{
	return method == X402_EIP3009 ? "invalid_exact_evm_nonce_already_used" : "permit2_simulation_failed";
}
