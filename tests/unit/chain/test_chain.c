/* The RPC client against endpoints that answer well, badly, and not at all. */
#include "chain/abi.h"
#include "chain/rpc.h"
#include "tests/unit/chain/fake_chain.h"

#define ANSWERS(...) \
	static const struct fake_answer answers[] = { __VA_ARGS__ }; \
	fake_set(&fake, answers, sizeof(answers) / sizeof(answers[0]))

static void good_answers(void **state)
{
	(void)state;
	ANSWERS({ .method = "eth_chainId", .result = "\"0x14a34\"" }, { .method = "eth_blockNumber", .result = "\"0x0\"" },
		{ .method = "web3_clientVersion", .result = "\"anvil/v1.7.1\"" },
		{ .method = "eth_getBlockByNumber",
		  .result = "{\"number\":\"0x1f\",\"hash\":\"0x1111111111111111111111111111111111111111111111111111111111111111\","
			    "\"parentHash\":\"0x2222222222222222222222222222222222222222222222222222222222222222\",\"timestamp\":\"0x65\"}" },
		{ .method = "eth_getCode", .result = "\"0x\"", .contains = "0x0000000000000000000000000000000000000001" },
		{ .method = "eth_getCode", .result = "\"0x6000\"" });
	uint64_t n = 7;
	char version[128];
	struct chain_block b;
	struct address a = { { 0 } };
	bool code = true;
	assert_int_equal(chain_id(chain, &n), ERR_OK);
	assert_int_equal(n, 84532);
	assert_int_equal(chain_head(chain, &n), ERR_OK);
	assert_int_equal(n, 0);
	assert_int_equal(chain_client_version(chain, version), ERR_OK);
	assert_string_equal(version, "anvil/v1.7.1");
	assert_int_equal(chain_block_by_number(chain, 31, &b), ERR_OK);
	assert_true(fake_was_asked(&fake, "[\"0x1f\",false]"));
	assert_int_equal(b.number, 31);
	assert_int_equal(b.timestamp, 0x65);
	assert_int_equal(b.hash.b[0], 0x11);
	assert_int_equal(b.parent.b[31], 0x22);
	a.b[19] = 1;
	assert_int_equal(chain_has_code(chain, &a, &code), ERR_OK);
	assert_false(code);
	a.b[19] = 2;
	assert_int_equal(chain_has_code(chain, &a, &code), ERR_OK);
	assert_true(code);
	assert_int_equal(chain_block_by_number(chain, 30, &b), ERR_CHAIN_DOWN); /* another block than asked for */
}

static void no_such_block(void **state)
{
	(void)state;
	struct chain_block b;
	ANSWERS({ .method = "eth_getBlockByNumber", .result = "null" });
	assert_int_equal(chain_block_by_number(chain, 9, &b), ERR_NOT_FOUND);
}

/* Each is refused with words, and nothing is written. */
static void expect_refused(const struct fake_answer *answer)
{
	uint64_t n = 7;
	fake_set(&fake, answer, 1);
	if (chain_id(chain, &n) != ERR_CHAIN_DOWN)
		fail_msg("accepted: %s", answer->result ? answer->result : answer->whole ? answer->whole : answer->http);
	assert_int_equal(n, 7);
	assert_true(chain_error()[0]);
	for (const char *p = chain_error(); *p; p++)
		assert_true(*p >= 0x20 && *p <= 0x7e);
}

static void bad_quantities(void **state)
{
	(void)state;
	static const char *const results[] = { "\"0x\"", "\"0x01\"", "\"1\"", "\"0X1\"", "1", "null", "true", "\"0x1g\"", "\"0x10000000000000000\"",
					       "\"0x1 \"", "\"\"", "{}", "[\"0x1\"]", "\"-0x1\"" };
	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
		expect_refused(&(struct fake_answer){ .method = "eth_chainId", .result = results[i] });
	uint64_t n = 0;
	ANSWERS({ .method = "eth_chainId", .result = "\"0xFFFFffffffffffff\"" });
	assert_int_equal(chain_id(chain, &n), ERR_OK);
	assert_true(n == UINT64_MAX);
}

static void bad_envelopes(void **state)
{
	(void)state;
	static const char *const bodies[] = {
		"", "<html><body>502 Bad Gateway</body></html>", "null", "[]", "\"0x1\"",
		"{\"jsonrpc\":\"2.0\",\"id\":ID}",
		"{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"0x1\"",
		"{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"0x1\"} x",
		"{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"0x1\",\"result\":\"0x1\"}",
		"{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"0x1\",\"error\":{\"code\":1,\"message\":\"m\"}}",
		"{\"jsonrpc\":\"2.0\",\"id\":ID,\"error\":{\"code\":-32000,\"message\":\"header not found \\u00e9\\n\"}}",
		"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"parse error\"}}",
		"{\"jsonrpc\":\"2.0\",\"id\":ID,\"error\":\"no\"}",
		"{\"jsonrpc\":\"2.0\",\"id\":ID,\"error\":{}}",
		"{\"jsonrpc\":\"1.0\",\"id\":ID,\"result\":\"0x1\"}",
		"{\"id\":ID,\"result\":\"0x1\"}",
		"{\"jsonrpc\":\"2.0\",\"id\":ID7,\"result\":\"0x1\"}",
		"{\"jsonrpc\":\"2.0\",\"id\":-ID,\"result\":\"0x1\"}",
		"{\"jsonrpc\":\"2.0\",\"id\":\"ID\",\"result\":\"0x1\"}",
		"{\"jsonrpc\":\"2.0\",\"id\":null,\"result\":\"0x1\"}",
		"{\"jsonrpc\":\"2.0\",\"result\":\"0x1\"}",
		"[{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"0x1\"}]",
	};
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		expect_refused(&(struct fake_answer){ .method = "eth_chainId", .whole = bodies[i] });
	expect_refused(&(struct fake_answer){ .method = "nothing", .result = "1" });
	assert_non_null(strstr(chain_error(), "-32601: no such method"));
}

static void bad_http(void **state)
{
	(void)state;
	static const char *const answers[] = {
		"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 301 Moved\r\nConnection: close\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 500\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"0x1\"}",
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
		"nonsense\r\n\r\n",
		"",
	};
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
		expect_refused(&(struct fake_answer){ .method = "eth_chainId", .http = answers[i] });
}

static void bounded_answers(void **state)
{
	(void)state;
	uint64_t n = 0;
	struct fake_answer a = { .method = "eth_chainId", .result = "\"0x1\"", .padding = RPC_ANSWER_MAX - 1024 };
	fake_set(&fake, &a, 1);
	assert_int_equal(chain_id(chain, &n), ERR_OK);
	a.padding = RPC_ANSWER_MAX + 1;
	expect_refused(&a);
}

/* A listener that accepts (the kernel does) and never answers. */
static void silence_ends_at_the_deadline(void **state)
{
	(void)state;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int mute = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(mute, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(mute, 1), 0);
	assert_int_equal(getsockname(mute, (struct sockaddr *)&a, &len), 0);
	char url[64];
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", ntohs(a.sin_port));
	struct chain *c = chain_new(net, url, 100);
	uint64_t n;
	int64_t from = clock_mono_ms();
	assert_int_equal(chain_head(c, &n), ERR_CHAIN_DOWN);
	assert_in_range(clock_mono_ms() - from, 90, 5000);
	close(mute); /* and now nobody listens at all */
	assert_int_equal(chain_head(c, &n), ERR_CHAIN_DOWN);
	chain_free(c);
}

static void balances(void **state)
{
	(void)state;
	static const struct { const char *result; enum err e; const char *amount; } rows[] = {
		{ "\"0x0000000000000000000000000000000000000000000000000de0b6b3a7640000\"", ERR_OK, "1000000000000000000" },
		{ "\"0x000000000000000000000000000000007fffffffffffffffffffffffffffffff\"", ERR_OK, "170141183460469231731687303715884105727" },
		{ "\"0x0000000000000000000000000000000080000000000000000000000000000000\"", ERR_OVERFLOW, NULL },
		{ "\"0x\"", ERR_CHAIN_DOWN, NULL },
		{ "\"0x00\"", ERR_CHAIN_DOWN, NULL },
		{ "\"0x00000000000000000000000000000000000000000000000000000000000000000\"", ERR_CHAIN_DOWN, NULL },
		{ "\"0x000000000000000000000000000000000000000000000000000000000000000000\"", ERR_CHAIN_DOWN, NULL },
		{ "null", ERR_CHAIN_DOWN, NULL },
		{ "5", ERR_CHAIN_DOWN, NULL },
	};
	struct address token = { { 0xaa } }, owner = { { 0xbb } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fake_answer a = { .method = "eth_call", .result = rows[i].result };
		struct amount got = AMOUNT_ZERO;
		fake_set(&fake, &a, 1);
		assert_int_equal(chain_token_balance(chain, &token, &owner, 255, &got), rows[i].e);
		if (rows[i].amount)
			assert_string_equal(amount_format(got).s, rows[i].amount);
	}
	assert_true(fake_was_asked(&fake, "\"to\":\"0xaa00000000000000000000000000000000000000\""));
	assert_true(fake_was_asked(&fake, "\"data\":\"0x70a08231000000000000000000000000bb00000000000000000000000000000000000000\""));
	assert_true(fake_was_asked(&fake, "\"gas\":\"0x"));
	assert_true(fake_was_asked(&fake, "},\"0xff\"]"));
	struct amount got;
	assert_int_equal(chain_token_balance(chain, &token, &owner, UINT64_MAX, &got), ERR_CHAIN_DOWN);
	assert_true(fake_was_asked(&fake, "},\"latest\"]"));
}

static void abi_constants(void **state)
{
	(void)state;
	struct hash h;
	uint8_t call[ABI_BALANCE_OF_LEN];
	struct address a = { { 1, 2, 3 } }, back;
	static const char event[] = "Transfer(address,address,uint256)", function[] = "balanceOf(address)";
	keccak256(event, sizeof(event) - 1, &h);
	assert_true(hash_equal(&h, &ABI_TRANSFER_TOPIC));
	keccak256(function, sizeof(function) - 1, &h);
	abi_balance_of(&a, call);
	assert_memory_equal(call, h.b, 4);
	abi_word_from_address(&a, &h);
	assert_memory_equal(call + 4, h.b, 32);
	assert_true(abi_word_to_address(&h, &back));
	assert_true(address_equal(&a, &back));
	h.b[11] = 1;
	assert_false(abi_word_to_address(&h, &back));
}

static void *ask(void *arg)
{
	size_t *good = arg;
	for (int i = 0; i < 25; i++) {
		uint64_t n = 0;
		if (chain_id(chain, &n) == ERR_OK && n == 5)
			*good += 1;
	}
	return NULL;
}

static void many_threads(void **state)
{
	(void)state;
	ANSWERS({ .method = "eth_chainId", .result = "\"0x5\"" });
	pthread_t threads[4];
	size_t good[4] = { 0 };
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask, &good[i]), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(good[i], 25);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_answers), cmocka_unit_test(no_such_block),   cmocka_unit_test(bad_quantities), cmocka_unit_test(bad_envelopes),
		cmocka_unit_test(bad_http),	cmocka_unit_test(bounded_answers), cmocka_unit_test(silence_ends_at_the_deadline),
		cmocka_unit_test(balances),	cmocka_unit_test(abi_constants),   cmocka_unit_test(many_threads),
	};

	return RUN_TESTS_OF_CHAIN(tests);
}
