/* What must be true of the chain before the gateway serves, against an endpoint that says what it is told to; above all: keys that
 * everybody knows are accepted on a local development chain and nowhere else. */
#include "handlers/startup.h"
#include "tests/unit/chain/fake_chain.h"

#define GENESIS "0x9999999999999999999999999999999999999999999999999999999999999999"
#define OTHER "0x8888888888888888888888888888888888888888888888888888888888888888"
#define PUBLISHED_KEY "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266" /* the first account of every anvil */
#define PUBLISHED_KEY_9 "0xa0ee7a142d267c1f36714e4a8f75612f20a79720"
#define OWN_KEY "0x1111111111111111111111111111111111111111"

#define CHAIN { .method = "eth_chainId", .result = "\"0x14a34\"" }
#define BLOCK { .method = "eth_getBlockByNumber", \
		.result = "{\"number\":\"0x0\",\"hash\":\"" GENESIS "\",\"parentHash\":\"" OTHER "\",\"timestamp\":\"0x1\"}" }
#define CODE { .method = "eth_getCode", .result = "\"0x6001\"" }
#define ANVIL { .method = "web3_clientVersion", .result = "\"anvil/v1.2.3\"" }

struct start {
	const char *gateway, *treasury, *rpc_url, *rpc_url_2 /* as the settings say it */, *genesis /* or NULL: not recorded */;
	const struct fake_answer *answers;
	size_t count;
};

static enum err check(const struct start *s)
{
	struct settings settings = { .rpc_url_2 = (char *)(s->rpc_url_2 ? s->rpc_url_2 : ""), .rpc_url = (char *)(s->rpc_url ? s->rpc_url : fake.url), .chain_id = 84532 };
	struct app app = { .settings = &settings, .chain = chain_new(net, fake.url, 10000) };
	struct startup_why why = { "" };

	assert_int_equal(address_parse(s->gateway, &app.gateway), ERR_OK);
	assert_int_equal(address_parse(s->treasury, &settings.treasury), ERR_OK);
	assert_int_equal(address_parse("0x00000000000000000000000000000000000070c0", &settings.opg_token), ERR_OK);
	if (s->genesis)
		assert_int_equal(hash_parse(s->genesis, &settings.genesis_hash), ERR_OK);
	fake_set(&fake, s->answers, s->count);
	enum err e = startup_check_chain(&app, &why);
	chain_free(app.chain);
	assert_int_equal(e != ERR_OK, why.text[0] != '\0'); /* a refusal has words */
	return e;
}

static const struct fake_answer good[] = { CHAIN, BLOCK, CODE, ANVIL };
#define GOOD .answers = good, .count = 4

static void our_own_keys(void **state)
{
	(void)state;
	assert_int_equal(check(&(struct start){ OWN_KEY, OWN_KEY, GOOD }), ERR_OK);
	assert_int_equal(check(&(struct start){ OWN_KEY, OWN_KEY, .genesis = GENESIS, GOOD }), ERR_OK);
	assert_int_equal(check(&(struct start){ OWN_KEY, OWN_KEY, .rpc_url = "https://mainnet.example", .genesis = GENESIS, GOOD }), ERR_OK);
}

static void the_chain_is_the_one_we_mean(void **state)
{
	static const struct fake_answer other_chain[] = { { .method = "eth_chainId", .result = "\"0x1\"" }, BLOCK, CODE, ANVIL };
	static const struct fake_answer no_token[] = { CHAIN, BLOCK, { .method = "eth_getCode", .result = "\"0x\"" }, ANVIL };
	static const struct fake_answer silent[] = { ANVIL };
	(void)state;
	assert_int_equal(check(&(struct start){ OWN_KEY, OWN_KEY, .answers = other_chain, .count = 4 }), ERR_CONFLICT);
	assert_int_equal(check(&(struct start){ OWN_KEY, OWN_KEY, .answers = no_token, .count = 4 }), ERR_CONFLICT);
	assert_int_equal(check(&(struct start){ OWN_KEY, OWN_KEY, .genesis = OTHER, GOOD }), ERR_CONFLICT);
	assert_int_equal(check(&(struct start){ OWN_KEY, OWN_KEY, .answers = silent, .count = 1 }), ERR_CHAIN_DOWN);
}

static void published_keys_on_a_local_anvil(void **state)
{
	(void)state;
	assert_int_equal(check(&(struct start){ PUBLISHED_KEY, OWN_KEY, .genesis = GENESIS, GOOD }), ERR_OK);
	assert_int_equal(check(&(struct start){ OWN_KEY, PUBLISHED_KEY_9, .genesis = GENESIS, GOOD }), ERR_OK);
	assert_int_equal(check(&(struct start){ PUBLISHED_KEY, PUBLISHED_KEY_9, .rpc_url = "http://localhost:8545", .genesis = GENESIS, GOOD }), ERR_OK);
	assert_int_equal(check(&(struct start){ PUBLISHED_KEY, OWN_KEY, .rpc_url = "http://[::1]:8545/", .genesis = GENESIS, GOOD }), ERR_OK);
}

static void published_keys_anywhere_else(void **state)
{
	static const char *const elsewhere[] = { "https://sepolia.base.org", "http://127.0.0.1.evil.example:8545", "http://localhost.evil.example", "http://10.0.0.1:8545",
						 "http://[::1].evil.example", "http://evil.example/127.0.0.1", "127.0.0.1" };
	static const struct fake_answer geth[] = { CHAIN, BLOCK, CODE, { .method = "web3_clientVersion", .result = "\"Geth/v1.13.0/anvil/\"" } };
	static const struct fake_answer nameless[] = { CHAIN, BLOCK, CODE };
	(void)state;
	for (size_t i = 0; i < COUNT_OF(elsewhere); i++)
		if (check(&(struct start){ PUBLISHED_KEY, OWN_KEY, .rpc_url = elsewhere[i], .genesis = GENESIS, GOOD }) != ERR_FORBIDDEN)
			fail_msg("accepted with %s", elsewhere[i]);
	assert_int_equal(check(&(struct start){ OWN_KEY, PUBLISHED_KEY_9, .rpc_url = elsewhere[0], .genesis = GENESIS, GOOD }), ERR_FORBIDDEN);
	assert_int_equal(check(&(struct start){ PUBLISHED_KEY, OWN_KEY, .rpc_url_2 = elsewhere[0], .genesis = GENESIS, GOOD }), ERR_FORBIDDEN); /* nor may the second be elsewhere */
	assert_int_equal(check(&(struct start){ PUBLISHED_KEY, OWN_KEY, .genesis = GENESIS, .answers = geth, .count = 4 }), ERR_FORBIDDEN);
	assert_int_equal(check(&(struct start){ PUBLISHED_KEY, OWN_KEY, .genesis = GENESIS, .answers = nameless, .count = 3 }), ERR_FORBIDDEN);
	assert_int_equal(check(&(struct start){ PUBLISHED_KEY, OWN_KEY, GOOD }), ERR_FORBIDDEN); /* no genesis was recorded */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(our_own_keys), cmocka_unit_test(the_chain_is_the_one_we_mean),
		cmocka_unit_test(published_keys_on_a_local_anvil), cmocka_unit_test(published_keys_anywhere_else),
	};

	return RUN_TESTS_OF_CHAIN(tests);
}
