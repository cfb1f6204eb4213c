/* ABI words and the writer of arguments, see abi.h. Called by chain/ and whoever speaks to a contract; pure. */
#include "chain/abi.h"

#include <string.h>

#include "base/mem.h"

const struct hash ABI_TRANSFER_TOPIC = { { 0xdd, 0xf2, 0x52, 0xad, 0x1b, 0xe2, 0xc8, 0x9b, 0x69, 0xc2, 0xb0, 0x68, 0xfc, 0x37, 0x8d, 0xaa,
					   0x95, 0x2b, 0xa7, 0xf1, 0x63, 0xc4, 0xa1, 0x16, 0x28, 0xf5, 0x5a, 0x4d, 0xf5, 0x23, 0xb3, 0xef } };

/* keccak256("balanceOf(address)"), first four bytes */
static const uint8_t BALANCE_OF[4] = { 0x70, 0xa0, 0x82, 0x31 };

void abi_word_from_address(const struct address *a, struct hash *ret)
{
	memset(ret->b, 0, 12);
	memcpy(ret->b + 12, a->b, sizeof(a->b));
}

bool abi_word_to_address(const struct hash *word, struct address *ret)
{
	static const uint8_t zero[12];
	if (memcmp(word->b, zero, sizeof(zero)) != 0)
		return false;
	memcpy(ret->b, word->b + 12, sizeof(ret->b));
	return true;
}

void abi_balance_of(const struct address *owner, uint8_t ret[ABI_BALANCE_OF_LEN])
{
	struct hash word;
	abi_word_from_address(owner, &word);
	memcpy(ret, BALANCE_OF, sizeof(BALANCE_OF));
	memcpy(ret + sizeof(BALANCE_OF), word.b, sizeof(word.b));
}

/* `words` zero words behind everything, as a part. */
static void part_open(struct abi_writer *w, size_t words, struct abi_part *ret)
{
	static const uint8_t zero[32];
	*ret = (struct abi_part){ 0, 0, 0 };
	size_t from = w->out->len;
	for (size_t i = 0; i < words && !w->e; i++)
		w->e = buf_append(w->out, zero, sizeof(zero));
	if (w->e)
		return;
	w->missing += words;
	*ret = (struct abi_part){ from, from, w->out->len };
}

void abi_begin(struct abi_writer *w, struct buf *out, const uint8_t selector[4], size_t words, struct abi_part *ret)
{
	*w = (struct abi_writer){ .out = out, .from = out->len };
	w->e = buf_append(out, selector, 4);
	part_open(w, words, ret);
}

void abi_word(struct abi_writer *w, struct abi_part *part, const uint8_t be[32])
{
	if (w->e)
		return;
	if (part->next == part->end)
		panic("abi: more words than the part was opened for");
	memcpy(w->out->data + part->next, be, 32);
	part->next += 32;
	w->missing--;
}

void abi_u256(struct abi_writer *w, struct abi_part *part, const struct u256 *v)
{
	uint8_t be[32];
	u256_to_be(v, be);
	abi_word(w, part, be);
}

void abi_uint(struct abi_writer *w, struct abi_part *part, uint64_t v)
{
	struct u256 wide = u256_from_u64(v);
	abi_u256(w, part, &wide);
}

void abi_address(struct abi_writer *w, struct abi_part *part, const struct address *a)
{
	struct hash word;
	abi_word_from_address(a, &word);
	abi_word(w, part, word.b);
}

/* The next word says where the content, which comes behind everything, starts; counted from the part's first word. */
static void place_put(struct abi_writer *w, struct abi_part *part)
{
	abi_uint(w, part, w->out->len - part->from);
}

/* A word behind everything. */
static void length_put(struct abi_writer *w, size_t n)
{
	struct abi_part one;
	part_open(w, 1, &one);
	abi_uint(w, &one, n);
}

void abi_bytes(struct abi_writer *w, struct abi_part *part, const void *p, size_t len)
{
	static const uint8_t zero[32];
	place_put(w, part);
	length_put(w, len);
	if (!w->e)
		w->e = buf_append(w->out, p, len);
	if (!w->e)
		w->e = buf_append(w->out, zero, (32 - len % 32) % 32);
}

void abi_tuple(struct abi_writer *w, struct abi_part *part, size_t words, struct abi_part *ret)
{
	place_put(w, part);
	part_open(w, words, ret);
}

void abi_array(struct abi_writer *w, struct abi_part *part, size_t count, size_t words, struct abi_part *ret)
{
	place_put(w, part);
	length_put(w, count);
	part_open(w, words, ret);
}

enum err abi_finish(struct abi_writer *w)
{
	if (w->e)
		w->out->len = w->from;
	else if (w->missing)
		panic("abi: a word was not written");
	return w->e;
}
