/* The blocking form, for worker threads: one call, the whole answer. The answer is written on the reactor's thread and read
 * by the caller after `done`, under the lock of the fetch. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/internal.h"

struct fetch {
	struct net_answer *answer;
	struct net_call *call;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool done, full;
	enum err e;
};

static enum net_flow fetch_data(void *arg, const void *p, size_t len)
{
	struct fetch *f = arg;

	f->full = buf_append(&f->answer->body, p, len) != ERR_OK;
	return f->full ? NET_ABORT : NET_CONTINUE;
}

static void fetch_done(void *arg, enum err e, int status)
{
	struct fetch *f = arg;
	const char *type;

	pthread_mutex_lock(&f->lock);
	type = net_call_header(f->call, "Content-Type");
	snprintf(f->answer->content_type, sizeof(f->answer->content_type), "%s", type ? type : "");
	snprintf(f->answer->error, sizeof(f->answer->error), "%s", e == ERR_OK ? "" : net_call_error(f->call));
	f->answer->status = status;
	f->e = f->full ? ERR_TOO_LARGE : e;
	f->done = true;
	pthread_cond_signal(&f->ended);
	pthread_mutex_unlock(&f->lock);
}

enum err net_fetch(struct net *net, const struct net_request *request, struct net_answer *answer)
{
	struct net_request r = *request;
	struct fetch f = { .answer = answer, .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER };
	enum err e;

	if (net_on_reactor_thread())
		abort(); /* it would wait for itself */
	if (answer->body.max == 0)
		answer->body.max = r.response_max ? r.response_max : (size_t)1 << 20;
	if (r.response_max == 0)
		r.response_max = answer->body.max;
	answer->status = 0;
	answer->content_type[0] = answer->error[0] = '\0';
	r.on_head = NULL;
	r.on_data = fetch_data;
	r.on_done = fetch_done;
	r.arg = &f;
	r.hold = false;
	e = net_call(net, &r, &f.call);
	if (e != ERR_OK)
		return e;
	pthread_mutex_lock(&f.lock);
	while (!f.done)
		pthread_cond_wait(&f.ended, &f.lock);
	pthread_mutex_unlock(&f.lock);
	pthread_mutex_destroy(&f.lock);
	pthread_cond_destroy(&f.ended);
	return f.e;
}
