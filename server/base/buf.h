/* A growable byte buffer with a hard maximum. `data` is always NUL-terminated once anything was appended. */
#ifndef OPGATE_BASE_BUF_H
#define OPGATE_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct buf {
	char *data;
	size_t len;
	size_t cap;
	size_t max; /* bytes, without the NUL */
};

#define BUF_INIT(max_bytes) ((struct buf){ .max = (max_bytes) })

enum err buf_append(struct buf *b, const void *p, size_t len) WARN_UNUSED; /* ERR_LIMIT, then nothing was appended */
enum err buf_puts(struct buf *b, const char *s) WARN_UNUSED;
enum err buf_printf(struct buf *b, const char *fmt, ...) WARN_UNUSED __attribute__((format(printf, 2, 3)));
void buf_consume(struct buf *b, size_t len); /* drops the first len bytes */
void buf_reset(struct buf *b);               /* len = 0, keeps memory */
void buf_done(struct buf *b);                /* frees contents */
char *buf_steal(struct buf *b);              /* caller frees; never NULL */

#define _cleanup_buf_ __attribute__((cleanup(buf_done), unused))

#endif
