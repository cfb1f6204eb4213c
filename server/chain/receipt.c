/* What became of a transaction: its receipt, and what it called with. See send.h. Called by the settler; no locks. Whatever does not
 * fit together in an answer makes the whole of it worthless. */
#include "chain/send.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "chain/rpc.h"

/* One log, its data behind what is in `bytes`; data_len is set, data not yet. */
static enum err log_read(const json_t *j, const struct chain_receipt *r, uint64_t *last_index, struct buf *bytes, struct chain_log *ret)
{
	struct rpc_log l = { 0 };
	enum err e = rpc_read_log(j, &l);
	if (e)
		return e;
	if (!hash_equal(&l.tx, &r->tx) || !hash_equal(&l.block, &r->block) || l.block_number != r->block_number)
		return rpc_refuse("a receipt holds a log of another transaction or block");
	if (*last_index != UINT64_MAX && l.index <= *last_index)
		return rpc_refuse("the logs of a receipt are not in order");
	*last_index = l.index;
	size_t from = bytes->len;
	e = rpc_read_data(l.data, "a log's data", bytes);
	if (e)
		return e;
	ret->address = l.address;
	memcpy(ret->topics, l.topics, sizeof(ret->topics));
	ret->topic_count = l.topic_count;
	ret->data_len = bytes->len - from;
	return ERR_OK;
}

static enum err logs_read(const json_t *logs, struct chain_receipt *r)
{
	size_t count = json_array_size(logs);
	if (!json_is_array(logs) || count > CHAIN_RECEIPT_LOGS_MAX)
		return rpc_refuse("a receipt has no list of logs, or too long a one");
	if (count && !r->ok)
		return rpc_refuse("a failed transaction has logs");
	_cleanup_free_ struct chain_log *list = xcalloc(count, sizeof(*list));
	_cleanup_buf_ struct buf bytes = BUF_INIT(RPC_ANSWER_MAX);
	uint64_t last_index = UINT64_MAX;
	enum err e = ERR_OK;
	for (size_t i = 0; i < count && !e; i++)
		e = log_read(json_array_get(logs, i), r, &last_index, &bytes, &list[i]);
	if (e)
		return e;
	r->bytes = (uint8_t *)buf_steal(&bytes);
	size_t at = 0;
	for (size_t i = 0; i < count; i++) {
		list[i].data = r->bytes + at;
		at += list[i].data_len;
	}
	r->logs = list;
	r->log_count = count;
	list = NULL;
	return ERR_OK;
}

static enum err receipt_read(const json_t *j, const struct hash *tx, struct chain_receipt *r)
{
	uint64_t status = 2;
	const json_t *to = json_object_get(j, "to");
	enum err e = rpc_read_hash(json_object_get(j, "transactionHash"), "a receipt's transaction", &r->tx);
	if (!e && !hash_equal(&r->tx, tx))
		e = rpc_refuse("a receipt is of another transaction");
	if (!e)
		e = rpc_read_hash(json_object_get(j, "blockHash"), "a receipt's block", &r->block);
	if (!e)
		e = rpc_read_quantity(json_object_get(j, "blockNumber"), "a receipt's block number", &r->block_number);
	if (!e)
		e = rpc_read_quantity(json_object_get(j, "status"), "a receipt's status", &status);
	if (!e && status > 1)
		e = rpc_refuse("a receipt's status is neither 0 nor 1");
	if (!e)
		e = rpc_read_address(json_object_get(j, "from"), "a receipt's sender", &r->from);
	if (!e && to && !json_is_null(to))
		e = rpc_read_address(to, "a receipt's recipient", &r->to);
	if (!e)
		e = rpc_read_quantity(json_object_get(j, "gasUsed"), "a receipt's gas", &r->gas_used);
	if (!e)
		e = rpc_read_quantity(json_object_get(j, "effectiveGasPrice"), "a receipt's gas price", &r->gas_price);
	r->ok = status == 1;
	return e ? e : logs_read(json_object_get(j, "logs"), r);
}

enum err chain_receipt(struct chain *c, const struct hash *tx, struct chain_receipt *ret)
{
	_cleanup_json_ json_t *j = NULL;
	enum err e = rpc_call(c, "eth_getTransactionReceipt", json_pack("[s]", hash_format(tx).s), &j);
	if (e)
		return e;
	if (json_is_null(j))
		return ERR_NOT_FOUND;
	struct chain_receipt r = { 0 };
	e = receipt_read(j, tx, &r);
	if (!e)
		*ret = r;
	return e;
}

void chain_receipt_done(struct chain_receipt *r)
{
	free(r->logs);
	free(r->bytes);
	*r = (struct chain_receipt){ 0 };
}

enum err chain_tx_carries(struct chain *c, const struct hash *tx, const void *bytes, size_t len, bool *ret)
{
	_cleanup_json_ json_t *j = NULL;
	_cleanup_buf_ struct buf input = BUF_INIT(RPC_ANSWER_MAX);
	struct hash got;
	enum err e = rpc_call(c, "eth_getTransactionByHash", json_pack("[s]", hash_format(tx).s), &j);

	if (!e && json_is_null(j))
		e = rpc_refuse("a transaction with logs is not known");
	if (!e)
		e = rpc_read_hash(json_object_get(j, "hash"), "a transaction's hash", &got);
	if (!e && !hash_equal(&got, tx))
		e = rpc_refuse("asked for a transaction by hash, got another");
	if (!e)
		e = rpc_read_data(json_object_get(j, "input"), "a transaction's input", &input);
	if (!e)
		*ret = input.len >= len && memmem(input.data, input.len, bytes, len);
	return e;
}
