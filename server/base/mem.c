/* Allocation that aborts instead of failing, and panic(). Called by everyone; no locks of its own. */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void panic(const char *what)
{
	/* No stdio and no allocation: this may run because there is no memory left. */
	static const char head[] = "opgate: fatal: ";
	ssize_t n = write(STDERR_FILENO, head, sizeof(head) - 1);
	n = write(STDERR_FILENO, what, strlen(what));
	n = write(STDERR_FILENO, "\n", 1);
	(void)n;
	abort();
}

void *xmalloc(size_t size)
{
	void *p = malloc(size ? size : 1);
	if (!p)
		panic("out of memory");
	return p;
}

void *xcalloc(size_t count, size_t size)
{
	if (count == 0 || size == 0)
		count = size = 1;
	void *p = calloc(count, size); /* refuses a product that overflows */
	if (!p)
		panic("out of memory");
	return p;
}

void *xrealloc(void *p, size_t size)
{
	void *q = realloc(p, size ? size : 1);
	if (!q)
		panic("out of memory");
	return q;
}

char *xstrdup(const char *s)
{
	return xstrndup(s, strlen(s));
}

char *xstrndup(const char *s, size_t len)
{
	size_t n = strnlen(s, len);
	char *copy = xmalloc(n + 1);
	memcpy(copy, s, n);
	copy[n] = '\0';
	return copy;
}

char *xasprintf(const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0)
		panic("out of memory or bad format");
	return s;
}
