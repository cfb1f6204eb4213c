/* See payouts.h. No locks: one thread takes the turns. */
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "chain/calls.h"
#include "db/audit.h"
#include "pay/payouts.h"
#include "pay/settler_internal.h"

#define BUSY_POLL_MS 150
#define CALL_GAS 200000
#define BASE_GAS 60000
#define ITEM_GAS 225000 /* what the contract asks for */
#define BYTE_GAS 16

static const struct payouts_config *config_of(const struct settler_config *c)
{
	return (const struct payouts_config *)c; /* its first member */
}

struct hash payouts_id(const struct uuid *payout)
{
	struct hash id = { { 0 } };

	memcpy(id.b, payout->b, sizeof(payout->b));
	return id;
}

/* ---- what the chain says ---- */

static enum err ask(struct chain *chain, const struct address *contract, struct buf *call, uint64_t at, struct buf *answer)
{
	return chain_call(chain, contract, call->data, call->len, CALL_GAS, at, answer);
}

/* A number, cut to what the books can hold: allowances are often the largest there is. */
static enum err ask_amount(struct chain *chain, const struct address *contract, struct buf *call, uint64_t at, struct amount *ret)
{
	struct buf answer = BUF_INIT(64);
	uint8_t most[32] = { [16] = 0x7f };
	struct u256 v;
	enum err e = ask(chain, contract, call, at, &answer);

	if (!e && calls_read_u256(answer.data, answer.len, &v))
		e = ERR_CHAIN_DOWN;
	buf_done(&answer);
	if (e)
		return e;
	memset(most + 17, 0xff, 15);
	return u256_to_amount(&v, ret) ? amount_from_be(most, ret) : ERR_OK;
}

enum err payouts_total(struct chain *chain, const struct address *contract, uint64_t at, struct amount *ret)
{
	struct buf call = BUF_INIT(64);
	enum err e = calls_payouts_total(&call);

	if (!e)
		e = ask_amount(chain, contract, &call, at, ret);
	buf_done(&call);
	return e;
}

/* What the treasury has and allows, without what is signed and not mined yet. */
static enum err funds(const struct payouts_config *p, struct db *db, struct amount *ret)
{
	const struct settler_config *c = &p->sender;
	struct amount balance = AMOUNT_ZERO, allowed = AMOUNT_ZERO, unmined = AMOUNT_ZERO;
	struct buf call = BUF_INIT(128);
	enum err e = db_payouts_unmined(db, c->chain_id, &unmined);

	if (!e)
		e = chain_token_balance(c->chain, &c->token, &p->treasury, UINT64_MAX, &balance);
	if (!e)
		e = calls_erc20_allowance(&p->treasury, &c->contract, &call);
	if (!e)
		e = ask_amount(c->chain, &c->token, &call, UINT64_MAX, &allowed);
	buf_done(&call);
	if (e)
		return e;
	balance = amount_min(balance, allowed);
	*ret = AMOUNT_ZERO;
	return amount_cmp(balance, unmined) > 0 ? amount_sub(balance, unmined, ret) : ERR_OK;
}

/* ---- new ones ---- */

size_t payouts_pick(struct payout_item *items, size_t count, struct amount left)
{
	size_t picked = 0;

	for (size_t i = 0; i < count; i++) {
		struct payout_item item = items[i];

		if (amount_sub(left, item.amount, &left))
			continue;
		memmove(&items[picked + 1], &items[picked], (i - picked) * sizeof(*items));
		items[picked++] = item;
	}
	return picked;
}

static enum err make_call(const struct payout_item *items, size_t count, struct buf *out, uint64_t *ret_gas)
{
	struct calls_payout calls[PAYOUTS_BATCH_MAX];
	enum err e;

	for (size_t i = 0; i < count; i++)
		calls[i] = (struct calls_payout){ .id = payouts_id(&items[i].id), .to = items[i].to, .amount = u256_from_amount(items[i].amount) };
	e = calls_payouts_pay(calls, count, out);
	if (!e)
		*ret_gas = BASE_GAS + count * ITEM_GAS + BYTE_GAS * out->len;
	return e;
}

/* One that would revert as a whole (we may not call, say) would only burn gas, again and again. */
static enum err would_work(const struct settler_config *c, const struct buf *data, uint64_t gas)
{
	struct chain_message m = { .from = c->from, .to = c->contract, .data = data->data, .len = data->len, .gas = gas };
	struct buf answer = BUF_INIT(4096);
	bool ok = false;
	enum err e = chain_simulate(c->chain, &m, UINT64_MAX, &answer, &ok);

	buf_done(&answer);
	return e ? e : ok ? ERR_OK : ERR_UNPROCESSABLE;
}

static enum err pay_batch(const struct settler_config *c, struct db *db, const struct payout_item *items, size_t count)
{
	struct buf data = BUF_INIT(TX_RAW_MAX), raw = BUF_INIT(TX_RAW_MAX);
	struct tx tx = { .to = c->contract };
	struct signed_tx signed_;
	enum err e = make_call(items, count, &data, &tx.gas);

	if (!e)
		e = would_work(c, &data, tx.gas);
	tx.data = (const uint8_t *)data.data;
	tx.data_len = data.len;
	if (!e)
		e = settler_sign(c, db, &tx, &raw, &signed_);
	FAULT(payout_signed);
	if (!e)
		e = db_payouts_write(db, &signed_, &c->contract, items, count);
	FAULT(payout_written);
	if (!e)
		settler_send(c, raw.data, raw.len);
	FAULT(payout_sent);
	buf_done(&data);
	buf_done(&raw);
	return e;
}

static enum err open_due(const struct payouts_config *p, struct db *db)
{
	int64_t opened = 0;
	enum err e = db_payouts_schedule(db, p->minimum, &opened);

	if (!e && opened > 0) {
		FAULT(payout_scheduled);
		p->sender.log("payouts_scheduled", opened, "");
	}
	return e;
}

static enum err begin(const struct settler_config *c, struct db *db, size_t *ret_count)
{
	const struct payouts_config *p = config_of(c);
	struct payout_item items[PAYOUTS_BATCH_MAX];
	struct uuid short_of_funds[PAYOUTS_BATCH_MAX];
	struct amount left = AMOUNT_ZERO;
	size_t count = 0, picked = 0;
	int64_t newly = 0;
	bool stopped = false;
	enum err e;

	*ret_count = 0;
	if (atomic_load(p->stopped))
		return ERR_OK;
	e = settlement_stopped(db, &stopped); /* what another gateway found counts here, too */
	if (e || stopped)
		return e;
	e = open_due(p, db);
	if (!e)
		e = db_payouts_pending(db, items, PAYOUTS_BATCH_MAX, &count);
	if (e || count == 0)
		return e;
	e = funds(p, db, &left);
	if (e)
		return e;
	picked = payouts_pick(items, count, left);
	for (size_t i = picked; i < count; i++)
		short_of_funds[i - picked] = items[i].id;
	e = db_payouts_waiting(db, short_of_funds, count - picked, &newly);
	if (!e && newly > 0)
		c->log("payouts_wait_for_funds", newly, "the treasury, or what it allows the contract, is less than what is to be paid");
	*ret_count = picked;
	return e || picked == 0 ? e : pay_batch(c, db, items, picked);
}

/* ---- a transaction that was mined ---- */

static enum err mined(const struct settler_config *c, struct db *db, const struct open_tx *t, const struct chain_receipt *r, uint64_t head)
{
	const struct mined_tx mined = { .succeeded = r->ok, .block_number = r->block_number, .block = r->block, .hash = r->tx }; /* nobody shares its cost */
	enum err e = db_settlement_mined(db, t->id, &mined, NULL, 0);

	(void)c;
	(void)head;
	FAULT(payout_mined);
	return e;
}

static enum err waiting(const struct settler_config *c, struct db *db, const struct open_tx *t, uint64_t head)
{
	(void)c;
	(void)head;
	(void)db;
	(void)t;
	return ERR_OK; /* nothing is booked before it is final */
}

/* The token's own Transfer, which stands before our contract's word on it and after its word on the one before. */
static bool transfer_before(const struct payouts_config *p, const struct chain_receipt *r, size_t at, const struct payout_item *item, uint32_t *ret_log)
{
	const struct chain_payment what = { .token = p->sender.token, .payer = p->treasury, .to = item->to, .amount = item->amount };

	for (size_t i = at; i-- > 0 && !address_equal(&r->logs[i].address, &p->sender.contract);)
		if (chain_log_pays(&r->logs[i], &what)) {
			*ret_log = (uint32_t)i;
			return true;
		}
	return false;
}

enum err payouts_read_end(const struct payouts_config *p, const struct chain_receipt *r, const struct payout_item *item, struct payout_end *ret)
{
	const struct u256 amount = u256_from_amount(item->amount);
	const struct hash id = payouts_id(&item->id);
	struct payout_end end = { .id = item->id, .end = PAYOUT_AGAIN, .tx = r->tx };

	for (size_t i = 0; r->ok && i < r->log_count; i++) {
		const struct chain_log *l = &r->logs[i];
		struct calls_paid_out said;

		if (!address_equal(&l->address, &p->sender.contract) || !calls_read_paid_out(l->topics, l->topic_count, l->data, l->data_len, &said) ||
		    !hash_equal(&said.id, &id))
			continue;
		if (said.end == CALLS_PAY_SKIPPED && said.why == CALLS_PAY_ENDED)
			return ERR_NOT_FOUND;
		if (said.end == CALLS_PAID && (!address_equal(&said.to, &item->to) || !u256_equal(&said.amount, &amount) || !transfer_before(p, r, i, item, &end.log)))
			return ERR_UNPROCESSABLE;
		if (said.end == CALLS_PAY_REFUSED)
			end.reason = "the token refuses this receiver";
		end.end = said.end == CALLS_PAID ? PAYOUT_PAID : said.end == CALLS_PAY_REFUSED ? PAYOUT_RETURNED : PAYOUT_AGAIN;
		*ret = end;
		return ERR_OK;
	}
	if (r->ok)
		return ERR_UNPROCESSABLE;
	*ret = end; /* it reverted as a whole */
	return ERR_OK;
}

/* Another transaction of ours ended it before: the contract knows in which block. */
static enum err find_end(const struct payouts_config *p, const struct payout_item *item, struct payout_end *ret)
{
	const struct settler_config *c = &p->sender;
	struct hash topics[2] = { CALLS_PAYOUTS_PAID, payouts_id(&item->id) }, tx;
	struct buf call = BUF_INIT(64), answer = BUF_INIT(128);
	struct chain_receipt r;
	uint64_t block = 0;
	bool ended = false;
	enum err e = calls_payouts_end_of(&topics[1], &call);

	if (!e)
		e = ask(c->chain, &c->contract, &call, UINT64_MAX, &answer);
	if (!e && (calls_read_end_of(answer.data, answer.len, &ended, &block) || !ended))
		e = ERR_CHAIN_DOWN;
	if (!e)
		e = chain_log_tx(c->chain, &c->contract, topics, block, &tx);
	if (!e)
		e = chain_receipt(c->chain, &tx, &r);
	if (!e) {
		e = chain_receipt_check(c->chain, &r, &c->contract);
		if (!e)
			e = payouts_read_end(p, &r, item, ret);
		chain_receipt_done(&r);
	}
	buf_done(&call);
	buf_done(&answer);
	return e == ERR_NOT_FOUND || e == ERR_CONFLICT ? ERR_CHAIN_DOWN : e;
}

/* The receipt of the form that was mined in the block the transaction is known to be in, when the chain's logs say the same. */
static enum err mined_receipt(const struct settler_config *c, struct db *db, const struct open_tx *t, struct chain_receipt *ret)
{
	enum err e = settler_receipt(c, db, t, ret);

	if (e)
		return e == ERR_NOT_FOUND ? ERR_CHAIN_DOWN : e;
	e = hash_equal(&ret->block, &t->block_hash) ? chain_receipt_check(c->chain, ret, &c->contract) : ERR_CONFLICT;
	if (!e)
		return ERR_OK;
	chain_receipt_done(ret);
	if (e == ERR_CONFLICT)
		c->log("endpoint_contradicts_itself", (int64_t)t->block_number, "a payout waits until receipt and chain agree");
	return e == ERR_NOT_FOUND || e == ERR_CONFLICT ? ERR_CHAIN_DOWN : e;
}

/* It stays: only now the books move. */
static enum err final(const struct settler_config *c, struct db *db, const struct open_tx *t)
{
	const struct payouts_config *p = config_of(c);
	struct payout_item items[PAYOUTS_BATCH_MAX];
	struct payout_end ends[PAYOUTS_BATCH_MAX];
	size_t count = 0, ended = 0, by_end[3] = { 0 };
	struct chain_receipt r;
	enum err e = db_payouts_of_tx(db, t->id, items, PAYOUTS_BATCH_MAX, &count);

	if (!e)
		e = mined_receipt(c, db, t, &r);
	if (e)
		return e;
	for (size_t i = 0; !e && i < count; i++) {
		e = payouts_read_end(p, &r, &items[i], &ends[ended]);
		if (e == ERR_NOT_FOUND)
			e = find_end(p, &items[i], &ends[ended]);
		if (!e)
			by_end[ends[ended++].end]++;
		if (e == ERR_UNPROCESSABLE) { /* stays in flight, where reconciliation counts it, until somebody has looked */
			c->log("payout_unproven", 0, uuid_format(&items[i].id).s);
			e = ERR_OK;
		}
	}
	FAULT(payout_ending);
	if (!e)
		e = db_payouts_final(db, t->id, ends, ended);
	FAULT(payout_ended);
	chain_receipt_done(&r);
	if (!e && by_end[PAYOUT_PAID] > 0)
		c->log("payouts_paid", (int64_t)by_end[PAYOUT_PAID], "");
	if (!e && by_end[PAYOUT_RETURNED] > 0)
		c->log("payouts_returned", (int64_t)by_end[PAYOUT_RETURNED], "the token refused the receiver");
	if (!e && by_end[PAYOUT_AGAIN] > 0)
		c->log("payouts_again", (int64_t)by_end[PAYOUT_AGAIN], "the contract did not try them");
	return e;
}

const struct settler_work PAYOUTS_WORK = { .begin = begin, .mined = mined, .waiting = waiting, .final = final };

/* ---- the thread ---- */

static enum err take_turn(const void *config, struct db *db, bool *ret_busy)
{
	return settler_turn(config, db, ret_busy);
}

struct turns *payouts_start(const struct payouts_config *config)
{
	const struct turns_config turns = { .database_url = config->sender.database_url, .poll_ms = config->sender.poll_ms, .busy_ms = BUSY_POLL_MS, .turn = take_turn,
					    .log = config->sender.log, .name = "payouts" };

	return turns_start(&turns, config, sizeof(*config));
}
