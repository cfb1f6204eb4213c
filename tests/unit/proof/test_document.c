/* Statements against viem's digests and signatures; the canonical form; every changed bit refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "proof/statements.h"
#include "tests/unit/proof/vectors.h"

union any_statement {
	struct receipt receipt;
	struct ticket ticket;
	struct registration registration;
	struct node_statement statement;
	struct node_request request;
};

static const struct vector {
	const struct doc_type *type;
	const char *digest, *json, *key, *signer;
} VECTORS[] = {
	{ &RECEIPT_TYPE, RECEIPT_DIGEST, RECEIPT_JSON, NODE_KEY, NODE_ADDRESS },
	{ &RECEIPT_TYPE, STREAM_RECEIPT_DIGEST, STREAM_RECEIPT_JSON, NODE_KEY, NODE_ADDRESS },
	{ &TICKET_TYPE, TICKET_DIGEST, TICKET_JSON, GATEWAY_KEY, GATEWAY_ADDRESS },
	{ &REGISTRATION_TYPE, NODE_REGISTRATION_DIGEST, NODE_REGISTRATION_JSON, NODE_KEY, NODE_ADDRESS },
	{ &NODE_STATEMENT_TYPE, NODE_STATEMENT_DIGEST, NODE_STATEMENT_JSON, GATEWAY_KEY, GATEWAY_ADDRESS },
	{ &NODE_REQUEST_TYPE, NODE_REQUEST_DIGEST, NODE_REQUEST_JSON, NODE_KEY, NODE_ADDRESS },
};
#define VECTOR_COUNT (sizeof(VECTORS) / sizeof(VECTORS[0]))

static void must_read(const struct vector *v, union any_statement *m, struct signature *sig)
{
	uint64_t chain_id = 0;
	struct json_why why = { "" };
	memset(m, 0xa5, sizeof(*m));
	if (doc_read(v->type, v->json, strlen(v->json), m, &chain_id, sig, &why))
		fail_msg("%s", why.text);
	assert_int_equal(chain_id, CHAIN_ID);
}

static void agrees_with_viem(void **state)
{
	(void)state;
	for (size_t i = 0; i < VECTOR_COUNT; i++) {
		const struct vector *v = &VECTORS[i];
		union any_statement m;
		struct signature sig, own;
		struct hash digest;
		struct address signer;
		struct secret_key key;
		must_read(v, &m, &sig);
		doc_digest(v->type, &m, CHAIN_ID, &digest);
		assert_string_equal(hash_format(&digest).s, v->digest);
		assert_int_equal(doc_signer(v->type, &m, CHAIN_ID, &sig, &signer), ERR_OK);
		assert_string_equal(address_format(&signer).s, v->signer);
		assert_int_equal(secret_key_parse(v->key, &key), ERR_OK);
		doc_sign(v->type, &m, CHAIN_ID, &key, &own);
		_cleanup_free_ char *text = doc_write(v->type, &m, CHAIN_ID, &own);
		assert_string_equal(text, v->json);
	}
}

/* A type's text and its field table say the same, in the same order. */
static void tables_match_types(void **state)
{
	(void)state;
	static const char *const words[] = { [DOC_BYTES16] = "bytes16", [DOC_BYTES32] = "bytes32", [DOC_ADDRESS] = "address",
					     [DOC_UINT64] = "uint64",	[DOC_UINT32] = "uint32",   [DOC_UINT16] = "uint16",
					     [DOC_STRING] = "string",	[DOC_TEXT] = "string" };
	for (size_t i = 0; i < VECTOR_COUNT; i++) {
		const struct doc_type *t = VECTORS[i].type;
		struct buf b = BUF_INIT(4096);
		assert_int_equal(buf_append(&b, t->type, strcspn(t->type, "(") + 1), ERR_OK);
		for (size_t f = 0; f < t->field_count; f++)
			assert_int_equal(buf_printf(&b, "%s%s %s", f ? "," : "", words[t->fields[f].kind], t->fields[f].name), ERR_OK);
		assert_int_equal(buf_puts(&b, ")"), ERR_OK);
		assert_string_equal(b.data, t->type);
		buf_done(&b);
	}
}

static void every_member_is_signed(void **state)
{
	(void)state;
	for (size_t i = 0; i < VECTOR_COUNT; i++) {
		const struct vector *v = &VECTORS[i];
		union any_statement m;
		struct signature sig;
		must_read(v, &m, &sig);
		struct hash before, after;
		doc_digest(v->type, &m, CHAIN_ID, &before);
		for (size_t f = 0; f < v->type->field_count; f++) {
			char *at = (char *)&m + v->type->fields[f].offset;
			at[0] ^= 1;
			doc_digest(v->type, &m, CHAIN_ID, &after);
			assert_false(hash_equal(&before, &after));
			at[0] ^= 1;
		}
		doc_digest(v->type, &m, CHAIN_ID + 1, &after);
		assert_false(hash_equal(&before, &after));
	}
}

/* Every changed bit, dropped byte and doubled byte: refused, or signed by somebody else. */
static bool still_good(const struct vector *v, const char *text, size_t len)
{
	union any_statement m;
	struct signature sig;
	struct address signer, expected;
	uint64_t chain_id;
	if (doc_read(v->type, text, len, &m, &chain_id, &sig, NULL))
		return false;
	_cleanup_free_ char *again = doc_write(v->type, &m, chain_id, &sig);
	assert_int_equal(strlen(again), len);
	assert_memory_equal(again, text, len);
	assert_int_equal(address_parse(v->signer, &expected), ERR_OK);
	return doc_signer(v->type, &m, chain_id, &sig, &signer) == ERR_OK && address_equal(&signer, &expected);
}

static void any_change_shows(void **state)
{
	(void)state;
	for (size_t i = 0; i < VECTOR_COUNT; i++) {
		const struct vector *v = &VECTORS[i];
		size_t len = strlen(v->json);
		_cleanup_free_ char *text = xmalloc(len + 1);
		assert_true(still_good(v, v->json, len));
		for (size_t at = 0; at < len; at++) {
			memcpy(text, v->json, len);
			for (int bit = 0; bit < 8; bit++) {
				text[at] = (char)(v->json[at] ^ 1 << bit);
				assert_false(still_good(v, text, len));
			}
			memmove(text + at, v->json + at + 1, len - at - 1);
			assert_false(still_good(v, text, len - 1));
			assert_false(still_good(v, v->json, at));
			memcpy(text, v->json, at + 1);
			memcpy(text + at + 1, v->json + at, len - at);
			assert_false(still_good(v, text, len + 1));
		}
	}
}

/* The receipt's text with the first `from` replaced by `to`. */
static char *receipt_with(const char *from, const char *to)
{
	const char *at = strstr(RECEIPT_JSON, from);
	assert_non_null(at);
	return xasprintf("%.*s%s%s", (int)(at - RECEIPT_JSON), RECEIPT_JSON, to, at + strlen(from));
}

static void only_one_spelling(void **state)
{
	(void)state;
	static const struct { const char *from, *to; } changes[] = {
		{ "\"attempt\":\"2\"", "\"attempt\":2" },
		{ "\"attempt\":\"2\"", "\"attempt\":\"02\"" },
		{ "\"attempt\":\"2\"", "\"attempt\":\"+2\"" },
		{ "\"attempt\":\"2\"", "\"attempt\":\"\"" },
		{ "\"attempt\":\"2\"", "\"attempt\":\"2.0\"" },
		{ "\"attempt\":\"2\"", "\"attempt\":\"4294967296\"" },
		{ "\"status\":\"200\"", "\"status\":\"65536\"" },
		{ "\"outputUnits\":\"18446744073709551615\"", "\"outputUnits\":\"18446744073709551616\"" },
		{ "\"outputUnits\":\"18446744073709551615\"", "\"outputUnits\":\"99999999999999999999\"" },
		{ "\"policy\":\"signed\"", "\"policy\":\"sig\\u006eed\"" },
		{ "\"policy\":\"signed\"", "\"policy\":\"sign\x7f\"" },
		{ "\"policy\":\"signed\"", "\"policy\":\"sign\xc3\xa9\"" },
		{ "\"policy\":\"signed\"", "\"policy\":\"0123456789012345678901234567890123456789012345678901234567890123\"" },
		{ "\"policy\":\"signed\"", "\"policy\":\"signed\",\"policy\":\"signed\"" },
		{ "\"policy\":\"signed\",", "" },
		{ "c0ffee", "C0FFEE" },
		{ "\"0x0198", "\"0X0198" },
		{ "{\"domain\"", " {\"domain\"" },
		{ "\"version\":\"1\",\"chainId\":\"84532\"", "\"chainId\":\"84532\",\"version\":\"1\"" },
		{ "\"chainId\":\"84532\"", "\"chainId\":84532" },
		{ "\"name\":\"opgate\"", "\"name\":\"opgatf\"" },
		{ "\"}", "\"}\n" },
	};
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		_cleanup_free_ char *text = receipt_with(changes[i].from, changes[i].to);
		struct receipt r;
		struct signature sig;
		uint64_t chain_id;
		struct json_why why = { "" };
		assert_int_equal(doc_read(&RECEIPT_TYPE, text, strlen(text), &r, &chain_id, &sig, &why), ERR_BAD_FIELD);
		assert_true(why.text[0]);
	}
	_cleanup_free_ char *newline = xasprintf("%s\n", RECEIPT_JSON);
	assert_false(still_good(&VECTORS[0], newline, strlen(newline)));
}

/* n - s and the other v: the same signature to mathematics, another text to us. */
static void malleated_signature_refused(void **state)
{
	(void)state;
	static const uint8_t order[32] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
					   0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41 };
	union any_statement m;
	struct signature sig;
	must_read(&VECTORS[0], &m, &sig);
	int borrow = 0;
	for (int i = 31; i >= 0; i--) {
		int d = order[i] - sig.b[32 + i] - borrow;
		borrow = d < 0;
		sig.b[32 + i] = (uint8_t)(d + (borrow ? 256 : 0));
	}
	sig.b[64] = (uint8_t)(27 + 28 - sig.b[64]);
	struct address signer;
	assert_int_equal(doc_signer(&RECEIPT_TYPE, &m, CHAIN_ID, &sig, &signer), ERR_BAD_SIGNATURE);
	_cleanup_free_ char *text = doc_write(&RECEIPT_TYPE, &m, CHAIN_ID, &sig);
	uint64_t chain_id;
	assert_int_equal(doc_read(&RECEIPT_TYPE, text, strlen(text), &m, &chain_id, &sig, NULL), ERR_BAD_FIELD);
}

static void nothing_written_on_refusal(void **state)
{
	(void)state;
	union any_statement m, untouched;
	struct signature sig, sig_untouched;
	memset(&m, 0x5a, sizeof(m));
	memset(&untouched, 0x5a, sizeof(untouched));
	memset(&sig, 0x5a, sizeof(sig));
	memset(&sig_untouched, 0x5a, sizeof(sig_untouched));
	uint64_t chain_id = 7;
	assert_int_equal(doc_read(&RECEIPT_TYPE, RECEIPT_JSON, strlen(RECEIPT_JSON) - 1, &m, &chain_id, &sig, NULL), ERR_BAD_FIELD);
	assert_memory_equal(&m, &untouched, sizeof(m));
	assert_memory_equal(&sig, &sig_untouched, sizeof(sig));
	assert_int_equal(chain_id, 7);
	assert_int_equal(doc_read(&TICKET_TYPE, RECEIPT_JSON, strlen(RECEIPT_JSON), &m, &chain_id, &sig, NULL), ERR_BAD_FIELD);
	assert_int_equal(doc_read(&RECEIPT_TYPE, "", 0, &m, &chain_id, &sig, NULL), ERR_BAD_FIELD);
}

static void text_alphabet(void **state)
{
	(void)state;
	char longest[64];
	memset(longest, 'a', sizeof(longest));
	assert_false(doc_text_ok(longest, sizeof(longest)));
	longest[63] = '\0';
	assert_true(doc_text_ok(longest, sizeof(longest)));
	assert_true(doc_text_ok("", 64));
	assert_true(doc_text_ok(" ~/?&=", 64));
	assert_false(doc_text_ok("a\"b", 64));
	assert_false(doc_text_ok("a\\b", 64));
	assert_false(doc_text_ok("a\nb", 64));
	assert_false(doc_text_ok("\xc3\xa9", 64));
}

static void request_hash_vectors(void **state)
{
	(void)state;
	struct hash h;
	size_t len = strlen(REQUEST_BODY);
	request_hash("POST", "/v1/chat/completions", "application/json", NULL, REQUEST_BODY, len, &h);
	assert_string_equal(hash_format(&h).s, REQUEST_HASH_CHAT);
	request_hash("POST", "/v2/models/a%2Fb/infer", "application/octet-stream", "137", REQUEST_BODY, len, &h);
	assert_string_equal(hash_format(&h).s, REQUEST_HASH_INFER);
	request_hash("GET", "/", NULL, "", REQUEST_BODY, len, &h);
	assert_string_equal(hash_format(&h).s, REQUEST_HASH_GET);
	request_hash("POST", "/v1/chat/completions", "application/json", NULL, REQUEST_BODY, len - 1, &h);
	assert_string_not_equal(hash_format(&h).s, REQUEST_HASH_CHAT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_viem),	    cmocka_unit_test(tables_match_types),
		cmocka_unit_test(every_member_is_signed),   cmocka_unit_test(any_change_shows),
		cmocka_unit_test(only_one_spelling),	    cmocka_unit_test(malleated_signature_refused),
		cmocka_unit_test(nothing_written_on_refusal), cmocka_unit_test(text_alphabet),
		cmocka_unit_test(request_hash_vectors),
	};
	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
