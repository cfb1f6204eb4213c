/* Signatures of wallets, also of those with code, which say themselves what they signed (ERC-1271). */
#ifndef OPGATE_CHAIN_WALLET_H
#define OPGATE_CHAIN_WALLET_H

#include "chain/chain.h"

#define WALLET_SIGNATURE_MAX 2048 /* bytes: a contract's may be several keys'; more fits into no settlement */
#define WALLET_STATEMENT_GAS 1000000 /* for a statement nobody pays gas for */

/* "0x" and an even number of hex digits. ERR_BAD_FIELD. */
enum err wallet_signature_read(const char *hex, uint8_t bytes[WALLET_SIGNATURE_MAX], size_t *ret_len) WARN_UNUSED;
/* Does the wallet call this its signature of the digest? One without code does not. ERR_CHAIN_DOWN: that was not learned. */
enum err wallet_accepts(struct chain *c, const struct address *wallet, const struct hash *digest, const void *signature, size_t len, uint64_t gas, bool *ret) WARN_UNUSED;

#endif
