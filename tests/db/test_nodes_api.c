/* The routes of nodes through the real HTTP boundary: what registers, what may be offered, what we sign about it. */
#include "base/base64.h"
#include "tests/db/pg.h"

#include "handlers/app.h"
#include "handlers/guard.h"
#include "handlers/routes.h"
#include "proof/statements.h"
#include "proof/verdict.h"
#include "tests/unit/http/fixture.h"

#define CHAIN 84532
#define DIGEST "sha256:0000000000000000000000000000000000000000000000000000000000000001"
#define R(m, p, fn, auth_, max) \
	{ .method = HTTP_##m, .pattern = p, .name = #fn, .mode = ROUTE_WORKER, .auth = ROUTE_##auth_, .body_max = max, .rate = "read", \
	  .surface = SURFACE_PROBLEM, .handler = handle_##fn, .summary = "" }
static const struct route routes[] = {
	R(GET, "/v1/nodes", nodes_list, PUBLIC, 0), R(POST, "/v1/nodes", nodes_register, PUBLIC, 16384),
	R(GET, "/v1/nodes/{address}", nodes_get, PUBLIC, 0), R(POST, "/v1/nodes/{address}/heartbeat", nodes_heartbeat, NODE, 4096),
	R(PUT, "/v1/nodes/{address}/offers", nodes_offers, NODE, 262144), R(POST, "/v1/nodes/{address}/drain", nodes_drain, NODE, 4096),
	R(GET, "/v1/nodes/{address}/statements/{digest}", nodes_statement, PUBLIC, 0), R(GET, "/v1/profiles/{hash}", profiles_get, PUBLIC, 0),
};

static struct settings settings = { .base_url = "http://gw.test", .chain_id = CHAIN, .admin_addresses = "", .node_timeout_ms = 60000 };
static struct app app = { .settings = &settings, .jwt_secret = { 1 } };
static struct secret_key node, owner, other;
static struct address node_address, owner_address;
static uint16_t port;

static void *worker_new(void *a)
{
	(void)a;
	return db_new(pg_url, 30000);
}

static void worker_free(void *db)
{
	db_free(db);
}

static int setup(void **state)
{
	const struct http_config c = { .host = "127.0.0.1", .daemons = 1, .workers = 2, .queue_max = 64, .connections_max = 64, .routes = routes,
				       .route_count = sizeof(routes) / sizeof(routes[0]), .app = &app, .before = guard_before,
				       .worker_new = worker_new, .worker_free = worker_free };
	if (pg_setup(state) || secret_key_new(&app.gateway_key) || secret_key_new(&node) || secret_key_new(&owner) || secret_key_new(&other))
		return -1;
	secret_key_address(&app.gateway_key, &app.gateway);
	secret_key_address(&node, &node_address);
	secret_key_address(&owner, &owner_address);
	assert_ok(db_script(pg,
		"INSERT INTO account (address, handle) VALUES (decode(repeat('aa', 20), 'hex'), 'alice');"
		"INSERT INTO model (author, name) SELECT id, 'adder' FROM account WHERE handle = 'alice';"
		"INSERT INTO model_version (model, number, surface, royalty_input, royalty_output, max_output_units, digest, manifest, published_at)"
		" SELECT id, 1, 'tensor', 1, 0, 0, decode(lpad('1', 64, '0'), 'hex'), 'm', now() FROM model"));
	if (http_start(&c, &app.http))
		return -1;
	port = http_port(app.http);
	return 0;
}

static int teardown(void **state)
{
	http_stop(app.http);
	return pg_teardown(state);
}

static char *call(const char *method, const char *path, const char *more, const char *body)
{
	_cleanup_free_ char *request = xasprintf("%s %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s", method, path, more,
						 strlen(body), body);
	return ask(port, request);
}

/* ---- registering ---- */

struct attempt {
	const struct secret_key *node_key, *owner_key;
	const char *url;
	int64_t age_ms;
	uint64_t chain;
	bool other_gateway;
};

static char *register_body(const struct attempt *t)
{
	struct registration r = { .node = node_address, .operator_ = owner_address, .gateway = app.gateway };
	uint64_t chain = t->chain ? t->chain : CHAIN;
	struct signature sig, operator_;
	snprintf(r.url, sizeof(r.url), "%s", t->url ? t->url : "https://node.example:1");
	r.issued_at = (uint64_t)(clock_wall_ms() - t->age_ms);
	r.gateway.b[0] ^= t->other_gateway;
	doc_sign(&REGISTRATION_TYPE, &r, chain, t->node_key ? t->node_key : &node, &sig);
	doc_sign(&REGISTRATION_TYPE, &r, chain, t->owner_key ? t->owner_key : &owner, &operator_);
	_cleanup_free_ char *text = doc_write(&REGISTRATION_TYPE, &r, chain, &sig);
	_cleanup_json_ json_t *j = json_must(json_pack("{s:s,s:s}", "registration", text, "operator_signature", signature_format(&operator_).s));
	return json_text(j);
}

static void expect_register(int status, const struct attempt *t)
{
	_cleanup_free_ char *body = register_body(t), *answer = call("POST", "/v1/nodes", "", body);
	assert_status(answer, status);
}

static void test_register(void **state)
{
	(void)state;
	expect_register(401, &(struct attempt){ .node_key = &other });
	expect_register(401, &(struct attempt){ .owner_key = &other });
	expect_register(401, &(struct attempt){ .owner_key = &node });
	expect_register(400, &(struct attempt){ .chain = 1 });
	expect_register(400, &(struct attempt){ .other_gateway = true });
	expect_register(400, &(struct attempt){ .age_ms = 660000 });
	expect_register(400, &(struct attempt){ .age_ms = -660000 });
	static const char *const urls[] = { "http://127.0.0.1:1", "http://10.0.0.1", "http://[::1]:1", "http://169.254.169.254/", "ftp://x.example",
					    "https://u:p@x.example", "https://x.example/?a", "https://x.example/#a", "" };
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
		expect_register(400, &(struct attempt){ .url = urls[i] });
	_cleanup_free_ char *junk = call("POST", "/v1/nodes", "", "{\"registration\":\"{}\",\"operator_signature\":\"0x\"}");
	assert_status(junk, 400);
	_cleanup_free_ char *none = call("GET", "/v1/nodes", "", "");
	assert_contains(none, "\"data\":[]");

	_cleanup_free_ char *body = register_body(&(struct attempt){ .age_ms = 1000 });
	_cleanup_free_ char *made = call("POST", "/v1/nodes", "", body), *again = call("POST", "/v1/nodes", "", body);
	assert_status(made, 201);
	assert_status(again, 201); /* the very same */
	assert_contains(made, "\"alive\":true");
	assert_contains(made, address_format(&owner_address).s);
	expect_register(409, &(struct attempt){ .age_ms = 5000 }); /* older */
	settings.allow_private_nodes = true;
	expect_register(201, &(struct attempt){ .url = "http://127.0.0.1:1" });
	settings.allow_private_nodes = false;
}

/* ---- what a node says ---- */

static char *signed_call(const struct secret_key *key, const char *method, const char *what, const char *body)
{
	struct node_request r = { .gateway = app.gateway, .issued_at = (uint64_t)clock_wall_ms() };
	struct signature sig;
	char header[8192];
	_cleanup_free_ char *path = xasprintf("/v1/nodes/%s/%s", address_format(&node_address).s, what);
	secret_key_address(key, &r.node);
	snprintf(r.method, sizeof(r.method), "%s", method);
	snprintf(r.path, sizeof(r.path), "%s", path);
	sha256_of(body, strlen(body), &r.body_hash);
	random_bytes(r.nonce.b, sizeof(r.nonce.b));
	doc_sign(&NODE_REQUEST_TYPE, &r, CHAIN, key, &sig);
	_cleanup_free_ char *text = doc_write(&NODE_REQUEST_TYPE, &r, CHAIN, &sig);
	base64url_encode(text, strlen(text), header);
	_cleanup_free_ char *more = xasprintf("Opgate-Node: %s\r\n", header);
	return call(method, path, more, body);
}

static void expect_offers(int status, const char *fmt, const char *item)
{
	_cleanup_free_ char *body = xasprintf("{\"offers\":[%s%s]}", fmt, item);
	_cleanup_free_ char *answer = signed_call(&node, "PUT", "offers", body);
	assert_status(answer, status);
	if (status == 400)
		assert_contains(answer, "offers[");
}

#define OFFER(digest, ask, capacity, profile) \
	"{\"digest\":\"" digest "\",\"ask\":" ask ",\"capacity\":" capacity ",\"precision\":\"fp32\",\"profile\":" profile "}"
#define ASK_SUMS "\"input\":\"5\",\"output\":\"0\""
#define ASK "{" ASK_SUMS "}"
#define PROFILE "\"{\\\"a\\\":1}\""

static void test_offers(void **state)
{
	(void)state;
	_cleanup_free_ char *unsigned_ = call("PUT", "/v1/nodes/0x00000000000000000000000000000000000000aa/offers", "", "{}");
	assert_status(unsigned_, 401);
	_cleanup_free_ char *stranger = signed_call(&other, "PUT", "offers", "{\"offers\":[]}");
	assert_status(stranger, 403);
	expect_offers(400, "", OFFER("sha256:00", ASK, "1", PROFILE));
	expect_offers(400, "", OFFER(DIGEST, "{\"input\":5,\"output\":\"0\"}", "1", PROFILE));
	expect_offers(400, "", OFFER(DIGEST, "{\"input\":\"-5\",\"output\":\"0\"}", "1", PROFILE));
	expect_offers(400, "", OFFER(DIGEST, ASK, "0", PROFILE));
	expect_offers(400, "", OFFER(DIGEST, ASK, "1", "\"[]\""));
	expect_offers(400, "", OFFER(DIGEST, ASK, "1", "\"no\""));
	expect_offers(400, OFFER(DIGEST, ASK, "1", PROFILE) ",", OFFER(DIGEST, ASK, "1", PROFILE));
	expect_offers(400, OFFER(DIGEST, ASK, "1", PROFILE) ",",
		      OFFER("sha256:0000000000000000000000000000000000000000000000000000000000000009", ASK, "1", PROFILE));
	_cleanup_free_ char *path = xasprintf("/v1/nodes/%s", address_format(&node_address).s);
	_cleanup_free_ char *before = call("GET", path, "", "");
	assert_contains(before, "\"offers\":[]"); /* nothing of the refused sets stayed */
	expect_offers(200, "", OFFER(DIGEST, ASK, "3", PROFILE));
	_cleanup_free_ char *after = call("GET", path, "", "");
	assert_contains(after, "\"model\":\"alice/adder\",\"version\":1,\"digest\":\"" DIGEST "\",\"surface\":\"tensor\",\"ask\":{\"currency\":\"OPG\"," ASK_SUMS "},\"capacity\":3");
	assert_contains(after, "\"state\":\"ready\"");
	struct hash profile;
	sha256_of("{\"a\":1}", 7, &profile);
	_cleanup_free_ char *where = xasprintf("/v1/profiles/%s", hash_format(&profile).s), *document = call("GET", where, "", "");
	assert_status(document, 200);
	assert_string_equal(body_of(document), "{\"a\":1}");
}

static void test_drain(void **state)
{
	(void)state;
	_cleanup_free_ char *drained = signed_call(&node, "POST", "drain", "{}"), *beat = signed_call(&node, "POST", "heartbeat", "{}");
	assert_contains(drained, "\"state\":\"draining\"");
	assert_contains(drained, "\"alive\":false");
	assert_contains(beat, "\"state\":\"active\"");
	_cleanup_free_ char *listed = call("GET", "/v1/nodes?limit=1", "", "");
	assert_contains(listed, "\"has_more\":false");
	assert_contains(listed, address_format(&node_address).s);
}

/* What we sign about a node makes a receipt of its own checkable, and nobody else's. */
static void test_statement(void **state)
{
	struct receipt r = { .attempt = 1, .gateway = app.gateway, .node = node_address, .status = 200, .policy = "signed" };
	struct signature sig;
	struct verdict_report report;
	(void)state;
	expect_offers(200, "", ""); /* withdrawn: it stays checkable */
	_cleanup_free_ char *path = xasprintf("/v1/nodes/%s/statements/" DIGEST, address_format(&node_address).s), *answer = call("GET", path, "", "");
	assert_status(answer, 200);
	assert_int_equal(hash_parse(DIGEST, &r.model_digest), ERR_OK);
	sha256_of("{\"a\":1}", 7, &r.profile_hash);
	r.started_at = r.finished_at = (uint64_t)clock_wall_ms();
	doc_sign(&RECEIPT_TYPE, &r, CHAIN, &node, &sig);
	_cleanup_free_ char *text = doc_write(&RECEIPT_TYPE, &r, CHAIN, &sig);
	const struct verdict_input in = { .receipt_text = text, .receipt_len = strlen(text), .chain_id = CHAIN, .gateway = &app.gateway,
					  .statement_text = body_of(answer), .statement_len = strlen(body_of(answer)), .now_ms = clock_wall_ms(),
					  .request_hash = &r.request_hash, .response_hash = &r.response_hash, .model_digest = &r.model_digest };
	verdict_check(&in, &report);
	for (size_t i = 0; i < report.count; i++)
		if (report.checks[i].result != VERDICT_PASSED)
			fail_msg("%s: %s", report.checks[i].name, report.checks[i].detail);
	_cleanup_free_ char *unknown = xasprintf("/v1/nodes/%s/statements/" DIGEST, address_format(&owner_address).s), *no = call("GET", unknown, "", "");
	assert_status(no, 404);
	_cleanup_free_ char *bad = xasprintf("/v1/nodes/%s/statements/x", address_format(&node_address).s), *malformed = call("GET", bad, "", "");
	assert_status(malformed, 404);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_register), cmocka_unit_test(test_offers), cmocka_unit_test(test_drain),
					    cmocka_unit_test(test_statement) };
	crypto_init();
	return cmocka_run_group_tests(tests, setup, teardown);
}
