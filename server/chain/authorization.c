/* Where a payment's money came from when our own transaction did not bring it: whoever sends a signed authorization first, the money
 * arrives all the same. Reads logs by ranges of blocks, because public endpoints refuse long ones. Called by the settler; no locks. */
#include <string.h>

#include "base/mem.h"
#include "chain/abi.h"
#include "chain/rpc.h"
#include "chain/send.h"
#include "crypto/crypto.h"

#define RANGE_BLOCKS 2000

static struct hash word_of(const struct address *a)
{
	struct hash h = { { 0 } };

	memcpy(h.b + 12, a->b, 20);
	return h;
}

static bool pays(const struct chain_log *l, const struct chain_payment *p)
{
	struct hash from = word_of(&p->payer), to = word_of(&p->to);
	uint8_t value[32];

	amount_to_be(p->amount, value);
	return address_equal(&l->address, &p->token) && l->topic_count == 3 && hash_equal(&l->topics[0], &ABI_TRANSFER_TOPIC) && hash_equal(&l->topics[1], &from) &&
	       hash_equal(&l->topics[2], &to) && l->data_len == 32 && !memcmp(l->data, value, 32);
}

bool chain_log_pays(const struct chain_log *log, const struct chain_payment *p)
{
	return pays(log, p);
}

/* Hashes of the transactions with a log of the token with these topics, in order, each once; at most `max`. */
static enum err transactions_read(const json_t *logs, const struct address *token, const struct hash topics[3], struct hash *ret, size_t max, size_t *count)
{
	struct rpc_log l;

	if (!json_is_array(logs))
		return rpc_refuse("eth_getLogs answers no list");
	for (size_t i = 0; i < json_array_size(logs) && *count < max; i++) {
		enum err e = rpc_read_log(json_array_get(logs, i), &l);

		if (e)
			return e;
		if (!address_equal(&l.address, token) || l.topic_count != 3 || memcmp(l.topics, topics, 3 * sizeof(struct hash)) != 0)
			return rpc_refuse("a log is not one asked for");
		if (*count == 0 || !hash_equal(&ret[*count - 1], &l.tx))
			ret[(*count)++] = l.tx;
	}
	return ERR_OK;
}

static enum err transactions_find(struct chain *c, const struct chain_payment *p, const struct hash topics[3], struct hash *ret, size_t max, size_t *ret_count)
{
	uint64_t head = 0;
	size_t count = 0;
	enum err e = chain_head(c, &head);

	for (uint64_t from = p->from_block < head ? p->from_block : head; !e && from <= head && count < max; from += RANGE_BLOCKS) {
		uint64_t to = head - from < RANGE_BLOCKS ? head : from + RANGE_BLOCKS - 1;
		_cleanup_json_ json_t *logs = NULL;

		e = rpc_call(c, "eth_getLogs", json_pack("[{s:o, s:o, s:s, s:[s, s, s]}]", "fromBlock", rpc_quantity(from), "toBlock", rpc_quantity(to), "address",
							 address_format(&p->token).s, "topics", hash_format(&topics[0]).s, hash_format(&topics[1]).s,
							 hash_format(&topics[2]).s), &logs);
		if (!e)
			e = transactions_read(logs, &p->token, topics, ret, max, &count);
	}
	if (!e)
		*ret_count = count;
	return e;
}

/* A receipt a log led to; one that is gone again is as if there had been no log. */
static enum err receipt_read(struct chain *c, const struct hash *tx, struct chain_receipt *ret)
{
	enum err e = chain_receipt(c, tx, ret);

	return e == ERR_NOT_FOUND ? rpc_refuse("a transaction with logs has no receipt") : e;
}

enum err chain_authorization_tx(struct chain *c, const struct chain_payment *p, const struct hash *nonce, struct chain_arrival *ret)
{
	static const char declaration[] = "AuthorizationUsed(address,bytes32)";
	struct hash topics[3] = { { { 0 } }, word_of(&p->payer), *nonce }, tx;
	struct chain_receipt r;
	size_t count = 0;
	enum err e;

	keccak256(declaration, sizeof(declaration) - 1, &topics[0]);
	e = transactions_find(c, p, topics, &tx, 1, &count);
	if (!e && count == 0)
		return ERR_NOT_FOUND;
	if (!e)
		e = receipt_read(c, &tx, &r);
	if (e)
		return e;
	e = ERR_NOT_FOUND;
	/* The transfer an authorization makes stands next to its own log: another payment's in the same transaction is not taken for it. */
	for (size_t i = 0; e && r.ok && i < r.log_count; i++) {
		const struct chain_log *l = &r.logs[i];
		size_t at;

		if (!address_equal(&l->address, &p->token) || l->topic_count != 3 || memcmp(l->topics, topics, sizeof(topics)) != 0)
			continue;
		at = i + 1 < r.log_count && pays(&r.logs[i + 1], p) ? i + 1 : i > 0 && pays(&r.logs[i - 1], p) ? i - 1 : i;
		if (at != i) {
			*ret = (struct chain_arrival){ .tx = tx, .log = (uint32_t)at };
			e = ERR_OK;
		}
	}
	chain_receipt_done(&r);
	return e;
}

enum err chain_payment_logs(struct chain *c, const struct chain_payment *p, struct chain_arrival *ret, size_t max, size_t *ret_count)
{
	const struct hash topics[3] = { ABI_TRANSFER_TOPIC, word_of(&p->payer), word_of(&p->to) };
	struct hash txs[CHAIN_PAYMENT_LOGS_MAX];
	size_t tx_count = 0, count = 0;
	enum err e = transactions_find(c, p, topics, txs, CHAIN_PAYMENT_LOGS_MAX, &tx_count);

	for (size_t i = 0; !e && i < tx_count; i++) {
		struct chain_receipt r;

		e = receipt_read(c, &txs[i], &r);
		if (e)
			break;
		for (size_t j = 0; r.ok && j < r.log_count && count < max; j++)
			if (pays(&r.logs[j], p))
				ret[count++] = (struct chain_arrival){ .tx = txs[i], .log = (uint32_t)j };
		chain_receipt_done(&r);
	}
	if (!e)
		*ret_count = count;
	return e;
}

enum err chain_log_tx(struct chain *c, const struct address *address, const struct hash topics[2], uint64_t block, struct hash *ret)
{
	_cleanup_json_ json_t *logs = NULL;
	struct rpc_log l;
	enum err e = rpc_call(c, "eth_getLogs", json_pack("[{s:o, s:o, s:s, s:[s, s]}]", "fromBlock", rpc_quantity(block), "toBlock", rpc_quantity(block), "address",
							  address_format(address).s, "topics", hash_format(&topics[0]).s, hash_format(&topics[1]).s), &logs);

	if (!e && !json_is_array(logs))
		e = rpc_refuse("eth_getLogs answers no list");
	if (!e && json_array_size(logs) == 0)
		return ERR_NOT_FOUND;
	if (!e)
		e = rpc_read_log(json_array_get(logs, 0), &l);
	if (!e && (!address_equal(&l.address, address) || l.topic_count < 2 || memcmp(l.topics, topics, 2 * sizeof(struct hash)) != 0 || l.block_number != block))
		e = rpc_refuse("a log is not one asked for");
	if (!e)
		*ret = l.tx;
	return e;
}
