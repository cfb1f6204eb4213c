/* Request memory: allocate freely, free all at once. Not thread-safe: one owner at a time. */
#ifndef OPGATE_BASE_ARENA_H
#define OPGATE_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

struct arena;

struct arena *arena_new(void);
void arena_free(struct arena *a); /* accepts NULL */
void *arena_alloc(struct arena *a, size_t size);  /* 16-byte aligned, zeroed */
char *arena_strdup(struct arena *a, const char *s); /* NULL gives NULL */
char *arena_strndup(struct arena *a, const char *s, size_t len); /* adds a NUL */
void *arena_memdup(struct arena *a, const void *p, size_t len);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Runs fn(arg) when the arena is freed, newest first. */
void arena_on_free(struct arena *a, void (*fn)(void *), void *arg);
size_t arena_used(const struct arena *a);

#endif
