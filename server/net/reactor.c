/* The reactor threads: each owns one curl multi handle, an epoll set and an eventfd that other threads ring.
 * The inbox is the only thing shared; it is under `lock`, which is never held while curl or a callback runs.
 * Timers are epoll_wait's timeout: the next thing due is always known when the thread goes to sleep. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/thread.h"
#include "net/internal.h"

#define EVENTS_MAX 128
#define IDLE_CONNECTIONS_MAX 512L

static _Thread_local bool on_reactor_thread;

bool net_on_reactor_thread(void)
{
	return on_reactor_thread;
}

/* ---- the inbox ---- */

enum err reactor_post(struct net_call *call, enum net_op op)
{
	struct reactor *r = call->reactor;
	bool ring = false, stopping;

	pthread_mutex_lock(&r->lock);
	stopping = r->stopping;
	if (!stopping) {
		call->ops |= op;
		if (!call->queued) {
			ring = r->inbox == NULL;
			net_call_ref(call);
			call->queued = true;
			call->next = NULL;
			*r->inbox_end = call;
			r->inbox_end = &call->next;
		}
	}
	pthread_mutex_unlock(&r->lock);
	if (ring)
		eventfd_write(r->event, 1);
	return stopping ? ERR_STOPPING : ERR_OK;
}

static struct net_call *inbox_take(struct reactor *r, unsigned *ret_ops, bool *ret_stopping)
{
	struct net_call *call;

	pthread_mutex_lock(&r->lock);
	call = r->inbox;
	*ret_stopping = r->stopping;
	if (call) {
		r->inbox = call->next;
		if (!r->inbox)
			r->inbox_end = &r->inbox;
		call->queued = false;
		*ret_ops = call->ops;
		call->ops = 0;
	}
	pthread_mutex_unlock(&r->lock);
	return call;
}

/* ---- calls ---- */

static void call_finish(struct net_call *call, CURLcode code)
{
	struct reactor *r = call->reactor;
	enum err e;

	if (call->running) {
		timers_remove(&r->timers, call);
		curl_multi_remove_handle(r->multi, call->easy);
		call->running = false;
	}
	e = call_result(call, code);
	call->req.on_done(call->req.arg, e, call->status);
	curl_easy_cleanup(call->easy); /* now, not when the last reference goes */
	call->easy = NULL;
	net_call_unref(call);
}

static void call_set_wake(struct net_call *call)
{
	int64_t stall = call->req.stall_timeout_ms;

	call->wake = call->deadline;
	if (stall > 0 && call->active_at + stall < call->deadline)
		call->wake = call->active_at + stall;
}

static void call_start(struct net_call *call)
{
	struct reactor *r = call->reactor;

	if (atomic_load(&call->cancelled) || deadline_passed(call->deadline)) {
		call_fail(call, ERR_DEADLINE, "the deadline passed");
		call_finish(call, CURLE_OK);
		return;
	}
	call->active_at = clock_mono_ms();
	call_set_wake(call);
	if (curl_multi_add_handle(r->multi, call->easy) != CURLM_OK) {
		call_fail(call, ERR_IO, "curl refused the call");
		call_finish(call, CURLE_OK);
		return;
	}
	call->running = true;
	timers_add(&r->timers, call);
}

static void call_resume(struct net_call *call)
{
	CURLcode rc;

	call->hold = false;
	if (!call->paused)
		return;
	call->paused = false;
	call->active_at = clock_mono_ms();
	rc = curl_easy_pause(call->easy, CURLPAUSE_CONT); /* delivers what curl had kept, here */
	if (rc != CURLE_OK)
		call_finish(call, rc);
}

/* The timer of a call came due: the deadline, a stall, or neither because bytes moved meanwhile. */
static void call_wake(struct net_call *call, deadline_ms now)
{
	curl_off_t sent = 0;

	if (now >= call->deadline) {
		call_fail(call, ERR_DEADLINE, "the deadline passed");
		call_finish(call, CURLE_OK);
		return;
	}
	if (curl_easy_getinfo(call->easy, CURLINFO_SIZE_UPLOAD_T, &sent) == CURLE_OK && sent != call->sent_seen) {
		call->sent_seen = sent; /* a long request is not a stalled answer */
		call->active_at = now;
	}
	if (call->paused)
		call->active_at = now; /* we are the ones who wait */
	if (call->req.stall_timeout_ms > 0 && now - call->active_at >= call->req.stall_timeout_ms) {
		call_fail(call, ERR_DEADLINE, "the answer stalled");
		call_finish(call, CURLE_OK);
		return;
	}
	call_set_wake(call);
	timers_moved(&call->reactor->timers, call);
}

/* ---- curl's side of the loop ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct reactor *r = arg;
	struct epoll_event ev = { .data.fd = fd };

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		epoll_ctl(r->epoll, EPOLL_CTL_DEL, fd, NULL);
		curl_multi_assign(r->multi, fd, NULL);
		return 0;
	}
	ev.events = ((what & CURL_POLL_IN) ? (uint32_t)EPOLLIN : 0u) | ((what & CURL_POLL_OUT) ? (uint32_t)EPOLLOUT : 0u);
	if (known && epoll_ctl(r->epoll, EPOLL_CTL_MOD, fd, &ev) == 0)
		return 0;
	if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &ev) != 0 &&
	    !(errno == EEXIST && epoll_ctl(r->epoll, EPOLL_CTL_MOD, fd, &ev) == 0))
		return -1;
	curl_multi_assign(r->multi, fd, r);
	return 0;
}

static int on_timer(CURLM *multi, long ms, void *arg)
{
	struct reactor *r = arg;

	(void)multi;
	r->curl_at = ms < 0 ? -1 : clock_mono_ms() + ms;
	return 0;
}

static void reactor_reap(struct reactor *r)
{
	int left;
	CURLMsg *msg;

	while ((msg = curl_multi_info_read(r->multi, &left)) != NULL) {
		struct net_call *call = NULL;
		CURLcode code = msg->data.result;

		if (msg->msg != CURLMSG_DONE)
			continue;
		if (curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &call) == CURLE_OK && call)
			call_finish(call, code);
	}
}

static void reactor_turn_timers(struct reactor *r)
{
	deadline_ms now = clock_mono_ms();
	struct net_call *call;
	int running;

	if (r->curl_at >= 0 && r->curl_at <= now) {
		r->curl_at = -1;
		curl_multi_socket_action(r->multi, CURL_SOCKET_TIMEOUT, 0, &running);
		reactor_reap(r);
	}
	while ((call = timers_first(&r->timers)) != NULL && call->wake <= now)
		call_wake(call, now);
}

static bool reactor_turn_inbox(struct reactor *r)
{
	struct net_call *call;
	unsigned ops = 0;
	bool stopping;

	while ((call = inbox_take(r, &ops, &stopping)) != NULL) {
		if (ops & NET_OP_START)
			call_start(call);
		if (call->running && (ops & NET_OP_CANCEL))
			call_finish(call, CURLE_OK);
		if (call->running && (ops & NET_OP_RESUME))
			call_resume(call);
		net_call_unref(call);
	}
	return !stopping;
}

static int reactor_sleep_ms(const struct reactor *r)
{
	const struct net_call *call = timers_first(&r->timers);
	deadline_ms at = r->curl_at;
	int64_t left;

	if (call && (at < 0 || call->wake < at))
		at = call->wake;
	if (at < 0)
		return -1;
	left = deadline_left(at);
	return left > 60000 ? 60000 : (int)left;
}

static void *reactor_main(void *arg)
{
	struct reactor *r = arg;
	struct epoll_event events[EVENTS_MAX];
	struct net_call *call;

	on_reactor_thread = true;
	thread_name(r->net->config.hostile ? "net-hostile" : "net");
	while (reactor_turn_inbox(r)) {
		int n, running;

		reactor_turn_timers(r);
		reactor_reap(r);
		n = epoll_wait(r->epoll, events, EVENTS_MAX, reactor_sleep_ms(r));
		for (int i = 0; i < n; i++) {
			int mask = ((events[i].events & EPOLLIN) ? CURL_CSELECT_IN : 0) | ((events[i].events & EPOLLOUT) ? CURL_CSELECT_OUT : 0) |
				   ((events[i].events & (EPOLLERR | EPOLLHUP)) ? CURL_CSELECT_ERR : 0);
			eventfd_t rung;

			if (events[i].data.fd == r->event)
				eventfd_read(r->event, &rung);
			else
				curl_multi_socket_action(r->multi, events[i].data.fd, mask, &running);
		}
		reactor_reap(r);
	}
	while ((call = timers_first(&r->timers)) != NULL) {
		call_fail(call, ERR_CANCELLED, "the process is stopping");
		call_finish(call, CURLE_OK);
	}
	return NULL;
}

/* ---- life ---- */

static bool reactor_set_multi(struct reactor *r)
{
	const struct net_config *config = &r->net->config;

	r->multi = curl_multi_init();
	return r->multi && curl_multi_setopt(r->multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
	       curl_multi_setopt(r->multi, CURLMOPT_SOCKETDATA, r) == CURLM_OK &&
	       curl_multi_setopt(r->multi, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
	       curl_multi_setopt(r->multi, CURLMOPT_TIMERDATA, r) == CURLM_OK &&
	       curl_multi_setopt(r->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING) == CURLM_OK &&
	       curl_multi_setopt(r->multi, CURLMOPT_MAXCONNECTS, IDLE_CONNECTIONS_MAX) == CURLM_OK &&
	       curl_multi_setopt(r->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)config->connections_per_host_max) == CURLM_OK;
}

enum err reactor_open(struct reactor *r, struct net *net)
{
	struct epoll_event ev = { .events = EPOLLIN };
	sigset_t all, before;

	r->net = net;
	r->curl_at = -1;
	r->inbox_end = &r->inbox;
	pthread_mutex_init(&r->lock, NULL);
	r->epoll = epoll_create1(EPOLL_CLOEXEC);
	r->event = ev.data.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->epoll < 0 || r->event < 0 || epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->event, &ev) != 0 || !reactor_set_multi(r))
		return ERR_IO;
	sigfillset(&all); /* signals are main's; a broken TLS connection must be an error, not SIGPIPE */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r->started = pthread_create(&r->thread, NULL, reactor_main, r) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r->started ? ERR_OK : ERR_IO;
}

void reactor_stop(struct reactor *r)
{
	if (!r->started)
		return;
	pthread_mutex_lock(&r->lock);
	r->stopping = true;
	pthread_mutex_unlock(&r->lock);
	eventfd_write(r->event, 1);
	pthread_join(r->thread, NULL);
	r->started = false;
}

void reactor_close(struct reactor *r)
{
	curl_multi_cleanup(r->multi);
	timers_free(&r->timers);
	if (r->epoll >= 0)
		close(r->epoll);
	if (r->event >= 0)
		close(r->event);
	pthread_mutex_destroy(&r->lock);
}

static void curl_global_once(void)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
		abort();
}

enum err net_start(const struct net_config *config, struct net **ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct net *net;

	if (config->reactors == 0 || config->reactors > 64)
		return ERR_BAD_FIELD;
	pthread_once(&once, curl_global_once);
	net = xcalloc(1, sizeof(*net));
	net->config = *config;
	net->refs = 1;
	net->reactors = xcalloc(config->reactors, sizeof(*net->reactors));
	for (unsigned i = 0; i < config->reactors; i++)
		net->reactors[i].epoll = net->reactors[i].event = -1;
	for (unsigned i = 0; i < config->reactors; i++)
		if (reactor_open(&net->reactors[i], net) != ERR_OK) {
			net->config.reactors = i + 1; /* the rest was never made */
			net_stop(net);
			return ERR_IO;
		}
	*ret = net;
	return ERR_OK;
}

void net_unref(struct net *net)
{
	if (atomic_fetch_sub(&net->refs, 1) != 1)
		return;
	for (unsigned i = 0; i < net->config.reactors; i++)
		reactor_close(&net->reactors[i]);
	mem_cleanup_free(&net->reactors);
	mem_cleanup_free(&net);
}

void net_stop(struct net *net)
{
	if (!net)
		return;
	for (unsigned i = 0; i < net->config.reactors; i++)
		reactor_stop(&net->reactors[i]);
	net_unref(net); /* late references to calls keep what they may still touch */
}
