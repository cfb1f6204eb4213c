/* The verdict matrix: each thing that may be known, right, wrong and absent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base64.h"
#include "base/mem.h"
#include "proof/verdict.h"
#include "tests/unit/proof/vectors.h"

#define FINISHED_AT INT64_C(1767225600123)

static struct address NODE, GATEWAY, OTHER;
static struct ticket TICKET;

/* Everything known and right. */
static struct verdict_input good(void)
{
	return (struct verdict_input){
		.receipt_text = RECEIPT_JSON,
		.receipt_len = sizeof(RECEIPT_JSON) - 1,
		.chain_id = CHAIN_ID,
		.node = &NODE,
		.gateway = &GATEWAY,
		.statement_text = NODE_STATEMENT_JSON,
		.statement_len = sizeof(NODE_STATEMENT_JSON) - 1,
		.ticket = &TICKET,
		.model_digest = &TICKET.model_digest,
		.request_body = REQUEST_BODY,
		.request_len = sizeof(REQUEST_BODY) - 1,
		.response_body = PLAIN_RESPONSE,
		.response_len = sizeof(PLAIN_RESPONSE) - 1,
		.now_ms = FINISHED_AT,
	};
}

static struct verdict_input stream(const char *body)
{
	struct verdict_input in = good();
	in.receipt_text = STREAM_RECEIPT_JSON;
	in.receipt_len = sizeof(STREAM_RECEIPT_JSON) - 1;
	in.response_body = body;
	in.response_len = strlen(body);
	return in;
}

/* The verdict, and the result of one check by name (-1: not listed). */
static enum verdict judge(const struct verdict_input *in, const char *check, int *ret_result)
{
	struct verdict_report rep;
	verdict_check(in, &rep);
	*ret_result = -1;
	for (size_t i = 0; i < rep.count; i++)
		if (strcmp(rep.checks[i].name, check) == 0)
			*ret_result = (int)rep.checks[i].result;
	return rep.verdict;
}

static void expect(const struct verdict_input *in, enum verdict verdict, const char *check, int result)
{
	int got;
	enum verdict v = judge(in, check, &got);
	if (v != verdict || got != result)
		fail_msg("%s: verdict %s, result %d; wanted %s, %d", check, verdict_name(v), got, verdict_name(verdict), result);
}

#define EXPECT_FAILED(in, check) expect(in, VERDICT_FAILED, check, VERDICT_FAILED)
#define EXPECT_PASSED(in, check) expect(in, VERDICT_PASSED, check, VERDICT_PASSED)
#define EXPECT_UNSURE(in, check) expect(in, VERDICT_UNVERIFIABLE, check, VERDICT_UNVERIFIABLE)

static void everything_right(void **state)
{
	(void)state;
	struct verdict_input in = good();
	static const char *const listed[] = { "form", "signature", "signer", "registration", "chain", "gateway", "ticket", "model",
					      "request", "response", "times", "policy", "status" };
	for (size_t i = 0; i < sizeof(listed) / sizeof(listed[0]); i++)
		EXPECT_PASSED(&in, listed[i]);
	expect(&in, VERDICT_PASSED, "units", -1);
	expect(&in, VERDICT_PASSED, "profile", -1);
}

static void least_that_passes(void **state)
{
	(void)state;
	struct verdict_input in = { .receipt_text = RECEIPT_JSON, .receipt_len = sizeof(RECEIPT_JSON) - 1, .node = &NODE };
	EXPECT_PASSED(&in, "registration");
	static const char *const unlisted[] = { "chain", "gateway", "ticket", "model", "profile", "request", "response", "units" };
	for (size_t i = 0; i < sizeof(unlisted) / sizeof(unlisted[0]); i++)
		expect(&in, VERDICT_PASSED, unlisted[i], -1);
	in.node = NULL;
	EXPECT_UNSURE(&in, "registration");
	in.node = &OTHER;
	EXPECT_FAILED(&in, "registration");
}

/* A node's statement, altered and signed again by whoever. */
static char *statement(const char *key, void (*alter)(struct node_statement *), uint64_t chain_id)
{
	struct node_statement st;
	struct signature sig;
	struct secret_key k;
	uint64_t id;
	assert_int_equal(doc_read(&NODE_STATEMENT_TYPE, NODE_STATEMENT_JSON, strlen(NODE_STATEMENT_JSON), &st, &id, &sig, NULL), ERR_OK);
	if (alter)
		alter(&st);
	assert_int_equal(secret_key_parse(key, &k), ERR_OK);
	doc_sign(&NODE_STATEMENT_TYPE, &st, chain_id, &k, &sig);
	return doc_write(&NODE_STATEMENT_TYPE, &st, chain_id, &sig);
}

static void other_model(struct node_statement *st)
{
	st->model_digest.b[5] ^= 1;
}

static void other_node(struct node_statement *st)
{
	st->node = OTHER;
}

static void other_gateway(struct node_statement *st)
{
	st->gateway = OTHER;
}

static void other_profile(struct node_statement *st)
{
	st->profile_hash.b[0] ^= 1;
}

static void no_profile(struct node_statement *st)
{
	memset(&st->profile_hash, 0, sizeof(st->profile_hash));
}

static void registered_later(struct node_statement *st)
{
	st->registered_at = (uint64_t)FINISHED_AT + 120001;
}

static void by_statement(void **state)
{
	(void)state;
	static const struct {
		const char *key;
		void (*alter)(struct node_statement *);
		uint64_t chain_id;
		enum verdict pinned, unpinned;
		const char *check;
	} rows[] = {
		{ GATEWAY_KEY, NULL, CHAIN_ID, VERDICT_PASSED, VERDICT_UNVERIFIABLE, "registration" },
		{ GATEWAY_KEY, no_profile, CHAIN_ID, VERDICT_PASSED, VERDICT_UNVERIFIABLE, "registration" },
		{ GATEWAY_KEY, other_model, CHAIN_ID, VERDICT_FAILED, VERDICT_FAILED, "registration" },
		{ GATEWAY_KEY, other_node, CHAIN_ID, VERDICT_FAILED, VERDICT_FAILED, "registration" },
		{ GATEWAY_KEY, other_gateway, CHAIN_ID, VERDICT_FAILED, VERDICT_FAILED, "registration" },
		{ GATEWAY_KEY, NULL, CHAIN_ID + 1, VERDICT_FAILED, VERDICT_FAILED, "registration" },
		{ OPERATOR_KEY, NULL, CHAIN_ID, VERDICT_FAILED, VERDICT_FAILED, "registration" },
		{ OPERATOR_KEY, other_gateway, CHAIN_ID, VERDICT_FAILED, VERDICT_UNVERIFIABLE, "registration" }, /* OTHER is the operator */
		{ GATEWAY_KEY, registered_later, CHAIN_ID, VERDICT_UNVERIFIABLE, VERDICT_UNVERIFIABLE, "registration" },
		{ GATEWAY_KEY, other_profile, CHAIN_ID, VERDICT_UNVERIFIABLE, VERDICT_UNVERIFIABLE, "profile" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_free_ char *text = statement(rows[i].key, rows[i].alter, rows[i].chain_id);
		struct verdict_input in = good();
		in.node = NULL;
		in.statement_text = text;
		in.statement_len = strlen(text);
		expect(&in, rows[i].pinned, rows[i].check, (int)rows[i].pinned);
		in.gateway = NULL;
		int result;
		assert_int_equal(judge(&in, "registration", &result), rows[i].unpinned);
		assert_int_equal(result, rows[i].unpinned);
	}
}

static void statement_and_pin_together(void **state)
{
	(void)state;
	struct verdict_input in = good();
	in.gateway = NULL; /* the statement counts for nothing, the pin does */
	EXPECT_PASSED(&in, "registration");
	in = good();
	in.node = &OTHER; /* a contradiction shows */
	EXPECT_FAILED(&in, "registration");
	in = good();
	in.statement_len--;
	EXPECT_FAILED(&in, "registration");
	in = good();
	_cleanup_free_ char *text = statement(GATEWAY_KEY, other_model, CHAIN_ID);
	in.statement_text = text;
	in.statement_len = strlen(text);
	EXPECT_FAILED(&in, "registration");
}

static void wrong_comparisons(void **state)
{
	(void)state;
	struct hash wrong = TICKET.model_digest;
	wrong.b[31] ^= 0x80;
	struct verdict_input in = good();
	in.chain_id = CHAIN_ID + 1;
	EXPECT_FAILED(&in, "chain");
	in = good();
	in.gateway = &OTHER;
	EXPECT_FAILED(&in, "gateway");
	in = good();
	in.model_digest = &wrong;
	EXPECT_FAILED(&in, "model");
	in = good();
	in.request_hash = &wrong;
	EXPECT_FAILED(&in, "request");
	in.request_hash = &TICKET.request_hash;
	EXPECT_PASSED(&in, "request");
	in = good();
	in.response_hash = &wrong;
	EXPECT_FAILED(&in, "response");
	in = good();
	in.profile_hash = &wrong;
	EXPECT_FAILED(&in, "profile");
	in = good();
	in.now_ms = FINISHED_AT - 120000;
	EXPECT_PASSED(&in, "times");
	in.now_ms--;
	EXPECT_FAILED(&in, "times");
	in = good();
	in.input_units_max = 12;
	EXPECT_PASSED(&in, "units");
	in.input_units_max = 11; /* cut, not failed */
	in.output_units_max = 1;
	EXPECT_PASSED(&in, "units");
}

static void ticket_fields(void **state)
{
	(void)state;
	struct ticket t = TICKET;
	struct verdict_input in = good();
	in.ticket = &t;
	EXPECT_PASSED(&in, "ticket");
	uint8_t *const members[] = { t.job_id.b, (uint8_t *)&t.attempt, t.gateway.b, t.node.b, t.model_digest.b, (uint8_t *)t.policy, t.request_hash.b };
	static const char *const names[] = { "jobId", "attempt", "gateway", "node", "modelDigest", "policy", "requestHash" };
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		struct verdict_report rep;
		members[i][0] ^= 1;
		EXPECT_FAILED(&in, "ticket");
		verdict_check(&in, &rep);
		for (size_t c = 0; c < rep.count; c++)
			if (strcmp(rep.checks[c].name, "ticket") == 0)
				assert_non_null(strstr(rep.checks[c].detail, names[i]));
		members[i][0] ^= 1;
	}
	memset(&t, 0xff, sizeof(t)); /* all at once fits its line */
	t.policy[0] = '\0';
	EXPECT_FAILED(&in, "ticket");
}

/* The receipt with one member altered and signed again by the node. */
static void resigned(void (*alter)(struct receipt *), enum verdict verdict, const char *check)
{
	struct receipt r;
	struct signature sig;
	struct secret_key k;
	uint64_t id;
	assert_int_equal(doc_read(&RECEIPT_TYPE, RECEIPT_JSON, strlen(RECEIPT_JSON), &r, &id, &sig, NULL), ERR_OK);
	alter(&r);
	assert_int_equal(secret_key_parse(NODE_KEY, &k), ERR_OK);
	doc_sign(&RECEIPT_TYPE, &r, id, &k, &sig);
	_cleanup_free_ char *text = doc_write(&RECEIPT_TYPE, &r, id, &sig);
	struct verdict_input in = { .receipt_text = text, .receipt_len = strlen(text), .node = &NODE };
	expect(&in, verdict, check, (int)verdict);
}

static void alter_node(struct receipt *r)
{
	r->node = OTHER;
}

static void alter_times(struct receipt *r)
{
	r->finished_at = r->started_at - 1;
}

static void alter_policy(struct receipt *r)
{
	snprintf(r->policy, sizeof(r->policy), "attested");
}

static void alter_policy_none(struct receipt *r)
{
	snprintf(r->policy, sizeof(r->policy), "none");
}

static void alter_status(struct receipt *r)
{
	r->status = 99;
}

static void alter_status_partial(struct receipt *r)
{
	r->status = 499;
}

static void by_itself(void **state)
{
	(void)state;
	resigned(alter_node, VERDICT_FAILED, "signer");
	resigned(alter_times, VERDICT_FAILED, "times");
	resigned(alter_policy, VERDICT_UNVERIFIABLE, "policy");
	resigned(alter_policy_none, VERDICT_PASSED, "policy");
	resigned(alter_status, VERDICT_FAILED, "status");
	resigned(alter_status_partial, VERDICT_PASSED, "status");
}

static void request_routes(void **state)
{
	(void)state;
	struct verdict_input in = good();
	in.request_path = "/v1/chat/completions";
	in.request_content_type = "text/odd";
	EXPECT_PASSED(&in, "request");
	in.request_path = "/v1/completions";
	EXPECT_FAILED(&in, "request");
	in = good();
	in.request_method = "PUT";
	EXPECT_FAILED(&in, "request");
	in = good();
	in.request_inference_header_length = "3";
	EXPECT_FAILED(&in, "request");
	in = good();
	in.request_len--;
	EXPECT_FAILED(&in, "request");
	in = good();
	in.response_len--;
	EXPECT_FAILED(&in, "response");
}

#define A "data: {\"delta\":\"a\"}\n\n"
#define B "data: {\"delta\":\"b\"}\n\n"
#define DONE "data: [DONE]\n\n"
static void streams(void **state)
{
	(void)state;
	static const struct { const char *body; enum verdict verdict; } rows[] = {
		{ STREAM_RESPONSE, VERDICT_PASSED },
		{ A B "data: \n\n", VERDICT_PASSED }, /* cut before [DONE] */
		{ ": keep-alive\n\n" A B ": x\n\ndata: \n\n" DONE, VERDICT_PASSED },
		{ "data: {\"delta\":\"a\"}\r\n\r\ndata: {\"delta\":\"b\"}\r\n\r\ndata: \r\n\r\ndata: [DONE]\r\n\r\n", VERDICT_PASSED },
		{ A B DONE, VERDICT_FAILED },
		{ B A "data: \n\n" DONE, VERDICT_FAILED },
		{ A B "data: \n\n" DONE "data: more\n\n", VERDICT_FAILED },
		{ A B "data: \n\n" DONE "x", VERDICT_FAILED },
		{ A B "data: \n\n" "event: error\n\n" DONE, VERDICT_FAILED },
		{ A B "data: \n\n" "data: [DONE]\n", VERDICT_FAILED },
		{ A B "data: \n\n" ": opgate-receipt AAAA\n\n" DONE, VERDICT_FAILED },
		{ "", VERDICT_FAILED },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct verdict_input in = stream(rows[i].body);
		expect(&in, rows[i].verdict, "response", (int)rows[i].verdict);
	}
	char b64[4096];
	base64url_encode(STREAM_RECEIPT_JSON, strlen(STREAM_RECEIPT_JSON), b64);
	_cleanup_free_ char *with = xasprintf(A B "data: \n\n: opgate-receipt %s\n\n" DONE, b64);
	struct verdict_input in = stream(with);
	EXPECT_PASSED(&in, "response");
}

/* Any bit of receipt, request, answer or stream changed: never passed, and the bytes that are signed or hashed: failed. */
static void any_bit(void **state)
{
	(void)state;
	char copy[4096];
	int result;
	const size_t receipt_len = sizeof(RECEIPT_JSON) - 1;
	for (size_t bit = 0; bit < 8 * receipt_len; bit++) {
		struct verdict_input in = { .receipt_text = copy, .receipt_len = receipt_len, .node = &NODE };
		memcpy(copy, RECEIPT_JSON, receipt_len);
		copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
		assert_int_equal(judge(&in, "form", &result), VERDICT_FAILED);
	}
	for (size_t bit = 0; bit < 8 * (sizeof(REQUEST_BODY) - 1); bit++) {
		struct verdict_input in = good();
		memcpy(copy, REQUEST_BODY, in.request_len);
		copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
		in.request_body = copy;
		EXPECT_FAILED(&in, "request");
	}
	for (size_t bit = 0; bit < 8 * (sizeof(STREAM_RESPONSE) - 1); bit++) {
		struct verdict_input in = stream(STREAM_RESPONSE);
		memcpy(copy, STREAM_RESPONSE, in.response_len);
		copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
		in.response_body = copy;
		EXPECT_FAILED(&in, "response");
	}
}

static void as_json(void **state)
{
	(void)state;
	struct verdict_input in = good();
	struct verdict_report rep;
	verdict_check(&in, &rep);
	_cleanup_json_ json_t *j = verdict_json(&rep);
	assert_string_equal(json_string_value(json_object_get(j, "verdict")), "passed");
	assert_string_equal(json_string_value(json_object_get(j, "signer")), NODE_ADDRESS);
	assert_int_equal(json_array_size(json_object_get(j, "checks")), rep.count);
	_cleanup_free_ char *receipt = json_dumps(json_object_get(j, "receipt"), JSON_COMPACT);
	assert_string_equal(receipt, RECEIPT_JSON);
	in.receipt_len = 3;
	verdict_check(&in, &rep);
	_cleanup_json_ json_t *bad = verdict_json(&rep);
	assert_string_equal(json_string_value(json_object_get(bad, "verdict")), "failed");
	assert_true(json_is_null(json_object_get(bad, "receipt")));
	assert_true(json_is_null(json_object_get(bad, "signer")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_right), cmocka_unit_test(least_that_passes), cmocka_unit_test(by_statement),
		cmocka_unit_test(statement_and_pin_together), cmocka_unit_test(wrong_comparisons), cmocka_unit_test(ticket_fields),
		cmocka_unit_test(by_itself), cmocka_unit_test(request_routes), cmocka_unit_test(streams), cmocka_unit_test(any_bit),
		cmocka_unit_test(as_json),
	};
	crypto_init();
	struct signature sig;
	uint64_t id;
	if (address_parse(NODE_ADDRESS, &NODE) || address_parse(GATEWAY_ADDRESS, &GATEWAY) || address_parse(OPERATOR_ADDRESS, &OTHER) ||
	    doc_read(&TICKET_TYPE, TICKET_JSON, strlen(TICKET_JSON), &TICKET, &id, &sig, NULL))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
