/* See deposits.h. No locks. */
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "pay/deposits.h"

/* The youngest block we remember that the chain still has, and the cursor back to it. */
static enum err rewind_chain(const struct deposits_config *c, struct db *db, uint64_t cursor)
{
	uint64_t number = cursor;
	enum err e;

	for (; number > 0; number--) {
		struct chain_block block;
		struct hash ours;

		e = db_watch_block(db, &c->watch, number, &ours);

		if (e == ERR_NOT_FOUND)
			break; /* older than anything remembered: look again from here */
		if (!e)
			e = chain_block_by_number(c->chain, number, &block);
		if (e && e != ERR_NOT_FOUND)
			return e;
		if (!e && hash_equal(&block.hash, &ours))
			break;
	}
	e = chain_check_id(c->chain, (uint64_t)c->watch.chain_id); /* that another chain has other blocks means nothing */
	if (e)
		return e;
	c->log("chain_reorganised", (int64_t)number + 1, "taking back deposits from this block on");
	e = db_watch_rewind(db, &c->watch, cursor, number + 1);
	FAULT(deposit_rewound);
	return e;
}

static bool is_own(const struct deposits_config *c, const struct address *from)
{
	for (size_t i = 0; i < c->own_count; i++)
		if (address_equal(&c->own[i], from))
			return true;
	return false;
}

static enum err look_at(const struct deposits_config *c, struct db *db, const struct chain_block *block)
{
	struct chain_transfer *transfers = NULL;
	size_t count = 0, deposits = 0;
	enum err e = chain_transfers_in_block(c->chain, &c->watch.token, &c->watch.treasury, &block->hash, &transfers, &count);
	_cleanup_free_ struct deposit_seen *seen = xcalloc(count ? count : 1, sizeof(*seen));
	int64_t credited = 0;

	for (size_t i = 0; !e && i < count; i++) {
		if (is_own(c, &transfers[i].from))
			continue;
		seen[deposits] = (struct deposit_seen){ .tx = transfers[i].tx, .ordinal = transfers[i].ordinal, .from = transfers[i].from };
		/* More than the ledger can hold cannot be real OPG: stop and say so rather than credit something else. */
		e = amount_from_be(transfers[i].value_be, &seen[deposits++].amount);
	}
	free(transfers);
	if (count > 0)
		FAULT(deposit_seen);
	if (!e)
		e = db_watch_advance(db, &c->watch, block->number, &block->hash, seen, deposits, c->confirmations, &credited);
	if (credited > 0)
		FAULT(deposit_written);
	if (!e && credited > 0) {
		metric_add(METRIC_DEPOSITS, credited);
		c->log("deposits_credited", credited, "");
	}
	return e;
}

/* The endpoint is behind us. When its newest block is one of ours it only lags, and has taken nothing back. */
static enum err step_behind(const struct deposits_config *c, struct db *db, uint64_t head, uint64_t cursor)
{
	struct chain_block block;
	struct hash ours;
	enum err e = db_watch_block(db, &c->watch, head, &ours);

	if (!e)
		e = chain_block_by_number(c->chain, head, &block);
	if (e == ERR_NOT_FOUND)
		return ERR_OK;
	return e ? e : hash_equal(&block.hash, &ours) ? ERR_OK : rewind_chain(c, db, cursor);
}

enum err deposits_step(const struct deposits_config *c, struct db *db, bool *ret_more)
{
	struct chain_block block;
	struct hash ours;
	uint64_t head = 0, cursor = 0;
	bool has_hash = false;
	enum err e = chain_check_id(c->chain, (uint64_t)c->watch.chain_id); /* an endpoint may change its mind */

	*ret_more = false;
	if (!e)
		e = chain_head(c->chain, &head);
	if (!e)
		e = db_watch_cursor(db, &c->watch, 0, &cursor, &ours, &has_hash);
	if (e)
		return e;
	if (head < cursor || (head == cursor && !has_hash)) /* a shorter chain, or nothing new on one we know nothing of */
		return head < cursor && has_hash ? step_behind(c, db, head, cursor) : ERR_OK;
	e = chain_block_by_number(c->chain, head == cursor ? cursor : cursor + 1, &block);
	if (e)
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	if (has_hash && !hash_equal(head == cursor ? &block.hash : &block.parent, &ours)) {
		*ret_more = true;
		return rewind_chain(c, db, cursor);
	}
	if (head == cursor)
		return ERR_OK;
	*ret_more = cursor + 1 < head;
	return look_at(c, db, &block);
}

/* Another gateway's watcher may be first at a block: that is no trouble, only nothing to do. */
static enum err watch_turn(const void *config, struct db *db, bool *ret_busy)
{
	enum err e = deposits_step(config, db, ret_busy);

	if (e != ERR_CONFLICT)
		return e;
	*ret_busy = false;
	return ERR_OK;
}

struct turns *deposits_start(const struct deposits_config *config)
{
	const struct turns_config turns = { .database_url = config->database_url, .poll_ms = config->poll_ms, .busy_ms = 0, .turn = watch_turn, .log = config->log,
					    .failed_event = "deposits_failed" };

	return turns_start(&turns, config, sizeof(*config));
}
