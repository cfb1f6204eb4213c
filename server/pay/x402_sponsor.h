/* An approval for Permit2 that comes with a payment and whose gas we are asked to pay: an EIP-2612 permit (eip2612GasSponsoring), or a
 * signed transaction (erc20ApprovalGasSponsoring). Here it is read and checked as far as it goes without the chain, in the order and
 * with the words of the official facilitator, but stricter: what it signs is checked byte by byte. Called by x402.c; pure functions. */
#ifndef OPGATE_PAY_X402_SPONSOR_H
#define OPGATE_PAY_X402_SPONSOR_H

#include "chain/calls.h"
#include "chain/tx.h"
#include "pay/x402_payload.h"

#define X402_APPROVE_GAS_MAX 100000 /* official clients sign 70,000 */

enum x402_sponsored { X402_UNSPONSORED, X402_BY_PERMIT, X402_BY_APPROVAL };

struct x402_sponsor {
	enum x402_sponsored by;
	/* X402_BY_PERMIT */
	struct calls_permit permit;
	struct u256 nonce; /* the token's nonce it was signed for */
	bool key_signed;   /* by the payer's own key; if not, a wallet with code may still stand behind it */
	/* X402_BY_APPROVAL */
	uint8_t *raw; /* owned */
	size_t raw_len;
	struct tx tx; /* its data lies in raw */
	struct hash hash;
	struct u256 approved;
};

/* NULL: good so far, or there is none. Else the reason of the refusal; then nothing is to be released. */
const char *x402_sponsor_read(const struct x402_payment *p, const struct x402_offer *offer, const struct x402_auth *auth, int64_t now_s, struct x402_sponsor *ret);
void x402_sponsor_done(struct x402_sponsor *s);

#endif
