/* Receipts: signed, put into a header, and pushed to the gateway when nobody was there to take them. receipt_push is called
 * on reactors and workers; push_run is the pusher's thread; push_lock guards the queue. */
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "node/agent.h"

#define PUSH_MAX 1024
#define PUSH_TRIES 4

struct push {
	struct push *next;
	char *text;
};

char *receipt_write(const struct agent *a, const struct receipt *receipt)
{
	struct signature sig;
	doc_sign(&RECEIPT_TYPE, receipt, (uint64_t)a->settings.chain_id, &a->key, &sig);
	return doc_write(&RECEIPT_TYPE, receipt, (uint64_t)a->settings.chain_id, &sig);
}

char *receipt_header(const char *text)
{
	char *header = xmalloc(base64url_encoded_len(strlen(text)) + 1);
	base64url_encode(text, strlen(text), header);
	return header;
}

void receipt_push(struct agent *a, char *take_text)
{
	pthread_mutex_lock(&a->push_lock);
	bool full = a->push_count >= PUSH_MAX;
	if (!full) {
		struct push *p = xcalloc(1, sizeof(*p));
		p->text = take_text;
		*a->push_end = p;
		a->push_end = &p->next;
		a->push_count++;
		pthread_cond_signal(&a->push_wake);
	}
	pthread_mutex_unlock(&a->push_lock);
	if (full) {
		LOG_EVENT(LOG_ERROR, "receipt.dropped", L_STR("reason", "queue full"));
		free(take_text);
	}
}

/* Waits between tries, or returns at once when the agent ends. */
static void push_pause(struct agent *a, int64_t ms)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (ms % 1000) * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&a->push_lock);
	while (!a->push_stop && pthread_cond_timedwait(&a->push_wake, &a->push_lock, &until) == 0)
		;
	pthread_mutex_unlock(&a->push_lock);
}

static void push_one(struct agent *a, const char *text)
{
	_cleanup_free_ char *path = xasprintf("/v1/nodes/%s/receipts", address_format(&a->address).s);
	for (int try = 1; try <= PUSH_TRIES; try++) {
		struct api_answer answer;
		enum err e = api_run(a, &(struct api_call){ .method = "POST", .path = path, .body = text, .body_len = strlen(text),
							    .signed_ = true, .deadline_ms = 5000 }, &answer);
		int status = e ? 0 : answer.status;
		api_answer_done(&answer);
		if (!e && status < 500 && status != 429) {
			LOG_EVENT(status < 300 ? LOG_INFO : LOG_WARN, "receipt.pushed", L_INT("status", status));
			return;
		}
		LOG_EVENT(LOG_WARN, "receipt.push_failed", L_INT("try", try), L_INT("status", status), L_STR("detail", answer.error));
		if (try < PUSH_TRIES)
			push_pause(a, (int64_t)250 << try);
	}
}

void *push_run(void *agent)
{
	struct agent *a = agent;
	pthread_mutex_lock(&a->push_lock);
	for (;;) {
		struct push *p = a->push_first;
		if (!p && a->push_stop)
			break;
		if (!p) {
			pthread_cond_wait(&a->push_wake, &a->push_lock);
			continue;
		}
		a->push_first = p->next;
		if (!a->push_first)
			a->push_end = &a->push_first;
		a->push_count--;
		pthread_mutex_unlock(&a->push_lock);
		push_one(a, p->text);
		free(p->text);
		free(p);
		pthread_mutex_lock(&a->push_lock);
	}
	pthread_mutex_unlock(&a->push_lock);
	return NULL;
}

void push_end(struct agent *a)
{
	pthread_mutex_lock(&a->push_lock);
	a->push_stop = true;
	pthread_cond_broadcast(&a->push_wake);
	pthread_mutex_unlock(&a->push_lock);
}
