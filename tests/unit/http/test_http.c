/* The boundary over real sockets: framing, limits, methods, errors, bodies, admission. */
#include "fixture.h"

static struct http_server *server;
static uint16_t port;
static atomic_int hits, afters, after_status;
static atomic_bool gate_open;
static atomic_int gate_waiting;

static enum err on_echo(struct request *req)
{
	atomic_fetch_add(&hits, 1);
	reply_bytes(req, 200, "text/plain", req->body, req->body_len);
	return ERR_OK;
}

static enum err on_show(struct request *req)
{
	const char *ip = request_client_ip(req), *q = request_query(req, "q"), *id = request_param(req, "id");
	reply_json(req, 200, json_must(json_pack("{s:s?, s:s?, s:s?, s:s, s:s, s:b}", "id", id, "q", q, "ip", ip, "path", req->path,
						 "query", req->query, "head", req->head)));
	reply_header(req, "X-Evil", "a\r\nInjected: yes");
	return ERR_OK;
}

static enum err on_fail(struct request *req)
{
	const char *what = request_param(req, "what");
	for (int e = 1; e < ERR_COUNT; e++)
		if (!strcmp(err_info((enum err)e)->code, what)) {
			request_fail_param(req, "model");
			return request_fail(req, (enum err)e, "it is \"%s\"", what);
		}
	return ERR_NOT_FOUND;
}

static enum err on_nothing(struct request *req)
{
	(void)req;
	return ERR_OK;
}

static enum err on_gate(struct request *req)
{
	atomic_fetch_add(&gate_waiting, 1);
	while (!atomic_load(&gate_open))
		usleep(500);
	reply_empty(req, 204);
	return ERR_OK;
}

static enum err before(struct request *req)
{
	const char *auth = request_header(req, "Authorization");
	if (auth && !strcmp(auth, "Bearer bad"))
		return request_fail(req, ERR_BAD_KEY, "no such key");
	return ERR_OK;
}

static void after(struct request *req, int status, int64_t us)
{
	assert_non_null(req->id);
	assert_true(us >= 0);
	atomic_store(&after_status, status);
	atomic_fetch_add(&afters, 1);
}

#define R(m, p, md, max, s, h) \
	{ .method = HTTP_##m, .pattern = p, .name = h_##s, .mode = ROUTE_##md, .body_max = max, .surface = SURFACE_##s, .handler = h }
#define h_PROBLEM "p"
#define h_OPENAI "a"
#define h_OIP "i"
#define h_BOTH "b"

static const struct route table[] = {
	R(POST, "/echo", WORKER, 1000, PROBLEM, on_echo),
	R(PUT, "/echo", WORKER, 1000, PROBLEM, on_echo),
	R(POST, "/inline", INLINE, 1000, PROBLEM, on_echo),
	R(POST, "/big", WORKER, 8 << 20, PROBLEM, on_echo),
	R(GET, "/echo", INLINE, 0, PROBLEM, on_echo),
	R(GET, "/show/{id}", INLINE, 0, PROBLEM, on_show),
	R(GET, "/fail/{what}", WORKER, 0, PROBLEM, on_fail),
	R(GET, "/both/{what}", WORKER, 0, BOTH, on_fail),
	R(GET, "/openai/{what}", WORKER, 0, OPENAI, on_fail),
	R(GET, "/oip/{what}", INLINE, 0, OIP, on_fail),
	R(GET, "/nothing", WORKER, 0, PROBLEM, on_nothing),
	R(GET, "/gate", WORKER, 0, PROBLEM, on_gate),
};

static int start(void **state)
{
	(void)state;
	struct http_config c = {
		.host = "127.0.0.1", .daemons = 2, .workers = 2, .queue_max = 4, .connections_max = 200, .header_timeout_ms = 5000,
		.request_timeout_ms = 10000, .handler_timeout_ms = 30000, .routes = table, .route_count = sizeof(table) / sizeof(*table),
		.cors_origin = "*", .before = before, .after = after,
	};
	atomic_store(&hits, 0);
	atomic_store(&afters, 0);
	atomic_store(&gate_open, false);
	atomic_store(&gate_waiting, 0);
	if (http_start(&c, &server))
		return -1;
	port = http_port(server);
	return port ? 0 : -1;
}

static int stop(void **state)
{
	(void)state;
	atomic_store(&gate_open, true);
	http_stop(server);
	assert_int_equal(metric_get(METRIC_WORKER_QUEUE), 0);
	return 0;
}

#define POST_X "POST /echo HTTP/1.1\r\n" H
#define SMUGGLED "GET /show/smuggled HTTP/1.1\r\n" H "\r\n"

/* One answer, 400, and the connection is over; whatever else was sent is not a request. */
static void smuggling_gets_one_answer(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t len;
	} rows[] = {
#define ROW(s) { s, sizeof(s) - 1 }
		ROW(POST_X "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED),
		ROW(POST_X "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" SMUGGLED),
		ROW(POST_X "Content-Length: 0\r\nContent-Length: 44\r\n\r\n" SMUGGLED),
		ROW(POST_X "Content-Length: 44\r\nContent-Length: 0\r\n\r\n" SMUGGLED),
		ROW(POST_X "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc" SMUGGLED),
		ROW(POST_X "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED),
		ROW(POST_X "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" SMUGGLED),
		ROW(POST_X "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" SMUGGLED),
		ROW(POST_X "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" SMUGGLED),
		ROW(POST_X "Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n" SMUGGLED),
		ROW(POST_X "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" SMUGGLED),
		ROW(POST_X "Transfer-Encoding:\x0b" "chunked\r\n\r\n0\r\n\r\n" SMUGGLED),
		ROW(POST_X "Content-Length : 0\r\n\r\n" SMUGGLED),
		ROW(POST_X "X: a\r\n Content-Length: 5\r\n\r\n" SMUGGLED),
		ROW(POST_X "X: a\0Content-Length: 5\r\n\r\n" SMUGGLED),
		ROW(POST_X "Content-Length: 0\0" "5\r\n\r\n" SMUGGLED),
		ROW(POST_X "X: a\nY: b\r\n\r\n" SMUGGLED),
		ROW(POST_X "X: a\r\n\nY: b\r\n\r\n" SMUGGLED),
		ROW(POST_X "\0X: a\r\n\r\n" SMUGGLED),
		ROW(POST_X "X: a\r\n\0\r\nContent-Length: 3\r\n\r\n" SMUGGLED),
		ROW("POST /echo HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED),
		ROW("GET /show/1 HTTP/1.1\r\n\r\n" SMUGGLED),
		ROW("GET /show/1 HTTP/1.1\r\n" H "Host: u\r\n\r\n" SMUGGLED),
		ROW("GET /show/1 HTTP/1.1\r\nHost: a, b\r\n\r\n" SMUGGLED),
		ROW("GET /show/1 HTTP/1.1\r\nHost:\r\n\r\n" SMUGGLED),
		ROW("POST /echo HTTP/1.1\r\n" H "Content-Type: a\r\nContent-type: b\r\n\r\n" SMUGGLED),
		ROW("GET /show/1 HTTP/1.1\r\n" H "Authorization: a\r\nAuthorization: a\r\n\r\n" SMUGGLED),
		ROW("POST /echo HTTP/1.1\r\n" H "Idempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n" SMUGGLED),
		ROW("GET http://h/show/1 HTTP/1.1\r\n" H "\r\n" SMUGGLED),
		ROW("GET * HTTP/1.1\r\n" H "\r\n" SMUGGLED),
		ROW("GET /show/a%00b HTTP/1.1\r\n" H "\r\n" SMUGGLED),
		ROW("GET /show/a\0b HTTP/1.1\r\n" H "\r\n" SMUGGLED),
		ROW("GET /show/../show/1 HTTP/1.1\r\n" H "\r\n" SMUGGLED),
		ROW("GET /show/%2e%2E/show/1 HTTP/1.1\r\n" H "\r\n" SMUGGLED),
		ROW("GET /show/%2e HTTP/1.1\r\n" H "\r\n" SMUGGLED),
		ROW("GET /show/a%2f..%2fb HTTP/1.1\r\n" H "\r\n" SMUGGLED),
		ROW("GET //show/1 HTTP/1.1\r\n" H "\r\n" SMUGGLED),
		ROW("GET /show//1 HTTP/1.1\r\n" H "\r\n" SMUGGLED),
		ROW("GET /show/1 2 HTTP/1.1\r\n" H "\r\n" SMUGGLED),
		ROW("GET  /show/1 HTTP/1.1\r\n" H "\r\n" SMUGGLED),
		ROW("GET /show/1?q=%00 HTTP/1.1\r\n" H "\r\n" SMUGGLED),
		ROW("GET /show/1?q=%zz HTTP/1.1\r\n" H "\r\n" SMUGGLED),
		ROW("G@T /show/1 HTTP/1.1\r\n" H "\r\n" SMUGGLED),
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char *a = exchange_bytes(port, rows[i].bytes, rows[i].len);
		if (count_of(a, "HTTP/1.1 ") != 1 || status_of(a) != 400 || strstr(a, "smuggled"))
			fail_msg("row %zu: %s\ngot: %s", i, rows[i].bytes, a);
		free(a);
	}
	/* libmicrohttpd refuses these itself before we are asked, and writes the head of its answer twice: still only 400, then the end. */
	static const char *const lengths[] = { "5, 5", "+5", "0x5", "-1", "5 ", "" };
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		char req[256];
		snprintf(req, sizeof(req), POST_X "Content-Length: %s\r\n\r\nabcde" SMUGGLED, lengths[i]);
		char *a = ask(port, req);
		assert_status(a, 400);
		assert_int_equal(count_of(a, "HTTP/1.1 "), count_of(a, "HTTP/1.1 400"));
		assert_null(strstr(a, "smuggled"));
		free(a);
	}
	assert_int_equal(atomic_load(&hits), 0);
}

static void refusals_are_complete(void **state)
{
	(void)state;
	char *a = ask(port, "GET //x HTTP/1.1\r\n" H "X-Request-Id: mine-1\r\n\r\n");
	assert_status(a, 400);
	assert_contains(a, "X-Request-Id: mine-1\r\n");
	assert_contains(a, "Connection: close\r\n");
	assert_contains(a, "Content-Type: application/problem+json\r\n");
	assert_contains(a, "\"request_id\":\"mine-1\"");
	free(a);
	a = ask(port, "GET /%2e HTTP/1.1\r\n" H "X-Request-Id: not sane\r\n\r\n");
	assert_null(strstr(a, "not sane"));
	assert_contains(a, "X-Request-Id: ");
	free(a);
	a = ask(port, "GET /show/1 HTTP/1.9\r\n" H "\r\n");
	assert_status(a, 505);
	free(a);
}

static void methods(void **state)
{
	(void)state;
	char *a = ask(port, "GET /none HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_status(a, 404);
	assert_contains(a, "\"code\":\"not_found\"");
	assert_contains(a, "Access-Control-Allow-Origin: *\r\n");
	free(a);
	a = ask(port, "DELETE /echo HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_status(a, 405);
	assert_contains(a, "Allow: OPTIONS, GET, HEAD, POST, PUT\r\n");
	free(a);
	a = ask(port, "BREW /echo HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_status(a, 405);
	free(a);
	a = ask(port, "OPTIONS /echo HTTP/1.1\r\n" H "Origin: http://o\r\nAccess-Control-Request-Method: POST\r\n"
		      "Access-Control-Request-Headers: authorization, x-stainless-os, Opgate-New, evil\r\nConnection: close\r\n\r\n");
	assert_status(a, 204);
	assert_contains(a, "Allow: OPTIONS, GET, HEAD, POST, PUT\r\n");
	assert_contains(a, "Access-Control-Allow-Origin: *\r\n");
	assert_contains(a, "PAYMENT-SIGNATURE");
	assert_contains(a, "x-stainless-os, Opgate-New\r\n");
	assert_null(strstr(a, "evil"));
	assert_contains(a, "Access-Control-Expose-Headers: Opgate-Job, Opgate-Receipt, X-Request-Id, Idempotent-Replayed, Retry-After, "
			   "PAYMENT-REQUIRED, PAYMENT-RESPONSE");
	free(a);
	a = ask(port, "OPTIONS /none HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_status(a, 404);
	free(a);
	a = ask(port, "HEAD /show/1?q=a HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_status(a, 200);
	assert_string_equal(body_of(a), "");
	assert_null(strstr(a, "Content-Length: 0"));
	free(a);
	a = ask(port, "HEAD /none HTTP/1.1\r\n" H "Content-Length: 70000\r\n\r\n");
	assert_status(a, 404);
	assert_string_equal(body_of(a), "");
	free(a);
}

static void handlers_see_the_request(void **state)
{
	(void)state;
	char *a = ask(port, "GET /show/a%2Fb?x=1&q=%C3%A9+%26 HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_status(a, 200);
	assert_contains(a, "\"id\":\"a/b\"");
	assert_contains(a, "\"q\":\"\xc3\xa9 &\"");
	assert_contains(a, "\"ip\":\"127.0.0.1\"");
	assert_contains(a, "\"path\":\"/show/a%2Fb\"");
	assert_contains(a, "\"query\":\"x=1&q=%C3%A9+%26\"");
	assert_contains(a, "Cache-Control: no-store\r\n");
	assert_null(strstr(a, "\nInjected"));
	free(a);
	a = ask(port, "GET /show/1 HTTP/1.0\r\n\r\n");
	assert_status(a, 200);
	free(a);
	a = ask(port, "GET /nothing HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_status(a, 500);
	assert_contains(a, "internal_error");
	free(a);
}

static void errors_speak_each_surface(void **state)
{
	(void)state;
	char *a = ask(port, "GET /fail/model_not_found HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_status(a, 404);
	assert_contains(a, "application/problem+json");
	json_t *j = json_loads(body_of(a), 0, NULL);
	assert_string_equal(json_string_value(json_object_get(j, "type")), "/errors/model_not_found");
	assert_string_equal(json_string_value(json_object_get(j, "title")), "Not Found");
	assert_int_equal(json_integer_value(json_object_get(j, "status")), 404);
	assert_string_equal(json_string_value(json_object_get(j, "detail")), "it is \"model_not_found\"");
	assert_string_equal(json_string_value(json_object_get(j, "instance")), "/fail/model_not_found");
	assert_true(json_is_false(json_object_get(j, "charged")));
	assert_true(json_is_false(json_object_get(j, "retryable")));
	assert_non_null(json_object_get(j, "hint"));
	assert_null(json_object_get(j, "error"));
	json_decref(j);
	free(a);
	a = ask(port, "GET /both/insufficient_funds HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_status(a, 402);
	assert_contains(a, "\"error\":{\"message\":\"it is \\\"insufficient_funds\\\"\",\"type\":\"insufficient_quota\",\"param\":\"model\"");
	assert_contains(a, "\"title\":\"Payment Required\"");
	free(a);
	a = ask(port, "GET /openai/rate_limited HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_status(a, 429);
	assert_contains(a, "Retry-After: 1\r\n");
	assert_contains(a, "Content-Type: application/json\r\n");
	assert_contains(a, "\"type\":\"rate_limit_error\"");
	assert_int_equal(strncmp(body_of(a), "{\"error\":{", 10), 0);
	free(a);
	a = ask(port, "GET /openai/invalid_api_key HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_status(a, 401);
	assert_contains(a, "WWW-Authenticate: Bearer\r\n");
	assert_contains(a, "\"type\":\"invalid_request_error\"");
	free(a);
	a = ask(port, "GET /oip/in_progress HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_status(a, 409);
	assert_contains(a, "Retry-After: 1\r\n");
	assert_contains(a, "{\"error\":\"it is \\\"in_progress\\\"\",\"code\":\"in_progress\"");
	free(a);
	a = ask(port, "GET /fail/limit HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_status(a, 500);
	assert_contains(a, "\"code\":\"internal_error\"");
	free(a);
	a = ask(port, "POST /v1/chat/none HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_contains(a, "{\"error\":{\"message\"");
	free(a);
	a = ask(port, "POST /v2/none HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_contains(a, "{\"error\":\"check the path\"");
	free(a);
	a = ask(port, "POST /echo HTTP/1.1\r\n" H "Authorization: Bearer bad\r\nConnection: close\r\n\r\n");
	assert_status(a, 401);
	free(a);
}

static void limits(void **state)
{
	(void)state;
	/* at once: the body never comes */
	char *a = ask(port, "POST /echo HTTP/1.1\r\n" H "Content-Length: 1001\r\n\r\n");
	assert_status(a, 413);
	assert_contains(a, "Connection: close\r\n");
	free(a);
	a = ask(port, "POST /echo HTTP/1.1\r\n" H "Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n");
	assert_status(a, 413);
	assert_null(strstr(a, "100 Continue"));
	free(a);
	/* the declared length beyond any integer, and beyond ours */
	a = ask(port, "POST /echo HTTP/1.1\r\n" H "Content-Length: 99999999999999999999999\r\n\r\n");
	assert_int_equal(status_of(a), 413);
	free(a);
	a = ask(port, "POST /echo HTTP/1.1\r\n" H "Content-Length: 18446744073709551615\r\n\r\n");
	assert_int_equal(count_of(a, "HTTP/1.1 "), 1);
	free(a);
	/* chunked: counted */
	char big[9000];
	int head = snprintf(big, sizeof(big), "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 11; i++)
		head += snprintf(big + head, sizeof(big) - (size_t)head, "64\r\n%0100d\r\n", i);
	snprintf(big + head, sizeof(big) - (size_t)head, "0\r\n\r\n" SMUGGLED);
	a = ask(port, big);
	assert_status(a, 413);
	assert_int_equal(count_of(a, "HTTP/1.1 "), 1);
	free(a);
	/* request line and headers past the pool */
	char *huge = xmalloc(70000);
	memset(huge, 'a', 70000);
	memcpy(huge, "GET /", 5);
	snprintf(huge + 60000, 10000, " HTTP/1.1\r\n" H "\r\n");
	a = ask(port, huge);
	assert_int_equal(status_of(a), 414);
	free(a);
	memset(huge, 'a', 70000);
	memcpy(huge, "GET / HTTP/1.1\r\nX: ", 19);
	snprintf(huge + 60000, 10000, "\r\n" H "\r\n");
	a = ask(port, huge);
	assert_int_equal(status_of(a), 431);
	free(a);
	free(huge);
	assert_int_equal(atomic_load(&hits), 0);
}

static void bodies(void **state)
{
	(void)state;
	static const char *const routes[] = { "/echo", "/inline" };
	for (size_t i = 0; i < 2; i++) {
		char req[512];
		snprintf(req, sizeof(req), "POST %s HTTP/1.1\r\n" H "Content-Length: 5\r\nConnection: close\r\n\r\nhello", routes[i]);
		char *a = ask(port, req);
		assert_status(a, 200);
		assert_string_equal(body_of(a), "hello");
		free(a);
		snprintf(req, sizeof(req),
			 "POST %s HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: t\r\n\r\n",
			 routes[i]);
		a = ask(port, req);
		assert_status(a, 200);
		assert_string_equal(body_of(a), "hello");
		free(a);
	}
	char *a = ask(port, "POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi");
	assert_string_equal(body_of(a), "hi");
	free(a);
	a = ask(port, "POST /echo HTTP/1.1\r\n" H "Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nhi");
	assert_contains(a, "100 Continue");
	assert_contains(a, "\r\n\r\nhi");
	free(a);
	a = ask(port, "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nzz\r\n");
	assert_status(a, 400);
	free(a);
	/* several megabytes there and back */
	size_t len = 5 << 20;
	char *big = xmalloc(len + 200);
	int head = snprintf(big, 200, "POST /big HTTP/1.1\r\n" H "Content-Length: %zu\r\nConnection: close\r\n\r\n", len);
	memset(big + head, 'b', len);
	a = exchange_bytes(port, big, (size_t)head + len);
	assert_status(a, 200);
	assert_int_equal(strlen(body_of(a)), len);
	free(a);
	free(big);
}

static void pipelined_requests_stay_in_order(void **state)
{
	(void)state;
	char *a = ask(port, "POST /echo HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\none"
			    "POST /inline HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\ntwo"
			    "GET /none HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nbody"
			    "PUT /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n5\r\nthree\r\n0\r\n\r\n"
			    "HEAD /show/1 HTTP/1.1\r\n" H "\r\n"
			    "POST /echo HTTP/1.1\r\n" H "Content-Length: 4\r\nConnection: close\r\n\r\nfour");
	assert_int_equal(count_of(a, "HTTP/1.1 200"), 5);
	assert_int_equal(count_of(a, "HTTP/1.1 404"), 1);
	const char *one = strstr(a, "\r\n\r\none"), *two = strstr(a, "\r\n\r\ntwo"), *no = strstr(a, "not_found");
	const char *three = strstr(a, "\r\n\r\nthree"), *four = strstr(a, "\r\n\r\nfour");
	assert_true(one && one < two && two < no && no < three && three < four);
	free(a);
	wait_until(atomic_load(&afters) == 6);
}

static void a_full_queue_answers(void **state)
{
	(void)state;
	int fds[12];
	int64_t refused = metric_get(METRIC_REQUESTS_REFUSED);
	for (int i = 0; i < 2; i++) {
		fds[i] = client_open(port);
		client_puts(fds[i], "GET /gate HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	}
	wait_until(atomic_load(&gate_waiting) == 2); /* both workers are taken */
	for (int i = 2; i < 6; i++) {
		fds[i] = client_open(port);
		client_puts(fds[i], "GET /gate HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	}
	wait_until(metric_get(METRIC_WORKER_QUEUE) == 4);
	for (int i = 0; i < 3; i++) {
		char *a = ask(port, "GET /gate HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
		assert_status(a, 503);
		assert_contains(a, "Retry-After: 1\r\n");
		assert_contains(a, "\"code\":\"overloaded\"");
		free(a);
	}
	assert_int_equal(metric_get(METRIC_REQUESTS_REFUSED) - refused, 3);
	char *a = ask(port, "GET /show/1 HTTP/1.1\r\n" H "Connection: close\r\n\r\n"); /* inline still answers */
	assert_status(a, 200);
	free(a);
	atomic_store(&gate_open, true);
	for (int i = 0; i < 6; i++) {
		struct text t = client_read_all(fds[i]);
		assert_status(t.s, 204);
		free(t.s);
		close(fds[i]);
	}
}

static void counts_and_tells(void **state)
{
	(void)state;
	int64_t all = metric_get(METRIC_REQUESTS), bad = metric_get(METRIC_REQUESTS_5XX);
	free(ask(port, "GET /fail/no_node HTTP/1.1\r\n" H "Connection: close\r\n\r\n"));
	wait_until(atomic_load(&afters) == 1);
	assert_int_equal(atomic_load(&after_status), 503);
	assert_int_equal(metric_get(METRIC_REQUESTS) - all, 1);
	assert_int_equal(metric_get(METRIC_REQUESTS_5XX) - bad, 1);
}

static void ports(void **state)
{
	(void)state;
	struct http_config c = { .host = "127.0.0.1", .port = port, .routes = table, .route_count = 1 };
	struct http_server *second = NULL;
	assert_int_equal(http_start(&c, &second), ERR_IO);
	assert_null(second);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)
	const struct CMUnitTest tests[] = {
		T(smuggling_gets_one_answer), T(refusals_are_complete), T(methods), T(handlers_see_the_request), T(errors_speak_each_surface),
		T(limits), T(bodies), T(pipelined_requests_stay_in_order), T(a_full_queue_answers), T(counts_and_tells), T(ports),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
