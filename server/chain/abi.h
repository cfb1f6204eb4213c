/* The contract ABI as we speak it: words of 32 bytes, one event, and a writer for arguments of any shape. No shared state, no
 * locks. The calls themselves are in calls.h. */
#ifndef OPGATE_CHAIN_ABI_H
#define OPGATE_CHAIN_ABI_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/hex.h"
#include "base/u256.h"

extern const struct hash ABI_TRANSFER_TOPIC; /* keccak256("Transfer(address,address,uint256)") */

#define ABI_BALANCE_OF_LEN (4 + 32)
void abi_balance_of(const struct address *owner, uint8_t ret[ABI_BALANCE_OF_LEN]);

void abi_word_from_address(const struct address *a, struct hash *ret);
bool abi_word_to_address(const struct hash *word, struct address *ret); /* false when the upper 12 bytes are not zero */

/* Writing arguments. A part is a row of words (the head of the arguments, of a tuple or of an array) which is filled from
 * left to right; a dynamic member puts its place into its word and its content behind everything written so far. So nested
 * parts may be filled one after the other: open a part, fill it, then open the next.
 *
 *   abi_begin(&w, out, selector, 2, &args);      f(address,(address,bytes)[])
 *   abi_address(&w, &args, &a);
 *   abi_array(&w, &args, count, count, &items);  an array of dynamic tuples: one word (the place) for each
 *   for (…) {
 *           abi_tuple(&w, &items, 2, &item);
 *           abi_address(&w, &item, …);
 *           abi_bytes(&w, &item, …);
 *   }
 *   return abi_finish(&w);
 *
 * A static tuple has no part of its own: its members are words of the part it stands in. */
struct abi_writer {
	struct buf *out;
	size_t from;    /* where this call starts in out */
	size_t missing; /* words that no one has written yet */
	enum err e;     /* the first failure; everything after it does nothing */
};
struct abi_part {
	size_t from, next, end; /* in out */
};
void abi_begin(struct abi_writer *w, struct buf *out, const uint8_t selector[4], size_t words, struct abi_part *ret);
void abi_word(struct abi_writer *w, struct abi_part *part, const uint8_t be[32]);
void abi_uint(struct abi_writer *w, struct abi_part *part, uint64_t v); /* or a bool */
void abi_u256(struct abi_writer *w, struct abi_part *part, const struct u256 *v);
void abi_address(struct abi_writer *w, struct abi_part *part, const struct address *a);
void abi_bytes(struct abi_writer *w, struct abi_part *part, const void *p, size_t len);     /* bytes or string */
void abi_tuple(struct abi_writer *w, struct abi_part *part, size_t words, struct abi_part *ret); /* a dynamic tuple */
/* words: those of all elements together: count for dynamic ones, count × n for static ones of n words. */
void abi_array(struct abi_writer *w, struct abi_part *part, size_t count, size_t words, struct abi_part *ret);
enum err abi_finish(struct abi_writer *w) WARN_UNUSED; /* ERR_LIMIT: nothing was appended */

#endif
