/* See sponsor.h. No locks. */
#include "pay/sponsor.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "chain/calls.h"
#include "db/sponsored.h"

static enum err token_nonce(struct chain *chain, const struct address *token, const struct address *owner, struct u256 *ret)
{
	struct buf call = BUF_INIT(64), answer = BUF_INIT(64);
	enum err e = calls_eip2612_nonces(owner, &call);

	if (!e)
		e = chain_call(chain, token, call.data, call.len, 100000, UINT64_MAX, &answer);
	if (!e)
		e = calls_read_u256(answer.data, answer.len, ret);
	buf_done(&call);
	buf_done(&answer);
	return e == ERR_BAD_FIELD ? ERR_CHAIN_DOWN : e;
}

static enum err write_call(const struct address *token, const struct sponsor_request *r, struct buf *call)
{
	struct u256 amount = u256_from_amount(r->amount), deadline = u256_from_u64((uint64_t)r->deadline);

	if (r->permit2) {
		const struct calls_permit2 p = { .token = *token, .amount = amount, .nonce = r->nonce, .deadline = deadline };

		return calls_deposit_permit2(r->owner, &p, r->signature, r->signature_len, call);
	}
	struct calls_permit p = { .value = amount, .deadline = deadline };

	if (r->signature_len != sizeof(p.sig.b))
		return ERR_BAD_FIELD;
	memcpy(p.sig.b, r->signature, sizeof(p.sig.b));
	return calls_deposit_permit(r->owner, &p, call);
}

/* Would the chain run it? */
static enum err try_call(struct chain *chain, const struct address *sender, const struct address *depositor, const void *call, size_t len, bool *ret_ok)
{
	const struct chain_message m = { .from = *sender, .to = *depositor, .data = call, .len = len, .gas = SPONSOR_GAS };
	struct buf answer = BUF_INIT(4096);
	enum err e = chain_simulate(chain, &m, UINT64_MAX, &answer, ret_ok);

	buf_done(&answer);
	return e;
}

enum err sponsor_prepare(struct chain *chain, const struct address *token, const struct address *depositor, const struct address *sender,
			 const struct chain_fee_caps *caps, const struct sponsor_request *r, struct buf *call, struct hash *ret_nonce, struct amount *ret_gas_cost)
{
	struct u256 nonce = r->nonce;
	struct chain_fees fees;
	bool ok = false;
	enum err e = write_call(token, r, call);

	if (!e && !r->permit2)
		e = token_nonce(chain, token, r->owner, &nonce);
	if (!e)
		e = try_call(chain, sender, depositor, call->data, call->len, &ok);
	if (!e && !ok)
		e = ERR_UNPROCESSABLE;
	if (!e)
		e = chain_fees(chain, caps, &fees);
	if (!e && !fees.affordable)
		e = ERR_LIMIT;
	if (!e)
		e = amount_mul(amount_from_u64(fees.fee), SPONSOR_GAS, ret_gas_cost);
	if (!e)
		u256_to_be(&nonce, ret_nonce->b);
	return e;
}

/* ---- the settler's side ---- */

static enum err sign_and_send(const struct settler_config *c, struct db *db, const struct sponsored *s)
{
	struct buf raw = BUF_INIT(TX_RAW_MAX);
	struct tx tx = { .to = c->depositor, .gas = SPONSOR_GAS, .data = (const uint8_t *)s->call, .data_len = s->call_len };
	struct signed_tx signed_;
	enum err e = settler_sign(c, db, &tx, &raw, &signed_);

	if (!e)
		e = db_sponsored_write(db, &s->id, &signed_);
	FAULT(settlement_written);
	if (!e)
		settler_send(c, raw.data, raw.len);
	FAULT(settlement_sent);
	buf_done(&raw);
	return e;
}

/* It was good when it was asked for; what the owner did meanwhile must not cost us the gas of a failure. */
static enum err send_one(const struct settler_config *c, struct db *db, const struct sponsored *s, size_t *begun)
{
	bool ok = false;
	enum err e;

	if (s->valid_until <= clock_wall_ms() / 1000)
		return db_sponsored_fail(db, &s->id, "the signature expired before it was sent");
	e = try_call(c->chain, &c->from, &c->depositor, s->call, s->call_len, &ok);
	if (e)
		return e;
	if (!ok)
		return db_sponsored_fail(db, &s->id, "the chain would refuse it now: used, cancelled, or no funds");
	e = sign_and_send(c, db, s);
	*begun += e == ERR_OK;
	return e;
}

enum err sponsor_new(const struct settler_config *c, struct db *db, size_t *begun)
{
	struct sponsored s;
	enum err e;

	if (address_is_zero(&c->depositor) || c->view->agenda.stopped || !c->view->agenda.deposits)
		return ERR_OK;
	e = db_sponsored_next(db, c->chain_id, &s);
	if (e)
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	e = send_one(c, db, &s, begun);
	free(s.call);
	return e;
}
