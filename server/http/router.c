/* The route table compiled into segments, sorted so that the most specific pattern comes first. Called on daemon threads
 * for every request; immutable after router_new, so it locks nothing. */
#include "http/router.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum seg_kind { SEG_LITERAL, SEG_PARAM, SEG_MODEL, SEG_REST }; /* in order of preference */

struct seg {
	enum seg_kind kind;
	struct slice text; /* the literal, or the parameter's name */
};

struct pattern {
	const struct route *route;
	size_t count;
	struct seg segs[ROUTER_SEGMENTS_MAX];
};

struct router {
	size_t count;
	struct pattern *patterns;
};

static bool slice_equal(struct slice a, struct slice b)
{
	return a.len == b.len && memcmp(a.p, b.p, a.len) == 0;
}

/* Splits after the leading slash; "/" is one empty segment. 0: too many. */
static size_t path_split(const char *path, struct slice *out)
{
	size_t n = 0;
	const char *p = path + 1;
	for (;;) {
		const char *end = strchrnul(p, '/');
		if (n == ROUTER_SEGMENTS_MAX)
			return 0;
		out[n++] = (struct slice){ p, (size_t)(end - p) };
		if (!*end)
			return n;
		p = end + 1;
	}
}

static bool ends_with(struct slice s, const char *tail)
{
	size_t n = strlen(tail);
	return s.len > n && memcmp(s.p + s.len - n, tail, n) == 0;
}

static enum err seg_parse(struct slice s, bool last, struct seg *ret)
{
	if (!s.len || s.p[0] != '{') {
		*ret = (struct seg){ SEG_LITERAL, s };
		return memchr(s.p, '{', s.len) ? ERR_BAD_REQUEST : ERR_OK;
	}
	if (s.len < 3 || s.p[s.len - 1] != '}')
		return ERR_BAD_REQUEST;
	struct slice name = { s.p + 1, s.len - 2 };
	if (ends_with(name, "...")) {
		*ret = (struct seg){ SEG_REST, { name.p, name.len - 3 } };
		return last ? ERR_OK : ERR_BAD_REQUEST;
	}
	if (ends_with(name, "*"))
		*ret = (struct seg){ SEG_MODEL, { name.p, name.len - 1 } };
	else
		*ret = (struct seg){ SEG_PARAM, name };
	return ERR_OK;
}

static enum err pattern_parse(const struct route *route, struct pattern *ret)
{
	struct slice parts[ROUTER_SEGMENTS_MAX];
	if (route->pattern[0] != '/')
		return ERR_BAD_REQUEST;
	size_t n = path_split(route->pattern, parts), params = 0;
	if (!n)
		return ERR_BAD_REQUEST;
	ret->route = route;
	ret->count = n;
	for (size_t i = 0; i < n; i++) {
		enum err e = seg_parse(parts[i], i + 1 == n, &ret->segs[i]);
		if (e)
			return e;
		params += ret->segs[i].kind != SEG_LITERAL;
	}
	return params <= ROUTER_PARAMS_MAX ? ERR_OK : ERR_BAD_REQUEST;
}

static int pattern_compare(const void *pa, const void *pb)
{
	const struct pattern *a = pa, *b = pb;
	for (size_t i = 0; i < a->count && i < b->count; i++)
		if (a->segs[i].kind != b->segs[i].kind)
			return a->segs[i].kind < b->segs[i].kind ? -1 : 1;
	if (a->count != b->count)
		return a->count > b->count ? -1 : 1;
	return a->route < b->route ? -1 : a->route > b->route;
}

enum err router_new(const struct route *routes, size_t count, struct router **ret)
{
	struct router *r = xcalloc(1, sizeof(*r));
	r->patterns = xcalloc(count, sizeof(*r->patterns));
	r->count = count;
	for (size_t i = 0; i < count; i++) {
		enum err e = pattern_parse(&routes[i], &r->patterns[i]);
		if (e) {
			router_free(r);
			return e;
		}
	}
	qsort(r->patterns, count, sizeof(*r->patterns), pattern_compare);
	*ret = r;
	return ERR_OK;
}

void router_free(struct router *r)
{
	if (!r)
		return;
	free(r->patterns);
	free(r);
}

static void param_push(struct route_match *m, struct slice name, struct slice first, struct slice last)
{
	m->params[m->param_count].name = name;
	m->params[m->param_count].raw = (struct slice){ first.p, (size_t)(last.p + last.len - first.p) };
	m->param_count++;
}

static bool segs_match(const struct seg *seg, size_t segs, const struct slice *part, size_t parts, struct route_match *m)
{
	for (;; seg++, segs--, part++, parts--) {
		if (!segs || !parts)
			return !segs && !parts;
		if (seg->kind == SEG_LITERAL) {
			if (!slice_equal(seg->text, *part))
				return false;
			continue;
		}
		if (seg->kind == SEG_REST) {
			param_push(m, seg->text, part[0], part[parts - 1]);
			return true;
		}
		if (!part->len)
			return false;
		if (seg->kind == SEG_MODEL && parts > 1 && part[1].len) {
			/* author/name as two segments first; the rest of the pattern decides */
			size_t mark = m->param_count;
			param_push(m, seg->text, part[0], part[1]);
			if (segs_match(seg + 1, segs - 1, part + 2, parts - 2, m))
				return true;
			m->param_count = mark;
		}
		param_push(m, seg->text, *part, *part);
	}
}

enum err router_match(const struct router *r, int method, const char *path, struct route_match *ret)
{
	struct slice parts[ROUTER_SEGMENTS_MAX];
	*ret = (struct route_match){ 0 };
	size_t n = path[0] == '/' ? path_split(path, parts) : 0;
	struct route_match m;
	unsigned allow = 0;
	for (size_t i = 0; n && i < r->count; i++) {
		const struct pattern *p = &r->patterns[i];
		if (p->segs[0].kind == SEG_LITERAL && !slice_equal(p->segs[0].text, parts[0]))
			continue;
		m.param_count = 0;
		if (!segs_match(p->segs, p->count, parts, n, &m))
			continue;
		allow |= 1u << p->route->method;
		if (!ret->route && (int)p->route->method == method) {
			*ret = m;
			ret->route = p->route;
		}
	}
	ret->allow = allow;
	return ret->route ? ERR_OK : allow ? ERR_METHOD_NOT_ALLOWED : ERR_NOT_FOUND;
}
