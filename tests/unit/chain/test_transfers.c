/* Transfers of a block: the right ones with their ordinals, and every lie an endpoint may tell about them refused. */
#include "tests/unit/chain/fake_chain.h"

#define BLOCK "0xb10cb10cb10cb10cb10cb10cb10cb10cb10cb10cb10cb10cb10cb10cb10cb10c"
#define TX1 "0x1111111111111111111111111111111111111111111111111111111111111111"
#define TX2 "0x2222222222222222222222222222222222222222222222222222222222222222"
#define TOKEN "0x00000000000000000000000000000000000070c0"
#define FOREIGN "0x000000000000000000000000000000000000f0e1"
#define TRANSFER "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
#define APPROVAL "0x8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925"
#define FROM "0x000000000000000000000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define TO "0x000000000000000000000000cccccccccccccccccccccccccccccccccccccccc"
#define ELSE "0x000000000000000000000000dddddddddddddddddddddddddddddddddddddddd"
#define VALUE1 "0x0000000000000000000000000000000000000000000000000000000000000101"
#define VALUE2 "0x0000000000000000000000000000000000000000000000000000000000000202"
#define VALUE3 "0x0000000000000000000000000000000000000000000000000000000000000303"

#define LOG(token, topic, from, to, value, tx, index) \
	"{\"address\":\"" token "\",\"topics\":[\"" topic "\",\"" from "\",\"" to "\"],\"data\":\"" value "\",\"blockHash\":\"" BLOCK \
	"\",\"blockNumber\":\"0x10\",\"transactionHash\":\"" tx "\",\"transactionIndex\":\"0x0\",\"logIndex\":\"" index "\",\"removed\":false}"
#define ANONYMOUS(tx, index) \
	"{\"address\":\"" TOKEN "\",\"topics\":[],\"data\":\"0x\",\"blockHash\":\"" BLOCK "\",\"blockNumber\":\"0x10\",\"transactionHash\":\"" tx \
	"\",\"logIndex\":\"" index "\"}"
#define OURS1 LOG(TOKEN, TRANSFER, FROM, TO, VALUE1, TX1, "0x5")
#define OURS2 LOG(TOKEN, TRANSFER, FROM, TO, VALUE2, TX1, "0x8")
#define OURS3 LOG(TOKEN, TRANSFER, ELSE, TO, VALUE3, TX2, "0xa")
#define RECEIPT(tx, logs) "{\"transactionHash\":\"" tx "\",\"blockHash\":\"" BLOCK "\",\"blockNumber\":\"0x10\",\"status\":\"0x1\",\"logs\":[" logs "]}"

#define THE_BLOCK { .method = "eth_getBlockByHash", .result = "{\"hash\":\"" BLOCK "\",\"number\":\"0x10\"}" }
#define RECEIPT1 \
	{ .method = "eth_getTransactionReceipt", .contains = TX1, \
	  .result = RECEIPT(TX1, LOG(TOKEN, APPROVAL, FROM, TO, VALUE1, TX1, "0x4") "," OURS1 "," LOG(TOKEN, TRANSFER, FROM, ELSE, VALUE1, TX1, "0x6") \
			    "," LOG(FOREIGN, TRANSFER, FROM, TO, VALUE1, TX1, "0x7") "," OURS2) }
#define RECEIPT2 \
	{ .method = "eth_getTransactionReceipt", .contains = TX2, .result = RECEIPT(TX2, ANONYMOUS(TX2, "0x9") "," OURS3) }

/* The list deliberately not in order. */
static const struct fake_answer GOOD[] = {
	THE_BLOCK, { .method = "eth_getLogs", .result = "[" OURS3 "," OURS1 "," OURS2 "]" }, RECEIPT1, RECEIPT2
};

static struct address token, to;
static struct hash block;

static enum err ask(struct chain_transfer **ret, size_t *ret_count)
{
	return chain_transfers_in_block(chain, &token, &to, &block, ret, ret_count);
}

static void found_with_ordinals(void **state)
{
	(void)state;
	fake_set(&fake, GOOD, 4);
	struct chain_transfer *list = NULL;
	size_t count = 0;
	assert_int_equal(ask(&list, &count), ERR_OK);
	assert_int_equal(count, 3);
	static const struct { const char *tx; uint32_t ordinal; uint8_t from, value; } want[] = {
		{ TX1, 1, 0xaa, 1 }, { TX1, 4, 0xaa, 2 }, { TX2, 1, 0xdd, 3 }
	};
	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(hash_format(&list[i].tx).s, want[i].tx);
		assert_string_equal(hash_format(&list[i].block).s, BLOCK);
		assert_int_equal(list[i].block_number, 16);
		assert_int_equal(list[i].ordinal, want[i].ordinal);
		assert_int_equal(list[i].from.b[7], want[i].from);
		assert_true(address_equal(&list[i].to, &to));
		assert_int_equal(list[i].value_be[31], want[i].value);
		assert_int_equal(list[i].value_be[30], want[i].value);
	}
	free(list);
}

static void asks_by_block_hash(void **state)
{
	(void)state;
	static const struct fake_answer none[] = { THE_BLOCK, { .method = "eth_getLogs", .result = "[]" } };
	fake_set(&fake, none, 2);
	struct chain_transfer *list = NULL;
	size_t count = 9;
	assert_int_equal(ask(&list, &count), ERR_OK);
	assert_int_equal(count, 0);
	free(list);
	assert_true(fake_was_asked(&fake, "\"params\":[{\"blockHash\":\"" BLOCK "\",\"address\":\"" TOKEN "\",\"topics\":[\"" TRANSFER "\",null,\"" TO "\"]}]"));
}

static void refused(const struct fake_answer *answers, size_t n, enum err e)
{
	struct chain_transfer *list = NULL;
	size_t count = 9;
	fake_set(&fake, answers, n);
	assert_int_equal(ask(&list, &count), e);
	assert_null(list);
	assert_int_equal(count, 9);
}

#define TX3 "0x3333333333333333333333333333333333333333333333333333333333333333"
#define NOTHING(tx, index) LOG(TOKEN, TRANSFER, FROM, TO, "0x0000000000000000000000000000000000000000000000000000000000000000", tx, index)

/* Transfers of nothing are anybody's: they are none, and the receipt of a transaction with no others, which may be of any size, is not read. */
static void of_nothing(void **state)
{
	static const struct fake_answer answers[] = {
		THE_BLOCK, { .method = "eth_getLogs", .result = "[" NOTHING(TX3, "0x1") "," NOTHING(TX1, "0x4") "," OURS1 "," NOTHING(TX3, "0x2") "]" },
		{ .method = "eth_getTransactionReceipt", .contains = TX1, .result = RECEIPT(TX1, NOTHING(TX1, "0x4") "," OURS1) },
		{ .method = "eth_getTransactionReceipt", .contains = TX3, .result = "null" },
	};
	struct chain_transfer *list = NULL;
	size_t count = 9;

	(void)state;
	fake_set(&fake, answers, 4);
	assert_int_equal(ask(&list, &count), ERR_OK);
	assert_int_equal(count, 1);
	assert_int_equal(list[0].ordinal, 1);
	assert_int_equal(list[0].value_be[31], 1);
	free(list);
}

static void unknown_block(void **state)
{
	(void)state;
	static const struct fake_answer unknown[] = { { .method = "eth_getBlockByHash", .result = "null" }, { .method = "eth_getLogs", .result = "[]" } };
	refused(unknown, 2, ERR_NOT_FOUND);
	static const struct fake_answer lagging[] = {
		THE_BLOCK, { .method = "eth_getLogs", .whole = "{\"jsonrpc\":\"2.0\",\"id\":ID,\"error\":{\"code\":-32000,\"message\":\"unknown block\"}}" }
	};
	refused(lagging, 2, ERR_CHAIN_DOWN);
}

static void different_stories(void **state)
{
	(void)state;
	/* One of two transfers missing; one listed twice; one the receipt does not know; no receipt; logs that are no list. */
	static const char *const lists[] = {
		"[" OURS1 "," OURS3 "]",
		"[" OURS1 "," OURS2 "," OURS3 "," OURS3 "]",
		"[" OURS1 "," OURS2 "," OURS3 "," LOG(TOKEN, TRANSFER, FROM, TO, VALUE1, TX2, "0xb") "]",
		"[" LOG(TOKEN, TRANSFER, FROM, TO, VALUE1, "0x3333333333333333333333333333333333333333333333333333333333333333", "0x1") "]",
		"[" ANONYMOUS(TX1, "0x5") "]",
		"[" LOG(TOKEN, APPROVAL, FROM, TO, VALUE1, TX1, "0x5") "]",
		"[" LOG(FOREIGN, TRANSFER, FROM, TO, VALUE1, TX1, "0x5") "]",
		"[" LOG(TOKEN, TRANSFER, FROM, ELSE, VALUE1, TX1, "0x5") "]",
		"[" LOG(TOKEN, TRANSFER, FROM, TO "\",\"" VALUE1, "0x", TX1, "0x5") "]",
		"[null]", "[[]]", "{}", "null", "\"0x\"",
	};
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		const struct fake_answer answers[] = { THE_BLOCK, { .method = "eth_getLogs", .result = lists[i] }, RECEIPT1, RECEIPT2 };
		refused(answers, 4, ERR_CHAIN_DOWN);
	}
	static const struct fake_answer forgotten[] = {
		THE_BLOCK, { .method = "eth_getLogs", .result = "[" OURS1 "]" }, { .method = "eth_getTransactionReceipt", .result = "null" }
	};
	refused(forgotten, 3, ERR_CHAIN_DOWN);
}

/* One word of one answer changed. */
static void lies(void **state)
{
	(void)state;
	static const struct { const char *method, *from, *to; } rows[] = {
		{ "eth_getBlockByHash", BLOCK, TX1 },
		{ "eth_getBlockByHash", "0x10", "0x11" },
		{ "eth_getLogs", "\"removed\":false", "\"removed\":true" },
		{ "eth_getLogs", "\"removed\":false", "\"removed\":\"false\"" },
		{ "eth_getLogs", BLOCK, TX1 },
		{ "eth_getLogs", "\"blockHash\":\"" BLOCK "\"", "\"blockHash\":null" },
		{ "eth_getLogs", "\"blockNumber\":\"0x10\"", "\"blockNumber\":\"0xf\"" },
		{ "eth_getLogs", "\"blockNumber\":\"0x10\",", "" },
		{ "eth_getLogs", TOKEN, FOREIGN },
		{ "eth_getLogs", TRANSFER, APPROVAL },
		{ "eth_getLogs", TO, ELSE },
		{ "eth_getLogs", "0x000000000000000000000000aaaa", "0x000000000000000000000001aaaa" },
		{ "eth_getLogs", VALUE1, "0x01" },
		{ "eth_getLogs", VALUE1, VALUE1 "00" },
		{ "eth_getLogs", VALUE1, VALUE2 },
		{ "eth_getLogs", "\"logIndex\":\"0x5\"", "\"logIndex\":\"0x6\"" },
		{ "eth_getLogs", "\"logIndex\":\"0x5\"", "\"logIndex\":\"0x8\"" },
		{ "eth_getLogs", "\"logIndex\":\"0x5\"", "\"logIndex\":5" },
		{ "eth_getLogs", "\"logIndex\":\"0x5\"", "\"logIndex\":\"0x05\"" },
		{ "eth_getLogs", TX2, TX1 },
		{ "eth_getTransactionReceipt", TX1, TX2 },
		{ "eth_getTransactionReceipt", BLOCK, TX1 },
		{ "eth_getTransactionReceipt", "\"status\":\"0x1\"", "\"status\":\"0x0\"" },
		{ "eth_getTransactionReceipt", "\"status\":\"0x1\",", "" },
		{ "eth_getTransactionReceipt", VALUE2, VALUE3 },
		{ "eth_getTransactionReceipt", "\"logIndex\":\"0x8\"", "\"logIndex\":\"0xc\"" },
		{ "eth_getTransactionReceipt", "\"removed\":false", "\"removed\":true" },
		{ "eth_getTransactionReceipt", "\"logs\"", "\"log\"" },
		{ "eth_getTransactionReceipt", TO, ELSE },
		{ "eth_getTransactionReceipt", FOREIGN, TOKEN },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct chain_transfer *list = NULL;
		size_t count = 9;
		fake_set(&fake, GOOD, 4);
		fake_lie(&fake, rows[i].method, rows[i].from, rows[i].to);
		if (ask(&list, &count) != ERR_CHAIN_DOWN)
			fail_msg("believed: %s for %s in %s", rows[i].to, rows[i].from, rows[i].method);
		assert_true(fake_lies_told(&fake) > 0); /* the row did change something */
		assert_null(list);
	}
	fake_set(&fake, GOOD, 4);
	fake_lie(&fake, "eth_getLogs", ",\"removed\":false", ""); /* may be left out */
	struct chain_transfer *list = NULL;
	size_t count = 0;
	assert_int_equal(ask(&list, &count), ERR_OK);
	assert_int_equal(count, 3);
	free(list);
}

/* ---- the first of a range ---- */

#define LAST { .method = "eth_getBlockByNumber", .result = "{\"number\":\"0x20\",\"hash\":\"" BLOCK "\",\"parentHash\":\"" TX1 "\",\"timestamp\":\"0x1\"}" }

static enum err first_of(const char *logs, uint64_t *ret_first)
{
	const struct fake_answer answers[] = { LAST, { .method = "eth_getLogs", .result = logs } };
	struct chain_block last;
	enum err e;

	fake_set(&fake, answers, 2);
	e = chain_first_transfer(chain, &token, &to, 2, 32, &last, ret_first);
	if (!e)
		assert_true(hash_equal(&last.hash, &block));
	return e;
}

static void first_in_a_range(void **state)
{
	static const char *const lists[] = {
		"[" LOG(FOREIGN, TRANSFER, FROM, TO, VALUE1, TX1, "0x5") "]",
		"[" LOG(TOKEN, APPROVAL, FROM, TO, VALUE1, TX1, "0x5") "]",
		"[" LOG(TOKEN, TRANSFER, FROM, ELSE, VALUE1, TX1, "0x5") "]",
		"[" OURS1 ",null]", "{}", "null",
	};
	static const struct fake_answer unknown[] = { { .method = "eth_getBlockByNumber", .result = "null" }, { .method = "eth_getLogs", .result = "[]" } };
	static const struct fake_answer refuses[] = { LAST };
	struct chain_block last;
	uint64_t first = 0;

	(void)state;
	assert_int_equal(first_of("[]", &first), ERR_OK);
	assert_int_equal(first, 33);
	assert_int_equal(first_of("[" OURS3 "," OURS1 "]", &first), ERR_OK);
	assert_int_equal(first, 16);
	assert_true(fake_was_asked(&fake, "{\"fromBlock\":\"0x2\",\"toBlock\":\"0x20\",\"address\":\"" TOKEN "\",\"topics\":[\"" TRANSFER "\",null,\"" TO "\"]}"));
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		assert_int_equal(first_of(lists[i], &first), ERR_CHAIN_DOWN);
	static const struct { const char *from, *to; } lies[] = { { "\"blockNumber\":\"0x10\"", "\"blockNumber\":\"0x21\"" }, { "\"blockNumber\":\"0x10\"", "\"blockNumber\":\"0x1\"" },
								  { "\"removed\":false", "\"removed\":true" } };
	for (size_t i = 0; i < 3; i++) {
		const struct fake_answer answers[] = { LAST, { .method = "eth_getLogs", .result = "[" OURS1 "]" } };

		fake_set(&fake, answers, 2);
		fake_lie(&fake, "eth_getLogs", lies[i].from, lies[i].to);
		assert_int_equal(chain_first_transfer(chain, &token, &to, 2, 32, &last, &first), ERR_CHAIN_DOWN);
	}
	fake_set(&fake, unknown, 2); /* and its logs mean nothing */
	assert_int_equal(chain_first_transfer(chain, &token, &to, 2, 32, &last, &first), ERR_NOT_FOUND);
	fake_set(&fake, refuses, 1);
	assert_int_equal(chain_first_transfer(chain, &token, &to, 2, 32, &last, &first), ERR_CHAIN_DOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_with_ordinals), cmocka_unit_test(asks_by_block_hash), cmocka_unit_test(of_nothing), cmocka_unit_test(unknown_block),
		cmocka_unit_test(different_stories),   cmocka_unit_test(lies),		 cmocka_unit_test(first_in_a_range),
	};

	if (address_parse(TOKEN, &token) || address_parse("0xcccccccccccccccccccccccccccccccccccccccc", &to) || hash_parse(BLOCK, &block))
		return 1;
	return RUN_TESTS_OF_CHAIN(tests);
}
