/* What a facilitator is sent, taken apart: bodies of /verify and /settle, and statements of inference. */
#include "base/base64.h"
#include "pay/facilitator.h"
#include "pay/outside.h"
#include "pay/settle_data.h"
#include "x402_fixture.h"

#define GOOD_PAYLOAD "{\"x402Version\":2,\"accepted\":{\"scheme\":\"exact\",\"network\":\"eip155:84532\"},\"payload\":{\"signature\":\"0x\",\"authorization\":{\"from\":\"" OTHER "\",\"to\":\"" PAY_TO \
	"\",\"value\":\"1\",\"validAfter\":\"0\",\"validBefore\":\"9\",\"nonce\":\"" NONCE "\"}}}"
#define TERMS(scheme, network, amount) "{\"scheme\":\"" scheme "\",\"network\":\"" network "\",\"amount\":\"" amount "\",\"asset\":\"" ASSET "\",\"payTo\":\"" PAY_TO "\",\"maxTimeoutSeconds\":300," \
	"\"extra\":{\"name\":\"OPG\",\"version\":\"1\"}}"
#define GOOD_TERMS TERMS("exact", "eip155:84532", "1")

static enum err request(const char *version, const char *payload, const char *terms, struct facilitator_request *ret, struct x402_why *why)
{
	_cleanup_free_ char *text = xasprintf("{%s%s%s\"paymentPayload\":%s,\"paymentRequirements\":%s,\"usageMetadata\":{}}", version ? "\"x402Version\":" : "", version ? version : "",
					      version ? "," : "", payload, terms);
	_cleanup_json_ json_t *body = NULL;
	struct json_why unread;

	assert_int_equal(json_parse(text, strlen(text), &body, &unread), ERR_OK);
	enum err e = facilitator_request_read(body, ret, why);
	static json_t *kept; /* strings of an offer are borrowed from the body */
	json_decref(kept);
	kept = json_incref(body);
	return e;
}

static void test_requests(void **state)
{
	static const struct {
		const char *version, *payload, *terms, *refusal;
	} rows[] = {
		{ "2", GOOD_PAYLOAD, GOOD_TERMS, NULL }, { NULL, GOOD_PAYLOAD, GOOD_TERMS, NULL }, { "2", "{\"x402Version\":3}", GOOD_TERMS, "invalid_x402_version" },
		{ "2", "{}", GOOD_TERMS, "invalid_x402_version" }, { "2", GOOD_PAYLOAD, TERMS("escrow", "eip155:84532", "1"), "unsupported_scheme" },
		{ "2", GOOD_PAYLOAD, TERMS("exact", "base-sepolia", "1"), "invalid_network" }, { "2", GOOD_PAYLOAD, TERMS("exact", "eip155:084532", "1"), "invalid_network" },
		{ "2", GOOD_PAYLOAD, TERMS("exact", "eip155:84532", "-1"), "invalid_payment_requirements" }, { "2", GOOD_PAYLOAD, "{}", "invalid_payment_requirements" },
		{ "2", GOOD_PAYLOAD, TERMS("upto", "eip155:84532", "1"), "invalid_payment_requirements" }, /* without facilitatorAddress */
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct facilitator_request r;
		struct x402_why why = { "" };

		assert_int_equal(request(rows[i].version, rows[i].payload, rows[i].terms, &r, &why), ERR_OK);
		if (rows[i].refusal)
			assert_string_equal(r.refusal, rows[i].refusal);
		else
			assert_null(r.refusal);
		facilitator_request_done(&r);
	}
}

static void test_no_requests(void **state)
{
	static const struct {
		const char *version, *payload, *terms, *why;
	} rows[] = {
		{ "2", "null", GOOD_TERMS, "Missing paymentPayload or paymentRequirements" }, { "2", GOOD_PAYLOAD, "[]", "Missing paymentPayload or paymentRequirements" },
		{ "1", GOOD_PAYLOAD, GOOD_TERMS, "x402Version is not that of paymentPayload" }, { "\"2\"", GOOD_PAYLOAD, GOOD_TERMS, "x402Version is not that of paymentPayload" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct facilitator_request r;
		struct x402_why why = { "" };

		assert_int_equal(request(rows[i].version, rows[i].payload, rows[i].terms, &r, &why), ERR_BAD_REQUEST);
		assert_string_equal(why.text, rows[i].why);
	}
}

/* The digest names the call: key order is no difference, anything else of the authorization or the terms is, and so is the call's own name. */
static void test_digest(void **state)
{
	struct facilitator_request r;
	struct x402_why why;
	struct hash one, same, other, named[3];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(named); i++) {
		assert_int_equal(request("2", GOOD_PAYLOAD, GOOD_TERMS, &r, &why), ERR_OK);
		one = r.digest;
		facilitator_request_name(&r, i == 2 ? "another sale" : "a sale");
		named[i] = r.digest;
		facilitator_request_done(&r);
	}
	assert_true(hash_equal(&named[0], &named[1]));
	assert_false(hash_equal(&named[0], &named[2]) || hash_equal(&named[0], &one));
	assert_int_equal(request(NULL, GOOD_PAYLOAD, "{\"network\":\"eip155:84532\",\"scheme\":\"exact\",\"amount\":\"1\",\"asset\":\"" ASSET "\",\"payTo\":\"" PAY_TO "\",\"maxTimeoutSeconds\":300,"
				 "\"extra\":{\"version\":\"1\",\"name\":\"OPG\"}}", &r, &why), ERR_OK);
	same = r.digest;
	facilitator_request_done(&r);
	assert_int_equal(request("2", GOOD_PAYLOAD, TERMS("exact", "eip155:84532", "2"), &r, &why), ERR_OK);
	other = r.digest;
	facilitator_request_done(&r);
	assert_true(hash_equal(&one, &same));
	assert_false(hash_equal(&one, &other));
}

static enum err statement(enum settle_data_type type, const char *json, struct settle_data *ret, struct x402_why *why)
{
	_cleanup_free_ char *header = base64_encode(json, strlen(json));

	return settle_data_read(type, header, ret, why);
}

#define BYTES32(digit) digit digit digit digit digit digit digit digit digit digit digit digit digit digit digit digit
#define STATEMENT(id, at, more) "{\"tee_id\":\"" id "\",\"input_hash\":\"" BYTES32("2222") "\",\"output_hash\":\"0x" BYTES32("3333") "\",\"tee_signature\":\"qrvM\",\"tee_timestamp\":" at more "}"
#define ID "0x" BYTES32("1111")

static void test_statements(void **state)
{
	struct settle_data a, b;
	struct x402_why why = { "" };

	(void)state;
	assert_int_equal(statement(SETTLE_DATA_BATCH, STATEMENT(ID, "1700000000", ""), &a, &why), ERR_OK);
	assert_int_equal(a.row.tee_signature_len, 3);
	assert_int_equal(a.row.tee_timestamp, 1700000000);
	assert_int_equal(statement(SETTLE_DATA_BATCH, STATEMENT(BYTES32("1111"), "\"0x6553F100\"", ",\"timestamp\":\"7\""), &b, &why), ERR_OK);
	assert_true(hash_equal(&a.row.content, &b.row.content)); /* two spellings of one statement */
	settle_data_done(&b);
	assert_int_equal(statement(SETTLE_DATA_INDIVIDUAL, STATEMENT(ID, "1700000000", ",\"input\":\"i\",\"output\":\"\",\"eth_address\":\"" OTHER "\""), &b, &why), ERR_OK);
	assert_false(hash_equal(&a.row.content, &b.row.content));
	assert_string_equal(b.row.input, "i");
	settle_data_done(&a);
	settle_data_done(&b);
}

static void test_no_statements(void **state)
{
	static const struct {
		enum settle_data_type type;
		const char *json, *why;
	} rows[] = {
		{ SETTLE_DATA_BATCH, "{}", "Missing required settlement field. Expected one of: tee_id" },
		{ SETTLE_DATA_BATCH, STATEMENT("0x11", "1", ""), "Invalid settlement field: tee_id" },
		{ SETTLE_DATA_BATCH, STATEMENT(ID, "null", ""), "Missing required settlement field. Expected one of: tee_timestamp, timestamp" },
		{ SETTLE_DATA_BATCH, STATEMENT(ID, "1e17", ""), "Invalid settlement field: tee_timestamp" }, { SETTLE_DATA_BATCH, STATEMENT(ID, "\"\"", ""), "Invalid settlement field: tee_timestamp" },
		{ SETTLE_DATA_INDIVIDUAL, STATEMENT(ID, "1", ""), "Missing required settlement field. Expected one of: input" },
		{ SETTLE_DATA_INDIVIDUAL, STATEMENT(ID, "1", ",\"input\":\"\",\"output\":\"\",\"eth_address\":\"x\""), "Invalid settlement field: eth_address" },
		{ SETTLE_DATA_BATCH, "[]", "x-settlement-data is not base64 of a JSON object" }, { SETTLE_DATA_BATCH, "", "Missing x-settlement-data" },
	};
	enum settle_data_type type;
	struct x402_why why;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct settle_data d;

		assert_int_equal(statement(rows[i].type, rows[i].json, &d, &why), ERR_BAD_REQUEST);
		assert_non_null(strstr(why.text, rows[i].why));
	}
	assert_int_equal(settle_data_type_read("Inidvidual", &type, &why), ERR_OK);
	assert_int_equal(type, SETTLE_DATA_INDIVIDUAL);
	assert_int_equal(settle_data_type_read("week\nly", &type, &why), ERR_BAD_REQUEST);
	assert_string_equal(why.text, "Unsupported x-settlement-type: week?ly");
	assert_int_equal(settle_data_type_read(NULL, &type, &why), ERR_BAD_REQUEST);
}

#define ZEROS48 "000000000000000000000000000000000000000000000000"

/* What another facilitator is sent says the same as what was signed. */
static void test_sent_outside(void **state)
{
	static const char *const kinds[][2] = { { "exact", "eip3009" }, { "exact", "permit2" }, { "upto", "permit2" } };
	const struct x402 x = { .chain_id = 84532, .token = addr(ASSET), .pay_to = addr(PAY_TO), .facilitator = addr(FACILITATOR), .token_name = "OPG", .token_version = "1", .timeout_s = 300 };
	_cleanup_json_ json_t *stored = json_must(json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "from", OTHER, "to", PAY_TO, "value", "0x" ZEROS48 "00038d7ea4c68000", "validAfter",
							    "0x" ZEROS48 "0000000000000000", "validBefore", "0x" ZEROS48 "000000006553f100", "nonce", NONCE, "signature", "0xabcd"));

	(void)state;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		bool upto = !strcmp(kinds[i][0], "upto");
		struct facilitator_request r;
		struct x402_why why;
		struct x402_auth a;
		json_t *made = NULL;

		assert_int_equal(outside_body(&x, kinds[i][0], kinds[i][1], stored, amount_from_u64(7), &made), ERR_OK);
		_cleanup_json_ json_t *body = made;
		assert_int_equal(facilitator_request_read(body, &r, &why), ERR_OK);
		assert_null(r.refusal);
		assert_string_equal(r.payment.scheme, kinds[i][0]);
		assert_string_equal(u256_format(&r.offer.amount).s, upto ? "7" : PRICE);
		assert_true(address_equal(&r.offer.pay_to, &x.pay_to) && address_equal(&r.offer.asset, &x.token));
		assert_null(x402_auth_read(&r.payment, r.offer.scheme, &a));
		assert_true(a.method == (i ? X402_PERMIT2 : X402_EIP3009) && a.upto == upto && a.hashable && a.signature_len == 2);
		assert_string_equal(u256_format(&a.value.v).s, PRICE);
		assert_string_equal(u256_format(&a.valid_before.v).s, "1700000000");
		assert_true(address_equal(&a.to, &x.pay_to) && (!upto || address_equal(&a.facilitator, &x.facilitator)));
		uint8_t nonce[32];
		u256_to_be(&a.nonce.v, nonce);
		for (size_t k = 0; k < sizeof(nonce); k++)
			assert_int_equal(nonce[k], 0x11);
		x402_auth_done(&a);
		facilitator_request_done(&r);
	}
	json_object_del(stored, "nonce");
	json_t *none = NULL;
	assert_int_equal(outside_body(&x, "exact", "eip3009", stored, amount_from_u64(7), &none), ERR_BAD_FIELD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests), cmocka_unit_test(test_no_requests), cmocka_unit_test(test_digest), cmocka_unit_test(test_statements), cmocka_unit_test(test_no_statements),
		cmocka_unit_test(test_sent_outside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
