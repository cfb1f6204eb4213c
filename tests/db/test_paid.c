/* Paid work through the gateway's real routes, with a node of the test's own that lies in every way a receipt can: whatever it says, the
 * caller is charged for what was delivered and proven, no more, once. */
#include "base/base64.h"
#include "tests/db/pg.h"

#include "auth/apikey.h"
#include "db/ledger.h"
#include "handlers/app.h"
#include "handlers/guard.h"
#include "handlers/routes.h"
#include "handlers/waiters.h"
#include "pay/run.h"
#include "proof/statements.h"
#include "tests/unit/http/fixture.h"

#define CHAIN 84532
#define PROFILE "{\"engine\":\"test\"}"
#define TENSOR_BODY "{\"inputs\":[]}"
#define TENSOR_ANSWER "{\"outputs\":[]}"
#define CHAT_ANSWER "{\"choices\":[{\"message\":{\"content\":\"four\"}}]}"

enum lie { NONE, NO_RECEIPT, OTHER_KEY, OTHER_NODE, OTHER_BYTES, OTHER_REQUEST, OTHER_MODEL, OTHER_JOB, OTHER_ATTEMPT, OTHER_GATEWAY, OTHER_CHAIN,
	   OTHER_PROFILE, OTHER_STATUS, OTHER_POLICY, GARBAGE, INFLATED, LIES };

static struct settings settings = { .base_url = "http://gw.test", .chain_id = CHAIN, .admin_addresses = "", .upload_max_bytes = 1000, .node_timeout_ms = 600000,
				    .platform_fee_bps = 1000, .allow_private_nodes = true };
static struct app app;
static struct http_server *node_http;
static struct secret_key node_key = { { [31] = 7 } }, operator_key = { { [31] = 8 } }, stranger_key = { { [31] = 9 } };
static struct address node_address;
static _Atomic enum lie lie;
static _Atomic int asked;
static struct apikey api_key;
static uint16_t port;

/* ---- the node ---- */

static void receipt_bend(struct receipt *r)
{
	switch (atomic_load(&lie)) {
	case OTHER_NODE: secret_key_address(&stranger_key, &r->node); break;
	case OTHER_BYTES: r->response_hash.b[0] ^= 1; break;
	case OTHER_REQUEST: r->request_hash.b[0] ^= 1; break;
	case OTHER_MODEL: r->model_digest.b[0] ^= 1; break;
	case OTHER_JOB: r->job_id.b[15] ^= 1; break;
	case OTHER_ATTEMPT: r->attempt++; break;
	case OTHER_GATEWAY: r->gateway.b[0] ^= 1; break;
	case OTHER_PROFILE: r->profile_hash.b[0] ^= 1; break;
	case OTHER_STATUS: r->status = 201; break;
	case OTHER_POLICY: snprintf(r->policy, sizeof(r->policy), "none"); break;
	case INFLATED: r->input_units = r->output_units = 1000000000; break;
	default: break;
	}
}

static char *receipt_for(const struct request *req, const char *answer)
{
	const char *header = request_header(req, "Opgate-Ticket");
	uint8_t text[DOC_JSON_MAX];
	size_t len = 0;
	struct ticket t;
	struct signature sig;
	uint64_t chain = 0, now = (uint64_t)clock_wall_ms();
	if (!header || base64url_decode(header, strlen(header), text, sizeof(text), &len) || doc_read(&TICKET_TYPE, (char *)text, len, &t, &chain, &sig, NULL))
		return NULL;
	struct receipt r = { .job_id = t.job_id, .attempt = t.attempt, .gateway = t.gateway, .node = node_address, .model_digest = t.model_digest,
			     .request_hash = t.request_hash, .status = 200, .input_units = 1, .output_units = 3, .started_at = now, .finished_at = now };
	memcpy(r.policy, t.policy, sizeof(r.policy));
	sha256_of(answer, strlen(answer), &r.response_hash);
	sha256_of(PROFILE, strlen(PROFILE), &r.profile_hash);
	receipt_bend(&r);
	chain += lie == OTHER_CHAIN;
	doc_sign(&RECEIPT_TYPE, &r, chain, lie == OTHER_KEY || lie == OTHER_NODE ? &stranger_key : &node_key, &sig);
	return doc_write(&RECEIPT_TYPE, &r, chain, &sig);
}

static enum err node_answer(struct request *req)
{
	const char *answer = strstr(req->path, "chat") ? CHAT_ANSWER : TENSOR_ANSWER;
	_cleanup_free_ char *text = receipt_for(req, answer);
	atomic_fetch_add(&asked, 1);
	if (!text)
		return ERR_BAD_SIGNATURE;
	char *header = arena_alloc(req->arena, base64url_encoded_len(strlen(text)) + 1);
	base64url_encode(text, lie == GARBAGE ? strlen(text) - 1 : strlen(text), header);
	if (lie != NO_RECEIPT)
		reply_header(req, "Opgate-Receipt", header);
	reply_bytes(req, 200, "application/json", answer, strlen(answer));
	return ERR_OK;
}

#define NODE_ROUTE(p) { .method = HTTP_POST, .pattern = p, .name = p, .mode = ROUTE_WORKER, .auth = ROUTE_PUBLIC, .body_max = 1 << 20, .handler = node_answer }
static const struct route node_routes[] = { NODE_ROUTE("/v2/models/{model*}/infer"), NODE_ROUTE("/v1/chat/completions"), NODE_ROUTE("/v1/jobs") };

/* ---- the gateway ---- */

static void *worker_new(void *a)
{
	(void)a;
	return db_new(pg_url, 30000);
}

static void worker_free(void *db)
{
	db_free(db);
}

static void job_ended(void *a, const struct uuid *job)
{
	waiters_notify(a, job);
}

static void log_no_job(const char *event, const struct uuid *job, const char *detail)
{
	(void)event, (void)job, (void)detail;
}

static int gateway_start(void)
{
	const struct net_config hostile = { .reactors = 1, .hostile = true, .allow_private = true, .connections_per_host_max = 16 };
	struct http_config node = { .host = "127.0.0.1", .daemons = 1, .workers = 2, .queue_max = 64, .connections_max = 64, .routes = node_routes, .route_count = 3 };
	struct http_config gateway = { .host = "127.0.0.1", .daemons = 1, .workers = 4, .queue_max = 64, .connections_max = 64, .header_timeout_ms = 20000,
				       .request_timeout_ms = 20000, .handler_timeout_ms = 20000, .routes = ROUTE_TABLE, .route_count = ROUTE_TABLE_COUNT, .app = &app,
				       .before = guard_before, .worker_new = worker_new, .worker_free = worker_free };
	app = (struct app){ .settings = &settings, .gateway_key = { { [31] = 5 } }, .jwt_secret = { 1 } };
	secret_key_address(&app.gateway_key, &app.gateway);
	if (net_start(&hostile, &app.hostile) || http_start(&node, &node_http))
		return -1;
	app.pay = (struct pay){ .lane = lane_start(pg_url, 30000), .nodes = app.hostile, .health = health_new(), .runs = runs_new(), .gateway_key = app.gateway_key,
				.gateway = app.gateway, .chain_id = CHAIN, .instance = uuid_new(), .fee_bps = 1000, .job_timeout_ms = 20000, .stall_timeout_ms = 20000,
				.node_timeout_ms = 600000, .instance_timeout_ms = 600000, .attempts_max = 3, .job_ended = job_ended, .job_ended_arg = &app, .log_job = log_no_job };
	app.waiters = waiters_new();
	if (http_start(&gateway, &app.http))
		return -1;
	app.pay.http = app.http;
	port = http_port(app.http);
	return 0;
}

/* An author with a tensor and a chat model, a consumer (the first account) with 10000 and a key. */
static void world_make(void)
{
	struct hash secret;
	api_key = apikey_new();
	apikey_hash(api_key.s, &secret);
	_cleanup_free_ char *sql = xasprintf(
		"INSERT INTO account (address, handle) VALUES (decode(repeat('c0', 20), 'hex'), 'cleo'), (decode(repeat('aa', 20), 'hex'), 'alice');"
		"WITH t AS (INSERT INTO ledger_transfer (key, kind) VALUES ('start', 'deposit') RETURNING id)"
		" INSERT INTO ledger_entry (transfer, line, account, amount) SELECT t.id, v.* FROM t, (VALUES (1, 8, -10000), (2, 17, 10000)) v(line, account, amount);"
		"INSERT INTO api_key (account, name, prefix, secret_hash, scopes) VALUES (1, 'k', 'ogk_', decode('%s', 'hex'), '{inference,read}');"
		"INSERT INTO model (author, name) VALUES (2, 'adder'), (2, 'parrot');"
		"INSERT INTO model_version (model, number, surface, royalty_input, royalty_output, max_output_units, digest, manifest, published_at) VALUES"
		" (1, 1, 'tensor', 7, 0, 0, decode(repeat('01', 32), 'hex'), 'm', now()), (2, 1, 'chat', 1, 2, 50, decode(repeat('02', 32), 'hex'), 'm', now())",
		hash_format(&secret).s + 2);
	assert_ok(db_script(pg, sql));
}

static int setup(void **state)
{
	if (pg_setup(state) || gateway_start())
		return -1;
	secret_key_address(&node_key, &node_address);
	world_make();
	return 0;
}

static int teardown(void **state)
{
	http_drain(app.http, deadline_in(PATIENCE_MS));
	net_stop(app.hostile);
	http_stop(app.http);
	http_stop(node_http);
	lane_stop(app.pay.lane);
	health_free(app.pay.health);
	runs_free(app.pay.runs);
	waiters_free(app.waiters);
	return pg_teardown(state);
}

/* ---- asking ---- */

static char *post(const char *path, const char *more, const char *body)
{
	_cleanup_free_ char *request = xasprintf("POST %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
						 "%sContent-Length: %zu\r\n\r\n%s", path, api_key.s, more, strlen(body), body);
	return ask(port, request);
}

#define infer(more) post("/v2/models/alice/adder/infer", more, TENSOR_BODY)
#define chat(more, body) post("/v1/chat/completions", more, body)

/* The newest job: how it ended and what it cost. */
static void assert_job(const char *expected)
{
	assert_value("SELECT concat_ws(' ', state, outcome, charged, ask, royalty, fee) AS v FROM job ORDER BY id DESC LIMIT 1", expected);
}

static void assert_left(uint64_t amount)
{
	struct balance b;
	struct books books;
	assert_ok(db_balance(pg, 1, &b));
	assert_string_equal(amount_format(b.available).s, amount_format(amount_from_u64(amount)).s);
	assert_true(amount_is_zero(b.held));
	assert_ok(db_books(pg, &books));
	assert_string_equal(books.ledger_sum, "0");
	assert_int_equal(books.wrong_balances + books.wrong_holds + books.wrong_captures, 0);
}

/* ---- registration ---- */

struct bent {
	const struct secret_key *node, *operator_; /* who signs */
	const char *url;
	uint64_t chain;
	int64_t age_ms;
	bool other_gateway;
};

static int register_node(const struct bent *b)
{
	struct registration r = { .node = node_address, .gateway = app.gateway, .issued_at = (uint64_t)(clock_wall_ms() - b->age_ms) };
	struct signature by_node, by_operator;
	secret_key_address(&operator_key, &r.operator_);
	r.gateway.b[0] ^= b->other_gateway;
	snprintf(r.url, sizeof(r.url), "%s", b->url);
	doc_sign(&REGISTRATION_TYPE, &r, b->chain, b->node, &by_node);
	doc_sign(&REGISTRATION_TYPE, &r, b->chain, b->operator_, &by_operator);
	_cleanup_free_ char *text = doc_write(&REGISTRATION_TYPE, &r, b->chain, &by_node);
	_cleanup_json_ json_t *j = json_pack("{s:s,s:s}", "registration", text, "operator_signature", signature_format(&by_operator).s);
	_cleanup_free_ char *body = json_text(j), *answer = post("/v1/nodes", "", body);
	return status_of(answer);
}

static void test_registration(void **state)
{
	(void)state;
	_cleanup_free_ char *url = xasprintf("http://127.0.0.1:%u", http_port(node_http));
	const struct bent good = { &node_key, &operator_key, url, CHAIN, 0, false };
	struct bent b = good;
	b.node = &stranger_key;
	assert_int_equal(register_node(&b), 401);
	b = good;
	b.operator_ = &node_key; /* a node cannot choose its operator */
	assert_int_equal(register_node(&b), 401);
	b = good;
	b.chain++;
	assert_int_equal(register_node(&b), 400);
	b = good;
	b.other_gateway = true;
	assert_int_equal(register_node(&b), 400);
	b = good;
	b.age_ms = 11 * 60 * 1000;
	assert_int_equal(register_node(&b), 400);
	settings.allow_private_nodes = false;
	assert_int_equal(register_node(&good), 400);
	settings.allow_private_nodes = true;
	assert_value("SELECT count(*) AS v FROM node", "0");
	assert_int_equal(register_node(&good), 201);
	b = good;
	b.age_ms = 1000;
	assert_int_equal(register_node(&b), 409); /* an older one takes nothing back */
	assert_ok(db_script(pg, "INSERT INTO execution_profile VALUES (sha256('" PROFILE "'), '" PROFILE "');"
				"INSERT INTO offer (node, version, ask_input, ask_output, capacity, profile_hash, state)"
				" SELECT n.address, v.id, 11, 3, 4, sha256('" PROFILE "'), 'ready' FROM node n, model_version v"));
}

/* ---- paying ---- */

static void test_delivered(void **state)
{
	(void)state;
	_cleanup_free_ char *a = infer("");
	assert_status(a, 200);
	assert_string_equal(body_of(a), TENSOR_ANSWER);
	assert_contains(a, "Opgate-Receipt: ");
	assert_job("settled delivered 20 11 7 2"); /* the fee is 1.8, rounded up */
	assert_left(9980);
}

/* Whatever is wrong with the receipt: no answer, no charge. */
static void test_lies(void **state)
{
	(void)state;
	for (enum lie l = NO_RECEIPT; l < INFLATED; l++) {
		health_free(app.pay.health); /* five failures would put the node aside */
		app.pay.health = health_new();
		lie = l;
		_cleanup_free_ char *a = infer("");
		if (status_of(a) != 502)
			fail_msg("lie %d: %s", (int)l, a);
		assert_contains(a, "\"bad_receipt\"");
		assert_job(l == NO_RECEIPT ? "failed no_receipt 0 0 0 0" : "failed bad_receipt 0 0 0 0");
		assert_left(9980);
	}
	lie = NONE;
	health_free(app.pay.health);
	app.pay.health = health_new();
}

static void test_units_are_cut(void **state)
{
	(void)state;
	lie = INFLATED;
	_cleanup_free_ char *a = infer("");
	assert_status(a, 200);
	assert_job("settled delivered 20 11 7 2"); /* one call is one unit */
	assert_left(9960);
	/* 60 bytes cannot be more than 60 tokens, and five were allowed: 60 * (11 + 1) + 5 * (3 + 2), and a tenth */
	_cleanup_free_ char *b = chat("", "{\"model\":\"alice/parrot\",\"messages\":[],\"max_tokens\":5       }");
	assert_status(b, 200);
	assert_job("settled delivered 820 675 70 75");
	assert_left(9960 - 820);
	lie = NONE;
}

static void test_one_key_one_charge(void **state)
{
	(void)state;
	int before = asked;
	_cleanup_free_ char *first = infer("Idempotency-Key: a\r\n"), *second = infer("Idempotency-Key: a\r\n");
	assert_status(first, 200);
	assert_status(second, 200);
	assert_contains(second, "Idempotent-Replayed: true");
	assert_string_equal(body_of(first), body_of(second));
	_cleanup_free_ char *other = post("/v2/models/alice/adder/infer", "Idempotency-Key: a\r\n", "{\"inputs\": []}");
	assert_status(other, 422);
	assert_contains(other, "idempotency_key_reused");
	assert_int_equal(asked, before + 1);
	assert_left(9960 - 820 - 20);
}

static void test_refused_before_the_hold(void **state)
{
	(void)state;
	int before = asked;
	_cleanup_free_ char *dear = infer("Opgate-Max-Price: 19\r\n"), *money = chat("", "{\"model\":\"alice/parrot\",\"messages\":[],\"opgate\":{\"max_prise\":\"1\"}}");
	assert_status(dear, 422);
	assert_status(money, 400); /* a misspelt bound is not no bound */
	atomic_store(&app.pay.stopped, true);
	_cleanup_free_ char *stopped = infer("");
	assert_status(stopped, 503);
	assert_contains(stopped, "settlement_stopped");
	atomic_store(&app.pay.stopped, false);
	assert_ok(db_script(pg, "WITH t AS (INSERT INTO ledger_transfer (key, kind) VALUES ('drain', 'capture') RETURNING id)"
				" INSERT INTO ledger_entry (transfer, line, account, amount) SELECT t.id, v.* FROM t, (VALUES (1, 17, -9101), (2, 9, 9101)) v(line, account, amount)"));
	_cleanup_free_ char *poor = infer("");
	assert_status(poor, 402);
	assert_int_equal(asked, before);
	assert_left(19);
}

/* Anybody may offer anything at any ask: what a caller cannot pay is left out, and the others serve him as before. */
static void test_an_absurd_ask_shuts_nobody_out(void **state)
{
	static const char *const asks[] = { "1000000", "170141183460469231731687303715884105727" };

	(void)state;
	assert_ok(db_script(pg, "WITH t AS (INSERT INTO ledger_transfer (key, kind) VALUES ('more', 'deposit') RETURNING id)"
				" INSERT INTO ledger_entry (transfer, line, account, amount) SELECT t.id, v.* FROM t, (VALUES (1, 8, -81), (2, 17, 81)) v(line, account, amount);"
				"INSERT INTO node (address, operator, url, registration, operator_signature, issued_at) SELECT decode(repeat('dd', 20), 'hex'), operator,"
				" 'http://127.0.0.1:1', 'x', 'x', 1 FROM node LIMIT 1;"
				"INSERT INTO offer SELECT decode(repeat('dd', 20), 'hex'), version, ask_input, ask_output, capacity, precision, profile_hash, state FROM offer"));
	for (size_t i = 0; i < 2; i++) {
		_cleanup_free_ char *sql = xasprintf("UPDATE offer SET ask_input = %s WHERE node = decode(repeat('dd', 20), 'hex')", asks[i]);
		assert_ok(db_script(pg, sql));
		_cleanup_free_ char *a = infer(""), *b = post("/v1/jobs?model=alice/adder", "Prefer: wait=20\r\n", TENSOR_BODY);
		assert_status(a, 200);
		assert_status(b, 200);
		assert_job("settled delivered 20 11 7 2");
		assert_left(100 - 40 * (i + 1));
	}
	assert_ok(db_script(pg, "DELETE FROM offer WHERE node = decode(repeat('dd', 20), 'hex')"));
}

/* The registry's word begins with the registration, as a statement's does. */
static void test_verify_before_the_registration(void **state)
{
	struct receipt r = { .attempt = 1, .gateway = app.gateway, .node = node_address, .model_digest = { { 1 } }, .status = 200, .policy = "signed" };
	uint64_t now = (uint64_t)clock_wall_ms();

	(void)state;
	memset(r.model_digest.b, 1, sizeof(r.model_digest.b));
	for (int early = 0; early < 2; early++) {
		struct signature sig;

		r.started_at = r.finished_at = early ? now - 10 * 60 * 1000 : now;
		doc_sign(&RECEIPT_TYPE, &r, CHAIN, &node_key, &sig);
		_cleanup_free_ char *text = doc_write(&RECEIPT_TYPE, &r, CHAIN, &sig);
		_cleanup_json_ json_t *j = json_pack("{s:s}", "receipt", text);
		_cleanup_free_ char *body = json_text(j), *answer = post("/v1/verify", "", body);
		assert_status(answer, 200);
		assert_contains(answer, early ? "\"verdict\":\"unverifiable\"" : "\"verdict\":\"passed\"");
	}
}

/* What was made for another gateway or chain is not false: nobody here can say. Unless the caller names the gateway it must be for. */
static void test_verify_what_is_not_ours(void **state)
{
	static const struct { bool gateway, chain, pinned; const char *verdict; } cases[] = {
		{ false, false, false, "passed" }, { true, false, false, "unverifiable" }, { false, true, false, "unverifiable" }, { true, true, false, "unverifiable" },
		{ false, false, true, "passed" }, { true, false, true, "failed" }, { false, true, true, "unverifiable" },
	};
	struct receipt r = { .attempt = 1, .node = node_address, .status = 200, .policy = "signed" };

	(void)state;
	memset(r.model_digest.b, 1, sizeof(r.model_digest.b));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t chain = cases[i].chain ? CHAIN + 1 : CHAIN;
		struct signature sig;
		char want[64];

		r.gateway = cases[i].gateway ? (struct address){ { 9 } } : app.gateway;
		r.started_at = r.finished_at = (uint64_t)clock_wall_ms();
		doc_sign(&RECEIPT_TYPE, &r, chain, &node_key, &sig);
		_cleanup_free_ char *text = doc_write(&RECEIPT_TYPE, &r, chain, &sig);
		_cleanup_json_ json_t *j = json_pack("{s:s}", "receipt", text);
		if (cases[i].pinned)
			json_object_set_new(j, "gateway", json_string(address_format(&app.gateway).s));
		_cleanup_free_ char *body = json_text(j), *answer = post("/v1/verify", "", body);
		assert_status(answer, 200);
		snprintf(want, sizeof(want), "\"verdict\":\"%s\"", cases[i].verdict);
		assert_contains(answer, want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registration), cmocka_unit_test(test_delivered), cmocka_unit_test(test_lies), cmocka_unit_test(test_units_are_cut),
		cmocka_unit_test(test_one_key_one_charge), cmocka_unit_test(test_refused_before_the_hold), cmocka_unit_test(test_an_absurd_ask_shuts_nobody_out),
		cmocka_unit_test(test_verify_before_the_registration), cmocka_unit_test(test_verify_what_is_not_ours),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
