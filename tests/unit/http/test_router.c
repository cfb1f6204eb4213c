/* The router and the URL checks, as values. */
#include "fixture.h"

#include "http/router.h"

static enum err nothing(struct request *req)
{
	(void)req;
	return ERR_OK;
}

#define R(m, p) { .method = HTTP_##m, .pattern = p, .name = #m " " p, .handler = nothing }

static const struct route table[] = {
	R(GET, "/"),
	R(GET, "/v1/models"),
	R(POST, "/v1/models"),
	R(GET, "/v1/models/{model*}"),
	R(PATCH, "/v1/models/{model*}"),
	R(GET, "/v1/models/{model*}/versions"),
	R(PUT, "/v1/models/{model*}/versions/{v}/files/{path...}"),
	R(GET, "/v1/jobs/{id}"),
	R(GET, "/v1/jobs/mine"),
	R(POST, "/v1/jobs/{id}/cancel"),
	R(GET, "/v2/models/{model*}/versions/{v}/ready"),
	R(POST, "/v2/models/{model*}/infer"),
	R(GET, "/{author}/{name}/resolve/{rev}/{path...}"),
	R(GET, "/static/{rest...}"),
};

static struct router *router;

static int make(void **state)
{
	(void)state;
	return router_new(table, sizeof(table) / sizeof(*table), &router);
}

static int drop(void **state)
{
	(void)state;
	router_free(router);
	return 0;
}

static const char *param(const struct route_match *m, const char *name)
{
	static char out[256];
	for (size_t i = 0; i < m->param_count; i++)
		if (m->params[i].name.len == strlen(name) && !memcmp(m->params[i].name.p, name, strlen(name))) {
			long n = url_decode(m->params[i].raw.p, m->params[i].raw.len, false, out);
			assert_true(n >= 0);
			out[n] = '\0';
			return out;
		}
	return NULL;
}

static void finds_the_right_route(void **state)
{
	(void)state;
	static const struct {
		enum http_method method;
		const char *path, *name, *param, *value;
	} rows[] = {
		{ HTTP_GET, "/", "GET /", NULL, NULL },
		{ HTTP_GET, "/v1/models", "GET /v1/models", NULL, NULL },
		{ HTTP_POST, "/v1/models", "POST /v1/models", NULL, NULL },
		{ HTTP_GET, "/v1/models/acme/tiny", "GET /v1/models/{model*}", "model", "acme/tiny" },
		{ HTTP_GET, "/v1/models/acme%2Ftiny", "GET /v1/models/{model*}", "model", "acme/tiny" },
		{ HTTP_GET, "/v1/models/acme%2ftiny/versions", "GET /v1/models/{model*}/versions", "model", "acme/tiny" },
		{ HTTP_GET, "/v1/models/acme/tiny/versions", "GET /v1/models/{model*}/versions", "model", "acme/tiny" },
		{ HTTP_GET, "/v1/models/acme/tiny@sha256:00", "GET /v1/models/{model*}", "model", "acme/tiny@sha256:00" },
		{ HTTP_PUT, "/v1/models/a/b/versions/1/files/x/y.bin", "PUT /v1/models/{model*}/versions/{v}/files/{path...}",
		  "path", "x/y.bin" },
		{ HTTP_PUT, "/v1/models/a%2Fb/versions/1/files/y", "PUT /v1/models/{model*}/versions/{v}/files/{path...}", "v", "1" },
		{ HTTP_GET, "/v1/jobs/mine", "GET /v1/jobs/mine", NULL, NULL },
		{ HTTP_GET, "/v1/jobs/m%69ne", "GET /v1/jobs/{id}", "id", "mine" },
		{ HTTP_GET, "/v1/jobs/1", "GET /v1/jobs/{id}", "id", "1" },
		{ HTTP_POST, "/v2/models/m/infer", "POST /v2/models/{model*}/infer", "model", "m" },
		{ HTTP_POST, "/v2/models/a/m/infer", "POST /v2/models/{model*}/infer", "model", "a/m" },
		{ HTTP_GET, "/v2/models/a/m/versions/3/ready", "GET /v2/models/{model*}/versions/{v}/ready", "v", "3" },
		{ HTTP_GET, "/acme/tiny/resolve/main/a/b", "GET /{author}/{name}/resolve/{rev}/{path...}", "path", "a/b" },
		{ HTTP_GET, "/static/a/b%20c.css", "GET /static/{rest...}", "rest", "a/b c.css" },
		{ HTTP_GET, "/static/", "GET /static/{rest...}", "rest", "" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct route_match m;
		if (router_match(router, rows[i].method, rows[i].path, &m))
			fail_msg("%s not found", rows[i].path);
		assert_string_equal(m.route->name, rows[i].name);
		if (rows[i].param)
			assert_string_equal(param(&m, rows[i].param), rows[i].value);
	}
}

static void tells_404_from_405(void **state)
{
	(void)state;
	struct route_match m;
	static const char *const missing[] = { "/v1", "/v1/models/", "/v1/jobs", "/v1/jobs/", "/v1/jobs/a/b", "/static", "/v1/jobs//cancel",
					       "/x", "", "/v1/models/a/b/c/d" };
	for (size_t i = 0; i < sizeof(missing) / sizeof(*missing); i++)
		if (router_match(router, HTTP_GET, missing[i], &m) != ERR_NOT_FOUND)
			fail_msg("%s found", missing[i]);
	assert_int_equal(router_match(router, HTTP_DELETE, "/v1/models", &m), ERR_METHOD_NOT_ALLOWED);
	assert_int_equal(m.allow, 1u << HTTP_GET | 1u << HTTP_POST);
	assert_int_equal(router_match(router, HTTP_GET, "/v1/jobs/1/cancel", &m), ERR_METHOD_NOT_ALLOWED);
	assert_int_equal(m.allow, 1u << HTTP_POST);
	assert_int_equal(router_match(router, -1, "/v1/jobs/mine", &m), ERR_METHOD_NOT_ALLOWED);
}

static void refuses_bad_patterns(void **state)
{
	(void)state;
	static const char *const bad[] = { "x", "/{", "/{}", "/{a", "/{a...}/b", "/a{b}",
					   "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct route r = { .pattern = bad[i] };
		struct router *none = NULL;
		assert_int_equal(router_new(&r, 1, &none), ERR_BAD_REQUEST);
		assert_null(none);
	}
}

static void checks_paths(void **state)
{
	(void)state;
	static const char *const good[] = { "/", "/a", "/a/", "/a.b/..c/...", "/%C3%A9", "/\xc3\xa9", "/a%2Fb", "/a+b", "/~a:b@c" };
	static const char *const bad[] = { "", "a", "*", "http://h/", "//", "//a", "/a//b", "/a/.", "/./a", "/a/../b", "/..", "/%2e", "/%2E%2e/x",
					   "/.%2e/x", "/a%2f..%2fb", "/a%2f%2fb", "/a%2F/b", "/%00", "/a%00b", "/%", "/%4", "/%zz", "/a b", "/a\tb",
					   "/a#b", "/%0a", "/%7f", "/\xff", "/%ff", "/%c0%af", "/%ed%a0%80", "/a\x01" };
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		if (path_check(good[i]))
			fail_msg("%s: %s", good[i], path_check(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (!path_check(bad[i]))
			fail_msg("%s passed", bad[i]);
}

static void reads_queries(void **state)
{
	(void)state;
	struct slice v;
	assert_true(query_find("a=1&b=2&a=3", "a", &v));
	assert_int_equal(v.len, 1);
	assert_int_equal(v.p[0], '1');
	assert_true(query_find("x&%61b=%20y", "ab", &v));
	assert_int_equal(v.len, 4);
	assert_true(query_find("x&y=", "x", &v));
	assert_int_equal(v.len, 0);
	assert_false(query_find("", "a", &v));
	assert_false(query_find("ab=1", "a", &v));
	assert_false(query_find("&&=&", "a", &v));
	char out[8];
	assert_int_equal(url_decode("a+%2B", 5, true, out), 3);
	assert_memory_equal(out, "a +", 3);
	assert_null(query_check("a=b&c=%20d+e&=&"));
	assert_non_null(query_check("a=%00"));
	assert_non_null(query_check("a=%f"));
	assert_non_null(query_check("a=%c3&b=%a9"));
	assert_non_null(query_check("a=\xff"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(finds_the_right_route, make, drop),
		cmocka_unit_test_setup_teardown(tells_404_from_405, make, drop),
		cmocka_unit_test(refuses_bad_patterns),
		cmocka_unit_test(checks_paths),
		cmocka_unit_test(reads_queries),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
