/* All that moved to or from some addresses in a range of blocks, by the chain's own logs: for reconciliation, which trusts nothing
 * we wrote down. As in chain.h: doubt is an error, deadlines are the chain's, no locks. */
#ifndef OPGATE_CHAIN_MOVEMENTS_H
#define OPGATE_CHAIN_MOVEMENTS_H

#include "base/u256.h"
#include "chain/chain.h"
#include "chain/send.h"

#define MOVEMENT_ADDRESSES_MAX 4

struct movements_filter {
	struct address token;
	struct address ours[MOVEMENT_ADDRESSES_MAX];
	size_t ours_count;
	struct address settler; /* contracts/Settler.sol, whose words about items are read; zero: none */
};

struct chain_movement { /* one Transfer */
	struct hash tx, block;
	uint64_t block_number;
	uint32_t ordinal; /* of the log in its receipt */
	struct address from, to;
	struct u256 value;
	bool has_ref; /* our Settler said it made this transfer for `ref` */
	struct hash ref;
	bool has_nonce; /* an EIP-3009 authorization of `from` was used for it */
	struct hash nonce;
};

/* Blocks first to last, in the order of the chain, and the block `last`; ERR_NOT_FOUND: the endpoint has no such block (yet). Endpoints
 * bound what they answer: after ERR_CHAIN_DOWN ask for fewer blocks. Caller frees ret. */
enum err chain_movements(struct chain *c, const struct movements_filter *f, uint64_t first, uint64_t last, struct chain_block *ret_last, struct chain_movement **ret,
			 size_t *ret_count) WARN_UNUSED;
/* The same of one receipt. Caller frees ret. */
void chain_movements_of(const struct movements_filter *f, const struct chain_receipt *r, struct chain_movement **ret, size_t *ret_count);

#endif
