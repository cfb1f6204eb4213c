/* Payments as clients send them: the official clients' own, every way of not being a payment, and the strict echo. */
#include "base/base64.h"
#include "x402_fixture.h"

static void test_official_clients(void **state)
{
	(void)state;
	static const struct {
		const char *header;
		int version, offer;
	} rows[] = {
		{ CLIENT_227_EXACT, 2, OFFER_EXACT }, { CLIENT_227_PERMIT2, 2, OFFER_PERMIT2 }, { CLIENT_227_UPTO, 2, OFFER_UPTO }, { CLIENT_227_ALL, 2, OFFER_UPTO },
		{ CLIENT_211_EXACT, 2, OFFER_EXACT }, { CLIENT_211_PERMIT2, 2, OFFER_PERMIT2 }, { CLIENT_211_UPTO, 2, OFFER_UPTO }, { CLIENT_V1, 1, OFFER_EXACT },
	};
	struct x402_offer offers[OFFER_COUNT];
	struct address payer = addr(VECTOR_PAYER);
	json_error_t error;
	_cleanup_json_ json_t *extensions = json_loads(VECTOR_EXTENSIONS, 0, &error);
	offers_make(offers);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct x402_payment p;
		struct x402_why why;
		struct x402_auth a;
		struct x402_check c;
		assert_int_equal((rows[i].version == 2 ? x402_payment_decode : x402_payment_decode_v1)(rows[i].header, &p, &why), X402_DECODED);
		int match = x402_payment_match(&p, offers, OFFER_COUNT);
		assert_int_equal(match, rows[i].offer);
		assert_true(x402_payment_extensions_ok(&p, extensions));
		if (rows[i].version == 2)
			assert_string_equal(x402_payment_quote(&p), VECTOR_QUOTE);
		assert_null(x402_auth_read(&p, offers[match].scheme, &a));
		assert_true(address_equal(&a.from, &payer));
		assert_null(x402_check_begin(&offers[match], &p, &a, VECTOR_NOW, &c));
		assert_null(x402_check_finish(&c, &(struct x402_facts){ .payer_has_code = X402_NO }));
		assert_string_equal(u256_format(&c.pays).s, PRICE);
		assert_int_equal(c.signature_len, 65);
		x402_auth_done(&a);
		x402_payment_done(&p);
	}
}

static void test_no_payment(void **state)
{
	(void)state;
	/* text is base64-encoded first, raw is the header itself */
	static const struct {
		const char *raw, *text;
		enum x402_decoded result;
		const char *why;
	} rows[] = {
		{ NULL, NULL, X402_UNPAID, "Payment required" }, { "", NULL, X402_UNPAID, "Payment required" },
		{ "{\"x402Version\":2}", NULL, X402_UNPAID, "Payment required" }, { "!!!", NULL, X402_UNPAID, "Payment required" },
		{ "eyJ4NDAyVmVyc2lvbiI6Mn", NULL, X402_UNPAID, "Payment required" }, { NULL, "hello", X402_UNPAID, "Payment required" },
		{ NULL, "null", X402_UNPAID, "Payment required" }, { NULL, "false", X402_UNPAID, "Payment required" }, { NULL, "0", X402_UNPAID, "Payment required" },
		{ NULL, "\"\"", X402_UNPAID, "Payment required" }, { NULL, "{\"x402Version\":2", X402_UNPAID, "Payment required" },
		{ NULL, "{} {}", X402_UNPAID, "Payment required" }, { NULL, "{\"a\":\"\xff\"}", X402_UNPAID, "Payment required" },
		{ NULL, "[]", X402_REFUSED, "Unsupported x402 version: undefined" }, { NULL, "{}", X402_REFUSED, "Unsupported x402 version: undefined" },
		{ NULL, "123", X402_REFUSED, "Unsupported x402 version: undefined" }, { NULL, "\"x\"", X402_REFUSED, "Unsupported x402 version: undefined" },
		{ NULL, "true", X402_REFUSED, "Unsupported x402 version: undefined" },
		{ NULL, "{\"x402Version\":99}", X402_REFUSED, "Unsupported x402 version: 99" }, { NULL, "{\"x402Version\":\"2\"}", X402_REFUSED, "Unsupported x402 version: 2" },
		{ NULL, "{\"x402Version\":2.5}", X402_REFUSED, "Unsupported x402 version: 2.5" }, { NULL, "{\"x402Version\":null}", X402_REFUSED, "Unsupported x402 version: null" },
		{ NULL, "{\"x402Version\":true}", X402_REFUSED, "Unsupported x402 version: true" }, { NULL, "{\"x402Version\":{}}", X402_REFUSED, "Unsupported x402 version: [object Object]" },
		{ NULL, "{\"x402Version\":\"\xc3\xa9\\n\"}", X402_REFUSED, "Unsupported x402 version: ???" }, { NULL, "{\"x402Version\":0}", X402_REFUSED, "Unsupported x402 version: 0" },
		{ NULL, "{\"x402Version\":2}", X402_DECODED, NULL }, { NULL, "{\"x402Version\":2.0,\"payload\":null}", X402_DECODED, NULL },
		{ NULL, "{\"x402Version\":1}", X402_DECODED, NULL }, { NULL, " {\"x402Version\":7,\"x402Version\":2}\n", X402_DECODED, NULL },
	};
	struct x402_offer offers[OFFER_COUNT];
	offers_make(offers);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct x402_payment p;
		struct x402_why why = { "" };
		_cleanup_free_ char *encoded = rows[i].text ? base64_encode(rows[i].text, strlen(rows[i].text)) : NULL;
		enum x402_decoded d = x402_payment_decode(encoded ? encoded : rows[i].raw, &p, &why);
		assert_int_equal(d, rows[i].result);
		if (d != X402_DECODED) {
			assert_string_equal(why.text, rows[i].why);
			continue;
		}
		assert_int_equal(x402_payment_match(&p, offers, OFFER_COUNT), -1);
		assert_null(x402_payment_quote(&p));
		x402_payment_done(&p);
	}
}

static void test_padding_and_alphabet(void **state)
{
	(void)state;
	struct x402_payment p;
	struct x402_why why;
	/* one byte of text more or less decides the padding: both kinds must be read without it */
	static const char *const texts[] = { "{\"x402Version\":2}", "{\"x402Version\":2 }", "{\"x402Version\":2  }", "{\"x402Version\":2,\"a\":\"\xef\xbf\xbf?>\"}" };
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		_cleanup_free_ char *header = base64_encode(texts[i], strlen(texts[i]));
		header[strcspn(header, "=")] = '\0';
		assert_int_equal(x402_payment_decode(header, &p, &why), X402_DECODED);
		x402_payment_done(&p);
	}
	/* blanks around a header's value do not count, inside they do; nothing but blanks is nothing */
	assert_int_equal(x402_payment_decode(" \teyJ4NDAyVmVyc2lvbiI6Mn0= \t", &p, &why), X402_DECODED);
	x402_payment_done(&p);
	assert_int_equal(x402_payment_decode_v1("e30 ", &p, &why), X402_DECODED);
	x402_payment_done(&p);
	assert_int_equal(x402_payment_decode("eyJ4NDAyVmVy c2lvbiI6Mn0=", &p, &why), X402_UNPAID);
	assert_int_equal(x402_payment_decode(" \t ", &p, &why), X402_UNPAID);
	assert_int_equal(x402_payment_decode_v1(" \t ", &p, &why), X402_UNPAID);
	_cleanup_free_ char *url = base64_encode(texts[3], strlen(texts[3]));
	bool other = false;
	for (char *c = url; *c; c++)
		if (*c == '+' || *c == '/') {
			*c = *c == '+' ? '-' : '_';
			other = true;
		}
	assert_true(other);
	assert_int_equal(x402_payment_decode(url, &p, &why), X402_UNPAID);
}

#define TERMS(network, amount, asset, to, seconds) \
	"\"scheme\":\"exact\",\"network\":" network ",\"amount\":" amount ",\"asset\":" asset ",\"payTo\":" to ",\"maxTimeoutSeconds\":" seconds
#define GOOD_TERMS TERMS("\"eip155:84532\"", "\"" PRICE "\"", "\"" ASSET "\"", "\"" PAY_TO "\"", "300")
#define GOOD_EXTRA "\"extra\":{\"name\":\"OPG\",\"version\":\"1\",\"quote\":\"" VECTOR_QUOTE "\"}"

static void test_echo(void **state)
{
	(void)state;
	static const struct {
		const char *accepted;
		int match;
	} rows[] = {
		{ "{" GOOD_TERMS "," GOOD_EXTRA "}", OFFER_EXACT }, { "{" GOOD_EXTRA "," GOOD_TERMS "}", OFFER_EXACT },
		{ "{" TERMS("\"eip155:84532\"", "\"" PRICE "\"", "\"" ASSET "\"", "\"" PAY_TO "\"", "3e2") "," GOOD_EXTRA "}", OFFER_EXACT },
		{ "{" GOOD_TERMS ",\"extra\":{\"more\":[1,{}],\"quote\":\"" VECTOR_QUOTE "\",\"version\":\"1\",\"name\":\"OPG\"}}", OFFER_EXACT },
		{ "{" GOOD_TERMS ",\"extra\":{\"name\":\"OPG\",\"version\":\"1\",\"assetTransferMethod\":\"permit2\",\"quote\":\"" VECTOR_QUOTE "\"}}", OFFER_PERMIT2 },
		{ "{" GOOD_TERMS "}", -1 }, { "{" GOOD_TERMS ",\"extra\":null}", -1 }, { "{" GOOD_TERMS ",\"extra\":\"x\"}", -1 }, { "{" GOOD_TERMS ",\"extra\":{}}", -1 },
		{ "{" GOOD_TERMS ",\"extra\":{\"name\":\"OPG\",\"version\":\"1\"}}", -1 }, /* the quote is part of the terms */
		{ "{" GOOD_TERMS ",\"extra\":{\"name\":\"OPG\",\"version\":\"1\",\"quote\":\"AQ\"}}", -1 },
		{ "{" GOOD_TERMS ",\"extra\":{\"name\":\"opg\",\"version\":\"1\",\"quote\":\"" VECTOR_QUOTE "\"}}", -1 },
		{ "{" GOOD_TERMS ",\"extra\":{\"name\":\"OPG\",\"version\":1,\"quote\":\"" VECTOR_QUOTE "\"}}", -1 },
		{ "{" GOOD_TERMS "," GOOD_EXTRA ",\"unknown\":1}", -1 },
		{ "{" TERMS("\"eip155:8453\"", "\"" PRICE "\"", "\"" ASSET "\"", "\"" PAY_TO "\"", "300") "," GOOD_EXTRA "}", -1 },
		{ "{" TERMS("\"base-sepolia\"", "\"" PRICE "\"", "\"" ASSET "\"", "\"" PAY_TO "\"", "300") "," GOOD_EXTRA "}", -1 },
		{ "{" TERMS("\"eip155:84532\"", "\"1\"", "\"" ASSET "\"", "\"" PAY_TO "\"", "300") "," GOOD_EXTRA "}", -1 },
		{ "{" TERMS("\"eip155:84532\"", PRICE, "\"" ASSET "\"", "\"" PAY_TO "\"", "300") "," GOOD_EXTRA "}", -1 },
		{ "{" TERMS("\"eip155:84532\"", "\"0" PRICE "\"", "\"" ASSET "\"", "\"" PAY_TO "\"", "300") "," GOOD_EXTRA "}", -1 },
		{ "{" TERMS("\"eip155:84532\"", "\"" PRICE "\"", "\"0x5fbdb2315678afecb367f032d93f642f64180aa3\"", "\"" PAY_TO "\"", "300") "," GOOD_EXTRA "}", -1 },
		{ "{" TERMS("\"eip155:84532\"", "\"" PRICE "\"", "\"" ASSET "\"", "\"" OTHER "\"", "300") "," GOOD_EXTRA "}", -1 },
		{ "{" TERMS("\"eip155:84532\"", "\"" PRICE "\"", "\"" ASSET "\"", "\"" PAY_TO "\"", "301") "," GOOD_EXTRA "}", -1 },
		{ "{" TERMS("\"eip155:84532\"", "\"" PRICE "\"", "\"" ASSET "\"", "\"" PAY_TO "\"", "\"300\"") "," GOOD_EXTRA "}", -1 },
		{ "{" TERMS("\"eip155:84532\"", "\"" PRICE "\"", "\"" ASSET "\"", "\"" PAY_TO "\"", "null") "," GOOD_EXTRA "}", -1 },
		{ "{" TERMS("\"eip155:84532\"", "\"" PRICE "\"", "\"" ASSET "\"", "\"" PAY_TO "\"", "300") ",\"scheme\":\"Exact\"," GOOD_EXTRA "}", -1 },
		{ "{" TERMS("\"eip155:84532\"", "\"" PRICE "\"", "\"" ASSET "\"", "\"" PAY_TO "\"", "300") ",\"scheme\":\"upto\"," GOOD_EXTRA "}", -1 },
		{ "null", -1 }, { "{}", -1 }, { "[]", -1 }, { "\"x\"", -1 }, { "7", -1 },
	};
	struct x402_offer offers[OFFER_COUNT];
	offers_make(offers);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct x402_payment p;
		struct x402_why why;
		_cleanup_free_ char *text = xasprintf("{\"x402Version\":2,\"payload\":{},\"accepted\":%s}", rows[i].accepted);
		_cleanup_free_ char *header = base64_encode(text, strlen(text));
		assert_int_equal(x402_payment_decode(header, &p, &why), X402_DECODED);
		int match = x402_payment_match(&p, offers, OFFER_COUNT);
		if (match != rows[i].match)
			print_error("row %zu: %s\n", i, rows[i].accepted);
		assert_int_equal(match, rows[i].match);
		x402_payment_done(&p);
	}
}

static void test_v1(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum x402_decoded result;
		int match;
	} rows[] = {
		{ "{\"x402Version\":1,\"scheme\":\"exact\",\"network\":\"base-sepolia\"}", X402_DECODED, OFFER_EXACT },
		{ "{\"x402Version\":7,\"scheme\":\"exact\",\"network\":\"base-sepolia\"}", X402_DECODED, OFFER_EXACT }, /* nobody looks */
		{ "{\"x402Version\":1,\"scheme\":\"exact\",\"network\":\"base\"}", X402_DECODED, -1 },
		{ "{\"x402Version\":1,\"scheme\":\"exact\",\"network\":\"eip155:84532\"}", X402_DECODED, -1 },
		{ "{\"x402Version\":1,\"scheme\":\"upto\",\"network\":\"base-sepolia\"}", X402_DECODED, -1 },
		{ "{}", X402_DECODED, -1 }, { "{\"scheme\":1,\"network\":[]}", X402_DECODED, -1 }, { "[]", X402_REFUSED, 0 }, { "null", X402_REFUSED, 0 }, { "x", X402_REFUSED, 0 },
	};
	struct x402_offer offers[OFFER_COUNT];
	struct x402_payment p;
	struct x402_why why;
	offers_make(offers);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		_cleanup_free_ char *header = base64_encode(rows[i].text, strlen(rows[i].text));
		assert_int_equal(x402_payment_decode_v1(header, &p, &why), rows[i].result);
		if (rows[i].result != X402_DECODED)
			continue;
		assert_int_equal(x402_payment_match(&p, offers, OFFER_COUNT), rows[i].match);
		assert_true(x402_payment_extensions_ok(&p, NULL));
		x402_payment_done(&p);
	}
	assert_int_equal(x402_payment_decode_v1(NULL, &p, &why), X402_UNPAID);
	assert_string_equal(why.text, "X-PAYMENT header is required");
}

static void test_extensions(void **state)
{
	(void)state;
	static const char advertised[] = "{\"bazaar\":{\"info\":{\"input\":{\"type\":\"http\",\"list\":[1,2]}},\"schema\":{}},\"payment-identifier\":{\"info\":{\"required\":false}},"
					 "\"sign-in-with-x\":{\"info\":{\"domain\":\"a\",\"nonce\":\"n1\",\"issuedAt\":\"t1\",\"expirationTime\":\"e1\"}}}";
	static const struct {
		const char *sent;
		bool ok;
	} rows[] = {
		{ "null", true }, { "{}", true }, { "[]", true }, { "{\"unknown\":7}", true }, { advertised, true },
		{ "{\"bazaar\":{\"info\":{\"input\":{\"list\":[1,2],\"type\":\"http\",\"x\":1},\"y\":2}}}", true }, /* more is fine, schema is nobody's */
		{ "{\"bazaar\":{\"input\":{\"type\":\"http\",\"list\":[1,2]}}}", true }, /* without `info` the value is the info */
		{ "{\"bazaar\":{\"info\":{\"input\":{\"type\":\"http\",\"list\":[2,1]}}}}", false }, { "{\"bazaar\":{\"info\":{\"input\":{\"type\":\"http\"}}}}", false },
		{ "{\"bazaar\":{\"info\":{}}}", false }, { "{\"bazaar\":null}", false }, { "{\"bazaar\":{\"info\":null}}", false },
		{ "{\"payment-identifier\":{\"info\":{\"required\":true}}}", false }, { "{\"payment-identifier\":{\"info\":{\"required\":0}}}", false },
		{ "{\"sign-in-with-x\":{\"info\":{\"domain\":\"a\",\"nonce\":\"old\",\"issuedAt\":\"old\"}}}", true }, { "{\"sign-in-with-x\":{\"info\":{\"domain\":\"b\",\"nonce\":\"n1\"}}}", false },
	};
	json_error_t error;
	_cleanup_json_ json_t *ours = json_loads(advertised, 0, &error);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct x402_payment p;
		struct x402_why why;
		_cleanup_free_ char *text = xasprintf("{\"x402Version\":2,\"extensions\":%s}", rows[i].sent);
		_cleanup_free_ char *header = base64_encode(text, strlen(text));
		assert_int_equal(x402_payment_decode(header, &p, &why), X402_DECODED);
		assert_int_equal(x402_payment_extensions_ok(&p, ours), rows[i].ok);
		assert_true(x402_payment_extensions_ok(&p, NULL));
		x402_payment_done(&p);
	}
	_cleanup_json_ json_t *again = json_loads(advertised, 0, &error);
	assert_true(json_equal(ours, again)); /* comparing changed nothing */
}

static void test_identifier(void **state)
{
	(void)state;
	static const char *const good = "pay_0123456789abcdef-ABCDEF_";
	static const char *const bad[] = { "null", "7", "\"short-123456789\"", "\"has space 123456789\"", "\"dot.0123456789012345\"", "\"\xc3\xa9xxxxxxxxxxxxxxxxxx\"" };
	struct x402_why why;
	for (size_t i = 0; i <= COUNT_OF(bad) + 1; i++) {
		struct x402_payment p;
		char long_id[132];
		memset(long_id, 'a', sizeof(long_id));
		long_id[0] = long_id[130] = '"'; /* 129 */
		long_id[131] = '\0';
		_cleanup_free_ char *quoted = xasprintf("\"%s\"", good);
		const char *raw = i == 0 ? quoted : i <= COUNT_OF(bad) ? bad[i - 1] : long_id;
		_cleanup_free_ char *text = xasprintf("{\"x402Version\":2,\"extensions\":{\"payment-identifier\":{\"info\":{\"id\":%s}}}}", raw);
		_cleanup_free_ char *header = base64_encode(text, strlen(text));
		assert_int_equal(x402_payment_decode(header, &p, &why), X402_DECODED);
		if (i == 0)
			assert_string_equal(x402_payment_identifier(&p), good);
		else
			assert_null(x402_payment_identifier(&p));
		x402_payment_done(&p);
	}
}

static void test_numbers(void **state)
{
	(void)state;
	static const struct {
		const char *raw;
		enum x402_range range;
		const char *value; /* NULL: no number at all */
	} rows[] = {
		{ "\"0\"", X402_FITS, "0" }, { "\"\"", X402_FITS, "0" }, { "\"  \"", X402_FITS, "0" }, { "\"007\"", X402_FITS, "7" }, { "\" 12\\n\"", X402_FITS, "12" },
		{ "\"0x1F\"", X402_FITS, "31" }, { "\"0XfF\"", X402_FITS, "255" }, { "\"0o17\"", X402_FITS, "15" }, { "\"0b101\"", X402_FITS, "5" }, { "\"+5\"", X402_FITS, "5" },
		{ "\"-0\"", X402_FITS, "0" }, { "\"-5\"", X402_NEGATIVE, "0" }, { "5", X402_FITS, "5" }, { "5.0", X402_FITS, "5" }, { "-5", X402_NEGATIVE, "0" }, { "1e3", X402_FITS, "1000" },
		{ "1000000000000000000", X402_FITS, "1000000000000000000" }, { "9007199254740993", X402_FITS, "9007199254740992" /* what a double keeps of it */ },
		{ "18446744073709551616", X402_FITS, "18446744073709551616" }, { "1e30", X402_FITS, "1000000000000000019884624838656" }, { "1e300", X402_OVER, "0" },
		{ "\"18446744073709551616\"", X402_FITS, "18446744073709551616" },
		{ "\"115792089237316195423570985008687907853269984665640564039457584007913129639935\"", X402_FITS, "115792089237316195423570985008687907853269984665640564039457584007913129639935" },
		{ "\"115792089237316195423570985008687907853269984665640564039457584007913129639936\"", X402_OVER, "0" },
		{ "115792089237316195423570985008687907853269984665640564039457584007913129639936", X402_OVER, "0" },
		{ "\"-115792089237316195423570985008687907853269984665640564039457584007913129639936\"", X402_NEGATIVE, "0" },
		{ "\"1.0\"", X402_FITS, NULL }, { "\"1e3\"", X402_FITS, NULL }, { "\"1n\"", X402_FITS, NULL }, { "\"1_0\"", X402_FITS, NULL }, { "\"-0x1\"", X402_FITS, NULL },
		{ "\"0x\"", X402_FITS, NULL }, { "\"1 2\"", X402_FITS, NULL }, { "\"abc\"", X402_FITS, NULL }, { "\"--1\"", X402_FITS, NULL }, { "\"-\"", X402_FITS, NULL },
		{ "0.5", X402_FITS, NULL }, { "null", X402_FITS, NULL }, { "{}", X402_FITS, NULL },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct x402_offer offers[OFFER_COUNT];
		struct x402_payment p;
		struct x402_auth a;
		_cleanup_free_ char *payload = payload_text(OFFER_EXACT, &(struct members){ .value = rows[i].raw }, "\"0x00\"");
		offers_make(offers);
		payment_make(2, &offers[OFFER_EXACT], payload, &p);
		const char *why = x402_auth_read(&p, X402_EXACT, &a);
		if (!rows[i].value) {
			assert_string_equal(why, "invalid_payload");
		} else {
			assert_null(why);
			assert_int_equal(a.value.range, rows[i].range);
			if (a.value.range == X402_FITS)
				assert_string_equal(u256_format(&a.value.v).s, rows[i].value);
			x402_auth_done(&a);
		}
		x402_payment_done(&p);
	}
}

static void test_claim_key(void **state)
{
	(void)state;
	/* one authorization, however its number is written; and never by its signature */
	static const char *const nonces[] = { "\"12345678901234567890\"", "\"0012345678901234567890\"", "\"0xab54a98ceb1f0ad2\"", "\" 12345678901234567890 \"" };
	struct x402_offer offers[OFFER_COUNT];
	struct x402_claim_key first = { .chain_id = 0 };
	struct address permit2 = addr("0x000000000022D473030F116dDEE9F6B43aC78BA3"), payer = addr(VECTOR_PAYER), asset = addr(ASSET);
	offers_make(offers);
	for (size_t i = 0; i <= COUNT_OF(nonces); i++) {
		bool eip3009 = i == COUNT_OF(nonces);
		const struct x402_offer *o = &offers[eip3009 ? OFFER_EXACT : OFFER_PERMIT2];
		struct x402_payment p;
		struct x402_auth a;
		_cleanup_free_ char *payload = payload_text(eip3009 ? OFFER_EXACT : OFFER_PERMIT2, &(struct members){ .nonce = eip3009 ? NULL : nonces[i] }, i % 2 ? "\"0x01\"" : "\"0x02\"");
		payment_make(2, o, payload, &p);
		assert_null(x402_auth_read(&p, o->scheme, &a));
		struct x402_claim_key key = x402_claim_key_of(o, &a);
		assert_true(key.chain_id == 84532 && address_equal(&key.payer, &payer));
		assert_true(address_equal(&key.contract, eip3009 ? &asset : &permit2));
		if (i == 0)
			first = key;
		if (!eip3009)
			assert_memory_equal(key.nonce, first.nonce, 32);
		else
			for (int b = 0; b < 32; b++)
				assert_int_equal(key.nonce[b], 0x11);
		x402_auth_done(&a);
		x402_payment_done(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_official_clients), cmocka_unit_test(test_no_payment), cmocka_unit_test(test_padding_and_alphabet), cmocka_unit_test(test_echo),
		cmocka_unit_test(test_v1), cmocka_unit_test(test_extensions), cmocka_unit_test(test_identifier), cmocka_unit_test(test_numbers), cmocka_unit_test(test_claim_key),
	};
	return RUN_TESTS(tests);
}
