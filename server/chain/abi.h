/* The little of the contract ABI we speak: words of 32 bytes, two selectors, one event. Constant functions, no locks. */
#ifndef OPGATE_CHAIN_ABI_H
#define OPGATE_CHAIN_ABI_H

#include <stdbool.h>

#include "base/hex.h"

extern const struct hash ABI_TRANSFER_TOPIC; /* keccak256("Transfer(address,address,uint256)") */

#define ABI_BALANCE_OF_LEN (4 + 32)
void abi_balance_of(const struct address *owner, uint8_t ret[ABI_BALANCE_OF_LEN]);

void abi_word_from_address(const struct address *a, struct hash *ret);
bool abi_word_to_address(const struct hash *word, struct address *ret); /* false when the upper 12 bytes are not zero */

#endif
