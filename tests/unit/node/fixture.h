/* A gateway as the agent sees it (over the real HTTP boundary), a backend whose every byte the test decides, and tickets. */
#ifndef OPGATE_TESTS_NODE_FIXTURE_H
#define OPGATE_TESTS_NODE_FIXTURE_H

#include <stdbool.h>
#include <sys/eventfd.h>

#include "base/base64.h"
#include "node/agent.h"
#include "proof/sse.h"
#include "proof/verdict.h"
#include "tests/unit/http/fixture.h"

#define HELPER __attribute__((unused)) static
#define CHAIN 31337
#define MODEL "alice/adder"

/* ---- the gateway ---- */

struct fake_gateway {
	struct http_server *http;
	struct secret_key key;
	struct address address;
	pthread_mutex_t lock;
	char *offers; /* the last set */
	char *receipts[16];
	int receipt_count;
	struct hash digest;
	char *manifest;
	atomic_int registered, heartbeats, drained, listed, downloads, bad;
	atomic_bool corrupt, forgetful; /* sends other bytes; knows no node */
	const char *surface;
};

#define FILE_TEXT "the model's bytes"

/* Opgate-Node, checked as the real gateway does. */
HELPER bool fake_signed(struct request *req, const char *method)
{
	struct fake_gateway *g = req->app;
	const char *header = request_header(req, "Opgate-Node");
	uint8_t text[DOC_JSON_MAX];
	size_t len;
	struct node_request r;
	uint64_t chain;
	struct signature sig;
	struct address signer;
	struct hash body;
	struct json_why why;
	sha256_of(req->body, req->body_len, &body);
	bool good = header && !base64url_decode(header, strlen(header), text, sizeof(text), &len) &&
		    !doc_read(&NODE_REQUEST_TYPE, (char *)text, len, &r, &chain, &sig, &why) && chain == CHAIN &&
		    !doc_signer(&NODE_REQUEST_TYPE, &r, chain, &sig, &signer) && address_equal(&signer, &r.node) &&
		    address_equal(&r.gateway, &g->address) && strcmp(r.method, method) == 0 && strcmp(r.path, req->path) == 0 &&
		    hash_equal(&body, &r.body_hash);
	if (!good)
		atomic_fetch_add(&g->bad, 1);
	return good;
}

HELPER enum err fake_register(struct request *req)
{
	struct fake_gateway *g = req->app;
	_cleanup_json_ json_t *j = NULL;
	struct json_why why;
	struct registration r;
	uint64_t chain;
	struct signature sig, operator_;
	struct address node, owner;
	const char *text;
	bool good = !json_parse(req->body, req->body_len, &j, &why) && (text = json_string_value(json_object_get(j, "registration"))) &&
		    !doc_read(&REGISTRATION_TYPE, text, strlen(text), &r, &chain, &sig, &why) &&
		    !doc_signer(&REGISTRATION_TYPE, &r, chain, &sig, &node) && address_equal(&node, &r.node) &&
		    !signature_parse(json_string_value(json_object_get(j, "operator_signature")), &operator_) &&
		    !doc_signer(&REGISTRATION_TYPE, &r, chain, &operator_, &owner) && address_equal(&owner, &r.operator_);
	if (!good)
		return ERR_BAD_SIGNATURE;
	atomic_store(&g->forgetful, false);
	atomic_fetch_add(&g->registered, 1);
	reply_json(req, 201, json_object());
	return ERR_OK;
}

HELPER enum err fake_count(struct request *req, const char *method, atomic_int *count)
{
	struct fake_gateway *g = req->app;
	if (!fake_signed(req, method))
		return ERR_BAD_SIGNATURE;
	if (atomic_load(&g->forgetful))
		return ERR_NOT_FOUND;
	atomic_fetch_add(count, 1);
	reply_json(req, 200, json_object());
	return ERR_OK;
}
HELPER enum err fake_heartbeat(struct request *req) { return fake_count(req, "POST", &((struct fake_gateway *)req->app)->heartbeats); }
HELPER enum err fake_drain(struct request *req) { return fake_count(req, "POST", &((struct fake_gateway *)req->app)->drained); }

HELPER enum err fake_offers(struct request *req)
{
	struct fake_gateway *g = req->app;
	if (!fake_signed(req, "PUT"))
		return ERR_BAD_SIGNATURE;
	pthread_mutex_lock(&g->lock);
	free(g->offers);
	g->offers = xstrndup(req->body, req->body_len);
	pthread_mutex_unlock(&g->lock);
	reply_json(req, 200, json_object());
	return ERR_OK;
}

HELPER enum err fake_receipt(struct request *req)
{
	struct fake_gateway *g = req->app;
	if (!fake_signed(req, "POST"))
		return ERR_BAD_SIGNATURE;
	pthread_mutex_lock(&g->lock);
	g->receipts[g->receipt_count++ % 16] = xstrndup(req->body, req->body_len);
	pthread_mutex_unlock(&g->lock);
	reply_empty(req, 204);
	return ERR_OK;
}

HELPER enum err fake_models(struct request *req)
{
	struct fake_gateway *g = req->app;
	char digest[72] = "sha256:";
	hex_encode(g->digest.b, 32, digest + 7);
	atomic_fetch_add(&g->listed, 1);
	bool second = request_query(req, "after") != NULL; /* two pages: ours is on the second */
	reply_json(req, 200, second ? json_pack("{s:s,s:[{s:s,s:s,s:s,s:i}],s:b}", "object", "list", "data", "id", MODEL, "surface", g->surface,
						"digest", digest, "version", 1, "has_more", 0)
				    : json_pack("{s:s,s:[{s:s}],s:b,s:s}", "object", "list", "data", "id", "bob/empty", "has_more", 1, "last_id", "bob/empty"));
	return ERR_OK;
}

HELPER enum err fake_version(struct request *req)
{
	struct fake_gateway *g = req->app;
	reply_json(req, 200, json_pack("{s:s,s:s}", "model", MODEL, "manifest", g->manifest));
	return ERR_OK;
}

HELPER enum err fake_file(struct request *req)
{
	struct fake_gateway *g = req->app;
	const char *text = atomic_load(&g->corrupt) ? "the model's bytez" : FILE_TEXT;
	if (strcmp(request_param(req, "path"), "deep/adder.bin") != 0)
		return ERR_NOT_FOUND;
	atomic_fetch_add(&g->downloads, 1);
	reply_bytes(req, 200, "application/octet-stream", text, strlen(text));
	return ERR_OK;
}

#define FAKE(m, p, n, fn) { .method = HTTP_##m, .pattern = p, .name = n, .mode = ROUTE_WORKER, .auth = ROUTE_PUBLIC, .body_max = 1 << 20, .handler = fn }
HELPER const struct route FAKE_ROUTES[] = {
	FAKE(POST, "/v1/nodes", "register", fake_register), FAKE(POST, "/v1/nodes/{a}/heartbeat", "heartbeat", fake_heartbeat),
	FAKE(PUT, "/v1/nodes/{a}/offers", "offers", fake_offers), FAKE(POST, "/v1/nodes/{a}/drain", "drain", fake_drain),
	FAKE(POST, "/v1/nodes/{a}/receipts", "receipts", fake_receipt), FAKE(GET, "/v1/models", "models", fake_models),
	FAKE(GET, "/v1/versions/{digest}", "version", fake_version), FAKE(GET, "/{author}/{name}/resolve/{rev}/{path...}", "file", fake_file),
};

HELPER void fake_gateway_start(struct fake_gateway *g, const char *surface)
{
	const struct http_config c = { .host = "127.0.0.1", .daemons = 1, .workers = 2, .queue_max = 64, .connections_max = 64,
				       .routes = FAKE_ROUTES, .route_count = sizeof(FAKE_ROUTES) / sizeof(FAKE_ROUTES[0]), .app = g };
	struct hash file;
	*g = (struct fake_gateway){ .surface = surface, .lock = PTHREAD_MUTEX_INITIALIZER };
	assert_int_equal(secret_key_parse("00000000000000000000000000000000000000000000000000000000000000a1", &g->key), ERR_OK);
	secret_key_address(&g->key, &g->address);
	sha256_of(FILE_TEXT, strlen(FILE_TEXT), &file);
	g->manifest = xasprintf("%s %zu deep/adder.bin\n", hash_format(&file).s + 2, strlen(FILE_TEXT));
	sha256_of(g->manifest, strlen(g->manifest), &g->digest);
	assert_int_equal(http_start(&c, &g->http), ERR_OK);
}

HELPER void fake_gateway_stop(struct fake_gateway *g)
{
	http_drain(g->http, deadline_in(PATIENCE_MS));
	http_stop(g->http);
	assert_int_equal(atomic_load(&g->bad), 0);
	for (int i = 0; i < g->receipt_count; i++)
		free(g->receipts[i]);
	free(g->offers);
	free(g->manifest);
}

HELPER bool fake_offers_are(struct fake_gateway *g, size_t count)
{
	_cleanup_json_ json_t *j = NULL;
	pthread_mutex_lock(&g->lock);
	bool got = g->offers && !json_parse(g->offers, strlen(g->offers), &j, NULL);
	pthread_mutex_unlock(&g->lock);
	return got && json_array_size(json_object_get(j, "offers")) == count;
}

HELPER int fake_receipts(struct fake_gateway *g)
{
	pthread_mutex_lock(&g->lock);
	int n = g->receipt_count;
	pthread_mutex_unlock(&g->lock);
	return n;
}

/* ---- tickets ---- */

struct order {
	const char *path, *type, *body;
	uint32_t attempt;
	int64_t life_ms;
	const struct secret_key *key; /* who signs; NULL: the gateway */
	uint64_t chain;
	struct hash *digest;
	struct address *node, *gateway;
	struct ticket ticket; /* out */
};

/* base64url of the ticket; the caller frees. */
HELPER char *ticket_for(const struct fake_gateway *g, const struct agent *a, struct order *o)
{
	struct ticket t = { .attempt = o->attempt ? o->attempt : 1, .gateway = o->gateway ? *o->gateway : g->address,
			    .node = o->node ? *o->node : a->address, .model_digest = o->digest ? *o->digest : g->digest, .policy = "signed",
			    .expires_at = (uint64_t)(clock_wall_ms() + (o->life_ms ? o->life_ms : 60000)) };
	struct signature sig;
	uint64_t chain = o->chain ? o->chain : CHAIN;
	t.job_id = uuid_new();
	request_hash("POST", o->path, o->type, NULL, o->body, strlen(o->body), &t.request_hash);
	doc_sign(&TICKET_TYPE, &t, chain, o->key ? o->key : &g->key, &sig);
	_cleanup_free_ char *text = doc_write(&TICKET_TYPE, &t, chain, &sig);
	char *header = xmalloc(base64url_encoded_len(strlen(text)) + 1);
	base64url_encode(text, strlen(text), header);
	o->ticket = t;
	return header;
}

/* The request as the gateway sends it. */
HELPER char *order_text(const struct order *o, const char *ticket)
{
	return xasprintf("POST %s HTTP/1.1\r\nHost: n\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s%s%s\r\n%s", o->path, o->type,
			 strlen(o->body), ticket ? "Opgate-Ticket: " : "", ticket ? ticket : "", ticket ? "\r\n" : "", o->body);
}

/* Value of a header of an answer; the caller frees; NULL when absent. */
HELPER char *header_of(const char *answer, const char *name)
{
	_cleanup_free_ char *mark = xasprintf("\r\n%s: ", name);
	const char *p = strcasestr(answer, mark);
	if (!p || p > body_of(answer))
		return NULL;
	p += strlen(mark);
	return xstrndup(p, strcspn(p, "\r"));
}

/* Body of a chunked answer put together; the caller frees. *ret_whole: the last chunk came. */
HELPER char *dechunk(const char *body, bool *ret_whole)
{
	struct buf out = BUF_INIT((size_t)64 << 20);
	*ret_whole = false;
	for (const char *p = body; *p;) {
		char *end;
		size_t n = (size_t)strtoull(p, &end, 16);
		if (end == p || strncmp(end, "\r\n", 2) != 0 || strlen(end + 2) < n)
			break;
		*ret_whole = n == 0;
		if (n == 0 || buf_append(&out, end + 2, n))
			break;
		p = end + 2 + n + 2;
	}
	return buf_steal(&out);
}

/* ---- a backend of which every byte is decided by the test ---- */

struct fake_backend {
	int listen_fd;
	uint16_t port;
	pthread_t thread;
	bool running;
	const char *answer; /* sent when the request is in */
	const char *then;   /* sent when the gate opens; NULL: closed at once */
	size_t repeat;      /* `answer` is followed by so many times `piece` */
	const char *piece;
	_Atomic size_t pieces; /* sent */
	int gate;           /* eventfd */
	char *request;      /* what came */
	atomic_int requests, left; /* connections that the agent closed on us */
};

HELPER char *http_read_request(int fd)
{
	struct buf in = BUF_INIT((size_t)32 << 20);
	for (;;) {
		char part[16384];
		char *end = in.len ? strstr(in.data, "\r\n\r\n") : NULL;
		char *length = end ? strcasestr(in.data, "\r\nContent-Length:") : NULL;
		if (end && (size_t)(end + 4 - in.data) + (length && length < end ? (size_t)strtoull(length + 17, NULL, 10) : 0) <= in.len)
			return buf_steal(&in);
		ssize_t n = recv(fd, part, sizeof(part), 0);
		if (n <= 0 || buf_append(&in, part, (size_t)n))
			break;
	}
	buf_done(&in);
	return NULL;
}

HELPER bool fake_send(int fd, const char *s)
{
	for (size_t len = strlen(s); len;) {
		ssize_t n = send(fd, s, len, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		s += n;
		len -= (size_t)n;
	}
	return true;
}

/* One connection at a time, one request a connection. */
HELPER void *fake_backend_run(void *arg)
{
	struct fake_backend *b = arg;
	int fd;
	while ((fd = accept4(b->listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		char *request = http_read_request(fd);
		bool ok = request != NULL;
		if (ok) {
			free(b->request);
			b->request = request;
			atomic_fetch_add(&b->requests, 1);
			ok = !b->answer || fake_send(fd, b->answer);
			for (size_t i = 0; ok && i < b->repeat; i++, atomic_fetch_add(&b->pieces, 1))
				ok = fake_send(fd, b->piece);
		}
		struct pollfd p[2] = { { .fd = b->gate, .events = POLLIN }, { .fd = fd, .events = POLLIN | POLLRDHUP } };
		if (ok && b->then && poll(p, 2, PATIENCE_MS) > 0) {
			if (p[0].revents & POLLIN)
				ok = fake_send(fd, b->then);
			else
				ok = false;
		}
		if (request && !ok)
			atomic_fetch_add(&b->left, 1);
		close(fd);
	}
	return NULL;
}

HELPER void fake_backend_start(struct fake_backend *b)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	b->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(b->listen_fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(b->listen_fd, 16), 0);
	assert_int_equal(getsockname(b->listen_fd, (struct sockaddr *)&in, &len), 0);
	b->port = ntohs(in.sin_port);
	b->gate = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	b->running = true;
	assert_int_equal(pthread_create(&b->thread, NULL, fake_backend_run, b), 0);
}

HELPER void fake_backend_open_gate(struct fake_backend *b)
{
	uint64_t one = 1;
	assert_int_equal(write(b->gate, &one, sizeof(one)), sizeof(one));
}

HELPER void fake_backend_stop(struct fake_backend *b)
{
	shutdown(b->listen_fd, SHUT_RDWR);
	pthread_join(b->thread, NULL);
	close(b->listen_fd);
	close(b->gate);
	free(b->request);
	b->request = NULL;
	b->running = false;
}

#endif
