/* The token transfers to an address in one block. Called by the deposit watcher; no locks. An endpoint behind a load balancer
 * lags, forgets and mixes; so the block is asked for first, each log must be exactly what was asked for, and the receipts of
 * the transactions must tell the same story. Doubt is an error: the watcher asks again later. */
#include "chain/chain.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "chain/abi.h"
#include "chain/rpc.h"

struct filter {
	struct address token;
	struct hash to_word;
	struct hash block;
	uint64_t block_number;
};

struct found { /* a transfer and where in the block its log stands */
	struct chain_transfer transfer;
	uint64_t index;
};

static bool log_matches(const struct rpc_log *l, const struct filter *f)
{
	return address_equal(&l->address, &f->token) && l->topic_count >= 3 && hash_equal(&l->topics[0], &ABI_TRANSFER_TOPIC) &&
	       hash_equal(&l->topics[2], &f->to_word);
}

/* A log that must be one of ours, as a transfer (without its ordinal). */
static enum err transfer_read(const json_t *j, const struct filter *f, struct found *ret)
{
	struct rpc_log l;
	enum err e = rpc_read_log(j, &l);
	if (e)
		return e;
	if (!log_matches(&l, f) || l.topic_count != 3)
		return rpc_refuse("a log is not a transfer of this token to this address");
	if (!hash_equal(&l.block, &f->block) || l.block_number != f->block_number)
		return rpc_refuse("a log is of another block");
	struct found out = { .index = l.index };
	struct chain_transfer *t = &out.transfer;
	t->tx = l.tx;
	t->block = l.block;
	t->block_number = l.block_number;
	if (!abi_word_to_address(&l.topics[1], &t->from) || !abi_word_to_address(&l.topics[2], &t->to))
		return rpc_refuse("a transfer's party is no address");
	struct hash value;
	e = rpc_read_hash(l.data, "a transfer's value", &value); /* exactly one word */
	if (e)
		return e;
	memcpy(t->value_be, value.b, sizeof(t->value_be));
	*ret = out;
	return ERR_OK;
}

static int found_compare(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	return x->index < y->index ? -1 : x->index > y->index;
}

static bool transfer_equal(const struct chain_transfer *a, const struct chain_transfer *b)
{
	return hash_equal(&a->tx, &b->tx) && hash_equal(&a->block, &b->block) && a->block_number == b->block_number &&
	       address_equal(&a->from, &b->from) && address_equal(&a->to, &b->to) && memcmp(a->value_be, b->value_be, sizeof(a->value_be)) == 0;
}

/* One log of a receipt: when it is a transfer of ours, it must be the next one found. */
static enum err ordinal_from_log(const json_t *j, size_t ordinal, const struct filter *f, const struct hash *tx, struct found *list,
				 size_t count, size_t *next)
{
	struct rpc_log l;
	struct found again;
	enum err e = rpc_read_log(j, &l);
	if (e)
		return e;
	if (!hash_equal(&l.tx, tx) || !hash_equal(&l.block, &f->block))
		return rpc_refuse("a receipt holds a log of another transaction or block");
	if (!log_matches(&l, f))
		return ERR_OK;
	e = transfer_read(j, f, &again);
	if (e)
		return e;
	if (*next == count || again.index != list[*next].index || !transfer_equal(&again.transfer, &list[*next].transfer))
		return rpc_refuse("the logs of the block and of a receipt differ");
	list[(*next)++].transfer.ordinal = (uint32_t)ordinal;
	return ERR_OK;
}

/* The ordinals of the `count` transfers of one transaction, which come in the order of the receipt. */
static enum err ordinals_read(struct chain *c, const struct filter *f, struct found *list, size_t count)
{
	struct hash tx = list[0].transfer.tx, got;
	_cleanup_json_ json_t *receipt = NULL;
	enum err e = rpc_call(c, "eth_getTransactionReceipt", json_pack("[s]", hash_format(&tx).s), &receipt);
	if (e)
		return e;
	if (json_is_null(receipt))
		return rpc_refuse("a transaction with logs has no receipt");
	uint64_t status = 0;
	e = rpc_read_hash(json_object_get(receipt, "transactionHash"), "a receipt's transaction", &got);
	if (!e && !hash_equal(&got, &tx))
		e = rpc_refuse("a receipt is of another transaction");
	if (!e)
		e = rpc_read_hash(json_object_get(receipt, "blockHash"), "a receipt's block", &got);
	if (!e && !hash_equal(&got, &f->block))
		e = rpc_refuse("a receipt is of another block");
	if (!e)
		e = rpc_read_quantity(json_object_get(receipt, "status"), "a receipt's status", &status);
	if (!e && status != 1)
		e = rpc_refuse("a failed transaction has logs");
	const json_t *logs = json_object_get(receipt, "logs");
	if (!e && !json_is_array(logs))
		e = rpc_refuse("a receipt has no logs");
	size_t next = 0;
	for (size_t i = 0; !e && i < json_array_size(logs); i++)
		e = ordinal_from_log(json_array_get(logs, i), i, f, &tx, list, count, &next);
	if (!e && next != count)
		e = rpc_refuse("the logs of the block and of a receipt differ");
	return e;
}

/* Anybody can have a token say so, for anybody, and as often as fits into a block: it is nothing. */
static bool is_nothing(const struct chain_transfer *t)
{
	static const uint8_t zero[sizeof(t->value_be)];

	return memcmp(t->value_be, zero, sizeof(zero)) == 0;
}

static enum err all_ordinals_read(struct chain *c, const struct filter *f, struct found *list, size_t count)
{
	enum err e = ERR_OK;
	for (size_t from = 0; from < count && !e;) {
		size_t n = 0;
		bool any = false;
		for (; from + n < count && hash_equal(&list[from + n].transfer.tx, &list[from].transfer.tx); n++)
			any |= !is_nothing(&list[from + n].transfer);
		if (any)
			e = ordinals_read(c, f, list + from, n);
		from += n;
	}
	return e;
}

/* The block must be known before its logs mean anything: some endpoints answer [] for a block they never saw. */
static enum err block_number_read(const json_t *j, const struct hash *block, uint64_t *ret)
{
	struct hash got;
	enum err e;
	if (json_is_null(j))
		return ERR_NOT_FOUND;
	e = rpc_read_hash(json_object_get(j, "hash"), "block hash", &got);
	if (!e && !hash_equal(&got, block))
		e = rpc_refuse("asked for a block by hash, got another");
	return e ? e : rpc_read_quantity(json_object_get(j, "number"), "block number", ret);
}

/* The block and its transfers, in one request. */
static enum err logs_read(struct chain *c, struct filter *f, json_t **ret)
{
	struct rpc_question q[] = {
		{ .method = "eth_getBlockByHash", .params = json_pack("[s, b]", hash_format(&f->block).s, 0) },
		{ .method = "eth_getLogs", .params = json_pack("[{s:s, s:s, s:[s, n, s]}]", "blockHash", hash_format(&f->block).s, "address", address_format(&f->token).s,
							       "topics", hash_format(&ABI_TRANSFER_TOPIC).s, hash_format(&f->to_word).s) },
	};
	enum err e;

	rpc_batch(c, q, 2);
	e = q[0].err ? q[0].err : block_number_read(q[0].result, &f->block, &f->block_number);
	if (!e)
		e = q[1].err;
	if (!e && !json_is_array(q[1].result))
		e = rpc_refuse("eth_getLogs answers no list");
	if (!e)
		*ret = json_incref(q[1].result);
	rpc_questions_done(q, 2);
	return e;
}

enum err chain_transfers_in_block(struct chain *c, const struct address *token, const struct address *to, const struct hash *block,
				  struct chain_transfer **ret, size_t *ret_count)
{
	struct filter f = { .token = *token, .block = *block };
	abi_word_from_address(to, &f.to_word);
	_cleanup_json_ json_t *logs = NULL;
	enum err e = logs_read(c, &f, &logs);
	if (e)
		return e;
	size_t count = json_array_size(logs);
	_cleanup_free_ struct found *list = xcalloc(count, sizeof(*list));
	for (size_t i = 0; i < count && !e; i++)
		e = transfer_read(json_array_get(logs, i), &f, &list[i]);
	qsort(list, count, sizeof(*list), found_compare);
	if (!e) /* where a log that is listed twice shows, too: a receipt holds it once */
		e = all_ordinals_read(c, &f, list, count);
	if (e)
		return e;
	struct chain_transfer *out = xcalloc(count, sizeof(*out));
	*ret_count = 0;
	for (size_t i = 0; i < count; i++)
		if (!is_nothing(&list[i].transfer))
			out[(*ret_count)++] = list[i].transfer;
	*ret = out;
	return ERR_OK;
}

/* The number of the first block that these logs are of. */
static enum err first_read(const json_t *logs, const struct filter *f, uint64_t from, uint64_t last, uint64_t *ret)
{
	enum err e = json_is_array(logs) ? ERR_OK : rpc_refuse("eth_getLogs answers no list");

	*ret = last + 1;
	for (size_t i = 0; !e && i < json_array_size(logs); i++) {
		struct rpc_log l;

		e = rpc_read_log(json_array_get(logs, i), &l);
		if (!e && (!log_matches(&l, f) || l.block_number < from || l.block_number > last))
			e = rpc_refuse("a log is not one asked for");
		if (!e && l.block_number < *ret)
			*ret = l.block_number;
	}
	return e;
}

/* In one request, so that an endpoint that has not come so far shows. */
enum err chain_first_transfer(struct chain *c, const struct address *token, const struct address *to, uint64_t from, uint64_t last, struct chain_block *ret_last,
			      uint64_t *ret_first)
{
	struct filter f = { .token = *token };

	abi_word_from_address(to, &f.to_word);
	struct rpc_question q[] = {
		{ .method = "eth_getBlockByNumber", .params = json_pack("[o, b]", rpc_quantity(last), 0) },
		{ .method = "eth_getLogs", .params = json_pack("[{s:o, s:o, s:s, s:[s, n, s]}]", "fromBlock", rpc_quantity(from), "toBlock", rpc_quantity(last), "address",
							       address_format(token).s, "topics", hash_format(&ABI_TRANSFER_TOPIC).s, hash_format(&f.to_word).s) },
	};
	enum err e;

	rpc_batch(c, q, 2);
	e = q[0].err ? q[0].err : rpc_read_block(q[0].result, last, ret_last);
	if (!e)
		e = q[1].err ? q[1].err : first_read(q[1].result, &f, from, last, ret_first);
	rpc_questions_done(q, 2);
	return e;
}
