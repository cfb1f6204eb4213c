/* Bodies towards and from a chat backend: the model's name, the usage question, the units. Called by the workers (rewrite)
 * and the reactor (units); values in, values out. */
#include <stdlib.h>
#include <string.h>

#include "node/agent.h"

#define UNITS_MAX ((json_int_t)1 << 40) /* more tokens than any answer can have */

static enum err refuse(struct json_why *why, const char *text)
{
	snprintf(why->text, sizeof(why->text), "%s", text);
	return ERR_BAD_FIELD;
}

/* stream and stream_options as the caller sent them; then as the backend must see them. */
static enum err stream_options(json_t *body, struct chat_request *ret, struct json_why *why)
{
	json_t *stream = json_object_get(body, "stream"), *options = json_object_get(body, "stream_options");
	if (stream && !json_is_boolean(stream) && !json_is_null(stream))
		return refuse(why, "stream: must be true or false");
	ret->stream = json_is_true(stream);
	ret->wants_usage = false;
	if (!options || json_is_null(options)) {
		if (ret->stream)
			json_object_set_new(body, "stream_options", json_must(json_pack("{s:b}", "include_usage", 1)));
		return ERR_OK;
	}
	if (!json_is_object(options))
		return refuse(why, "stream_options: must be an object");
	if (!ret->stream)
		return ERR_OK; /* the backend says what it thinks of that */
	json_t *usage = json_object_get(options, "include_usage");
	if (usage && !json_is_boolean(usage) && !json_is_null(usage))
		return refuse(why, "stream_options.include_usage: must be true or false");
	ret->wants_usage = json_is_true(usage);
	json_object_set_new(options, "include_usage", json_true());
	return ERR_OK;
}

char *chat_text(const json_t *j)
{
	char *text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
	if (!text)
		panic("node: a parsed body cannot be written");
	return text;
}

enum err chat_rewrite(const char *body, size_t len, const char *model, struct chat_request *ret, char **ret_body, struct json_why *why)
{
	_cleanup_json_ json_t *j = NULL;
	struct chat_request chat = { 0 };
	enum err e = json_parse(body, len, &j, why);
	if (e)
		return e;
	if (!json_is_object(j))
		return refuse(why, "the body must be a JSON object");
	e = stream_options(j, &chat, why);
	if (e)
		return e;
	json_object_set_new(j, "model", json_must(json_string(model)));
	json_object_del(j, "opgate");
	*ret = chat;
	*ret_body = chat_text(j);
	return ERR_OK;
}

char *completion_rewrite(json_t *answer)
{
	const json_t *text = json_object_get(json_array_get(json_object_get(answer, "choices"), 0), "text");
	if (!json_is_string(text) || json_object_get(answer, "completion"))
		return NULL;
	json_object_set_new(answer, "completion", json_must(json_string(json_string_value(text))));
	return chat_text(answer);
}

static bool count_read(const json_t *usage, const char *name, uint64_t *ret)
{
	const json_t *v = json_object_get(usage, name);
	if (!v || json_is_null(v)) {
		*ret = 0;
		return true;
	}
	if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UNITS_MAX)
		return false;
	*ret = (uint64_t)json_integer_value(v);
	return true;
}

bool units_from_usage(const json_t *answer, struct units *ret)
{
	const json_t *usage = json_object_get(answer, "usage");
	struct units u;
	if (!json_is_object(usage) || !count_read(usage, "prompt_tokens", &u.input) || !count_read(usage, "completion_tokens", &u.output))
		return false;
	*ret = u;
	return true;
}
