/* A gateway that pays out must know a contract that pays this token from this treasury, or it refuses to start: custody is counted by it. */
#include "chain/chain.h"
#include "handlers/startup.h"
#include "tests/unit/chain/fake_rpc.h"
#include "tests/unit/unit.h"

#define ZEROS "000000000000000000000000"
#define A "00000000000000000000000000000000000000aa"

static struct fake_rpc fake;
static struct net *net;

static enum err check(const char *answer, uint8_t token, uint8_t treasury, uint8_t contract, const char *key_file)
{
	struct settings settings = { .rpc_url = fake.url, .payout_key_file = (char *)key_file };
	struct app app = { .settings = &settings, .chain = chain_new(net, fake.url, 10000) };
	const struct fake_answer answers[] = { { .method = answer ? "eth_call" : "eth_nothing", .result = answer ? answer : "null" } };
	struct startup_why why = { "" };
	enum err e;

	settings.opg_token.b[19] = token;
	settings.treasury.b[19] = treasury;
	settings.payouts_contract.b[19] = contract;
	fake_set(&fake, answers, 1);
	e = startup_check_payouts(&app, &why);
	chain_free(app.chain);
	assert_int_equal(e != ERR_OK, why.text[0] != '\0');
	return e;
}

static void test_contract(void **state)
{
	static const char good[] = "\"0x" ZEROS A "\""; /* to token() and to source() */

	(void)state;
	assert_int_equal(check(good, 0xaa, 0xaa, 0xc0, "key"), ERR_OK);
	assert_int_equal(check(good, 0xaa, 0xaa, 0xc0, ""), ERR_OK);
	assert_int_equal(check(good, 0xab, 0xaa, 0xc0, "key"), ERR_UNPROCESSABLE); /* another token */
	assert_int_equal(check(good, 0xaa, 0xab, 0xc0, "key"), ERR_UNPROCESSABLE); /* another treasury */
	assert_int_equal(check("\"0x\"", 0xaa, 0xaa, 0xc0, "key"), ERR_UNPROCESSABLE); /* no contract */
	assert_int_equal(check(NULL, 0xaa, 0xaa, 0xc0, "key"), ERR_CHAIN_DOWN);
}

static void test_none(void **state)
{
	(void)state;
	assert_int_equal(check(NULL, 0xaa, 0xaa, 0, ""), ERR_OK); /* no payouts: nobody is asked */
	assert_int_equal(check(NULL, 0xaa, 0xaa, 0, "key"), ERR_CONFLICT);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_contract), cmocka_unit_test(test_none) };
	const struct net_config config = { .reactors = 1, .connections_per_host_max = 8 };
	int failed;

	crypto_init();
	if (net_start(&config, &net))
		return 1;
	fake_start(&fake);
	failed = RUN_TESTS(tests);
	fake_stop(&fake);
	net_stop(net);
	return failed;
}
