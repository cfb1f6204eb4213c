/* The agent serving against a backend that does everything wrong in turn, in one process. */
#include "base/base64.h"
#include "tests/unit/node/fixture.h"

#define TENSOR_PATH "/v2/models/alice/adder/infer"
#define CHAT_PATH "/v1/chat/completions"
#define JSON "application/json"
#define CHAT_BODY "{\"model\":\"alice/adder\",\"messages\":[],\"opgate\":{\"x\":1},\"stream\":true}"
#define SSE_HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define EVENT_A "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
#define EVENT_B "data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n"
#define USAGE "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":22}}\n\n"
#define DONE "data: [DONE]\n\n"

static struct fake_gateway gateway;
static struct fake_backend backend;
static struct agent agent;
static struct served *served;
static pthread_t pusher;
static bool up; /* between start and stop */

static char *chunk(const char *text)
{
	return xasprintf("%zx\r\n%s\r\n", strlen(text), text);
}

static void start(enum node_surface surface)
{
	const struct net_config net = { .reactors = 1, .allow_private = true, .connections_per_host_max = 64 };
	const struct http_config http = { .host = "127.0.0.1", .daemons = 1, .workers = 2, .queue_max = 64, .connections_max = 64,
					  .routes = NODE_ROUTES, .route_count = NODE_ROUTES_COUNT, .app = &agent, .after = node_after };
	if (up) /* everything is in one process: what a failed test left would answer for this one, or wait for ever */
		fail_msg("the test before this one did not come to its end");
	up = true;
	memset(&agent, 0, sizeof(agent));
	memset(&backend, 0, sizeof(backend));
	fake_gateway_start(&gateway, "chat");
	agent.settings.gateway_url = xasprintf("http://127.0.0.1:%u", http_port(gateway.http));
	agent.settings.gateway_address = gateway.address;
	agent.settings.chain_id = CHAIN;
	agent.settings.request_timeout_ms = 20000;
	agent.settings.stall_timeout_ms = 20000;
	assert_int_equal(secret_key_new(&agent.key), ERR_OK);
	agent_init(&agent);
	assert_int_equal(net_start(&net, &agent.api), ERR_OK);
	assert_int_equal(net_start(&net, &agent.backend), ERR_OK);
	assert_int_equal(http_start(&http, &agent.http), ERR_OK);
	assert_int_equal(pthread_create(&pusher, NULL, push_run, &agent), 0);
	fake_backend_start(&backend);
	served = xcalloc(1, sizeof(*served));
	served->digest = gateway.digest;
	served->surface = surface;
	served->capacity = 1;
	served->stdin_fd = -1;
	served->state = SERVED_READY;
	served->profile = xstrdup("{\"a\":1}");
	sha256_of(served->profile, strlen(served->profile), &served->profile_hash);
	snprintf(served->model, sizeof(served->model), MODEL);
	snprintf(served->backend_model, sizeof(served->backend_model), "adder");
	snprintf(served->base_url, sizeof(served->base_url), "http://127.0.0.1:%u", backend.port);
	served_add(&agent, served);
}

static void stop(void)
{
	wait_until(infer_count(&agent) == 0);
	assert_int_equal(served->running, 0);
	assert_int_equal(http_drain(agent.http, deadline_in(PATIENCE_MS)), 0);
	net_stop(agent.backend);
	http_stop(agent.http);
	push_end(&agent);
	pthread_join(pusher, NULL);
	net_stop(agent.api);
	fake_backend_stop(&backend);
	fake_gateway_stop(&gateway);
	agent_done(&agent);
	up = false;
}

static struct order tensor_order(void)
{
	return (struct order){ .path = TENSOR_PATH, .type = JSON, .body = "{\"inputs\":[]}" };
}

static struct order chat_order(void)
{
	return (struct order){ .path = CHAT_PATH, .type = JSON, .body = CHAT_BODY };
}

/* Sends an order with its ticket; the answer, to be freed. */
static char *run(struct order *o)
{
	_cleanup_free_ char *ticket = ticket_for(&gateway, &agent, o);
	_cleanup_free_ char *text = order_text(o, ticket);
	return ask(http_port(agent.http), text);
}

/* The receipt verifies against the ticket and the response. */
static struct receipt receipt_checked(const char *text, const struct order *o, const struct hash *response)
{
	struct verdict_report report;
	const struct verdict_input in = { .receipt_text = text, .receipt_len = strlen(text), .chain_id = CHAIN, .node = &agent.address,
					  .gateway = &gateway.address, .ticket = &o->ticket, .model_digest = &gateway.digest,
					  .request_hash = &o->ticket.request_hash, .response_hash = response,
					  .profile_hash = &served->profile_hash, .now_ms = clock_wall_ms() };
	verdict_check(&in, &report);
	for (size_t i = 0; i < report.count; i++)
		if (report.checks[i].result == VERDICT_FAILED)
			fail_msg("%s: %s", report.checks[i].name, report.checks[i].detail);
	assert_true(report.has_receipt);
	return report.receipt;
}

static struct receipt receipt_of(const char *b64, const struct order *o, const struct hash *response)
{
	char text[DOC_JSON_MAX];
	size_t len;
	assert_int_equal(base64url_decode(b64, strlen(b64), (uint8_t *)text, sizeof(text) - 1, &len), ERR_OK);
	text[len] = '\0';
	return receipt_checked(text, o, response);
}

static struct receipt receipt_in_header(const char *answer, const struct order *o)
{
	struct hash response;
	_cleanup_free_ char *header = header_of(answer, "Opgate-Receipt");
	assert_non_null(header);
	sha256_of(body_of(answer), strlen(body_of(answer)), &response);
	return receipt_of(header, o, &response);
}

static void test_tensor(void **state)
{
	(void)state;
	start(NODE_TENSOR);
	backend.answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json; x=y\r\nContent-Length: 14\r\n\r\n{\"outputs\":[]}";
	struct order o = tensor_order();
	_cleanup_free_ char *ticket = ticket_for(&gateway, &agent, &o);
	_cleanup_free_ char *text = order_text(&o, ticket);
	_cleanup_free_ char *answer = ask(http_port(agent.http), text);
	assert_status(answer, 200);
	assert_string_equal(body_of(answer), "{\"outputs\":[]}");
	assert_contains(answer, "application/json; x=y");
	struct receipt r = receipt_in_header(answer, &o);
	assert_int_equal(r.status, 200);
	assert_int_equal(r.input_units, 1);
	assert_int_equal(r.output_units, 0);
	assert_contains(backend.request, "POST /v2/models/adder/infer HTTP/1.1");
	assert_string_equal(body_of(backend.request), o.body);

	_cleanup_free_ char *again = ask(http_port(agent.http), text); /* the same ticket */
	assert_status(again, 409);
	assert_int_equal(atomic_load(&backend.requests), 1);
	stop();
}

static void test_refused(void **state)
{
	(void)state;
	start(NODE_TENSOR);
	struct secret_key other;
	struct address stranger;
	struct hash unknown = { { 7 } };
	assert_int_equal(secret_key_new(&other), ERR_OK);
	secret_key_address(&other, &stranger);
	struct order cases[] = { tensor_order(), tensor_order(), tensor_order(), tensor_order(), tensor_order(), tensor_order() };
	cases[0].key = &other;
	cases[1].chain = CHAIN + 1;
	cases[2].life_ms = -1;
	cases[3].node = &stranger;
	cases[4].gateway = &stranger;
	cases[5].life_ms = (int64_t)24 * 3600 * 1000;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_free_ char *answer = run(&cases[i]);
		assert_status(answer, 401);
		assert_contains(answer, "\"error\"");
	}
	struct order o = tensor_order();
	_cleanup_free_ char *none = order_text(&o, NULL);
	_cleanup_free_ char *answer = ask(http_port(agent.http), none);
	assert_status(answer, 401);
	_cleanup_free_ char *ticket = ticket_for(&gateway, &agent, &o);
	o.body = "{\"inputs\":{}}"; /* same length, another byte */
	_cleanup_free_ char *changed = order_text(&o, ticket);
	_cleanup_free_ char *answer2 = ask(http_port(agent.http), changed);
	assert_status(answer2, 401);
	assert_contains(answer2, "another request");
	o.digest = &unknown;
	_cleanup_free_ char *answer3 = run(&o);
	assert_status(answer3, 404);
	struct order chat = chat_order();
	_cleanup_free_ char *answer4 = run(&chat);
	assert_status(answer4, 422);
	served_set_state(&agent, served, SERVED_STARTING);
	o = tensor_order();
	_cleanup_free_ char *answer5 = run(&o);
	assert_status(answer5, 503);
	assert_int_equal(atomic_load(&backend.requests), 0);
	stop();
}

/* What is no answer: 502 without a receipt, and the place is free again. */
static void test_bad_answers(void **state)
{
	static const char *const answers[] = {
		"garbage\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"outputs\"",
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n{",
		"",
	};
	(void)state;
	start(NODE_TENSOR);
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		backend.answer = answers[i];
		struct order o = tensor_order();
		_cleanup_free_ char *answer = run(&o);
		_cleanup_free_ char *receipt = header_of(answer, "Opgate-Receipt");
		if (status_of(answer) != 502)
			fail_msg("case %zu: %s", i, answer);
		assert_null(receipt);
	}
	snprintf(served->base_url, sizeof(served->base_url), "http://127.0.0.1:1");
	struct order o = tensor_order();
	_cleanup_free_ char *refused = run(&o);
	assert_status(refused, 502);
	stop();
}

static void test_too_large(void **state)
{
	(void)state;
	start(NODE_TENSOR);
	char *piece = xmalloc((1 << 20) + 16);
	int at = snprintf(piece, 16, "100000\r\n");
	memset(piece + at, '{', 1 << 20);
	memcpy(piece + at + (1 << 20), "\r\n", 3);
	backend.answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
	backend.piece = piece;
	backend.repeat = 64;
	struct order o = tensor_order();
	_cleanup_free_ char *answer = run(&o);
	assert_status(answer, 502);
	wait_until(atomic_load(&backend.left) == 1);
	stop();
	free(piece);
}

static void test_stalled(void **state)
{
	(void)state;
	start(NODE_TENSOR);
	agent.settings.stall_timeout_ms = 100;
	backend.answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
	backend.then = "never";
	struct order o = tensor_order();
	_cleanup_free_ char *answer = run(&o);
	assert_status(answer, 502);
	wait_until(atomic_load(&backend.left) == 1);
	stop();
}

static void test_error_status(void **state)
{
	(void)state;
	start(NODE_CHAT);
	backend.answer = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"error\":{}";
	struct order o = chat_order();
	_cleanup_free_ char *answer = run(&o);
	assert_status(answer, 400);
	assert_string_equal(body_of(answer), "{\"error\":{}");
	struct receipt r = receipt_in_header(answer, &o);
	assert_int_equal(r.status, 400);
	assert_int_equal(r.input_units + r.output_units, 0);
	stop();
}

static void test_chat(void **state)
{
	(void)state;
	start(NODE_CHAT);
	backend.answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 69\r\n\r\n"
			 "{\"choices\":[{}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4444}}";
	struct order o = chat_order();
	o.body = "{\"model\":\"alice/adder\",\"temperature\":0.7,\"opgate\":{\"policy\":\"signed\"},\"messages\":[]}";
	_cleanup_free_ char *answer = run(&o);
	assert_status(answer, 200);
	struct receipt r = receipt_in_header(answer, &o);
	assert_int_equal(r.input_units, 3);
	assert_int_equal(r.output_units, 4444);
	assert_contains(backend.request, "POST /v1/chat/completions HTTP/1.1");
	assert_contains(backend.request, "\"model\":\"adder\"");
	assert_null(strstr(body_of(backend.request), "opgate"));
	o.path = "/v1/jobs";
	_cleanup_free_ char *job = run(&o);
	assert_status(job, 200);
	o.body = "{\"model\":1,\"model\":2}";
	_cleanup_free_ char *twice = run(&o);
	assert_status(twice, 400);
	stop();
}

/* The answer's events and its receipt, checked as the gateway does. */
static struct receipt stream_checked(const char *body, const struct order *o)
{
	struct hash response;
	struct sse_reader *reader = sse_reader_new(&(struct sse_handler){ .arg = NULL });
	assert_int_equal(sse_reader_feed(reader, body, strlen(body)), ERR_OK);
	assert_true(sse_reader_done(reader));
	sse_reader_hash(reader, &response);
	sse_reader_free(reader);
	const char *mark = strstr(body, ": opgate-receipt ");
	assert_non_null(mark);
	assert_true(mark < strstr(body, "data: [DONE]"));
	mark += strlen(": opgate-receipt ");
	_cleanup_free_ char *b64 = xstrndup(mark, strcspn(mark, "\n"));
	return receipt_of(b64, o, &response);
}

static void test_stream(void **state)
{
	(void)state;
	for (int usage = 0; usage < 2; usage++) {
		start(NODE_CHAT);
		_cleanup_free_ char *a = chunk(": hello\n\n" EVENT_A "event: x\r\ndata: {\"choices\":");
		_cleanup_free_ char *b = chunk("[{\"delta\":{\"content\":\"b\"}}]}\r\n\r\n" USAGE DONE "data: late\n\n");
		_cleanup_free_ char *all = xasprintf("%s%s%s0\r\n\r\n", SSE_HEAD, a, b);
		backend.answer = all;
		struct order o = chat_order();
		if (usage)
			o.body = "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}";
		_cleanup_free_ char *answer = run(&o);
		bool whole;
		_cleanup_free_ char *body = dechunk(body_of(answer), &whole);
		assert_status(answer, 200);
		assert_contains(answer, "text/event-stream");
		assert_true(whole);
		assert_int_equal(strncmp(body, EVENT_A EVENT_B, strlen(EVENT_A EVENT_B)), 0);
		assert_int_equal(count_of(body, "usage"), usage);
		assert_null(strstr(body, "late"));
		struct receipt r = stream_checked(body, &o);
		assert_int_equal(r.input_units, 11);
		assert_int_equal(r.output_units, 22);
		assert_int_equal(r.status, 200);
		assert_contains(backend.request, "\"include_usage\":true");
		stop();
	}
}

static void test_stream_at_once(void **state)
{
	(void)state;
	start(NODE_CHAT);
	_cleanup_free_ char *a = chunk(EVENT_A), *b = chunk(EVENT_B DONE);
	_cleanup_free_ char *first = xasprintf("%s%s", SSE_HEAD, a), *rest = xasprintf("%s0\r\n\r\n", b);
	backend.answer = first;
	backend.then = rest;
	struct order o = chat_order();
	_cleanup_free_ char *ticket = ticket_for(&gateway, &agent, &o);
	_cleanup_free_ char *text = order_text(&o, ticket);
	int fd = client_open(http_port(agent.http));
	struct text got = { 0 };
	client_puts(fd, text);
	client_read_until(fd, &got, "\"a\""); /* while the backend still works */

	struct order second = chat_order(); /* capacity is one */
	_cleanup_free_ char *full = run(&second);
	assert_status(full, 503);
	fake_backend_open_gate(&backend);
	client_read_until(fd, &got, "0\r\n\r\n");
	close(fd);
	bool whole;
	_cleanup_free_ char *body = dechunk(body_of(got.s), &whole);
	struct receipt r = stream_checked(body, &o);
	assert_int_equal(r.input_units, 0); /* no usage: the events that say something are counted */
	assert_int_equal(r.output_units, 2);
	free(got.s);
	stop();
}

/* Ends without [DONE], garbage in the middle, an event that is no JSON: cut, and no receipt. */
static void test_stream_cut(void **state)
{
	static const char *const tails[] = { "", "data: {\"a\":\n\n" DONE, "data: plain\n\n" DONE };
	(void)state;
	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
		start(NODE_CHAT);
		_cleanup_free_ char *text = xasprintf("%s%s", EVENT_A, tails[i]);
		_cleanup_free_ char *a = chunk(text);
		_cleanup_free_ char *all = xasprintf("%s%s%s", SSE_HEAD, a, i ? "0\r\n\r\n" : "");
		backend.answer = all;
		struct order o = chat_order();
		_cleanup_free_ char *answer = run(&o);
		bool whole = false;
		_cleanup_free_ char *body = status_of(answer) == 200 ? dechunk(body_of(answer), &whole) : xstrdup("");
		assert_false(whole);
		assert_null(strstr(body, "opgate-receipt"));
		assert_null(strstr(body, "[DONE]"));
		assert_int_equal(fake_receipts(&gateway), 0);
		stop();
	}
	start(NODE_CHAT); /* nothing but the end: nothing usable, and early enough for another node */
	_cleanup_free_ char *done = chunk(DONE);
	_cleanup_free_ char *all = xasprintf("%s%s0\r\n\r\n", SSE_HEAD, done);
	backend.answer = all;
	struct order o = chat_order();
	_cleanup_free_ char *answer = run(&o);
	assert_status(answer, 502);
	stop();
}

static void test_cancelled(void **state)
{
	(void)state;
	start(NODE_CHAT);
	_cleanup_free_ char *a = chunk(EVENT_A EVENT_B);
	_cleanup_free_ char *first = xasprintf("%s%s", SSE_HEAD, a);
	backend.answer = first;
	backend.then = "never";
	struct order o = chat_order();
	_cleanup_free_ char *ticket = ticket_for(&gateway, &agent, &o);
	_cleanup_free_ char *text = order_text(&o, ticket);
	int fd = client_open(http_port(agent.http));
	struct text got = { 0 };
	client_puts(fd, text);
	client_read_until(fd, &got, "\"b\"");
	int64_t before = clock_mono_ms();
	close(fd);
	wait_until(atomic_load(&backend.left) == 1);
	assert_true(clock_mono_ms() - before < 1000);
	wait_until(fake_receipts(&gateway) == 1);
	struct sse_reader *reader = sse_reader_new(&(struct sse_handler){ .arg = NULL });
	struct hash response;
	assert_int_equal(sse_reader_feed(reader, EVENT_A EVENT_B, strlen(EVENT_A EVENT_B)), ERR_OK);
	sse_reader_hash(reader, &response);
	sse_reader_free(reader);
	struct receipt r = receipt_checked(gateway.receipts[0], &o, &response);
	assert_int_equal(r.status, 499);
	assert_int_equal(r.output_units, 2);
	free(got.s);
	stop();
}

static void test_cancelled_before_answer(void **state)
{
	(void)state;
	start(NODE_TENSOR);
	backend.then = "never";
	struct order o = tensor_order();
	_cleanup_free_ char *ticket = ticket_for(&gateway, &agent, &o);
	_cleanup_free_ char *text = order_text(&o, ticket);
	int fd = client_open(http_port(agent.http));
	client_puts(fd, text);
	wait_until(atomic_load(&backend.requests) == 1);
	close(fd);
	wait_until(atomic_load(&backend.left) == 1);
	wait_until(fake_receipts(&gateway) == 1);
	struct hash response;
	sha256_of("", 0, &response);
	struct receipt r = receipt_checked(gateway.receipts[0], &o, &response);
	assert_int_equal(r.status, 499);
	assert_int_equal(r.input_units + r.output_units, 0);
	stop();
}

/* A reader that waits holds the backend back (more than all sockets between them take), and every event arrives. */
static void test_slow_reader(void **state)
{
	enum { EVENTS = 2500 };
	(void)state;
	start(NODE_CHAT);
	char content[16385];
	memset(content, 'x', sizeof(content) - 1);
	content[sizeof(content) - 1] = '\0';
	_cleanup_free_ char *event = xasprintf("data: {\"choices\":[{\"delta\":{\"content\":\"%s\"}}]}\n\n", content);
	_cleanup_free_ char *piece = chunk(event), *last = chunk(DONE), *end = xasprintf("%s0\r\n\r\n", last);
	backend.answer = SSE_HEAD;
	backend.piece = piece;
	backend.repeat = EVENTS;
	backend.then = end;
	fake_backend_open_gate(&backend);
	struct order o = chat_order();
	_cleanup_free_ char *ticket = ticket_for(&gateway, &agent, &o);
	_cleanup_free_ char *text = order_text(&o, ticket);
	int fd = client_open(http_port(agent.http));
	struct text got = { 0 };
	client_puts(fd, text);
	client_read_until(fd, &got, "\"x");
	size_t sent = 0;
	for (int same = 0; same < 100; usleep(1000)) { /* until nothing moves any more */
		same = atomic_load(&backend.pieces) == sent ? same + 1 : 0;
		sent = atomic_load(&backend.pieces);
	}
	assert_true(sent < EVENTS);
	while (client_more(fd, &got, PATIENCE_MS))
		;
	close(fd);
	bool whole;
	_cleanup_free_ char *body = dechunk(body_of(got.s), &whole);
	assert_true(whole);
	struct receipt r = stream_checked(body, &o);
	assert_int_equal(r.output_units, EVENTS);
	free(got.s);
	stop();
}

static void test_public(void **state)
{
	(void)state;
	start(NODE_CHAT);
	_cleanup_free_ char *live = ask(http_port(agent.http), "GET /livez HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_status(live, 200);
	_cleanup_free_ char *request = xasprintf("GET /profile/%s HTTP/1.1\r\n" H "Connection: close\r\n\r\n", hash_format(&served->profile_hash).s);
	_cleanup_free_ char *profile = ask(http_port(agent.http), request);
	assert_status(profile, 200);
	assert_string_equal(body_of(profile), "{\"a\":1}");
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tensor), cmocka_unit_test(test_refused), cmocka_unit_test(test_bad_answers), cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_stalled), cmocka_unit_test(test_error_status), cmocka_unit_test(test_chat), cmocka_unit_test(test_stream),
		cmocka_unit_test(test_stream_at_once), cmocka_unit_test(test_stream_cut), cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_cancelled_before_answer), cmocka_unit_test(test_slow_reader), cmocka_unit_test(test_public),
	};
	crypto_init();
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
