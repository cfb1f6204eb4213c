/* RLP, the byte framing of Ethereum transactions. Written by tx.c; what is read comes from buyers, so the reader accepts the
 * one canonical spelling of each item and never looks past its bytes. No state, no locks. */
#ifndef OPGATE_CHAIN_RLP_H
#define OPGATE_CHAIN_RLP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* ---- Writing: each appends one item, or nothing (ERR_LIMIT). ---- */
enum err rlp_put_bytes(struct buf *b, const void *p, size_t len) WARN_UNUSED;
enum err rlp_put_uint(struct buf *b, uint64_t v) WARN_UNUSED;
enum err rlp_put_word(struct buf *b, const uint8_t be[32]) WARN_UNUSED; /* uint256: without its leading zeros */
/* Frames everything appended since b->len was `from` as one list. */
enum err rlp_close_list(struct buf *b, size_t from) WARN_UNUSED;

/* ---- Reading: what is left of a list, or of the input. Each takes one item off the front, or nothing (ERR_BAD_FIELD). ---- */
struct rlp {
	const uint8_t *p;
	size_t len;
};
enum err rlp_read_bytes(struct rlp *r, const uint8_t **ret, size_t *ret_len) WARN_UNUSED; /* borrowed from the input */
enum err rlp_read_fixed(struct rlp *r, uint8_t *ret, size_t len) WARN_UNUSED;             /* exactly len bytes */
enum err rlp_read_uint(struct rlp *r, uint64_t *ret) WARN_UNUSED;                         /* no leading zeros */
enum err rlp_read_word(struct rlp *r, uint8_t ret_be[32]) WARN_UNUSED;                    /* uint256, likewise */
enum err rlp_read_list(struct rlp *r, struct rlp *ret) WARN_UNUSED;
bool rlp_next_is_list(const struct rlp *r); /* false at the end, too */

#endif
