/* Sign-in, keys, the guard and the registry through the real HTTP boundary: who gets in, with what, and what they may see. */
#include "base/base64.h"
#include "tests/db/pg.h"

#include "blob/blob.h"
#include "handlers/app.h"
#include "handlers/files.h"
#include "handlers/guard.h"
#include "handlers/routes.h"
#include "proof/statements.h"
#include "tests/unit/http/fixture.h"

static enum err handle_node_probe(struct request *req)
{
	const struct node_principal *p = req->principal;
	reply_json(req, 200, json_pack("{s:s}", "node", address_format(&p->node).s));
	return ERR_OK;
}

static enum err handle_admin_probe(struct request *req)
{
	reply_empty(req, 204);
	return ERR_OK;
}

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define R(m, p, fn, mode_, auth_, scope_, role_, max, rate_, surface_) \
	{ .method = HTTP_##m, .pattern = p, .name = #fn, .mode = ROUTE_##mode_, .auth = ROUTE_##auth_, .scope = scope_, .role = role_, .body_max = max, \
	  .rate = rate_, .surface = SURFACE_##surface_, .handler = handle_##fn, .summary = "" }
static const struct route routes[] = {
	R(GET, "/v1/auth/nonce", auth_nonce, WORKER, PUBLIC, NULL, NULL, 0, "auth", PROBLEM),
	R(POST, "/v1/auth/siwe", auth_siwe, WORKER, PUBLIC, NULL, NULL, 8192, "auth", PROBLEM),
	R(POST, "/v1/auth/refresh", auth_refresh, WORKER, ACCOUNT, NULL, NULL, 1024, "auth", PROBLEM),
	R(GET, "/v1/me", me_get, WORKER, ACCOUNT, "read", NULL, 0, "read", PROBLEM),
	R(PATCH, "/v1/me", me_patch, WORKER, ACCOUNT, "registry", NULL, 4096, "write", PROBLEM),
	R(GET, "/v1/keys", keys_list, WORKER, ACCOUNT, "read", NULL, 0, "read", PROBLEM),
	R(POST, "/v1/keys", keys_create, WORKER, ACCOUNT, "keys", NULL, 4096, "write", PROBLEM),
	R(DELETE, "/v1/keys/{id}", keys_revoke, WORKER, ACCOUNT, "keys", NULL, 0, "write", PROBLEM),
	R(GET, "/v1/models", models_list, WORKER, OPTIONAL, NULL, NULL, 0, "read", BOTH),
	R(POST, "/v1/models", models_create, WORKER, ACCOUNT, "registry", NULL, 65536, "write", PROBLEM),
	R(GET, "/v1/models/{author}/{name}", models_get, WORKER, OPTIONAL, NULL, NULL, 0, "read", BOTH),
	R(GET, "/v1/models/{model}", models_get_one, WORKER, OPTIONAL, NULL, NULL, 0, "read", BOTH),
	R(PATCH, "/v1/models/{author}/{name}", models_patch, WORKER, ACCOUNT, "registry", NULL, 65536, "write", PROBLEM),
	R(GET, "/v1/models/{author}/{name}/versions", versions_list, WORKER, OPTIONAL, NULL, NULL, 0, "read", PROBLEM),
	R(POST, "/v1/models/{author}/{name}/versions", versions_create, WORKER, ACCOUNT, "registry", NULL, 16384, "write", PROBLEM),
	R(GET, "/v1/models/{author}/{name}/versions/{version}", versions_get, WORKER, OPTIONAL, NULL, NULL, 0, "read", PROBLEM),
	R(PUT, "/v1/models/{author}/{name}/versions/{version}/files/{path...}", files_put, UPLOAD, ACCOUNT, "registry", NULL, TB, "write", PROBLEM),
	R(POST, "/v1/models/{author}/{name}/versions/{version}/publish", versions_publish, WORKER, ACCOUNT, "registry", NULL, 4096, "write", PROBLEM),
	R(GET, "/v1/versions/{digest}", versions_by_digest, WORKER, OPTIONAL, NULL, NULL, 0, "read", PROBLEM),
	R(GET, "/{author}/{name}/resolve/{revision}/{path...}", files_get, WORKER, OPTIONAL, NULL, NULL, 0, "read", PROBLEM),
	R(POST, "/v1/nodes/{address}/probe", node_probe, WORKER, NODE, NULL, NULL, 4096, "write", PROBLEM),
	R(GET, "/v1/admin", admin_probe, WORKER, ACCOUNT, NULL, "admin", 0, "read", PROBLEM),
};

static struct settings settings = { .base_url = "http://gw.test", .chain_id = 84532, .admin_addresses = "", .upload_max_bytes = 1000000, .node_timeout_ms = 60000,
				    .platform_fee_bps = 1000, .rate_read = 0, .rate_write = 0, .rate_paid = 0, .rate_auth = 0 };
static struct app app = { .settings = &settings, .gateway = { { 0x99 } }, .jwt_secret = { 1, 2, 3 } };
static uint16_t port;
static char blob_folder[] = "/tmp/opgate-test-XXXXXX";

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
	struct http_config c = { .host = "127.0.0.1", .daemons = 1, .workers = 2, .queue_max = 64, .connections_max = 64, .header_timeout_ms = 20000,
				 .request_timeout_ms = 20000, .handler_timeout_ms = 20000, .routes = routes, .route_count = COUNT_OF(routes), .app = &app,
				 .before = guard_before, .worker_new = worker_new, .worker_free = worker_free };
	c.upload = FILES_SINK;
	if (pg_setup(state) || !mkdtemp(blob_folder) || blob_store_open(blob_folder, &app.blobs) || http_start(&c, &app.http))
		return -1;
	port = http_port(app.http);
	return 0;
}

static int teardown(void **state)
{
	http_stop(app.http);
	blob_store_close(app.blobs);
	_cleanup_free_ char *rm = xasprintf("rm -rf '%s'", blob_folder);
	return system(rm) || pg_teardown(state);
}

/* One request; `bearer` may be NULL, `more` are further header lines. The caller frees the whole answer. */
static char *call(const char *method, const char *path, const char *bearer, const char *more, const char *body)
{
	_cleanup_free_ char *auth = bearer ? xasprintf("Authorization: Bearer %s\r\n", bearer) : xstrdup("");
	_cleanup_free_ char *request = xasprintf("%s %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n%s%sContent-Length: %zu\r\n\r\n%s", method, path, auth,
						 more ? more : "", strlen(body), body);
	return ask(port, request);
}

static json_t *json_of(const char *answer)
{
	json_t *j = NULL;
	if (json_parse(body_of(answer), strlen(body_of(answer)), &j, NULL))
		fail_msg("no JSON in: %s", answer);
	return j;
}

/* The answer's member, when the status is as wanted; the caller frees. */
static char *call_for(int status, const char *member, const char *method, const char *path, const char *bearer, const char *body)
{
	_cleanup_free_ char *a = call(method, path, bearer, NULL, body);
	assert_status(a, status);
	if (!member)
		return NULL;
	_cleanup_json_ json_t *j = json_of(a);
	const char *s = json_string_value(json_object_get(j, member));
	if (!s)
		fail_msg("no %s in %s", member, a);
	return xstrdup(s);
}
#define expect(status, method, path, bearer, body) ((void)call_for(status, NULL, method, path, bearer, body))
#define expect_code(status, code_, method, path, bearer, body) \
	do { \
		_cleanup_free_ char *c_ = call_for(status, "code", method, path, bearer, body); \
		assert_string_equal(c_, code_); \
	} while (0)

static struct secret_key key_of(uint8_t n)
{
	struct secret_key k = { { 0 } };
	k.b[31] = n;
	return k;
}

static char *siwe_body(const struct secret_key *k, const char *domain, const char *nonce)
{
	struct address a;
	struct hash digest;
	struct signature sig;
	secret_key_address(k, &a);
	_cleanup_free_ char *message = xasprintf("%s wants you to sign in with your Ethereum account:\n%s\n\n\nURI: http://gw.test\nVersion: 1\nChain ID: 84532\nNonce: %s\nIssued At: %s",
						 domain, address_format_eip55(&a).s, nonce, time_format_rfc3339(clock_wall_ms()).s);
	eip191_digest(message, strlen(message), &digest);
	ecdsa_sign(k, &digest, &sig);
	_cleanup_json_ json_t *j = json_pack("{s:s,s:s}", "message", message, "signature", signature_format(&sig).s);
	return json_text(j);
}

static char *sign_in(uint8_t n)
{
	struct secret_key k = key_of(n);
	_cleanup_free_ char *nonce = call_for(200, "nonce", "GET", "/v1/auth/nonce", NULL, "");
	_cleanup_free_ char *body = siwe_body(&k, "gw.test", nonce);
	return call_for(200, "token", "POST", "/v1/auth/siwe", NULL, body);
}

static void test_sign_in(void **state)
{
	(void)state;
	struct secret_key k = key_of(1);
	_cleanup_free_ char *nonce = call_for(200, "nonce", "GET", "/v1/auth/nonce", NULL, "");
	_cleanup_free_ char *body = siwe_body(&k, "gw.test", nonce);
	_cleanup_free_ char *token = call_for(200, "token", "POST", "/v1/auth/siwe", NULL, body);
	expect(200, "GET", "/v1/me", token, "");
	expect_code(401, "invalid_token", "POST", "/v1/auth/siwe", NULL, body); /* replayed */
	/* an attempt for another site uses the nonce up, too; and so does a malformed one */
	_cleanup_free_ char *nonce2 = call_for(200, "nonce", "GET", "/v1/auth/nonce", NULL, "");
	_cleanup_free_ char *evil = siwe_body(&k, "evil.test", nonce2), *good2 = siwe_body(&k, "gw.test", nonce2);
	expect_code(401, "bad_signature", "POST", "/v1/auth/siwe", NULL, evil);
	expect_code(401, "invalid_token", "POST", "/v1/auth/siwe", NULL, good2);
	_cleanup_free_ char *nonce3 = call_for(200, "nonce", "GET", "/v1/auth/nonce", NULL, "");
	_cleanup_free_ char *garbage = xasprintf("{\"message\":\"x\\nNonce: %s\",\"signature\":\"0x\"}", nonce3), *good3 = siwe_body(&k, "gw.test", nonce3);
	expect_code(400, "bad_field", "POST", "/v1/auth/siwe", NULL, garbage);
	expect_code(401, "invalid_token", "POST", "/v1/auth/siwe", NULL, good3);
	_cleanup_free_ char *own = siwe_body(&k, "gw.test", "chosenByTheCaller1");
	expect_code(401, "invalid_token", "POST", "/v1/auth/siwe", NULL, own);
	expect_code(400, "bad_json", "POST", "/v1/auth/siwe", NULL, "{\"message\":1,\"message\":2}");
	expect_code(400, "unknown_field", "POST", "/v1/auth/siwe", NULL, "{\"address\":\"0x\"}");
	expect(200, "POST", "/v1/auth/refresh", token, "");
}

static void test_credentials(void **state)
{
	static const char *const absent[] = { "none", "sk-placeholder", "0x00", "null", "a.b.c" };
	(void)state;
	_cleanup_free_ char *token = sign_in(2);
	expect_code(401, "unauthenticated", "GET", "/v1/me", NULL, "");
	for (size_t i = 0; i < COUNT_OF(absent); i++) {
		expect_code(401, "unauthenticated", "GET", "/v1/me", absent[i], "");
		expect(200, "GET", "/v1/models", absent[i], ""); /* as if nothing had been sent */
	}
	expect_code(401, "invalid_token", "GET", "/v1/me", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.e30.", "");
	expect(401, "GET", "/v1/models", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.e30.", ""); /* a bad one is refused even where none is needed */
	expect_code(401, "invalid_api_key", "GET", "/v1/me", "ogk_mistyped", "");
	expect_code(401, "invalid_api_key", "GET", "/v1/me", "ogk_00000000000000000000000000000000000000001DYboY", ""); /* well-formed, unknown */
	_cleanup_free_ char *key = call_for(201, "key", "POST", "/v1/keys", token, "{\"name\":\"k\"}");
	_cleanup_free_ char *id = call_for(201, "id", "POST", "/v1/keys", token, "{\"name\":\"k2\",\"scopes\":[\"read\"],\"expires_in\":3600}");
	expect(200, "GET", "/v1/me", key, "");
	_cleanup_free_ char *header = xasprintf("x-api-key: %s\r\n", key);
	_cleanup_free_ char *by_header = call("GET", "/v1/me", NULL, header, "");
	assert_status(by_header, 200);
	/* inference and read only: no registry, no keys, no turning into a token */
	expect_code(403, "forbidden", "POST", "/v1/models", key, "{\"name\":\"m\"}");
	expect_code(403, "forbidden", "POST", "/v1/keys", key, "{\"name\":\"x\"}");
	expect_code(403, "forbidden", "POST", "/v1/auth/refresh", key, "");
	expect_code(400, "bad_field", "POST", "/v1/keys", token, "{\"name\":\"x\",\"scopes\":[\"keys\"]}");
	expect_code(400, "bad_field", "POST", "/v1/keys", token, "{\"name\":\"x\",\"expires_at\":\"2001-01-01T00:00:00Z\"}");
	/* somebody else cannot revoke it; the owner can, and it is dead at once */
	_cleanup_free_ char *list = call("GET", "/v1/keys", token, NULL, ""), *other = sign_in(3);
	assert_true(strstr(list, key) == NULL && strstr(list, "\"prefix\":\"ogk_") != NULL);
	_cleanup_json_ json_t *j = json_of(list);
	_cleanup_free_ char *path = xasprintf("/v1/keys/%s", json_string_value(json_object_get(json_array_get(json_object_get(j, "data"), 1), "id")));
	expect(404, "DELETE", path, other, "");
	expect(200, "GET", "/v1/me", key, "");
	expect(204, "DELETE", path, token, "");
	expect_code(401, "invalid_api_key", "GET", "/v1/me", key, "");
	expect_code(401, "invalid_api_key", "GET", "/v1/models", key, "");
}

static void test_roles_and_handles(void **state)
{
	(void)state;
	_cleanup_free_ char *token = sign_in(4), *other = sign_in(5);
	struct secret_key k = key_of(4);
	struct address a;
	secret_key_address(&k, &a);
	expect_code(403, "forbidden", "GET", "/v1/admin", token, "");
	_cleanup_free_ char *admins = xasprintf("0x0000000000000000000000000000000000000001, %s", address_format_eip55(&a).s);
	settings.admin_addresses = admins;
	expect(204, "GET", "/v1/admin", token, "");
	expect_code(403, "forbidden", "GET", "/v1/admin", other, "");
	settings.admin_addresses = "";
	expect(200, "PATCH", "/v1/me", token, "{\"handle\":\"dora\"}");
	expect_code(409, "conflict", "PATCH", "/v1/me", token, "{\"handle\":\"dora2\"}");
	expect_code(409, "conflict", "PATCH", "/v1/me", other, "{\"handle\":\"dora\"}");
	expect_code(400, "bad_field", "PATCH", "/v1/me", other, "{\"handle\":\"v1\"}");
	expect_code(400, "bad_field", "PATCH", "/v1/me", other, "{\"handle\":\"0xaa\"}");
}

static void test_registry(void **state)
{
	(void)state;
	_cleanup_free_ char *author = sign_in(6), *other = sign_in(7);
	expect(200, "PATCH", "/v1/me", author, "{\"handle\":\"ann\"}");
	_cleanup_free_ char *id = call_for(201, "id", "POST", "/v1/models", author, "{\"name\":\"vad\",\"title\":\"VAD\"}");
	assert_string_equal(id, "ann/vad");
	expect_code(409, "conflict", "POST", "/v1/models", author, "{\"name\":\"vad\"}");
	expect_code(400, "bad_field", "POST", "/v1/models", author, "{\"name\":\"../x\"}");
	/* unpublished: its owner's alone */
	expect(200, "GET", "/v1/models/ann/vad", author, "");
	expect_code(404, "model_not_found", "GET", "/v1/models/ann/vad", other, "");
	expect_code(404, "model_not_found", "GET", "/v1/models/ann%2Fvad", NULL, "");
	expect_code(404, "model_not_found", "POST", "/v1/models/ann/vad/versions", other, "{\"surface\":\"tensor\",\"price\":{\"input\":\"5\"}}");
	expect_code(400, "bad_field", "POST", "/v1/models/ann/vad/versions", author, "{\"surface\":\"tensor\",\"price\":{\"input\":5}}");
	expect_code(400, "unknown_field", "POST", "/v1/models/ann/vad/versions", author, "{\"surface\":\"tensor\",\"price\":{\"input\":\"5\",\"tax\":\"1\"}}");
	expect_code(400, "bad_field", "POST", "/v1/models/ann/vad/versions", author, "{\"surface\":\"tensor\",\"price\":{\"input\":\"5\",\"output\":\"1\"}}");
	_cleanup_free_ char *version = call_for(201, "id", "POST", "/v1/models/ann/vad/versions", author, "{\"surface\":\"tensor\",\"price\":{\"input\":\"5\"}}");
	assert_string_equal(version, "ann/vad@1");
	expect(200, "GET", "/v1/models/ann/vad/versions/1", author, "");
	expect(404, "GET", "/v1/models/ann/vad/versions/1", other, "");
	expect(404, "PUT", "/v1/models/ann/vad/versions/1/files/a.onnx", other, "evil");
	expect_code(422, "unprocessable", "POST", "/v1/models/ann/vad/versions/1/publish", author, "");
	/* files */
	_cleanup_free_ char *sha = call_for(201, "sha256", "PUT", "/v1/models/ann/vad/versions/1/files/dir/model.onnx", author, "hello");
	assert_string_equal(sha, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
	_cleanup_free_ char *wrong = call("PUT", "/v1/models/ann/vad/versions/1/files/x", author, "X-Content-SHA256: 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\r\n", "hellp");
	assert_status(wrong, 400);
	expect(400, "PUT", "/v1/models/ann/vad/versions/1/files/.hidden", author, "x");
	expect(201, "PUT", "/v1/models/ann/vad/versions/1/files/README.md", author, "words");
	expect(404, "GET", "/ann/vad/resolve/main/README.md", NULL, ""); /* a draft is not served */
	_cleanup_free_ char *too_much = xmalloc(1000002);
	memset(too_much, 'x', 1000001);
	too_much[1000001] = '\0';
	expect_code(413, "too_large", "PUT", "/v1/models/ann/vad/versions/1/files/big", author, too_much);
	_cleanup_free_ char *digest = call_for(200, "digest", "POST", "/v1/models/ann/vad/versions/1/publish", author, "");
	expect_code(409, "conflict", "POST", "/v1/models/ann/vad/versions/1/publish", author, "");
	expect_code(409, "conflict", "PUT", "/v1/models/ann/vad/versions/1/files/b", author, "late");
	expect_code(403, "forbidden", "PATCH", "/v1/models/ann/vad", other, "{\"title\":\"mine\"}");
	expect_code(403, "forbidden", "PUT", "/v1/models/ann/vad/versions/1/files/b", other, "evil");
	/* everybody sees it now, by every name */
	const char *const names[] = { "/v1/models/ann/vad", "/v1/models/ann%2Fvad", "/v1/models/ann%2Fvad@1", "/v1/models/ann/vad/versions/main", "/v1/models/ann/vad/versions/1" };
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		_cleanup_free_ char *seen = call_for(200, "digest", "GET", names[i], NULL, "");
		assert_string_equal(seen, digest);
	}
	_cleanup_free_ char *by_digest = xasprintf("/v1/versions/%s", digest), *text = call_for(200, "manifest", "GET", by_digest, NULL, "");
	struct hash h;
	sha256_of(text, strlen(text), &h);
	assert_string_equal(hash_format(&h).s + 2, digest + 7); /* the digest is the manifest's */
	_cleanup_free_ char *file = call("GET", "/ann/vad/resolve/main/dir/model.onnx", NULL, NULL, ""), *pinned_path = xasprintf("/ann/vad/resolve/%s/README.md", digest);
	assert_status(file, 200);
	assert_string_equal(body_of(file), "hello");
	assert_contains(file, digest); /* X-Repo-Commit */
	assert_contains(file, sha);    /* ETag */
	expect(200, "GET", pinned_path, NULL, "");
	expect(404, "GET", "/ann/vad/resolve/main/nothing", NULL, "");
	expect(404, "GET", "/ann/vad/resolve/2/README.md", NULL, "");
	/* the same files again are the same version */
	expect(201, "POST", "/v1/models/ann/vad/versions", author, "{\"surface\":\"tensor\",\"price\":{\"input\":\"6\"}}");
	expect(201, "PUT", "/v1/models/ann/vad/versions/2/files/dir/model.onnx", author, "hello");
	expect(201, "PUT", "/v1/models/ann/vad/versions/2/files/README.md", author, "words");
	expect_code(409, "conflict", "POST", "/v1/models/ann/vad/versions/2/publish", author, "");
	expect(201, "PUT", "/v1/models/ann/vad/versions/2/files/second.onnx", author, "hello");
	expect_code(422, "unprocessable", "POST", "/v1/models/ann/vad/versions/2/publish", author, "");
}

/* A request in the name of `k`'s node, signed by `signs`. */
static char *node_header_by(const struct secret_key *k, const struct secret_key *signs, const char *path, const char *body, int64_t shift_ms, uint8_t nonce)
{
	struct node_request r = { .gateway = app.gateway, .issued_at = (uint64_t)(clock_wall_ms() + shift_ms), .nonce = { { nonce } } };
	struct signature sig;
	secret_key_address(k, &r.node);
	snprintf(r.method, sizeof(r.method), "POST");
	snprintf(r.path, sizeof(r.path), "%s", path);
	sha256_of(body, strlen(body), &r.body_hash);
	doc_sign(&NODE_REQUEST_TYPE, &r, 84532, signs, &sig);
	_cleanup_free_ char *text = doc_write(&NODE_REQUEST_TYPE, &r, 84532, &sig), *b64 = xmalloc(base64url_encoded_len(strlen(text)) + 1);
	base64url_encode(text, strlen(text), b64);
	return xasprintf("Opgate-Node: %s\r\n", b64);
}

static char *node_header(const struct secret_key *k, const char *path, const char *body, int64_t shift_ms, uint8_t nonce)
{
	return node_header_by(k, k, path, body, shift_ms, nonce);
}

static int node_call(const struct secret_key *k, const char *signed_path, const char *signed_body, int64_t shift_ms, uint8_t nonce, const char *path, const char *body)
{
	_cleanup_free_ char *header = node_header(k, signed_path, signed_body, shift_ms, nonce), *answer = call("POST", path, NULL, header, body);
	return status_of(answer);
}

static void test_node_requests(void **state)
{
	(void)state;
	struct secret_key k = key_of(40), stranger = key_of(41);
	struct address node, other;
	secret_key_address(&k, &node);
	secret_key_address(&stranger, &other);
	_cleanup_free_ char *path = xasprintf("/v1/nodes/%s/probe", address_format(&node).s), *other_path = xasprintf("/v1/nodes/%s/probe", address_format(&other).s);
	assert_int_equal(node_call(&k, path, "{}", 0, 1, path, "{}"), 403); /* not registered */
	_cleanup_free_ char *sql = xasprintf("INSERT INTO node (address, operator, url, registration, operator_signature, issued_at)"
					     " SELECT decode('%s', 'hex'), min(id), 'http://n', '{}', '0x', 1 FROM account", address_format(&node).s + 2);
	assert_ok(db_script(pg, sql));
	assert_int_equal(node_call(&k, path, "{}", 0, 2, path, "{}"), 200);
	assert_int_equal(node_call(&k, path, "{}", 0, 2, path, "{}"), 401);        /* replayed */
	assert_int_equal(node_call(&k, path, "{}", 0, 3, path, "{ }"), 401);       /* another body */
	assert_int_equal(node_call(&k, "/v1/nodes/x", "{}", 0, 4, path, "{}"), 401); /* another path */
	assert_int_equal(node_call(&k, path, "{}", -70000, 5, path, "{}"), 401);   /* old */
	assert_int_equal(node_call(&k, path, "{}", 70000, 6, path, "{}"), 401);    /* early */
	assert_int_equal(node_call(&k, other_path, "{}", 0, 7, other_path, "{}"), 403); /* in another's name */
	assert_int_equal(node_call(&stranger, path, "{}", 0, 8, path, "{}"), 403);
	_cleanup_free_ char *forged_header = node_header_by(&k, &stranger, path, "{}", 0, 10), *forged = call("POST", path, NULL, forged_header, "{}");
	assert_status(forged, 401); /* in the node's name, by another key */
	app.gateway.b[5] ^= 1;
	_cleanup_free_ char *elsewhere = node_header(&k, path, "{}", 0, 9);
	app.gateway.b[5] ^= 1;
	_cleanup_free_ char *answer = call("POST", path, NULL, elsewhere, "{}"), *none = call("POST", path, NULL, NULL, "{}");
	assert_status(answer, 401); /* signed for another gateway */
	assert_status(none, 401);
	_cleanup_free_ char *junk = call("POST", path, NULL, "Opgate-Node: !!!\r\n", "{}");
	assert_status(junk, 401);
}

static void test_rate_limit(void **state)
{
	(void)state;
	_cleanup_free_ char *token = sign_in(50);
	settings.rate_write = 1;
	int limited = 0;
	for (int i = 0; i < 8; i++) {
		_cleanup_free_ char *a = call("PATCH", "/v1/me", token, NULL, "{\"handle\":\"!\"}");
		if (status_of(a) == 429) {
			assert_contains(a, "Retry-After:");
			limited++;
		}
	}
	settings.rate_write = 0;
	assert_true(limited >= 1 && limited <= 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sign_in), cmocka_unit_test(test_credentials), cmocka_unit_test(test_roles_and_handles), cmocka_unit_test(test_registry),
		cmocka_unit_test(test_node_requests), cmocka_unit_test(test_rate_limit),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
