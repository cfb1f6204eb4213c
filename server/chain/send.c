/* Giving transactions to the chain, see send.h. Called by the settler; no locks. */
#include "chain/send.h"

#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "chain/rpc.h"
#include "chain/tx.h"

#define CODE_MAX ((size_t)128 << 10)
#define WORDS_MAX 2048 /* of one error, its wrappings included */

enum err chain_nonce(struct chain *c, const struct address *a, enum chain_when when, uint64_t *ret)
{
	_cleanup_json_ json_t *result = NULL;
	enum err e = rpc_call(c, "eth_getTransactionCount",
			      json_pack("[s, s]", address_format(a).s, when == CHAIN_PENDING ? "pending" : "latest"), &result);
	return e ? e : rpc_read_quantity(result, "the nonce", ret);
}

enum err chain_native_balance(struct chain *c, const struct address *a, uint64_t at, struct amount *ret)
{
	_cleanup_json_ json_t *result = NULL;
	uint8_t be[32];
	enum err e = rpc_call(c, "eth_getBalance", json_pack("[s, o]", address_format(a).s, rpc_block_tag(at)), &result);
	if (!e)
		e = rpc_read_quantity_be(result, "the balance", be);
	return e ? e : amount_from_be(be, ret);
}

enum err chain_code_at(struct chain *c, const struct address *a, uint64_t at, struct buf *out)
{
	_cleanup_json_ json_t *result = NULL;
	enum err e = rpc_call(c, "eth_getCode", json_pack("[s, o]", address_format(a).s, rpc_block_tag(at)), &result);
	if (!e && json_string_length(result) > 2 + 2 * CODE_MAX)
		e = rpc_refuse("the code is longer than a chain allows");
	return e ? e : rpc_read_data(result, "the code", out);
}

/* Does `text` hold these words, at the beginning of a word? */
static bool has_words(const char *text, const char *words)
{
	for (const char *p = text; (p = strcasestr(p, words)); p++)
		if (p == text || !((p[-1] | 0x20) >= 'a' && (p[-1] | 0x20) <= 'z'))
			return true;
	return false;
}

/* All texts of an error, one behind the other: some endpoints wrap the error of the node behind them. */
static void words_gather(const json_t *j, char *words, size_t size)
{
	static const char *const members[] = { "message", "data", "details", "reason", "error", "originalError", "cause" };
	if (json_is_string(j)) {
		size_t len = strlen(words), n = json_string_length(j);
		if (len + 2 >= size)
			return;
		n = n < size - len - 2 ? n : size - len - 2;
		words[len] = '\n';
		memcpy(words + len + 1, json_string_value(j), n);
		words[len + 1 + n] = '\0';
	}
	for (size_t i = 0; json_is_object(j) && i < sizeof(members) / sizeof(members[0]); i++)
		words_gather(json_object_get(j, members[i]), words, size);
}

/* ---- Would it work? ---- */

/* What clients say when the machine ran the code and it failed. */
static bool words_say_reverted(const char *words)
{
	static const char *const texts[] = {
		"execution reverted", "vm execution error", "transaction: revert", "reverted with", /* a REVERT */
		"out of gas", "gas required exceeds allowance", "invalid opcode", "bad instruction", "invalid jump destination",
		"stack underflow", "stack overflow", "stack limit reached", "write protection", "return data out of bounds",
		"max code size exceeded", "gas uint64 overflow",
		"evm error invalidfeopcode", "evm error outofgas", "evm error opcodenotfound", "evm error stackunderflow",
		"evm error stackoverflow", "evm error invalidjump", "evm error outofoffset", "evm error statechangeduringstaticcall",
		"evm error memorylimitoog", "evm error memoryoog", "evm error precompileerror", "evm error calltoodeep",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (has_words(words, texts[i]))
			return true;
	return false;
}

static bool error_is_revert(const json_t *error)
{
	char words[WORDS_MAX] = "";
	if (!error)
		return false;
	words_gather(error, words, sizeof(words));
	return json_integer_value(json_object_get(error, "code")) == 3 || words_say_reverted(words);
}

/* Revert data, where the endpoint hands it on; what is not data, or too long, is left out. */
static void revert_data_read(const json_t *error, struct buf *out)
{
	const json_t *data = json_object_get(error, "data");
	if (json_is_object(data))
		data = json_object_get(data, "data");
	if (json_is_string(data) && rpc_read_data(data, "the revert data", out) != ERR_OK)
		return;
}

static json_t *message_object(const struct chain_message *m)
{
	return json_must(json_pack("{s:s, s:s, s:o, s:o}", "from", address_format(&m->from).s, "to", address_format(&m->to).s, "data",
				   rpc_data(m->data, m->len), "gas", rpc_quantity(m->gas)));
}

enum err chain_simulate(struct chain *c, const struct chain_message *m, uint64_t at, struct buf *out, bool *ret_ok)
{
	_cleanup_json_ json_t *result = NULL, *error = NULL;
	enum err e = rpc_ask(c, "eth_call", json_pack("[o, o]", message_object(m), rpc_block_tag(at)), &result, &error);
	if (!e) {
		e = rpc_read_data(result, "the call's result", out);
	} else if (error_is_revert(error)) {
		revert_data_read(error, out);
		*ret_ok = false;
		return ERR_OK;
	}
	if (!e)
		*ret_ok = true;
	return e;
}

enum err chain_gas_estimate(struct chain *c, const struct chain_message *m, uint64_t *ret)
{
	_cleanup_json_ json_t *result = NULL, *error = NULL;
	uint64_t gas = 0;
	enum err e = rpc_ask(c, "eth_estimateGas", json_pack("[o]", message_object(m)), &result, &error);
	if (e)
		return error_is_revert(error) ? ERR_UNPROCESSABLE : e;
	e = rpc_read_quantity(result, "the gas estimate", &gas);
	if (!e && gas < 21000)
		e = rpc_refuse("an estimate of %llu gas is less than any transaction needs", (unsigned long long)gas);
	if (!e && gas > m->gas) {
		e = rpc_refuse("it would need %llu gas", (unsigned long long)gas);
		return ERR_UNPROCESSABLE;
	}
	if (!e)
		*ret = gas;
	return e;
}

/* ---- Fees ---- */

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t add_u64(uint64_t a, uint64_t b) /* stops at the end */
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void chain_fees_of(uint64_t base, uint64_t priority, const struct chain_fee_caps *caps, struct chain_fees *ret)
{
	struct chain_fees f = { .base = base };
	f.fee = min_u64(add_u64(add_u64(base, base), min_u64(priority, caps->priority)), caps->fee);
	f.priority = min_u64(min_u64(priority, caps->priority), f.fee);
	f.affordable = add_u64(base, f.priority) <= f.fee;
	*ret = f;
}

enum err chain_fees(struct chain *c, const struct chain_fee_caps *caps, struct chain_fees *ret)
{
	_cleanup_json_ json_t *block = NULL, *tip = NULL;
	uint64_t base = 0, priority = 0;
	enum err e = rpc_call(c, "eth_getBlockByNumber", json_pack("[s, b]", "latest", 0), &block);
	if (!e)
		e = rpc_read_quantity(json_object_get(block, "baseFeePerGas"), "the base fee", &base);
	if (!e)
		e = rpc_call(c, "eth_maxPriorityFeePerGas", json_array(), &tip);
	if (!e)
		e = rpc_read_quantity(tip, "the priority fee", &priority);
	if (!e)
		chain_fees_of(base, priority, caps, ret);
	return e;
}

/* An eighth more, at least 1. */
static uint64_t bumped(uint64_t v)
{
	return add_u64(add_u64(v, v / 8), 1);
}

enum err chain_fees_bump(const struct chain_fees *sent, const struct chain_fees *now, const struct chain_fee_caps *caps, struct chain_fees *ret)
{
	struct chain_fees f = { .base = now->base };
	uint64_t priority = bumped(sent->priority), fee = bumped(sent->fee);
	if (priority > caps->priority || fee > caps->fee)
		return ERR_LIMIT;
	f.priority = min_u64(priority > now->priority ? priority : now->priority, caps->priority);
	f.fee = min_u64(fee > now->fee ? fee : now->fee, caps->fee);
	f.priority = min_u64(f.priority, f.fee);
	f.affordable = add_u64(f.base, f.priority) <= f.fee;
	*ret = f;
	return ERR_OK;
}

/* ---- Sending ---- */

/* The words of geth, op-geth, reth, erigon, besu, nethermind and anvil. */
static const struct {
	enum chain_sent means;
	const char *words;
} REFUSALS[] = {
	{ CHAIN_SENT_KNOWN, "already known" },
	{ CHAIN_SENT_KNOWN, "alreadyknown" },
	{ CHAIN_SENT_KNOWN, "already imported" },
	{ CHAIN_SENT_KNOWN, "known transaction" },
	{ CHAIN_SENT_NONCE_TOO_LOW, "nonce too low" },
	{ CHAIN_SENT_NONCE_TOO_LOW, "nonce is too low" },
	{ CHAIN_SENT_NONCE_TOO_LOW, "oldnonce" },
	{ CHAIN_SENT_UNDERPRICED, "underpriced" },
	{ CHAIN_SENT_UNDERPRICED, "less than block base fee" },
	{ CHAIN_SENT_UNDERPRICED, "could not replace existing" },
	{ CHAIN_SENT_UNDERPRICED, "replacementnotallowed" },
	{ CHAIN_SENT_UNDERPRICED, "feetoolow" },
	{ CHAIN_SENT_UNDERPRICED, "fee too low" },
	{ CHAIN_SENT_UNDERPRICED, "gas price too low" },
	{ CHAIN_SENT_UNDERPRICED, "gas price below" },
	{ CHAIN_SENT_INSUFFICIENT_FUNDS, "insufficient funds" },
	{ CHAIN_SENT_INSUFFICIENT_FUNDS, "insufficientfunds" },
	{ CHAIN_SENT_INSUFFICIENT_FUNDS, "upfront cost exceeds" },
	{ CHAIN_SENT_REJECTED, "intrinsic gas too" },
	{ CHAIN_SENT_REJECTED, "gas limit too" },
	{ CHAIN_SENT_REJECTED, "exceeds block gas limit" },
	{ CHAIN_SENT_REJECTED, "exceeds the configured cap" },
	{ CHAIN_SENT_REJECTED, "higher than max fee per gas" },
	{ CHAIN_SENT_REJECTED, "invalid chain id" },
	{ CHAIN_SENT_REJECTED, "invalid sender" },
	{ CHAIN_SENT_REJECTED, "invalid signature" },
	{ CHAIN_SENT_REJECTED, "invalid transaction v, r, s" },
	{ CHAIN_SENT_REJECTED, "transaction type not supported" },
	{ CHAIN_SENT_REJECTED, "typed transaction too short" },
	{ CHAIN_SENT_REJECTED, "failed to decode" },
	{ CHAIN_SENT_REJECTED, "rlp:" },
	{ CHAIN_SENT_REJECTED, "oversized data" },
	{ CHAIN_SENT_REJECTED, "nonce too high" },
	{ CHAIN_SENT_REJECTED, "nonce has max value" },
	{ CHAIN_SENT_REJECTED, "gapped-nonce" },
	{ CHAIN_SENT_REJECTED, "in-flight transaction limit" },
	{ CHAIN_SENT_REJECTED, "txpool is full" },
	{ CHAIN_SENT_REJECTED, "pool is full" },
};

enum chain_sent chain_sent_by_words(const char *words)
{
	enum chain_sent found = CHAIN_SENT_UNKNOWN;
	for (size_t i = 0; i < sizeof(REFUSALS) / sizeof(REFUSALS[0]); i++) {
		if (!has_words(words, REFUSALS[i].words))
			continue;
		if (found != CHAIN_SENT_UNKNOWN && found != REFUSALS[i].means)
			return CHAIN_SENT_UNKNOWN;
		found = REFUSALS[i].means;
	}
	return found;
}

enum chain_sent chain_send_raw(struct chain *c, const void *raw, size_t len)
{
	_cleanup_json_ json_t *result = NULL, *error = NULL;
	struct hash own, got;
	if (len == 0 || len > TX_RAW_MAX) {
		enum err e = rpc_refuse("a transaction of %zu bytes was not sent", len);
		return e ? CHAIN_SENT_REJECTED : CHAIN_SENT_UNKNOWN;
	}
	keccak256(raw, len, &own);
	enum err e = rpc_ask(c, "eth_sendRawTransaction", json_pack("[o]", rpc_data(raw, len)), &result, &error);
	if (!e)
		e = rpc_read_hash(result, "what eth_sendRawTransaction answers", &got);
	if (!e && !hash_equal(&own, &got))
		e = rpc_refuse("the endpoint answers the hash of another transaction");
	if (!e)
		return CHAIN_SENT;
	if (!error)
		return CHAIN_SENT_UNKNOWN;
	char words[WORDS_MAX] = "";
	words_gather(error, words, sizeof(words));
	return chain_sent_by_words(words);
}

const char *chain_sent_name(enum chain_sent s)
{
	static const char *const names[] = {
		[CHAIN_SENT] = "sent",
		[CHAIN_SENT_KNOWN] = "already known",
		[CHAIN_SENT_NONCE_TOO_LOW] = "nonce too low",
		[CHAIN_SENT_UNDERPRICED] = "underpriced",
		[CHAIN_SENT_INSUFFICIENT_FUNDS] = "insufficient funds",
		[CHAIN_SENT_REJECTED] = "rejected",
		[CHAIN_SENT_UNKNOWN] = "unknown",
	};
	return names[s];
}
