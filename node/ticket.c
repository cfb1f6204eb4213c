/* Tickets: the gateway's signed order to serve one job, and the memory of those already used. Called by the workers through
 * serve.c; the table has its own lock. A ticket stays in the table until it expires, so it cannot be served twice by one
 * run of the agent; the table never forgets an unexpired one, it refuses instead. */
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "node/agent.h"

#define TICKET_LIFE_MAX ((int64_t)2 * 3600 * 1000) /* beyond it a ticket would sit in the table for too long */

struct seen {
	struct uuid job;
	uint32_t attempt;
	bool used;
	int64_t expires;
};

struct ticket_table {
	pthread_mutex_t lock;
	struct seen *slots; /* open addressing, at most half full */
	size_t size, count, max;
};

struct ticket_table *ticket_table_new(size_t max)
{
	struct ticket_table *t = xcalloc(1, sizeof(*t));
	pthread_mutex_init(&t->lock, NULL);
	t->size = 1024;
	t->max = max;
	t->slots = xcalloc(t->size, sizeof(*t->slots));
	return t;
}

void ticket_table_free(struct ticket_table *t)
{
	if (!t)
		return;
	pthread_mutex_destroy(&t->lock);
	free(t->slots);
	free(t);
}

/* Job ids are chosen by the pinned gateway, so no caller can aim at one slot. */
static struct seen *slot_of(struct seen *slots, size_t size, const struct uuid *job, uint32_t attempt)
{
	uint64_t h = 1469598103934665603u ^ attempt;
	for (size_t i = 0; i < sizeof(job->b); i++)
		h = (h ^ job->b[i]) * 1099511628211u;
	size_t at = (size_t)(h ^ (h >> 32)) & (size - 1);
	while (slots[at].used && (slots[at].attempt != attempt || memcmp(&slots[at].job, job, sizeof(*job)) != 0))
		at = (at + 1) & (size - 1);
	return &slots[at];
}

/* Drops what expired, and grows when more than a quarter is still alive. */
static void table_rebuild(struct ticket_table *t, int64_t now)
{
	size_t alive = 0;
	for (size_t i = 0; i < t->size; i++)
		alive += t->slots[i].used && t->slots[i].expires >= now;
	size_t size = t->size;
	while (alive * 4 > size && size < t->max * 2)
		size *= 2;
	struct seen *slots = xcalloc(size, sizeof(*slots));
	for (size_t i = 0; i < t->size; i++)
		if (t->slots[i].used && t->slots[i].expires >= now)
			*slot_of(slots, size, &t->slots[i].job, t->slots[i].attempt) = t->slots[i];
	free(t->slots);
	t->slots = slots;
	t->size = size;
	t->count = alive;
}

enum err ticket_table_use(struct ticket_table *t, const struct ticket *ticket, int64_t now)
{
	enum err e = ERR_OK;
	pthread_mutex_lock(&t->lock);
	if (t->count >= t->max || (t->count + 1) * 2 > t->size)
		table_rebuild(t, now);
	struct seen *s = slot_of(t->slots, t->size, &ticket->job_id, ticket->attempt);
	if (s->used) {
		e = ERR_CONFLICT;
	} else if (t->count >= t->max || (t->count + 1) * 2 > t->size) {
		e = ERR_OVERLOADED;
	} else {
		*s = (struct seen){ .job = ticket->job_id, .attempt = ticket->attempt, .used = true, .expires = (int64_t)ticket->expires_at };
		t->count++;
	}
	pthread_mutex_unlock(&t->lock);
	return e;
}

static enum err refuse(struct json_why *why, const char *text)
{
	snprintf(why->text, sizeof(why->text), "ticket: %s", text);
	return ERR_BAD_SIGNATURE;
}

enum err ticket_check(const struct agent *a, const char *header, const struct ticket_request *request, int64_t now, struct ticket *ret,
		      struct json_why *why)
{
	uint8_t text[DOC_JSON_MAX];
	size_t len = 0;
	struct ticket t;
	uint64_t chain_id = 0;
	struct signature sig;
	struct address signer;
	struct hash hash;
	struct json_why form = { "" };
	if (!header)
		return refuse(why, "the header Opgate-Ticket is missing");
	if (base64url_decode(header, strlen(header), text, sizeof(text), &len))
		return refuse(why, "not base64url");
	if (doc_read(&TICKET_TYPE, (const char *)text, len, &t, &chain_id, &sig, &form))
		return refuse(why, "not in the canonical form");
	if (chain_id != (uint64_t)a->settings.chain_id)
		return refuse(why, "for another chain");
	if (!address_equal(&t.gateway, &a->settings.gateway_address))
		return refuse(why, "of another gateway");
	if (!address_equal(&t.node, &a->address))
		return refuse(why, "for another node");
	if (t.expires_at < (uint64_t)now)
		return refuse(why, "expired");
	if (t.expires_at > (uint64_t)(now + TICKET_LIFE_MAX))
		return refuse(why, "expires too far in the future");
	request_hash(request->method, request->path, request->content_type, request->inference_header_length, request->body,
		     request->body_len, &hash);
	if (!hash_equal(&hash, &t.request_hash))
		return refuse(why, "for another request");
	if (doc_signer(&TICKET_TYPE, &t, chain_id, &sig, &signer) || !address_equal(&signer, &a->settings.gateway_address))
		return refuse(why, "not signed by the pinned gateway");
	*ret = t;
	return ERR_OK;
}
