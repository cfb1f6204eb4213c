/* A small threaded HTTP server on loopback for the tests of net/, and a probe that collects what a call reports.
 * One thread per connection; everything waits on conditions or descriptors, and server_stop joins every thread. */
#ifndef TESTS_NET_SERVE_H
#define TESTS_NET_SERVE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/net.h"

#define HELPER __attribute__((unused)) static
#define CONNECTIONS_MAX 4096

struct server {
	int listen_fd, gate, port; /* gate: readable once the test lets the waiting handlers go on */
	pthread_t acceptor;
	_Atomic int connections, requests, waiting;
	pthread_t threads[CONNECTIONS_MAX];
	int fds[CONNECTIONS_MAX];
};

struct conn {
	struct server *server;
	int fd, requests;
	char *head; /* of the request now answered */
	char *body;
	size_t body_len;
};

/* ---- the server's side ---- */

HELPER bool put(struct conn *c, const void *p, size_t len)
{
	for (const char *s = p; len > 0;) {
		ssize_t n = send(c->fd, s, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		s += n;
		len -= (size_t)n;
	}
	return true;
}

HELPER bool say(struct conn *c, const char *text)
{
	return put(c, text, strlen(text));
}

/* True when the gate opened, false when the client left. */
HELPER bool wait_gate(struct conn *c)
{
	struct pollfd p[2] = { { .fd = c->server->gate, .events = POLLIN }, { .fd = c->fd, .events = POLLIN | POLLRDHUP } };

	atomic_fetch_add(&c->server->waiting, 1);
	while (poll(p, 2, -1) < 0)
		;
	return (p[0].revents & POLLIN) != 0;
}

HELPER bool answer_body(struct conn *c, const void *p, size_t len)
{
	char head[96];

	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len);
	return say(c, head) && put(c, p, len);
}

/* Answers of which every byte matters: path, what is sent, then whether the connection is closed. */
struct canned {
	const char *path, *text;
	bool close;
};
HELPER const struct canned canned[] = {
	{ "/hello", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Twice: a\r\nX-Twice: b\r\nX-Empty:\r\nContent-Length: 5\r\n\r\nhello", false },
	{ "/none", "HTTP/1.1 204 No Content\r\n\r\n", false },
	{ "/same", "HTTP/1.1 304 Not Modified\r\n\r\n", false },
	{ "/redirect", "HTTP/1.1 302 Found\r\nLocation: /hello\r\nContent-Length: 0\r\n\r\n", false },
	{ "/interim", "HTTP/1.1 103 Early Hints\r\nX-Twice: i\r\n\r\nHTTP/1.1 200 OK\r\nX-Twice: f\r\nContent-Length: 2\r\n\r\nok", false },
	{ "/trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Late: 1\r\n\r\n", false },
	{ "/cut", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", true },
	{ "/cutchunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true },
	{ "/cuthead", "HTTP/1.1 200 OK\r\nContent-Len", true },
	{ "/unframed", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello", true },
	{ "/http10", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", true },
	{ "/twolengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", true },
	{ "/bothframings", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true },
	{ "/gzipcoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true },
	{ "/badlength", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", true },
	{ "/folded", "HTTP/1.1 200 OK\r\nX-Fold: a\r\n b\r\nContent-Length: 5\r\n\r\nhello", true },
	{ "/spaced", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", true },
	{ "/switch", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhello", true },
	{ "/garbage", "\x16\x03\x01hello there, this is no answer\r\n\r\n", true },
	{ "/gone", "", true },
};

HELPER bool serve_endless(struct conn *c, bool head)
{
	static const char line[] = "X-Filler: 0123456789012345678901234567890123456789\r\n", chunk[] = "10\r\n0123456789abcdef\r\n";

	if (!say(c, head ? "HTTP/1.1 200 OK\r\n" : "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
		return false;
	while (say(c, head ? line : chunk))
		;
	return false;
}

/* /count/N: N chunks, each "chunk 00000000\n" with its number. */
HELPER bool serve_count(struct conn *c, unsigned n)
{
	char line[64];

	if (!say(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
		return false;
	for (unsigned i = 0; i < n; i++) {
		snprintf(line, sizeof(line), "f\r\nchunk %08u\n\r\n", i);
		if (!say(c, line))
			return false;
	}
	return say(c, "0\r\n\r\n");
}

/* False: close the connection. */
HELPER bool serve_path(struct conn *c, const char *path)
{
	unsigned n;

	for (size_t i = 0; i < sizeof(canned) / sizeof(canned[0]); i++)
		if (strcmp(path, canned[i].path) == 0)
			return say(c, canned[i].text) && !canned[i].close;
	if (strcmp(path, "/echo") == 0)
		return answer_body(c, c->body, c->body_len);
	if (strcmp(path, "/head") == 0)
		return answer_body(c, c->head, strlen(c->head));
	if (strcmp(path, "/once") == 0) /* answers the first request of a connection and drops the second after reading it */
		return c->requests == 1 && answer_body(c, "once", 4);
	if (strcmp(path, "/silent") == 0)
		return wait_gate(c) && answer_body(c, "late", 4);
	if (strcmp(path, "/stall") == 0)
		return say(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello") && wait_gate(c) && say(c, "world");
	if (strcmp(path, "/bighead") == 0)
		return serve_endless(c, true);
	if (strcmp(path, "/bigbody") == 0)
		return serve_endless(c, false);
	if (sscanf(path, "/count/%u", &n) == 1)
		return serve_count(c, n);
	return say(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
}

HELPER bool serve_one(struct conn *c)
{
	struct buf in = BUF_INIT(64u << 20);
	char *end = NULL, piece[16384], path[128] = "", *length;
	bool on = false;

	while (!end) {
		ssize_t n = recv(c->fd, piece, sizeof(piece), 0);

		if (n <= 0 || buf_append(&in, piece, (size_t)n) != ERR_OK)
			goto out;
		end = strstr(in.data, "\r\n\r\n");
	}
	length = strcasestr(in.data, "\r\nContent-Length:");
	c->body_len = length && length < end ? strtoull(length + 17, NULL, 10) : 0;
	c->head = xstrndup(in.data, (size_t)(end - in.data));
	buf_consume(&in, (size_t)(end - in.data) + 4);
	while (in.len < c->body_len) {
		ssize_t n = recv(c->fd, piece, sizeof(piece), 0);

		if (n <= 0 || buf_append(&in, piece, (size_t)n) != ERR_OK)
			goto out;
	}
	c->body = in.data ? in.data : piece;
	c->requests++;
	atomic_fetch_add(&c->server->requests, 1);
	if (sscanf(c->head, "%*s %127s", path) == 1)
		on = serve_path(c, path);
out:
	free(c->head);
	c->head = NULL;
	buf_done(&in);
	return on;
}

HELPER void *serve_connection(void *arg)
{
	struct conn *c = arg;

	while (serve_one(c))
		;
	shutdown(c->fd, SHUT_RDWR); /* closed when the server stops, so that its number is not reused meanwhile */
	free(c);
	return NULL;
}

HELPER void *serve_accept(void *arg)
{
	struct server *s = arg;
	int fd;

	while ((fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct conn *c = xcalloc(1, sizeof(*c));
		int i = atomic_load(&s->connections);

		if (i == CONNECTIONS_MAX)
			abort();
		c->server = s;
		c->fd = s->fds[i] = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		if (pthread_create(&s->threads[i], NULL, serve_connection, c) != 0)
			abort();
		atomic_store(&s->connections, i + 1);
	}
	return NULL;
}

HELPER int listen_loopback(int backlog, int *ret_port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&in, sizeof(in)) == 0 && listen(fd, backlog) == 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*ret_port = ntohs(in.sin_port);
	return fd;
}

HELPER struct server *server_start(void)
{
	struct server *s = xcalloc(1, sizeof(*s));

	s->listen_fd = listen_loopback(512, &s->port);
	s->gate = eventfd(0, EFD_CLOEXEC);
	assert_true(s->gate >= 0);
	assert_int_equal(pthread_create(&s->acceptor, NULL, serve_accept, s), 0);
	return s;
}

HELPER void server_stop(struct server *s)
{
	shutdown(s->listen_fd, SHUT_RDWR);
	pthread_join(s->acceptor, NULL);
	for (int i = 0; i < s->connections; i++)
		shutdown(s->fds[i], SHUT_RDWR);
	for (int i = 0; i < s->connections; i++) {
		pthread_join(s->threads[i], NULL);
		close(s->fds[i]);
	}
	close(s->listen_fd);
	close(s->gate);
	free(s);
}

/* ---- the client's side ---- */

struct probe {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int heads, dones, status, head_status;
	enum err e;
	struct buf body;
	char error[300], type[64], twice[64], empty[8];
	bool pause_head;
	int pause_every; /* pauses before every n-th piece of data */
	int pieces;
	bool paused;
	size_t abort_after; /* bytes */
	struct net_call *call;
};

HELPER enum net_flow probe_head(void *arg, int status)
{
	struct probe *p = arg;
	bool pause;

	pthread_mutex_lock(&p->lock);
	p->heads++;
	p->head_status = status;
	pause = p->paused = p->pause_head;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	return pause ? NET_PAUSE : NET_CONTINUE;
}

HELPER enum net_flow probe_data(void *arg, const void *data, size_t len)
{
	struct probe *p = arg;
	enum net_flow flow = NET_CONTINUE;

	pthread_mutex_lock(&p->lock);
	if (p->pause_every && ++p->pieces % p->pause_every == 0) {
		p->paused = true;
		flow = NET_PAUSE;
	} else if (buf_append(&p->body, data, len) != ERR_OK || (p->abort_after && p->body.len >= p->abort_after)) {
		flow = NET_ABORT;
	}
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	return flow;
}

HELPER void probe_done(void *arg, enum err e, int status)
{
	struct probe *p = arg;

	pthread_mutex_lock(&p->lock);
	p->dones++;
	p->e = e;
	p->status = status;
	if (p->call) {
		const char *type = net_call_header(p->call, "content-type"), *twice = net_call_header(p->call, "X-Twice");
		const char *empty = net_call_header(p->call, "x-empty");

		snprintf(p->error, sizeof(p->error), "%s", net_call_error(p->call));
		snprintf(p->type, sizeof(p->type), "%s", type ? type : "(none)");
		snprintf(p->twice, sizeof(p->twice), "%s", twice ? twice : "(none)");
		snprintf(p->empty, sizeof(p->empty), "%s", empty ? empty : "(none)");
	}
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

HELPER void probe_init(struct probe *p)
{
	*p = (struct probe){ .body = BUF_INIT(64u << 20) };
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
}

HELPER void probe_free(struct probe *p)
{
	if (p->call)
		net_call_unref(p->call);
	buf_done(&p->body);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->changed);
}

#define PROBE_WAIT(p, condition) \
	do { \
		pthread_mutex_lock(&(p)->lock); \
		while (!(condition)) \
			pthread_cond_wait(&(p)->changed, &(p)->lock); \
		pthread_mutex_unlock(&(p)->lock); \
	} while (0)

struct url { char s[256]; };

HELPER struct url url_of(const struct server *s, const char *path)
{
	struct url u;

	snprintf(u.s, sizeof(u.s), "http://127.0.0.1:%d%s", s->port, path);
	return u;
}

HELPER struct net_request request_for(struct probe *p, const char *method, const char *url)
{
	return (struct net_request){ .method = method, .url = url, .deadline_ms = 60000, .response_max = 16u << 20,
		.on_head = probe_head, .on_data = probe_data, .on_done = probe_done, .arg = p, .hold = true };
}

/* Runs one call to its end and checks what holds for every call. */
HELPER enum err probe_run(struct net *net, struct probe *p, const struct net_request *r)
{
	assert_int_equal(net_call(net, r, &p->call), ERR_OK);
	PROBE_WAIT(p, p->dones > 0);
	assert_int_equal(p->dones, 1);
	assert_in_range(p->heads, 0, 1);
	assert_int_equal(p->heads, p->status != 0);
	if (p->heads)
		assert_int_equal(p->head_status, p->status);
	assert_true(net_call_body_bytes(p->call) <= p->body.len || p->abort_after || !r->on_data);
	if (p->e != ERR_OK)
		assert_true(p->error[0] != '\0' || p->e == ERR_CANCELLED);
	return p->e;
}

HELPER struct net *net_open(bool hostile, bool allow_private, unsigned per_host)
{
	struct net_config config = { .reactors = 2, .hostile = hostile, .allow_private = allow_private, .connections_per_host_max = per_host };
	struct net *net;

	assert_int_equal(net_start(&config, &net), ERR_OK);
	return net;
}

struct world {
	struct server *server;
	struct net *net;
};

HELPER int world_setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));

	w->server = server_start();
	w->net = net_open(false, false, 0);
	*state = w;
	return 0;
}

HELPER int world_teardown(void **state)
{
	struct world *w = *state;

	net_stop(w->net);
	server_stop(w->server);
	free(w);
	return 0;
}

#endif
