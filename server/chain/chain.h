/* JSON-RPC client and ABI: values in, values out. Every call has a deadline; answers are bounded and checked strictly.
 * ERR_CHAIN_DOWN: no usable answer (transport, HTTP, JSON-RPC error, malformed); the words are in chain_error. */
#ifndef OPGATE_CHAIN_CHAIN_H
#define OPGATE_CHAIN_CHAIN_H

#include <stdbool.h>

#include "base/amount.h"
#include "base/hex.h"
#include "net/net.h"

struct chain; /* one RPC endpoint; usable from several threads */

struct chain *chain_new(struct net *net, const char *rpc_url, int64_t call_deadline_ms);
void chain_free(struct chain *c);
/* Words for the last error of this thread. */
const char *chain_error(void);

struct chain_block {
	uint64_t number;
	struct hash hash, parent;
	uint64_t timestamp; /* s */
};

enum err chain_id(struct chain *c, uint64_t *ret) WARN_UNUSED;
enum err chain_expect_id(uint64_t id, uint64_t expected) WARN_UNUSED; /* ERR_CHAIN_DOWN with words: another chain */
enum err chain_check_id(struct chain *c, uint64_t expected) WARN_UNUSED; /* ERR_CHAIN_DOWN: no answer, or another chain now */
enum err chain_client_version(struct chain *c, char ret[128]) WARN_UNUSED; /* web3_clientVersion */
enum err chain_head(struct chain *c, uint64_t *ret_number) WARN_UNUSED;
/* ERR_NOT_FOUND when the node has no such block. */
enum err chain_block_by_number(struct chain *c, uint64_t number, struct chain_block *ret) WARN_UNUSED;
enum err chain_block_latest(struct chain *c, struct chain_block *ret) WARN_UNUSED;

/* All that whoever sends transactions asks again and again, in one request. */
struct chain_look {
	uint64_t id;
	enum err head_err, nonce_err, fees_err; /* what follows is known, or the words are in chain_error() of who asked */
	struct chain_block head;
	uint64_t nonce;          /* of the sender, at about the head */
	uint64_t base, priority; /* fees: of the head, and what the endpoint suggests */
};
/* ERR_CHAIN_DOWN: not even which chain it is. */
enum err chain_look(struct chain *c, const struct address *sender, struct chain_look *ret) WARN_UNUSED;

/* What whoever follows the chain block by block asks, in one request: which chain, how far, its own last block and the one after it. */
struct chain_next {
	uint64_t id, head;
	enum err at_err, next_err; /* ERR_NOT_FOUND: the endpoint has none */
	struct chain_block at, next;
};
enum err chain_next(struct chain *c, uint64_t number, struct chain_next *ret) WARN_UNUSED;

struct chain_transfer { /* an ERC-20 Transfer log */
	struct hash tx, block;
	uint64_t block_number;
	uint32_t ordinal;  /* of the log inside its transaction's receipt: survives re-inclusion in another block */
	struct address from, to;
	uint8_t value_be[32];
};
/* Transfer(from, to == `to`, value) of `token` in exactly this block, by blockHash (an unknown block is an error, not an empty list).
 * Anonymous, removed, malformed or foreign logs are an error (the RPC lies), never skipped. The ordinal comes from the receipts.
 * Caller frees ret. */
enum err chain_transfers_in_block(struct chain *c, const struct address *token, const struct address *to, const struct hash *block,
				  struct chain_transfer **ret, size_t *ret_count) WARN_UNUSED;
/* The block `last`, and the first block from `from` to it that holds such a Transfer; last + 1: none does. ERR_NOT_FOUND: the endpoint has no
 * block `last`. Endpoints bound the range they answer for: after ERR_CHAIN_DOWN ask for fewer. */
enum err chain_first_transfer(struct chain *c, const struct address *token, const struct address *to, uint64_t from, uint64_t last, struct chain_block *ret_last,
			      uint64_t *ret_first) WARN_UNUSED;
/* balanceOf(owner) at a block number (or latest when at == UINT64_MAX). ERR_OVERFLOW above 2^127-1. */
enum err chain_token_balance(struct chain *c, const struct address *token, const struct address *owner, uint64_t at, struct amount *ret) WARN_UNUSED;
enum err chain_has_code(struct chain *c, const struct address *a, bool *ret) WARN_UNUSED;
/* eth_call with explicit gas; result bytes in `out`. */
enum err chain_call(struct chain *c, const struct address *to, const void *data, size_t len, uint64_t gas, uint64_t at, struct buf *out) WARN_UNUSED;

#endif
