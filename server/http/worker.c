/* The workers and their queue: bounded for new requests, unbounded and first for work already begun (completions, upload
 * pieces, handlers of finished uploads). Daemon threads reserve before they suspend, so that a full queue is answered at
 * once. queue_lock guards the lists and counts; jobs run without it. */
#include <stdlib.h>

#include "base/metrics.h"
#include "base/thread.h"
#include "http/internal.h"

static _Thread_local void *worker_state;

void *http_worker_state(void)
{
	return worker_state;
}

bool worker_reserve(struct http_server *s, bool urgent)
{
	unsigned max = s->config.queue_max ? s->config.queue_max : 1;
	pthread_mutex_lock(&s->queue_lock);
	bool ok = !s->queue_stop && (urgent || s->waiting < max);
	if (ok) {
		s->reserved++;
		if (!urgent)
			s->waiting++;
	}
	pthread_mutex_unlock(&s->queue_lock);
	if (ok && !urgent)
		metric_add(METRIC_WORKER_QUEUE, 1);
	return ok;
}

void worker_give_back(struct http_server *s, bool urgent)
{
	pthread_mutex_lock(&s->queue_lock);
	s->reserved--;
	if (!urgent)
		s->waiting--;
	if (s->queue_stop)
		pthread_cond_broadcast(&s->queue_cond);
	pthread_mutex_unlock(&s->queue_lock);
	if (!urgent)
		metric_add(METRIC_WORKER_QUEUE, -1);
}

static void append(struct http_server *s, struct job *j, bool urgent)
{
	struct job ***tail = urgent ? &s->urgent_tail : &s->normal_tail;
	j->next = NULL;
	**tail = j;
	*tail = &j->next;
	pthread_cond_signal(&s->queue_cond);
}

void worker_push(struct http_server *s, struct job *j, bool urgent)
{
	pthread_mutex_lock(&s->queue_lock);
	s->reserved--;
	append(s, j, urgent);
	pthread_mutex_unlock(&s->queue_lock);
}

static struct job *take(struct http_server *s, bool *ret_normal)
{
	struct job *j = s->urgent;
	*ret_normal = !j;
	if (j) {
		s->urgent = j->next;
		if (!s->urgent)
			s->urgent_tail = &s->urgent;
		return j;
	}
	j = s->normal;
	if (!j)
		return NULL;
	s->normal = j->next;
	if (!s->normal)
		s->normal_tail = &s->normal;
	s->waiting--;
	metric_add(METRIC_WORKER_QUEUE, -1);
	return j;
}

static void run(struct job *j)
{
	/* A request's job lives in the request, which may be gone when fn returns. */
	struct job copy = *j;
	if (copy.posted)
		free(j);
	copy.fn(copy.arg);
}

static void *worker_main(void *arg)
{
	struct http_server *s = arg;
	thread_name("worker");
	worker_state = s->config.worker_new ? s->config.worker_new(s->config.app) : NULL;
	pthread_mutex_lock(&s->queue_lock);
	for (;;) {
		bool normal;
		struct job *j = take(s, &normal);
		if (j) {
			pthread_mutex_unlock(&s->queue_lock);
			run(j);
			pthread_mutex_lock(&s->queue_lock);
		} else if (s->queue_stop && !s->reserved) {
			break;
		} else {
			pthread_cond_wait(&s->queue_cond, &s->queue_lock);
		}
	}
	pthread_cond_broadcast(&s->queue_cond);
	pthread_mutex_unlock(&s->queue_lock);
	if (worker_state && s->config.worker_free)
		s->config.worker_free(worker_state);
	worker_state = NULL;
	return NULL;
}

void http_post(struct http_server *s, void (*fn)(void *arg), void *arg)
{
	struct job *j = xcalloc(1, sizeof(*j));
	*j = (struct job){ .fn = fn, .arg = arg, .posted = true };
	pthread_mutex_lock(&s->queue_lock);
	bool dead = s->queue_dead;
	if (!dead)
		append(s, j, true);
	pthread_mutex_unlock(&s->queue_lock);
	if (dead)
		run(j); /* no worker is left: never refused all the same */
}

enum err workers_start(struct http_server *s)
{
	s->urgent_tail = &s->urgent;
	s->normal_tail = &s->normal;
	unsigned n = s->config.workers ? s->config.workers : 1;
	s->workers = xcalloc(n, sizeof(*s->workers));
	for (; s->worker_count < n; s->worker_count++)
		if (pthread_create(&s->workers[s->worker_count], NULL, worker_main, s))
			return ERR_IO;
	return ERR_OK;
}

void workers_stop(struct http_server *s)
{
	pthread_mutex_lock(&s->queue_lock);
	s->queue_stop = true;
	pthread_cond_broadcast(&s->queue_cond);
	pthread_mutex_unlock(&s->queue_lock);
	for (unsigned i = 0; i < s->worker_count; i++)
		pthread_join(s->workers[i], NULL);
	free(s->workers);
	s->workers = NULL;
	s->worker_count = 0;
	for (;;) {
		bool normal;
		pthread_mutex_lock(&s->queue_lock);
		struct job *j = take(s, &normal);
		s->queue_dead = !j;
		pthread_mutex_unlock(&s->queue_lock);
		if (!j)
			return;
		run(j); /* posted while the last worker left */
	}
}
