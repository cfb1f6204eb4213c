/* Paths and queries from outside: whatever passes the checks must match and decode within bounds, and what a handler sees
 * must hold no NUL, no dot segment and only UTF-8. The first line of the input is the path, the rest the query. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "http/router.h"

static const struct route table[] = {
	{ .method = HTTP_GET, .pattern = "/" },
	{ .method = HTTP_GET, .pattern = "/v1/models/{model*}" },
	{ .method = HTTP_GET, .pattern = "/v1/models/{model*}/versions" },
	{ .method = HTTP_PUT, .pattern = "/v1/models/{model*}/versions/{v}/files/{path...}" },
	{ .method = HTTP_POST, .pattern = "/v2/models/{model*}/versions/{v}/infer" },
	{ .method = HTTP_GET, .pattern = "/v1/jobs/{id}" },
	{ .method = HTTP_GET, .pattern = "/{author}/{name}/resolve/{rev}/{path...}" },
};

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void check_decoded(struct slice raw, bool plus)
{
	char *out = xmalloc(raw.len + 1);
	long n = url_decode(raw.p, raw.len, plus, out);
	must(n >= 0 && (size_t)n <= raw.len);
	out[n] = '\0';
	must(strlen(out) == (size_t)n && utf8_valid(out, (size_t)n));
	if (!plus) {
		char *save = NULL;
		for (char *seg = strtok_r(out, "/", &save); seg; seg = strtok_r(NULL, "/", &save))
			must(strcmp(seg, ".") && strcmp(seg, ".."));
	}
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct router *router;
	if (!router)
		must(!router_new(table, sizeof(table) / sizeof(*table), &router));
	const uint8_t *line = len ? memchr(data, '\n', len) : NULL;
	size_t path_len = line ? (size_t)(line - data) : len;
	char *path = xstrndup(len ? (const char *)data : "", path_len);
	char *query = line ? xstrndup((const char *)line + 1, len - path_len - 1) : xstrdup("");
	struct route_match m;
	if (!path_check(path)) {
		for (int method = -1; method <= HTTP_DELETE; method++)
			if (!router_match(router, method, path, &m))
				for (size_t i = 0; i < m.param_count; i++)
					check_decoded(m.params[i].raw, false);
	} else {
		(void)!router_match(router, HTTP_GET, path, &m);
	}
	struct slice v;
	static const char *const names[] = { "a", "model", "limit", "" };
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (query_find(query, names[i], &v) && !query_check(query))
			check_decoded(v, true);
	free(path);
	free(query);
	return 0;
}
