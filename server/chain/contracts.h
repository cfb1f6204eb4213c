/* What our own contracts say about themselves: asked at the start, so that no money goes by a contract that was deployed for somebody
 * else, and no work is done that the key may not settle. */
#ifndef OPGATE_CHAIN_CONTRACTS_H
#define OPGATE_CHAIN_CONTRACTS_H

#include "chain/chain.h"

enum contract_names { CONTRACT_TOKEN, CONTRACT_SOURCE, CONTRACT_TREASURY };

/* Does it name this address as its token, …? What is no contract, or another one, does not. */
enum err contract_names(struct chain *c, const struct address *contract, enum contract_names what, const struct address *expected, bool *ret) WARN_UNUSED;
/* May this key call it (contracts/Callers.sol)? */
enum err contract_lets_call(struct chain *c, const struct address *contract, const struct address *key, bool *ret) WARN_UNUSED;

#endif
