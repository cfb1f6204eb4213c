/* A tiny JSON-RPC server on a free loopback port that answers from a table and can be told to lie. One thread, one
 * connection at a time. */
#ifndef OPGATE_TESTS_FAKE_RPC_H
#define OPGATE_TESTS_FAKE_RPC_H

#include <arpa/inet.h>
#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

struct fake_answer {
	const char *method;
	const char *result;   /* JSON text, wrapped with the caller's id */
	const char *whole;    /* or: the whole body; the text ID in it becomes the caller's id */
	const char *http;     /* or: the whole HTTP answer; then the connection is closed */
	size_t padding;       /* white space after the body */
	const char *contains; /* only when the request holds this text; NULL: always */
};

struct fake_rpc {
	int listener;
	char url[64];
	pthread_t thread;
	pthread_mutex_t lock;
	struct fake_answer answers[8]; /* under lock, like all below */
	size_t count;
	const char *lie_method, *lie_from, *lie_to; /* replaced in what that method answers */
	unsigned lies;                              /* how often that was done */
	unsigned requests;                          /* of HTTP, so far */
	char last_request[4096];
};

static inline void fake_send(int fd, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		p += n;
		len -= (size_t)n;
	}
}

/* The text with every `from` replaced by `to`; the caller frees. */
static inline char *fake_replace(const char *text, const char *from, const char *to, unsigned *count)
{
	struct buf b = BUF_INIT((size_t)1 << 26);
	const char *at;
	for (; (at = strstr(text, from)); text = at + strlen(from)) {
		if (buf_append(&b, text, (size_t)(at - text)) || buf_puts(&b, to))
			abort();
		*count += 1;
	}
	if (buf_puts(&b, text))
		abort();
	return buf_steal(&b);
}

/* Reads one request; its body is in b from the returned offset on. 0: nothing came. */
static inline size_t fake_receive(int fd, struct buf *b)
{
	char chunk[8192];
	for (;;) {
		const char *head_end = b->len ? strstr(b->data, "\r\n\r\n") : NULL;
		const char *length = b->len ? strcasestr(b->data, "content-length:") : NULL;
		unsigned long need = 0;
		if (head_end && length && sscanf(length + 15, "%lu", &need) == 1 && b->len >= (size_t)(head_end + 4 - b->data) + need)
			return (size_t)(head_end + 4 - b->data);
		ssize_t n = recv(fd, chunk, sizeof(chunk), 0);
		if (n <= 0 || buf_append(b, chunk, (size_t)n))
			return 0;
	}
}

/* What is answered to one call; the caller frees. */
static inline char *fake_text(struct fake_rpc *f, const struct fake_answer *a, json_t *call)
{
	char id[32];
	unsigned ignored = 0;
	snprintf(id, sizeof(id), "%lld", (long long)json_integer_value(json_object_get(call, "id")));
	char *text = a && a->whole ? fake_replace(a->whole, "ID", id, &ignored)
		     : a	   ? xasprintf("{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}", id, a->result)
				   : xasprintf("{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":-32601,\"message\":\"no such method\"}}", id);
	if (a && f->lie_method && strcmp(f->lie_method, a->method) == 0) {
		char *lie = fake_replace(text, f->lie_from, f->lie_to, &f->lies);
		free(text);
		text = lie;
	}
	return text;
}

static inline const struct fake_answer *fake_find(struct fake_rpc *f, json_t *call, const char *body)
{
	const char *method = json_string_value(json_object_get(call, "method"));
	for (size_t i = 0; i < f->count && method; i++)
		if (strcmp(f->answers[i].method, method) == 0 && (!f->answers[i].contains || strstr(body, f->answers[i].contains)))
			return &f->answers[i];
	return NULL;
}

/* A batch is answered from its end to its beginning, or as BATCH says: an answer of its own. */
#define FAKE_BATCH "batch"
static inline char *fake_batch(struct fake_rpc *f, json_t *calls, const char *body)
{
	struct buf b = BUF_INIT((size_t)1 << 26);
	for (size_t i = json_array_size(calls); i-- > 0;) {
		json_t *call = json_array_get(calls, i);
		char *text = fake_text(f, fake_find(f, call, body), call);
		if (buf_puts(&b, b.len ? "," : "[") || buf_puts(&b, text))
			abort();
		free(text);
	}
	if (buf_puts(&b, "]"))
		abort();
	return buf_steal(&b);
}

static inline void fake_reply(struct fake_rpc *f, int fd, const char *body)
{
	json_t *call = json_loads(body, 0, NULL), *named = json_is_array(call) ? json_pack("{s:s}", "method", FAKE_BATCH) : json_incref(call);
	const struct fake_answer *a = fake_find(f, named, body);
	snprintf(f->last_request, sizeof(f->last_request), "%s", body);
	f->requests++;
	if (a && a->http) {
		fake_send(fd, a->http, strlen(a->http));
	} else {
		char *text = json_is_array(call) && !a ? fake_batch(f, call, body) : fake_text(f, a, call);
		size_t padding = a ? a->padding : 0;
		char *head = xasprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
				       strlen(text) + padding);
		char *pad = xmalloc(padding + 1);
		memset(pad, ' ', padding);
		fake_send(fd, head, strlen(head));
		fake_send(fd, text, strlen(text));
		fake_send(fd, pad, padding);
		free(pad);
		free(head);
		free(text);
	}
	json_decref(named);
	json_decref(call);
}

static inline void *fake_main(void *arg)
{
	struct fake_rpc *f = arg;
	for (;;) {
		int fd = accept(f->listener, NULL, NULL);
		if (fd < 0)
			return NULL;
		struct buf b = BUF_INIT(1 << 20);
		size_t body = fake_receive(fd, &b);
		pthread_mutex_lock(&f->lock);
		if (body)
			fake_reply(f, fd, b.data + body);
		pthread_mutex_unlock(&f->lock);
		shutdown(fd, SHUT_WR);
		close(fd);
		buf_done(&b);
	}
}

static inline void fake_start(struct fake_rpc *f)
{
	memset(f, 0, sizeof(*f));
	pthread_mutex_init(&f->lock, NULL);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (f->listener < 0 || bind(f->listener, (struct sockaddr *)&a, sizeof(a)) || listen(f->listener, 64) ||
	    getsockname(f->listener, (struct sockaddr *)&a, &len) || pthread_create(&f->thread, NULL, fake_main, f))
		abort();
	snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%u/", ntohs(a.sin_port));
}

static inline void fake_stop(struct fake_rpc *f)
{
	shutdown(f->listener, SHUT_RDWR);
	pthread_join(f->thread, NULL);
	close(f->listener);
	pthread_mutex_destroy(&f->lock);
}

static inline void fake_set(struct fake_rpc *f, const struct fake_answer *answers, size_t count)
{
	pthread_mutex_lock(&f->lock);
	if (count > sizeof(f->answers) / sizeof(f->answers[0]))
		abort();
	memcpy(f->answers, answers, count * sizeof(*answers));
	f->count = count;
	f->lie_method = NULL;
	pthread_mutex_unlock(&f->lock);
}

static inline void fake_lie(struct fake_rpc *f, const char *method, const char *from, const char *to)
{
	pthread_mutex_lock(&f->lock);
	f->lie_method = method;
	f->lie_from = from;
	f->lie_to = to;
	f->lies = 0;
	pthread_mutex_unlock(&f->lock);
}

/* Did the last request hold this text? */
static inline bool fake_was_asked(struct fake_rpc *f, const char *text)
{
	pthread_mutex_lock(&f->lock);
	bool was = strstr(f->last_request, text) != NULL;
	pthread_mutex_unlock(&f->lock);
	return was;
}

static inline unsigned fake_lies_told(struct fake_rpc *f)
{
	pthread_mutex_lock(&f->lock);
	unsigned n = f->lies;
	pthread_mutex_unlock(&f->lock);
	return n;
}

#endif
