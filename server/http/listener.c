/* Start, drain and stop. N daemons of libmicrohttpd, one thread and one listening socket each, share a port through
 * SO_REUSEPORT: the kernel spreads connections evenly, which its own thread pool does not. Called by main.
 *
 * Stopping order matters, because libmicrohttpd aborts the process when it is stopped with a suspended connection: no new
 * connections; the workers finish what they have; everything still suspended is resumed and nothing suspends any more;
 * daemons; janitor. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/thread.h"
#include "http/internal.h"

void server_unref(struct http_server *s)
{
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	router_free(s->router);
	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	pthread_mutex_destroy(&s->registry_lock);
	pthread_mutex_destroy(&s->idle_lock);
	pthread_cond_destroy(&s->idle_cond);
	pthread_mutex_destroy(&s->queue_lock);
	pthread_cond_destroy(&s->queue_cond);
	pthread_mutex_destroy(&s->watch_lock);
	pthread_mutex_destroy(&s->streams_lock);
	free(s->daemons);
	free(s);
}

void server_leave(struct http_server *s)
{
	if (atomic_fetch_sub(&s->inflight, 1) != 1 || !atomic_load(&s->draining))
		return;
	pthread_mutex_lock(&s->idle_lock);
	pthread_cond_broadcast(&s->idle_cond);
	pthread_mutex_unlock(&s->idle_lock);
}

static struct http_server *server_new(const struct http_config *config)
{
	struct http_server *s = xcalloc(1, sizeof(*s));
	s->config = *config;
	if (!s->config.daemons)
		s->config.daemons = 1;
	if (!s->config.connections_max)
		s->config.connections_max = 1024;
	if (!s->config.idle_timeout_ms)
		s->config.idle_timeout_ms = 75000;
	if (!s->config.heartbeat_ms)
		s->config.heartbeat_ms = 15000;
	if (!s->config.header_timeout_ms)
		s->config.header_timeout_ms = 10000;
	if (!s->config.request_timeout_ms)
		s->config.request_timeout_ms = 60000;
	if (!s->config.handler_timeout_ms)
		s->config.handler_timeout_ms = 60000;
	atomic_init(&s->refs, 1);
	s->epoll_fd = s->wake_fd = -1;
	/* The release whose parser the strict framing check knows; later ones refuse these requests themselves. */
	s->layout_known = !strncmp(MHD_get_version(), "0.9.75", 6);
	s->daemons = xcalloc(s->config.daemons, sizeof(*s->daemons));
	pthread_mutex_init(&s->registry_lock, NULL);
	pthread_mutex_init(&s->idle_lock, NULL);
	cond_init_mono(&s->idle_cond);
	pthread_mutex_init(&s->queue_lock, NULL);
	pthread_cond_init(&s->queue_cond, NULL);
	pthread_mutex_init(&s->watch_lock, NULL);
	pthread_mutex_init(&s->streams_lock, NULL);
	return s;
}

/* ---- sockets ---- */

static int socket_bind(const struct addrinfo *ai, bool shared)
{
	int one = 1;
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (ai->ai_family == AF_INET6) {
		int only = 0;
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
	}
	if ((shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one))) || bind(fd, ai->ai_addr, ai->ai_addrlen)) {
		close(fd);
		return -1;
	}
	return fd;
}

static uint16_t socket_port(int fd)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	if (getsockname(fd, (struct sockaddr *)&a, &len))
		return 0;
	return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port : ((struct sockaddr_in *)&a)->sin_port);
}

static void addr_set_port(struct addrinfo *ai, uint16_t port)
{
	if (ai->ai_family == AF_INET6)
		((struct sockaddr_in6 *)(void *)ai->ai_addr)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)(void *)ai->ai_addr)->sin_port = htons(port);
}

/* SO_REUSEPORT would silently share the port with another process of ours: a bind without it finds out. */
static bool port_taken(const struct addrinfo *ai)
{
	int fd = socket_bind(ai, false);
	bool taken = fd < 0 || listen(fd, 1) != 0;
	if (fd >= 0)
		close(fd);
	return taken;
}

static enum err sockets_open(struct http_server *s, int *fds)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *ai = NULL;
	char port[8];
	snprintf(port, sizeof(port), "%u", s->config.port);
	if (getaddrinfo(s->config.host, port, &hints, &ai))
		return ERR_IO;
	enum err e = s->config.port && port_taken(ai) ? ERR_IO : ERR_OK;
	for (unsigned i = 0; !e && i < s->config.daemons; i++) {
		fds[i] = socket_bind(ai, true);
		if (fds[i] < 0) {
			e = ERR_IO;
			break;
		}
		s->port = socket_port(fds[i]);
		addr_set_port(ai, s->port);
	}
	/* Listening only once all are bound: nobody else can have got the port between. */
	for (unsigned i = 0; !e && i < s->config.daemons; i++)
		if (listen(fds[i], 1024))
			e = ERR_IO;
	freeaddrinfo(ai);
	return e;
}

static struct MHD_Daemon *daemon_start(struct http_server *s, int fd)
{
	const struct http_config *c = &s->config;
	unsigned share = (c->connections_max + c->daemons - 1) / c->daemons;
	struct MHD_OptionItem options[] = {
		{ MHD_OPTION_LISTEN_SOCKET, fd, NULL },
		{ MHD_OPTION_CONNECTION_MEMORY_LIMIT, HTTP_MEMORY_LIMIT, NULL },
		{ MHD_OPTION_CONNECTION_LIMIT, (intptr_t)share, NULL },
		{ MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)((c->idle_timeout_ms + 999) / 1000), NULL },
		{ MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)conn_notify, s },
		{ MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)exchange_completed, s },
		{ MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)exchange_uri, s },
		{ MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)exchange_keep_raw, s },
		{ MHD_OPTION_END, 0, NULL },
	};
	return MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, exchange_access, s,
				MHD_OPTION_ARRAY, options, MHD_OPTION_END);
}

enum err http_start(const struct http_config *config, struct http_server **ret)
{
	struct http_server *s = server_new(config);
	int *fds = xcalloc(s->config.daemons, sizeof(*fds));
	for (unsigned i = 0; i < s->config.daemons; i++)
		fds[i] = -1;
	enum err e = router_new(config->routes, config->route_count, &s->router);
	if (!e)
		e = sockets_open(s, fds);
	if (!e)
		e = workers_start(s);
	if (!e)
		e = janitor_start(s);
	for (unsigned i = 0; !e && i < s->config.daemons; i++) {
		s->daemons[i] = daemon_start(s, fds[i]);
		if (s->daemons[i])
			fds[i] = -1;
		else
			e = ERR_IO;
	}
	for (unsigned i = 0; i < s->config.daemons; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free(fds);
	if (e)
		http_stop(s);
	else
		*ret = s;
	return e;
}

uint16_t http_port(const struct http_server *s)
{
	return s->port;
}

/* ---- the end ---- */

unsigned http_drain(struct http_server *s, deadline_ms deadline)
{
	atomic_store(&s->draining, true);
	struct timespec until = { deadline / 1000, deadline % 1000 * 1000000 };
	pthread_mutex_lock(&s->idle_lock);
	while (atomic_load(&s->inflight) && !deadline_passed(deadline))
		pthread_cond_timedwait(&s->idle_cond, &s->idle_lock, &until);
	pthread_mutex_unlock(&s->idle_lock);
	return atomic_load(&s->inflight);
}

void http_stop(struct http_server *s)
{
	if (!s)
		return;
	atomic_store(&s->draining, true);
	atomic_store(&s->stopping, true); /* what still waits for a worker is refused, not run */
	_cleanup_free_ MHD_socket *listening = xcalloc(s->config.daemons, sizeof(*listening));
	for (unsigned i = 0; i < s->config.daemons; i++) {
		listening[i] = s->daemons[i] ? MHD_quiesce_daemon(s->daemons[i]) : MHD_INVALID_SOCKET;
		if (listening[i] != MHD_INVALID_SOCKET)
			shutdown(listening[i], SHUT_RDWR); /* the daemon's thread may still hold the number: it is closed when that has ended */
	}
	if (s->urgent_tail)
		workers_stop(s);
	/* From here on a new exchange is born killed, and one that is killed cannot suspend. */
	atomic_store(&s->killed, true);
	conns_kill(s);
	for (unsigned i = 0; i < s->config.daemons; i++) {
		if (s->daemons[i])
			MHD_stop_daemon(s->daemons[i]);
		if (listening[i] != MHD_INVALID_SOCKET)
			close(listening[i]);
	}
	janitor_stop(s);
	server_unref(s);
}
