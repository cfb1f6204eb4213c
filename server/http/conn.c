/* The registry of open connections. libmicrohttpd tells when one starts and ends; between the two its descriptor is valid,
 * so the janitor may shut an overdue one down under registry_lock. libmicrohttpd's own timeout is an idle timeout that a
 * byte now and then keeps from firing; the deadlines here are absolute. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "http/internal.h"

static void ip_format(const struct sockaddr *a, char *out, size_t cap)
{
	out[0] = '\0';
	if (a->sa_family == AF_INET) {
		inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)a)->sin_addr, out, (socklen_t)cap);
	} else if (a->sa_family == AF_INET6) {
		const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
		if (IN6_IS_ADDR_V4MAPPED(v6))
			inet_ntop(AF_INET, v6->s6_addr + 12, out, (socklen_t)cap);
		else
			inet_ntop(AF_INET6, v6, out, (socklen_t)cap);
	}
}

static void conn_start(struct http_server *s, struct MHD_Connection *mhd, void **socket_context)
{
	struct conn *c = xcalloc(1, sizeof(*c));
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	c->fd = info ? info->connect_fd : -1;
	c->server = s;
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	if (info && info->client_addr)
		ip_format(info->client_addr, c->ip, sizeof(c->ip));
	atomic_init(&c->deadline, deadline_in(s->config.header_timeout_ms));
	atomic_init(&c->phase, CONN_HEAD);
	pthread_mutex_init(&c->lock, NULL);
	*socket_context = c;
	pthread_mutex_lock(&s->registry_lock);
	c->next = s->conns;
	if (c->next)
		c->next->prev = c;
	s->conns = c;
	pthread_mutex_unlock(&s->registry_lock);
}

void conn_notify(void *cls, struct MHD_Connection *mhd, void **socket_context, enum MHD_ConnectionNotificationCode code)
{
	struct http_server *s = cls;
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		conn_start(s, mhd, socket_context);
		return;
	}
	struct conn *c = *socket_context;
	if (!c)
		return;
	pthread_mutex_lock(&s->registry_lock);
	if (c->prev)
		c->prev->next = c->next;
	else
		s->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	pthread_mutex_unlock(&s->registry_lock);
	pthread_mutex_destroy(&c->lock);
	free(c);
	*socket_context = NULL;
}

struct conn *conn_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return info ? info->socket_context : NULL;
}

bool conn_phase(struct conn *c, enum conn_phase phase, int64_t deadline)
{
	int64_t now = atomic_load(&c->deadline);
	do {
		if (now == CONN_CUT)
			return false;
	} while (!atomic_compare_exchange_weak(&c->deadline, &now, deadline));
	atomic_store(&c->phase, (int)phase);
	return true;
}

static void conn_cut(struct conn *c)
{
	static const char late[] = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
	int phase = atomic_load(&c->phase);
	/* Nobody else writes while a request is still arriving: whoever would answer moves the phase first and learns of the cut. */
	if (phase == CONN_HEAD || phase == CONN_BODY)
		(void)!send(c->fd, late, sizeof(late) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(c->fd, SHUT_RDWR);
}

void conns_check_deadlines(struct http_server *s)
{
	int64_t now = clock_mono_ms();
	pthread_mutex_lock(&s->registry_lock);
	for (struct conn *c = s->conns; c; c = c->next) {
		int64_t d = atomic_load(&c->deadline);
		if (d > 0 && now >= d && atomic_compare_exchange_strong(&c->deadline, &d, CONN_CUT))
			conn_cut(c);
	}
	pthread_mutex_unlock(&s->registry_lock);
}

void conns_kill(struct http_server *s)
{
	pthread_mutex_lock(&s->registry_lock);
	for (struct conn *c = s->conns; c; c = c->next) {
		pthread_mutex_lock(&c->lock);
		if (c->x)
			exchange_kill(c->x);
		pthread_mutex_unlock(&c->lock);
	}
	pthread_mutex_unlock(&s->registry_lock);
}
