/* What the settler sends, as bytes; see settler.h. Pure. The payment's stored payload is the authorization in plain form
 * (x402_store): {"kind","from","to","value","validAfter","validBefore","nonce","signature",…}, all hex. */
#include <string.h>

#include "chain/abi.h"
#include "chain/calls.h"
#include "pay/settler.h"

#define ITEM_GAS 180000     /* EIP-3009 needs 75,000, Permit2 120,000; a wallet's own check comes on top */
#define ITEM_OVERHEAD 25000 /* reporting, and what EIP-150 keeps back */
#define BASE_GAS 60000
#define BYTE_GAS 16

enum kind { KIND_EIP3009_VRS, KIND_EIP3009_BYTES, KIND_EXACT, KIND_EXACT_WITH_PERMIT, KIND_UPTO };

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

static enum err eip3009(const json_t *o, uint8_t *ret_kind, struct buf *out)
{
	struct calls_authorization a;
	uint8_t sig[2048];
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
	if (len != sizeof(rsv.b)) {
		*ret_kind = KIND_EIP3009_BYTES;
		return calls_eip3009_transfer_bytes(&a, sig, len, out);
	}
	memcpy(rsv.b, sig, sizeof(rsv.b));
	*ret_kind = KIND_EIP3009_VRS;
	return calls_eip3009_transfer(&a, &rsv, out);
}

static enum err permit2(const struct settler_config *c, const struct settling *p, uint8_t *ret_kind, struct buf *out)
{
	const json_t *o = p->payload;
	struct calls_x402 s = { .upto = !strcmp(p->scheme, "upto"), .upto_facilitator = c->contract };
	uint8_t sig[2048];
	enum err e = member(o, "from", s.owner.b, 20);

	s.permit.token = c->token;
	s.upto_amount = u256_from_amount(p->amount);
	if (!e)
		e = member(o, "to", s.to.b, 20);
	if (!e)
		e = number(o, "value", &s.permit.amount);
	if (!e)
		e = number(o, "nonce", &s.permit.nonce);
	if (!e)
		e = number(o, "validBefore", &s.permit.deadline);
	if (!e)
		e = number(o, "validAfter", &s.valid_after);
	if (!e)
		e = signature(o, sig, sizeof(sig), &s.sig_len);
	if (e)
		return e;
	s.sig = sig;
	*ret_kind = s.upto ? KIND_UPTO : KIND_EXACT;
	return calls_x402_settle(&s, out);
}

enum err settler_call(const struct settler_config *c, const struct settling *p, uint8_t *ret_kind, struct buf *out)
{
	return !strcmp(p->method, "eip3009") ? eip3009(p->payload, ret_kind, out) : permit2(c, p, ret_kind, out);
}

/* ---- Settler.settle((uint8 kind, address token, uint64 gasLimit, bytes32 ref, bytes args)[]) ---- */

static enum err item(const struct settler_config *c, const struct settling *p, struct abi_writer *w, struct abi_part *items)
{
	struct buf call = BUF_INIT(8192 + 4);
	struct abi_part tuple;
	uint8_t kind = 0, ref[32] = { 0 };
	enum err e = settler_call(c, p, &kind, &call);

	memcpy(ref, p->id.b, sizeof(p->id.b));
	abi_tuple(w, items, 5, &tuple);
	abi_uint(w, &tuple, kind);
	abi_address(w, &tuple, &c->token);
	abi_uint(w, &tuple, ITEM_GAS);
	abi_word(w, &tuple, ref);
	abi_bytes(w, &tuple, e ? "" : call.data + 4, e ? 0 : call.len - 4);
	buf_done(&call);
	return e;
}

enum err settler_batch(const struct settler_config *c, const struct settling *payments, size_t count, struct buf *out, uint64_t *ret_gas)
{
	static const char declaration[] = "settle((uint8,address,uint64,bytes32,bytes)[])";
	struct abi_part args, items;
	struct abi_writer w;
	struct hash selector;
	enum err e = ERR_OK, written;

	keccak256(declaration, sizeof(declaration) - 1, &selector);
	abi_begin(&w, out, selector.b, 1, &args);
	abi_array(&w, &args, count, count, &items);
	for (size_t i = 0; !e && i < count; i++)
		e = item(c, &payments[i], &w, &items);
	written = abi_finish(&w);
	e = e ? e : written;
	if (!e)
		*ret_gas = BASE_GAS + count * (ITEM_GAS * 64 / 63 + ITEM_OVERHEAD) + BYTE_GAS * out->len;
	return e;
}
