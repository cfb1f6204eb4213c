/* Paths and queries as values: checking, splitting, matching, decoding. No I/O, no locks; fuzzed by tests/fuzz/fuzz_router.c. */
#ifndef OPGATE_HTTP_ROUTER_H
#define OPGATE_HTTP_ROUTER_H

#include <stdbool.h>
#include <stddef.h>

#include "http/http.h"

#define ROUTER_PARAMS_MAX 8
#define ROUTER_SEGMENTS_MAX 64

struct slice {
	const char *p;
	size_t len;
};

struct route_match {
	const struct route *route;
	unsigned allow; /* 1 << enum http_method, of every route that has this path */
	size_t param_count;
	struct {
		struct slice name; /* in the pattern */
		struct slice raw;  /* in the path, still encoded */
	} params[ROUTER_PARAMS_MAX];
};

struct router;

/* Refuses a malformed pattern with ERR_BAD_REQUEST. The routes are borrowed. */
enum err router_new(const struct route *routes, size_t count, struct router **ret) WARN_UNUSED;
void router_free(struct router *r);
/* The path passed path_check(). ERR_NOT_FOUND; ERR_METHOD_NOT_ALLOWED with ret->allow set; ret is always written. */
enum err router_match(const struct router *r, int method, const char *path, struct route_match *ret);

/* NULL when the path may be routed, otherwise what is wrong with it. */
const char *path_check(const char *path);
const char *query_check(const char *query);
/* Percent-decodes into out (at least len bytes); `plus` turns + into a space. -1: malformed. */
long url_decode(const char *s, size_t len, bool plus, char *out);
/* The first parameter of that name: its raw value. */
bool query_find(const char *query, const char *name, struct slice *ret_raw);
bool utf8_valid(const char *s, size_t len);

#endif
