/* Fuzzes json_parse and json_read: what is accepted survives writing and reading again and is no deeper than allowed;
 * what is refused says why in plain ASCII. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/amount.h"
#include "base/hex.h"
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct probe {
	const char *s;
	int64_t i;
	bool b;
	struct amount amount;
	struct address address;
	struct hash hash;
	json_t *object, *array;
};

static const struct json_field fields[] = {
	{ .name = "s", .kind = JSON_FIELD_STR, .offset = offsetof(struct probe, s), .required = true, .min = 1, .max = 16 },
	{ .name = "i", .kind = JSON_FIELD_INT, .offset = offsetof(struct probe, i), .min = -5, .max = 5 },
	{ .name = "b", .kind = JSON_FIELD_BOOL, .offset = offsetof(struct probe, b) },
	{ .name = "a", .kind = JSON_FIELD_AMOUNT, .offset = offsetof(struct probe, amount) },
	{ .name = "d", .kind = JSON_FIELD_ADDRESS, .offset = offsetof(struct probe, address) },
	{ .name = "h", .kind = JSON_FIELD_HASH, .offset = offsetof(struct probe, hash) },
	{ .name = "o", .kind = JSON_FIELD_OBJECT, .offset = offsetof(struct probe, object) },
	{ .name = "l", .kind = JSON_FIELD_ARRAY, .offset = offsetof(struct probe, array), .min = 1, .max = 3 },
};

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void must_explain(const struct json_why *why)
{
	must(why->text[0] != '\0');
	for (const char *p = why->text; *p; p++)
		must(*p >= 0x20 && *p <= 0x7e);
}

static int depth_of(const json_t *j)
{
	int deepest = 0;
	size_t i;
	const json_t *v;
	if (json_is_array(j)) {
		json_array_foreach(j, i, v) {
			int d = depth_of(v);
			deepest = d > deepest ? d : deepest;
		}
		return deepest + 1;
	}
	if (json_is_object(j)) {
		for (void *it = json_object_iter((json_t *)j); it; it = json_object_iter_next((json_t *)j, it)) {
			int d = depth_of(json_object_iter_value(it));
			deepest = d > deepest ? d : deepest;
		}
		return deepest + 1;
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_json_ json_t *j = NULL, *again = NULL;
	struct json_why why = { "" };
	/* A copy without a NUL behind it: reading past the end must be visible. */
	char *text = xmalloc(size);
	memcpy(text, data, size);
	enum err e = json_parse(text, size, &j, &why);
	free(text);
	if (e) {
		must(e == ERR_BAD_JSON && j == NULL);
		must_explain(&why);
		return 0;
	}
	must(depth_of(j) <= JSON_DEPTH_MAX);
	_cleanup_free_ char *written = json_text(j);
	must(json_parse(written, strlen(written), &again, NULL) == ERR_OK);
	must(json_equal(j, again));

	struct probe p, before;
	memset(&p, 0x5a, sizeof(p));
	before = p;
	e = JSON_READ(j, fields, &p, &why);
	if (e) {
		must(e == ERR_BAD_FIELD || e == ERR_UNKNOWN_FIELD);
		must(memcmp(&p, &before, sizeof(p)) == 0);
		must_explain(&why);
		return 0;
	}
	must(strlen(p.s) >= 1 && strlen(p.s) <= 16);
	must(!json_object_get(j, "i") || (p.i >= -5 && p.i <= 5));
	must(!json_object_get(j, "l") || json_array_size(p.array) <= 3);
	return 0;
}
