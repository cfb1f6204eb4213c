/* Strict parsing and the field reader. */
#include "base/amount.h"
#include "base/hex.h"
#include "base/json.h"
#include "tests/unit/unit.h"

static json_t *must_parse(const char *text)
{
	json_t *j = NULL;
	struct json_why why = { "" };
	if (json_parse(text, strlen(text), &j, &why))
		fail_msg("%s: %s", text, why.text);
	return j;
}

static void accepts_any_value_and_keeps_it(void **state)
{
	(void)state;
	static const char *const same[] = {
		"{}", "[]", "null", "true", "false", "0", "-7", "9223372036854775807", "-9223372036854775808", "\"\"", "\"a\\nb\"",
		"{\"b\":1,\"a\":2}", "[[[]],{\"a\":[1,2,{\"b\":null}]}]", "\"\xc3\xa9\xf0\x9f\x92\xa9\"",
	};
	for (size_t i = 0; i < COUNT_OF(same); i++) {
		_cleanup_json_ json_t *j = must_parse(same[i]);
		_cleanup_free_ char *text = json_text(j);
		assert_string_equal(text, same[i]);
	}
	_cleanup_json_ json_t *spaced = must_parse(" \t\r\n{ \"a\" : 1 } \n");
	assert_true(json_is_object(spaced));
	_cleanup_json_ json_t *escaped = must_parse("\"\\u00e9\\ud83d\\udca9\"");
	assert_string_equal(json_string_value(escaped), "\xc3\xa9\xf0\x9f\x92\xa9");
}

static void refuses_what_is_not_strict(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"", " ", "{", "}", "[1,]", "{\"a\":1,}", "{\"a\":1,\"a\":1}", "{\"x\":{\"a\":1,\"a\":2}}", "{\"a\":1,\"\\u0061\":2}",
		"{} {}", "{}x", "1 2", "nul", "True", "NaN", "Infinity", "-", "01", "+1", ".5", "1.", "1e400", "9223372036854775808",
		"'a'", "{a:1}", "// c\n1", "\"\\x\"", "\"\\u0000\"", "\"\\ud800\"", "\"a\nb\"", "\"\x01\"", "\"\xff\"", "\"\xc0\xaf\"",
		"\"\xed\xa0\x80\"", "\"abc", "\xef\xbb\xbf{}", "[1 2]", "{\"a\" 1}",
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		json_t *j = (json_t *)&j;
		struct json_why why = { "" };
		if (json_parse(bad[i], strlen(bad[i]), &j, &why) != ERR_BAD_JSON)
			fail_msg("accepted: %s", bad[i]);
		assert_ptr_equal(j, (json_t *)&j); /* written only on success */
		assert_non_null(strstr(why.text, "line 1") ? why.text : strstr(why.text, "line 2"));
		for (const char *p = why.text; *p; p++)
			assert_in_range((unsigned char)*p, 0x20, 0x7e); /* the text itself goes into an answer */
	}
	json_t *j;
	struct json_why why;
	assert_int_equal(json_parse("{}\0", 3, &j, &why), ERR_BAD_JSON);
	assert_int_equal(json_parse("\"a\0b\"", 5, &j, &why), ERR_BAD_JSON);
	assert_int_equal(json_parse("[1,2\n,x]", 8, &j, NULL), ERR_BAD_JSON);
	assert_int_equal(json_parse("[1,2\n,x]", 8, &j, &why), ERR_BAD_JSON);
	assert_non_null(strstr(why.text, "line 2, column 2"));
}

static void depth_is_bounded_before_parsing(void **state)
{
	(void)state;
	char text[JSON_DEPTH_MAX * 8];
	for (int depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
		json_t *j = NULL;
		struct json_why why = { "" };
		memset(text, '[', (size_t)depth);
		memset(text + depth, ']', (size_t)depth);
		enum err e = json_parse(text, 2 * (size_t)depth, &j, &why);
		assert_int_equal(e, depth <= JSON_DEPTH_MAX ? ERR_OK : ERR_BAD_JSON);
		if (e)
			assert_string_equal(why.text, "nested deeper than 32 at byte 32");
		json_decref(j);
	}
	/* Not closed at all: the parser must never see it. */
	static char deep[200000];
	memset(deep, '[', sizeof(deep));
	json_t *j;
	struct json_why why;
	assert_int_equal(json_parse(deep, sizeof(deep), &j, &why), ERR_BAD_JSON);
	/* Brackets inside strings do not count, wherever the quotes are escaped. */
	char quoted[200] = "[\"\\\"";
	memset(quoted + 4, '{', 60);
	memcpy(quoted + 64, "\\\\\",\"", 5);
	memset(quoted + 69, '[', 60);
	memcpy(quoted + 129, "\"]", 3);
	json_decref(must_parse(quoted));
	/* Siblings do not add up. */
	char wide[1001] = "[";
	for (int i = 0; i < 300; i++)
		memcpy(wide + 1 + 3 * i, "[],", 3);
	memcpy(wide + 900, "]", 2);
	json_decref(must_parse(wide));
}

struct order {
	const char *model;
	int64_t limit;
	bool stream;
	struct amount price;
	struct address payer;
	struct hash digest;
	json_t *options, *items;
};

static const struct json_field order_fields[] = {
	{ .name = "model", .kind = JSON_FIELD_STR, .offset = offsetof(struct order, model), .required = true, .min = 1, .max = 8 },
	{ .name = "limit", .kind = JSON_FIELD_INT, .offset = offsetof(struct order, limit), .min = -2, .max = 100 },
	{ .name = "stream", .kind = JSON_FIELD_BOOL, .offset = offsetof(struct order, stream) },
	{ .name = "price", .kind = JSON_FIELD_AMOUNT, .offset = offsetof(struct order, price) },
	{ .name = "payer", .kind = JSON_FIELD_ADDRESS, .offset = offsetof(struct order, payer) },
	{ .name = "digest", .kind = JSON_FIELD_HASH, .offset = offsetof(struct order, digest) },
	{ .name = "options", .kind = JSON_FIELD_OBJECT, .offset = offsetof(struct order, options) },
	{ .name = "items", .kind = JSON_FIELD_ARRAY, .offset = offsetof(struct order, items), .min = 1, .max = 3 },
};

static void reads_every_kind(void **state)
{
	(void)state;
	_cleanup_json_ json_t *j = must_parse(
		"{\"items\":[1,2],\"model\":\"a/b\",\"limit\":-2,\"stream\":true,\"price\":\"1000000000000000000\","
		"\"payer\":\"0x52908400098527886E0F7030069857D2E4169EE7\","
		"\"digest\":\"0x00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef\",\"options\":{\"x\":1}}");
	struct order o = { .limit = 9 };
	struct json_why why;
	assert_int_equal(JSON_READ(j, order_fields, &o, &why), ERR_OK);
	assert_string_equal(o.model, "a/b");
	assert_true(o.limit == -2 && o.stream);
	assert_string_equal(amount_format(o.price).s, "1000000000000000000");
	assert_string_equal(address_format(&o.payer).s, "0x52908400098527886e0f7030069857d2e4169ee7");
	assert_string_equal(hash_format(&o.digest).s, "0x00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef");
	assert_ptr_equal(o.options, json_object_get(j, "options"));
	assert_int_equal(json_array_size(o.items), 2);
}

static void absent_fields_keep_their_defaults(void **state)
{
	(void)state;
	_cleanup_json_ json_t *j = must_parse("{\"model\":\"12345678\"}");
	struct order o = { .limit = 9, .stream = true };
	struct json_why why;
	assert_int_equal(JSON_READ(j, order_fields, &o, &why), ERR_OK);
	assert_true(o.limit == 9 && o.stream && !o.options && !o.items);
}

static void refuses_and_names_the_field(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum err e;
		const char *why;
	} cases[] = {
		{ "{}", ERR_BAD_FIELD, "model: is required" },
		{ "[]", ERR_BAD_FIELD, "must be a JSON object" },
		{ "\"model\"", ERR_BAD_FIELD, "must be a JSON object" },
		{ "{\"model\":\"a\",\"Model\":1}", ERR_UNKNOWN_FIELD, "Model: unknown field" },
		{ "{\"model\":\"a\",\"\xc3\xa9\\n\":1}", ERR_UNKNOWN_FIELD, "???: unknown field" },
		{ "{\"model\":1}", ERR_BAD_FIELD, "model: must be a string" },
		{ "{\"model\":null}", ERR_BAD_FIELD, "model: must be a string" },
		{ "{\"model\":\"\"}", ERR_BAD_FIELD, "model: length in bytes must be between 1 and 8" },
		{ "{\"model\":\"123456789\"}", ERR_BAD_FIELD, "model: length in bytes must be between 1 and 8" },
		{ "{\"model\":\"a\",\"limit\":1.0}", ERR_BAD_FIELD, "limit: must be an integer" },
		{ "{\"model\":\"a\",\"limit\":1e1}", ERR_BAD_FIELD, "limit: must be an integer" },
		{ "{\"model\":\"a\",\"limit\":\"1\"}", ERR_BAD_FIELD, "limit: must be an integer" },
		{ "{\"model\":\"a\",\"limit\":101}", ERR_BAD_FIELD, "limit: value must be between -2 and 100" },
		{ "{\"model\":\"a\",\"limit\":-3}", ERR_BAD_FIELD, "limit: value must be between -2 and 100" },
		{ "{\"model\":\"a\",\"stream\":1}", ERR_BAD_FIELD, "stream: must be true or false" },
		{ "{\"model\":\"a\",\"price\":1}", ERR_BAD_FIELD, "price: must be a string" },
		{ "{\"model\":\"a\",\"price\":\"1.5\"}", ERR_BAD_FIELD, "price: must be a decimal string" },
		{ "{\"model\":\"a\",\"price\":\"170141183460469231731687303715884105728\"}", ERR_BAD_FIELD, "price: must be a decimal string" },
		{ "{\"model\":\"a\",\"payer\":\"0x12\"}", ERR_BAD_FIELD, "payer: must be an address" },
		{ "{\"model\":\"a\",\"digest\":\"0x12\"}", ERR_BAD_FIELD, "digest: must be a hash" },
		{ "{\"model\":\"a\",\"options\":[]}", ERR_BAD_FIELD, "options: must be an object" },
		{ "{\"model\":\"a\",\"items\":{}}", ERR_BAD_FIELD, "items: must be an array" },
		{ "{\"model\":\"a\",\"items\":[]}", ERR_BAD_FIELD, "items: number of elements must be between 1 and 3" },
		{ "{\"model\":\"a\",\"items\":[1,2,3,4]}", ERR_BAD_FIELD, "items: number of elements must be between 1 and 3" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		_cleanup_json_ json_t *j = must_parse(cases[i].text);
		struct order o, before;
		struct json_why why = { "" };
		memset(&o, 0x5a, sizeof(o));
		before = o;
		assert_int_equal(JSON_READ(j, order_fields, &o, &why), cases[i].e);
		if (strncmp(why.text, cases[i].why, strlen(cases[i].why)) != 0)
			fail_msg("%s: said \"%s\"", cases[i].text, why.text);
		assert_memory_equal(&o, &before, sizeof(o)); /* a refused object writes nothing */
		assert_int_equal(JSON_READ(j, order_fields, &o, NULL), cases[i].e);
	}
	struct order o;
	assert_int_equal(JSON_READ(NULL, order_fields, &o, NULL), ERR_BAD_FIELD);
}

static void embedded_nul_is_refused(void **state)
{
	(void)state;
	/* The parser refuses \u0000, but a json_t may come from elsewhere. */
	_cleanup_json_ json_t *j = json_object();
	struct order o = { 0 };
	json_object_set_new(j, "model", json_stringn("a\0b", 3));
	assert_int_equal(JSON_READ(j, order_fields, &o, NULL), ERR_BAD_FIELD);
	json_object_set_new(j, "model", json_string("a"));
	json_object_set_new(j, "price", json_stringn("1\0", 2));
	assert_int_equal(JSON_READ(j, order_fields, &o, NULL), ERR_BAD_FIELD);
}

static void call_text(void *arg)
{
	free(json_text(arg));
}

static void call_must(void *arg)
{
	json_must(arg);
}

static void our_own_bugs_abort(void **state)
{
	(void)state;
	assert_true(unit_aborts(call_text, NULL));
	assert_true(unit_aborts(call_must, NULL));
	_cleanup_json_ json_t *j = json_must(json_pack("{s:i}", "a", 1));
	assert_false(unit_aborts(call_text, j));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_any_value_and_keeps_it),
		cmocka_unit_test(refuses_what_is_not_strict),
		cmocka_unit_test(depth_is_bounded_before_parsing),
		cmocka_unit_test(reads_every_kind),
		cmocka_unit_test(absent_fields_keep_their_defaults),
		cmocka_unit_test(refuses_and_names_the_field),
		cmocka_unit_test(embedded_nul_is_refused),
		cmocka_unit_test(our_own_bugs_abort),
	};
	return RUN_TESTS(tests);
}
