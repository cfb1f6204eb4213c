/* See x402.h. No locks. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "chain/calls.h"
#include "pay/x402.h"

#define QUOTE_LIFE_S 600
#define CALL_GAS 300000
#define WALLET_GAS 80000 /* what a settlement leaves a wallet for its own check (settler_calls.c) */
#define SIGNATURE_MAX 2048 /* more fits into no settlement */

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

	t->offers[0] = base;
	t->offers[1] = base;
	t->offers[1].method = X402_PERMIT2;
	t->count = 2;
	if (chat) { /* what is used is known only at the end: the caller signs a maximum */
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
				       .output_max = (uint64_t)q->output_units_max, .expires_s = x402_quote_expiry((int64_t)time(NULL), QUOTE_LIFE_S) };
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

static void keep_promise(const struct x402_quote *sealed, struct quote *q)
{
	q->ceiling = sealed->unit;
	q->version.royalty_input = sealed->unit.royalty_input;
	q->version.royalty_output = sealed->unit.royalty_output;
	for (size_t i = 0; i < q->candidate_count; i++) {
		q->candidates[i].ask_input = amount_min(q->candidates[i].ask_input, sealed->unit.ask_input);
		q->candidates[i].ask_output = amount_min(q->candidates[i].ask_output, sealed->unit.ask_output);
	}
}

enum err x402_terms_reopen(const struct x402 *x, struct quote *q, const char *route, size_t body_len, const struct x402_resource *resource,
			   const char *sealed, struct x402_terms *ret)
{
	struct x402_terms t = { .resource = *resource };
	enum err e = x402_quote_open(&x->quote_key, sealed, (int64_t)time(NULL), &t.quote);

	if (!e && !x402_quote_covers(&t.quote, route, &q->version.digest, body_len, is_chat(q) ? body_len : 1, (uint64_t)q->output_units_max))
		e = ERR_BAD_TOKEN;
	if (e)
		return e;
	keep_promise(&t.quote, q);
	t.sealed = xstrdup(sealed);
	make_offers(x, is_chat(q), &t);
	*ret = t;
	return ERR_OK;
}

/* ---- a payment ---- */

void x402_paid_done(struct x402_paid *p)
{
	x402_auth_done(&p->auth);
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
static json_t *plain_form(const struct x402_auth *a, const struct x402_check *check)
{
	json_t *o = json_must(json_object());

	store_bytes(o, "from", a->from.b, 20);
	store_bytes(o, "to", a->to.b, 20);
	store_number(o, "value", &a->value);
	store_number(o, "validAfter", &a->valid_after);
	store_number(o, "validBefore", &a->valid_before);
	store_number(o, "nonce", &a->nonce);
	store_bytes(o, "signature", check->signature, check->signature_len);
	return o;
}

bool x402_claim_key(const struct x402 *x, const struct x402_payment *payment, struct x402_claim_key *ret)
{
	const struct x402_offer offer = { .chain_id = x->chain_id, .asset = x->token };
	struct x402_auth auth;

	if (x402_auth_read(payment, payment->scheme && !strcmp(payment->scheme, "upto") ? X402_UPTO : X402_EXACT, &auth))
		return false;
	*ret = x402_claim_key_of(&offer, &auth);
	x402_auth_done(&auth);
	return true;
}

const char *x402_read(const struct x402_payment *payment, const struct x402_terms *terms, struct x402_check *ret_check, struct x402_paid *ret)
{
	int i = x402_payment_match(payment, terms->offers, terms->count);
	struct x402_paid p = { 0 };
	const char *reason;

	if (i < 0)
		return payment->version == 1 ? X402_NO_MATCH_V1 : X402_NO_MATCH;
	p.offer = &terms->offers[i];
	reason = x402_auth_read(payment, p.offer->scheme, &p.auth);
	if (reason)
		return reason;
	reason = x402_check_begin(p.offer, payment, &p.auth, (int64_t)time(NULL), ret_check);
	if (!reason && ret_check->signature_len > SIGNATURE_MAX)
		reason = p.auth.method == X402_PERMIT2 ? "invalid_permit2_signature" : "invalid_exact_evm_signature";
	if (reason) {
		x402_auth_done(&p.auth);
		return reason;
	}
	if (u256_to_amount(&ret_check->pays, &p.amount)) { /* version 1 may pay more than was asked: all of it is booked */
		x402_auth_done(&p.auth);
		return "invalid_exact_evm_payload_authorization_value_mismatch";
	}
	p.key = x402_claim_key_of(p.offer, &p.auth);
	p.stored = plain_form(&p.auth, ret_check);
	*ret = p;
	return NULL;
}

/* ---- facts ---- */

static enum err ask(const struct x402 *x, const struct address *to, struct buf *call, struct u256 *ret)
{
	struct buf answer = BUF_INIT(4096);
	enum err e = chain_call(x->chain, to, call->data, call->len, CALL_GAS, UINT64_MAX, &answer);

	if (!e)
		e = calls_read_u256(answer.data, answer.len, ret);
	buf_done(call);
	buf_done(&answer);
	return e == ERR_BAD_FIELD ? ERR_CHAIN_DOWN : e;
}

static enum err ask_nonce(const struct x402 *x, const struct x402_auth *a, struct x402_facts *f)
{
	struct buf call = BUF_INIT(256);
	struct u256 word, value;
	struct hash nonce;
	uint8_t bit = 0;
	enum err e;

	u256_to_be(&a->nonce.v, nonce.b);
	calls_permit2_nonce_place(&a->nonce.v, &word, &bit);
	e = a->method == X402_EIP3009 ? calls_eip3009_state(&a->from, &nonce, &call) : calls_permit2_nonce_bitmap(&a->from, &word, &call);
	if (!e)
		e = ask(x, a->method == X402_EIP3009 ? &x->token : &CALLS_PERMIT2, &call, &value);
	if (!e)
		f->nonce_used = (a->method == X402_EIP3009 ? !u256_is_zero(&value) : calls_permit2_nonce_used(&value, bit)) ? X402_YES : X402_NO;
	return e;
}

static enum err ask_wallet(const struct x402 *x, const struct x402_check *check, const struct x402_auth *a, struct x402_facts *f)
{
	struct buf call = BUF_INIT(8192), answer = BUF_INIT(4096);
	enum err e = calls_erc1271(&check->digest, check->signature, check->signature_len, &call);

	if (!e)
		e = chain_call(x->chain, &a->from, call.data, call.len, WALLET_GAS, UINT64_MAX, &answer);
	/* A wallet that reverts or answers anything else has not accepted. */
	f->erc1271_ok = !e && calls_erc1271_accepts(answer.data, answer.len) ? X402_YES : X402_NO;
	buf_done(&call);
	buf_done(&answer);
	return ERR_OK;
}

static enum err ask_code(const struct x402 *x, const struct address *a, enum x402_fact *ret)
{
	bool has = false;
	enum err e = chain_has_code(x->chain, a, &has);

	if (!e)
		*ret = has ? X402_YES : X402_NO;
	return e;
}

static enum err ask_balances(const struct x402 *x, const struct x402_check *check, const struct x402_auth *a, struct x402_facts *f)
{
	struct buf call = BUF_INIT(256);
	enum err e = ERR_OK;

	if (check->needs & X402_NEED_BALANCE) {
		e = calls_erc20_balance_of(&a->from, &call);
		if (!e)
			e = ask(x, &x->token, &call, &f->balance);
		f->balance_known = !e;
	}
	if (!e && check->needs & X402_NEED_ALLOWANCE) {
		call = BUF_INIT(256);
		e = calls_erc20_allowance(&a->from, &CALLS_PERMIT2, &call);
		if (!e)
			e = ask(x, &x->token, &call, &f->allowance);
		f->allowance_known = !e;
	}
	return e;
}

enum err x402_ask_chain(const struct x402 *x, const struct x402_check *check, struct x402_paid *paid, const char **ret_reason)
{
	const struct x402_auth *a = &paid->auth;
	struct x402_facts f = { .asset_has_code = X402_YES, .proxy_deployed = X402_YES }; /* checked at start */
	enum err e = ERR_OK;

	if (check->needs & (X402_NEED_PAYER_CODE | X402_NEED_ERC1271))
		e = ask_code(x, &a->from, &f.payer_has_code);
	if (!e && f.payer_has_code == X402_YES && check->needs & X402_NEED_ERC1271)
		e = ask_wallet(x, check, a, &f);
	if (!e && check->needs & X402_NEED_NONCE)
		e = ask_nonce(x, a, &f);
	if (!e)
		e = ask_balances(x, check, a, &f);
	if (e)
		return e;
	paid->payer_has_code = f.payer_has_code == X402_YES;
	*ret_reason = x402_check_finish(check, &f);
	return ERR_OK;
}
