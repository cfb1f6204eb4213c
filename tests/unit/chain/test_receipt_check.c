/* A receipt held against its block and the block's logs; and the chain's clock. */
#include "chain/chain_time.h"
#include "chain/send.h"
#include "tests/unit/chain/fake_chain.h"

#define H1 "0x1111111111111111111111111111111111111111111111111111111111111111"
#define H2 "0x2222222222222222222222222222222222222222222222222222222222222222"
#define H3 "0x3333333333333333333333333333333333333333333333333333333333333333"
#define A1 "0x00000000000000000000000000000000000000a1" /* somebody else's contract */
#define A2 "0x00000000000000000000000000000000000000a2"
#define A3 "0x00000000000000000000000000000000000000a3"
#define LOG(address, index, tx, data) \
	"{\"address\":\"" address "\",\"topics\":[\"" H3 "\"],\"data\":\"" data "\",\"transactionHash\":\"" tx "\",\"blockHash\":\"" H2 \
	"\",\"blockNumber\":\"0x20\",\"logIndex\":\"" index "\"}"
#define FIRST LOG(A2, "0x2", H1, "0x01")
#define SECOND LOG(A2, "0x4", H1, "0x02")
#define RECEIPT \
	"{\"transactionHash\":\"" H1 "\",\"blockHash\":\"" H2 "\",\"blockNumber\":\"0x20\",\"status\":\"0x1\",\"from\":\"" A1 "\",\"to\":\"" A2 \
	"\",\"gasUsed\":\"0x5208\",\"effectiveGasPrice\":\"0x9\",\"logs\":[" LOG(A1, "0x1", H1, "0x07") "," FIRST "," LOG(A3, "0x3", H1, "0x02") "," SECOND "]}"
#define FAILED_RECEIPT \
	"{\"transactionHash\":\"" H1 "\",\"blockHash\":\"" H2 "\",\"blockNumber\":\"0x20\",\"status\":\"0x0\",\"from\":\"" A1 "\",\"to\":\"" A2 \
	"\",\"gasUsed\":\"0x5208\",\"effectiveGasPrice\":\"0x9\",\"logs\":[]}"
#define BLOCK(hash, txs) "{\"hash\":\"" hash "\",\"transactions\":[" txs "]}"
#define OTHERS LOG(A2, "0x0", H3, "0x09")

/* What the check makes of a receipt, when the endpoint has this block and these logs. */
static enum err check(const char *receipt, const char *block, const char *logs)
{
	const struct fake_answer answers[] = { { .method = "eth_getTransactionReceipt", .result = receipt }, { .method = "eth_getBlockByNumber", .result = block },
					       { .method = "eth_getLogs", .result = logs } };
	struct hash tx;
	struct address contract = { { [19] = 0xa2 } };
	struct chain_receipt r;
	enum err e;

	memset(tx.b, 0x11, sizeof(tx.b));
	fake_set(&fake, answers, COUNT_OF(answers));
	assert_int_equal(chain_receipt(chain, &tx, &r), ERR_OK);
	e = chain_receipt_check(chain, &r, &contract);
	chain_receipt_done(&r);
	return e;
}

#define GOOD_BLOCK BLOCK(H2, "\"" H3 "\",\"" H1 "\"")
#define GOOD_LOGS "[" OTHERS "," FIRST "," SECOND "]"

static void it_fits(void **state)
{
	(void)state;
	assert_int_equal(check(RECEIPT, GOOD_BLOCK, GOOD_LOGS), ERR_OK);
	assert_int_equal(check(FAILED_RECEIPT, GOOD_BLOCK, "[" OTHERS "]"), ERR_OK);
}

static void another_block(void **state)
{
	(void)state;
	assert_int_equal(check(RECEIPT, "null", GOOD_LOGS), ERR_NOT_FOUND);
	assert_int_equal(check(RECEIPT, BLOCK(H3, "\"" H1 "\""), GOOD_LOGS), ERR_NOT_FOUND);
}

static void contradictions(void **state)
{
	(void)state;
	assert_int_equal(check(RECEIPT, BLOCK(H2, "\"" H3 "\""), GOOD_LOGS), ERR_CONFLICT); /* in no block */
	assert_int_equal(check(RECEIPT, BLOCK(H2, ""), GOOD_LOGS), ERR_CONFLICT);
	assert_int_equal(check(FAILED_RECEIPT, GOOD_BLOCK, GOOD_LOGS), ERR_CONFLICT); /* failed, and yet it has logs */
	assert_int_equal(check(RECEIPT, GOOD_BLOCK, "[]"), ERR_CONFLICT); /* succeeded, and has none */
	assert_int_equal(check(RECEIPT, GOOD_BLOCK, "[" OTHERS "," FIRST "]"), ERR_CONFLICT);
	assert_int_equal(check(RECEIPT, GOOD_BLOCK, "[" FIRST "," SECOND "," LOG(A2, "0x5", H1, "0x03") "]"), ERR_CONFLICT);
	assert_int_equal(check(RECEIPT, GOOD_BLOCK, "[" FIRST "," LOG(A2, "0x4", H1, "0x05") "]"), ERR_CONFLICT);
	assert_int_equal(check(RECEIPT, GOOD_BLOCK, "[" SECOND "," FIRST "]"), ERR_CONFLICT);
}

static void nonsense(void **state)
{
	(void)state;
	assert_int_equal(check(RECEIPT, "{\"hash\":\"" H2 "\"}", GOOD_LOGS), ERR_CHAIN_DOWN);
	assert_int_equal(check(RECEIPT, BLOCK(H2, "7"), GOOD_LOGS), ERR_CHAIN_DOWN);
	assert_int_equal(check(RECEIPT, GOOD_BLOCK, "7"), ERR_CHAIN_DOWN);
	assert_int_equal(check(RECEIPT, GOOD_BLOCK, "[" LOG(A1, "0x1", H1, "0x07") "]"), ERR_CHAIN_DOWN); /* not asked for */
	assert_int_equal(check(RECEIPT, GOOD_BLOCK, "[" FIRST "," LOG(A3, "0x3", H1, "0x02") "," SECOND "]"), ERR_CHAIN_DOWN); /* likewise: anybody fills a block with them */
}

static void another_chain(void **state)
{
	static const struct fake_answer answers[] = { { .method = "eth_chainId", .result = "\"0x14a34\"" } };

	(void)state;
	fake_set(&fake, answers, 1);
	assert_int_equal(chain_check_id(chain, 84532), ERR_OK);
	assert_int_equal(chain_check_id(chain, 8453), ERR_CHAIN_DOWN);
	assert_non_null(strstr(chain_error(), "84532"));
}

/* ---- the chain's clock ---- */

static struct chain_block block_at(uint64_t number, uint64_t timestamp)
{
	return (struct chain_block){ .number = number, .timestamp = timestamp };
}

#define SEES(number, timestamp, mono_s, wall_s) \
	do { \
		struct chain_block b_ = block_at(number, timestamp); \
		chain_time_saw(&t, &b_, (mono_s) * 1000, (wall_s) * 1000); \
	} while (0)
#define NOW(mono_s, wall_s) chain_time_now_s(&t, (mono_s) * 1000, (wall_s) * 1000)

static void time_of_a_right_clock(void **state)
{
	struct chain_time t = { 0 };

	(void)state;
	assert_int_equal(NOW(10, 5000), 5000); /* nothing seen: the wall clock */
	SEES(1, 4000, 10, 5000); /* a chain that slept: its last block says little */
	assert_int_equal(NOW(12, 9999), 5002); /* the wall clock may jump now */
	SEES(2, 5003, 13, 5003);
	assert_int_equal(NOW(20, 0), 5010);
}

static void time_of_a_wrong_clock(void **state)
{
	struct chain_time t = { 0 };

	(void)state;
	SEES(1, 8600, 10, 5000); /* an hour behind: a block is never from the future */
	assert_int_equal(NOW(11, 5001), 8601);
	SEES(1, 8600, 12, 5002); /* the same block again says nothing new */
	assert_int_equal(NOW(20, 5010), 8610);
	SEES(2, 8620, 25, 5015); /* a new one does, within what lies between two looks */
	assert_int_equal(NOW(25, 5015), 8620);

	t = (struct chain_time){ 0 };
	SEES(1, 5000, 10, 8600); /* an hour ahead: that is known with the next block */
	SEES(2, 5002, 12, 8602);
	assert_int_equal(NOW(13, 8603), 5003);
	SEES(3, 5000, 60, 8650); /* after a long silence an old block proves nothing */
	assert_int_equal(NOW(60, 8650), 5050);
	SEES(4, 5100, 120, 8710); /* but none is from the future */
	assert_int_equal(NOW(120, 8710), 5110);
	SEES(5, 5300, 160, 8750);
	assert_int_equal(NOW(160, 8750), 5300);
	SEES(4, 5290, 161, 8751); /* another branch, shorter */
	assert_int_equal(NOW(162, 8752), 5302);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_fits), cmocka_unit_test(another_block), cmocka_unit_test(contradictions), cmocka_unit_test(nonsense), cmocka_unit_test(another_chain),
		cmocka_unit_test(time_of_a_right_clock), cmocka_unit_test(time_of_a_wrong_clock),
	};

	return RUN_TESTS_OF_CHAIN(tests);
}
