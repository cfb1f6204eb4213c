/* Fuzzes what a payer or a seller's server may send: header bytes through every step that needs no chain, with terms that match, and
 * with arbitrary facts; bodies of the facilitator; statements of inference. */
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "pay/facilitator.h"
#include "pay/settle_data.h"
#include "pay/x402_check.h"
#include "pay/x402_headers.h"
#include "pay/x402_quote.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static struct x402_offer offer_make(enum x402_scheme scheme, enum x402_method method)
{
	struct x402_offer o = { .scheme = scheme, .method = method, .chain_id = 84532, .amount = u256_from_u64(1000000000000000), .max_timeout_s = 300, .name = "OPG", .version = "1" };
	must(!address_parse("0x5FbDB2315678afecb367f032d93F642f64180aa3", &o.asset) && !address_parse("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC", &o.pay_to));
	must(!address_parse("0x70997970C51812dc3A010C7d01b50e0d17dc79C8", &o.facilitator));
	return o;
}

/* Whatever the chain says, a payment is good or has a reason; one that was never signed is only good if a contract says so. */
static void check(const struct x402_payment *p, const struct x402_offer *o, uint8_t bits)
{
	struct x402_auth a;
	struct x402_check c;
	struct x402_facts f = { .payer_has_code = bits & 1 ? X402_YES : X402_NO, .erc1271_ok = bits & 2 ? X402_YES : X402_NO, .asset_has_code = bits & 4 ? X402_NO : X402_YES,
				.nonce_used = bits & 8 ? X402_YES : X402_NO, .balance_known = bits & 16, .allowance_known = bits & 32 };
	const char *why = x402_auth_read(p, o->scheme, &a);
	if (why) {
		must(strlen(why) > 0);
		return;
	}
	must(a.signature_len <= 65536);
	why = x402_check_begin(o, p, &a, 1767225600, &c);
	if (!why) {
		struct x402_claim_key key = x402_claim_key_of(o, &a);
		must(address_equal(&key.payer, &a.from) && c.needs != 0 && c.signature_len <= a.signature_len);
		why = x402_check_finish(&c, &f);
		must(why || (f.payer_has_code == X402_YES ? f.erc1271_ok == X402_YES : c.eoa_signed));
		must(why || f.nonce_used == X402_NO);
	}
	x402_auth_done(&a);
}

static void payment(struct x402_payment *p, uint8_t bits)
{
	const struct x402_offer offers[] = { offer_make(X402_UPTO, X402_PERMIT2), offer_make(X402_EXACT, X402_PERMIT2), offer_make(X402_EXACT, X402_EIP3009) };
	must(x402_payment_match(p, offers, 3) < 3);
	_cleanup_json_ json_t *advertised = json_must(json_pack("{s:{s:{s:b}}}", "payment-identifier", "info", "required", 0));
	x402_payment_extensions_ok(p, advertised);
	x402_payment_identifier(p);
	x402_payment_quote(p);
	for (size_t i = 0; i < 3; i++)
		check(p, &offers[i], bits);
	x402_payment_done(p);
}

static void headers(const char *header, uint8_t bits)
{
	struct x402_payment p;
	struct x402_why why = { "" };
	if (x402_payment_decode(header, &p, &why) == X402_DECODED)
		payment(&p, bits);
	else
		must(strlen(why.text) > 0);
	if (x402_payment_decode_v1(header, &p, &why) == X402_DECODED)
		payment(&p, bits);
}

static void texts(const char *text, size_t len)
{
	struct hash key = { { 1 } };
	struct x402_quote q;
	size_t n, again_len;
	struct u256 v, back;
	struct x402_offer o;
	must(x402_quote_open(&key, text, 0, &q) == ERR_BAD_TOKEN);
	_cleanup_free_ char *bytes = base64_decode(text, len, &n);
	if (bytes) {
		_cleanup_free_ char *encoded = base64_encode(bytes, n);
		_cleanup_free_ char *again = base64_decode(encoded, strlen(encoded), &again_len);
		must(again && again_len == n && memcmp(again, bytes, n) == 0);
	}
	if (!u256_parse(text, len, 10, &v)) {
		struct u256_str s = u256_format(&v);
		must(!u256_parse(s.s, strlen(s.s), 10, &back) && u256_equal(&v, &back));
	}
	json_error_t error;
	_cleanup_json_ json_t *j = json_loadb(text, len, JSON_DECODE_ANY, &error);
	for (int version = 1; version <= 2; version++)
		if (j && !x402_offer_read(j, version, &o) && o.name && o.version)
			json_decref(x402_offer_json(&o));
}

static void facilitator(const char *text, size_t len, uint8_t bits)
{
	struct facilitator_request r, again;
	struct x402_why why = { "" };
	struct json_why unread;
	json_t *parsed = NULL;

	if (json_parse(text, len, &parsed, &unread))
		return;
	_cleanup_json_ json_t *body = parsed;
	if (facilitator_request_read(body, &r, &why)) {
		must(strlen(why.text) > 0);
		return;
	}
	must(!facilitator_request_read(body, &again, &why) && hash_equal(&again.digest, &r.digest));
	facilitator_request_done(&again);
	must(r.refusal ? !r.payment.payload || !r.payment.root : r.payment.root != NULL);
	if (!r.refusal)
		check(&r.payment, &r.offer, bits);
	facilitator_request_done(&r);
}

static void statements(const char *header)
{
	enum settle_data_type type;
	struct x402_why why = { "" };
	struct settle_data d;

	must(!settle_data_type_read(header, &type, &why) || strlen(why.text) > 0);
	for (type = SETTLE_DATA_BATCH; type <= SETTLE_DATA_INDIVIDUAL; type++) {
		why.text[0] = '\0';
		if (settle_data_read(type, header, &d, &why)) {
			must(strlen(why.text) > 0);
			continue;
		}
		must(d.row.tee_signature_len > 0 && d.row.tee_signature_len <= sizeof(d.row.tee_signature) && d.row.tee_timestamp >= 0);
		must(d.row.individual == (type == SETTLE_DATA_INDIVIDUAL) && (!d.row.individual || (d.row.input && d.row.output)));
		settle_data_done(&d);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bits = size ? data[0] : 0;
	size_t len = size ? size - 1 : 0;
	crypto_init();
	_cleanup_free_ char *raw = xmalloc(len + 1);
	if (len)
		memcpy(raw, data + 1, len);
	raw[len] = '\0';
	/* as the header itself, and as the JSON inside one, which is where the interesting part is */
	_cleanup_free_ char *encoded = base64_encode(raw, len);
	headers(raw, bits);
	headers(encoded, bits);
	texts(raw, len);
	facilitator(raw, len, bits);
	statements(raw);
	statements(encoded);
	return 0;
}
