/* What the settler sends, as bytes; see settler.h. Pure. The payment's stored payload is the authorization in plain form
 * (x402_store): {"kind","from","to","value","validAfter","validBefore","nonce","signature",…}, all hex. */
#include <string.h>

#include "chain/calls.h"
#include "chain/wallet.h"
#include "pay/settler.h"

#define ITEM_GAS 220000     /* EIP-3009 needs 75,000, Permit2 120,000; a wallet's own check comes on top (WALLET_GAS in x402.c) */
#define ITEM_OVERHEAD 25000 /* reporting, and what EIP-150 keeps back */
#define BASE_GAS 60000
#define BYTE_GAS 16

static enum err member(const json_t *o, const char *name, uint8_t *ret, size_t len)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s && strlen(s) == 2 * len + 2 ? hex_decode(s + 2, 2 * len, ret, len) : ERR_BAD_FIELD;
}

static enum err number(const json_t *o, const char *name, struct u256 *ret)
{
	uint8_t be[32];
	enum err e = member(o, name, be, sizeof(be));

	if (!e)
		*ret = u256_from_be(be);
	return e;
}

static enum err signature(const json_t *o, uint8_t *ret, size_t cap, size_t *ret_len)
{
	const char *s = json_string_value(json_object_get(o, "signature"));
	size_t len = s && strlen(s) >= 2 ? (strlen(s) - 2) / 2 : 0;

	if (!s || len > cap)
		return ERR_BAD_FIELD;
	*ret_len = len;
	return hex_decode(s + 2, strlen(s) - 2, ret, len);
}

struct address settler_receiver(const struct settler_config *c, const struct settling *p)
{
	struct address to;

	return member(p->payload, "to", to.b, sizeof(to.b)) ? p->facilitated ? p->payee : c->pay_to : to;
}

static enum err eip3009(const json_t *o, struct buf *out)
{
	struct calls_authorization a;
	uint8_t sig[WALLET_SIGNATURE_MAX];
	struct signature rsv;
	size_t len = 0;
	enum err e = member(o, "from", a.from.b, 20);

	if (!e)
		e = member(o, "to", a.to.b, 20);
	if (!e)
		e = number(o, "value", &a.value);
	if (!e)
		e = number(o, "validAfter", &a.valid_after);
	if (!e)
		e = number(o, "validBefore", &a.valid_before);
	if (!e)
		e = member(o, "nonce", a.nonce.b, 32);
	if (!e)
		e = signature(o, sig, sizeof(sig), &len);
	if (e)
		return e;
	if (len != sizeof(rsv.b))
		return calls_eip3009_transfer_bytes(&a, sig, len, out);
	memcpy(rsv.b, sig, sizeof(rsv.b));
	return calls_eip3009_transfer(&a, &rsv, out);
}

/* The payer's EIP-2612 permit for Permit2, where one came with the payment. */
static enum err permit2612(const json_t *o, struct calls_permit *ret)
{
	enum err e = number(o, "value", &ret->value);

	if (!e)
		e = number(o, "deadline", &ret->deadline);
	return e ? e : member(o, "signature", ret->sig.b, sizeof(ret->sig.b));
}

static enum err permit_of(const struct settler_config *c, const json_t *o, struct calls_permit2 *ret)
{
	enum err e = number(o, "value", &ret->amount);

	ret->token = c->token;
	if (!e)
		e = number(o, "nonce", &ret->nonce);
	return e ? e : number(o, "validBefore", &ret->deadline);
}

enum err settler_permit(const struct settler_config *c, const struct settling *p, uint8_t ret[SETTLER_PERMIT_LEN])
{
	struct calls_permit2 permit;
	enum err e = permit_of(c, p->payload, &permit);

	if (e)
		return e;
	memset(ret, 0, 12);
	memcpy(ret + 12, permit.token.b, 20);
	u256_to_be(&permit.amount, ret + 32);
	u256_to_be(&permit.nonce, ret + 64);
	u256_to_be(&permit.deadline, ret + 96);
	return ERR_OK;
}

static enum err permit2(const struct settler_config *c, const struct settling *p, struct buf *out)
{
	const json_t *o = p->payload;
	struct calls_x402 s = { .upto = !strcmp(p->scheme, "upto"), .upto_facilitator = c->contract };
	const json_t *permit = json_object_get(o, "permit");
	struct calls_permit sponsored;
	uint8_t sig[WALLET_SIGNATURE_MAX];
	enum err e = member(o, "from", s.owner.b, 20);

	s.upto_amount = u256_from_amount(p->amount);
	if (!e)
		e = member(o, "to", s.to.b, 20);
	if (!e)
		e = permit_of(c, o, &s.permit);
	if (!e)
		e = number(o, "validAfter", &s.valid_after);
	if (!e)
		e = signature(o, sig, sizeof(sig), &s.sig_len);
	if (!e && permit)
		e = permit2612(permit, &sponsored);
	if (e)
		return e;
	s.sig = sig;
	s.sponsored = permit ? &sponsored : NULL;
	return calls_x402_settle(&s, out);
}

enum err settler_call(const struct settler_config *c, const struct settling *p, struct buf *out)
{
	return !strcmp(p->method, "eip3009") ? eip3009(p->payload, out) : permit2(c, p, out);
}

/* ---- all of them at once ---- */

enum err settler_batch(const struct settler_config *c, const struct settling *payments, size_t count, struct buf *out, uint64_t *ret_gas)
{
	struct calls_settlement items[SETTLER_BATCH_MAX] = { 0 };
	struct buf calls[SETTLER_BATCH_MAX] = { 0 };
	enum err e = count <= SETTLER_BATCH_MAX ? ERR_OK : ERR_LIMIT;

	for (size_t i = 0; !e && i < count; i++) {
		calls[i] = BUF_INIT(SETTLER_CALL_MAX);
		e = settler_call(c, &payments[i], &calls[i]);
		items[i] = (struct calls_settlement){ .call = calls[i].data, .len = calls[i].len, .token = c->token, .gas_limit = ITEM_GAS };
		memcpy(items[i].ref.b, payments[i].id.b, sizeof(payments[i].id.b));
	}
	if (!e)
		e = calls_settler_settle(items, count, out);
	for (size_t i = 0; i < count && i < SETTLER_BATCH_MAX; i++)
		buf_done(&calls[i]);
	if (!e)
		*ret_gas = BASE_GAS + count * (ITEM_GAS * 64 / 63 + ITEM_OVERHEAD) + BYTE_GAS * out->len;
	return e;
}
