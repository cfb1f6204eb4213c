/* What a payment's money came by, from the logs of an endpoint: the right transfer, no other one, and "not known" where it cannot say. */
#include "chain/send.h"
#include "tests/unit/chain/fake_chain.h"

#define TX "0x1111111111111111111111111111111111111111111111111111111111111111"
#define BLOCK_HASH "0x2222222222222222222222222222222222222222222222222222222222222222"
#define NONCE "0x3333333333333333333333333333333333333333333333333333333333333333"
#define TOKEN "0x00000000000000000000000000000000000070c0"
#define PERMIT2 "0x000000000022d473030f116ddee9f6b43ac78ba3"
#define USED "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5"
#define CANCELED "0x1cdd46ff242716cdaa72d159d339a485b3438398348d68f09d7c8c0a59353d81"
#define INVALIDATED "0x3704902f963766a4e561bbaab6e6cdc1b1dd12f6e9e99648da8843b3f46b918d"
#define TRANSFER "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
#define PAYER "0x00000000000000000000000000000000000000000000000000000000000000aa"
#define PAYEE "0x00000000000000000000000000000000000000000000000000000000000000cc"
#define OTHER "0x00000000000000000000000000000000000000000000000000000000000000dd"
#define PRICE "0x0000000000000000000000000000000000000000000000000000000000000101"
#define ZERO "0x0000000000000000000000000000000000000000000000000000000000000000"
#define THIRD_WORD "0x0033333333333333333333333333333333333333333333333333333333333333"
#define BIT_33 "0000000000000000000000000000000000000000000000000008000000000000"
#define BIT_34 "0000000000000000000000000000000000000000000000000010000000000000"

#define LOG(contract, topics, data, index) \
	"{\"address\":\"" contract "\",\"topics\":[\"" topics "\"],\"data\":\"" data "\",\"transactionHash\":\"" TX "\",\"blockHash\":\"" BLOCK_HASH \
	"\",\"blockNumber\":\"0x20\",\"logIndex\":\"" index "\"}"
#define TO(payer, payee, value, index) LOG(TOKEN, TRANSFER "\",\"" payer "\",\"" payee, value, index)
#define MINE(value, index) TO(PAYER, PAYEE, value, index)
#define USED_LOG(nonce, index) LOG(TOKEN, USED "\",\"" PAYER "\",\"" nonce, "0x", index)
#define RECEIPT(logs) \
	"{\"transactionHash\":\"" TX "\",\"blockHash\":\"" BLOCK_HASH "\",\"blockNumber\":\"0x20\",\"status\":\"0x1\",\"from\":\"" TOKEN "\",\"to\":\"" TOKEN \
	"\",\"gasUsed\":\"0x5208\",\"effectiveGasPrice\":\"0x9\",\"logs\":[" logs "]}"
#define BLOCK "{\"number\":\"0x30\",\"hash\":\"" BLOCK_HASH "\",\"parentHash\":\"" BLOCK_HASH "\",\"timestamp\":\"0x65\"}"

static const struct chain_payment WHAT = { .token = { { [18] = 0x70, [19] = 0xc0 } }, .payer = { { [19] = 0xaa } }, .to = { { [19] = 0xcc } }, .from_block = 0x10, .to_block = 0x30 };

static struct chain_payment what(void)
{
	struct chain_payment p = WHAT;

	p.amount = amount_from_u64(0x101);
	return p;
}

static struct hash nonce(void)
{
	struct hash h;

	memset(h.b, 0x33, sizeof(h.b));
	return h;
}

/* The endpoint has these logs of used and of cancelled authorizations, and this receipt. */
static enum err ask(const char *block, const char *used, const char *cancelled, const char *receipt, struct chain_arrival *ret, bool *ret_seen)
{
	const struct fake_answer answers[] = { { .method = "eth_getBlockByNumber", .result = block }, { .method = "eth_getLogs", .contains = USED, .result = used },
					       { .method = "eth_getLogs", .contains = CANCELED, .result = cancelled },
					       { .method = "eth_getTransactionReceipt", .result = receipt } };
	const struct chain_payment p = what();
	const struct hash n = nonce();

	fake_set(&fake, answers, COUNT_OF(answers));
	return chain_authorization_tx(chain, &p, &n, ret, ret_seen);
}

static void the_transfer_next_to_it(void **state)
{
	struct chain_arrival a = { .log = 99 };
	bool seen = false;

	(void)state;
	assert_int_equal(ask(BLOCK, "[" USED_LOG(NONCE, "0x4") "]", "[]", RECEIPT(MINE(PRICE, "0x3") "," USED_LOG(NONCE, "0x4") "," MINE(PRICE, "0x5")), &a, &seen), ERR_OK);
	assert_true(seen && a.log == 2);
	assert_string_equal(hash_format(&a.tx).s, TX);
	/* where a token says the transfer first */
	assert_int_equal(ask(BLOCK, "[" USED_LOG(NONCE, "0x4") "]", "[]", RECEIPT(MINE(PRICE, "0x3") "," USED_LOG(NONCE, "0x4")), &a, &seen), ERR_OK);
	assert_true(seen && a.log == 0);
}

/* The same nonce signed again for somebody else, behind a transfer that another authorization made. */
static void not_that_of_another(void **state)
{
	struct chain_arrival a;
	bool seen = false;

	(void)state;
	assert_int_equal(ask(BLOCK, "[" USED_LOG(NONCE, "0x4") "]", "[]", RECEIPT(MINE(PRICE, "0x3") "," USED_LOG(NONCE, "0x4") "," TO(PAYER, OTHER, PRICE, "0x5")), &a, &seen),
			 ERR_NOT_FOUND);
	assert_true(seen);
	seen = false;
	assert_int_equal(ask(BLOCK, "[" USED_LOG(NONCE, "0x4") "]", "[]", RECEIPT(USED_LOG(NONCE, "0x4") "," MINE(ZERO, "0x5")), &a, &seen), ERR_NOT_FOUND);
	assert_true(seen);
}

static void what_became_of_it_is_seen_or_not(void **state)
{
	struct chain_arrival a;
	bool seen = false;

	(void)state;
	assert_int_equal(ask(BLOCK, "[]", "[" LOG(TOKEN, CANCELED "\",\"" PAYER "\",\"" NONCE, "0x", "0x4") "]", "null", &a, &seen), ERR_NOT_FOUND);
	assert_true(seen);
	assert_int_equal(ask(BLOCK, "[]", "[]", "null", &a, &seen), ERR_NOT_FOUND);
	assert_false(seen);
	/* an endpoint that has not come as far has no logs either */
	assert_int_equal(ask("null", "[]", "[]", "null", &a, &seen), ERR_CHAIN_DOWN);
	assert_false(seen);
}

/* ---- Permit2 ---- */

static enum err ask_transfers(const char *logs, const char *receipt, struct chain_arrival *ret, size_t max, size_t *ret_count)
{
	const struct fake_answer answers[] = { { .method = "eth_getBlockByNumber", .result = BLOCK }, { .method = "eth_getLogs", .result = logs },
					       { .method = "eth_getTransactionReceipt", .result = receipt } };
	const struct chain_payment p = what();

	fake_set(&fake, answers, COUNT_OF(answers));
	return chain_payment_logs(chain, &p, ret, max, ret_count);
}

/* Anybody can have a token say that the payer paid nothing, as often as they like. */
static void transfers_of_another_amount_are_none(void **state)
{
	struct buf logs = BUF_INIT(1 << 20);
	struct chain_arrival a[2];
	size_t count = 9;

	(void)state;
	for (unsigned i = 0; i < 2 * CHAIN_PAYMENT_LOGS_MAX; i++)
		assert_int_equal(buf_printf(&logs, "%s{\"address\":\"" TOKEN "\",\"topics\":[\"" TRANSFER "\",\"" PAYER "\",\"" PAYEE "\"],\"data\":\"" ZERO
						   "\",\"transactionHash\":\"0x%064x\",\"blockHash\":\"" BLOCK_HASH "\",\"blockNumber\":\"0x20\",\"logIndex\":\"0x%x\"}",
					    i ? "," : "[", i, i + 1),
				 ERR_OK);
	assert_int_equal(buf_puts(&logs, "," MINE(PRICE, "0xffff") "]"), ERR_OK);
	assert_int_equal(ask_transfers(logs.data, RECEIPT(MINE(ZERO, "0x1") "," MINE(PRICE, "0x2")), a, 2, &count), ERR_OK);
	assert_true(count == 1 && a[0].log == 1);
	buf_done(&logs);
}

static void more_than_fit_are_not_known(void **state)
{
	struct chain_arrival a[2];
	size_t count = 9;

	(void)state;
	assert_int_equal(ask_transfers("[" MINE(PRICE, "0x1") "]", RECEIPT(MINE(PRICE, "0x1") "," MINE(PRICE, "0x2")), a, 2, &count), ERR_OK);
	assert_int_equal(count, 2);
	assert_int_equal(ask_transfers("[" MINE(PRICE, "0x1") "]", RECEIPT(MINE(PRICE, "0x1") "," MINE(PRICE, "0x2") "," MINE(PRICE, "0x3")), a, 2, &count), ERR_CHAIN_DOWN);
}

static bool is_invalidated(const char *data)
{
	_cleanup_free_ char *logs = xasprintf("[{\"address\":\"" PERMIT2 "\",\"topics\":[\"" INVALIDATED "\",\"" PAYER "\"],\"data\":\"%s\",\"transactionHash\":\"" TX
					      "\",\"blockHash\":\"" BLOCK_HASH "\",\"blockNumber\":\"0x20\",\"logIndex\":\"0x1\"}]", data);
	const struct fake_answer answers[] = { { .method = "eth_getBlockByNumber", .result = BLOCK }, { .method = "eth_getLogs", .contains = PERMIT2, .result = logs } };
	const struct chain_payment p = what();
	const struct hash n = nonce();
	bool found = false;

	fake_set(&fake, answers, COUNT_OF(answers));
	assert_int_equal(chain_permit2_invalidated(chain, &p, &n, &found), ERR_OK);
	return found;
}

/* A nonce is a bit of a word: 0x33 of the word that the rest of it names. */
static void nonces_taken_back(void **state)
{
	(void)state;
	assert_true(is_invalidated(THIRD_WORD BIT_33));
	assert_false(is_invalidated(THIRD_WORD BIT_34));
	assert_false(is_invalidated(ZERO BIT_33));
	assert_false(is_invalidated("0x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_transfer_next_to_it), cmocka_unit_test(not_that_of_another), cmocka_unit_test(what_became_of_it_is_seen_or_not),
		cmocka_unit_test(transfers_of_another_amount_are_none), cmocka_unit_test(more_than_fit_are_not_known), cmocka_unit_test(nonces_taken_back),
	};

	return RUN_TESTS_OF_CHAIN(tests);
}
