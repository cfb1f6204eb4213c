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

/* Permit2 leaves no trace of a nonce: any transfer of exactly this amount since the claim will do, once. */
static enum err find_transfers(const struct settler_config *c, const struct settling *p, struct chain_arrival *ret, size_t *ret_count)
{
	const struct chain_payment what = { .token = c->token, .payer = p->payer, .to = c->pay_to, .amount = p->amount, .from_block = p->claim_block };
	enum err e;

	if (strcmp(p->method, "eip3009") != 0)
		return chain_payment_logs(c->chain, &what, ret, CHAIN_PAYMENT_LOGS_MAX, ret_count);
	e = chain_authorization_tx(c->chain, &what, &p->nonce, &ret[0]);
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

enum err settler_find_out(const struct settler_config *c, struct db *db, const struct settling *p, uint64_t at)
{
	bool used = false, taken = false;
	struct chain_arrival found[CHAIN_PAYMENT_LOGS_MAX];
	size_t count = 0;
	enum err e = nonce_used(c, p, at, &used);

	if (!e && used)
		e = find_transfers(c, p, found, &count);
	if (!e)
		e = take_transfer(db, p, found, count, &taken);
	FAULT(settlement_found_out);
	if (!e && !taken)
		e = chain_check_id(c->chain, c->chain_id); /* what another chain says of this payment is nothing */
	if (e || taken)
		return e;
	/* Never used; or used for nothing that came here: cancelled, or signed again for somebody else. */
	return db_payment_failed(db, &p->id, settler_reason(c, p, used));
}
