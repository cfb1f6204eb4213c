/* A chain of zeroed chunks freed together. One per request, owned by whoever handles the request now; no locks. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define ARENA_ALIGN 16
#define ARENA_CHUNK 4096

struct chunk {
	struct chunk *next;
	size_t used, cap;
	alignas(ARENA_ALIGN) unsigned char data[];
};

struct on_free {
	struct on_free *next;
	void (*fn)(void *);
	void *arg;
};

struct arena {
	struct chunk *chunks; /* the first one takes small allocations */
	struct on_free *on_free;
	size_t used;
};

static struct chunk *chunk_new(size_t cap)
{
	struct chunk *c = xcalloc(1, sizeof(*c) + cap);
	c->cap = cap;
	return c;
}

struct arena *arena_new(void)
{
	struct arena *a = xcalloc(1, sizeof(*a));
	a->chunks = chunk_new(ARENA_CHUNK - sizeof(struct chunk));
	return a;
}

void arena_free(struct arena *a)
{
	if (!a)
		return;
	/* A callback may still allocate and even register another callback, so pop one at a time. */
	while (a->on_free) {
		struct on_free *f = a->on_free;
		a->on_free = f->next;
		f->fn(f->arg);
	}
	for (struct chunk *c = a->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(a);
}

void *arena_alloc(struct arena *a, size_t size)
{
	if (size > SIZE_MAX / 2)
		panic("arena_alloc: absurd size");
	a->used += size;
	size_t rounded = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
	if (rounded == 0)
		rounded = ARENA_ALIGN; /* distinct pointers for empty objects */
	struct chunk *c = a->chunks;
	if (rounded > ARENA_CHUNK / 4) {
		/* A large object gets its own chunk behind the current one, which stays in use. */
		struct chunk *big = chunk_new(rounded);
		big->used = rounded;
		big->next = c->next;
		c->next = big;
		return big->data;
	}
	if (c->cap - c->used < rounded) {
		struct chunk *fresh = chunk_new(ARENA_CHUNK - sizeof(struct chunk));
		fresh->next = c;
		a->chunks = c = fresh;
	}
	void *p = c->data + c->used;
	c->used += rounded;
	return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
	return s ? arena_memdup(a, s, strlen(s) + 1) : NULL;
}

char *arena_strndup(struct arena *a, const char *s, size_t len)
{
	if (len == SIZE_MAX)
		panic("arena_strndup: absurd size");
	char *copy = arena_alloc(a, len + 1); /* zeroed, so already terminated */
	if (len)
		memcpy(copy, s, len);
	return copy;
}

void *arena_memdup(struct arena *a, const void *p, size_t len)
{
	void *copy = arena_alloc(a, len);
	if (len)
		memcpy(copy, p, len);
	return copy;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		panic("arena_printf: bad format");
	char *s = arena_alloc(a, (size_t)n + 1);
	vsnprintf(s, (size_t)n + 1, fmt, again);
	va_end(again);
	return s;
}

void arena_on_free(struct arena *a, void (*fn)(void *), void *arg)
{
	struct on_free *f = arena_alloc(a, sizeof(*f));
	a->used -= sizeof(*f); /* bookkeeping is not the caller's use */
	*f = (struct on_free){ .next = a->on_free, .fn = fn, .arg = arg };
	a->on_free = f;
}

size_t arena_used(const struct arena *a)
{
	return a->used;
}
