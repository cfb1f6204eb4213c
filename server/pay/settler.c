/* See settler.h. No locks: one thread takes the turns. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "chain/abi.h"
#include "chain/calls.h"
#include "pay/settler.h"

#define OPEN_MAX 64
#define VERSIONS_MAX 64 /* an eighth more each: the cap comes first */
#define RESEND_MS 4000
#define BUMP_MS 30000
#define LOST_MS 30000 /* its nonce is used and no form of it has a receipt: that long, for endpoints that lag */
#define BUSY_POLL_MS 150

/* ---- reading a receipt ---- */

/* Did our contract say that this payment's call returned? */
static bool item_ok(const struct settler_config *c, const struct chain_receipt *r, const struct settling *p)
{
	for (size_t i = 0; i < r->log_count; i++) {
		const struct chain_log *l = &r->logs[i];
		struct calls_settled said;

		if (address_equal(&l->address, &c->contract) && calls_read_settled(l->topics, l->topic_count, l->data, l->data_len, &said) &&
		    !memcmp(said.ref.b, p->id.b, sizeof(p->id.b)))
			return said.end == CALLS_SETTLED;
	}
	return false;
}

/* The token's own word that the money moved: a Transfer from the payer to us of exactly this amount that no other payment has claimed. */
static bool money_moved(const struct settler_config *c, const struct chain_receipt *r, const struct settling *p, bool *taken, uint32_t *ret_log)
{
	const struct chain_payment what = { .token = c->token, .payer = p->payer, .to = c->pay_to, .amount = p->amount };

	for (size_t i = 0; i < r->log_count; i++) {
		if (taken[i] || !chain_log_pays(&r->logs[i], &what))
			continue;
		taken[i] = true;
		*ret_log = (uint32_t)i;
		return true;
	}
	return false;
}

/* ---- a transaction that is under way ---- */

static void release(struct settling *payments, size_t count)
{
	for (size_t i = 0; i < count; i++)
		json_decref(payments[i].payload);
}

/* Payments of a mined transaction that it did not settle: the chain is asked why not. Also after a death in the middle of that. */
static enum err ask_about_rest(const struct settler_config *c, struct db *db, int64_t tx)
{
	struct settling payments[SETTLER_BATCH_MAX];
	size_t count = 0;
	enum err e = db_settlement_payments(db, tx, payments, SETTLER_BATCH_MAX, &count);

	for (size_t i = 0; i < count; i++) {
		enum err one = settler_find_out(c, db, &payments[i]);

		if (!one)
			c->ended(c->arg, &payments[i].id);
		else
			e = one;
	}
	release(payments, count);
	return e;
}

/* It was mined: each payment in it is settled, or the chain is asked why not. */
static enum err conclude(const struct settler_config *c, struct db *db, const struct open_tx *t, const struct chain_receipt *r)
{
	struct settling payments[SETTLER_BATCH_MAX];
	struct arrival arrived[SETTLER_BATCH_MAX];
	_cleanup_free_ bool *taken = xcalloc(r->log_count + 1, sizeof(*taken));
	size_t count = 0, arrived_count = 0;
	enum err e = db_settlement_payments(db, t->id, payments, SETTLER_BATCH_MAX, &count);

	if (e)
		return e;
	for (size_t i = 0; i < count; i++) {
		struct arrival a = { .payment = payments[i].id };

		if (r->ok && item_ok(c, r, &payments[i]) && money_moved(c, r, &payments[i], taken, &a.log))
			arrived[arrived_count++] = a;
	}
	release(payments, count);
	e = db_settlement_mined(db, t->id, r->ok, r->block_number, &r->block, &r->tx, arrived, arrived_count);
	FAULT(settlement_mined);
	if (e)
		return e;
	for (size_t i = 0; i < arrived_count; i++)
		c->ended(c->arg, &arrived[i].payment);
	c->log("settled", (int64_t)arrived_count, hash_format(&r->tx).s);
	return arrived_count < count ? ask_about_rest(c, db, t->id) : ERR_OK;
}

static void send(const struct settler_config *c, const void *raw, size_t len)
{
	enum chain_sent s = chain_send_raw(c->chain, raw, len);

	if (s != CHAIN_SENT && s != CHAIN_SENT_KNOWN && s != CHAIN_SENT_NONCE_TOO_LOW)
		c->log("send_trouble", (int64_t)s, chain_sent_name(s)); /* whatever it says: the receipts decide */
}

/* Pools forget. */
static enum err send_again(const struct settler_config *c, struct db *db, const struct open_tx *t)
{
	if (t->idle_ms < RESEND_MS)
		return ERR_OK;
	send(c, t->raw, t->raw_len);
	return db_settlement_tried(db, t->id);
}

/* Stuck for long: the same calls under the same nonce for more. */
static enum err bump(const struct settler_config *c, struct db *db, const struct open_tx *t)
{
	struct chain_fees now, then = { 0 }, more;
	struct buf raw = BUF_INIT(TX_RAW_MAX);
	struct address sender;
	struct hash hash;
	struct tx tx;
	enum err e = tx_parse_signed(t->raw, t->raw_len, &tx, &sender, &hash);

	if (!e)
		e = chain_fees(c->chain, &c->caps, &now);
	then.priority = tx.max_priority_fee;
	then.fee = tx.max_fee;
	if (!e)
		e = chain_fees_bump(&then, &now, &c->caps, &more);
	if (e == ERR_LIMIT) {
		if (t->idle_ms >= RESEND_MS)
			c->log("fee_cap_reached", (int64_t)t->nonce, "a settlement waits for cheaper gas");
		return send_again(c, db, t);
	}
	if (!e) {
		tx.max_priority_fee = more.priority;
		tx.max_fee = more.fee;
		e = tx_sign(&tx, &c->key, &raw, &hash);
	}
	if (!e) {
		struct signed_tx signed_ = { .chain_id = c->chain_id, .sender = sender, .nonce = t->nonce, .hash = hash, .raw = raw.data, .raw_len = raw.len,
					     .max_fee = amount_from_u64(more.fee) };

		e = db_settlement_replace(db, t->id, &signed_);
	}
	if (!e)
		send(c, raw.data, raw.len);
	buf_done(&raw);
	return e;
}

/* Any of its forms may be the one that was mined. `used`: the key's next nonce on chain, asked before this. */
static enum err look_for_receipt(const struct settler_config *c, struct db *db, const struct open_tx *t, uint64_t used)
{
	struct hash hashes[VERSIONS_MAX];
	size_t count = 0;
	enum err e = db_settlement_hashes(db, t->id, hashes, VERSIONS_MAX, &count);

	for (size_t i = 0; !e && i < count; i++) {
		struct chain_receipt r;

		e = chain_receipt(c->chain, &hashes[i], &r);
		if (e == ERR_NOT_FOUND) {
			e = ERR_OK;
			continue;
		}
		if (e)
			return e;
		e = conclude(c, db, t, &r);
		chain_receipt_done(&r);
		return e;
	}
	if (e)
		return e;
	if (t->nonce < used) { /* somebody else has the key, or the endpoint is behind with its receipts */
		if (t->age_ms < LOST_MS)
			return ERR_OK;
		c->log("settlement_replaced", (int64_t)t->nonce, "another transaction used the nonce of a settlement");
		return db_settlement_replaced(db, t->id);
	}
	return t->age_ms > BUMP_MS ? bump(c, db, t) : send_again(c, db, t);
}

static enum err look_after(const struct settler_config *c, struct db *db, const struct open_tx *t, uint64_t head, uint64_t used)
{
	struct chain_block block;
	enum err e;

	if (!t->mined)
		return look_for_receipt(c, db, t, used);
	e = ask_about_rest(c, db, t->id);
	if (e || (head + 1 < t->block_number + c->confirmations && head >= t->block_number))
		return e;
	e = chain_block_by_number(c->chain, t->block_number, &block);
	if (e && e != ERR_NOT_FOUND)
		return e;
	if (e || !hash_equal(&block.hash, &t->block_hash)) {
		c->log("settlement_reorganised", (int64_t)t->block_number, "sent again");
		return db_settlement_unmined(db, t->id);
	}
	return db_settlement_final(db, t->id);
}

/* ---- new ones ---- */

/* Stored authorizations that cannot be written as a call would block all others for ever. */
static enum err drop_unreadable(const struct settler_config *c, struct db *db, struct settling *payments, size_t *count)
{
	size_t kept = 0;
	enum err e = ERR_OK;

	for (size_t i = 0; i < *count; i++) {
		struct buf call = BUF_INIT(SETTLER_CALL_MAX);

		if (settler_call(c, &payments[i], &call) == ERR_OK) {
			payments[kept++] = payments[i];
		} else {
			enum err failed = db_payment_failed(db, &payments[i].id, "invalid_payload");

			c->log("authorization_unreadable", 0, uuid_format(&payments[i].id).s);
			c->ended(c->arg, &payments[i].id);
			json_decref(payments[i].payload);
			e = e ? e : failed;
		}
		buf_done(&call);
	}
	*count = kept;
	return e;
}

/* As many of them as fit into one transaction, which is written but not signed. */
static enum err make_batch(const struct settler_config *c, const struct settling *payments, size_t *count, struct buf *data, uint64_t *ret_gas)
{
	enum err e;

	while ((e = settler_batch(c, payments, *count, data, ret_gas)) == ERR_LIMIT && *count > 1) {
		buf_reset(data);
		*count /= 2;
	}
	return e;
}

static enum err sign_call(const struct settler_config *c, struct db *db, const struct settler_order *call, const struct chain_fees *fees, struct buf *raw,
			  struct signed_tx *ret)
{
	struct tx tx = { .chain_id = c->chain_id, .to = *call->to, .gas = call->gas, .max_fee = fees->fee, .max_priority_fee = fees->priority,
			 .data = (const uint8_t *)call->data->data, .data_len = call->data->len };
	struct signed_tx s = { .chain_id = c->chain_id, .max_fee = amount_from_u64(fees->fee) };
	uint64_t latest = 0;
	enum err e;

	secret_key_address(&c->key, &s.sender);
	e = chain_nonce(c->chain, &s.sender, CHAIN_LATEST, &latest);
	if (!e)
		e = db_settlement_nonce(db, c->chain_id, &s.sender, latest, &s.nonce);
	tx.nonce = s.nonce;
	if (!e)
		e = tx_sign(&tx, &c->key, raw, &s.hash);
	s.raw = raw->data;
	s.raw_len = raw->len;
	if (!e)
		*ret = s;
	return e;
}

enum err settler_send(const struct settler_config *c, struct db *db, const struct settler_order *call)
{
	struct buf raw = BUF_INIT(TX_RAW_MAX);
	struct chain_fees fees;
	struct signed_tx tx;
	enum err e = chain_fees(c->chain, &c->caps, &fees);

	if (!e && !fees.affordable)
		e = ERR_LIMIT; /* nothing is signed that could not be mined */
	if (!e)
		e = sign_call(c, db, call, &fees, &raw, &tx);
	if (!e)
		e = call->write(db, &tx, call->arg);
	FAULT(settlement_written);
	if (!e)
		send(c, raw.data, raw.len);
	FAULT(settlement_sent);
	buf_done(&raw);
	return e;
}

struct batch {
	struct uuid ids[SETTLER_BATCH_MAX];
	size_t count;
};

static enum err write_batch(struct db *db, const struct signed_tx *tx, void *arg)
{
	const struct batch *b = arg;

	return db_settlement_write(db, tx, b->ids, b->count);
}

static enum err settle_batch(const struct settler_config *c, struct db *db, const struct settling *payments, size_t count)
{
	struct batch b;
	struct buf data = BUF_INIT(TX_RAW_MAX);
	struct settler_order call = { .to = &c->contract, .data = &data, .write = write_batch, .arg = &b };
	enum err e = make_batch(c, payments, &count, &data, &call.gas);

	b.count = count;
	for (size_t i = 0; i < count; i++)
		b.ids[i] = payments[i].id;
	if (!e)
		e = settler_send(c, db, &call);
	buf_done(&data);
	return e;
}

static enum err settle_new(const struct settler_config *c, struct db *db, size_t *ret_count)
{
	struct settling payments[SETTLER_BATCH_MAX];
	size_t count = 0;
	enum err e = db_payments_settling(db, payments, SETTLER_BATCH_MAX, &count);

	if (!e)
		e = drop_unreadable(c, db, payments, &count);
	*ret_count = count;
	if (!e && count > 0)
		e = settle_batch(c, db, payments, count);
	release(payments, count);
	return e;
}

/* ---- the thread ---- */

/* One owner for each key among all gateways: the lock lives and dies with this connection. */
static enum err own_key(const struct settler_config *c, struct db *db, bool *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	struct address sender;
	DB_PARAMS p = { 0 };
	enum err e;

	secret_key_address(&c->key, &sender);
	db_text(&p, address_format(&sender).s);
	e = db_query_one(db, "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) OR"
			     " pg_try_advisory_lock(hashtextextended('settler:' || $1, 0)) AS mine", &p, &r);
	if (!e)
		*ret = db_get_bool(r, 0, "mine");
	return e;
}

static enum err look_after_all(const struct settler_config *c, struct db *db, uint64_t head, bool *busy)
{
	struct open_tx open[OPEN_MAX];
	struct address sender;
	uint64_t used = 0;
	size_t count = 0;
	enum err e;

	secret_key_address(&c->key, &sender);
	e = db_settlements_open(db, c->chain_id, &sender, open, OPEN_MAX, &count);
	if (!e && count > 0)
		e = chain_nonce(c->chain, &sender, CHAIN_LATEST, &used);
	for (size_t i = 0; i < count; i++) {
		if (!e)
			e = look_after(c, db, &open[i], head, used);
		*busy |= !open[i].mined;
		free(open[i].raw);
	}
	return e;
}

enum err settler_turn(const struct settler_config *c, struct db *db, bool *ret_busy)
{
	size_t begun = 0;
	uint64_t head = 0;
	bool mine = false;
	enum err e = chain_head(c->chain, &head), begin, more;

	*ret_busy = false;
	if (!e && c->head)
		atomic_store(c->head, head);
	if (!e)
		e = own_key(c, db, &mine);
	if (e || !mine)
		return e;
	begin = settle_new(c, db, &begun);
	e = look_after_all(c, db, head, ret_busy); /* what is under way does not suffer from what cannot begin */
	*ret_busy |= begun > 0 && !begin;
	more = c->more ? c->more(c, db) : ERR_OK;
	return begin ? begin : e ? e : more;
}

static enum err take_turn(const void *config, struct db *db, bool *ret_busy)
{
	return settler_turn(config, db, ret_busy);
}

struct turns *settler_start(const struct settler_config *config)
{
	const struct turns_config turns = { .database_url = config->database_url, .poll_ms = config->poll_ms, .busy_ms = BUSY_POLL_MS, .turn = take_turn,
					    .log = config->log, .failed_event = "settler_failed" };

	return turns_start(&turns, config, sizeof(*config));
}
