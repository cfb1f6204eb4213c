/* Payouts on their way to the chain: the settler's machinery (settler.h) with a key and a nonce sequence of its own, many payouts in
 * one transaction through contracts/Payouts.sol. What is pending is sent while the treasury covers it; what the chain has is booked
 * only when it is final, so a reorganisation before that needs nothing undone. The contract remembers every id for ever: a payout that
 * we send twice is paid once. */
#ifndef OPGATE_PAY_PAYOUTS_H
#define OPGATE_PAY_PAYOUTS_H

#include <stdatomic.h>

#include "db/payouts.h"
#include "pay/settler.h"

#define PAYOUTS_BATCH_MAX 50 /* in one transaction */

struct payouts_config {
	struct settler_config sender; /* comes first; its contract is Payouts, its work PAYOUTS_WORK */
	struct address treasury;      /* whose tokens are paid out, by the allowance it gave the contract */
	struct amount minimum;        /* of any scheduled payout */
	atomic_bool *stopped;         /* the books do not hold: nothing new is signed */
};

extern const struct settler_work PAYOUTS_WORK;

struct turns *payouts_start(const struct payouts_config *config); /* kick it when there is one to pay */

/* The id of a payout on chain. */
struct hash payouts_id(const struct uuid *payout);
/* How a payout ended, by the receipt of the transaction it was in. ERR_NOT_FOUND: the contract found it ended before. ERR_UNPROCESSABLE:
 * the contract and the token contradict each other, or say nothing of it: it has not ended. */
enum err payouts_read_end(const struct payouts_config *p, const struct chain_receipt *r, const struct payout_item *item, struct payout_end *ret) WARN_UNUSED;
/* Picks those that `funds` covers, oldest first, to the front of `items`; a large one does not hold up the others. How many. */
size_t payouts_pick(struct payout_item *items, size_t count, struct amount funds);

/* All the contract has ever paid, at a block. */
enum err payouts_total(struct chain *chain, const struct address *contract, uint64_t at, struct amount *ret) WARN_UNUSED;

#endif
