/* What the chain says about an approval that comes with a payment, and what it would cost us; see x402.h. */
#include "pay/x402.h"

#define SETTLE_GAS 300000
#define PERMIT_GAS 50000  /* what a permit adds to a settlement, a fresh allowance included */
#define TOP_UP_GAS 21000  /* a transfer of coin to an account without code */

static enum err token_nonce(const struct x402 *x, const struct address *owner, struct u256 *ret)
{
	_cleanup_buf_ struct buf call = BUF_INIT(256), answer = BUF_INIT(4096);
	enum err e = calls_eip2612_nonces(owner, &call);

	if (!e)
		e = chain_call(x->chain, &x->token, call.data, call.len, SETTLE_GAS, UINT64_MAX, &answer);
	if (!e && calls_read_u256(answer.data, answer.len, ret))
		e = ERR_CHAIN_DOWN;
	return e;
}

enum err x402_token_permits(struct chain *chain, const struct address *token, bool *ret)
{
	const struct address anybody = { { 1 } };
	_cleanup_buf_ struct buf call = BUF_INIT(256), answer = BUF_INIT(4096);
	struct chain_message m = { .to = *token, .gas = SETTLE_GAS };
	struct u256 nonce;
	bool ok = false;
	enum err e = calls_eip2612_nonces(&anybody, &call);

	m.data = call.data;
	m.len = call.len;
	if (!e)
		e = chain_simulate(chain, &m, UINT64_MAX, &answer, &ok);
	if (!e)
		*ret = ok && calls_read_u256(answer.data, answer.len, &nonce) == ERR_OK;
	return e;
}

/* The settlement itself, as our contract would send it, on the chain as it is now. */
static enum err permit_simulate(const struct x402 *x, const struct x402_check *check, const struct x402_paid *paid, bool *ret_ok)
{
	const struct x402_auth *a = &paid->auth;
	const struct calls_x402 s = { .permit = { .token = a->token, .amount = a->value.v, .nonce = a->nonce.v, .deadline = a->valid_before.v }, .owner = a->from,
				      .upto = a->upto, .upto_amount = a->value.v, .upto_facilitator = a->facilitator, .to = a->to, .valid_after = a->valid_after.v,
				      .sig = check->signature, .sig_len = check->signature_len, .sponsored = &paid->sponsor.permit };
	_cleanup_buf_ struct buf call = BUF_INIT(8192), answer = BUF_INIT(4096);
	struct chain_message m = { .from = x->facilitator, .to = a->upto ? X402_UPTO_PROXY : X402_EXACT_PROXY, .gas = SETTLE_GAS };
	enum err e = calls_x402_settle(&s, &call);

	m.data = call.data;
	m.len = call.len;
	return e ? e : chain_simulate(x->chain, &m, UINT64_MAX, &answer, ret_ok);
}

/* A permit that is not good is as none: the payer is told to approve, as by the official facilitator. */
static enum err ask_permit(const struct x402 *x, const struct x402_check *check, struct x402_paid *paid, bool *ret_ok)
{
	const struct x402_sponsor *s = &paid->sponsor;
	struct u256 nonce;
	enum err e = ERR_OK;

	*ret_ok = false;
	if (!u256_equal(&s->permit.value, &paid->auth.value.v) || (!s->key_signed && !paid->payer_has_code))
		return ERR_OK;
	e = token_nonce(x, &paid->auth.from, &nonce);
	if (e || !u256_equal(&nonce, &s->nonce))
		return e;
	return permit_simulate(x, check, paid, ret_ok);
}

static enum err approve_simulate(const struct x402 *x, const struct x402_paid *paid, bool *ret_ok)
{
	const struct tx *tx = &paid->sponsor.tx;
	const struct chain_message m = { .from = paid->auth.from, .to = tx->to, .data = tx->data, .len = tx->data_len, .gas = tx->gas };
	_cleanup_buf_ struct buf answer = BUF_INIT(4096);

	return chain_simulate(x->chain, &m, UINT64_MAX, &answer, ret_ok);
}

/* What the payer lacks to have it mined: exactly that is what we would give. */
static enum err missing_coin(const struct x402 *x, const struct address *payer, const struct tx *tx, struct amount *ret)
{
	struct amount balance, cost;
	enum err e = amount_mul(amount_from_u64(tx->max_fee), tx->gas, &cost);

	if (!e)
		e = chain_native_balance(x->chain, payer, UINT64_MAX, &balance);
	if (!e && amount_sub(cost, balance, ret))
		*ret = AMOUNT_ZERO;
	return e;
}

static enum err ask_approval(const struct x402 *x, const struct chain_fees *fees, struct x402_paid *paid, bool *ret_ok)
{
	const struct tx *tx = &paid->sponsor.tx;
	const struct address *payer = &paid->auth.from;
	uint64_t mined = 0, waiting = 0;
	enum err e = ERR_OK;

	*ret_ok = false;
	/* A wallet with code could do anything with coin that it is sent; and too little a fee would be funded and never mined. */
	if (paid->payer_has_code || tx->max_fee > x->gas_caps.fee || tx->max_fee < fees->base)
		return ERR_OK;
	e = chain_nonce(x->chain, payer, CHAIN_LATEST, &mined);
	if (!e)
		e = chain_nonce(x->chain, payer, CHAIN_PENDING, &waiting);
	if (e || tx->nonce != mined || tx->nonce != waiting)
		return e;
	e = approve_simulate(x, paid, ret_ok);
	return e || !*ret_ok ? e : missing_coin(x, payer, tx, &paid->gas.top_up);
}

enum err x402_sponsor_ask(const struct x402 *x, const struct x402_check *check, struct x402_paid *paid, const char **ret_reason)
{
	bool approval = paid->sponsor.by == X402_BY_APPROVAL, ok = false;
	struct chain_fees fees;
	struct amount gas = AMOUNT_ZERO;
	enum err e = chain_fees(x->chain, &x->gas_caps, &fees);

	if (!e)
		e = approval ? ask_approval(x, &fees, paid, &ok) : ask_permit(x, check, paid, &ok);
	if (e)
		return e;
	if (!ok) {
		*ret_reason = approval ? "erc20_approval_tx_failed" : "permit2_allowance_required";
		return ERR_OK;
	}
	if (!approval || !amount_is_zero(paid->gas.top_up)) /* twice: it may have to be sent again for more */
		e = amount_mul(amount_from_u64(fees.fee), 2 * (approval ? TOP_UP_GAS : PERMIT_GAS), &gas);
	if (!e)
		e = amount_add(gas, paid->gas.top_up, &paid->gas.wei);
	if (e)
		return e;
	paid->gas.payer_max = x->sponsor_payer_max;
	paid->gas.all_max = x->sponsor_all_max;
	if (approval) {
		uint8_t all[32];

		u256_to_be(&paid->sponsor.approved, all);
		paid->gas.raw = paid->sponsor.raw;
		paid->gas.raw_len = paid->sponsor.raw_len;
		paid->gas.hash = paid->sponsor.hash;
		paid->gas.nonce = paid->sponsor.tx.nonce;
		paid->gas.unlimited = true;
		for (size_t i = 0; i < sizeof(all); i++)
			paid->gas.unlimited &= all[i] == 0xff;
	}
	paid->sponsored = true;
	return ERR_OK;
}
