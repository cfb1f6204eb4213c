/* Bodies that stream into a sink, and files that come back, whole or in part. */
#include "fixture.h"

static struct http_server *server;
static uint16_t port;
static atomic_int uploads_open, uploads_begun;
static atomic_long upload_bytes;

static enum err on_file(struct request *req)
{
	char path[] = "/tmp/opgate_http_XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(write(fd, "0123456789", 10), 10);
	reply_file(req, "application/octet-stream", fd, 10, "\"tag\"");
	return ERR_OK;
}

static enum err upload_begin(void *app, struct request *req, void **ret_upload)
{
	(void)app;
	if (request_query(req, "nobegin"))
		return request_fail(req, ERR_UNPROCESSABLE, "no");
	atomic_fetch_add(&uploads_open, 1);
	atomic_fetch_add(&uploads_begun, 1);
	size_t *total = xcalloc(1, sizeof(*total));
	*ret_upload = total;
	return ERR_OK;
}

static enum err upload_write(void *upload, const void *p, size_t len)
{
	size_t *total = upload;
	*total += len;
	atomic_fetch_add(&upload_bytes, (long)len);
	return memchr(p, '!', len) ? ERR_DB_DOWN : ERR_OK;
}

static void upload_abandon(void *upload)
{
	atomic_fetch_sub(&uploads_open, 1);
	free(upload);
}

static enum err on_upload(struct request *req)
{
	size_t n = *(size_t *)req->upload;
	if (request_query(req, "take")) {
		free(request_take_upload(req));
		atomic_fetch_sub(&uploads_open, 1);
	}
	reply_json(req, 201, json_must(json_pack("{s:I}", "bytes", (json_int_t)n)));
	return ERR_OK;
}

static enum err before(struct request *req)
{
	const char *auth = request_header(req, "Authorization");
	if (auth && !strcmp(auth, "Bearer bad"))
		return request_fail(req, ERR_BAD_KEY, "no such key");
	return ERR_OK;
}

static const struct route table[] = {
	{ .method = HTTP_GET, .pattern = "/file", .mode = ROUTE_WORKER, .handler = on_file },
	{ .method = HTTP_PUT, .pattern = "/upload", .mode = ROUTE_UPLOAD, .body_max = 4 << 20, .handler = on_upload },
};

static int start(void **state)
{
	(void)state;
	struct http_config c = {
		.host = "127.0.0.1", .daemons = 2, .workers = 2, .queue_max = 4, .routes = table, .route_count = 2, .before = before,
		.upload = { upload_begin, upload_write, upload_abandon },
	};
	if (http_start(&c, &server))
		return -1;
	port = http_port(server);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	http_stop(server);
	assert_int_equal(atomic_load(&uploads_open), 0);
	return 0;
}

static void uploads_stream(void **state)
{
	(void)state;
	size_t len = 1000000;
	char *big = xmalloc(len + 300);
	for (int chunked = 0; chunked < 2; chunked++) {
		atomic_store(&upload_bytes, 0);
		int head = snprintf(big, 300, "PUT /upload%s HTTP/1.1\r\n" H "%s\r\nConnection: close\r\n\r\n%s", chunked ? "?take=1" : "",
				    chunked ? "Transfer-Encoding: chunked" : "Content-Length: 1000000", chunked ? "f4240\r\n" : "");
		memset(big + head, 'u', len);
		snprintf(big + head + len, 16, "%s", chunked ? "\r\n0\r\n\r\n" : "");
		char *a = exchange_bytes(port, big, (size_t)head + len + (chunked ? 7 : 0));
		assert_status(a, 201);
		assert_contains(a, "{\"bytes\":1000000}");
		assert_int_equal(atomic_load(&upload_bytes), len);
		free(a);
		wait_until(atomic_load(&uploads_open) == 0);
	}
	char *a = ask(port, "PUT /upload HTTP/1.1\r\n" H "Content-Length: 0\r\nConnection: close\r\n\r\n");
	assert_contains(a, "{\"bytes\":0}");
	free(a);
	/* many small chunks in one packet: libmicrohttpd calls in a loop */
	int at = snprintf(big, 300, "PUT /upload HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
	for (int i = 0; i < 60000; i++)
		at += snprintf(big + at, 16, "3\r\nabc\r\n");
	at += snprintf(big + at, 16, "0\r\n\r\n");
	a = exchange_bytes(port, big, (size_t)at);
	assert_contains(a, "{\"bytes\":180000}");
	free(a);
	free(big);
}

static void uploads_fail_early(void **state)
{
	(void)state;
	int begun = atomic_load(&uploads_begun);
	char *a = ask(port, "PUT /upload HTTP/1.1\r\n" H "Authorization: Bearer bad\r\nContent-Length: 4000000\r\nExpect: 100-continue\r\n\r\n");
	assert_status(a, 401);
	free(a);
	a = ask(port, "PUT /upload?nobegin=1 HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\n");
	assert_status(a, 422);
	free(a);
	assert_int_equal(atomic_load(&uploads_begun), begun);
	a = ask(port, "PUT /upload HTTP/1.1\r\n" H "Content-Length: 4194305\r\n\r\n");
	assert_status(a, 413);
	free(a);
	/* the sink refuses in the middle: the answer arrives although the client never finishes */
	size_t len = 400000;
	char *big = xmalloc(len + 200);
	int head = snprintf(big, 200, "PUT /upload HTTP/1.1\r\n" H "Content-Length: 4000000\r\n\r\n");
	memset(big + head, '!', len);
	a = exchange_bytes(port, big, (size_t)head + len);
	assert_status(a, 503);
	assert_contains(a, "database_unavailable");
	free(a);
	/* the client leaves in the middle */
	int fd = client_open(port);
	client_send(fd, big, 100);
	wait_until(atomic_load(&uploads_open) == 1);
	close(fd);
	wait_until(atomic_load(&uploads_open) == 0);
	free(big);
}

static void files(void **state)
{
	(void)state;
	static const struct {
		const char *header;
		int status;
		const char *body, *want;
	} rows[] = {
		{ "X: y", 200, "0123456789", "ETag: \"tag\"\r\n" },
		{ "Range: bytes=2-4", 206, "234", "Content-Range: bytes 2-4/10\r\n" },
		{ "Range: bytes=7-", 206, "789", "Content-Range: bytes 7-9/10\r\n" },
		{ "Range: bytes=-3", 206, "789", "Content-Range: bytes 7-9/10\r\n" },
		{ "Range: bytes=-30", 206, "0123456789", "Content-Range: bytes 0-9/10\r\n" },
		{ "Range: bytes=10-", 416, "", "Content-Range: bytes */10\r\n" },
		{ "Range: bytes=-0", 416, "", "Content-Range: bytes */10\r\n" },
		{ "Range: bytes=1-2,4-5", 200, "0123456789", "Accept-Ranges: bytes\r\n" },
		{ "Range: bytes=4-2", 200, "0123456789", "Accept-Ranges: bytes\r\n" },
		{ "Range: bytes=99999999999999999999999-", 200, "0123456789", "Accept-Ranges: bytes\r\n" },
		{ "If-None-Match: \"x\", W/\"tag\"", 304, "", "ETag: \"tag\"\r\n" },
		{ "If-None-Match: \"tagx\"", 200, "0123456789", "ETag: \"tag\"\r\n" },
		{ "Range: bytes=2-4\r\nIf-Range: \"old\"", 200, "0123456789", "ETag: \"tag\"\r\n" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char req[256];
		snprintf(req, sizeof(req), "GET /file HTTP/1.1\r\n" H "%s\r\nConnection: close\r\n\r\n", rows[i].header);
		char *a = ask(port, req);
		assert_status(a, rows[i].status);
		assert_string_equal(body_of(a), rows[i].body);
		assert_contains(a, rows[i].want);
		free(a);
	}
	char *a = ask(port, "HEAD /file HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	assert_contains(a, "Content-Length: 10\r\n");
	assert_string_equal(body_of(a), "");
	free(a);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)
	const struct CMUnitTest all[] = { T(uploads_stream), T(uploads_fail_early), T(files) };
	return cmocka_run_group_tests(all, NULL, NULL);
}
