/* The parts of the agent that are values in, values out: tickets, bodies, events, units, manifests, commands. */
#include "base/base64.h"
#include "node/agent.h"
#include "tests/unit/unit.h"

/* ---- tickets ---- */

static struct ticket seen(uint8_t job, uint32_t attempt, uint64_t expires)
{
	struct ticket t = { .attempt = attempt, .expires_at = expires };
	t.job_id.b[0] = job;
	return t;
}

static void test_ticket_table(void **state)
{
	struct ticket_table *t = ticket_table_new(300);
	struct ticket a = seen(1, 1, 1000), b = seen(1, 2, 1000), c = seen(2, 1, 1000);
	(void)state;

	assert_int_equal(ticket_table_use(t, &a, 0), ERR_OK);
	assert_int_equal(ticket_table_use(t, &a, 0), ERR_CONFLICT);
	assert_int_equal(ticket_table_use(t, &b, 0), ERR_OK); /* another attempt */
	assert_int_equal(ticket_table_use(t, &c, 0), ERR_OK);
	for (uint32_t i = 0; i < 297; i++) {
		struct ticket x = seen(3, i, 2000);
		assert_int_equal(ticket_table_use(t, &x, 0), ERR_OK);
	}
	struct ticket d = seen(4, 1, 5000);
	assert_int_equal(ticket_table_use(t, &d, 0), ERR_OVERLOADED); /* full of the unexpired: nothing is forgotten */
	assert_int_equal(ticket_table_use(t, &a, 0), ERR_CONFLICT);
	assert_int_equal(ticket_table_use(t, &d, 1001), ERR_OK); /* three have expired */
	assert_int_equal(ticket_table_use(t, &d, 1001), ERR_CONFLICT);
	ticket_table_free(t);
}

static void test_ticket_table_grows(void **state)
{
	struct ticket_table *t = ticket_table_new((size_t)1 << 20);
	(void)state;

	for (int round = 0; round < 2; round++)
		for (uint32_t i = 0; i < 20000; i++) {
			struct ticket x = seen((uint8_t)i, i, 1000);
			assert_int_equal(ticket_table_use(t, &x, 0), round ? ERR_CONFLICT : ERR_OK);
		}
	ticket_table_free(t);
}

static void test_ticket_bytes(void **state)
{
	static struct agent a;
	struct secret_key gateway;
	struct signature sig;
	struct ticket got, t = { .attempt = 3, .policy = "signed" };
	struct json_why why;
	const struct ticket_request asked = { .method = "POST", .path = "/v1/jobs", .content_type = "x/y", .inference_header_length = "5",
					      .body = "body", .body_len = 4 };
	(void)state;

	assert_int_equal(secret_key_new(&gateway), ERR_OK);
	assert_int_equal(secret_key_new(&a.key), ERR_OK);
	secret_key_address(&a.key, &a.address);
	secret_key_address(&gateway, &a.settings.gateway_address);
	a.settings.chain_id = 5;
	t.gateway = a.settings.gateway_address;
	t.node = a.address;
	t.expires_at = 1000;
	request_hash("POST", "/v1/jobs", "x/y", "5", "body", 4, &t.request_hash);
	doc_sign(&TICKET_TYPE, &t, 5, &gateway, &sig);
	_cleanup_free_ char *text = doc_write(&TICKET_TYPE, &t, 5, &sig);
	size_t len = strlen(text);
	char header[8192];
	base64url_encode(text, len, header);
	assert_int_equal(ticket_check(&a, header, &asked, 1000, &got, &why), ERR_OK);
	assert_memory_equal(&got.request_hash, &t.request_hash, 32);
	assert_int_equal(ticket_check(&a, header, &asked, 1001, &got, &why), ERR_BAD_SIGNATURE);
	assert_int_equal(ticket_check(&a, NULL, &asked, 1000, &got, &why), ERR_BAD_SIGNATURE);
	struct ticket_request other = asked;
	other.inference_header_length = NULL;
	assert_int_equal(ticket_check(&a, header, &other, 1000, &got, &why), ERR_BAD_SIGNATURE);
	for (size_t i = 0; i < len; i++) { /* any byte */
		text[i] ^= 1;
		base64url_encode(text, len, header);
		text[i] ^= 1;
		assert_int_equal(ticket_check(&a, header, &asked, 1000, &got, &why), ERR_BAD_SIGNATURE);
	}
}

/* ---- chat bodies ---- */

static char *rewritten(const char *body, struct chat_request *ret)
{
	struct json_why why;
	char *out = NULL;
	assert_int_equal(chat_rewrite(body, strlen(body), "m", ret, &out, &why), ERR_OK);
	return out;
}

static void test_chat_rewrite(void **state)
{
	struct chat_request chat;
	(void)state;
	_cleanup_free_ char *plain = rewritten("{\"model\":\"a/b\",\"opgate\":{\"p\":1},\"seed\":9007199254740993,\"temperature\":0.7}", &chat);
	assert_string_equal(plain, "{\"model\":\"m\",\"seed\":9007199254740993,\"temperature\":0.69999999999999996}");
	assert_false(chat.stream);
	_cleanup_free_ char *stream = rewritten("{\"stream\":true}", &chat);
	assert_string_equal(stream, "{\"stream\":true,\"stream_options\":{\"include_usage\":true},\"model\":\"m\"}");
	assert_true(chat.stream && !chat.wants_usage);
	_cleanup_free_ char *wants = rewritten("{\"stream\":true,\"stream_options\":{\"include_usage\":true,\"x\":1}}", &chat);
	assert_non_null(strstr(wants, "\"x\":1"));
	assert_true(chat.stream && chat.wants_usage);
	_cleanup_free_ char *no = rewritten("{\"stream\":true,\"stream_options\":{\"include_usage\":false}}", &chat);
	assert_non_null(strstr(no, "\"include_usage\":true"));
	assert_false(chat.wants_usage);
	_cleanup_free_ char *null = rewritten("{\"stream\":null,\"stream_options\":null}", &chat);
	assert_false(chat.stream);
	assert_null(strstr(null, "include_usage"));
}

static void test_chat_refused(void **state)
{
	static const char *const bad[] = { "", "[]", "{", "{\"stream\":1}", "{\"stream\":true,\"stream_options\":1}", "{\"a\":1,\"a\":2}", "{}x",
					   "{\"stream\":true,\"stream_options\":{\"include_usage\":2}}" };
	struct chat_request chat;
	struct json_why why;
	char *out = NULL;
	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_not_equal(chat_rewrite(bad[i], strlen(bad[i]), "m", &chat, &out, &why), ERR_OK);
	assert_null(out);
}

static bool usage(const char *text, struct units *ret)
{
	struct json_why why;
	_cleanup_json_ json_t *j = NULL;
	assert_int_equal(json_parse(text, strlen(text), &j, &why), ERR_OK);
	return units_from_usage(j, ret);
}

static void test_units(void **state)
{
	struct units u = { 0 };
	(void)state;
	assert_true(usage("{\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":6,\"total_tokens\":11}}", &u));
	assert_int_equal(u.input, 5);
	assert_int_equal(u.output, 6);
	assert_true(usage("{\"usage\":{\"prompt_tokens\":5}}", &u)); /* completions without output */
	assert_int_equal(u.output, 0);
	assert_false(usage("{\"usage\":null}", &u));
	assert_false(usage("{}", &u));
	assert_false(usage("{\"usage\":{\"prompt_tokens\":-1}}", &u));
	assert_false(usage("{\"usage\":{\"prompt_tokens\":1.5}}", &u));
	assert_false(usage("{\"usage\":{\"prompt_tokens\":\"1\"}}", &u));
	assert_false(usage("{\"usage\":{\"completion_tokens\":9223372036854775807}}", &u));
}

/* ---- events ---- */

static enum err collect(void *arg, const char *p, size_t len)
{
	return buf_append(arg, p, len);
}

struct rewrite_result {
	enum err e;
	bool done;
	struct units counted;
	uint64_t events;
	struct hash hash;
	struct buf out;
};

static void rewrite(const char *text, size_t step, bool drop, struct rewrite_result *ret)
{
	*ret = (struct rewrite_result){ .out = BUF_INIT(1 << 20) };
	const struct sse_out out = { .write = collect, .arg = &ret->out };
	struct sse_rewrite *r = sse_rewrite_new(drop, &out);
	for (size_t at = 0, len = strlen(text); at < len && !ret->e; at += step)
		ret->e = sse_rewrite_feed(r, text + at, len - at < step ? len - at : step);
	ret->done = sse_rewrite_done(r);
	ret->counted = sse_rewrite_units(r);
	ret->events = sse_rewrite_events(r);
	sse_rewrite_hash(r, &ret->hash);
	sse_rewrite_free(r);
}

static void test_events(void **state)
{
	static const char text[] = ": c\r\n\r\nevent: m\rid: 1\rdata: {\"choices\":\rdata:  [{\"text\":\"x\"}]}\r\r"
				   "data:{\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\n"
				   "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\ndata: [DONE]\n\ndata: {}\n\n";
	static const char first[] = "data: {\"choices\":\ndata:  [{\"text\":\"x\"}]}\n\n", second[] = "data: {\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\n";
	static const char hashed[] = "{\"choices\":\n [{\"text\":\"x\"}]}\n{\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n";
	struct hash want;
	(void)state;
	sha256_of(hashed, strlen(hashed), &want);
	for (size_t step = 1; step <= sizeof(text); step++) {
		struct rewrite_result r;
		rewrite(text, step, true, &r);
		assert_int_equal(r.e, ERR_OK);
		assert_true(r.done);
		assert_int_equal(r.events, 2);
		assert_int_equal(r.counted.input, 1);
		assert_int_equal(r.counted.output, 2);
		assert_int_equal(r.out.len, strlen(first) + strlen(second));
		assert_memory_equal(r.out.data, first, strlen(first));
		assert_memory_equal(r.out.data + strlen(first), second, strlen(second));
		assert_true(hash_equal(&want, &r.hash));
		buf_done(&r.out);
		rewrite(text, step, false, &r);
		assert_int_equal(r.events, 3);
		assert_false(hash_equal(&want, &r.hash));
		buf_done(&r.out);
	}
}

/* The event that ends a choice waits for the usage, and goes out with it, or as it came when none follows. */
static void test_events_usage(void **state)
{
	static const char end[] = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null,\"x\":0.5}\n\n";
	static const char usage[] = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
	static const char both[] = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2},\"x\":0.5}\n\n";
	static const char done[] = "data: [DONE]\n\n", more[] = "data: {\"choices\":[{\"text\":\"x\"}]}\n\n";
	_cleanup_free_ char *with = xasprintf("%s%s%s", end, usage, done), *without = xasprintf("%s%s", end, done), *between = xasprintf("%s%s%s", end, more, done);
	_cleanup_free_ char *in_order = xasprintf("%s%s", end, more), *asked = xasprintf("%s%s", end, usage);
	const struct { const char *in, *out; bool drop; } cases[] = {
		{ with, both, true }, { without, end, true }, { between, in_order, true }, { with, asked, false }, { end, "", true },
	};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct rewrite_result r;
		struct hash want;
		struct sha256 *h = sha256_new();
		rewrite(cases[i].in, 5, cases[i].drop, &r);
		assert_int_equal(r.e, ERR_OK);
		assert_int_equal(r.out.len, strlen(cases[i].out));
		if (r.out.len > 0)
			assert_string_equal(r.out.data, cases[i].out);
		for (const char *p = cases[i].out; *p; p = strchr(p, '\n') + 2) { /* the hash is over what went out */
			sha256_update(h, p + 6, (size_t)(strchr(p, '\n') - p - 5));
		}
		sha256_final(h, &want);
		assert_true(hash_equal(&want, &r.hash));
		sha256_free(h);
		buf_done(&r.out);
	}
}

static void assert_named(const char *answer, const char *want)
{
	_cleanup_json_ json_t *j = json_loads(answer, 0, NULL);
	_cleanup_free_ char *text = completion_rewrite(j);
	if (want)
		assert_string_equal(text, want);
	else
		assert_null(text);
}

static void test_completion(void **state)
{
	(void)state;
	assert_named("{\"choices\":[{\"text\":\"a\\n\"},{\"text\":\"b\"}],\"x\":1}", "{\"choices\":[{\"text\":\"a\\n\"},{\"text\":\"b\"}],\"x\":1,\"completion\":\"a\\n\"}");
	assert_named("{\"choices\":[{\"text\":\"a\"}],\"completion\":\"c\"}", NULL);
	assert_named("{\"choices\":[]}", NULL);
	assert_named("{}", NULL);
}

static void test_events_refused(void **state)
{
	static const char *const bad[] = { "data: x\n\n", "data: []\n\n", "data: {\"a\":1,\"a\":1}\n\n", "data: {}}\n\n", "data:\n\n", "data: {\"a\":\"\xff\"}\n\n" };
	struct rewrite_result r;
	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		rewrite(bad[i], 1, true, &r);
		assert_int_equal(r.e, ERR_BAD_JSON);
		assert_int_equal(r.out.len, 0);
		assert_int_equal(r.events, 0);
		buf_done(&r.out);
	}
	rewrite("data: {\"choices\":[{\"text\":\"x\"}]}\n\ndata: {\"error\":{}}\n\n", 7, true, &r); /* no usage, no end */
	assert_int_equal(r.e, ERR_OK);
	assert_false(r.done);
	assert_int_equal(r.counted.output, 1);
	assert_int_equal(r.events, 2);
	buf_done(&r.out);
}

/* ---- versions ---- */

static void test_manifest(void **state)
{
	static const char good[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 a\n"
				   "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 b/c\n";
	static const char *const bad[] = { "", "x\n", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 ../a\n",
					   "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 /a\n",
					   "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 a" };
	_cleanup_manifest_ struct manifest m = MANIFEST_INIT;
	struct hash digest;
	struct json_why why;
	(void)state;
	sha256_of(good, strlen(good), &digest);
	assert_int_equal(version_manifest(good, strlen(good) - 1, &digest, &m, &why), ERR_UNPROCESSABLE);
	digest.b[7] ^= 1; /* well-formed, but not what was asked for */
	assert_int_equal(version_manifest(good, strlen(good), &digest, &m, &why), ERR_UNPROCESSABLE);
	digest.b[7] ^= 1;
	assert_int_equal(version_manifest(good, strlen(good), &digest, &m, &why), ERR_OK);
	assert_int_equal(m.count, 2);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct manifest none = MANIFEST_INIT;
		sha256_of(bad[i], strlen(bad[i]), &digest); /* the digest fits, the form does not */
		assert_int_equal(version_manifest(bad[i], strlen(bad[i]), &digest, &none, &why), ERR_UNPROCESSABLE);
	}
}

static void test_url_path(void **state)
{
	struct hash digest = { { 0xab } };
	(void)state;
	_cleanup_free_ char *path = file_url_path("alice/m", &digest, "a b/c%2f#?.bin");
	assert_string_equal(path, "/alice/m/resolve/sha256:ab00000000000000000000000000000000000000000000000000000000000000/a%20b/c%252f%23%3F.bin");
}

static void test_serve_matches(void **state)
{
	struct hash digest = { { 0xab } }, other = { { 0xac } };
	static const char list[] = "bob/x, alice/m,sha256:ac00000000000000000000000000000000000000000000000000000000000000";
	(void)state;
	assert_true(serve_matches("all", "a/b", &digest));
	assert_true(serve_matches(list, "alice/m", &digest));
	assert_false(serve_matches(list, "alice/n", &digest));
	assert_true(serve_matches(list, "alice/n", &other));
	assert_false(serve_matches("", "", &digest));
	static const char pinned[] = "alice/m@sha256:ac00000000000000000000000000000000000000000000000000000000000000";
	assert_false(serve_matches(pinned, "alice/m", &digest));
	assert_true(serve_matches(pinned, "alice/m", &other));
	assert_false(serve_matches(pinned, "alice/n", &other));
}

static void test_argv(void **state)
{
	(void)state;
	char **argv = argv_make("  node\tx.mjs --model={dir}/{dir} --port {port}:{port} {dirt} {} ", "/d", 65535);
	static const char *const want[] = { "node", "x.mjs", "--model=/d//d", "--port", "65535:65535", "{dirt}", "{}" };
	for (size_t i = 0; i < COUNT_OF(want); i++)
		assert_string_equal(argv[i], want[i]);
	assert_null(argv[COUNT_OF(want)]);
	argv_free(argv);
	assert_null(argv_make("  ", "/d", 1));
	argv = argv_make("{dir}", "/a b {port}", 1); /* what is filled in is not split and not filled in again */
	assert_string_equal(argv[0], "/a b {port}");
	assert_null(argv[1]);
	argv_free(argv);
}

static void test_profile(void **state)
{
	struct node_settings s = { .tensor_backend_command = " /opt/x/node  ../y/onnx.mjs --model {dir}", .tensor_backend_url = "",
				   .tensor_backend_profile = "", .chat_backend_profile = "{\"a\":1}", .chat_backend_command = "" };
	(void)state;
	_cleanup_free_ char *made = profile_make(&s, NODE_TENSOR), *given = profile_make(&s, NODE_CHAT);
	assert_non_null(strstr(made, "\"node onnx.mjs --model {dir}\""));
	assert_string_equal(given, "{\"a\":1}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ticket_table), cmocka_unit_test(test_ticket_table_grows), cmocka_unit_test(test_ticket_bytes),
		cmocka_unit_test(test_chat_rewrite), cmocka_unit_test(test_chat_refused), cmocka_unit_test(test_units), cmocka_unit_test(test_events),
		cmocka_unit_test(test_events_refused), cmocka_unit_test(test_events_usage), cmocka_unit_test(test_completion), cmocka_unit_test(test_manifest), cmocka_unit_test(test_url_path),
		cmocka_unit_test(test_serve_matches), cmocka_unit_test(test_argv), cmocka_unit_test(test_profile),
	};
	crypto_init();
	return RUN_TESTS(tests);
}
