/* Deposits by signature: our settling key sends them through contracts/Depositor.sol and pays the gas. Called by the API (check, open) and
 * by the settler's turn (sponsor_new): one sender for each key, one nonce table. Credited by the watcher like any transfer. */
#ifndef OPGATE_PAY_SPONSOR_H
#define OPGATE_PAY_SPONSOR_H

#include "pay/settler.h"

#define SPONSOR_GAS 300000 /* Permit2 needs 120,000; a wallet's own check of a signature comes on top */

struct sponsor_request {
	const struct address *owner;
	bool permit2;
	struct amount amount;
	struct u256 nonce; /* permit2; of permit the token says it */
	int64_t deadline;  /* s */
	const uint8_t *signature;
	size_t signature_len;
};
/* The call, and whether the chain would run it now; gas_cost: the most it can cost. ret_nonce is the signature's.
 * ERR_UNPROCESSABLE: it would revert. ERR_BAD_FIELD: a signature that cannot be one. ERR_LIMIT: gas is too dear now. */
enum err sponsor_prepare(struct chain *chain, const struct address *token, const struct address *depositor, const struct address *sender,
			 const struct chain_fee_caps *caps, const struct sponsor_request *r, struct buf *call, struct hash *ret_nonce, struct amount *ret_gas_cost) WARN_UNUSED;

/* Sends the oldest that waits. *begun counts up when one was sent. */
enum err sponsor_new(const struct settler_config *c, struct db *db, size_t *begun) WARN_UNUSED;

#endif
