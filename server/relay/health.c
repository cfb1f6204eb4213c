/* See health.h. */
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "relay/health.h"

#define FAILURES_MAX 5
#define EJECT_MS_MIN 1000
#define EJECT_MS_MAX 30000

struct node_health {
	struct node_health *next;
	struct address node;
	int64_t running, failures, eject_ms;
	deadline_ms ejected_until;
};

struct health {
	pthread_mutex_t lock;
	struct node_health *nodes; /* as many as registered nodes: bounded by the registry */
};

struct health *health_new(void)
{
	struct health *h = xcalloc(1, sizeof(*h));

	pthread_mutex_init(&h->lock, NULL);
	return h;
}

void health_free(struct health *h)
{
	struct node_health *next;

	if (!h)
		return;
	for (struct node_health *n = h->nodes; n; n = next) {
		next = n->next;
		free(n);
	}
	pthread_mutex_destroy(&h->lock);
	free(h);
}

static struct node_health *find(struct health *h, const struct address *node)
{
	struct node_health *n = h->nodes;

	while (n && !address_equal(&n->node, node))
		n = n->next;
	if (!n) {
		n = xcalloc(1, sizeof(*n));
		n->node = *node;
		n->next = h->nodes;
		h->nodes = n;
	}
	return n;
}

bool health_acquire(struct health *h, const struct address *node, int64_t capacity)
{
	struct node_health *n;
	bool ok;

	pthread_mutex_lock(&h->lock);
	n = find(h, node);
	ok = n->running < capacity && (!n->ejected_until || deadline_passed(n->ejected_until));
	if (ok)
		n->running++;
	pthread_mutex_unlock(&h->lock);
	return ok;
}

void health_release(struct health *h, const struct address *node, bool failed)
{
	struct node_health *n;

	pthread_mutex_lock(&h->lock);
	n = find(h, node);
	n->running--;
	if (!failed) {
		n->failures = n->eject_ms = 0;
		n->ejected_until = 0;
	} else if (++n->failures >= FAILURES_MAX) {
		n->eject_ms = n->eject_ms ? n->eject_ms * 2 : EJECT_MS_MIN;
		if (n->eject_ms > EJECT_MS_MAX)
			n->eject_ms = EJECT_MS_MAX;
		n->ejected_until = deadline_in(n->eject_ms);
	}
	pthread_mutex_unlock(&h->lock);
}

int64_t health_running(struct health *h, const struct address *node)
{
	int64_t running;

	pthread_mutex_lock(&h->lock);
	running = find(h, node)->running;
	pthread_mutex_unlock(&h->lock);
	return running;
}
