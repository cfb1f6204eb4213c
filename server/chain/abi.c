/* ABI words, see abi.h. Called by chain/ only. */
#include "chain/abi.h"

#include <string.h>

const struct hash ABI_TRANSFER_TOPIC = { { 0xdd, 0xf2, 0x52, 0xad, 0x1b, 0xe2, 0xc8, 0x9b, 0x69, 0xc2, 0xb0, 0x68, 0xfc, 0x37, 0x8d, 0xaa,
					   0x95, 0x2b, 0xa7, 0xf1, 0x63, 0xc4, 0xa1, 0x16, 0x28, 0xf5, 0x5a, 0x4d, 0xf5, 0x23, 0xb3, 0xef } };

/* keccak256("balanceOf(address)"), first four bytes */
static const uint8_t BALANCE_OF[4] = { 0x70, 0xa0, 0x82, 0x31 };

void abi_word_from_address(const struct address *a, struct hash *ret)
{
	memset(ret->b, 0, 12);
	memcpy(ret->b + 12, a->b, sizeof(a->b));
}

bool abi_word_to_address(const struct hash *word, struct address *ret)
{
	static const uint8_t zero[12];
	if (memcmp(word->b, zero, sizeof(zero)) != 0)
		return false;
	memcpy(ret->b, word->b + 12, sizeof(ret->b));
	return true;
}

void abi_balance_of(const struct address *owner, uint8_t ret[ABI_BALANCE_OF_LEN])
{
	struct hash word;
	abi_word_from_address(owner, &word);
	memcpy(ret, BALANCE_OF, sizeof(BALANCE_OF));
	memcpy(ret + sizeof(BALANCE_OF), word.b, sizeof(word.b));
}
