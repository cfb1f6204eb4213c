/* The extensions of x402 that a 402 declares: how to call the route (bazaar), the client's own id for a payment (payment-identifier),
 * approvals whose gas we pay (eip2612GasSponsoring, erc20ApprovalGasSponsoring). The same values give the same bytes. sign-in-with-x,
 * whose challenge changes with the time, is x402_siwx.h. Called by handlers; pure functions. */
#ifndef OPGATE_PAY_X402_EXTENSIONS_H
#define OPGATE_PAY_X402_EXTENSIONS_H

#include <jansson.h>
#include <stdbool.h>

#include "pay/x402_payload.h"

#define X402_BAZAAR "bazaar"
#define X402_IDENTIFIER "payment-identifier"
#define X402_SIWX "sign-in-with-x"
#define X402_EIP2612 "eip2612GasSponsoring"
#define X402_ERC20_APPROVAL "erc20ApprovalGasSponsoring"

enum x402_call { X402_CALL_CHAT, X402_CALL_COMPLETIONS, X402_CALL_TENSORS }; /* what a paid route speaks */

struct x402_declared {
	enum x402_call call;
	const char *model;        /* in the example of a body */
	bool identifier_required; /* a payment without an id is refused */
	bool permits, approvals;  /* for which we pay the gas: by EIP-2612, by a transaction */
	struct hash request;      /* whose challenge (x402_siwx.h) */
};
/* {key: {info, schema}, …}; new reference. */
json_t *x402_extensions_json(const struct x402_declared *d);
/* Bytes of the example of a body, and the output it asks for (-1: as much as there is). */
size_t x402_example_size(const struct x402_declared *d, int64_t *ret_max_output);

/* The client's id for its payment. */
enum x402_identified {
	X402_ID_NONE,
	X402_ID_GIVEN,
	X402_ID_MALFORMED, /* it counts on something we could not keep */
};
enum x402_identified x402_identifier_read(const struct x402_payment *p, const char **ret_id); /* borrowed from the payment */

#endif
