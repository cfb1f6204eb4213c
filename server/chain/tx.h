/* EIP-1559 transactions (type 2): ours are signed here, a buyer's signed approval is read here. Pure, no locks. */
#ifndef OPGATE_CHAIN_TX_H
#define OPGATE_CHAIN_TX_H

#include "base/buf.h"
#include "base/u256.h"
#include "crypto/crypto.h"

#define TX_RAW_MAX ((size_t)128 << 10) /* what pools accept of one transaction */

struct tx {
	uint64_t chain_id, nonce;
	uint64_t max_priority_fee, max_fee; /* wei for a unit of gas */
	uint64_t gas;
	struct address to; /* never a creation */
	struct u256 value;
	const uint8_t *data; /* borrowed */
	size_t data_len;
};

/* Appends the raw transaction to `raw`; the same transaction and key always give the same bytes. ERR_BAD_FIELD when the
 * priority fee is above the whole fee, ERR_LIMIT past the buffer's maximum or TX_RAW_MAX: then nothing was appended. */
enum err tx_sign(const struct tx *tx, const struct secret_key *key, struct buf *raw, struct hash *ret_hash) WARN_UNUSED;

/* Strict: type 2, canonical, low s, an empty access list, a recipient, fees below 2^64, no bytes behind it. ret_tx->data lies
 * in raw. ERR_BAD_FIELD, ERR_BAD_SIGNATURE. */
enum err tx_parse_signed(const void *raw, size_t len, struct tx *ret_tx, struct address *ret_sender, struct hash *ret_hash) WARN_UNUSED;

#endif
