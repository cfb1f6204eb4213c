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

/* Permit2 leaves no trace of a nonce: any transfer of exactly this amount since the claim will do, once. Our own transactions say
 * themselves what they paid for. */
static enum err find_arrivals(const struct settler_config *c, struct db *db, const struct settling *p, struct chain_arrival *ret, size_t *ret_count)
{
	const struct chain_payment what = { .token = c->token, .payer = p->payer, .to = *settler_receiver(c, p), .amount = p->amount, .from_block = p->claim_block };
	size_t found = 0, count = 0;
	enum err e;

	if (!strcmp(p->method, "eip3009")) {
		e = chain_authorization_tx(c->chain, &what, &p->nonce, &ret[0]);
		found = !e;
		e = e == ERR_NOT_FOUND ? ERR_OK : e;
	} else {
		e = chain_payment_logs(c->chain, &what, ret, CHAIN_PAYMENT_LOGS_MAX, &found);
	}
	for (size_t i = 0; !e && i < found; i++) {
		bool ours = false;

		e = db_settlement_ours(db, &ret[i].tx, &ours);
		if (!e && !ours)
			ret[count++] = ret[i];
	}
	if (!e)
		*ret_count = count;
	return e;
}

enum err settler_trace(const struct settler_config *c, struct db *db, const struct settling *p, enum settler_seen *ret)
{
	struct chain_arrival found[CHAIN_PAYMENT_LOGS_MAX];
	bool used = false;
	size_t count = 0;
	enum err e = nonce_used(c, p, &used);

	if (!e && used)
		e = find_arrivals(c, db, p, found, &count);
	if (e)
		return e;
	for (size_t i = 0; i < count; i++) {
		e = db_payment_arrived(db, &p->id, &found[i].tx, found[i].log);
		if (!e)
			*ret = SETTLER_SETTLED;
		if (e != ERR_CONFLICT) /* that transfer paid for another one */
			return e;
	}
	*ret = used ? SETTLER_USED : SETTLER_UNUSED;
	return ERR_OK;
}

enum err settler_find_out(const struct settler_config *c, struct db *db, const struct settling *p)
{
	enum settler_seen seen = SETTLER_UNUSED;
	enum err e = settler_trace(c, db, p, &seen);

	if (e || seen == SETTLER_SETTLED)
		return e;
	return db_payment_failed(db, &p->id, settler_reason(p, seen == SETTLER_USED));
}

const char *settler_reason(const struct settling *p, bool used)
{
	if (strcmp(p->method, "eip3009") != 0)
		return "permit2_simulation_failed";
	return used ? "invalid_exact_evm_nonce_already_used" : "invalid_exact_evm_transaction_failed";
}
