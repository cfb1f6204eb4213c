/* An event stream on its way from the backend to the gateway: whole events are written anew in one form, and the response hash
 * runs over what was written. When the caller did not ask for the usage event it is dropped, and the last event, which is kept back
 * until then, carries the usage: OpenGradient's SDKs read it there. Called on one reactor thread; no locks. Comments, names and ids of events are not passed on: the answer is its data, and `: opgate-receipt` is ours to say. */
#include <stdlib.h>
#include <string.h>

#include "node/agent.h"
#include "proof/sse.h"

struct sse_rewrite {
	struct sse_reader *reader;
	struct sse_out out;
	struct sha256 *hash;
	struct buf text; /* one event as it is sent */
	json_t *last; /* ends a choice; not sent yet: the usage may follow */
	struct units usage;
	uint64_t content_events, events;
	bool drop_usage, has_usage;
};

static enum err event_send(struct sse_rewrite *r, const char *data, size_t len)
{
	buf_reset(&r->text);
	enum err e = sse_frame(data, len, &r->text);
	if (!e)
		e = r->out.write(r->out.arg, r->text.data, r->text.len);
	if (e)
		return e;
	sha256_update(r->hash, data, len);
	sha256_update(r->hash, "\n", 1);
	r->events++;
	return ERR_OK;
}

static bool string_not_empty(const json_t *j)
{
	return json_is_string(j) && json_string_length(j) > 0;
}

/* Does a choice carry something the caller reads? */
static bool has_content(const json_t *choices)
{
	size_t i;
	const json_t *choice;
	json_array_foreach((json_t *)choices, i, choice) {
		const json_t *delta = json_object_get(choice, "delta");
		if (string_not_empty(json_object_get(choice, "text")) || string_not_empty(json_object_get(delta, "content")) ||
		    string_not_empty(json_object_get(delta, "reasoning_content")) || json_is_array(json_object_get(delta, "tool_calls")))
			return true;
	}
	return false;
}

static bool ends_choice(const json_t *choices)
{
	size_t i;
	const json_t *choice;
	json_array_foreach((json_t *)choices, i, choice)
		if (json_is_string(json_object_get(choice, "finish_reason")))
			return true;
	return false;
}

/* What was kept back goes out. */
static enum err last_send(struct sse_rewrite *r)
{
	if (!r->last)
		return ERR_OK;
	_cleanup_free_ char *text = chat_text(r->last);
	json_decref(r->last);
	r->last = NULL;
	return event_send(r, text, strlen(text));
}

static enum err on_done(void *arg)
{
	return last_send(arg);
}

static enum err on_event(void *arg, const char *data, size_t len)
{
	struct sse_rewrite *r = arg;
	_cleanup_json_ json_t *j = NULL;
	if (json_parse(data, len, &j, NULL) || !json_is_object(j))
		return ERR_BAD_JSON;
	const json_t *choices = json_object_get(j, "choices");
	bool has_usage = units_from_usage(j, &r->usage);
	r->has_usage |= has_usage;
	if (has_usage && r->drop_usage && json_is_array(choices) && json_array_size(choices) == 0) {
		if (r->last)
			json_object_set(r->last, "usage", json_object_get(j, "usage"));
		return last_send(r);
	}
	enum err e = last_send(r);
	if (!e && r->drop_usage && !has_usage && ends_choice(choices))
		r->last = json_incref(j);
	else if (!e)
		e = event_send(r, data, len);
	if (!e && has_content(choices))
		r->content_events++;
	return e;
}

struct sse_rewrite *sse_rewrite_new(bool drop_usage, const struct sse_out *out)
{
	struct sse_rewrite *r = xcalloc(1, sizeof(*r));
	const struct sse_handler handler = { .event = on_event, .done = on_done, .arg = r };
	r->reader = sse_reader_new(&handler);
	r->hash = sha256_new();
	r->text = BUF_INIT((size_t)8 * SSE_EVENT_MAX); /* at worst one "data: " for each byte */
	r->out = *out;
	r->drop_usage = drop_usage;
	return r;
}

enum err sse_rewrite_feed(struct sse_rewrite *r, const void *p, size_t len)
{
	return sse_reader_feed(r->reader, p, len);
}

bool sse_rewrite_done(const struct sse_rewrite *r)
{
	return sse_reader_done(r->reader);
}

void sse_rewrite_hash(const struct sse_rewrite *r, struct hash *ret)
{
	sha256_peek(r->hash, ret);
}

struct units sse_rewrite_units(const struct sse_rewrite *r)
{
	return r->has_usage ? r->usage : (struct units){ .output = r->content_events };
}

uint64_t sse_rewrite_events(const struct sse_rewrite *r)
{
	return r->events;
}

void sse_rewrite_free(struct sse_rewrite *r)
{
	if (!r)
		return;
	sse_reader_free(r->reader);
	sha256_free(r->hash);
	json_decref(r->last);
	buf_done(&r->text);
	free(r);
}
