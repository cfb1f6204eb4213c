/* See x402_check.h. */
#include "pay/x402_check.h"

#include <string.h>

const struct address X402_PERMIT2_CONTRACT = { { 0x00, 0x00, 0x00, 0x00, 0x00, 0x22, 0xd4, 0x73, 0x03, 0x0f, 0x11, 0x6d, 0xde, 0xe9, 0xf6, 0xb4, 0x3a, 0xc7, 0x8b, 0xa3 } };
const struct address X402_EXACT_PROXY = { { 0x40, 0x20, 0x85, 0xc2, 0x48, 0xee, 0xa2, 0x7d, 0x92, 0xe8, 0xb3, 0x0b, 0x2c, 0x58, 0xed, 0x07, 0xf9, 0xe2, 0x00, 0x01 } };
const struct address X402_UPTO_PROXY = { { 0x40, 0x20, 0xa4, 0xf3, 0xb7, 0xb9, 0x0c, 0xca, 0x42, 0x3b, 0x9f, 0xab, 0xcc, 0x0c, 0xe5, 0x7c, 0x6c, 0x24, 0x00, 0x02 } };

#define TRANSFER "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
#define PERMITTED "TokenPermissions(address token,uint256 amount)"
#define WITNESS_EXACT "Witness(address to,uint256 validAfter)"
#define WITNESS_UPTO "Witness(address to,address facilitator,uint256 validAfter)"
#define PERMIT "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Witness witness)" PERMITTED

/* The group order; s and n - s sign alike. */
static const uint8_t ORDER[32] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
	0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
};
/* What an ERC-6492 signature ends with. */
static const uint8_t WRAP_END[32] = {
	0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92,
	0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92,
};

/* ---- typed data ---- */

static void word(struct eip712 *e, const struct u256 *v)
{
	uint8_t be[32];
	u256_to_be(v, be);
	eip712_word(e, be);
}

static struct hash struct_hash(const struct eip712 *e)
{
	struct hash h;
	keccak256(e->words, 32 * e->count, &h);
	return h;
}

static void digest_eip3009(const struct x402_offer *offer, const struct x402_auth *a, struct hash *ret)
{
	struct eip712 e;
	struct hash domain;
	eip712_domain(offer->name, offer->version, offer->chain_id, &offer->asset, &domain);
	eip712_begin(&e, TRANSFER);
	eip712_address(&e, &a->from);
	eip712_address(&e, &a->to);
	word(&e, &a->value.v);
	word(&e, &a->valid_after.v);
	word(&e, &a->valid_before.v);
	word(&e, &a->nonce.v);
	eip712_digest(&e, &domain, ret);
}

static void digest_permit2(const struct x402_offer *offer, const struct x402_auth *a, struct hash *ret)
{
	struct eip712 e;
	struct hash domain, permitted, witness;
	eip712_domain("Permit2", NULL, offer->chain_id, &X402_PERMIT2_CONTRACT, &domain);
	eip712_begin(&e, PERMITTED);
	eip712_address(&e, &a->token);
	word(&e, &a->value.v);
	permitted = struct_hash(&e);
	eip712_begin(&e, a->upto ? WITNESS_UPTO : WITNESS_EXACT);
	eip712_address(&e, &a->to);
	if (a->upto)
		eip712_address(&e, &a->facilitator);
	word(&e, &a->valid_after.v);
	witness = struct_hash(&e);
	eip712_begin(&e, a->upto ? PERMIT WITNESS_UPTO : PERMIT WITNESS_EXACT);
	eip712_hash(&e, &permitted);
	eip712_address(&e, &a->spender);
	word(&e, &a->nonce.v);
	word(&e, &a->valid_before.v);
	eip712_hash(&e, &witness);
	eip712_digest(&e, &domain, ret);
}

bool x402_digest(const struct x402_offer *offer, const struct x402_auth *auth, struct hash *ret)
{
	if (!auth->hashable || auth->value.range || auth->valid_after.range || auth->valid_before.range || auth->nonce.range)
		return false;
	if (auth->method == X402_PERMIT2)
		digest_permit2(offer, auth, ret);
	else
		digest_eip3009(offer, auth, ret);
	return true;
}

/* ---- signatures ---- */

/* Makes s low, turning v with it; true when it was high. */
static bool signature_lower(struct signature *sig)
{
	struct u256 order = u256_from_be(ORDER), s = u256_from_be(sig->b + 32), twin;
	if (u256_sub(&order, &s, &twin) || u256_cmp(&s, &twin) <= 0)
		return false;
	u256_to_be(&twin, sig->b + 32);
	sig->b[64] = sig->b[64] == 27 ? 28 : 27;
	return true;
}

/* ret_settles: do the contracts take it as it stands? Tokens refuse a high s, Permit2 does not; ecrecover knows v 27 and 28 only. */
static enum err recover(const struct hash *digest, const uint8_t *p, size_t len, enum x402_method method, struct address *ret, bool *ret_settles)
{
	struct signature sig;
	if (len != sizeof(sig.b))
		return ERR_BAD_SIGNATURE;
	memcpy(sig.b, p, sizeof(sig.b));
	bool settles = sig.b[64] >= 27;
	if (sig.b[64] < 2)
		sig.b[64] = (uint8_t)(sig.b[64] + 27);
	if (sig.b[64] != 27 && sig.b[64] != 28)
		return ERR_BAD_SIGNATURE;
	bool high = signature_lower(&sig);
	enum err e = ecdsa_recover(digest, &sig, ret);
	if (!e)
		*ret_settles = settles && (method == X402_PERMIT2 || !high);
	return e;
}

enum err x402_recover(const struct hash *digest, const uint8_t *signature, size_t len, struct address *ret)
{
	bool settles;
	return recover(digest, signature, len, X402_PERMIT2, ret, &settles);
}

uint8_t x402_permit2_bit(const struct u256 *nonce, uint8_t ret_word_be[32])
{
	uint8_t be[32];
	u256_to_be(nonce, be);
	ret_word_be[0] = 0;
	memcpy(ret_word_be + 1, be, 31);
	return be[31];
}

/* Takes an ERC-6492 wrapping (factory, calldata, signature) off; false when it has one that cannot be read. */
static bool unwrap(struct x402_check *c)
{
	uint64_t offset, len;
	struct u256 v;
	if (c->signature_len < 32 || memcmp(c->signature + c->signature_len - 32, WRAP_END, 32) != 0)
		return true;
	const uint8_t *p = c->signature;
	size_t body = c->signature_len - 32;
	if (body < 96)
		return false;
	v = u256_from_be(p + 64);
	if (u256_to_u64(&v, &offset) || offset > body - 32)
		return false;
	v = u256_from_be(p + offset);
	if (u256_to_u64(&v, &len) || len > body - 32 - offset)
		return false;
	v = u256_from_be(p);
	/* Without a factory the official facilitator leaves the wrapping on. */
	if (!u256_is_zero(&v)) {
		c->factory = true;
		c->signature = p + offset + 32;
		c->signature_len = len;
	}
	return true;
}

bool x402_signature(const struct x402_auth *auth, const uint8_t **ret, size_t *ret_len)
{
	struct x402_check c = { .signature = auth->signature, .signature_len = auth->signature_len };
	if (!auth->signature_hex || (auth->method != X402_PERMIT2 && !unwrap(&c)))
		return false;
	*ret = c.signature;
	*ret_len = c.signature_len;
	return true;
}

/* ---- the checks ---- */

/* a against b, either beyond the range. */
static int number_cmp(const struct x402_number *a, const struct u256 *b)
{
	return a->range == X402_FITS ? u256_cmp(&a->v, b) : a->range == X402_OVER ? 1 : -1;
}

static bool too_late(const struct x402_auth *a, int64_t now_s)
{
	struct u256 least = u256_from_u64((uint64_t)(now_s + X402_GRACE_S));
	return number_cmp(&a->valid_before, &least) < 0;
}

static bool too_early(const struct x402_auth *a, int64_t now_s)
{
	struct u256 now = u256_from_u64((uint64_t)now_s);
	return number_cmp(&a->valid_after, &now) > 0;
}

static const char *eip3009_static(const struct x402_offer *o, const struct x402_auth *a, int64_t now_s)
{
	if (!address_equal(&a->to, &o->pay_to))
		return "invalid_exact_evm_recipient_mismatch";
	if (too_late(a, now_s))
		return "invalid_exact_evm_payload_authorization_valid_before";
	if (too_early(a, now_s))
		return "invalid_exact_evm_payload_authorization_valid_after";
	return number_cmp(&a->value, &o->amount) != 0 ? "invalid_exact_evm_payload_authorization_value_mismatch" : NULL;
}

static const char *v1_static(const struct x402_offer *o, const struct x402_auth *a, int64_t now_s)
{
	if (!address_equal(&a->to, &o->pay_to))
		return "invalid_exact_evm_payload_recipient_mismatch";
	if (too_late(a, now_s))
		return "invalid_exact_evm_payload_authorization_valid_before";
	return too_early(a, now_s) ? "invalid_exact_evm_payload_authorization_valid_after" : NULL;
}

static const char *permit2_static(const struct x402_offer *o, const struct x402_auth *a, int64_t now_s)
{
	if (!address_equal(&a->spender, a->upto ? &X402_UPTO_PROXY : &X402_EXACT_PROXY))
		return "invalid_permit2_spender";
	if (!address_equal(&a->to, &o->pay_to))
		return "invalid_permit2_recipient_mismatch";
	if (a->upto && !address_equal(&a->facilitator, &o->facilitator))
		return "upto_facilitator_mismatch";
	if (too_late(a, now_s))
		return "permit2_deadline_expired";
	if (too_early(a, now_s))
		return "permit2_not_yet_valid";
	if (number_cmp(&a->value, &o->amount) != 0)
		return "permit2_amount_mismatch";
	return address_equal(&a->token, &o->asset) ? NULL : "permit2_token_mismatch";
}

/* Scheme, domain and network: what comes before anything of the authorization is looked at. */
static const char *terms_refusal(const struct x402_offer *o, const struct x402_payment *p, const struct x402_auth *a)
{
	bool v1 = p->version == 1, permit2 = a->method == X402_PERMIT2, upto = o->scheme == X402_UPTO;
	struct x402_network_str v2_name = x402_network_format(o->chain_id);
	const char *network = v1 ? x402_network_v1(o->chain_id) : v2_name.s;
	if (!p->scheme || strcmp(p->scheme, x402_scheme_name(o->scheme)) != 0 || upto != a->upto || (upto && !permit2))
		return v1 ? "unsupported_scheme" : upto ? "invalid_upto_evm_scheme" : permit2 ? "unsupported_payload_type" : "invalid_exact_evm_scheme";
	if (!v1 && !permit2 && (!o->name || !o->version || !*o->name || !*o->version))
		return "invalid_exact_evm_missing_eip712_domain";
	if (!p->network || !network || strcmp(p->network, network) != 0)
		return v1 ? "invalid_network" : upto ? "invalid_upto_evm_network_mismatch" : "invalid_exact_evm_network_mismatch";
	return NULL;
}

static const char *signature_refusal(const struct x402_check *c)
{
	if (c->version == 1)
		return "invalid_exact_evm_payload_signature";
	return c->method == X402_PERMIT2 ? "invalid_permit2_signature" : "invalid_exact_evm_signature";
}

const char *x402_check_begin(const struct x402_offer *offer, const struct x402_payment *payment, const struct x402_auth *auth, int64_t now_s, struct x402_check *ret)
{
	struct x402_check c = { .version = payment->version, .method = auth->method, .amount = offer->amount, .pays = auth->value.v,
				.signature = auth->signature, .signature_len = auth->signature_len };
	bool permit2 = auth->method == X402_PERMIT2;
	struct address signer;
	const char *refusal = terms_refusal(offer, payment, auth);
	if (!refusal && permit2)
		refusal = permit2_static(offer, auth, now_s);
	if (refusal)
		return refusal;
	if (!x402_digest(offer, auth, &c.digest) || !auth->signature_hex || (!permit2 && !unwrap(&c)))
		return signature_refusal(&c);
	c.eoa_signed = !c.factory && recover(&c.digest, c.signature, c.signature_len, auth->method, &signer, &c.eoa_settles) == ERR_OK &&
		       address_equal(&signer, &auth->from);
	if (!permit2)
		c.after_signature = c.version == 1 ? v1_static(offer, auth, now_s) : eip3009_static(offer, auth, now_s);
	if (c.version == 1 && number_cmp(&auth->value, &offer->amount) < 0)
		c.after_balance = "invalid_exact_evm_payload_authorization_value";
	/* A payer with code could still fail at the signature; it is refused either way, so nobody needs to ask. */
	if (c.eoa_signed && c.after_signature)
		return c.after_signature;
	c.needs = X402_NEED_PAYER_CODE | X402_NEED_ERC1271 | X402_NEED_ASSET_CODE | X402_NEED_NONCE | X402_NEED_BALANCE;
	if (permit2)
		c.needs |= X402_NEED_ALLOWANCE | X402_NEED_PROXY;
	*ret = c;
	return NULL;
}

static bool below(bool known, const struct u256 *have, const struct u256 *need)
{
	return known && u256_cmp(have, need) < 0;
}

/* Would the settlement revert? The facilitator's simulation says so; known facts say it, too. */
static bool would_revert(const struct x402_check *c, const struct x402_facts *f)
{
	if (f->simulation_ok == X402_NO || f->nonce_used == X402_YES || (f->payer_has_code != X402_YES && !c->eoa_settles))
		return true;
	if (below(f->balance_known, &f->balance, &c->pays))
		return true;
	if (c->method == X402_PERMIT2)
		return f->proxy_deployed == X402_NO || (!f->allowance_sponsored && below(f->allowance_known, &f->allowance, &c->pays));
	return f->token_has_eip3009 == X402_NO || f->token_name_ok == X402_NO || f->token_version_ok == X402_NO;
}

static const char *diagnose_eip3009(const struct x402_check *c, const struct x402_facts *f)
{
	if (f->token_has_eip3009 == X402_NO)
		return "invalid_exact_evm_eip3009_not_supported";
	if (f->nonce_used == X402_YES)
		return "invalid_exact_evm_nonce_already_used";
	if (f->token_name_ok == X402_NO)
		return "invalid_exact_evm_token_name_mismatch";
	if (f->token_version_ok == X402_NO)
		return "invalid_exact_evm_token_version_mismatch";
	return below(f->balance_known, &f->balance, &c->amount) ? "invalid_exact_evm_insufficient_balance" : "invalid_exact_evm_transaction_simulation_failed";
}

static const char *diagnose_permit2(const struct x402_check *c, const struct x402_facts *f)
{
	if (f->proxy_deployed == X402_NO)
		return "permit2_proxy_not_deployed";
	if (below(f->balance_known, &f->balance, &c->amount))
		return "permit2_insufficient_balance";
	return below(f->allowance_known, &f->allowance, &c->amount) ? "permit2_allowance_required" : "permit2_simulation_failed";
}

static const char *finish_v1(const struct x402_check *c, const struct x402_facts *f)
{
	if (f->payer_has_code != X402_YES && !c->eoa_settles)
		return signature_refusal(c);
	if (c->after_signature)
		return c->after_signature;
	if (below(f->balance_known, &f->balance, &c->amount))
		return "insufficient_funds";
	if (c->after_balance)
		return c->after_balance;
	if (below(f->balance_known, &f->balance, &c->pays))
		return "insufficient_funds"; /* it pays more than asked, and more than it has */
	return f->asset_has_code == X402_NO || would_revert(c, f) ? "invalid_transaction_state" : NULL;
}

const char *x402_check_finish(const struct x402_check *c, const struct x402_facts *f)
{
	bool contract = f->payer_has_code == X402_YES, permit2 = c->method == X402_PERMIT2;
	bool good = contract ? f->erc1271_ok == X402_YES : c->eoa_signed;
	if (c->factory && !contract)
		return c->version == 1 ? signature_refusal(c) : "eip6492_factory_not_allowed";
	if (permit2 && f->asset_has_code == X402_NO)
		return "asset_not_deployed_contract";
	if (!good)
		return signature_refusal(c);
	if (c->version == 1)
		return finish_v1(c, f);
	if (c->after_signature)
		return c->after_signature;
	if (f->asset_has_code == X402_NO)
		return "asset_not_deployed_contract";
	if (!would_revert(c, f))
		return NULL;
	return permit2 ? diagnose_permit2(c, f) : diagnose_eip3009(c, f);
}

const char *x402_capture_refusal(const struct x402_auth *auth, const struct u256 *amount)
{
	return number_cmp(&auth->value, amount) < 0 ? "invalid_upto_evm_payload_settlement_exceeds_amount" : NULL;
}
