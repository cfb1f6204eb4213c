/* Fuzzes what a payer may send in extensions: names, approvals and sign-ins, as JSON and as the bytes of a transaction inside of it.
 * Whatever is read is bounded; a permit or an approval that is good is this payer's, for Permit2, and within our limits. The first
 * byte says which. */
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/mem.h"
#include "pay/x402_check.h"
#include "pay/x402_extensions.h"
#include "pay/x402_headers.h"
#include "pay/x402_siwx.h"
#include "pay/x402_sponsor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

#define PAYER "0x90F79bf6EB2c4f870365E785982E1f101E93b906"
#define ASSET "0x5FbDB2315678afecb367f032d93F642f64180aa3"
#define PAYMENT(extensions) \
	"{\"x402Version\":2,\"payload\":{\"signature\":\"0x\",\"permit2Authorization\":{\"from\":\"" PAYER "\",\"permitted\":{\"token\":\"" ASSET "\",\"amount\":\"1000000000000000\"}," \
	"\"spender\":\"0x402085c248EeA27D92E8b30b2C58ed07f9E20001\",\"nonce\":\"1\",\"deadline\":\"1767225900\",\"witness\":{\"to\":\"" ASSET "\",\"validAfter\":\"0\"}}}," \
	"\"extensions\":" extensions "}"

static void sponsored(const struct x402_payment *p, const struct x402_auth *a)
{
	struct x402_offer o = { .scheme = X402_EXACT, .method = X402_PERMIT2, .chain_id = 84532, .name = "OPG", .version = "1" };
	struct x402_sponsor s;
	must(!address_parse(ASSET, &o.asset));
	const char *why = x402_sponsor_read(p, &o, a, 1767225600, &s);
	if (why) {
		must(strlen(why) > 0);
		return;
	}
	if (s.by == X402_BY_APPROVAL) {
		struct address sender, spender;
		struct u256 value;
		struct hash hash;
		struct tx tx;
		must(!tx_parse_signed(s.raw, s.raw_len, &tx, &sender, &hash) && address_equal(&sender, &a->from) && address_equal(&tx.to, &o.asset));
		must(tx.chain_id == 84532 && tx.gas <= X402_APPROVE_GAS_MAX && u256_is_zero(&tx.value) && hash_equal(&hash, &s.hash));
		must(calls_parse_approve(tx.data, tx.data_len, &spender, &value) && address_equal(&spender, &X402_PERMIT2_CONTRACT) && u256_cmp(&value, &a->value.v) >= 0);
	}
	must(s.by != X402_BY_PERMIT || u256_cmp(&s.permit.deadline, &(struct u256){ { 1767225606 } }) >= 0);
	x402_sponsor_done(&s);
}

static void payment(const char *text)
{
	struct x402_payment p;
	struct x402_auth a;
	struct x402_why why;
	const char *id = NULL;
	_cleanup_free_ char *header = base64_encode(text, strlen(text));
	if (x402_payment_decode(header, &p, &why) != X402_DECODED)
		return;
	if (x402_identifier_read(&p, &id) == X402_ID_GIVEN)
		must(strlen(id) >= 16 && strlen(id) <= 128);
	const struct x402_declared d = { .call = X402_CALL_CHAT, .model = "a/b", .permits = true, .approvals = true };
	_cleanup_json_ json_t *declared = x402_extensions_json(&d);
	x402_payment_extensions_ok(&p, declared);
	if (!x402_auth_read(&p, X402_EXACT, &a)) {
		sponsored(&p, &a);
		x402_auth_done(&a);
	}
	x402_payment_done(&p);
}

static void transaction(const uint8_t *p, size_t len)
{
	_cleanup_free_ char *hex = xmalloc(2 * len + 1);
	hex_encode(p, len, hex);
	_cleanup_free_ char *text = xasprintf(PAYMENT("{\"erc20ApprovalGasSponsoring\":{\"info\":{\"from\":\"" PAYER "\",\"asset\":\"" ASSET "\","
						      "\"spender\":\"0x000000000022D473030F116dDEE9F6B43aC78BA3\",\"amount\":"
						      "\"115792089237316195423570985008687907853269984665640564039457584007913129639935\",\"signedTransaction\":\"0x%s\",\"version\":\"1\"}}}"), hex);
	payment(text);
}

static void sign_in(const char *text)
{
	static const struct hash key = { { 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7 } };
	static const struct x402_siwx siwx = { .base_url = "http://127.0.0.1:8080", .uri = "http://127.0.0.1:8080/x", .chain_id = 84532, .request = { { 9 } }, .key = &key };
	_cleanup_free_ char *header = base64_encode(text, strlen(text));
	struct x402_signed_in in;
	struct json_why why = { "" };
	enum err e = x402_siwx_read(&siwx, header, 1767225600000, &in, &why);
	must(e || (strlen(in.nonce.s) == 32 && in.signature_len <= WALLET_SIGNATURE_MAX));
	must(!e || strlen(why.text) > 0);
	must(x402_siwx_read(&siwx, text, 1767225600000, &in, &why) == ERR_OK || strlen(why.text) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	crypto_init();
	_cleanup_free_ char *text = xmalloc(size);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	_cleanup_free_ char *with = xasprintf(PAYMENT("%s"), text);
	switch (data[0] % 4) {
	case 0: payment(text); break;
	case 1: payment(with); break;
	case 2: transaction(data + 1, size - 1); break;
	default: sign_in(text);
	}
	return 0;
}
