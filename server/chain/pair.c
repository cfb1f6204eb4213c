/* See pair.h. */
#include "chain/pair.h"

#include <stdlib.h>
#include <string.h>

#include "chain/rpc.h"

const char *chain_pair_state_name(enum pair_state s)
{
	static const char *const names[] = { [PAIR_AGREE] = "agree", [PAIR_SECOND_BEHIND] = "behind", [PAIR_SECOND_DOWN] = "down", [PAIR_DISAGREE] = "disagree" };

	return names[s];
}

static enum err said(struct chain_pair *p, enum pair_state state, uint64_t block, enum err e)
{
	atomic_store(&p->block, block);
	atomic_store(&p->state, state);
	return e;
}

static enum err disagree(struct chain_pair *p, uint64_t block, const char *what)
{
	return said(p, PAIR_DISAGREE, block, rpc_refuse("the two RPC endpoints disagree about %s of block %llu", what, (unsigned long long)block));
}

/* What became of the second's answer, when it is none. */
static enum err second_failed(struct chain_pair *p, uint64_t block, enum err e)
{
	return said(p, e == ERR_NOT_FOUND ? PAIR_SECOND_BEHIND : PAIR_SECOND_DOWN, block, e);
}

static enum err second_check_id(struct chain_pair *p, uint64_t expected)
{
	uint64_t id = 0;
	enum err e;

	if (!p->second)
		return ERR_OK;
	e = chain_id(p->second, &id);
	if (e)
		return second_failed(p, atomic_load(&p->block), e);
	return id == expected ? ERR_OK : said(p, PAIR_DISAGREE, atomic_load(&p->block), rpc_refuse("the second RPC endpoint is chain %llu, not %llu",
		(unsigned long long)id, (unsigned long long)expected));
}

enum err chain_pair_check_id(struct chain_pair *p, uint64_t expected)
{
	enum err e = chain_check_id(p->first, expected);

	return e ? e : second_check_id(p, expected);
}

enum err chain_pair_next(struct chain_pair *p, uint64_t expected, uint64_t number, struct chain_next *ret)
{
	enum err e = chain_next(p->first, number, ret);

	if (!e)
		e = chain_expect_id(ret->id, expected);
	return e ? e : second_check_id(p, expected);
}

enum err chain_pair_block(struct chain_pair *p, uint64_t number, struct chain_block *ret)
{
	struct chain_block first, second;
	enum err e = chain_block_by_number(p->first, number, &first);

	if (e)
		return e;
	if (p->second) {
		e = chain_block_by_number(p->second, number, &second);
		if (e)
			return second_failed(p, number, e);
		if (!hash_equal(&first.hash, &second.hash) || !hash_equal(&first.parent, &second.parent))
			return disagree(p, number, "the hash");
	}
	*ret = first;
	return said(p, PAIR_AGREE, number, ERR_OK);
}

#define RANGE_MAX 2000       /* blocks: what public endpoints answer */
#define REFUSED_FOR_LONG 256 /* answers; then more is tried again: some bound the logs in a range, not the blocks */

static uint64_t range_of(const struct chain_pair *p)
{
	return p->range ? p->range : RANGE_MAX;
}

uint64_t chain_pair_range(const struct chain_pair *p, uint64_t first, uint64_t last)
{
	return last - first < range_of(p) ? last : first + range_of(p) - 1;
}

/* What came of asking about so many blocks. Between what was answered and what was refused it goes by halves. That fewer than could have been
 * asked about were refused, or one, is trouble of another kind, and soon forgotten. */
static enum err ranged(struct chain_pair *p, uint64_t blocks, enum err e)
{
	uint64_t range = range_of(p);

	if (e == ERR_CHAIN_DOWN && blocks > 1 && atomic_load(&p->state) != PAIR_DISAGREE) {
		if (blocks == range)
			p->refused = blocks;
		p->range = blocks / 2;
		p->answered = 0;
	}
	if (e)
		return e;
	if (++p->answered == REFUSED_FOR_LONG)
		p->refused = 0;
	if (blocks == range) {
		range = p->refused && range * 2 >= p->refused ? (range + p->refused) / 2 : range * 2;
		p->range = range < RANGE_MAX ? range : RANGE_MAX;
	}
	return ERR_OK;
}

static enum err first_transfer(struct chain_pair *p, const struct address *token, const struct address *to, uint64_t from, uint64_t last, struct chain_block *ret_last,
			       uint64_t *ret_first)
{
	struct chain_block block, second;
	uint64_t first = 0, again = 0;
	enum err e = chain_first_transfer(p->first, token, to, from, last, &block, &first);

	if (e)
		return e;
	if (p->second) {
		e = chain_first_transfer(p->second, token, to, from, last, &second, &again);
		if (e)
			return second_failed(p, last, e);
		if (!hash_equal(&block.hash, &second.hash))
			return disagree(p, last, "the hash");
		if (first != again)
			return disagree(p, first < again ? first : again, "the transfers");
	}
	*ret_last = block;
	*ret_first = first;
	return said(p, PAIR_AGREE, last, ERR_OK);
}

enum err chain_pair_first_transfer(struct chain_pair *p, const struct address *token, const struct address *to, uint64_t from, uint64_t last,
				   struct chain_block *ret_last, uint64_t *ret_first)
{
	return ranged(p, last - from + 1, first_transfer(p, token, to, from, last, ret_last, ret_first));
}

static bool transfer_equal(const struct chain_transfer *a, const struct chain_transfer *b)
{
	return hash_equal(&a->tx, &b->tx) && hash_equal(&a->block, &b->block) && a->ordinal == b->ordinal && address_equal(&a->from, &b->from) &&
	       address_equal(&a->to, &b->to) && !memcmp(a->value_be, b->value_be, sizeof(a->value_be));
}

enum err chain_pair_transfers(struct chain_pair *p, const struct address *token, const struct address *to, const struct chain_block *block,
			      struct chain_transfer **ret, size_t *ret_count)
{
	struct chain_transfer *first = NULL, *second = NULL;
	size_t count = 0, again = 0;
	enum err e = chain_transfers_in_block(p->first, token, to, &block->hash, &first, &count);

	if (!e && p->second) {
		e = chain_transfers_in_block(p->second, token, to, &block->hash, &second, &again);
		if (e) {
			e = second_failed(p, block->number, e);
		} else {
			bool same = count == again;

			for (size_t i = 0; same && i < count; i++)
				same = transfer_equal(&first[i], &second[i]);
			e = same ? said(p, PAIR_AGREE, block->number, ERR_OK) : disagree(p, block->number, "the transfers");
		}
		free(second);
	}
	if (e) {
		free(first);
		return e;
	}
	*ret = first;
	*ret_count = count;
	return ERR_OK;
}

static bool movement_equal(const struct chain_movement *a, const struct chain_movement *b)
{
	return hash_equal(&a->tx, &b->tx) && hash_equal(&a->block, &b->block) && a->ordinal == b->ordinal && address_equal(&a->from, &b->from) &&
	       address_equal(&a->to, &b->to) && u256_equal(&a->value, &b->value) && a->has_ref == b->has_ref && hash_equal(&a->ref, &b->ref) &&
	       a->has_nonce == b->has_nonce && hash_equal(&a->nonce, &b->nonce);
}

/* What the second says of the same blocks. */
static enum err movements_again(struct chain_pair *p, const struct movements_filter *f, uint64_t first, const struct chain_block *last, const struct chain_movement *list, size_t count)
{
	struct chain_movement *second = NULL;
	struct chain_block block;
	size_t again = 0, i = 0;
	enum err e = chain_movements(p->second, f, first, last->number, &block, &second, &again);

	if (e)
		return second_failed(p, last->number, e);
	while (i < count && i < again && movement_equal(&list[i], &second[i]))
		i++;
	if (!hash_equal(&block.hash, &last->hash))
		e = disagree(p, last->number, "the hash");
	else if (i < count || i < again)
		e = disagree(p, i < count ? list[i].block_number : second[i].block_number, "the transfers");
	free(second);
	return e ? e : said(p, PAIR_AGREE, last->number, ERR_OK);
}

static enum err movements(struct chain_pair *p, const struct movements_filter *f, uint64_t first, uint64_t last, struct chain_block *ret_last, struct chain_movement **ret,
			  size_t *ret_count)
{
	struct chain_movement *list = NULL;
	struct chain_block block;
	size_t count = 0;
	enum err e = chain_movements(p->first, f, first, last, &block, &list, &count);

	if (!e && p->second)
		e = movements_again(p, f, first, &block, list, count);
	if (e) {
		free(list);
		return e;
	}
	*ret_last = block;
	*ret = list;
	*ret_count = count;
	return ERR_OK;
}

enum err chain_pair_movements(struct chain_pair *p, const struct movements_filter *f, uint64_t first, uint64_t last, struct chain_block *ret_last,
			      struct chain_movement **ret, size_t *ret_count)
{
	return ranged(p, last - first + 1, movements(p, f, first, last, ret_last, ret, ret_count));
}

enum err chain_pair_gone(struct chain_pair *p, uint64_t number, bool reached, const struct hash *hash, bool *ret)
{
	struct chain_block block;
	enum err e = chain_block_by_number(p->first, number, &block);

	if (e == ERR_NOT_FOUND && reached)
		return rpc_refuse("the endpoint has come past block %llu and does not have it", (unsigned long long)number);
	if (e && e != ERR_NOT_FOUND)
		return e;
	*ret = e || !hash_equal(&block.hash, hash);
	if (!*ret || !p->second)
		return ERR_OK;
	e = chain_block_by_number(p->second, number, &block);
	if (e)
		return second_failed(p, number, e);
	return hash_equal(&block.hash, hash) ? disagree(p, number, "the hash") : ERR_OK;
}
