/* Sending and receipts against an endpoint that answers well, badly, or with lies. */
#include "chain/rpc.h"
#include "chain/send.h"
#include "chain/tx.h"
#include "tests/unit/chain/bytes.h"
#include "tests/unit/chain/fake_chain.h"
#include "tests/unit/chain/vectors.h"

static const struct address SOMEONE = { { 0xaa } };

#define ANSWERS(...) \
	static const struct fake_answer answers[] = { __VA_ARGS__ }; \
	fake_set(&fake, answers, COUNT_OF(answers))

#define H1 "0x1111111111111111111111111111111111111111111111111111111111111111"
#define H2 "0x2222222222222222222222222222222222222222222222222222222222222222"
#define H3 "0x3333333333333333333333333333333333333333333333333333333333333333"
#define A1 "0x00000000000000000000000000000000000000a1"
#define A2 "0x00000000000000000000000000000000000000a2"

static void accounts(void **state)
{
	(void)state;
	ANSWERS({ .method = "eth_getTransactionCount", .result = "\"0x7\"", .contains = "\"pending\"" },
		{ .method = "eth_getTransactionCount", .result = "\"0x5\"", .contains = "\"latest\"" },
		{ .method = "eth_getBalance", .result = "\"0xde0b6b3a7640000\"", .contains = "\"0x10\"" },
		{ .method = "eth_getBalance", .result = "\"0x80000000000000000000000000000000\"" },
		{ .method = "eth_getCode", .result = "\"0xef0100000000000000000000000000000000000000000000\"" });
	uint64_t n = 0;
	struct amount wei = AMOUNT_ZERO;
	struct buf code = BUF_INIT(64);
	assert_int_equal(chain_nonce(chain, &SOMEONE, CHAIN_LATEST, &n), ERR_OK);
	assert_int_equal(n, 5);
	assert_int_equal(chain_nonce(chain, &SOMEONE, CHAIN_PENDING, &n), ERR_OK);
	assert_int_equal(n, 7);
	assert_true(fake_was_asked(&fake, "[\"0xaa00000000000000000000000000000000000000\",\"pending\"]"));
	assert_int_equal(chain_native_balance(chain, &SOMEONE, 16, &wei), ERR_OK);
	assert_string_equal(amount_format(wei).s, "1000000000000000000");
	assert_int_equal(chain_native_balance(chain, &SOMEONE, UINT64_MAX, &wei), ERR_OVERFLOW);
	assert_int_equal(chain_code_at(chain, &SOMEONE, 16, &code), ERR_OK);
	assert_int_equal(code.len, 24);
	code.max = 24;
	assert_int_equal(chain_code_at(chain, &SOMEONE, 16, &code), ERR_CHAIN_DOWN);
	assert_int_equal(code.len, 24);
	buf_done(&code);
}

static void bad_balances(void **state)
{
	(void)state;
	static const char *const results[] = { "\"0x\"", "\"0x01\"", "\"1\"", "1", "null", "\"0x1g\"",
					       "\"0x10000000000000000000000000000000000000000000000000000000000000000\"" };
	for (size_t i = 0; i < COUNT_OF(results); i++) {
		struct fake_answer a = { .method = "eth_getBalance", .result = results[i] };
		struct amount wei = amount_from_u64(7);
		fake_set(&fake, &a, 1);
		assert_int_equal(chain_native_balance(chain, &SOMEONE, UINT64_MAX, &wei), ERR_CHAIN_DOWN);
		assert_string_equal(amount_format(wei).s, "7");
	}
}

/* ---- simulation ---- */

static const struct chain_message MESSAGE = { .from = { { 1 } }, .to = { { 2 } }, .data = "\xde\xad", .len = 2, .gas = 100000 };

#define ERROR(code, more) "{\"jsonrpc\":\"2.0\",\"id\":ID,\"error\":{\"code\":" code ",\"message\":" more "}}"

static void simulations(void **state)
{
	(void)state;
	static const struct { const char *body; enum err e; bool ok; const char *out; } rows[] = {
		{ "{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"0x0102\"}", ERR_OK, true, "0x0102" },
		{ "{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"0x\"}", ERR_OK, true, "0x" },
		{ ERROR("3", "\"execution reverted\",\"data\":\"0xc0ffee\""), ERR_OK, false, "0xc0ffee" },
		{ ERROR("3", "\"execution reverted: \\u0000\\u0000\\\\u0000\",\"data\":\"0x00\""), ERR_OK, false, "0x00" },
		{ ERROR("3", "\"execution reverted\",\"data\":\"0xc0ffe\""), ERR_OK, false, "0x" },
		{ ERROR("-32000", "\"execution reverted\""), ERR_OK, false, "0x" },
		{ ERROR("-32603", "\"Internal error\",\"data\":{\"code\":3,\"message\":\"execution reverted\",\"data\":\"0x08\"}"), ERR_OK, false, "0x08" },
		{ ERROR("-32015", "\"VM execution error.\",\"data\":\"Reverted 0x\""), ERR_OK, false, "0x" },
		{ ERROR("-32603", "\"EVM error InvalidFEOpcode\""), ERR_OK, false, "0x" },
		{ ERROR("-32603", "\"EVM error OutOfGas\""), ERR_OK, false, "0x" },
		{ ERROR("-32000", "\"out of gas\""), ERR_OK, false, "0x" },
		{ ERROR("-32000", "\"invalid opcode: INVALID\""), ERR_OK, false, "0x" },
		/* the endpoint's trouble, not the contract's */
		{ ERROR("-32000", "\"header not found\""), ERR_CHAIN_DOWN, false, NULL },
		{ ERROR("-32603", "\"Internal error\""), ERR_CHAIN_DOWN, false, NULL },
		{ ERROR("-32005", "\"rate limit exceeded\""), ERR_CHAIN_DOWN, false, NULL },
		{ ERROR("-32602", "\"BlockOutOfRangeError: block height is 1 but requested was 65535\""), ERR_CHAIN_DOWN, false, NULL },
		{ ERROR("3.5", "\"execution reverted\""), ERR_CHAIN_DOWN, false, NULL },
		{ ERROR("3", "5"), ERR_CHAIN_DOWN, false, NULL },
		{ "{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":null}", ERR_CHAIN_DOWN, false, NULL },
		{ "{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"0x1\"}", ERR_CHAIN_DOWN, false, NULL },
		/* a revert of another call, or of no call, is none of this one */
		{ "{\"jsonrpc\":\"2.0\",\"id\":9ID,\"error\":{\"code\":3,\"message\":\"execution reverted\"}}", ERR_CHAIN_DOWN, false, NULL },
		{ "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":3,\"message\":\"execution reverted\"}}", ERR_CHAIN_DOWN, false, NULL },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct fake_answer a = { .method = "eth_call", .whole = rows[i].body };
		struct buf out = BUF_INIT(64);
		bool ok = !rows[i].ok;
		fake_set(&fake, &a, 1);
		if (chain_simulate(chain, &MESSAGE, 255, &out, &ok) != rows[i].e)
			fail_msg("%s: %s", rows[i].body, chain_error());
		assert_true(rows[i].e ? ok != rows[i].ok : ok == rows[i].ok);
		if (rows[i].out)
			expect_hex(&out, rows[i].out);
		assert_true(ok || chain_error()[0]);
		if (strstr(rows[i].body, "\\u0000")) /* two zero characters, and a text that only looks like one */
			assert_non_null(strstr(chain_error(), "reverted: ??????\\u0000"));
		buf_done(&out);
	}
	assert_true(fake_was_asked(&fake, "[{\"from\":\"0x0100000000000000000000000000000000000000\",\"to\":\"0x0200000000000000000000000000000000000000\","
					  "\"data\":\"0xdead\",\"gas\":\"0x186a0\"},\"0xff\"]"));
	struct fake_answer down = { .method = "eth_call", .http = "HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" };
	struct buf out = BUF_INIT(64);
	bool ok = true;
	fake_set(&fake, &down, 1);
	assert_int_equal(chain_simulate(chain, &MESSAGE, 255, &out, &ok), ERR_CHAIN_DOWN);
	buf_done(&out);
}

static void estimates(void **state)
{
	(void)state;
	static const struct { const char *body; enum err e; uint64_t gas; } rows[] = {
		{ "{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"0x5208\"}", ERR_OK, 21000 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"0x186a0\"}", ERR_OK, 100000 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"0x186a1\"}", ERR_UNPROCESSABLE, 0 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"0x5207\"}", ERR_CHAIN_DOWN, 0 },
		{ ERROR("3", "\"execution reverted: FiatTokenV2: invalid signature\",\"data\":\"0x\""), ERR_UNPROCESSABLE, 0 },
		{ ERROR("-32003", "\"Out of gas: gas required exceeds allowance: 30000000\""), ERR_UNPROCESSABLE, 0 },
		{ ERROR("-32603", "\"busy\""), ERR_CHAIN_DOWN, 0 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":null}", ERR_CHAIN_DOWN, 0 },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct fake_answer a = { .method = "eth_estimateGas", .whole = rows[i].body };
		uint64_t gas = 9;
		fake_set(&fake, &a, 1);
		assert_int_equal(chain_gas_estimate(chain, &MESSAGE, &gas), rows[i].e);
		assert_true(gas == (rows[i].e ? 9 : rows[i].gas));
	}
}

/* ---- fees ---- */

static void fees(void **state)
{
	(void)state;
	static const struct { const char *block, *tip; uint64_t cap_priority, cap_fee; enum err e; struct chain_fees want; } rows[] = {
		{ "{\"baseFeePerGas\":\"0x64\"}", "\"0xa\"", 50, 1000, ERR_OK, { 100, 10, 210, true } },
		{ "{\"baseFeePerGas\":\"0x64\"}", "\"0xffff\"", 50, 1000, ERR_OK, { 100, 50, 250, true } },
		{ "{\"baseFeePerGas\":\"0x64\"}", "\"0xa\"", 50, 110, ERR_OK, { 100, 10, 110, true } },
		{ "{\"baseFeePerGas\":\"0x64\"}", "\"0xa\"", 50, 109, ERR_OK, { 100, 10, 109, false } },
		{ "{\"baseFeePerGas\":\"0x64\"}", "\"0xa\"", 50, 5, ERR_OK, { 100, 5, 5, false } },
		{ "{\"baseFeePerGas\":\"0x0\"}", "\"0x0\"", 50, 5, ERR_OK, { 0, 0, 0, true } },
		{ "{\"baseFeePerGas\":\"0xffffffffffffffff\"}", "\"0xffffffffffffffff\"", UINT64_MAX, UINT64_MAX, ERR_OK,
		  { UINT64_MAX, UINT64_MAX, UINT64_MAX, true } },
		{ "{}", "\"0xa\"", 50, 1000, ERR_CHAIN_DOWN, { 0 } },
		{ "null", "\"0xa\"", 50, 1000, ERR_CHAIN_DOWN, { 0 } },
		{ "{\"baseFeePerGas\":\"0x10000000000000000\"}", "\"0xa\"", 50, 1000, ERR_CHAIN_DOWN, { 0 } },
		{ "{\"baseFeePerGas\":\"0x64\"}", "null", 50, 1000, ERR_CHAIN_DOWN, { 0 } },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const struct fake_answer a[] = { { .method = "eth_getBlockByNumber", .result = rows[i].block },
						 { .method = "eth_maxPriorityFeePerGas", .result = rows[i].tip } };
		const struct chain_fee_caps caps = { rows[i].cap_priority, rows[i].cap_fee };
		struct chain_fees f = { 9, 9, 9, false };
		fake_set(&fake, a, 2);
		assert_int_equal(chain_fees(chain, &caps, &f), rows[i].e);
		if (rows[i].e) {
			assert_int_equal(f.fee, 9);
		} else {
			assert_true(f.base == rows[i].want.base && f.priority == rows[i].want.priority && f.fee == rows[i].want.fee);
			assert_true(f.affordable == rows[i].want.affordable);
		}
	}
}

static void bumps(void **state)
{
	(void)state;
	const struct chain_fee_caps caps = { 1000, 10000 };
	const struct chain_fees sent = { 500, 100, 1100, true }, calm = { 500, 100, 1100, true }, storm = { 4000, 600, 8600, true };
	struct chain_fees f;
	assert_int_equal(chain_fees_bump(&sent, &calm, &caps, &f), ERR_OK);
	assert_true(f.priority == 113 && f.fee == 1238 && f.affordable); /* an eighth and one more */
	assert_int_equal(chain_fees_bump(&sent, &storm, &caps, &f), ERR_OK);
	assert_true(f.base == 4000 && f.priority == 600 && f.fee == 8600 && f.affordable);
	const struct chain_fees zero = { 0, 0, 0, true };
	assert_int_equal(chain_fees_bump(&zero, &zero, &caps, &f), ERR_OK);
	assert_true(f.priority == 1 && f.fee == 1);
	struct chain_fees from = sent, old = sent;
	unsigned steps = 0;
	for (; chain_fees_bump(&old, &calm, &caps, &f) == ERR_OK; old = f, steps++) {
		assert_true(f.priority * 10 >= old.priority * 11 && f.fee * 10 >= old.fee * 11);
		assert_true(f.priority <= f.fee && f.fee <= caps.fee && f.priority <= caps.priority);
	}
	assert_in_range(steps, 10, 30); /* to the cap, and then no further */
	assert_true(old.fee > from.fee);
	const struct chain_fee_caps none = { UINT64_MAX, UINT64_MAX };
	old = (struct chain_fees){ 1, UINT64_MAX - 1, UINT64_MAX - 1, true };
	assert_int_equal(chain_fees_bump(&old, &calm, &none, &f), ERR_OK);
	assert_true(f.fee == UINT64_MAX);
}

/* ---- sending ---- */

static void refusals_by_words(void **state)
{
	(void)state;
	static const struct { enum chain_sent want; const char *words; } rows[] = {
		{ CHAIN_SENT_KNOWN, "already known" },
		{ CHAIN_SENT_KNOWN, "transaction already imported" },
		{ CHAIN_SENT_KNOWN, "ALREADY_EXISTS: already known" },
		{ CHAIN_SENT_KNOWN, "AlreadyKnown" },
		{ CHAIN_SENT_KNOWN, "Known transaction" },
		{ CHAIN_SENT_KNOWN, "known transaction: 1234" },
		{ CHAIN_SENT_UNKNOWN, "unknown transaction" },
		{ CHAIN_SENT_NONCE_TOO_LOW, "nonce too low" },
		{ CHAIN_SENT_NONCE_TOO_LOW, "nonce too low: next nonce 5, tx nonce 3" },
		{ CHAIN_SENT_NONCE_TOO_LOW, "err: Nonce too low: address 0xAb, tx: 0 state: 1" },
		{ CHAIN_SENT_NONCE_TOO_LOW, "OldNonce, Current nonce: 5, nonce of rejected tx: 3" },
		{ CHAIN_SENT_UNDERPRICED, "replacement transaction underpriced" },
		{ CHAIN_SENT_UNDERPRICED, "transaction underpriced: gas tip cap 0, minimum needed 1" },
		{ CHAIN_SENT_UNDERPRICED, "max fee per gas less than block base fee" },
		{ CHAIN_SENT_UNDERPRICED, "max fee per gas less than block base fee: address 0xab, maxFeePerGas: 1, baseFee: 2" },
		{ CHAIN_SENT_UNDERPRICED, "ALREADY_EXISTS: could not replace existing tx" },
		{ CHAIN_SENT_UNDERPRICED, "FeeTooLow, MaxFeePerGas too low" },
		{ CHAIN_SENT_INSUFFICIENT_FUNDS, "Insufficient funds for gas * price + value" },
		{ CHAIN_SENT_INSUFFICIENT_FUNDS, "insufficient funds for gas * price + value: balance 0, tx cost 21000, overshot 21000" },
		{ CHAIN_SENT_INSUFFICIENT_FUNDS, "Upfront cost exceeds account balance" },
		{ CHAIN_SENT_REJECTED, "intrinsic gas too low: gas 100, minimum needed 21000" },
		{ CHAIN_SENT_REJECTED, "intrinsic gas too high -- tx.gas_limit > env.block.gas_limit" },
		{ CHAIN_SENT_REJECTED, "exceeds block gas limit" },
		{ CHAIN_SENT_REJECTED, "invalid chain id for signer" },
		{ CHAIN_SENT_REJECTED, "max priority fee per gas higher than max fee per gas: address 0xab" },
		{ CHAIN_SENT_REJECTED, "tx fee (2.00 ether) exceeds the configured cap (1.00 ether)" },
		{ CHAIN_SENT_REJECTED, "Failed to decode transaction" },
		{ CHAIN_SENT_REJECTED, "txpool is full" },
		{ CHAIN_SENT_REJECTED, "nonce too high" },
		{ CHAIN_SENT_UNKNOWN, "" },
		{ CHAIN_SENT_UNKNOWN, "Internal error" },
		{ CHAIN_SENT_UNKNOWN, "context deadline exceeded" },
		{ CHAIN_SENT_UNKNOWN, "timeout waiting for transaction" },
		{ CHAIN_SENT_UNKNOWN, "nonce too low; already known" },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (chain_sent_by_words(rows[i].words) != rows[i].want)
			fail_msg("\"%s\" means %s", rows[i].words, chain_sent_name(chain_sent_by_words(rows[i].words)));
	for (enum chain_sent s = CHAIN_SENT; s <= CHAIN_SENT_UNKNOWN; s++)
		assert_true(chain_sent_name(s)[0]);
}

static void sends(void **state)
{
	(void)state;
	size_t len;
	uint8_t *raw = unhex(TX_VECTORS[0].raw, &len);
	char *good = xasprintf("{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"%s\"}", TX_VECTORS[0].hash);
	const struct { const char *body; enum chain_sent want; } rows[] = {
		{ good, CHAIN_SENT },
		/* lies, and answers nobody can use: it may be in the pool */
		{ "{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"" H1 "\"}", CHAIN_SENT_UNKNOWN },
		{ "{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":null}", CHAIN_SENT_UNKNOWN },
		{ "{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":true}", CHAIN_SENT_UNKNOWN },
		{ "<html>502</html>", CHAIN_SENT_UNKNOWN },
		{ "", CHAIN_SENT_UNKNOWN },
		{ ERROR("-32000", "7"), CHAIN_SENT_UNKNOWN },
		{ ERROR("\"x\"", "\"nonce too low\""), CHAIN_SENT_UNKNOWN },
		{ "{\"jsonrpc\":\"2.0\",\"id\":9ID,\"error\":{\"code\":-32000,\"message\":\"nonce too low\"}}", CHAIN_SENT_UNKNOWN },
		{ "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,\"message\":\"nonce too low\"}}", CHAIN_SENT_UNKNOWN },
		{ ERROR("-32603", "\"Internal error\""), CHAIN_SENT_UNKNOWN },
		{ ERROR("-32000", "\"nonce too low\""), CHAIN_SENT_NONCE_TOO_LOW },
		{ ERROR("-32003", "\"transaction already imported\""), CHAIN_SENT_KNOWN },
		/* wrapped by something between us and the node */
		{ ERROR("-32603", "\"Internal JSON-RPC error.\",\"data\":{\"code\":-32000,\"message\":\"nonce too low\"}"), CHAIN_SENT_NONCE_TOO_LOW },
		{ ERROR("-32603", "\"Internal error\",\"data\":\"already known\""), CHAIN_SENT_KNOWN },
		{ ERROR("-32603", "\"processing response error\",\"error\":{\"originalError\":{\"message\":\"replacement transaction underpriced\"}}"), CHAIN_SENT_UNDERPRICED },
		{ ERROR("-32603", "\"Internal error\",\"data\":[1,{}]"), CHAIN_SENT_UNKNOWN },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct fake_answer a = { .method = "eth_sendRawTransaction", .whole = rows[i].body };
		fake_set(&fake, &a, 1);
		enum chain_sent got = chain_send_raw(chain, raw, len);
		if (got != rows[i].want)
			fail_msg("%s: %s", rows[i].body, chain_sent_name(got));
		assert_true(got == CHAIN_SENT || chain_error()[0]);
	}
	assert_true(fake_was_asked(&fake, TX_VECTORS[0].raw));
	/* Long words: bounded, and still understood. */
	char *long_words = xmalloc(300000);
	memset(long_words, 'x', 299999);
	long_words[299999] = '\0';
	char *body = xasprintf(ERROR("-32000", "\"nonce too low %s\",\"data\":\"%s\""), long_words, long_words);
	struct fake_answer a = { .method = "eth_sendRawTransaction", .whole = body };
	fake_set(&fake, &a, 1);
	assert_int_equal(chain_send_raw(chain, raw, len), CHAIN_SENT_NONCE_TOO_LOW);
	/* Never asked at all. */
	assert_int_equal(chain_send_raw(chain, raw, 0), CHAIN_SENT_REJECTED);
	assert_int_equal(chain_send_raw(chain, raw, TX_RAW_MAX + 1), CHAIN_SENT_REJECTED);
	free(body);
	free(long_words);
	free(good);
	free(raw);
}

/* ---- receipts ---- */

#define LOG(index, more) \
	"{\"address\":\"" A2 "\",\"topics\":[\"" H2 "\",\"" H3 "\"],\"data\":\"0x0102\",\"transactionHash\":\"" H1 "\",\"blockHash\":\"" H2 \
	"\",\"blockNumber\":\"0x20\",\"logIndex\":\"" index "\"" more "}"
#define RECEIPT(logs) \
	"{\"transactionHash\":\"" H1 "\",\"blockHash\":\"" H2 "\",\"blockNumber\":\"0x20\",\"status\":\"0x1\",\"from\":\"" A1 "\",\"to\":\"" A2 \
	"\",\"gasUsed\":\"0x5208\",\"effectiveGasPrice\":\"0x9\",\"logs\":[" logs "]}"
#define TWO_LOGS LOG("0x7", ",\"removed\":false") "," LOG("0x9", "")

static struct hash h1(void)
{
	struct hash h;
	memset(h.b, 0x11, sizeof(h.b));
	return h;
}

static void receipts(void **state)
{
	(void)state;
	ANSWERS({ .method = "eth_getTransactionReceipt", .result = RECEIPT(TWO_LOGS) });
	struct hash tx = h1();
	struct chain_receipt r;
	assert_int_equal(chain_receipt(chain, &tx, &r), ERR_OK);
	assert_true(hash_equal(&r.tx, &tx) && r.block.b[0] == 0x22 && r.block_number == 32 && r.ok);
	assert_true(r.from.b[19] == 0xa1 && r.to.b[19] == 0xa2 && r.gas_used == 21000 && r.gas_price == 9);
	assert_int_equal(r.log_count, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_true(r.logs[i].address.b[19] == 0xa2 && r.logs[i].topic_count == 2 && r.logs[i].topics[1].b[0] == 0x33);
		assert_int_equal(r.logs[i].data_len, 2);
		assert_memory_equal(r.logs[i].data, "\x01\x02", 2);
	}
	chain_receipt_done(&r);
	assert_null(r.logs);
	fake_lie(&fake, "eth_getTransactionReceipt", TWO_LOGS, "");
	assert_int_equal(chain_receipt(chain, &tx, &r), ERR_OK);
	assert_int_equal(r.log_count, 0);
	chain_receipt_done(&r);
	static const struct fake_answer failed = { .method = "eth_getTransactionReceipt", .result = RECEIPT() };
	fake_set(&fake, &failed, 1);
	fake_lie(&fake, "eth_getTransactionReceipt", "\"status\":\"0x1\"", "\"status\":\"0x0\"");
	assert_int_equal(chain_receipt(chain, &tx, &r), ERR_OK);
	assert_false(r.ok);
	chain_receipt_done(&r);
	static const struct fake_answer none = { .method = "eth_getTransactionReceipt", .result = "null" };
	fake_set(&fake, &none, 1);
	assert_int_equal(chain_receipt(chain, &tx, &r), ERR_NOT_FOUND);
}

static void lying_receipts(void **state)
{
	(void)state;
	static const struct { const char *from, *to; } lies[] = {
		{ "\"transactionHash\":\"" H1 "\",\"blockHash\":\"" H2 "\",\"blockNumber\":\"0x20\",\"status\"", "\"transactionHash\":\"" H3 "\",\"blockHash\":\"" H2 "\",\"blockNumber\":\"0x20\",\"status\"" },
		{ "\"blockNumber\":\"0x20\",\"status\"", "\"blockNumber\":\"0x21\",\"status\"" }, /* the logs say 0x20 */
		{ "\"blockNumber\":\"0x20\",\"status\"", "\"blockNumber\":null,\"status\"" },
		{ "\"blockHash\":\"" H2 "\",\"blockNumber\":\"0x20\",\"status\"", "\"blockHash\":null,\"blockNumber\":\"0x20\",\"status\"" },
		{ "\"blockHash\":\"" H2 "\",\"blockNumber\":\"0x20\",\"status\"", "\"blockHash\":\"" H3 "\",\"blockNumber\":\"0x20\",\"status\"" },
		{ "\"status\":\"0x1\"", "\"status\":\"0x0\"" }, /* failed, with logs */
		{ "\"status\":\"0x1\"", "\"status\":\"0x2\"" },
		{ "\"status\":\"0x1\"", "\"status\":true" },
		{ "\"status\":\"0x1\",", "" },
		{ "\"from\":\"" A1 "\",", "" },
		{ "\"to\":\"" A2 "\"", "\"to\":\"0x12\"" },
		{ "\"gasUsed\":\"0x5208\"", "\"gasUsed\":21000" },
		{ "\"effectiveGasPrice\":\"0x9\",", "" },
		{ "\"logs\":[", "\"logs\":{\"x\":1},\"other\":[" },
		{ "\"logs\":[", "\"other\":[" },
		{ "\"logs\":[", "\"logs\":[null," },
		{ "\"removed\":false", "\"removed\":true" },
		{ "\"logIndex\":\"0x9\"", "\"logIndex\":\"0x7\"" }, /* the same log twice */
		{ "\"logIndex\":\"0x9\"", "\"logIndex\":\"0x6\"" },
		{ "\"logIndex\":\"0x9\"", "\"logIndex\":null" },
		{ "\"data\":\"0x0102\"", "\"data\":\"0x010\"" },
		{ "\"data\":\"0x0102\"", "\"data\":null" },
		{ "\"topics\":[\"" H2 "\",", "\"topics\":[\"" H2 "\",\"" H2 "\",\"" H2 "\",\"" H2 "\"," },
		{ "\"topics\":[\"" H2 "\",", "\"topics\":[\"0x12\"," },
		{ "\"data\":\"0x0102\",\"transactionHash\":\"" H1 "\"", "\"data\":\"0x0102\",\"transactionHash\":\"" H3 "\"" },
		{ "\"address\":\"" A2 "\"", "\"address\":\"" A2 "00\"" },
	};
	struct hash tx = h1();
	for (size_t i = 0; i < COUNT_OF(lies); i++) {
		struct chain_receipt r = { .block_number = 99 };
		ANSWERS({ .method = "eth_getTransactionReceipt", .result = RECEIPT(TWO_LOGS) });
		fake_lie(&fake, "eth_getTransactionReceipt", lies[i].from, lies[i].to);
		if (chain_receipt(chain, &tx, &r) != ERR_CHAIN_DOWN)
			fail_msg("believed: %s", lies[i].to);
		assert_true(fake_lies_told(&fake) >= 1);
		assert_true(r.block_number == 99 && !r.logs && chain_error()[0]);
	}
}

/* As many logs as are allowed, and one more. */
static void many_logs(void **state)
{
	(void)state;
	struct hash tx = h1();
	for (unsigned extra = 0; extra < 2; extra++) {
		struct buf logs = BUF_INIT(RPC_ANSWER_MAX);
		for (unsigned i = 0; i < CHAIN_RECEIPT_LOGS_MAX + extra; i++)
			assert_int_equal(buf_printf(&logs, "%s{\"address\":\"" A2 "\",\"topics\":[],\"data\":\"0x\",\"transactionHash\":\"" H1
							   "\",\"blockHash\":\"" H2 "\",\"blockNumber\":\"0x20\",\"logIndex\":\"0x%x\"}", i ? "," : "", i),
					 ERR_OK);
		char *result = fake_replace(RECEIPT("LOGS"), "LOGS", logs.data, &(unsigned){ 0 });
		struct fake_answer a = { .method = "eth_getTransactionReceipt", .result = result };
		struct chain_receipt r;
		fake_set(&fake, &a, 1);
		assert_int_equal(chain_receipt(chain, &tx, &r), extra ? ERR_CHAIN_DOWN : ERR_OK);
		if (!extra) {
			assert_int_equal(r.log_count, CHAIN_RECEIPT_LOGS_MAX);
			chain_receipt_done(&r);
		}
		free(result);
		buf_done(&logs);
	}
}

static void what_transactions_carry(void **state)
{
	(void)state;
	static const struct {
		const char *result;
		enum err e;
		bool carries;
	} rows[] = {
		{ "{\"hash\":\"" H1 "\",\"input\":\"0x00aabbcc\"}", ERR_OK, true },
		{ "{\"hash\":\"" H1 "\",\"input\":\"0xaabb\"}", ERR_OK, true },
		{ "{\"hash\":\"" H1 "\",\"input\":\"0x0aabb0\"}", ERR_OK, false }, /* digits, not bytes */
		{ "{\"hash\":\"" H1 "\",\"input\":\"0xaa\"}", ERR_OK, false },
		{ "{\"hash\":\"" H1 "\",\"input\":\"0x\"}", ERR_OK, false },
		{ "{\"hash\":\"" H2 "\",\"input\":\"0xaabb\"}", ERR_CHAIN_DOWN, false },
		{ "{\"hash\":\"" H1 "\"}", ERR_CHAIN_DOWN, false },
		{ "null", ERR_CHAIN_DOWN, false },
	};
	struct hash tx = h1();

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct fake_answer a = { .method = "eth_getTransactionByHash", .result = rows[i].result };
		bool carries = false;

		fake_set(&fake, &a, 1);
		assert_int_equal(chain_tx_carries(chain, &tx, "\xaa\xbb", 2, &carries), rows[i].e);
		assert_int_equal(carries, rows[i].carries);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accounts), cmocka_unit_test(bad_balances),	 cmocka_unit_test(simulations),	   cmocka_unit_test(estimates),
		cmocka_unit_test(fees),	    cmocka_unit_test(bumps),		 cmocka_unit_test(refusals_by_words), cmocka_unit_test(sends),
		cmocka_unit_test(receipts), cmocka_unit_test(lying_receipts), cmocka_unit_test(many_logs),	   
		cmocka_unit_test(what_transactions_carry),
	};

	return RUN_TESTS_OF_CHAIN(tests);
}
