/* Constants written as hex, for the tests of chain/. */
#ifndef OPGATE_TESTS_CHAIN_BYTES_H
#define OPGATE_TESTS_CHAIN_BYTES_H

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hex.h"
#include "base/mem.h"
#include "tests/unit/unit.h"

/* The bytes of "0x…"; the caller frees. */
static inline uint8_t *unhex(const char *hex, size_t *ret_len)
{
	size_t len = (strlen(hex) - 2) / 2;
	uint8_t *p = xmalloc(len ? len : 1);
	if (hex_decode(hex + 2, strlen(hex) - 2, p, len))
		panic("a constant is no hex");
	*ret_len = len;
	return p;
}

static inline void unhex_into(const char *hex, void *ret, size_t len)
{
	if (hex_decode(hex + 2, strlen(hex) - 2, ret, len))
		panic("a constant is no hex");
}

static inline void expect_hex(const struct buf *b, const char *hex)
{
	char *text = xmalloc(2 + 2 * b->len + 1);
	memcpy(text, "0x", 2);
	hex_encode(b->data, b->len, text + 2);
	assert_string_equal(text, hex);
	free(text);
}

#endif
