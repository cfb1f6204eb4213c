/* A blocking call to the gateway or a backend that ends early when the agent stops, and may stream its answer into a sink.
 * Called by the main, catalog and pusher threads, never on a reactor. One lock per call, shared with its reactor. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/agent.h"

#define CANCEL_LOOK_MS 100

struct fetch {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	struct net_call *call;
	const struct fetch_sink *sink;
	struct buf body;
	enum err e, sink_error;
	int status;
	bool done;
	char error[160];
};

static enum net_flow on_head(void *arg, int status)
{
	struct fetch *f = arg;
	f->status = status;
	return NET_CONTINUE;
}

static enum net_flow on_data(void *arg, const void *p, size_t len)
{
	struct fetch *f = arg;
	if (f->sink && f->status == 200)
		f->sink_error = f->sink->data(f->sink->arg, p, len);
	else
		f->sink_error = buf_append(&f->body, p, len);
	return f->sink_error ? NET_ABORT : NET_CONTINUE;
}

static void on_done(void *arg, enum err e, int status)
{
	struct fetch *f = arg;
	pthread_mutex_lock(&f->lock);
	f->e = f->sink_error ? f->sink_error : e;
	f->status = status;
	f->done = true;
	pthread_cond_signal(&f->ended);
	pthread_mutex_unlock(&f->lock);
}

static void wait_done(struct fetch *f, const atomic_bool *cancel)
{
	bool cancelled = false;
	pthread_mutex_lock(&f->lock);
	while (!f->done) {
		if (!cancel || cancelled) {
			pthread_cond_wait(&f->ended, &f->lock);
			continue;
		}
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += CANCEL_LOOK_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
		pthread_cond_timedwait(&f->ended, &f->lock, &until);
		if (!f->done && atomic_load(cancel)) {
			cancelled = true;
			net_cancel(f->call);
		}
	}
	pthread_mutex_unlock(&f->lock);
}

enum err fetch_run(struct net *net, const struct net_request *request, const struct fetch_sink *sink, const atomic_bool *cancel,
		   struct api_answer *ret)
{
	struct net_request r = *request;
	struct fetch f = { .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER, .sink = sink };
	f.body = BUF_INIT(sink ? 65536 : r.response_max ? r.response_max : (size_t)1 << 20);
	r.on_head = on_head;
	r.on_data = on_data;
	r.on_done = on_done;
	r.arg = &f;
	r.hold = true;
	*ret = (struct api_answer){ .status = 0 };
	enum err e = net_call(net, &r, &f.call);
	if (e)
		return e;
	wait_done(&f, cancel);
	if (f.e) {
		const char *words = net_call_error(f.call);
		snprintf(ret->error, sizeof(ret->error), "%s", words && *words ? words : err_info(f.e)->code);
	}
	net_call_unref(f.call);
	pthread_mutex_destroy(&f.lock);
	pthread_cond_destroy(&f.ended);
	if (f.e) {
		buf_done(&f.body);
		return f.e;
	}
	ret->status = f.status;
	ret->len = f.body.len;
	ret->body = buf_steal(&f.body);
	return ERR_OK;
}

void api_answer_done(struct api_answer *answer)
{
	free(answer->body);
	answer->body = NULL;
}
