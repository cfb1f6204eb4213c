/* RLP, see rlp.h. Called by tx.c and the fuzzer; pure. */
#include "chain/rlp.h"

#include <string.h>

#define SHORT_MAX 55 /* a payload up to here has its length in the first byte */
#define BYTES_BASE 0x80
#define LIST_BASE 0xc0

/* The head of an item: at most 9 bytes. */
static size_t head_make(uint8_t base, size_t len, uint8_t ret[9])
{
	if (len <= SHORT_MAX) {
		ret[0] = (uint8_t)(base + len);
		return 1;
	}
	size_t n = 0;
	for (size_t rest = len; rest; rest >>= 8)
		n++;
	ret[0] = (uint8_t)(base + SHORT_MAX + n);
	for (size_t i = 0; i < n; i++)
		ret[1 + i] = (uint8_t)(len >> (8 * (n - 1 - i)));
	return 1 + n;
}

enum err rlp_put_bytes(struct buf *b, const void *p, size_t len)
{
	uint8_t head[9];
	if (len == 1 && *(const uint8_t *)p < BYTES_BASE)
		return buf_append(b, p, 1); /* its own head */
	size_t from = b->len;
	enum err e = buf_append(b, head, head_make(BYTES_BASE, len, head));
	if (!e && (e = buf_append(b, p, len)))
		b->len = from;
	return e;
}

static enum err put_trimmed(struct buf *b, const uint8_t *be, size_t len)
{
	while (len && !*be) {
		be++;
		len--;
	}
	return rlp_put_bytes(b, be, len);
}

enum err rlp_put_uint(struct buf *b, uint64_t v)
{
	uint8_t be[8];
	for (int i = 0; i < 8; i++)
		be[i] = (uint8_t)(v >> (56 - 8 * i));
	return put_trimmed(b, be, sizeof(be));
}

enum err rlp_put_word(struct buf *b, const uint8_t be[32])
{
	return put_trimmed(b, be, 32);
}

enum err rlp_close_list(struct buf *b, size_t from)
{
	uint8_t head[9];
	size_t len = b->len - from, n = head_make(LIST_BASE, len, head);
	enum err e = buf_append(b, head, n); /* makes the room */
	if (e)
		return e;
	memmove(b->data + from + n, b->data + from, len);
	memcpy(b->data + from, head, n);
	return ERR_OK;
}

/* Takes the item at the front apart; the head must be the shortest one for its length. */
static enum err item_read(struct rlp *r, bool *ret_list, const uint8_t **ret, size_t *ret_len)
{
	if (!r->len)
		return ERR_BAD_FIELD;
	uint8_t first = r->p[0];
	bool list = first >= LIST_BASE;
	size_t head = 1, len = 1;
	if (first < BYTES_BASE) {
		head = 0;
	} else if (first - (list ? LIST_BASE : BYTES_BASE) <= SHORT_MAX) {
		len = (size_t)(first - (list ? LIST_BASE : BYTES_BASE));
	} else {
		size_t n = (size_t)(first - (list ? LIST_BASE : BYTES_BASE) - SHORT_MAX); /* 1 … 8 */
		if (r->len < 1 + n || r->p[1] == 0)
			return ERR_BAD_FIELD;
		uint64_t long_len = 0;
		for (size_t i = 0; i < n; i++)
			long_len = long_len << 8 | r->p[1 + i];
		if (long_len <= SHORT_MAX || long_len > r->len)
			return ERR_BAD_FIELD;
		head = 1 + n;
		len = (size_t)long_len;
	}
	if (len > r->len - head)
		return ERR_BAD_FIELD;
	if (!list && head == 1 && len == 1 && r->p[1] < BYTES_BASE)
		return ERR_BAD_FIELD; /* this byte is its own head */
	*ret_list = list;
	*ret = r->p + head;
	*ret_len = len;
	return ERR_OK;
}

static enum err item_take(struct rlp *r, bool want_list, const uint8_t **ret, size_t *ret_len)
{
	bool list = false;
	const uint8_t *p = NULL;
	size_t len = 0;
	enum err e = item_read(r, &list, &p, &len);
	if (!e && list != want_list)
		e = ERR_BAD_FIELD;
	if (e)
		return e;
	r->len -= (size_t)(p - r->p) + len;
	r->p = p + len;
	*ret = p;
	*ret_len = len;
	return ERR_OK;
}

enum err rlp_read_bytes(struct rlp *r, const uint8_t **ret, size_t *ret_len)
{
	return item_take(r, false, ret, ret_len);
}

enum err rlp_read_list(struct rlp *r, struct rlp *ret)
{
	return item_take(r, true, &ret->p, &ret->len);
}

enum err rlp_read_fixed(struct rlp *r, uint8_t *ret, size_t len)
{
	struct rlp after = *r;
	const uint8_t *p = NULL;
	size_t n = 0;
	enum err e = rlp_read_bytes(&after, &p, &n);
	if (!e && n != len)
		e = ERR_BAD_FIELD;
	if (e)
		return e;
	memcpy(ret, p, len);
	*r = after;
	return ERR_OK;
}

/* A number of at most max bytes, right-aligned into ret[max]. */
static enum err number_read(struct rlp *r, uint8_t *ret, size_t max)
{
	struct rlp after = *r;
	const uint8_t *p = NULL;
	size_t n = 0;
	enum err e = rlp_read_bytes(&after, &p, &n);
	if (!e && (n > max || (n && p[0] == 0)))
		e = ERR_BAD_FIELD;
	if (e)
		return e;
	memset(ret, 0, max - n);
	memcpy(ret + max - n, p, n);
	*r = after;
	return ERR_OK;
}

enum err rlp_read_uint(struct rlp *r, uint64_t *ret)
{
	uint8_t be[8];
	enum err e = number_read(r, be, sizeof(be));
	if (e)
		return e;
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v = v << 8 | be[i];
	*ret = v;
	return ERR_OK;
}

enum err rlp_read_word(struct rlp *r, uint8_t ret_be[32])
{
	return number_read(r, ret_be, 32);
}

bool rlp_next_is_list(const struct rlp *r)
{
	return r->len && r->p[0] >= LIST_BASE;
}
