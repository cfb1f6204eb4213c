/* Two RPC endpoints of one chain, compared: only what both say is an answer. With one endpoint its word is the answer.
 * ERR_CHAIN_DOWN also when they disagree (the state says so); ERR_NOT_FOUND when one of them does not have it yet: an endpoint that
 * lags is waited for. Each user has a pair of its own, because the state is that of its last question; the state may be read by
 * other threads. */
#ifndef OPGATE_CHAIN_PAIR_H
#define OPGATE_CHAIN_PAIR_H

#include <stdatomic.h>

#include "chain/movements.h"

enum pair_state { PAIR_AGREE, PAIR_SECOND_BEHIND, PAIR_SECOND_DOWN, PAIR_DISAGREE };

struct chain_pair {
	struct chain *first, *second; /* second NULL: there is one */
	_Atomic int state;            /* enum pair_state */
	_Atomic uint64_t block;       /* which block that was about */
	uint64_t range, refused;      /* blocks to ask about at once, and what was too many; 0: not known yet */
	unsigned answered;            /* ranges since the last refusal */
};

const char *chain_pair_state_name(enum pair_state s);
/* Do both still answer for this chain? */
enum err chain_pair_check_id(struct chain_pair *p, uint64_t expected) WARN_UNUSED;
/* The same question, and the first's word on what follows block `number`; compare it by chain_pair_block. */
enum err chain_pair_next(struct chain_pair *p, uint64_t expected, uint64_t number, struct chain_next *ret) WARN_UNUSED;
enum err chain_pair_block(struct chain_pair *p, uint64_t number, struct chain_block *ret) WARN_UNUSED;
enum err chain_pair_transfers(struct chain_pair *p, const struct address *token, const struct address *to, const struct chain_block *block,
			      struct chain_transfer **ret, size_t *ret_count) WARN_UNUSED;
/* Of the blocks first to last, how far to ask at once: endpoints bound what they answer, so less after one refused (ERR_CHAIN_DOWN), more
 * again when they answer. Both below ask so. */
uint64_t chain_pair_range(const struct chain_pair *p, uint64_t first, uint64_t last);
/* The block `last`, and the first block from `from` to it with a transfer; last + 1: there is none. ERR_NOT_FOUND: no such block yet. */
enum err chain_pair_first_transfer(struct chain_pair *p, const struct address *token, const struct address *to, uint64_t from, uint64_t last,
				   struct chain_block *ret_last, uint64_t *ret_first) WARN_UNUSED;
enum err chain_pair_movements(struct chain_pair *p, const struct movements_filter *f, uint64_t first, uint64_t last, struct chain_block *ret_last,
			      struct chain_movement **ret, size_t *ret_count) WARN_UNUSED;
/* Is this block, which we saw at `number`, gone for both? `reached`: the chain is said to be that long, so that having no block there says
 * nothing (ERR_CHAIN_DOWN). ERR_NOT_FOUND: the second cannot say yet. */
enum err chain_pair_gone(struct chain_pair *p, uint64_t number, bool reached, const struct hash *hash, bool *ret) WARN_UNUSED;

#endif
