/* In whose words a payment failed: the official servers', from what the chain says now. Only words: that it failed is known before, and
 * a chain that does not answer makes them less exact. Called by settler_why.c. No locks. */
#include <string.h>
#include <time.h>

#include "chain/calls.h"
#include "pay/settler.h"

/* Is what the call answers less than the payment? */
static bool below(const struct settler_config *c, struct buf *call, const struct u256 *amount)
{
	struct buf answer = BUF_INIT(4096);
	struct u256 has;
	bool less = !chain_call(c->chain, &c->token, call->data, call->len, 100000, UINT64_MAX, &answer) && !calls_read_u256(answer.data, answer.len, &has) &&
		    u256_cmp(&has, amount) < 0;

	buf_done(call);
	buf_done(&answer);
	return less;
}

/* Its last second, or Permit2's deadline, is over. */
static bool is_over(const struct settling *p)
{
	const char *s = json_string_value(json_object_get(p->payload, "validBefore"));
	struct u256 end, now = u256_from_u64((uint64_t)time(NULL));

	return s && strlen(s) > 2 && !u256_parse(s + 2, strlen(s) - 2, 16, &end) && u256_cmp(&end, &now) <= 0;
}

const char *settler_reason(const struct settler_config *c, const struct settling *p, bool used)
{
	bool eip3009 = !strcmp(p->method, "eip3009");
	struct u256 amount = u256_from_amount(p->amount);
	struct buf balance = BUF_INIT(256), allowance = BUF_INIT(256);

	if (used)
		return eip3009 ? "invalid_exact_evm_nonce_already_used" : "permit2_simulation_failed";
	if (is_over(p))
		return eip3009 ? "invalid_exact_evm_payload_authorization_valid_before" : "permit2_deadline_expired";
	if (!calls_erc20_balance_of(&p->payer, &balance) && below(c, &balance, &amount))
		return eip3009 ? "invalid_exact_evm_insufficient_balance" : "permit2_insufficient_balance";
	if (!eip3009 && !calls_erc20_allowance(&p->payer, &CALLS_PERMIT2, &allowance) && below(c, &allowance, &amount))
		return "permit2_allowance_required";
	return eip3009 ? "invalid_exact_evm_transaction_failed" : "permit2_simulation_failed";
}
