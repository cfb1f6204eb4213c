/* Strict JSON parsing and the field-table reader. Called by everyone who speaks JSON; no state, no locks. */
#include "base/json.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/amount.h"
#include "base/hex.h"
#include "base/mem.h"

/* Texts of `why` end up in answers, so they must be plain ASCII whatever the input was. */
static void why_set(struct json_why *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void why_set(struct json_why *why, const char *fmt, ...)
{
	if (!why)
		return;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	for (char *p = why->text; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
}

/* jansson recurses and allows 2048 levels; brackets outside strings tell the depth before anything is built. */
static bool json_too_deep(const char *text, size_t len, size_t *ret_at)
{
	size_t depth = 0;
	bool in_string = false;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > JSON_DEPTH_MAX) {
				*ret_at = i;
				return true;
			}
		} else if ((c == '}' || c == ']') && depth > 0) {
			depth--;
		}
	}
	return false;
}

enum err json_parse(const char *text, size_t len, json_t **ret, struct json_why *why)
{
	size_t at = 0;
	if (json_too_deep(text, len, &at)) {
		why_set(why, "nested deeper than %d at byte %zu", JSON_DEPTH_MAX, at);
		return ERR_BAD_JSON;
	}
	json_error_t error;
	json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	if (!j) {
		why_set(why, "line %d, column %d (byte %d): %s", error.line, error.column, error.position, error.text);
		return ERR_BAD_JSON;
	}
	*ret = j;
	return ERR_OK;
}

static enum err field_refuse(const struct json_field *f, struct json_why *why, const char *reason)
{
	why_set(why, "%s: %s", f->name, reason);
	return ERR_BAD_FIELD;
}

/* Bounds of a value, byte length or count. */
static enum err field_in_range(const struct json_field *f, int64_t v, const char *what, struct json_why *why)
{
	if ((f->min == 0 && f->max == 0) || (v >= f->min && v <= f->max))
		return ERR_OK;
	why_set(why, "%s: %s must be between %lld and %lld", f->name, what, (long long)f->min, (long long)f->max);
	return ERR_BAD_FIELD;
}

/* The three kinds that are words inside a JSON string; dst may be NULL to check only. */
static enum err field_read_word(const json_t *v, const struct json_field *f, void *dst, struct json_why *why)
{
	const char *s = json_string_value(v);
	struct amount amount;
	struct address address;
	struct hash hash;
	if (!s)
		return field_refuse(f, why, "must be a string");
	if (strlen(s) != json_string_length(v))
		return field_refuse(f, why, "must not contain NUL");
	switch (f->kind) {
	case JSON_FIELD_AMOUNT:
		if (amount_parse(s, strlen(s), &amount))
			return field_refuse(f, why, "must be a decimal string of base units, without sign or leading zeros, below 2^127");
		if (dst)
			memcpy(dst, &amount, sizeof(amount));
		return ERR_OK;
	case JSON_FIELD_ADDRESS:
		if (address_parse(s, &address))
			return field_refuse(f, why, "must be an address: 0x and 40 hex digits");
		if (dst)
			memcpy(dst, &address, sizeof(address));
		return ERR_OK;
	default:
		if (hash_parse(s, &hash))
			return field_refuse(f, why, "must be a hash: 0x and 64 hex digits");
		if (dst)
			memcpy(dst, &hash, sizeof(hash));
		return ERR_OK;
	}
}

static enum err field_read_plain(const json_t *v, const struct json_field *f, void *dst, struct json_why *why)
{
	enum err e;
	switch (f->kind) {
	case JSON_FIELD_STR:
		if (!json_is_string(v))
			return field_refuse(f, why, "must be a string");
		if (strlen(json_string_value(v)) != json_string_length(v))
			return field_refuse(f, why, "must not contain NUL");
		e = field_in_range(f, (int64_t)json_string_length(v), "length in bytes", why);
		if (!e && dst)
			*(const char **)dst = json_string_value(v);
		return e;
	case JSON_FIELD_INT:
		if (!json_is_integer(v)) /* 1.0 and 1e3 are reals: refused */
			return field_refuse(f, why, "must be an integer");
		e = field_in_range(f, json_integer_value(v), "value", why);
		if (!e && dst)
			*(int64_t *)dst = json_integer_value(v);
		return e;
	case JSON_FIELD_BOOL:
		if (!json_is_boolean(v))
			return field_refuse(f, why, "must be true or false");
		if (dst)
			*(bool *)dst = json_is_true(v);
		return ERR_OK;
	case JSON_FIELD_OBJECT:
		if (!json_is_object(v))
			return field_refuse(f, why, "must be an object");
		if (dst)
			*(const json_t **)dst = v;
		return ERR_OK;
	case JSON_FIELD_ARRAY:
		if (!json_is_array(v))
			return field_refuse(f, why, "must be an array");
		e = field_in_range(f, (int64_t)json_array_size(v), "number of elements", why);
		if (!e && dst)
			*(const json_t **)dst = v;
		return e;
	default:
		return field_read_word(v, f, dst, why);
	}
}

static const struct json_field *field_find(const struct json_field *fields, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(fields[i].name, name) == 0)
			return &fields[i];
	return NULL;
}

enum err json_read(const json_t *object, const struct json_field *fields, size_t count, void *out, struct json_why *why)
{
	if (!json_is_object(object)) {
		why_set(why, "must be a JSON object");
		return ERR_BAD_FIELD;
	}
	/* jansson's iterators want a mutable object but change nothing. */
	for (void *it = json_object_iter((json_t *)object); it; it = json_object_iter_next((json_t *)object, it)) {
		if (!field_find(fields, count, json_object_iter_key(it))) {
			why_set(why, "%.100s: unknown field", json_object_iter_key(it));
			return ERR_UNKNOWN_FIELD;
		}
	}
	/* First everything is checked, then everything is written: a refused object leaves `out` alone. */
	for (int writing = 0; writing < 2; writing++) {
		for (size_t i = 0; i < count; i++) {
			const struct json_field *f = &fields[i];
			const json_t *v = json_object_get(object, f->name);
			if (!v && f->required)
				return field_refuse(f, why, "is required");
			enum err e = v ? field_read_plain(v, f, writing ? (char *)out + f->offset : NULL, why) : ERR_OK;
			if (e)
				return e;
		}
	}
	return ERR_OK;
}

char *json_text(const json_t *j)
{
	char *text = j ? json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	if (!text)
		panic("json_text: not a finished JSON value");
	return text;
}

json_t *json_quoted(const char *text)
{
	_cleanup_free_ char *s = xstrdup(text);
	for (char *p = s; (p = strchr(p, '\''));)
		*p++ = '"';
	return json_loads(s, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
}

json_t *json_must(json_t *j)
{
	if (!j)
		panic("json_must: packing failed");
	return j;
}

json_t *json_hex(const void *p, size_t len)
{
	_cleanup_free_ char *text = xmalloc(2 * len + 1);

	hex_encode(p, len, text);
	return json_must(json_string(text));
}
