/* See settler.h. No locks: one thread takes the turns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "chain/abi.h"
#include "chain/calls.h"
#include "pay/settler_internal.h"
#include "pay/sponsor.h"

#define OPEN_MAX 64
#define VERSIONS_MAX 64 /* an eighth more each: the cap comes first */
#define TROUBLES_MAX 3 /* failures in one turn after which the endpoint is left alone until the next */
#define BUSY_POLL_MS 150
#define IDLE_MIN_MS 15000 /* of a connection that holds the key: longer than a call to the chain may take */
#define FIRST_POLL_MS 1
#define GATHER_MS 25 /* payments asked for in this time share a transaction */

/* ---- reading a receipt ---- */

size_t settler_said(const struct settler_config *c, const struct chain_receipt *r, struct uuid *ret, size_t max)
{
	size_t count = 0;

	for (size_t i = 0; r->ok && i < r->log_count && count < max; i++) {
		const struct chain_log *l = &r->logs[i];
		struct calls_settled said;

		if (address_equal(&l->address, &c->contract) && calls_read_settled(l->topics, l->topic_count, l->data, l->data_len, &said) &&
		    said.end == CALLS_SETTLED)
			memcpy(ret[count++].b, said.ref.b, sizeof(ret->b));
	}
	return count;
}

/* Each item has one event of our contract, which stands behind what its call did: what moved for it is between that and the one before. */
bool settler_moved(const struct settler_config *c, const struct chain_receipt *r, const struct uuid *payment, const struct chain_payment *what, uint32_t *ret_log)
{
	size_t from = 0;

	for (size_t i = 0; r->ok && i < r->log_count; i++) {
		const struct chain_log *l = &r->logs[i];
		struct calls_settled said;

		if (!address_equal(&l->address, &c->contract) || !calls_read_settled(l->topics, l->topic_count, l->data, l->data_len, &said))
			continue;
		if (memcmp(said.ref.b, payment->b, sizeof(payment->b)) != 0) {
			from = i + 1;
			continue;
		}
		while (from < i && !chain_log_pays(&r->logs[from], what))
			from++;
		*ret_log = (uint32_t)from;
		return said.end == CALLS_SETTLED && from < i;
	}
	return false;
}

/* ---- a transaction that is under way ---- */

static void release(struct settling *payments, size_t count)
{
	for (size_t i = 0; i < count; i++)
		json_decref(payments[i].payload);
}

enum err settler_ask_about_rest(const struct settler_config *c, struct db *db, int64_t tx, uint64_t mined, uint64_t at)
{
	struct settling payments[SETTLER_BATCH_MAX];
	size_t count = 0;
	enum err e = db_settlement_payments(db, tx, payments, SETTLER_BATCH_MAX, &count);

	for (size_t i = 0; i < count; i++) {
		bool ended = false;
		enum err one = settler_find_out(c, db, &payments[i], at, at + 1 >= mined + c->confirmations, &ended);

		if (ended)
			c->ended(c->arg, &payments[i].id, NULL, false);
		e = one ? one : e;
	}
	release(payments, count);
	return e;
}

/* It was mined: each payment in it is settled, or the chain is asked why not. What it settled is its own, even if a later one of ours
 * was to try again: this one was thought to be lost then. */
static enum err conclude(const struct settler_config *c, struct db *db, const struct open_tx *t, const struct chain_receipt *r, uint64_t head)
{
	struct mined_tx mined = { .succeeded = r->ok, .block_number = r->block_number, .block = r->block, .hash = r->tx };
	struct settling payments[SETTLER_BATCH_MAX];
	struct uuid said[SETTLER_BATCH_MAX];
	struct arrival arrived[SETTLER_BATCH_MAX];
	size_t count = 0, arrived_count = 0;
	enum err e = amount_mul(amount_from_u64(r->gas_price), r->gas_used, &mined.cost);

	if (!e)
		e = db_settlement_take_over(db, t->id, said, settler_said(c, r, said, SETTLER_BATCH_MAX), payments, SETTLER_BATCH_MAX, &count);
	if (e)
		return e;
	for (size_t i = 0; i < count; i++) {
		const struct settling *p = &payments[i];
		const struct chain_payment what = { .token = c->token, .payer = p->payer, .to = settler_receiver(c, p), .amount = p->amount };
		struct arrival a = { .payment = p->id };

		if (settler_moved(c, r, &p->id, &what, &a.log))
			arrived[arrived_count++] = a;
	}
	release(payments, count);
	e = db_settlement_mined(db, t->id, &mined, arrived, arrived_count);
	FAULT(settlement_mined);
	if (e)
		return e;
	c->view->mined = r->block_number;
	for (size_t i = 0; i < arrived_count; i++)
		c->ended(c->arg, &arrived[i].payment, &r->tx, arrived[i].closed);
	c->log("settled", (int64_t)arrived_count, hash_format(&r->tx).s);
	return arrived_count < count ? settler_ask_about_rest(c, db, t->id, r->block_number, head > r->block_number ? head : r->block_number) : ERR_OK;
}

void settler_send(const struct settler_config *c, const void *raw, size_t len)
{
	enum chain_sent s = chain_send_raw(c->chain, raw, len);

	if (s != CHAIN_SENT && s != CHAIN_SENT_KNOWN && s != CHAIN_SENT_NONCE_TOO_LOW)
		c->log("send_trouble", (int64_t)s, chain_sent_name(s)); /* whatever it says: the receipts decide */
}

static bool may_send_again(const struct settler_config *c, const struct open_tx *t)
{
	return t->idle_ms >= c->patience_ms / 8;
}

enum err settler_send_again(const struct settler_config *c, struct db *db, const struct open_tx *t)
{
	if (!may_send_again(c, t))
		return ERR_OK;
	settler_send(c, t->raw, t->raw_len);
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
		if (may_send_again(c, t))
			c->log("fee_cap_reached", (int64_t)t->nonce, "a settlement waits for cheaper gas");
		return settler_send_again(c, db, t);
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
	FAULT(settlement_bumped);
	if (!e) {
		c->log("settlement_bumped", (int64_t)t->nonce, hash_format(&hash).s);
		settler_send(c, raw.data, raw.len);
	}
	buf_done(&raw);
	return e;
}

enum err settler_receipt(const struct settler_config *c, struct db *db, const struct open_tx *t, struct chain_receipt *ret)
{
	struct hash hashes[VERSIONS_MAX];
	size_t count = 0;
	enum err e = chain_receipt(c->chain, &t->hash, ret);

	if (e != ERR_NOT_FOUND || t->forms == 1)
		return e;
	e = db_settlement_hashes(db, t->id, hashes, VERSIONS_MAX, &count);
	for (size_t i = 0; !e && i < count; i++) {
		if (hash_equal(&hashes[i], &t->hash))
			continue;
		e = chain_receipt(c->chain, &hashes[i], ret);
		if (e != ERR_NOT_FOUND)
			return e;
		e = ERR_OK;
	}
	return e ? e : ERR_NOT_FOUND;
}

/* A receipt counts when the chain's block and its logs say the same, and enough blocks are on top of it. */
static enum err believe(const struct settler_config *c, struct db *db, const struct open_tx *t, const struct chain_receipt *r, uint64_t head)
{
	enum err e;

	if (c->answer_confirmations > 1 && head + 1 < r->block_number + c->answer_confirmations)
		return ERR_OK;
	e = chain_receipt_check(c->chain, r, &c->contract);
	if (e == ERR_CONFLICT && may_send_again(c, t)) {
		c->log("endpoint_contradicts_itself", (int64_t)r->block_number, chain_error());
		return settler_send_again(c, db, t); /* should it be that it was never mined */
	}
	if (e == ERR_NOT_FOUND || e == ERR_CONFLICT)
		return ERR_OK; /* its block is not the chain's, or not yet: next time */
	return e ? e : settler_work_of(c)->mined(c, db, t, r, head);
}

enum err settler_give_up(const struct settler_config *c, struct db *db, const struct open_tx *t, const char *event, const char *why)
{
	enum err e = chain_check_id(c->chain, c->chain_id);

	if (e)
		return e;
	c->log(event, (int64_t)t->nonce, why);
	e = db_settlement_replaced(db, t->id);
	FAULT(settlement_replaced);
	return e;
}

/* Any of its forms may be the one that was mined. */
enum err settler_look_for_receipt(const struct settler_config *c, struct db *db, const struct open_tx *t, uint64_t head, uint64_t used)
{
	struct chain_receipt r;
	enum err e = settler_receipt(c, db, t, &r);

	if (!e) {
		e = believe(c, db, t, &r, head);
		chain_receipt_done(&r);
		return e;
	}
	if (e != ERR_NOT_FOUND)
		return e;
	if (t->nonce < used) /* somebody else has the key, or the endpoint is behind with its receipts */
		return t->age_ms < c->patience_ms ? ERR_OK
						  : settler_give_up(c, db, t, "settlement_replaced", "another transaction used the nonce of a settlement");
	if (t->age_ms <= c->patience_ms)
		return settler_send_again(c, db, t);
	if (!address_equal(&t->sender, &c->from))
		return settler_former_stuck(c, db, t);
	/* What waits behind another one does not get further by a higher fee. */
	return t->nonce == used ? bump(c, db, t) : settler_send_again(c, db, t);
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
			c->ended(c->arg, &payments[i].id, NULL, false);
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

enum err settler_sign(const struct settler_config *c, struct db *db, struct tx *tx, struct buf *raw, struct signed_tx *ret)
{
	struct signed_tx s = { .chain_id = c->chain_id, .sender = c->from };
	const struct chain_look *look = &c->view->look;
	struct chain_fees fees;
	enum err e = look->fees_err ? look->fees_err : look->nonce_err;

	if (e)
		return e;
	chain_fees_of(look->base, look->priority, &c->caps, &fees);
	if (!fees.affordable)
		return ERR_LIMIT; /* nothing is signed that could not be mined */
	s.max_fee = amount_from_u64(fees.fee);
	e = db_settlement_nonce(db, c->chain_id, &s.sender, look->nonce, &s.nonce);
	if (!e && s.nonce > look->nonce + SETTLER_AHEAD_MAX)
		return ERR_LIMIT; /* the chain mines what waits first, or never: then another key does it */
	tx->chain_id = c->chain_id;
	tx->nonce = s.nonce;
	tx->max_fee = fees.fee;
	tx->max_priority_fee = fees.priority;
	if (!e)
		e = tx_sign(tx, &c->key, raw, &s.hash);
	s.raw = raw->data;
	s.raw_len = raw->len;
	if (!e)
		*ret = s;
	return e;
}

static enum err settle_batch(const struct settler_config *c, struct db *db, const struct settling *payments, size_t count)
{
	struct uuid ids[SETTLER_BATCH_MAX];
	struct buf data = BUF_INIT(TX_RAW_MAX), raw = BUF_INIT(TX_RAW_MAX);
	struct tx tx = { .to = c->contract };
	struct signed_tx signed_;
	enum err e = make_batch(c, payments, &count, &data, &tx.gas);

	tx.data = (const uint8_t *)data.data;
	tx.data_len = data.len;
	if (!e)
		e = settler_sign(c, db, &tx, &raw, &signed_);
	for (size_t i = 0; i < count; i++)
		ids[i] = payments[i].id;
	if (!e)
		e = db_settlement_write(db, &signed_, ids, count);
	FAULT(settlement_written);
	if (!e)
		settler_send(c, raw.data, raw.len);
	FAULT(settlement_sent);
	buf_done(&data);
	buf_done(&raw);
	return e;
}

static enum err settle_new(const struct settler_config *c, struct db *db, size_t *ret_count)
{
	struct settling payments[SETTLER_BATCH_MAX];
	size_t count = 0;
	enum err e;

	*ret_count = 0;
	if (c->view->agenda.stopped || !c->view->agenda.settling) /* what is on its way goes on; nothing new begins while ledger and chain disagree */
		return ERR_OK;
	e = (c->others_only ? db_settling_for_others : db_payments_settling)(db, payments, SETTLER_BATCH_MAX, &count);
	if (!e)
		e = drop_unreadable(c, db, payments, &count);
	*ret_count = count;
	if (!e && count > 0)
		e = settle_batch(c, db, payments, count);
	release(payments, count);
	return e;
}

/* Payments, and deposits whose gas this key pays. */
static enum err begin_new(const struct settler_config *c, struct db *db, size_t *ret_count)
{
	enum err e = settle_new(c, db, ret_count);

	return e ? e : sponsor_new(c, db, ret_count);
}

static enum err ask_about_rest(const struct settler_config *c, struct db *db, const struct open_tx *t, uint64_t head)
{
	return t->unsettled ? settler_ask_about_rest(c, db, t->id, t->block_number, head) : ERR_OK;
}

static const struct settler_work PAYMENTS = { .begin = begin_new, .mined = conclude, .waiting = ask_about_rest, .final = settler_make_final };

const struct settler_work *settler_work_of(const struct settler_config *c)
{
	return c->work ? c->work : &PAYMENTS;
}

/* ---- the thread ---- */

int64_t settler_idle_ms(const struct settler_config *c)
{
	return 2 * c->patience_ms > IDLE_MIN_MS ? 2 * c->patience_ms : IDLE_MIN_MS;
}

static enum err look_after_all(const struct settler_config *c, struct db *db, uint64_t head, bool *busy)
{
	struct open_tx open[OPEN_MAX];
	const uint64_t used = c->view->look.nonce; /* asked before the receipts */
	size_t count = 0;
	unsigned troubles = 0;
	bool stands = true;
	enum err e, first;

	first = db_settlements_open(db, c->chain_id, &c->from, open, OPEN_MAX, &count);
	if (!first && count > 0)
		first = c->view->look.nonce_err;
	if (!first)
		first = settler_blocks_stand(c, open, count, head, &stands);
	troubles = first ? TROUBLES_MAX : 0;
	for (size_t i = 0; i < 2 * count; i++) { /* those that somebody waits for come first */
		const struct open_tx *t = &open[(c->view->look_from + i) % count];

		*busy |= !t->mined;
		if (t->mined != (i >= count) || troubles == TROUBLES_MAX)
			continue;
		e = t->mined ? settler_look_after_mined(c, db, t, head, stands) : settler_look_for_receipt(c, db, t, head, used);
		troubles += e != ERR_OK;
		first = first ? first : e;
	}
	if (troubles == TROUBLES_MAX)
		c->view->look_from += TROUBLES_MAX; /* should it be these and not the endpoint: the others come first next time */
	if (!first)
		first = settler_fill_gap(c, db, open, count, used);
	for (size_t i = 0; i < count; i++)
		free(open[i].raw);
	return first;
}

enum err settler_turn(const struct settler_config *c, struct db *db, bool *ret_busy)
{
	size_t begun = 0;
	struct chain_block head;
	bool payments = settler_work_of(c) == &PAYMENTS, approving = false;
	struct settler_agenda *agenda = &c->view->agenda;
	enum err e = settler_look_at_chain(c, &head), approved = ERR_OK, more = ERR_OK, begin, former;

	*ret_busy = false;
	if (!e)
		e = payments ? db_settler_agenda(db, &c->from, settler_idle_ms(c), agenda) : db_settler_own(db, &c->from, settler_idle_ms(c), &agenda->mine);
	if (e || !agenda->mine)
		return e;
	if (payments && agenda->approvals)
		approved = settler_approvals(c, db, head.number, &approving);
	begin = settler_work_of(c)->begin(c, db, &begun);
	e = look_after_all(c, db, head.number, ret_busy); /* what is under way does not suffer from what cannot begin */
	*ret_busy |= approving || (begun > 0 && !begin);
	former = settler_look_after_former(c, db, head.number);
	if (payments && agenda->records && c->more)
		more = c->more(c, db);
	return begin ? begin : e ? e : approved ? approved : former ? former : more;
}

static enum err take_turn(const void *config, struct db *db, bool *ret_busy)
{
	return settler_turn(config, db, ret_busy);
}

struct turns *settler_start(const struct settler_config *config)
{
	const struct turns_config turns = { .database_url = config->database_url, .poll_ms = config->poll_ms, .busy_ms = BUSY_POLL_MS, .first_ms = FIRST_POLL_MS, .gather_ms = GATHER_MS, .turn = take_turn,
					    .log = config->log, .name = "settler" };

	return turns_start(&turns, config, sizeof(*config));
}
