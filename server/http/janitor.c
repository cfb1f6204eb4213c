/* The janitor: one thread with its own epoll. It watches duplicates of the descriptors of requests that somebody else holds
 * (libmicrohttpd does not look at a suspended connection), runs on_gone callbacks, enforces absolute deadlines, and sends
 * heartbeats. watch_lock guards x->watch, the graveyard and the gone list; no callback runs under it.
 *
 * A watch that was removed may still be among the events just returned, so it is only freed here, after the batch. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/thread.h"
#include "http/internal.h"

struct watch {
	struct watch *next; /* graveyard */
	struct http_exchange *x;
	int fd;
	bool dead;
};

#define EVENTS_MAX 64
#define TICK_MS 50

static void wake(struct http_server *s)
{
	uint64_t one = 1;
	(void)!write(s->wake_fd, &one, sizeof(one));
}

void janitor_watch(struct http_exchange *x)
{
	struct http_server *s = x->server;
	pthread_mutex_lock(&s->watch_lock);
	struct watch *w = x->watch;
	struct epoll_event event = { .events = EPOLLRDHUP | EPOLLONESHOT };
	if (w) {
		event.data.ptr = w;
		epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, w->fd, &event);
		pthread_mutex_unlock(&s->watch_lock);
		return;
	}
	/* Under the exchange's lock the descriptor is still the connection's unless completed. */
	pthread_mutex_lock(&x->lock);
	int fd = x->completed || x->killed ? -1 : fcntl(x->fd, F_DUPFD_CLOEXEC, 0);
	pthread_mutex_unlock(&x->lock);
	if (fd >= 0) {
		w = xcalloc(1, sizeof(*w));
		*w = (struct watch){ .x = x, .fd = fd };
		event.data.ptr = w;
		if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
			close(fd);
			free(w);
		} else {
			x->watch = w;
		}
	}
	pthread_mutex_unlock(&s->watch_lock);
}

void janitor_unwatch(struct http_exchange *x)
{
	struct http_server *s = x->server;
	pthread_mutex_lock(&s->watch_lock);
	struct watch *w = x->watch;
	if (w) {
		x->watch = NULL;
		epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
		close(w->fd);
		w->dead = true;
		w->next = s->graveyard;
		s->graveyard = w;
	}
	pthread_mutex_unlock(&s->watch_lock);
}

void janitor_post_gone(struct http_exchange *x)
{
	struct http_server *s = x->server;
	exchange_ref(x);
	pthread_mutex_lock(&s->watch_lock);
	x->gone_next = NULL;
	*s->gone_tail = x;
	s->gone_tail = &x->gone_next;
	pthread_mutex_unlock(&s->watch_lock);
	wake(s);
}

static void gone_run(struct http_exchange *x)
{
	pthread_mutex_lock(&x->lock);
	void (*fn)(void *) = x->gone_fn;
	void *arg = x->gone_arg;
	x->gone_posted = false;
	x->gone_fn = NULL;
	if (fn) {
		x->gone_running = true;
		x->gone_thread = pthread_self();
		pthread_mutex_unlock(&x->lock);
		fn(arg);
		pthread_mutex_lock(&x->lock);
		x->gone_running = false;
		pthread_cond_broadcast(&x->gone_idle);
	}
	pthread_mutex_unlock(&x->lock);
	exchange_unref(x);
}

static void gone_run_all(struct http_server *s)
{
	for (;;) {
		pthread_mutex_lock(&s->watch_lock);
		struct http_exchange *x = s->gone_head;
		if (x) {
			s->gone_head = x->gone_next;
			if (!s->gone_head)
				s->gone_tail = &s->gone_head;
		}
		pthread_mutex_unlock(&s->watch_lock);
		if (!x)
			return;
		gone_run(x);
	}
}

static void graveyard_clear(struct http_server *s)
{
	pthread_mutex_lock(&s->watch_lock);
	struct watch *w = s->graveyard;
	s->graveyard = NULL;
	pthread_mutex_unlock(&s->watch_lock);
	for (struct watch *next; w; w = next) {
		next = w->next;
		free(w);
	}
}

static void events_handle(struct http_server *s, const struct epoll_event *events, int count)
{
	for (int i = 0; i < count; i++) {
		struct watch *w = events[i].data.ptr;
		if (!w) {
			uint64_t n;
			(void)!read(s->wake_fd, &n, sizeof(n));
			continue;
		}
		pthread_mutex_lock(&s->watch_lock);
		struct http_exchange *x = w->dead ? NULL : w->x;
		if (x)
			exchange_ref(x);
		pthread_mutex_unlock(&s->watch_lock);
		if (!x)
			continue;
		exchange_mark_gone(x);
		exchange_unref(x);
	}
}

static void *janitor_main(void *arg)
{
	struct http_server *s = arg;
	struct epoll_event events[EVENTS_MAX];
	int64_t next = clock_mono_ms() + TICK_MS;
	thread_name("janitor");
	while (!atomic_load(&s->janitor_stop)) {
		int n = epoll_wait(s->epoll_fd, events, EVENTS_MAX, TICK_MS);
		events_handle(s, events, n);
		graveyard_clear(s);
		gone_run_all(s);
		int64_t now = clock_mono_ms();
		if (now < next)
			continue;
		next = now + TICK_MS;
		conns_check_deadlines(s);
		streams_heartbeat(s, now);
	}
	gone_run_all(s);
	graveyard_clear(s);
	return NULL;
}

enum err janitor_start(struct http_server *s)
{
	s->gone_tail = &s->gone_head;
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct epoll_event event = { .events = EPOLLIN };
	if (s->epoll_fd < 0 || s->wake_fd < 0 || epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->wake_fd, &event))
		return ERR_IO;
	if (pthread_create(&s->janitor, NULL, janitor_main, s))
		return ERR_IO;
	s->janitor_started = true;
	return ERR_OK;
}

void janitor_stop(struct http_server *s)
{
	if (s->janitor_started) {
		atomic_store(&s->janitor_stop, true);
		wake(s);
		pthread_join(s->janitor, NULL);
		s->janitor_started = false;
	}
}
