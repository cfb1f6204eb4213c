/* A server on a free port of the loopback, and a client that sends exactly the bytes it is told to. */
#ifndef OPGATE_TESTS_HTTP_FIXTURE_H
#define OPGATE_TESTS_HTTP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "http/http.h"

#define H "Host: t\r\n"
#define PATIENCE_MS 20000 /* a bound on failure, never waited for on success */

__attribute__((unused)) static int client_open(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* The peer may already have closed: what was answered is what counts. */
__attribute__((unused)) static void client_send(int fd, const void *p, size_t len)
{
	const char *s = p;
	while (len) {
		ssize_t n = send(fd, s, len, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		s += n;
		len -= (size_t)n;
	}
}

__attribute__((unused)) static void client_puts(int fd, const char *s)
{
	client_send(fd, s, strlen(s));
}

struct text {
	char *s;
	size_t len;
};

/* Appends what arrives; false: closed, or nothing within the time. */
__attribute__((unused)) static bool client_more(int fd, struct text *t, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	if (poll(&p, 1, timeout_ms) != 1)
		return false;
	char part[65536];
	ssize_t n = recv(fd, part, sizeof(part), 0);
	if (n <= 0)
		return false;
	t->s = xrealloc(t->s, t->len + (size_t)n + 1);
	memcpy(t->s + t->len, part, (size_t)n);
	t->len += (size_t)n;
	t->s[t->len] = '\0';
	return true;
}

__attribute__((unused)) static struct text client_read_all(int fd)
{
	struct text t = { xstrdup(""), 0 };
	while (client_more(fd, &t, PATIENCE_MS))
		;
	return t;
}

__attribute__((unused)) static void client_read_until(int fd, struct text *t, const char *mark)
{
	while (!t->s || !strstr(t->s, mark))
		if (!client_more(fd, t, PATIENCE_MS))
			fail_msg("no %s in: %s", mark, t->s ? t->s : "");
}

/* Sends all, reads to the end of the connection. The caller frees. */
__attribute__((unused)) static char *exchange_bytes(uint16_t port, const void *p, size_t len)
{
	int fd = client_open(port);
	client_send(fd, p, len);
	struct text t = client_read_all(fd);
	close(fd);
	return t.s;
}

__attribute__((unused)) static char *ask(uint16_t port, const char *request)
{
	return exchange_bytes(port, request, strlen(request));
}

__attribute__((unused)) static unsigned count_of(const char *s, const char *what)
{
	unsigned n = 0;
	for (; (s = strstr(s, what)); s += strlen(what))
		n++;
	return n;
}

__attribute__((unused)) static int status_of(const char *answer)
{
	return strlen(answer) > 12 ? (answer[9] - '0') * 100 + (answer[10] - '0') * 10 + answer[11] - '0' : 0;
}

__attribute__((unused)) static const char *body_of(const char *answer)
{
	const char *p = strstr(answer, "\r\n\r\n");
	return p ? p + 4 : "";
}

#define assert_contains(haystack, needle) \
	do { \
		if (!strstr(haystack, needle)) \
			fail_msg("no \"%s\" in:\n%s", needle, haystack); \
	} while (0)

#define assert_status(answer, status) \
	do { \
		if (status_of(answer) != (status)) \
			fail_msg("wanted %d, got:\n%s", status, answer); \
	} while (0)

/* Waits for a condition that another thread makes true. */
#define wait_until(cond) \
	do { \
		int64_t until_ = clock_mono_ms() + PATIENCE_MS; \
		while (!(cond)) { \
			if (clock_mono_ms() > until_) \
				fail_msg("never happened: %s", #cond); \
			usleep(500); \
		} \
	} while (0)

#endif
