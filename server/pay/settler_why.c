/* After a settlement that moved nothing: what does the chain say about this authorization? Whoever sends a signed authorization
 * first, its money arrives all the same; so "used" is looked into before anything is called failed. See settler.h. */
#include <stdlib.h>
#include <string.h>

#include "chain/calls.h"
#include "pay/settler.h"

static enum err nonce_used(const struct settler_config *c, const struct settling *p, bool *ret)
{
	bool eip3009 = !strcmp(p->method, "eip3009");
	struct buf call = BUF_INIT(256), answer = BUF_INIT(4096);
	struct u256 nonce = u256_from_be(p->nonce.b), word, value;
	uint8_t bit = 0;
	enum err e;

	calls_permit2_nonce_place(&nonce, &word, &bit);
	e = eip3009 ? calls_eip3009_state(&p->payer, &p->nonce, &call) : calls_permit2_nonce_bitmap(&p->payer, &word, &call);
	if (!e)
		e = chain_call(c->chain, eip3009 ? &c->token : &CALLS_PERMIT2, call.data, call.len, 100000, UINT64_MAX, &answer);
	if (!e)
		e = calls_read_u256(answer.data, answer.len, &value);
	if (!e)
		*ret = eip3009 ? !u256_is_zero(&value) : calls_permit2_nonce_used(&value, bit);
	buf_done(&call);
	buf_done(&answer);
	return e == ERR_BAD_FIELD ? ERR_CHAIN_DOWN : e;
}

enum err settler_find_out(const struct settler_config *c, struct db *db, const struct settling *p)
{
	bool eip3009 = !strcmp(p->method, "eip3009"), used = false;
	struct hash tx;
	enum err e = nonce_used(c, p, &used);

	if (e)
		return e;
	if (!used)
		return db_payment_failed(db, &p->id, eip3009 ? "invalid_exact_evm_transaction_failed" : "permit2_simulation_failed");
	if (!eip3009)
		return db_payment_failed(db, &p->id, "permit2_simulation_failed");
	e = chain_authorization_tx(c->chain, &c->token, &p->payer, &p->nonce, &c->pay_to, p->amount, &tx);
	if (e == ERR_NOT_FOUND) /* cancelled, or sent to somebody else */
		return db_payment_failed(db, &p->id, "invalid_exact_evm_nonce_already_used");
	return e ? e : db_payment_arrived(db, &p->id, &tx);
}
