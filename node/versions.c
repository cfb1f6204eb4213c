/* The versions this node runs, their places, and the offers made of them. Called by the catalog thread (adds, states), the
 * main thread (offers) and the workers (places); agent->lock guards what changes. */
#include <stdlib.h>
#include <string.h>

#include "node/agent.h"

const char *node_surface_name(enum node_surface s)
{
	return s == NODE_CHAT ? "chat" : "tensor";
}

void agent_init(struct agent *a)
{
	secret_key_address(&a->key, &a->address);
	pthread_mutex_init(&a->lock, NULL);
	pthread_mutex_init(&a->push_lock, NULL);
	pthread_cond_init(&a->push_wake, NULL);
	a->push_end = &a->push_first;
	a->tickets = ticket_table_new((size_t)1 << 20);
	atomic_init(&a->stopping, false);
}

void agent_done(struct agent *a)
{
	while (a->served) {
		struct served *s = a->served;
		a->served = s->next;
		served_free(s);
	}
	ticket_table_free(a->tickets);
	pthread_mutex_destroy(&a->lock);
	pthread_mutex_destroy(&a->push_lock);
	pthread_cond_destroy(&a->push_wake);
	secret_key_wipe(&a->key);
	node_settings_free(&a->settings);
}

struct served *served_find(struct agent *a, const struct hash *digest)
{
	pthread_mutex_lock(&a->lock);
	struct served *s = a->served;
	while (s && !hash_equal(&s->digest, digest))
		s = s->next;
	pthread_mutex_unlock(&a->lock);
	return s;
}

void served_add(struct agent *a, struct served *take)
{
	pthread_mutex_lock(&a->lock);
	take->next = a->served;
	a->served = take;
	pthread_mutex_unlock(&a->lock);
}

void served_set_state(struct agent *a, struct served *s, enum served_state state)
{
	pthread_mutex_lock(&a->lock);
	if ((s->state == SERVED_READY) != (state == SERVED_READY))
		a->offers_generation++;
	s->state = state;
	pthread_mutex_unlock(&a->lock);
}

enum err served_acquire(struct agent *a, struct served *s, struct served_backend *ret)
{
	enum err e = ERR_OK;
	pthread_mutex_lock(&a->lock);
	if (s->state != SERVED_READY || atomic_load(&a->stopping))
		e = ERR_NO_NODE;
	else if (s->running >= s->capacity)
		e = ERR_OVERLOADED;
	if (!e) {
		s->running++;
		memcpy(ret->base_url, s->base_url, sizeof(ret->base_url));
		memcpy(ret->model, s->backend_model, sizeof(ret->model));
	}
	pthread_mutex_unlock(&a->lock);
	return e;
}

void served_release(struct agent *a, struct served *s)
{
	pthread_mutex_lock(&a->lock);
	s->running--;
	pthread_mutex_unlock(&a->lock);
}

void served_free(struct served *s)
{
	if (!s)
		return;
	free(s->dir);
	free(s->profile);
	free(s);
}

char *offers_body(struct agent *a, uint64_t *ret_generation)
{
	_cleanup_json_ json_t *offers = json_array();
	pthread_mutex_lock(&a->lock);
	*ret_generation = a->offers_generation;
	for (const struct served *s = a->served; s; s = s->next) {
		if (s->state != SERVED_READY)
			continue;
		char digest[72] = "sha256:";
		hex_encode(s->digest.b, sizeof(s->digest.b), digest + 7);
		json_array_append_new(offers, json_must(json_pack("{s:s, s:{s:s, s:s, s:s}, s:I, s:s, s:s}", "digest", digest, "ask", "currency", a->settings.ask_currency, "input",
			amount_format(a->settings.ask_input).s, "output", amount_format(a->settings.ask_output).s, "capacity",
			(json_int_t)s->capacity, "precision", s->precision, "profile", s->profile)));
	}
	pthread_mutex_unlock(&a->lock);
	_cleanup_json_ json_t *body = json_must(json_pack("{s:O}", "offers", offers));
	return json_text(body);
}

bool serve_matches(const char *serve, const char *model, const struct hash *digest)
{
	if (strcmp(serve, "all") == 0)
		return true;
	_cleanup_free_ char *list = xstrdup(serve);
	char *rest = list, *word;
	while ((word = strsep(&rest, ", \t"))) {
		struct hash h;
		char *at = strchr(word, '@');
		if (at) /* author/name@sha256:… */
			*at = '\0';
		const char *pinned = at ? at + 1 : strncmp(word, "sha256:", 7) == 0 ? word : NULL;
		if (!*word || (pinned != word && strcmp(word, model) != 0))
			continue;
		if (!pinned || (!hash_parse(pinned, &h) && hash_equal(&h, digest)))
			return true;
	}
	return false;
}
