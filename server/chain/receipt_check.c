/* A receipt held against its block and the block's logs: what one endpoint says in one place it must say in the others. Endpoints
 * behind a load balancer mix what they know, and caches outlive reorganisations. See send.h. Called by the settler; no locks. */
#include <string.h>

#include "base/mem.h"
#include "chain/rpc.h"
#include "chain/send.h"

static enum err contradiction(const char *words)
{
	enum err e = rpc_refuse("%s", words);

	return e ? ERR_CONFLICT : e;
}

static enum err check_block(const json_t *block, const struct chain_receipt *r)
{
	const json_t *list = json_object_get(block, "transactions");
	struct hash got;
	size_t i;
	const json_t *one;
	enum err e = rpc_read_hash(json_object_get(block, "hash"), "block hash", &got);

	if (e)
		return e;
	if (!hash_equal(&got, &r->block))
		return ERR_NOT_FOUND;
	if (!json_is_array(list))
		return rpc_refuse("a block has no list of transactions");
	json_array_foreach(list, i, one) {
		e = rpc_read_hash(one, "a transaction of a block", &got);
		if (e || hash_equal(&got, &r->tx))
			return e;
	}
	return contradiction("a receipt names a block that does not hold its transaction");
}

/* The block's log against the receipt's next one of the same contract. */
static enum err check_log(const json_t *j, const struct rpc_log *l, const struct chain_receipt *r, size_t *next)
{
	_cleanup_buf_ struct buf data = BUF_INIT(RPC_ANSWER_MAX);
	const struct chain_log *own;
	enum err e = rpc_read_data(json_object_get(j, "data"), "a log's data", &data);

	if (e)
		return e;
	while (*next < r->log_count && !address_equal(&r->logs[*next].address, &l->address))
		++*next;
	if (*next == r->log_count)
		return contradiction("a block has logs of a transaction that its receipt has not");
	own = &r->logs[(*next)++];
	if (own->topic_count != l->topic_count || memcmp(own->topics, l->topics, l->topic_count * sizeof(struct hash)) != 0 || own->data_len != data.len ||
	    (data.len && memcmp(own->data, data.data, data.len) != 0))
		return contradiction("the logs of a block and of a receipt differ");
	return ERR_OK;
}

static enum err check_logs(const json_t *logs, const struct chain_receipt *r, const struct address *contract)
{
	size_t next = 0, i;
	const json_t *j;

	if (!json_is_array(logs))
		return rpc_refuse("eth_getLogs answers no list");
	json_array_foreach(logs, i, j) {
		struct rpc_log l;
		enum err e = rpc_read_log(j, &l);

		if (!e && (!hash_equal(&l.block, &r->block) || !address_equal(&l.address, contract)))
			e = rpc_refuse("a log is not one asked for");
		if (!e && hash_equal(&l.tx, &r->tx))
			e = check_log(j, &l, r, &next);
		if (e)
			return e;
	}
	while (next < r->log_count && !address_equal(&r->logs[next].address, contract))
		next++;
	return next == r->log_count ? ERR_OK : contradiction("a receipt has logs that its block has not");
}

enum err chain_receipt_check(struct chain *c, const struct chain_receipt *r, const struct address *contract)
{
	struct rpc_question q[] = {
		{ .method = "eth_getBlockByNumber", .params = json_pack("[o, b]", rpc_quantity(r->block_number), 0) },
		{ .method = "eth_getLogs", .params = json_pack("[{s:s, s:s}]", "blockHash", hash_format(&r->block).s, "address", address_format(contract).s) },
	};
	enum err e;

	rpc_batch(c, q, 2);
	e = q[0].err;
	if (!e)
		e = json_is_null(q[0].result) ? ERR_NOT_FOUND : check_block(q[0].result, r);
	if (!e)
		e = q[1].err; /* a block that is gone has no logs: that was said above */
	if (!e)
		e = check_logs(q[1].result, r, contract);
	rpc_questions_done(q, 2);
	return e;
}
