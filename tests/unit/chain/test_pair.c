/* Two endpoints compared: what both say, what one of them hides, lags behind with, or says alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "chain/pair.h"
#include "crypto/crypto.h"
#include "net/net.h"
#include "tests/unit/chain/fake_rpc.h"

#define H(digit) "\"0x" digit digit digit digit digit digit digit digit "000000000000000000000000000000000000000000000000" "00000000" "\""
#define BLOCK(hash) "{\"number\":\"0x5\",\"hash\":" hash ",\"parentHash\":" H("0") ",\"timestamp\":\"0x1\"}"

static struct fake_rpc fakes[2];
static struct net *net;
static struct chain_pair pair;

static int begin(void **state)
{
	const struct net_config trusted = { .reactors = 1, .connections_per_host_max = 2 };

	(void)state;
	crypto_init();
	if (net_start(&trusted, &net))
		return -1;
	for (size_t i = 0; i < 2; i++)
		fake_start(&fakes[i]);
	pair = (struct chain_pair){ .first = chain_new(net, fakes[0].url, 5000), .second = chain_new(net, fakes[1].url, 5000) };
	return 0;
}

static int end(void **state)
{
	(void)state;
	chain_free(pair.first);
	chain_free(pair.second);
	net_stop(net);
	for (size_t i = 0; i < 2; i++)
		fake_stop(&fakes[i]);
	return 0;
}

static void say(size_t i, const char *block)
{
	const struct fake_answer answers[] = { { .method = "eth_getBlockByNumber", .result = block } };

	fake_set(&fakes[i], answers, block ? 1 : 0);
}

static enum err ask(const char *first, const char *second, int *ret_state)
{
	struct chain_block block;
	enum err e;

	say(0, first);
	say(1, second);
	e = chain_pair_block(&pair, 5, &block);
	*ret_state = atomic_load(&pair.state);
	return e;
}

static void test_blocks(void **state)
{
	int now = -1;

	(void)state;
	assert_int_equal(ask(BLOCK(H("1")), BLOCK(H("1")), &now), ERR_OK);
	assert_int_equal(now, PAIR_AGREE);
	assert_int_equal(ask(BLOCK(H("1")), BLOCK(H("2")), &now), ERR_CHAIN_DOWN);
	assert_int_equal(now, PAIR_DISAGREE);
	assert_int_equal(atomic_load(&pair.block), 5);
	assert_int_equal(ask(BLOCK(H("1")), "null", &now), ERR_NOT_FOUND);
	assert_int_equal(now, PAIR_SECOND_BEHIND);
	assert_int_equal(ask(BLOCK(H("1")), NULL, &now), ERR_CHAIN_DOWN);
	assert_int_equal(now, PAIR_SECOND_DOWN);
	assert_int_equal(ask(BLOCK(H("1")), BLOCK(H("1")), &now), ERR_OK);
	assert_int_equal(now, PAIR_AGREE); /* heals by itself */
}

/* What both once said is gone only when both say so. */
static void test_gone(void **state)
{
	struct hash seen = { { 0x11, 0x11, 0x11, 0x11 } };
	bool gone = false;

	(void)state;
	say(0, BLOCK(H("2")));
	say(1, BLOCK(H("2")));
	assert_int_equal(chain_pair_gone(&pair, 5, false, &seen, &gone), ERR_OK);
	assert_true(gone);
	say(1, BLOCK(H("1")));
	assert_int_equal(chain_pair_gone(&pair, 5, false, &seen, &gone), ERR_CHAIN_DOWN);
	assert_int_equal(atomic_load(&pair.state), PAIR_DISAGREE);
	say(1, "null");
	assert_int_equal(chain_pair_gone(&pair, 5, false, &seen, &gone), ERR_NOT_FOUND);
	say(0, BLOCK(H("1")));
	assert_int_equal(chain_pair_gone(&pair, 5, false, &seen, &gone), ERR_OK);
	assert_false(gone);
	say(0, "null"); /* one behind a balancer lags: the chain came past it */
	say(1, "null");
	assert_int_equal(chain_pair_gone(&pair, 5, true, &seen, &gone), ERR_CHAIN_DOWN);
	say(1, BLOCK(H("2")));
	assert_int_equal(chain_pair_gone(&pair, 5, false, &seen, &gone), ERR_OK); /* a shorter chain */
	assert_true(gone);
}

#define LOGS(number) "[{\"address\":\"0x7000000000000000000000000000000000000000\",\"topics\":[\"0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef\"," H("0") \
		",\"0x0000000000000000000000007e00000000000000000000000000000000000000\"],\"data\":\"0x\",\"blockHash\":" H("1") ",\"blockNumber\":\"" number "\",\"transactionHash\":" H("1") \
		",\"logIndex\":\"0x0\",\"removed\":false}]"

/* Where each says that the first transfer of blocks 1 to 5 is; NULL: it refuses. */
static enum err ask_first(const char *first, const char *second, int *ret_state, uint64_t *ret)
{
	static const struct address token = { { 0x70 } }, to = { { 0x7e } };
	const char *const logs[] = { first, second };
	struct chain_block last;
	enum err e;

	for (size_t i = 0; i < 2; i++) {
		const struct fake_answer answers[] = { { .method = "eth_getBlockByNumber", .result = BLOCK(H("1")) }, { .method = "eth_getLogs", .result = logs[i] } };

		fake_set(&fakes[i], answers, logs[i] ? 2 : 1);
	}
	e = chain_pair_first_transfer(&pair, &token, &to, 1, 5, &last, ret);
	*ret_state = atomic_load(&pair.state);
	return e;
}

static void test_ranges(void **state)
{
	uint64_t first = 0;
	int now = -1;

	(void)state;
	assert_int_equal(chain_pair_range(&pair, 1, 10000), 2000);
	assert_int_equal(chain_pair_range(&pair, 1, 1999), 1999);
	assert_int_equal(ask_first("[]", "[]", &now, &first), ERR_OK);
	assert_int_equal(first, 6);
	assert_int_equal(ask_first(LOGS("0x4"), LOGS("0x4"), &now, &first), ERR_OK);
	assert_int_equal(first, 4);
	assert_int_equal(now, PAIR_AGREE);
	assert_int_equal(ask_first(LOGS("0x4"), LOGS("0x3"), &now, &first), ERR_CHAIN_DOWN);
	assert_int_equal(now, PAIR_DISAGREE);
	assert_int_equal(atomic_load(&pair.block), 3);
	assert_int_equal(ask_first("[]", LOGS("0x3"), &now, &first), ERR_CHAIN_DOWN);
	assert_int_equal(now, PAIR_DISAGREE);
	assert_int_equal(chain_pair_range(&pair, 1, 10000), 2000); /* that was no refusal */
	assert_int_equal(ask_first("[]", NULL, &now, &first), ERR_CHAIN_DOWN);
	assert_int_equal(now, PAIR_SECOND_DOWN);
	assert_int_equal(chain_pair_range(&pair, 1, 10000), 2);
}

/* Asks both about as many blocks as it should be, of endpoints that refuse more than so many. */
static enum err ask_limited(uint64_t limit)
{
	static const struct address token = { { 0x70 } }, to = { { 0x7e } };
	uint64_t last = chain_pair_range(&pair, 1, 10000), first;
	_cleanup_free_ char *json = xasprintf("{\"number\":\"0x%llx\",\"hash\":" H("1") ",\"parentHash\":" H("0") ",\"timestamp\":\"0x1\"}", (unsigned long long)last);
	const struct fake_answer answers[] = { { .method = "eth_getBlockByNumber", .result = json }, { .method = "eth_getLogs", .result = "[]" } };
	struct chain_block block;

	for (size_t i = 0; i < 2; i++)
		fake_set(&fakes[i], answers, last > limit ? 1 : 2);
	return chain_pair_first_transfer(&pair, &token, &to, 1, last, &block, &first);
}

/* What an endpoint answers at once is found by halves, and then asked for without being refused again and again. */
static void test_limits(void **state)
{
	int refused = 0;

	(void)state;
	pair.range = pair.refused = pair.answered = 0;
	for (int i = 0; i < 24; i++)
		refused += ask_limited(10) != ERR_OK;
	assert_in_range(refused, 8, 11);
	assert_int_equal(chain_pair_range(&pair, 1, 10000), 10);
	for (int i = 0; i < 200; i++)
		assert_int_equal(ask_limited(10), ERR_OK);
	for (int i = 0; i < 80; i++)
		assert_int_equal(ask_limited(10000), ERR_OK);
	assert_int_equal(chain_pair_range(&pair, 1, 10000), 2000);
	for (int i = 0; i < 12; i++)
		assert_int_equal(ask_limited(0), ERR_CHAIN_DOWN);
	assert_int_equal(chain_pair_range(&pair, 7, 10000), 7);
}

static void test_one_alone(void **state)
{
	struct chain_pair alone = { .first = pair.first };
	struct chain_block block;

	(void)state;
	say(0, BLOCK(H("1")));
	assert_int_equal(chain_pair_block(&alone, 5, &block), ERR_OK);
	assert_int_equal(block.number, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_blocks), cmocka_unit_test(test_gone), cmocka_unit_test(test_ranges), cmocka_unit_test(test_limits),
					    cmocka_unit_test(test_one_alone) };

	return cmocka_run_group_tests(tests, begin, end);
}
