/* What the files of net/ share. Nobody else includes this.
 *
 * Ownership: a call's fields belong to its reactor's thread, except those marked otherwise. Other threads speak to a call
 * only by posting an operation to its reactor's inbox, under the reactor's lock. */
#ifndef OPGATE_NET_INTERNAL_H
#define OPGATE_NET_INTERNAL_H

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "net/net.h"

#define NET_HEAD_MAX ((size_t)64 * 1024) /* header bytes of one answer: interim answers and trailers included */

enum net_op { NET_OP_START = 1, NET_OP_RESUME = 2, NET_OP_CANCEL = 4 };

struct net_call {
	struct net *net; /* counted */
	struct reactor *reactor;
	_Atomic unsigned refs;
	_Atomic bool cancelled;
	_Atomic uint64_t body_bytes;

	/* under reactor->lock */
	unsigned ops; /* of enum net_op */
	bool queued;
	struct net_call *next;

	struct net_request req; /* method, url and headers are NULL here: curl has its copies */
	CURL *easy;
	struct curl_slist *headers;
	bool repeatable; /* sending it twice does no harm */
	bool bodyless;   /* HEAD: the answer has no body whatever its head says */
	bool running;    /* added to the multi handle */

	struct buf head; /* "name\0value\0" pairs of the last answer's head */
	size_t head_bytes;
	bool head_done;
	bool framed; /* the end of the body can be told from a broken connection */
	bool hold;   /* on_head asked for a pause: no data until net_resume */
	bool paused;
	int status;

	enum err fail;   /* the reason one of our callbacks ended the transfer */
	bool refused;    /* an address was judged forbidden */
	const char *why; /* our words; NULL: curl's are in `error` */
	char error[CURL_ERROR_SIZE];

	deadline_ms deadline;
	deadline_ms active_at; /* when the last byte moved */
	curl_off_t sent_seen;  /* request bytes sent when we last looked */
	deadline_ms wake;      /* when the timers look at this call again */
	size_t timer_pos;
};

/* A binary heap of running calls, the earliest `wake` first. */
struct timers {
	struct net_call **v;
	size_t count, cap;
};
void timers_add(struct timers *t, struct net_call *call);
void timers_remove(struct timers *t, struct net_call *call);
void timers_moved(struct timers *t, struct net_call *call); /* after call->wake changed */
struct net_call *timers_first(const struct timers *t);      /* NULL when empty */
void timers_free(struct timers *t);

struct reactor {
	struct net *net;
	pthread_t thread;
	bool started;
	CURLM *multi;
	int epoll, event;
	deadline_ms curl_at; /* when curl wants to be called; -1: never */
	struct timers timers;

	pthread_mutex_t lock;
	struct net_call *inbox, **inbox_end;
	bool stopping;
};

struct net {
	struct net_config config;
	_Atomic unsigned refs; /* the owner and every call */
	struct reactor *reactors;
};

/* call.c: the curl side of one call. */
enum err call_make(struct net *net, const struct net_request *request, struct net_call **ret) WARN_UNUSED;
enum err call_result(struct net_call *call, CURLcode code); /* what on_done is told */
void call_fail(struct net_call *call, enum err e, const char *why); /* the first reason stays */
void call_free(struct net_call *call);

/* reactor.c */
enum err reactor_open(struct reactor *r, struct net *net) WARN_UNUSED;
void reactor_stop(struct reactor *r);  /* cancels what runs, joins */
void reactor_close(struct reactor *r); /* frees; after reactor_stop or a failed reactor_open */
enum err reactor_post(struct net_call *call, enum net_op op); /* ERR_STOPPING: nothing was posted */
void net_unref(struct net *net);
bool net_on_reactor_thread(void);

#endif
