/* The fast node of the bench: answers every request with the same 500 bytes and, when a ticket came with it, signs a receipt over
 * them. It checks nothing, so that what is measured is the gateway in front of it. Two threads, each with its own listener
 * (SO_REUSEPORT) and epoll; nothing is shared and nothing locked.
 *
 *   bench_node PORT KEY_FILE CHAIN_ID PROFILE_HASH */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/clock.h"
#include "base/mem.h"
#include "proof/statements.h"

#define THREADS 2
#define ANSWER_LEN 500
#define IN_MAX (64 * 1024)

static struct node {
	uint16_t port;
	struct secret_key key;
	struct address address;
	uint64_t chain_id;
	struct hash profile, answer_hash;
	char answer[ANSWER_LEN + 1];
} node;

struct conn {
	int fd;
	size_t len;
	char in[IN_MAX + 1];
};

static void answer_make(void)
{
	static const char head[] = "{\"model_name\":\"bench\",\"outputs\":[{\"name\":\"y\",\"shape\":[201],\"datatype\":\"INT8\",\"data\":[0";
	static const char tail[] = "]}]}";
	size_t at = strlen(head), end = ANSWER_LEN - strlen(tail);
	memcpy(node.answer, head, at);
	for (; at + 2 <= end; at += 2)
		memcpy(node.answer + at, ",1", 2);
	memset(node.answer + at, ' ', end - at);
	memcpy(node.answer + end, tail, strlen(tail));
	sha256_of(node.answer, ANSWER_LEN, &node.answer_hash);
}

/* The value of a header as it stands in the head, or NULL. */
static const char *header(const char *head, const char *name, size_t *ret_len)
{
	const char *p = strcasestr(head, name);
	if (!p)
		return NULL;
	p += strlen(name);
	p += strspn(p, " ");
	*ret_len = strcspn(p, "\r\n");
	return p;
}

/* The receipt as it travels; "" for a ticket that is none. */
static char *receipt_make(const char *header_text, size_t header_len)
{
	static _Thread_local uint8_t text[DOC_JSON_MAX];
	struct ticket t;
	struct signature sig;
	struct json_why why;
	uint64_t chain_id, now = (uint64_t)clock_wall_ms();
	size_t len;
	if (base64url_decode(header_text, header_len, text, sizeof(text), &len) ||
	    doc_read(&TICKET_TYPE, (const char *)text, len, &t, &chain_id, &sig, &why))
		return xstrdup("");
	struct receipt r = { .job_id = t.job_id, .attempt = t.attempt, .gateway = t.gateway, .node = node.address, .model_digest = t.model_digest,
			     .request_hash = t.request_hash, .response_hash = node.answer_hash, .profile_hash = node.profile, .status = 200,
			     .input_units = 1, .started_at = now, .finished_at = now };
	memcpy(r.policy, t.policy, sizeof(r.policy));
	doc_sign(&RECEIPT_TYPE, &r, node.chain_id, &node.key, &sig);
	_cleanup_free_ char *json = doc_write(&RECEIPT_TYPE, &r, node.chain_id, &sig);
	char *encoded = xmalloc(base64url_encoded_len(strlen(json)) + 1);
	base64url_encode(json, strlen(json), encoded);
	return encoded;
}

static bool answer_send(struct conn *c)
{
	char out[8192];
	size_t ticket_len, n;
	const char *ticket = header(c->in, "\nopgate-ticket:", &ticket_len);
	if (ticket) {
		_cleanup_free_ char *receipt = receipt_make(ticket, ticket_len);
		n = (size_t)snprintf(out, sizeof(out), "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nOpgate-Receipt: %s\r\n\r\n%s",
				     ANSWER_LEN, receipt, node.answer);
	} else {
		n = (size_t)snprintf(out, sizeof(out), "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", ANSWER_LEN, node.answer);
	}
	return n < sizeof(out) && send(c->fd, out, n, MSG_NOSIGNAL) == (ssize_t)n; /* a kilobyte always fits the socket's buffer */
}

/* Bytes of the first whole request in the buffer, or 0. */
static size_t request_len(struct conn *c)
{
	char *end = strstr(c->in, "\r\n\r\n");
	if (!end)
		return 0;
	*end = '\0'; /* the head alone is searched for headers */
	size_t len, head = (size_t)(end - c->in) + 4;
	uint64_t body = 0;
	const char *text = header(c->in, "\ncontent-length:", &len);
	bool ok = !text || doc_number_parse(text, len, IN_MAX, &body);
	if (ok && head + body <= c->len)
		return head + body;
	*end = '\r';
	return 0;
}

/* false: the connection is over. */
static bool conn_read(struct conn *c)
{
	ssize_t n = recv(c->fd, c->in + c->len, IN_MAX - c->len, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	c->len += (size_t)n;
	c->in[c->len] = '\0';
	for (size_t used; (used = request_len(c)) > 0;) {
		if (!answer_send(c))
			return false;
		c->len -= used;
		memmove(c->in, c->in + used, c->len + 1);
	}
	return c->len < IN_MAX;
}

static int listener(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(node.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 1024))
		panic("bench_node: cannot listen");
	return fd;
}

static void accept_all(int epoll, int listening)
{
	int fd, on = 1;
	while ((fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct conn *c = xcalloc(1, sizeof(*c));
		c->fd = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){ .events = EPOLLIN, .data.ptr = c });
	}
}

static void *serve(void *arg)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC), listening = *(int *)arg;
	struct epoll_event events[128];
	epoll_ctl(epoll, EPOLL_CTL_ADD, listening, &(struct epoll_event){ .events = EPOLLIN, .data.ptr = NULL });
	for (;;) {
		int n = epoll_wait(epoll, events, 128, -1);
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (!c) {
				accept_all(epoll, listening);
			} else if (!conn_read(c)) {
				close(c->fd);
				free(c);
			}
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	uint64_t port = 0;
	int fds[THREADS];
	pthread_t threads[THREADS];
	crypto_init();
	if (argc != 5 || !doc_number_parse(argv[1], strlen(argv[1]), 65535, &port) || secret_key_read_file(argv[2], &node.key) ||
	    !doc_number_parse(argv[3], strlen(argv[3]), UINT64_MAX, &node.chain_id) || hash_parse(argv[4], &node.profile)) {
		fprintf(stderr, "usage: bench_node PORT KEY_FILE CHAIN_ID PROFILE_HASH\n");
		return 2;
	}
	node.port = (uint16_t)port;
	secret_key_address(&node.key, &node.address);
	answer_make();
	for (int i = 0; i < THREADS; i++)
		fds[i] = listener();
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, serve, &fds[i]))
			panic("bench_node: no thread");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
