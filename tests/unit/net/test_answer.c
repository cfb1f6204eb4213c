/* What an answer may look like: framing, bounds, headers. */
#include "serve.h"

struct expected {
	const char *path;
	enum err e;
	int status;
	const char *body;
};

static const struct expected answers[] = {
	{ "/hello", ERR_OK, 200, "hello" },
	{ "/none", ERR_OK, 204, "" },
	{ "/same", ERR_OK, 304, "" },
	{ "/redirect", ERR_OK, 302, "" }, /* not followed */
	{ "/interim", ERR_OK, 200, "ok" },
	{ "/trailer", ERR_OK, 200, "ok" },
	{ "/http10", ERR_OK, 200, "hello" },
	{ "/missing", ERR_OK, 404, "" },
	{ "/cut", ERR_IO, 200, "hello" },
	{ "/cutchunk", ERR_IO, 200, "hello" },
	{ "/cuthead", ERR_IO, 0, "" },
	{ "/unframed", ERR_IO, 200, "hello" },
	{ "/twolengths", ERR_IO, 0, "" },
	{ "/bothframings", ERR_IO, 0, "" },
	{ "/gzipcoding", ERR_IO, 0, "" },
	{ "/badlength", ERR_IO, 0, "" },
	{ "/folded", ERR_IO, 0, "" },
	{ "/spaced", ERR_IO, 0, "" },
	{ "/switch", ERR_IO, 0, "" },
	{ "/garbage", ERR_IO, 0, "" },
	{ "/gone", ERR_IO, 0, "" },
};

static void test_framing(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		const struct expected *x = &answers[i];
		struct probe p;
		struct url u = url_of(w->server, x->path);
		enum err e;

		probe_init(&p);
		struct net_request r = request_for(&p, "GET", u.s);
		e = probe_run(w->net, &p, &r);
		if (e != x->e || p.status != x->status || strcmp(p.body.data ? p.body.data : "", x->body) != 0)
			fail_msg("%s: error %d (%s), status %d, body '%s'", x->path, e, p.error, p.status, p.body.data ? p.body.data : "");
		if (e != ERR_OK && !p.error[0])
			fail_msg("%s: no words", x->path);
		probe_free(&p);
	}
}

static void test_head_has_no_body(void **state)
{
	struct world *w = *state;
	struct probe p;
	struct url u = url_of(w->server, "/silent"); /* the server would say Content-Length: 4 and, being wrong, the body */

	probe_init(&p);
	struct net_request r = request_for(&p, "HEAD", u.s);
	eventfd_write(w->server->gate, 1);
	assert_int_equal(probe_run(w->net, &p, &r), ERR_OK);
	assert_int_equal(p.status, 200);
	assert_int_equal(p.body.len, 0);
	probe_free(&p);
}

static void test_headers_are_found(void **state)
{
	struct world *w = *state;
	struct probe p;
	struct url u = url_of(w->server, "/hello");

	probe_init(&p);
	struct net_request r = request_for(&p, "GET", u.s);
	assert_int_equal(probe_run(w->net, &p, &r), ERR_OK);
	assert_string_equal(p.type, "text/plain");
	assert_string_equal(p.twice, "(none)"); /* repeated */
	assert_string_equal(p.empty, "");
	assert_int_equal(net_call_body_bytes(p.call), 5);
	probe_free(&p);

	u = url_of(w->server, "/interim");
	probe_init(&p);
	r = request_for(&p, "GET", u.s);
	assert_int_equal(probe_run(w->net, &p, &r), ERR_OK);
	assert_string_equal(p.twice, "f"); /* the interim head is forgotten */
	probe_free(&p);
}

static void test_bounds(void **state)
{
	struct world *w = *state;
	struct probe p;
	struct url u = url_of(w->server, "/bigbody");

	probe_init(&p);
	struct net_request r = request_for(&p, "GET", u.s);
	r.response_max = 100000;
	assert_int_equal(probe_run(w->net, &p, &r), ERR_TOO_LARGE);
	assert_int_equal(p.status, 200);
	assert_true(p.body.len <= 100000);
	probe_free(&p);

	u = url_of(w->server, "/bighead");
	probe_init(&p);
	r = request_for(&p, "GET", u.s);
	assert_int_equal(probe_run(w->net, &p, &r), ERR_TOO_LARGE);
	assert_int_equal(p.status, 0);
	probe_free(&p);

	/* the exact bound is allowed, one less is not */
	for (size_t max = 4; max <= 5; max++) {
		u = url_of(w->server, "/hello");
		probe_init(&p);
		r = request_for(&p, "GET", u.s);
		r.response_max = max;
		assert_int_equal(probe_run(w->net, &p, &r), max == 5 ? ERR_OK : ERR_TOO_LARGE);
		probe_free(&p);
	}
}

static void test_receiver_aborts(void **state)
{
	struct world *w = *state;
	struct probe p;
	struct url u = url_of(w->server, "/bigbody");

	probe_init(&p);
	p.abort_after = 1000;
	struct net_request r = request_for(&p, "GET", u.s);
	assert_int_equal(probe_run(w->net, &p, &r), ERR_CANCELLED);
	probe_free(&p);
}

static void test_fetch(void **state)
{
	struct world *w = *state;
	struct net_answer a = { .body = BUF_INIT(1000) };
	struct url u = url_of(w->server, "/hello");
	struct net_request r = { .method = "GET", .url = u.s, .deadline_ms = 10000 };

	assert_int_equal(net_fetch(w->net, &r, &a), ERR_OK);
	assert_int_equal(a.status, 200);
	assert_string_equal(a.body.data, "hello");
	assert_string_equal(a.content_type, "text/plain");
	assert_string_equal(a.error, "");
	buf_done(&a.body);

	a.body = BUF_INIT(4);
	assert_int_equal(net_fetch(w->net, &r, &a), ERR_TOO_LARGE);
	buf_done(&a.body);

	u = url_of(w->server, "/cut");
	a.body = BUF_INIT(0); /* takes the request's bound */
	assert_int_equal(net_fetch(w->net, &r, &a), ERR_IO);
	assert_true(a.error[0] != '\0');
	buf_done(&a.body);

	r.deadline_ms = 0;
	assert_int_equal(net_fetch(w->net, &r, &a), ERR_BAD_FIELD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_framing, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_head_has_no_body, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_headers_are_found, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_bounds, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_receiver_aborts, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_fetch, world_setup, world_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
