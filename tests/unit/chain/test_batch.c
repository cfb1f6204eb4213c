/* Several questions in one request: each gets its own answer, and endpoints that take no batches are asked one by one. */
#include "chain/rpc.h"
#include "chain/send.h"
#include "tests/unit/chain/fake_chain.h"

#define H1 "0x1111111111111111111111111111111111111111111111111111111111111111"
#define HEAD "{\"number\":\"0x1f\",\"hash\":\"" H1 "\",\"parentHash\":\"" H1 "\",\"timestamp\":\"0x65\",\"baseFeePerGas\":\"0x64\"}"
#define ID { .method = "eth_chainId", .result = "\"0x14a34\"" }
#define BLOCK { .method = "eth_getBlockByNumber", .result = HEAD, .contains = "[\"latest\",false]" }
#define NONCE { .method = "eth_getTransactionCount", .result = "\"0x7\"", .contains = "\"latest\"]" }
#define TIP { .method = "eth_maxPriorityFeePerGas", .result = "\"0xa\"" }

/* A new one each time: what an endpoint does not take is remembered. */
static enum err look(const struct fake_answer *answers, size_t count, struct chain_look *ret)
{
	const struct address sender = { { 1 } };
	enum err e;

	chain_free(chain);
	chain = chain_new(net, fake.url, 10000);
	fake_set(&fake, answers, count);
	fake.requests = 0;
	e = chain_look(chain, &sender, ret);
	return e;
}

static void expect_all(const struct chain_look *l)
{
	assert_int_equal(l->id, 84532);
	assert_int_equal(l->head_err, ERR_OK);
	assert_int_equal(l->head.number, 31);
	assert_int_equal(l->nonce_err, ERR_OK);
	assert_int_equal(l->nonce, 7);
	assert_int_equal(l->fees_err, ERR_OK);
	assert_int_equal(l->base, 100);
	assert_int_equal(l->priority, 10);
}

static void one_request(void **state)
{
	static const struct fake_answer answers[] = { ID, BLOCK, NONCE, TIP };
	struct chain_look l = { 0 };

	(void)state;
	assert_int_equal(look(answers, 4, &l), ERR_OK); /* the answers come in the reverse order */
	expect_all(&l);
	assert_int_equal(fake.requests, 1);
}

static void what_is_missing_is_missing_alone(void **state)
{
	static const struct fake_answer no_tip[] = { ID, BLOCK, NONCE }, no_nonce[] = { ID, BLOCK, TIP }, no_head[] = { ID, NONCE, TIP }, no_id[] = { BLOCK, NONCE, TIP },
					bad_head[] = { ID, { .method = "eth_getBlockByNumber", .result = "null" }, NONCE, TIP };
	struct chain_look l = { 0 };

	(void)state;
	assert_int_equal(look(no_tip, 3, &l), ERR_OK);
	assert_int_equal(l.head_err | l.nonce_err, ERR_OK);
	assert_int_equal(l.fees_err, ERR_CHAIN_DOWN);
	assert_int_equal(look(no_nonce, 3, &l), ERR_OK);
	assert_int_equal(l.head_err | l.fees_err, ERR_OK);
	assert_int_equal(l.nonce_err, ERR_CHAIN_DOWN);
	assert_int_equal(look(no_head, 3, &l), ERR_OK);
	assert_int_equal(l.head_err, ERR_CHAIN_DOWN);
	assert_int_equal(l.fees_err, ERR_CHAIN_DOWN);
	assert_int_equal(look(bad_head, 4, &l), ERR_OK);
	assert_int_equal(l.head_err, ERR_CHAIN_DOWN);
	l.id = 3;
	assert_int_equal(look(no_id, 3, &l), ERR_CHAIN_DOWN);
	assert_int_equal(l.id, 3);
}

/* Refused in the ways endpoints do: then, and for some time, the questions are asked alone. */
static void no_batches(void **state)
{
	static const struct fake_answer refusals[] = {
		{ .method = FAKE_BATCH, .whole = "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"batches are not supported\"}}" },
		{ .method = FAKE_BATCH, .whole = "{}" },
		{ .method = FAKE_BATCH, .http = "HTTP/1.1 400 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" },
		{ .method = FAKE_BATCH, .http = "HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" },
	};
	const struct address sender = { { 1 } };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(refusals); i++) {
		const struct fake_answer answers[] = { refusals[i], ID, BLOCK, NONCE, TIP };
		struct chain_look l = { 0 };

		assert_int_equal(look(answers, 5, &l), ERR_OK);
		expect_all(&l);
		assert_int_equal(fake.requests, 5);
		assert_int_equal(chain_look(chain, &sender, &l), ERR_OK);
		assert_int_equal(fake.requests, 9); /* not tried again at once */
	}
}

/* An endpoint that is down or busy is not asked four times more, and batches are tried again. */
static void down(void **state)
{
	static const char *const answers_[] = { "HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 429 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
						"HTTP/1.1 401 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\n[7," };
	static const struct fake_answer good[] = { ID, BLOCK, NONCE, TIP };
	const struct address sender = { { 1 } };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(answers_); i++) {
		const struct fake_answer answers[] = { { .method = FAKE_BATCH, .http = answers_[i] }, ID, BLOCK, NONCE, TIP };
		struct chain_look l = { .id = 3 };

		assert_int_equal(look(answers, 5, &l), ERR_CHAIN_DOWN);
		assert_int_equal(l.id, 3);
		assert_int_equal(fake.requests, 1);
		fake_set(&fake, good, 4);
		assert_int_equal(chain_look(chain, &sender, &l), ERR_OK);
		expect_all(&l);
		assert_int_equal(fake.requests, 2);
	}
}

/* Answers to other questions, none or two to one: never somebody else's. */
static void strange_answers(void **state)
{
	static const char *const batches[] = {
		"[]", "[7]", "[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"0x1\"},{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"0x2\"}]",
		"[{\"jsonrpc\":\"2.0\",\"id\":99,\"result\":\"0x1\"}]", "[{\"jsonrpc\":\"2.0\",\"id\":\"1\",\"result\":\"0x1\"}]",
		"[{\"jsonrpc\":\"1.0\",\"id\":1,\"result\":\"0x1\"}]",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(batches); i++) {
		const struct fake_answer answers[] = { { .method = FAKE_BATCH, .whole = batches[i] } };
		struct chain_look l = { .id = 3 };

		assert_int_equal(look(answers, 1, &l), ERR_CHAIN_DOWN);
		assert_int_equal(l.id, 3);
	}
	const struct fake_answer one[] = { { .method = FAKE_BATCH, .whole = "[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"0x5\"}]" } };
	struct chain_look l = { 0 };

	assert_int_equal(look(one, 1, &l), ERR_OK); /* the ids begin at 1 */
	assert_int_equal(l.id, 5);
	assert_int_equal(l.head_err, ERR_CHAIN_DOWN);
	assert_int_equal(l.nonce_err, ERR_CHAIN_DOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(one_request), cmocka_unit_test(what_is_missing_is_missing_alone), cmocka_unit_test(no_batches),
					    cmocka_unit_test(down), cmocka_unit_test(strange_answers) };

	return RUN_TESTS_OF_CHAIN(tests);
}
