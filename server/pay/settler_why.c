/* After a settlement that moved nothing: what does the chain say about this authorization? Whoever sends a signed authorization
 * first, its money arrives all the same; so "used" is looked into before anything is called failed. See settler.h. */
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "chain/calls.h"
#include "pay/settler.h"

static enum err nonce_used(const struct settler_config *c, const struct settling *p, uint64_t at, bool *ret)
{
	bool eip3009 = !strcmp(p->method, "eip3009");
	struct buf call = BUF_INIT(256), answer = BUF_INIT(4096);
	struct u256 nonce = u256_from_be(p->nonce.b), word, value;
	uint8_t bit = 0;
	enum err e;

	calls_permit2_nonce_place(&nonce, &word, &bit);
	e = eip3009 ? calls_eip3009_state(&p->payer, &p->nonce, &call) : calls_permit2_nonce_bitmap(&p->payer, &word, &call);
	if (!e)
		e = chain_call(c->chain, eip3009 ? &c->token : &CALLS_PERMIT2, call.data, call.len, 100000, at, &answer);
	if (!e)
		e = calls_read_u256(answer.data, answer.len, &value);
	if (!e)
		*ret = eip3009 ? !u256_is_zero(&value) : calls_permit2_nonce_used(&value, bit);
	buf_done(&call);
	buf_done(&answer);
	return e == ERR_BAD_FIELD ? ERR_CHAIN_DOWN : e;
}

/* Of transactions that moved as much from the payer to the payee, those that used this very permit: the payee sells elsewhere, too. */
static enum err keep_users_of_permit(const struct settler_config *c, const struct settling *p, struct chain_arrival *found, size_t *count)
{
	uint8_t permit[SETTLER_PERMIT_LEN];
	size_t kept = 0;
	enum err e = *count > 0 ? settler_permit(c, p, permit) : ERR_OK;

	for (size_t i = 0; !e && i < *count; i++) {
		bool carries = false;

		e = chain_tx_carries(c->chain, &found[i].tx, permit, sizeof(permit), &carries);
		if (carries)
			found[kept++] = found[i];
	}
	*count = kept;
	return e;
}

/* Permit2 leaves no trace of a nonce: a transfer of exactly this amount since the claim will do, once; to ourselves any, because who paid us
 * has paid. *ret_shown: the chain has a log of what the authorization was used for, whatever that is. */
static enum err find_transfers(const struct settler_config *c, const struct settling *p, uint64_t at, struct chain_arrival *ret, size_t *ret_count, bool *ret_shown)
{
	const struct chain_payment what = { .token = c->token, .payer = p->payer, .to = settler_receiver(c, p), .amount = p->amount, .from_block = p->claim_block,
					    .to_block = at };
	enum err e;

	*ret_shown = false;
	if (strcmp(p->method, "eip3009") != 0) {
		e = chain_payment_logs(c->chain, &what, ret, CHAIN_PAYMENT_LOGS_MAX, ret_count);
		if (!e && p->facilitated)
			e = keep_users_of_permit(c, p, ret, ret_count);
		return e || *ret_count > 0 ? e : chain_permit2_invalidated(c->chain, &what, &p->nonce, ret_shown);
	}
	e = chain_authorization_tx(c->chain, &what, &p->nonce, &ret[0], ret_shown);
	*ret_count = !e;
	return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* The first of them that is nobody else's. A transaction of ours whose receipt is still to be read says itself what it paid for. */
static enum err take_transfer(struct db *db, const struct settling *p, const struct chain_arrival *found, size_t count, bool *ret_taken)
{
	bool wait = false;

	*ret_taken = false;
	for (size_t i = 0; i < count; i++) {
		enum transfer_of of = TRANSFER_CLAIMED;
		enum err e = db_transfer_of(db, &found[i].tx, found[i].log, &of);

		wait |= of == TRANSFER_OURS;
		if (!e && of == TRANSFER_OTHERS) {
			e = db_payment_arrived(db, &p->id, &found[i].tx, found[i].log);
			*ret_taken = !e;
			if (e != ERR_CONFLICT) /* another gateway was first with that one */
				return e;
		}
		if (e && e != ERR_CONFLICT)
			return e;
	}
	return wait ? ERR_CONFLICT : ERR_OK;
}

enum err settler_trace(const struct settler_config *c, struct db *db, const struct settling *p, uint64_t at, enum settler_seen *ret)
{
	bool used = false, taken = false, shown = false;
	struct chain_arrival found[CHAIN_PAYMENT_LOGS_MAX];
	size_t count = 0;
	enum err e = nonce_used(c, p, at, &used);

	if (!e && used)
		e = find_transfers(c, p, at, found, &count, &shown);
	if (!e)
		e = take_transfer(db, p, found, count, &taken);
	FAULT(settlement_found_out);
	if (!e)
		*ret = taken ? SETTLER_SETTLED : !used ? SETTLER_UNUSED : shown ? SETTLER_USED : SETTLER_UNSHOWN;
	return e;
}

enum err settler_find_out(const struct settler_config *c, struct db *db, const struct settling *p, uint64_t at, bool late, bool *ret_ended)
{
	enum settler_seen seen = SETTLER_UNUSED;
	enum err e = settler_trace(c, db, p, at, &seen);

	*ret_ended = !e && (late || seen != SETTLER_UNSHOWN);
	if (!*ret_ended || seen == SETTLER_SETTLED)
		return e;
	e = chain_check_id(c->chain, c->chain_id); /* what another chain says of this payment is nothing */
	if (!e)
		e = db_payment_failed(db, &p->id, settler_reason(c, p, seen != SETTLER_UNUSED));
	*ret_ended = !e;
	return e;
}
