/* What the chain does to transactions after they were mined: reorganisations, finality, gaps in the nonces; and what the settler
 * watches besides: that it is still the same chain, its clock, the gas of the key. See settler.h. */
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "db/records.h"
#include "pay/settler_internal.h"

#define GAS_LOOK_MS 2000
#define LOOK_FRESH_MS 50
#define FILLER_GAS 21000

/* ---- the chain itself ---- */

static void look_at_gas(const struct settler_config *c)
{
	struct amount wei;
	struct u256 all;
	uint64_t shown = 0;
	bool low, was = atomic_load(&c->view->low_gas);
	int64_t now = clock_mono_ms();

	if (c->view->gas_seen_ms && now - c->view->gas_seen_ms < GAS_LOOK_MS)
		return;
	if (chain_native_balance(c->chain, &c->from, UINT64_MAX, &wei))
		return; /* what is not known does not change */
	c->view->gas_seen_ms = now;
	low = amount_cmp(wei, c->gas_min) < 0;
	atomic_store(&c->view->low_gas, low);
	all = u256_from_amount(wei);
	if (!c->work) /* it is about the settling key */
		metric_set(METRIC_SETTLER_GAS, u256_to_u64(&all, &shown) || shown > INT64_MAX ? INT64_MAX : (int64_t)shown);
	if (low != was)
		c->log(low ? "gas_low" : "gas_enough", 0, amount_format(wei).s);
}

enum err settler_watch(const struct settler_config *c, struct chain_block *ret_head)
{
	struct chain_look *look = &c->view->look;
	enum err e = chain_look(c->chain, &c->from, look);

	if (e)
		return e;
	if (look->id != c->chain_id) {
		if (!atomic_exchange(&c->view->wrong_chain, true))
			c->log("wrong_chain", (int64_t)look->id, "the endpoint is another chain; nothing is sent or believed until it is ours again");
		return chain_check_id(c->chain, c->chain_id);
	}
	if (look->head_err)
		return look->head_err;
	atomic_store(&c->view->wrong_chain, false);
	atomic_store(&c->view->head, look->head.number);
	chain_time_saw(&c->view->time, &look->head, clock_mono_ms(), clock_wall_ms());
	*ret_head = look->head;
	return ERR_OK;
}

/* Turns come quickly one after the other while payments come. What was seen a moment ago is as good as what a request in the middle of this turn
 * would have said, unless the chain is known to have gone on. */
static bool is_fresh(const struct settler_view *v)
{
	return v->look_ms && clock_mono_ms() - v->look_ms < LOOK_FRESH_MS && v->look.head.number >= v->mined;
}

enum err settler_look_at_chain(const struct settler_config *c, struct chain_block *ret_head)
{
	struct settler_view *v = c->view;
	int64_t now = clock_mono_ms();
	enum err e;

	if (is_fresh(v)) {
		*ret_head = v->look.head;
		return ERR_OK;
	}
	e = settler_watch(c, ret_head);
	v->look_ms = e || v->look.nonce_err || v->look.fees_err ? 0 : now;
	if (!e)
		look_at_gas(c);
	return e;
}

enum err settler_look(const struct settler_config *c)
{
	struct chain_block head;

	return settler_look_at_chain(c, &head);
}

/* ---- mined ---- */

static enum err block_stands(const struct settler_config *c, const struct open_tx *t, bool *ret)
{
	struct chain_block block;
	enum err e = chain_block_by_number(c->chain, t->block_number, &block);

	if (e && e != ERR_NOT_FOUND)
		return e;
	*ret = !e && hash_equal(&block.hash, &t->block_hash);
	return ERR_OK;
}

/* The highest of them is enough: a block stands on all below it. The newest block says itself what it and the one below it are. */
enum err settler_blocks_stand(const struct settler_config *c, const struct open_tx *open, size_t count, uint64_t head, bool *ret)
{
	const struct chain_block *newest = &c->view->look.head;
	const struct open_tx *highest = NULL;

	for (size_t i = 0; i < count; i++)
		if (open[i].mined && open[i].block_number <= head && (!highest || open[i].block_number > highest->block_number))
			highest = &open[i];
	*ret = true;
	if (!highest)
		return ERR_OK;
	if (newest->number != highest->block_number && newest->number != highest->block_number + 1)
		return block_stands(c, highest, ret);
	*ret = hash_equal(newest->number == highest->block_number ? &newest->hash : &newest->parent, &highest->block_hash);
	return ERR_OK;
}

static enum err take_back(const struct settler_config *c, struct db *db, const struct open_tx *t)
{
	enum err e = chain_check_id(c->chain, c->chain_id); /* that another chain does not have it means nothing */

	if (e)
		return e;
	c->log("settlement_reorganised", (int64_t)t->block_number, "sent again");
	e = db_settlement_unmined(db, t->id);
	FAULT(settlement_unmined);
	return e;
}

/* The endpoint is not as far as the block it was mined in. It lags; or the chain went back, and then the transaction is sent again
 * until it is in a block, which is not the one that is written down. */
static enum err look_behind(const struct settler_config *c, struct db *db, const struct open_tx *t)
{
	struct chain_receipt r;
	enum err e = settler_receipt(c, db, t, &r);
	bool elsewhere = !e && !hash_equal(&r.block, &t->block_hash);

	if (!e)
		chain_receipt_done(&r);
	if (elsewhere)
		return take_back(c, db, t);
	return e == ERR_NOT_FOUND ? settler_send_again(c, db, t) : e;
}

/* Transfers for payments that were given up before this transaction went through after all. */
static enum err find_late(const struct settler_config *c, struct db *db, const struct chain_receipt *r, const struct uuid *said, size_t said_count,
			  struct arrival *ret, size_t *ret_count)
{
	struct given_up late[SETTLER_BATCH_MAX];
	size_t count = 0, found = 0;
	enum err e = said_count ? db_payments_given_up(db, said, said_count, late, &count) : ERR_OK;

	for (size_t i = 0; !e && i < count; i++) {
		const struct chain_payment what = { .token = c->token, .payer = late[i].payer, .to = c->pay_to, .amount = late[i].amount };
		struct arrival a = { .payment = late[i].id };
		enum transfer_of of = TRANSFER_CLAIMED;

		if (settler_moved(c, r, &a.payment, &what, &a.log))
			e = db_transfer_of(db, &r->tx, a.log, &of);
		if (!e && of != TRANSFER_CLAIMED)
			ret[found++] = a;
	}
	*ret_count = found;
	return e;
}

/* A receipt that says what was booked, in the block it was booked from, needs no other witness than that the chain still has this block: its
 * logs agreed then, and the auditor reads those of every block this deep itself. */
enum err settler_make_final(const struct settler_config *c, struct db *db, const struct open_tx *t)
{
	struct uuid said[SETTLER_BATCH_MAX];
	struct arrival late[SETTLER_BATCH_MAX];
	size_t said_count, late_count = 0;
	struct chain_receipt r;
	int64_t disputed = 0;
	bool booked, stands = true;
	enum err e = settler_receipt(c, db, t, &r);

	if (e == ERR_NOT_FOUND)
		return settler_send_again(c, db, t); /* its block is there and its receipt is not: not in that state for ever */
	if (e)
		return e;
	said_count = settler_said(c, &r, said, SETTLER_BATCH_MAX);
	e = db_settlement_disputed(db, t->id, &r.tx, said, said_count, &disputed);
	if (!e)
		e = find_late(c, db, &r, said, said_count, late, &late_count);
	booked = disputed == 0 && hash_equal(&r.block, &t->block_hash);
	if (!e && booked && late_count == 0)
		e = block_stands(c, t, &stands);
	else if (!e)
		e = chain_receipt_check(c->chain, &r, &c->contract);
	if (e == ERR_CONFLICT && t->idle_ms >= c->patience_ms)
		c->log("endpoint_contradicts_itself", (int64_t)r.block_number, chain_error());
	if (!e && (!booked || !stands)) {
		e = take_back(c, db, t);
	} else if (!e) {
		e = db_settlement_final(db, t->id, &r.tx, late, late_count);
		FAULT(settlement_final);
		if (!e && late_count > 0)
			c->log("payments_came_late", (int64_t)late_count, hash_format(&r.tx).s);
	}
	chain_receipt_done(&r);
	return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err settler_look_after_mined(const struct settler_config *c, struct db *db, const struct open_tx *t, uint64_t head, bool stands)
{
	enum err e;

	if (head < t->block_number)
		return look_behind(c, db, t);
	if (!stands) {
		e = block_stands(c, t, &stands);
		if (e || !stands)
			return e ? e : take_back(c, db, t);
	}
	e = settler_work_of(c)->waiting(c, db, t, head);
	if (e || head + 1 < t->block_number + c->confirmations)
		return e;
	return settler_work_of(c)->final(c, db, t);
}

/* ---- gaps ---- */

/* Nothing to nobody, only to use the nonce. Written before it is sent, as everything. `revived`: the transaction it is the new form of, or 0. */
static enum err send_filler(const struct settler_config *c, struct db *db, uint64_t nonce, int64_t revived)
{
	struct tx tx = { .chain_id = c->chain_id, .to = c->from, .gas = FILLER_GAS, .nonce = nonce };
	struct signed_tx s = { .chain_id = c->chain_id, .sender = c->from, .nonce = nonce };
	struct buf raw = BUF_INIT(TX_RAW_MAX);
	struct chain_fees fees;
	enum err e = chain_fees(c->chain, &c->caps, &fees);

	if (!e && !fees.affordable)
		e = ERR_LIMIT;
	if (!e) {
		tx.max_fee = fees.fee;
		tx.max_priority_fee = fees.priority;
		s.max_fee = amount_from_u64(fees.fee);
		e = tx_sign(&tx, &c->key, &raw, &s.hash);
	}
	s.raw = raw.data;
	s.raw_len = raw.len;
	if (!e)
		e = revived ? db_settlement_revive_as(db, revived, &s) : db_settlement_write(db, &s, NULL, 0);
	FAULT(settlement_filled);
	if (!e)
		settler_send(c, raw.data, raw.len);
	buf_done(&raw);
	return e;
}

/* A payment that another transaction carries by now is paid once all the same, and so is a payout; an event would be made twice. */
static enum err revive(const struct settler_config *c, struct db *db, uint64_t nonce, int64_t id)
{
	bool moved = false;
	enum err e = db_record_post_moved(db, id, &moved);

	if (e)
		return e;
	return moved ? send_filler(c, db, nonce, id) : db_settlement_revive(db, id);
}

enum err settler_fill_gap(const struct settler_config *c, struct db *db, const struct open_tx *open, size_t count, uint64_t used)
{
	const struct open_tx *first = NULL;
	bool replaced = false;
	int64_t id = 0;
	enum err e;

	for (size_t i = 0; i < count && !first; i++) /* by nonce: the first that waits tells whether anything is missing before it */
		if (open[i].nonce >= used)
			first = &open[i];
	if (!first || first->mined || first->nonce == used || first->age_ms < c->patience_ms)
		return ERR_OK;
	if (first->nonce - used > SETTLER_AHEAD_MAX) {
		if (first->idle_ms >= c->patience_ms / 8)
			c->log("nonce_too_high", (int64_t)first->nonce, "the endpoint was wrong about a nonce; the transaction cannot be mined");
		return ERR_OK;
	}
	e = db_settlement_at_nonce(db, c->chain_id, &c->from, used, &replaced, &id);
	if (e && e != ERR_NOT_FOUND)
		return e;
	if (!e && !replaced)
		return ERR_OK; /* final: the endpoint lags, or the chain lost what nothing should lose */
	c->log("nonce_gap", (int64_t)used, e ? "filled" : "what had used the nonce of a settlement is gone; it is sent again");
	return e ? send_filler(c, db, used, 0) : revive(c, db, used, id);
}
