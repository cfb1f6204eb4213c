/* The plain questions to a chain: who are you, where is your head, what does this contract say. Called by pay (deposits,
 * reconciliation) and by the start-up checks, from any thread; no locks. */
#include "chain/chain.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "chain/abi.h"
#include "chain/rpc.h"

#define BALANCE_GAS 1000000u

static enum err quantity_call(struct chain *c, const char *method, uint64_t *ret)
{
	_cleanup_json_ json_t *result = NULL;
	enum err e = rpc_call(c, method, json_array(), &result);
	return e ? e : rpc_read_quantity(result, method, ret);
}

enum err chain_id(struct chain *c, uint64_t *ret)
{
	return quantity_call(c, "eth_chainId", ret);
}

enum err chain_head(struct chain *c, uint64_t *ret_number)
{
	return quantity_call(c, "eth_blockNumber", ret_number);
}

enum err chain_expect_id(uint64_t id, uint64_t expected)
{
	return id == expected ? ERR_OK : rpc_refuse("the endpoint is chain %llu, not %llu", (unsigned long long)id, (unsigned long long)expected);
}

enum err chain_check_id(struct chain *c, uint64_t expected)
{
	uint64_t id = 0;
	enum err e = chain_id(c, &id);
	return e ? e : chain_expect_id(id, expected);
}

enum err chain_client_version(struct chain *c, char ret[128])
{
	_cleanup_json_ json_t *result = NULL;
	enum err e = rpc_call(c, "web3_clientVersion", json_array(), &result);
	if (e)
		return e;
	const char *s = json_string_value(result);
	if (!s || !*s || strlen(s) > 127)
		return rpc_refuse("web3_clientVersion is no short text");
	snprintf(ret, 128, "%s", s);
	for (char *p = ret; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	return ERR_OK;
}

enum err chain_block_by_number(struct chain *c, uint64_t number, struct chain_block *ret)
{
	_cleanup_json_ json_t *block = NULL;
	enum err e = rpc_call(c, "eth_getBlockByNumber", json_pack("[o, b]", rpc_quantity(number), 0), &block);
	return e ? e : rpc_read_block(block, number, ret);
}

enum err chain_next(struct chain *c, uint64_t number, struct chain_next *ret)
{
	struct rpc_question q[] = {
		{ .method = "eth_chainId", .params = json_array() },
		{ .method = "eth_blockNumber", .params = json_array() },
		{ .method = "eth_getBlockByNumber", .params = json_pack("[o, b]", rpc_quantity(number), 0) },
		{ .method = "eth_getBlockByNumber", .params = json_pack("[o, b]", rpc_quantity(number + 1), 0) },
	};
	struct chain_next n = { 0 };
	enum err e;

	rpc_batch(c, q, 4);
	e = q[0].err ? q[0].err : rpc_read_quantity(q[0].result, q[0].method, &n.id);
	if (!e)
		e = q[1].err ? q[1].err : rpc_read_quantity(q[1].result, q[1].method, &n.head);
	n.at_err = q[2].err ? q[2].err : rpc_read_block(q[2].result, number, &n.at);
	n.next_err = q[3].err ? q[3].err : rpc_read_block(q[3].result, number + 1, &n.next);
	if (!e)
		*ret = n;
	rpc_questions_done(q, 4);
	return e;
}

enum err chain_block_latest(struct chain *c, struct chain_block *ret)
{
	_cleanup_json_ json_t *block = NULL;
	enum err e = rpc_call(c, "eth_getBlockByNumber", json_pack("[s, b]", "latest", 0), &block);
	return e ? e : rpc_read_block(block, UINT64_MAX, ret);
}

static enum err look_read(const struct rpc_question q[4], struct chain_look *l)
{
	enum err e = q[0].err;

	if (!e)
		e = rpc_read_quantity(q[0].result, q[0].method, &l->id);
	if (e)
		return e;
	l->nonce_err = q[2].err ? q[2].err : rpc_read_quantity(q[2].result, "the nonce", &l->nonce);
	l->fees_err = q[1].err ? q[1].err : q[3].err;
	if (!l->fees_err)
		l->fees_err = rpc_read_quantity(json_object_get(q[1].result, "baseFeePerGas"), "the base fee", &l->base);
	if (!l->fees_err)
		l->fees_err = rpc_read_quantity(q[3].result, "the priority fee", &l->priority);
	l->head_err = q[1].err ? q[1].err : rpc_read_block(q[1].result, UINT64_MAX, &l->head);
	return ERR_OK;
}

enum err chain_look(struct chain *c, const struct address *sender, struct chain_look *ret)
{
	struct rpc_question q[] = {
		{ .method = "eth_chainId", .params = json_array() },
		{ .method = "eth_getBlockByNumber", .params = json_pack("[s, b]", "latest", 0) },
		{ .method = "eth_getTransactionCount", .params = json_pack("[s, s]", address_format(sender).s, "latest") },
		{ .method = "eth_maxPriorityFeePerGas", .params = json_array() }, /* last: not every endpoint knows it */
	};
	struct chain_look l = { 0 };
	enum err e;

	rpc_batch(c, q, 4);
	e = look_read(q, &l);
	if (!e)
		*ret = l;
	rpc_questions_done(q, 4);
	return e;
}

enum err chain_call(struct chain *c, const struct address *to, const void *data, size_t len, uint64_t gas, uint64_t at, struct buf *out)
{
	_cleanup_json_ json_t *result = NULL;
	enum err e = rpc_call(c, "eth_call",
			      json_pack("[{s:s, s:o, s:o}, o]", "to", address_format(to).s, "data", rpc_data(data, len), "gas", rpc_quantity(gas), rpc_block_tag(at)),
			      &result);
	return e ? e : rpc_read_data(result, "the call's result", out);
}

enum err chain_token_balance(struct chain *c, const struct address *token, const struct address *owner, uint64_t at, struct amount *ret)
{
	uint8_t call[ABI_BALANCE_OF_LEN];
	abi_balance_of(owner, call);
	_cleanup_buf_ struct buf out = BUF_INIT(32);
	enum err e = chain_call(c, token, call, sizeof(call), BALANCE_GAS, at, &out);
	if (e)
		return e;
	/* Nothing at all is what an address without code answers: that is not a balance of zero. */
	if (out.len != 32)
		return rpc_refuse("balanceOf answers %zu bytes: no token at %s", out.len, address_format(token).s);
	return amount_from_be((const uint8_t *)out.data, ret);
}

enum err chain_has_code(struct chain *c, const struct address *a, bool *ret)
{
	_cleanup_json_ json_t *result = NULL;
	enum err e = rpc_call(c, "eth_getCode", json_pack("[s, s]", address_format(a).s, "latest"), &result);
	if (e)
		return e;
	_cleanup_buf_ struct buf code = BUF_INIT(RPC_ANSWER_MAX);
	e = rpc_read_data(result, "the code", &code);
	if (!e)
		*ret = code.len > 0;
	return e;
}
