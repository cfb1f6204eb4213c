/* jansson with our rules: strict parsing with bounds, and field tables that read an object into a plain struct. */
#ifndef OPGATE_BASE_JSON_H
#define OPGATE_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

static inline void json_cleanup_decref(json_t **j) { json_decref(*j); }
#define _cleanup_json_ __attribute__((cleanup(json_cleanup_decref), unused))

#define JSON_DEPTH_MAX 32

struct json_why {
	char text[160]; /* what was wrong and where, for the caller */
};

/* One JSON value, UTF-8, no duplicate keys, depth <= JSON_DEPTH_MAX (checked before parsing), no trailing bytes. */
enum err json_parse(const char *text, size_t len, json_t **ret, struct json_why *why) WARN_UNUSED; /* ERR_BAD_JSON */

enum json_kind {
	JSON_FIELD_STR,     /* const char *, borrowed from the json_t; min/max are byte lengths */
	JSON_FIELD_INT,     /* int64_t; min/max are values */
	JSON_FIELD_BOOL,    /* bool */
	JSON_FIELD_AMOUNT,  /* struct amount, from a decimal string */
	JSON_FIELD_ADDRESS, /* struct address, from 0x… */
	JSON_FIELD_HASH,    /* struct hash */
	JSON_FIELD_OBJECT,  /* json_t *, borrowed */
	JSON_FIELD_ARRAY,   /* json_t *, borrowed; min/max are counts */
};

struct json_field {
	const char *name;
	enum json_kind kind;
	size_t offset; /* offsetof in the struct */
	bool required;
	int64_t min, max; /* both 0: unbounded */
};

/* Reads the fields of `object` into `out`, which the caller has filled with defaults. Unknown members are refused.
 * ERR_BAD_FIELD or ERR_UNKNOWN_FIELD, and `why` names the field. */
enum err json_read(const json_t *object, const struct json_field *fields, size_t count, void *out, struct json_why *why) WARN_UNUSED;
#define JSON_READ(object, fields, out, why) json_read(object, fields, sizeof(fields) / sizeof((fields)[0]), out, why)

/* Compact text, keys in insertion order; the caller frees. NULL input or failed packing aborts: it is a bug. */
char *json_text(const json_t *j);

/* JSON written with ' for ", as our own constants are, to keep them readable in C. NULL when it is malformed; new reference. */
json_t *json_quoted(const char *text);

/* A finished object from json_pack, or abort: a NULL here is a bug of ours (bad UTF-8 must be checked before). */
json_t *json_must(json_t *j);
/* Bytes as lower-case hex without 0x. */
json_t *json_hex(const void *p, size_t len);

#endif
