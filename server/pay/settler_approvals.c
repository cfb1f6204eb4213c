/* Approvals of payers that we broadcast before we settle (erc20ApprovalGasSponsoring); see settler.h. One that is wanted is given the
 * coin it lacks by a transaction of ours, as any of them: nonce table, signed bytes written first. When that is mined it is written that
 * the approval may be on the wire, and it is sent until it is mined, its nonce is used by something else, or its time is over. A payer
 * who spends the coin elsewhere has stolen it: that it was given is counted before it is, so the budget bounds the loss. */
#include <stdlib.h>

#include "base/fault.h"
#include "db/approvals.h"
#include "pay/settler.h"

#define OPEN_MAX 32
#define RESEND_MS 4000
#define PATIENCE_MS 180000 /* the payment's own time is over not much later */
#define TOP_UP_GAS 21000

static enum err end(const struct settler_config *c, struct db *db, const struct approval_row *a, const char *why)
{
	if (why)
		c->log("approval_failed", (int64_t)a->nonce, why);
	return db_approval_end(db, &a->hash, why);
}

static enum err broadcast(const struct settler_config *c, struct db *db, const struct approval_row *a)
{
	enum err e = db_approval_send(db, &a->hash);

	FAULT(approval_sending);
	if (!e)
		settler_send(c, a->raw, a->raw_len);
	FAULT(approval_sent);
	return e;
}

static enum err give(const struct settler_config *c, struct db *db, const struct approval_row *a, struct amount missing)
{
	struct tx tx = { .to = a->payer, .gas = TOP_UP_GAS, .value = u256_from_amount(missing) };
	struct buf raw = BUF_INIT(TX_RAW_MAX);
	struct signed_tx signed_;
	enum err e = settler_sign(c, db, &tx, &raw, &signed_);

	if (!e)
		e = db_approval_fund(db, &a->hash, &signed_);
	FAULT(approval_funding);
	if (!e)
		settler_send(c, raw.data, raw.len);
	FAULT(approval_funded);
	buf_done(&raw);
	return e;
}

/* Exactly what is missing now, and never more than was set aside. */
static enum err fund(const struct settler_config *c, struct db *db, const struct approval_row *a)
{
	struct amount balance, cost, missing;
	struct address signer;
	struct hash hash;
	struct tx tx;
	enum err e = tx_parse_signed(a->raw, a->raw_len, &tx, &signer, &hash);

	if (!e)
		e = amount_mul(amount_from_u64(tx.max_fee), tx.gas, &cost);
	if (!e)
		e = chain_native_balance(c->chain, &a->payer, UINT64_MAX, &balance);
	if (e)
		return e;
	if (amount_sub(cost, balance, &missing) || amount_is_zero(missing))
		return broadcast(c, db, a);
	if (amount_cmp(missing, a->top_up) > 0)
		return end(c, db, a, "the payer spent the coin it had");
	return give(c, db, a, missing);
}

static enum err step(const struct settler_config *c, struct db *db, const struct approval_row *a)
{
	if (a->state == APPROVAL_WANTED)
		return fund(c, db, a);
	if (a->state == APPROVAL_SENT)
		return a->idle_ms < RESEND_MS ? ERR_OK : broadcast(c, db, a);
	if (a->funding == TOP_UP_REPLACED) /* lost, it seems; should it come all the same, a second one would be one too many */
		return end(c, db, a, "the coin could not be given");
	if (a->funding != TOP_UP_MINED)
		return ERR_OK;
	return a->funded ? broadcast(c, db, a) : end(c, db, a, "the coin was not accepted");
}

static enum err look_after(const struct settler_config *c, struct db *db, const struct approval_row *a)
{
	struct chain_receipt r;
	uint64_t used = 0;
	enum err e = chain_receipt(c->chain, &a->hash, &r);

	if (!e) {
		e = end(c, db, a, r.ok ? NULL : "erc20_approval_tx_failed");
		chain_receipt_done(&r);
		return e;
	}
	if (e == ERR_NOT_FOUND)
		e = chain_nonce(c->chain, &a->payer, CHAIN_LATEST, &used);
	if (e)
		return e;
	if (a->nonce < used)
		return a->state == APPROVAL_SENT && a->age_ms < c->patience_ms ? ERR_OK : end(c, db, a, "another transaction used its nonce");
	return a->age_ms > PATIENCE_MS ? end(c, db, a, "it was not mined in time") : step(c, db, a);
}

/* Their payments cannot be settled by us; has somebody else done it? */
static enum err give_up(const struct settler_config *c, struct db *db, uint64_t head)
{
	struct settling payments[SETTLER_BATCH_MAX];
	size_t count = 0;
	enum err e = db_payments_unapproved(db, payments, SETTLER_BATCH_MAX, &count);

	for (size_t i = 0; i < count; i++) {
		bool ended = false;
		enum err one = settler_find_out(c, db, &payments[i], head, true, &ended);

		if (ended)
			c->ended(c->arg, &payments[i].id, NULL, false);
		e = e ? e : one;
		json_decref(payments[i].payload);
	}
	return e;
}

enum err settler_approvals(const struct settler_config *c, struct db *db, uint64_t head, bool *ret_busy)
{
	struct approval_row open[OPEN_MAX];
	size_t count = 0;
	enum err e = db_approvals_open(db, c->chain_id, open, OPEN_MAX, &count);

	for (size_t i = 0; i < count; i++) {
		enum err one = look_after(c, db, &open[i]); /* one that cannot go on does not hold up the others */

		e = e ? e : one;
		free(open[i].raw);
	}
	*ret_busy = count > 0;
	return e ? e : give_up(c, db, head);
}
