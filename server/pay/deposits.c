/* See deposits.h. No locks. */
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "pay/deposits.h"

#define DELEGATION_LEN 23 /* EIP-7702: an account with a key that borrows a contract's code */

/* The youngest block we remember that the chain still has, and the cursor back to it. Both endpoints must have given it up: one
 * alone cannot take back what both once said. An endpoint that has no block of a number it came past mixes those that lag with others,
 * and says nothing about it. */
static enum err rewind_chain(const struct deposits_config *c, struct db *db, uint64_t cursor, uint64_t head)
{
	uint64_t number = cursor;
	enum err e, last = ERR_OK;

	for (; number > 0; number--) {
		bool gone = false;
		struct hash ours;

		e = db_watch_block(db, &c->watch, number, &ours);

		if (e == ERR_NOT_FOUND)
			break; /* older than anything remembered: look again from here */
		if (!e)
			e = chain_pair_gone(c->pair, number, number <= head, &ours, &gone);
		if (e && e != ERR_NOT_FOUND)
			return e;
		if (!e && !gone)
			break;
		last = e;
	}
	if (last) /* the second has not come so far: it says nothing about the first block that would go */
		return ERR_OK;
	e = chain_pair_check_id(c->pair, (uint64_t)c->watch.chain_id); /* that another chain has other blocks means nothing */
	if (e)
		return e;
	c->log("chain_reorganised", (int64_t)number + 1, "taking back deposits from this block on");
	e = db_watch_rewind(db, &c->watch, cursor, number + 1);
	FAULT(deposit_rewound);
	return e;
}

/* Whose is it? An address with a key is an account by itself; a contract's users are not the contract. */
static enum err find_sender(const struct deposits_config *c, const struct address *from, enum deposit_sender *ret)
{
	struct buf code = BUF_INIT(128 << 10);
	enum err e = ERR_OK;

	for (size_t i = 0; i < c->own_count; i++)
		if (address_equal(from, &c->own[i]) || address_equal(from, &c->watch.treasury)) {
			*ret = DEPOSIT_FROM_US;
			return ERR_OK;
		}
	if (address_is_zero(from)) {
		*ret = DEPOSIT_FROM_NOBODY;
		return ERR_OK;
	}
	e = chain_code_at(c->pair->first, from, UINT64_MAX, &code);
	if (!e)
		*ret = code.len == 0 || (code.len == DELEGATION_LEN && !memcmp(code.data, "\xef\x01\x00", 3)) ? DEPOSIT_FROM_KEY : DEPOSIT_FROM_CONTRACT;
	buf_done(&code);
	return e;
}

/* Everything behind the cursor up to this block was looked at; the deposits are of the block itself. */
static enum err advance(const struct deposits_config *c, struct db *db, uint64_t cursor, const struct chain_block *block, const struct deposit_seen *seen, size_t count)
{
	int64_t credited = 0;
	enum err e = db_watch_advance(db, &c->watch, cursor, block->number, &block->hash, seen, count, c->confirmations, &credited);

	if (credited > 0)
		FAULT(deposit_written);
	if (!e && credited > 0) {
		metric_add(METRIC_DEPOSITS, credited);
		c->log("deposits_credited", credited, "");
	}
	return e;
}

static enum err look_at(const struct deposits_config *c, struct db *db, const struct chain_block *block)
{
	struct chain_transfer *transfers = NULL;
	size_t count = 0;
	enum err e = chain_pair_transfers(c->pair, &c->watch.token, &c->watch.treasury, block, &transfers, &count);
	_cleanup_free_ struct deposit_seen *seen = xcalloc(count ? count : 1, sizeof(*seen));

	for (size_t i = 0; !e && i < count; i++) {
		seen[i] = (struct deposit_seen){ .tx = transfers[i].tx, .ordinal = transfers[i].ordinal, .from = transfers[i].from };
		/* More than the ledger can hold cannot be real OPG: stop and say so rather than credit something else. */
		e = amount_from_be(transfers[i].value_be, &seen[i].amount);
		if (!e && i > 0 && address_equal(&seen[i].from, &seen[i - 1].from))
			seen[i].sender = seen[i - 1].sender;
		else if (!e)
			e = find_sender(c, &seen[i].from, &seen[i].sender);
	}
	free(transfers);
	if (count > 0)
		FAULT(deposit_seen);
	return e ? e : advance(c, db, block->number - 1, block, seen, count);
}

/* Far behind, the chain is not walked but asked where the next deposit is, range by range: only as far as no reorganisation that is followed
 * reaches. The cursor goes to the block before it. *ret_leapt false: it is in the very next block, or that is near. */
static enum err leap(const struct deposits_config *c, struct db *db, uint64_t cursor, uint64_t head, bool *ret_leapt)
{
	uint64_t near = c->confirmations > DB_WATCH_KEEPS ? c->confirmations : DB_WATCH_KEEPS, last, first = 0;
	struct chain_block block;
	enum err e;

	*ret_leapt = false;
	if (head < near || head - near <= cursor + 1)
		return ERR_OK;
	last = chain_pair_range(c->pair, cursor + 1, head - near);
	if (last == cursor + 1)
		return ERR_OK;
	e = chain_pair_first_transfer(c->pair, &c->watch.token, &c->watch.treasury, cursor + 1, last, &block, &first);
	if (e || first == cursor + 1)
		return e;
	if (first <= last)
		e = chain_pair_block(c->pair, first - 1, &block);
	if (!e)
		e = advance(c, db, cursor, &block, NULL, 0);
	*ret_leapt = !e;
	return e;
}

/* The endpoint is behind us. When its newest block is one of ours it only lags, and has taken nothing back. */
static enum err step_behind(const struct deposits_config *c, struct db *db, uint64_t head, uint64_t cursor)
{
	struct chain_block block;
	struct hash ours;
	enum err e = db_watch_block(db, &c->watch, head, &ours);

	if (!e)
		e = chain_block_by_number(c->pair->first, head, &block);
	if (e == ERR_NOT_FOUND)
		return ERR_OK;
	return e ? e : hash_equal(&block.hash, &ours) ? ERR_OK : rewind_chain(c, db, cursor, head);
}

enum err deposits_step(const struct deposits_config *c, struct db *db, bool *ret_more)
{
	struct chain_block block;
	struct chain_next seen;
	struct hash ours;
	uint64_t head = 0, cursor = 0;
	bool has_hash = false, leapt = false;
	enum err e = db_watch_cursor(db, &c->watch, c->from_block ? c->from_block - 1 : 0, &cursor, &ours, &has_hash);

	*ret_more = false;
	if (!e)
		e = chain_pair_next(c->pair, (uint64_t)c->watch.chain_id, cursor, &seen);
	if (e)
		return e;
	head = seen.head;
	if (head < cursor || (head == cursor && !has_hash)) /* a shorter chain, or nothing new on one we know nothing of */
		return head < cursor && has_hash ? step_behind(c, db, head, cursor) : ERR_OK;
	e = head == cursor ? seen.at_err : seen.next_err;
	if (e)
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	block = head == cursor ? seen.at : seen.next;
	if (has_hash && !hash_equal(head == cursor ? &block.hash : &block.parent, &ours)) {
		*ret_more = true;
		return rewind_chain(c, db, cursor, head);
	}
	if (c->pair->second) /* whether the other says the same; at rest, too */
		e = chain_pair_block(c->pair, block.number, &block);
	if (e || head == cursor)
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	if (has_hash && !hash_equal(&block.parent, &ours))
		return ERR_OK; /* it changed its mind in between: the next step sees that */
	e = leap(c, db, cursor, head, &leapt);
	if (!e && !leapt)
		e = look_at(c, db, &block);
	*ret_more = !e && cursor + 1 < head; /* an endpoint that does not have it yet is not asked again at once */
	return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* What the log and the metrics say of the two endpoints, once for each change. */
static void tell_state(const struct deposits_config *c, int before)
{
	int now = atomic_load(&c->pair->state);

	metric_set(METRIC_RPC_DISAGREE, now == PAIR_DISAGREE);
	if (now == before || !c->pair->second)
		return;
	if (now == PAIR_DISAGREE)
		c->log("rpc_endpoints_disagree", (int64_t)atomic_load(&c->pair->block), "no deposit is credited or taken back until rpc_url and rpc_url_2 agree");
	else if (before == PAIR_DISAGREE)
		c->log("rpc_endpoints_agree", (int64_t)atomic_load(&c->pair->block), "");
}

/* Another gateway's watcher may be first at a block: that is no trouble, only nothing to do. */
static enum err watch_turn(const void *config, struct db *db, bool *ret_busy)
{
	const struct deposits_config *c = config;
	int before = atomic_load(&c->pair->state);
	enum err e = deposits_step(c, db, ret_busy);

	tell_state(c, before);
	if (e != ERR_CONFLICT)
		return e;
	*ret_busy = false;
	return ERR_OK;
}

struct turns *deposits_start(const struct deposits_config *config)
{
	const struct turns_config turns = { .database_url = config->database_url, .poll_ms = config->poll_ms, .busy_ms = 0, .turn = watch_turn, .log = config->log,
					    .name = "deposits" };

	return turns_start(&turns, config, sizeof(*config));
}
