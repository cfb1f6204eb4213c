/* A gateway refuses to start with contracts that were deployed for somebody else, or that do not let its keys call them. */
#include "handlers/startup.h"
#include "tests/unit/chain/fake_chain.h"
#include "tests/unit/chain/vectors.h"

#define ZEROS "000000000000000000000000"
#define A "00000000000000000000000000000000000000aa"
#define B "00000000000000000000000000000000000000bb"
#define WORD(address) "\"0x" ZEROS address "\""
#define YES "\"0x000000000000000000000000" "0000000000000000000000000000000000000001\""
#define NO "\"0x000000000000000000000000" "0000000000000000000000000000000000000000\""

/* What the contracts answer; NULL: the endpoint fails. */
struct world {
	const char *code, *token, *treasury, *lets_call;
	const char *payout_key_file;
	uint8_t payouts, depositor, records; /* their addresses; 0: none */
};
static const struct world GOOD = { .code = "\"0x60\"", .token = WORD(A), .treasury = WORD(B), .lets_call = YES, .payout_key_file = "key", .payouts = 1, .depositor = 1, .records = 1 };

static enum err check(const struct world *is, enum err (*what)(struct app *, struct startup_why *), const char *named)
{
	struct settings settings = { .rpc_url = fake.url, .payout_key_file = (char *)is->payout_key_file };
	struct app app = { .settings = &settings, .chain = chain_new(net, fake.url, 10000) };
	const struct fake_answer answers[] = {
		{ .method = is->code ? "eth_getCode" : "eth_nothing", .result = is->code },
		{ .method = is->token ? "eth_call" : "eth_nothing", .contains = CALL_TOKEN, .result = is->token },
		{ .method = is->treasury ? "eth_call" : "eth_nothing", .contains = CALL_SOURCE, .result = is->treasury },
		{ .method = is->treasury ? "eth_call" : "eth_nothing", .contains = CALL_TREASURY, .result = is->treasury },
		{ .method = is->lets_call ? "eth_call" : "eth_nothing", .contains = CALL_IS_CALLER, .result = is->lets_call },
	};
	struct startup_why why = { "" };
	enum err e;

	settings.opg_token.b[19] = 0xaa;
	settings.treasury.b[19] = 0xbb;
	memset(app.settler_sender.b, 0x3c, 20);
	app.payout_sender = app.settler_sender;
	settings.settler_contract.b[19] = 1;
	settings.payouts_contract.b[19] = is->payouts;
	settings.depositor_contract.b[19] = is->depositor;
	settings.record_contract.b[19] = is->records;
	fake_set(&fake, answers, COUNT_OF(answers));
	e = what(&app, &why);
	chain_free(app.chain);
	if (e)
		assert_non_null(strstr(why.text, named));
	assert_int_equal(app.records_on, !e && what == startup_check_settler && is->records);
	return e;
}

static struct world w;
#define WITH(...) (w = GOOD, __VA_ARGS__, &w)

static void payouts(void **state)
{
	(void)state;
	assert_int_equal(check(&GOOD, startup_check_payouts, ""), ERR_OK);
	assert_int_equal(check(WITH(w.payout_key_file = "", w.lets_call = NO, w.code = NULL), startup_check_payouts, ""), ERR_OK); /* this gateway sends none */
	assert_int_equal(check(WITH(w.token = WORD(B)), startup_check_payouts, "payouts_contract"), ERR_CONFLICT);
	assert_int_equal(check(WITH(w.treasury = WORD(A)), startup_check_payouts, "payouts_contract"), ERR_CONFLICT);
	assert_int_equal(check(WITH(w.treasury = "\"0x\""), startup_check_payouts, "payouts_contract"), ERR_CONFLICT); /* no contract */
	assert_int_equal(check(WITH(w.lets_call = NO), startup_check_payouts, "setCaller"), ERR_CONFLICT);
	assert_int_equal(check(WITH(w.token = NULL), startup_check_payouts, "rpc_url"), ERR_CHAIN_DOWN);
	assert_int_equal(check(WITH(w.treasury = NULL), startup_check_payouts, "rpc_url"), ERR_CHAIN_DOWN);
	assert_int_equal(check(WITH(w.lets_call = NULL), startup_check_payouts, "rpc_url"), ERR_CHAIN_DOWN);
	assert_int_equal(check(WITH(w.payouts = 0, w.payout_key_file = "", w.token = NULL), startup_check_payouts, ""), ERR_OK); /* no payouts: nobody is asked */
	assert_int_equal(check(WITH(w.payouts = 0), startup_check_payouts, "payout_key_file"), ERR_CONFLICT);
}

static void settler(void **state)
{
	(void)state;
	assert_int_equal(check(&GOOD, startup_check_settler, ""), ERR_OK);
	assert_int_equal(check(WITH(w.depositor = 0, w.records = 0, w.token = NULL), startup_check_settler, ""), ERR_OK);
	assert_int_equal(check(WITH(w.code = "\"0x\""), startup_check_settler, "settler_contract: there is no contract"), ERR_CONFLICT);
	assert_int_equal(check(WITH(w.lets_call = NO), startup_check_settler, "setCaller"), ERR_CONFLICT);
	assert_int_equal(check(WITH(w.lets_call = "\"0x\""), startup_check_settler, "settler_contract"), ERR_CONFLICT); /* a contract of another kind */
	assert_int_equal(check(WITH(w.token = WORD(B)), startup_check_settler, "depositor_contract"), ERR_CONFLICT);
	assert_int_equal(check(WITH(w.treasury = WORD(A)), startup_check_settler, "depositor_contract"), ERR_CONFLICT);
	assert_int_equal(check(WITH(w.code = NULL), startup_check_settler, "rpc_url"), ERR_CHAIN_DOWN);
	assert_int_equal(check(WITH(w.token = NULL), startup_check_settler, "rpc_url"), ERR_CHAIN_DOWN);
	assert_int_equal(check(WITH(w.lets_call = NULL), startup_check_settler, "rpc_url"), ERR_CHAIN_DOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(payouts), cmocka_unit_test(settler) };

	return RUN_TESTS_OF_CHAIN(tests);
}
