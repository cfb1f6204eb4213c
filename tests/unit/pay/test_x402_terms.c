/* Terms, quotes and receipts: the bytes of the official encoders, the same every time. */
#include "base/base64.h"
#include "pay/x402_quote.h"
#include "x402_fixture.h"

static const struct x402_resource RESOURCE = { .url = VECTOR_URL, .description = VECTOR_DESCRIPTION, .mime_type = "application/json", .method = "POST" };

static json_t *parsed(const char *text)
{
	json_error_t error;
	json_t *j = json_loads(text, 0, &error);
	assert_non_null(j);
	return j;
}

static void test_terms_are_the_official_bytes(void **state)
{
	(void)state;
	struct x402_offer offers[OFFER_COUNT];
	offers_make(offers);
	_cleanup_json_ json_t *extensions = parsed(VECTOR_EXTENSIONS);
	for (int i = 0; i < 3; i++) { /* and again */
		_cleanup_free_ char *all = x402_required_header(offers, OFFER_COUNT, &RESOURCE, X402_UNPAID_TEXT, extensions);
		_cleanup_free_ char *exact = x402_required_header(&offers[OFFER_EXACT], 1, &RESOURCE, X402_UNPAID_TEXT, NULL);
		_cleanup_free_ char *v1 = x402_required_body_v1(offers, OFFER_COUNT, &RESOURCE, X402_UNPAID_TEXT_V1, NULL);
		assert_string_equal(all, REQUIRED_ALL);
		assert_string_equal(exact, REQUIRED_EXACT);
		assert_string_equal(v1, BODY_V1);
	}
	struct address payer = addr(VECTOR_PAYER);
	_cleanup_free_ char *refused = x402_required_body_v1(offers, OFFER_COUNT, &RESOURCE, "insufficient_funds", &payer);
	assert_non_null(strstr(refused, "\"error\":\"insufficient_funds\""));
	assert_non_null(strstr(refused, ",\"payer\":\"" VECTOR_PAYER "\"}"));
}

static void test_extra_members(void **state)
{
	(void)state;
	struct x402_offer offers[OFFER_COUNT];
	offers_make(offers);
	struct x402_offer *o = &offers[OFFER_EXACT];
	o->payment_flow = "upfront";
	o->quote = NULL;
	o->amount = num("115792089237316195423570985008687907853269984665640564039457584007913129639935");
	_cleanup_json_ json_t *j = x402_offer_json(o);
	_cleanup_free_ char *text = json_text(j);
	assert_string_equal(text, "{\"scheme\":\"exact\",\"network\":\"eip155:84532\",\"amount\":\"115792089237316195423570985008687907853269984665640564039457584007913129639935\","
				  "\"asset\":\"" ASSET "\",\"payTo\":\"" PAY_TO "\",\"maxTimeoutSeconds\":300,\"extra\":{\"name\":\"OPG\",\"version\":\"1\",\"paymentFlow\":\"upfront\"}}");
	o->chain_id = 31337; /* version 1 has no name for it: nothing to offer, but still a list */
	_cleanup_free_ char *v1 = x402_required_body_v1(offers, OFFER_COUNT, &RESOURCE, "x", NULL);
	assert_string_equal(v1, "{\"x402Version\":1,\"error\":\"x\",\"accepts\":[]}");
}

static void test_offers_read_back(void **state)
{
	(void)state;
	struct x402_offer offers[OFFER_COUNT], back;
	offers_make(offers);
	for (int i = 0; i < OFFER_COUNT; i++) {
		_cleanup_json_ json_t *j = x402_offer_json(&offers[i]);
		assert_int_equal(x402_offer_read(j, 2, &back), ERR_OK);
		_cleanup_json_ json_t *again = x402_offer_json(&back);
		assert_true(json_equal(j, again));
		assert_int_equal(x402_offer_read(j, 1, &back), ERR_BAD_FIELD);
	}
	_cleanup_json_ json_t *v1 = x402_offer_json_v1(&offers[OFFER_EXACT], &RESOURCE);
	assert_int_equal(x402_offer_read(v1, 1, &back), ERR_OK);
	assert_true(u256_equal(&back.amount, &offers[OFFER_EXACT].amount) && back.chain_id == 84532 && back.method == X402_EIP3009);
	static const char *const bad[] = {
		"{}", "[]", "\"x\"", "null",
		"{\"scheme\":\"exact\",\"network\":\"eip155:084532\",\"amount\":\"1\",\"asset\":\"" ASSET "\",\"payTo\":\"" PAY_TO "\",\"maxTimeoutSeconds\":300}",
		"{\"scheme\":\"exact\",\"network\":\"eip155:84532\",\"amount\":1,\"asset\":\"" ASSET "\",\"payTo\":\"" PAY_TO "\",\"maxTimeoutSeconds\":300}",
		"{\"scheme\":\"exact\",\"network\":\"eip155:84532\",\"amount\":\"-1\",\"asset\":\"" ASSET "\",\"payTo\":\"" PAY_TO "\",\"maxTimeoutSeconds\":300}",
		"{\"scheme\":\"exact\",\"network\":\"eip155:84532\",\"amount\":\"1\",\"asset\":\"0x12\",\"payTo\":\"" PAY_TO "\",\"maxTimeoutSeconds\":300}",
		"{\"scheme\":\"exact\",\"network\":\"eip155:84532\",\"amount\":\"1\",\"asset\":\"" ASSET "\",\"payTo\":\"" PAY_TO "\",\"maxTimeoutSeconds\":0}",
		"{\"scheme\":\"exact\",\"network\":\"eip155:84532\",\"amount\":\"1\",\"asset\":\"" ASSET "\",\"payTo\":\"" PAY_TO "\",\"maxTimeoutSeconds\":1e300}",
		"{\"scheme\":\"upto\",\"network\":\"eip155:84532\",\"amount\":\"1\",\"asset\":\"" ASSET "\",\"payTo\":\"" PAY_TO "\",\"maxTimeoutSeconds\":300,\"extra\":{}}",
		"{\"scheme\":\"escrow\",\"network\":\"eip155:84532\",\"amount\":\"1\",\"asset\":\"" ASSET "\",\"payTo\":\"" PAY_TO "\",\"maxTimeoutSeconds\":300}",
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		json_error_t error;
		_cleanup_json_ json_t *j = json_loads(bad[i], JSON_DECODE_ANY, &error);
		assert_int_equal(x402_offer_read(j, 2, &back), ERR_BAD_FIELD);
	}
}

static void test_networks(void **state)
{
	(void)state;
	uint64_t id = 0;
	assert_string_equal(x402_network_format(UINT64_MAX).s, "eip155:18446744073709551615");
	assert_int_equal(x402_network_parse("eip155:18446744073709551615", &id), ERR_OK);
	assert_true(id == UINT64_MAX);
	static const char *const bad[] = { "", "eip155", "eip155:", "eip155:01", "eip155:+1", "eip155: 1", "EIP155:1", "eip155:18446744073709551616", "base", "eip155:1x" };
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(x402_network_parse(bad[i], &id), ERR_BAD_FIELD);
	assert_int_equal(x402_network_parse(NULL, &id), ERR_BAD_FIELD);
	assert_string_equal(x402_network_v1(84532), "base-sepolia");
	assert_string_equal(x402_network_v1(8453), "base");
	assert_null(x402_network_v1(1));
	assert_int_equal(x402_network_v1_parse("base", &id), ERR_OK);
	assert_true(id == 8453);
	assert_int_equal(x402_network_v1_parse("Base", &id), ERR_BAD_FIELD);
	assert_int_equal(x402_network_v1_parse(NULL, &id), ERR_BAD_FIELD);
}

static void assert_receipt(const struct x402_receipt *r, const char *expected)
{
	_cleanup_free_ char *header = x402_receipt_header(r);
	assert_string_equal(header, expected);
}

static void test_receipts(void **state)
{
	(void)state;
	struct address payer = addr(VECTOR_PAYER);
	struct u256 some = num("123456789012345"), zero = U256_ZERO;
	struct hash tx;
	memset(tx.b, 0xab, 32);
	struct x402_receipt r = { .version = 2, .success = true, .payer = &payer, .transaction = &tx, .chain_id = 84532 };
	assert_receipt(&r, RECEIPT_EXACT);
	r.amount = &some;
	assert_receipt(&r, RECEIPT_UPTO);
	r.amount = &zero;
	r.transaction = NULL; /* nothing was captured, so nothing was sent */
	assert_receipt(&r, RECEIPT_ZERO);
	assert_receipt(&(struct x402_receipt){ .version = 2, .error_reason = "invalid_exact_evm_nonce_already_used", .error_message = "used", .payer = &payer, .chain_id = 84532 }, RECEIPT_FAILED);
	assert_receipt(&(struct x402_receipt){ .version = 1, .success = true, .payer = &payer, .transaction = &tx, .chain_id = 84532 }, RECEIPT_V1);
	_cleanup_json_ json_t *valid = x402_verify_json(NULL, NULL, &payer), *invalid = x402_verify_json("permit2_amount_mismatch", "why", NULL);
	_cleanup_free_ char *valid_text = json_text(valid), *invalid_text = json_text(invalid);
	assert_string_equal(valid_text, "{\"isValid\":true,\"payer\":\"" VECTOR_PAYER "\"}");
	assert_string_equal(invalid_text, "{\"isValid\":false,\"invalidReason\":\"permit2_amount_mismatch\",\"invalidMessage\":\"why\"}");
	assert_int_equal(x402_reason_status("permit2_allowance_required"), 412);
	assert_int_equal(x402_reason_status("permit2_insufficient_balance"), 402);
}

static void test_base64(void **state)
{
	(void)state;
	static const struct {
		const char *text, *bytes; /* NULL: refused */
	} rows[] = {
		{ "", "" }, { "QQ==", "A" }, { "QQ", "A" }, { "QUI=", "AB" }, { "QUI", "AB" }, { "QUJD", "ABC" }, { "QUJDRA", "ABCD" }, { "QR==", "A" /* stray bits are dropped */ },
		{ "Pz8/Pj4+", "?\?\?>>>" }, { "Q", NULL }, { "QQ=", NULL }, { "QQ===", NULL }, { "=", NULL }, { "==", NULL }, { "====", NULL }, { "Q===", NULL },
		{ "QU=I", NULL }, { "Pz8_Pj4-", NULL }, { "QU JD", NULL }, { "QUJD\n", NULL }, { "QU%4", NULL }, { "\xc3\xa9QU", NULL },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		size_t len = 99;
		_cleanup_free_ char *out = base64_decode(rows[i].text, strlen(rows[i].text), &len);
		if (!rows[i].bytes) {
			assert_null(out);
			continue;
		}
		assert_non_null(out);
		assert_int_equal(len, strlen(rows[i].bytes));
		assert_string_equal(out, rows[i].bytes);
	}
	uint8_t bytes[70];
	for (size_t n = 0; n < sizeof(bytes); n++) {
		bytes[n] = (uint8_t)(n * 73 + 200);
		size_t len;
		_cleanup_free_ char *text = base64_encode(bytes, n);
		_cleanup_free_ char *back = base64_decode(text, strlen(text), &len);
		assert_int_equal(len, n);
		assert_memory_equal(back, bytes, n);
	}
}

static struct amount amount(const char *s)
{
	struct amount a;
	assert_int_equal(amount_parse(s, strlen(s), &a), ERR_OK);
	return a;
}

static void test_quote(void **state)
{
	(void)state;
	struct hash key = { { 1, 2, 3 } }, other = { { 1, 2, 4 } };
	struct x402_quote q = { .price = amount("170141183460469231731687303715884105727"),
				.unit = { .ask_input = amount("3"), .ask_output = amount("70000000000"), .royalty_output = amount("1"), .fee_bps = 250 },
				.model = { { 9, 8, 7 } }, .body_max = 4096, .input_max = 4096, .output_max = UINT64_MAX, .expires_s = 1000, .route = "inference.chat" }, back;
	_cleanup_free_ char *token = x402_quote_seal(&key, &q), *again = x402_quote_seal(&key, &q), *foreign = x402_quote_seal(&other, &q);
	assert_string_equal(token, again);
	assert_string_not_equal(token, foreign);
	assert_int_equal(strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"), strlen(token));
	assert_int_equal(x402_quote_open(&key, token, 999, &back), ERR_OK);
	assert_int_equal(amount_cmp(back.price, q.price), 0);
	assert_int_equal(amount_cmp(back.unit.ask_output, q.unit.ask_output), 0);
	assert_int_equal(amount_cmp(back.unit.royalty_input, AMOUNT_ZERO), 0);
	assert_int_equal(back.unit.fee_bps, 250);
	assert_true(hash_equal(&back.model, &q.model) && back.body_max == 4096 && back.input_max == 4096 && back.output_max == UINT64_MAX && back.expires_s == 1000);
	assert_string_equal(back.route, "inference.chat");
	assert_int_equal(x402_quote_open(&key, token, 1000, &back), ERR_DEADLINE);
	assert_int_equal(x402_quote_open(&other, token, 999, &back), ERR_BAD_TOKEN);
	static const char *const bad[] = { "", "x", "AA", VECTOR_QUOTE, "not base64!" };
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(x402_quote_open(&key, bad[i], 0, &back), ERR_BAD_TOKEN);
	assert_int_equal(x402_quote_open(&key, NULL, 0, &back), ERR_BAD_TOKEN);
	/* no character can be changed, none taken away, none added */
	size_t len = strlen(token);
	for (size_t i = 0; i < len; i++) {
		_cleanup_free_ char *changed = xstrdup(token);
		changed[i] = changed[i] == 'A' ? 'B' : 'A';
		assert_int_equal(x402_quote_open(&key, changed, 0, &back), ERR_BAD_TOKEN);
		changed[i] = '\0';
		assert_int_equal(x402_quote_open(&key, changed, 0, &back), ERR_BAD_TOKEN);
	}
	_cleanup_free_ char *longer = xasprintf("%sAAAA", token);
	assert_int_equal(x402_quote_open(&key, longer, 0, &back), ERR_BAD_TOKEN);
}

static void test_quote_covers(void **state)
{
	(void)state;
	struct hash model = { { 7 } }, dear = { { 8 } };
	struct x402_quote q = { .model = model, .body_max = 4096, .input_max = 100, .output_max = 50, .route = "inference.chat" };
	assert_true(x402_quote_covers(&q, "inference.chat", &model, 4096, 100, 50));
	assert_false(x402_quote_covers(&q, "inference.completions", &model, 1, 1, 1));
	assert_false(x402_quote_covers(&q, "inference.chat", &dear, 1, 1, 1));
	assert_false(x402_quote_covers(&q, "inference.chat", &model, 4097, 1, 1));
	assert_false(x402_quote_covers(&q, "inference.chat", &model, 1, 101, 1));
	assert_false(x402_quote_covers(&q, "inference.chat", &model, 1, 1, 51));
	for (int64_t now = 100000; now < 101000; now++) {
		int64_t left = x402_quote_expiry(now, 600) - now;
		assert_true(left > 600 && left <= 1200);
	}
	assert_true(x402_quote_expiry(100200, 600) == x402_quote_expiry(100799, 600));
	assert_true(x402_quote_body_max(0) == 1024 && x402_quote_body_max(1024) == 1024 && x402_quote_body_max(1025) == 2048 && x402_quote_body_max(1 << 20) == 1 << 20);
	assert_true(x402_quote_body_max(UINT64_MAX) > 0); /* it ends */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_terms_are_the_official_bytes), cmocka_unit_test(test_extra_members), cmocka_unit_test(test_offers_read_back),
		cmocka_unit_test(test_networks), cmocka_unit_test(test_receipts), cmocka_unit_test(test_base64), cmocka_unit_test(test_quote), cmocka_unit_test(test_quote_covers),
	};
	return RUN_TESTS(tests);
}
