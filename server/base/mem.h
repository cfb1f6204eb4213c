/* Allocation that cannot fail: out of memory ends the process, which is safe because every acknowledged write is
 * already in the database. Sizes that come from outside are bounded before they reach here. */
#ifndef OPGATE_BASE_MEM_H
#define OPGATE_BASE_MEM_H

#include <stddef.h>

void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t len);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Ends the process with one line on stderr: a bug of ours, or a machine that cannot go on. */
void panic(const char *what) __attribute__((noreturn));

/* `_cleanup_free_ char *s = …` frees at the end of the scope. */
static inline void mem_cleanup_free(void *p)
{
	extern void free(void *);
	free(*(void **)p);
}
#define _cleanup_free_ __attribute__((cleanup(mem_cleanup_free), unused)) /* unused: a guard need not be read */
#define _cleanup_(fn) __attribute__((cleanup(fn), unused))

/* Defines `<type>_cleanup` for _cleanup_() from a destructor that accepts NULL. */
#define DEFINE_CLEANUP(ptr_type, fn) \
	static inline void fn##_cleanup(ptr_type *p) { if (*p) fn(*p); }

#endif
