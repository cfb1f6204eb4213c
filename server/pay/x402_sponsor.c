/* See x402_sponsor.h. */
#include "pay/x402_sponsor.h"

#include <string.h>

#include "base/mem.h"
#include "pay/x402_check.h"
#include "pay/x402_extensions.h"

#define PERMIT_TYPE "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
#define RAW_MAX 1024 /* an approval has less than 200 bytes */

static const char *text_of(const json_t *info, const char *key)
{
	return json_string_value(json_object_get(info, key));
}

/* Official facilitators take an info without any of these for an echo of what was declared. */
static bool complete(const json_t *info, const char *const *keys, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const json_t *v = json_object_get(info, keys[i]);

		if (!v || json_is_null(v) || json_is_false(v) || (json_is_string(v) && json_string_length(v) == 0) || (json_is_number(v) && json_number_value(v) == 0))
			return false;
	}
	return true;
}

static bool is_number(const json_t *info, const char *key, struct u256 *ret)
{
	const char *s = text_of(info, key);

	return s && *s && u256_parse(s, strlen(s), 10, ret) == ERR_OK;
}

static bool is_version(const char *s)
{
	return s && *s && strspn(s, "0123456789.") == strlen(s) && *s != '.' && s[strlen(s) - 1] != '.' && !strstr(s, "..");
}

static bool is_hex(const char *s)
{
	return s && strncmp(s, "0x", 2) == 0 && s[2] && strspn(s + 2, "0123456789abcdefABCDEF") == strlen(s + 2);
}

/* Whose, of which token, for whom: the members both extensions have. */
struct parties {
	struct address from, asset, spender;
};

static bool parties_read(const json_t *info, struct parties *ret)
{
	return !address_parse(text_of(info, "from"), &ret->from) && !address_parse(text_of(info, "asset"), &ret->asset) && !address_parse(text_of(info, "spender"), &ret->spender);
}

/* ---- EIP-2612 ---- */

static void permit_digest(const struct x402_offer *o, const struct x402_auth *auth, const struct x402_sponsor *s, struct hash *ret)
{
	struct eip712 e;
	struct hash domain;
	uint8_t word[32];

	eip712_domain(o->name, o->version, o->chain_id, &o->asset, &domain);
	eip712_begin(&e, PERMIT_TYPE);
	eip712_address(&e, &auth->from);
	eip712_address(&e, &X402_PERMIT2_CONTRACT);
	u256_to_be(&s->permit.value, word);
	eip712_word(&e, word);
	u256_to_be(&s->nonce, word);
	eip712_word(&e, word);
	u256_to_be(&s->permit.deadline, word);
	eip712_word(&e, word);
	eip712_digest(&e, &domain, ret);
}

static const char *permit_read(const json_t *info, const struct x402_offer *o, const struct x402_auth *auth, int64_t now_s, struct x402_sponsor *s)
{
	const char *signature = text_of(info, "signature");
	struct u256 least = u256_from_u64((uint64_t)(now_s + X402_GRACE_S));
	struct parties who;
	struct hash digest;
	struct address signer;

	if (!parties_read(info, &who) || !is_number(info, "amount", &s->permit.value) || !is_number(info, "nonce", &s->nonce) ||
	    !is_number(info, "deadline", &s->permit.deadline) || !is_hex(signature) || !is_version(text_of(info, "version")))
		return "invalid_eip2612_extension_format";
	if (!address_equal(&who.from, &auth->from))
		return "eip2612_from_mismatch";
	if (!address_equal(&who.asset, &o->asset))
		return "eip2612_asset_mismatch";
	if (!address_equal(&who.spender, &X402_PERMIT2_CONTRACT))
		return "eip2612_spender_not_permit2";
	if (u256_cmp(&s->permit.deadline, &least) < 0)
		return "eip2612_deadline_expired";
	if (signature_parse(signature, &s->permit.sig))
		return "invalid_eip2612_extension_format";
	permit_digest(o, auth, s, &digest);
	s->key_signed = ecdsa_recover(&digest, &s->permit.sig, &signer) == ERR_OK && address_equal(&signer, &auth->from);
	s->by = X402_BY_PERMIT;
	return NULL;
}

/* ---- a signed approval ---- */

static const char *approve_refusal(const struct x402_offer *o, const struct x402_auth *auth, const struct x402_sponsor *s, const struct u256 *said)
{
	static const uint8_t selector[4] = { 0x09, 0x5e, 0xa7, 0xb3 };
	struct address spender;
	struct u256 value;

	if (!address_equal(&s->tx.to, &o->asset))
		return "erc20_approval_tx_wrong_target";
	if (s->tx.data_len < sizeof(selector) || memcmp(s->tx.data, selector, sizeof(selector)) != 0)
		return "erc20_approval_tx_wrong_selector";
	if (!calls_parse_approve(s->tx.data, s->tx.data_len, &spender, &value))
		return "erc20_approval_tx_invalid_calldata";
	if (!address_equal(&spender, &X402_PERMIT2_CONTRACT))
		return "erc20_approval_tx_wrong_spender";
	if (!u256_equal(&value, said) || u256_cmp(&value, &auth->value.v) < 0)
		return "erc20_approval_tx_invalid_calldata";
	/* Of another chain, or not the approval alone: it would be mined as something we did not mean to pay for. */
	if (s->tx.chain_id != o->chain_id || !u256_is_zero(&s->tx.value) || s->tx.gas > X402_APPROVE_GAS_MAX)
		return "erc20_approval_tx_failed";
	return NULL;
}

static const char *approval_parse(const struct x402_offer *o, const struct x402_auth *auth, const char *hex, const struct u256 *said, struct x402_sponsor *s)
{
	struct address signer;
	const char *reason;
	enum err e;

	s->raw_len = strlen(hex + 2) / 2;
	if (strlen(hex + 2) % 2 || s->raw_len > RAW_MAX)
		return "erc20_approval_tx_parse_failed";
	s->raw = xmalloc(s->raw_len);
	if (hex_decode(hex + 2, 2 * s->raw_len, s->raw, s->raw_len))
		return "erc20_approval_tx_parse_failed";
	e = tx_parse_signed(s->raw, s->raw_len, &s->tx, &signer, &s->hash);
	if (e)
		return e == ERR_BAD_SIGNATURE ? "erc20_approval_tx_invalid_signature" : "erc20_approval_tx_parse_failed";
	reason = approve_refusal(o, auth, s, said);
	if (reason)
		return reason;
	s->approved = *said;
	s->by = X402_BY_APPROVAL;
	return address_equal(&signer, &auth->from) ? NULL : "erc20_approval_tx_signer_mismatch";
}

static const char *approval_read(const json_t *info, const struct x402_offer *o, const struct x402_auth *auth, struct x402_sponsor *s)
{
	const char *hex = text_of(info, "signedTransaction");
	struct parties who;
	struct u256 amount;

	if (!parties_read(info, &who) || !is_number(info, "amount", &amount) || !is_hex(hex) || !is_version(text_of(info, "version")))
		return "invalid_erc20_approval_extension_format";
	if (!address_equal(&who.from, &auth->from))
		return "erc20_approval_from_mismatch";
	if (!address_equal(&who.asset, &o->asset))
		return "erc20_approval_asset_mismatch";
	if (!address_equal(&who.spender, &X402_PERMIT2_CONTRACT))
		return "erc20_approval_spender_not_permit2";
	return approval_parse(o, auth, hex, &amount, s);
}

/* ---- either ---- */

const char *x402_sponsor_read(const struct x402_payment *p, const struct x402_offer *offer, const struct x402_auth *auth, int64_t now_s, struct x402_sponsor *ret)
{
	static const char *const permit[] = { "from", "asset", "spender", "amount", "nonce", "deadline", "signature", "version" };
	static const char *const approval[] = { "from", "asset", "spender", "amount", "signedTransaction", "version" };
	const json_t *info = x402_payment_extension(p, X402_EIP2612);
	struct x402_sponsor s = { .by = X402_UNSPONSORED };
	const char *reason = NULL;

	if (p->version == 2 && auth->method == X402_PERMIT2) {
		if (complete(info, permit, sizeof(permit) / sizeof(permit[0])))
			reason = permit_read(info, offer, auth, now_s, &s);
		else if (complete(info = x402_payment_extension(p, X402_ERC20_APPROVAL), approval, sizeof(approval) / sizeof(approval[0])))
			reason = approval_read(info, offer, auth, &s);
	}
	if (reason)
		x402_sponsor_done(&s);
	else
		*ret = s;
	return reason;
}

void x402_sponsor_done(struct x402_sponsor *s)
{
	mem_cleanup_free(&s->raw);
	s->raw = NULL;
}
