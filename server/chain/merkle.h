/* Trees as OpenZeppelin's StandardMerkleTree makes them, over statements of what was answered: pairs are hashed in the order of their
 * values, leaves are hashed twice. And the calls of contracts/DataSettlement.sol that put a root, or one statement, on chain. Pure. */
#ifndef OPGATE_CHAIN_MERKLE_H
#define OPGATE_CHAIN_MERKLE_H

#include "base/buf.h"
#include "crypto/crypto.h"

/* (bytes32 signer, bytes32 inputHash, bytes32 outputHash, bytes signature, uint256 timestamp) */
struct merkle_statement {
	struct hash signer; /* an address in the low bytes */
	struct hash input_hash, output_hash;
	const void *signature;
	size_t signature_len;
	uint64_t timestamp; /* seconds */
};

#define MERKLE_LEAVES_MAX 1024

void merkle_leaf(const struct merkle_statement *s, struct hash *ret);
/* count: 1 to MERKLE_LEAVES_MAX. ret_tree has 2·count - 1 places: the root first, the leaves last and in falling order; ret_places: where
 * in it each statement's leaf is. */
void merkle_tree(const struct merkle_statement *statements, size_t count, struct hash *ret_tree, size_t *ret_places);
/* The tree as StandardMerkleTree.load reads it; the caller frees. */
char *merkle_dump(const struct merkle_statement *statements, size_t count, const struct hash *tree, const size_t *places);

/* blob: a name, as text. */
enum err merkle_batch_call(const struct hash *root, uint64_t size, const char *blob, struct buf *out) WARN_UNUSED;
enum err merkle_individual_call(const struct merkle_statement *s, const struct address *payer, const char *blob, struct buf *out) WARN_UNUSED;

#endif
