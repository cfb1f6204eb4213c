/* Turns of the settler (pay/settler.c) at an endpoint that says what the test wants: the last look at its transactions, and that it stops. */
#include "net/net.h"
#include "pay/settler.h"
#include "tests/db/claims.h"
#include "tests/unit/chain/fake_rpc.h"

#define WORD(digit) "0x" digit digit digit digit digit digit digit digit digit digit digit digit digit digit digit digit \
		digit digit digit digit digit digit digit digit digit digit digit digit digit digit digit digit
#define BLOCK(number, hash) "{\"number\":\"" number "\",\"hash\":\"" hash "\",\"parentHash\":\"" WORD("10") "\",\"timestamp\":\"0x65\",\"baseFeePerGas\":\"0x64\"}"
#define RECEIPT(tx, number, block) "{\"transactionHash\":\"" tx "\",\"blockHash\":\"" block "\",\"blockNumber\":\"" number "\",\"status\":\"0x1\"," \
		"\"from\":\"0x0101010101010101010101010101010101010101\",\"to\":null,\"gasUsed\":\"0x1\",\"effectiveGasPrice\":\"0x1\",\"logs\":[]}"
#define CHAIN 84532

static struct net *net;
static struct fake_rpc fake;
static struct settler_view view;
static struct settler_config config;

static void ended_nothing(void *arg, const struct uuid *payment, const struct hash *tx, bool closed)
{
	(void)arg, (void)payment, (void)tx, (void)closed;
}

static struct hash bytes_of(uint8_t byte)
{
	struct hash h;

	memset(h.b, byte, sizeof(h.b));
	return h;
}

/* Booked as mined in that block; its hash is this byte over and over. */
static void mined(uint64_t nonce, uint8_t tx, uint64_t number, uint8_t block)
{
	const struct signed_tx s = { .chain_id = CHAIN, .sender = config.from, .nonce = nonce, .hash = bytes_of(tx), .raw = "x", .raw_len = 1, .max_fee = amount_from_u64(1) };
	const struct mined_tx m = { .succeeded = true, .block_number = number, .block = bytes_of(block), .hash = bytes_of(tx), .cost = amount_from_u64(1) };
	_cleanup_free_ char *id = NULL, *sql = xasprintf("SELECT id AS v FROM settlement_tx WHERE nonce = %llu", (unsigned long long)nonce);
	int64_t n = 0;

	assert_ok(db_settlement_write(pg, &s, NULL, 0));
	id = pg_value(sql);
	assert_int_equal(sscanf(id, "%ld", &n), 1);
	assert_ok(db_settlement_mined(pg, n, &m, NULL, 0));
}

static void assert_state(uint64_t nonce, const char *state)
{
	_cleanup_free_ char *sql = xasprintf("SELECT state AS v FROM settlement_tx WHERE nonce = %llu", (unsigned long long)nonce);

	assert_value(sql, state);
}

static void turn(const char *block_9)
{
	const struct fake_answer answers[] = {
		{ .method = "eth_chainId", .result = "\"0x14a34\"" },
		{ .method = "eth_getBlockByNumber", .contains = "\"latest\",false", .result = BLOCK("0x20", WORD("20")) },
		{ .method = "eth_getBlockByNumber", .contains = "\"0x9\"", .result = block_9 },
		{ .method = "eth_getBlockByNumber", .contains = "\"0xc\"", .result = BLOCK("0xc", WORD("cc")) },
		{ .method = "eth_getTransactionCount", .result = "\"0x9\"" },
		{ .method = "eth_maxPriorityFeePerGas", .result = "\"0xa\"" },
		{ .method = "eth_getTransactionReceipt", .contains = WORD("a1"), .result = RECEIPT(WORD("a1"), "0x9", WORD("99")) },
		{ .method = "eth_getTransactionReceipt", .contains = WORD("b1"), .result = RECEIPT(WORD("b1"), "0xc", WORD("cc")) },
	};
	bool busy;

	fake_set(&fake, answers, 8);
	view.look_ms = 0;
	assert_ok(settler_turn(&config, pg, &busy));
}

/* Two were booked around a reorganisation: the block of the later one stands, and says nothing about the earlier one's, whose receipt a cache
 * still has. */
static void test_final_is_what_the_chain_still_has(void **state)
{
	(void)state;
	mined(0, 0xa1, 9, 0x99);
	mined(1, 0xb1, 12, 0xcc);
	turn(BLOCK("0x9", WORD("98")));
	assert_state(0, "signed");
	assert_state(1, "final");
}

static void test_final_is_what_it_says_it_has(void **state)
{
	(void)state;
	assert_ok(db_script(pg, "DELETE FROM settlement_tx_version; DELETE FROM settlement_tx"));
	mined(0, 0xa1, 9, 0x99);
	mined(1, 0xb1, 12, 0xcc);
	turn("null"); /* an endpoint that is behind itself */
	assert_state(0, "signed");
	assert_ok(db_script(pg, "DELETE FROM settlement_tx_version; DELETE FROM settlement_tx"));
	mined(0, 0xa1, 9, 0x99);
	turn(BLOCK("0x9", WORD("99")));
	assert_state(0, "final");
}

/* While ledger and chain disagree the settler begins nothing; when that is over, it does (and finds that this one cannot be sent). */
static void test_a_mismatch_stops_it(void **state)
{
	struct claimed c = claim_new("exact", 100);

	(void)state;
	assert_ok(db_payment_claim(pg, &c.claim, &c.job, &c.account));
	assert_ok(db_payment_settle(pg, &c.claim.id, amount(100)));
	assert_ok(db_script(pg, "INSERT INTO mismatch (kind, subject, detail) VALUES ('test', 'x', 'y')"));
	turn("null");
	assert_value("SELECT state AS v FROM payment", "settling");
	assert_ok(db_script(pg, "UPDATE mismatch SET healed_at = now()"));
	turn("null");
	assert_value("SELECT state AS v FROM payment", "failed");
	assert_ok(close_as(&c, "failed", "settlement_failed", 0, true));
	assert_books("0");
}

static void signed_by(struct address sender, uint64_t nonce, uint8_t tx, const struct uuid *payment)
{
	const struct signed_tx s = { .chain_id = CHAIN, .sender = sender, .nonce = nonce, .hash = bytes_of(tx), .raw = "x", .raw_len = 1, .max_fee = amount_from_u64(1) };

	assert_ok(db_settlement_write(pg, &s, payment, payment ? 1 : 0));
}

static void signed_(uint64_t nonce, uint8_t tx)
{
	signed_by(config.from, nonce, tx, NULL);
}

/* However many wait for their last confirmations, what somebody waits for is looked at. */
static void test_many_that_are_not_final(void **state)
{
	struct open_tx open[3];
	size_t count = 0;

	(void)state;
	assert_ok(db_script(pg, "DELETE FROM settlement_tx_version; DELETE FROM settlement_tx"));
	for (uint8_t i = 0; i < 4; i++)
		mined(i, 0x10 + i, 12, 0xcc);
	signed_(4, 0x14);
	assert_ok(db_settlements_open(pg, CHAIN, &config.from, open, 3, &count));
	assert_int_equal(count, 3);
	assert_true(open[0].nonce == 4 && open[1].nonce == 0 && open[2].nonce == 1);
	while (count > 0)
		free(open[--count].raw);
}

/* Some that nothing can be made of keep no turn from the others for ever. */
static void test_troubles_do_not_starve(void **state)
{
	const struct fake_answer answers[] = {
		{ .method = "eth_chainId", .result = "\"0x14a34\"" },
		{ .method = "eth_getBlockByNumber", .contains = "\"latest\",false", .result = BLOCK("0x20", WORD("20")) },
		{ .method = "eth_getBlockByNumber", .result = "{\"hash\":\"" WORD("cc") "\",\"transactions\":[\"" WORD("b1") "\"]}" },
		{ .method = "eth_getTransactionCount", .result = "\"0x9\"" },
		{ .method = "eth_maxPriorityFeePerGas", .result = "\"0xa\"" },
		{ .method = "eth_getTransactionReceipt", .contains = WORD("b1"), .result = RECEIPT(WORD("b1"), "0xc", WORD("cc")) },
		{ .method = "eth_getTransactionReceipt", .result = "7" },
		{ .method = "eth_getLogs", .result = "[]" },
	};
	bool busy;

	(void)state;
	assert_ok(db_script(pg, "DELETE FROM settlement_tx_version; DELETE FROM settlement_tx"));
	for (uint8_t i = 0; i < 3; i++)
		signed_(i, 0xa1 + i);
	signed_(3, 0xb1);
	fake_set(&fake, answers, 8);
	view = (struct settler_view){ 0 };
	assert_int_equal(settler_turn(&config, pg, &busy), ERR_CHAIN_DOWN);
	assert_state(3, "signed");
	assert_int_equal(settler_turn(&config, pg, &busy), ERR_CHAIN_DOWN);
	assert_state(3, "mined");
	assert_state(0, "signed");
	assert_ok(db_script(pg, "DELETE FROM settlement_tx_version; DELETE FROM settlement_tx"));
}

/* Its authorization is used, our call moved nothing, and the endpoint has no log of what did: that may be the endpoint's fault, until the
 * blocks are deep enough. */
static void test_used_by_nothing_that_shows(void **state)
{
	const struct fake_answer answers[] = {
		{ .method = "eth_chainId", .result = "\"0x14a34\"" },
		{ .method = "eth_getBlockByNumber", .result = "{\"number\":\"0x20\",\"hash\":\"" WORD("20") "\",\"parentHash\":\"" WORD("10") "\",\"timestamp\":\"0x65\","
		  "\"baseFeePerGas\":\"0x64\",\"transactions\":[\"" WORD("b1") "\"]}" },
		{ .method = "eth_getTransactionCount", .result = "\"0x9\"" },
		{ .method = "eth_maxPriorityFeePerGas", .result = "\"0xa\"" },
		{ .method = "eth_getTransactionReceipt", .result = RECEIPT(WORD("b1"), "0x20", WORD("20")) },
		{ .method = "eth_getLogs", .result = "[]" },
		{ .method = "eth_call", .result = "\"" WORD("01") "\"" },
	};
	struct signed_tx s = { .chain_id = CHAIN, .sender = config.from, .nonce = 0, .hash = bytes_of(0xb1), .raw = "x", .raw_len = 1, .max_fee = amount_from_u64(1) };
	struct claimed c = claim_new("exact", 100);
	bool busy;

	(void)state;
	assert_ok(db_payment_claim(pg, &c.claim, &c.job, &c.account));
	assert_ok(db_payment_settle(pg, &c.claim.id, amount(100)));
	assert_ok(db_settlement_write(pg, &s, &c.claim.id, 1));
	fake_set(&fake, answers, 7);
	view = (struct settler_view){ 0 };
	for (int i = 0; i < 3; i++)
		assert_ok(settler_turn(&config, pg, &busy));
	assert_state(0, "mined");
	assert_value("SELECT state AS v FROM payment ORDER BY claimed_at DESC LIMIT 1", "settling");
	config.confirmations = 1;
	view.look_ms = 0;
	assert_ok(settler_turn(&config, pg, &busy));
	config.confirmations = 2;
	assert_value("SELECT state || ' ' || reason AS v FROM payment ORDER BY claimed_at DESC LIMIT 1", "failed invalid_exact_evm_nonce_already_used");
	assert_ok(close_as(&c, "failed", "settlement_failed", 0, true));
	assert_books("0");
}

/* What cannot be mined is not added to: another gateway's key, or the next one, does it. */
static void test_not_far_ahead_of_the_chain(void **state)
{
	struct buf raw = BUF_INIT(TX_RAW_MAX);
	struct signed_tx ret;
	struct tx tx = { 0 };

	(void)state;
	assert_ok(db_script(pg, "DELETE FROM settlement_tx_version; DELETE FROM settlement_tx"));
	view = (struct settler_view){ .look = { .base = 100, .priority = 1, .nonce = 36 } };
	config.caps = (struct chain_fee_caps){ .priority = 1000, .fee = 1000 };
	signed_(99, 0xb1);
	assert_ok(settler_sign(&config, pg, &tx, &raw, &ret));
	assert_true(ret.nonce == 100 && tx.nonce == 100);
	view.look.nonce = 35;
	assert_int_equal(settler_sign(&config, pg, &tx, &raw, &ret), ERR_LIMIT);
	config.caps = (struct chain_fee_caps){ 0 };
	buf_done(&raw);
	assert_ok(db_script(pg, "DELETE FROM settlement_tx_version; DELETE FROM settlement_tx"));
}

static void turn_later(void)
{
	bool busy;

	assert_ok(db_script(pg, "UPDATE settlement_tx_version SET sent_at = sent_at - interval '1 minute'"));
	view.look_ms = 0;
	view.former_ms = 0;
	assert_ok(settler_turn(&config, pg, &busy));
}

/* What a key sent that is not ours any more: what can be repeated is given up once it was sent again for long enough; not while another
 * gateway has that key. */
static void test_a_key_that_was_replaced(void **state)
{
	const struct fake_answer answers[] = {
		{ .method = "eth_chainId", .result = "\"0x14a34\"" },
		{ .method = "eth_getBlockByNumber", .result = BLOCK("0x20", WORD("20")) },
		{ .method = "eth_getTransactionCount", .result = "\"0x0\"" },
		{ .method = "eth_maxPriorityFeePerGas", .result = "\"0xa\"" },
		{ .method = "eth_getTransactionReceipt", .result = "null" },
		{ .method = "eth_sendRawTransaction", .result = "\"" WORD("b1") "\"" },
	};
	const struct address former = { { 7 } };
	struct db *other = db_new(pg_url, 30000);
	struct claimed c = claim_new("exact", 100);
	bool theirs = false;

	(void)state;
	assert_ok(db_script(pg, "DELETE FROM settlement_tx_version; DELETE FROM settlement_tx"));
	assert_ok(db_payment_claim(pg, &c.claim, &c.job, &c.account));
	assert_ok(db_payment_settle(pg, &c.claim.id, amount(100)));
	signed_by(former, 0, 0xb1, &c.claim.id);
	signed_by(former, 1, 0xb2, NULL);
	fake_set(&fake, answers, 6);
	view = (struct settler_view){ 0 };
	turn_later();
	assert_state(0, "signed"); /* it may have waited for nothing but a gateway */
	view.former_since_ms = 1;
	assert_ok(db_settler_own(other, &former, 60000, &theirs));
	assert_true(theirs);
	turn_later();
	assert_state(0, "signed");
	assert_ok(db_settler_release(other, &former));
	turn_later();
	assert_state(0, "replaced");
	assert_state(1, "signed");
	assert_value("SELECT coalesce(tx::text, 'none') AS v FROM payment ORDER BY claimed_at DESC LIMIT 1", "none");
	assert_ok(db_settler_own(other, &former, 60000, &theirs));
	assert_true(theirs); /* it was had for that long and no longer */
	db_free(other);
	turn_later(); /* and this one cannot be read */
	assert_ok(close_as(&c, "failed", "settlement_failed", 0, true));
	assert_books("0");
	assert_ok(db_script(pg, "DELETE FROM settlement_tx_version; DELETE FROM settlement_tx"));
}

static int setup(void **state)
{
	const struct net_config trusted = { .reactors = 1, .connections_per_host_max = 2 };

	if (claims_setup(state) || net_start(&trusted, &net))
		return -1;
	fake_start(&fake);
	config = (struct settler_config){ .chain = chain_new(net, fake.url, 5000), .chain_id = CHAIN, .key = { { 1 } }, .from = { { 1 } }, .confirmations = 2, .answer_confirmations = 1,
					  .patience_ms = 1000, .view = &view, .ended = ended_nothing, .log = log_nothing };
	return 0;
}

static int teardown(void **state)
{
	chain_free(config.chain);
	net_stop(net);
	fake_stop(&fake);
	return pg_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_final_is_what_the_chain_still_has), cmocka_unit_test(test_final_is_what_it_says_it_has),
					    cmocka_unit_test(test_many_that_are_not_final), cmocka_unit_test(test_troubles_do_not_starve),
					    cmocka_unit_test(test_a_mismatch_stops_it), cmocka_unit_test(test_a_key_that_was_replaced), cmocka_unit_test(test_not_far_ahead_of_the_chain),
					    cmocka_unit_test(test_used_by_nothing_that_shows) };

	return cmocka_run_group_tests(tests, setup, teardown);
}
