/* Deposits: credited once, when they are old enough, to whom they came from; taken back when their block is gone. What the watcher
 * writes is driven here block by block, with a chain that is only numbers. */
#include <pthread.h>

#include "db/deposits.h"
#include "db/ledger.h"
#include "pay/deposits.h"
#include "tests/db/pg.h"
#include "tests/unit/chain/fake_rpc.h"

#define CONFIRMATIONS 3

static const struct watch WATCH = { .chain_id = 84532, .token = { { 0x70 } }, .treasury = { { 0x7e } } };
static uint64_t at; /* the last block looked at */

static struct address sender(uint8_t n)
{
	struct address a = { { 0 } };

	a.b[19] = n;
	return a;
}

/* The hash of block `number` on a fork of that name. */
static struct hash block(uint64_t number, uint8_t fork)
{
	struct hash h = { { 0 } };

	memcpy(h.b, &number, sizeof(number));
	h.b[31] = fork;
	return h;
}

static struct deposit_seen deposit(uint8_t tx, uint32_t ordinal, uint8_t from, uint64_t amount)
{
	return (struct deposit_seen){ .tx = { { 0xdd, tx } }, .ordinal = ordinal, .from = sender(from), .amount = amount_from_u64(amount) };
}

/* Looks at the next block, which holds these deposits; how many were credited by it. */
static int64_t next(const struct watch *w, uint8_t fork, const struct deposit_seen *seen, size_t count)
{
	struct hash h = block(at + 1, fork);
	int64_t credited = -1;

	assert_ok(db_watch_advance(pg, w, at, at + 1, &h, seen, count, CONFIRMATIONS, &credited));
	at++;
	return credited;
}

static int64_t empty(size_t blocks)
{
	int64_t credited = 0;

	while (blocks-- > 0)
		credited += next(&WATCH, 0, NULL, 0);
	return credited;
}

static void rewind_to(uint64_t number)
{
	assert_ok(db_watch_rewind(pg, &WATCH, at, number));
	at = number - 1;
}

static void assert_balance_of(uint8_t from, const char *expected)
{
	_cleanup_free_ char *sql = xasprintf("SELECT coalesce((SELECT b.amount FROM ledger_balance b JOIN account a ON b.account = a.id * 16 + 1"
					     " WHERE a.address = decode(lpad('%x', 40, '0'), 'hex')), 0) AS v", from);

	assert_value(sql, expected);
}

static void assert_state(uint8_t tx, const char *expected)
{
	_cleanup_free_ char *sql = xasprintf("SELECT string_agg(state, ' ' ORDER BY ordinal) AS v FROM deposit WHERE tx = decode(rpad('dd%02x', 64, '0'), 'hex')", tx);

	assert_value(sql, expected);
}

static void assert_books(void)
{
	struct books b;

	assert_ok(db_books(pg, &b));
	assert_string_equal(b.ledger_sum, "0");
	assert_int_equal(b.wrong_balances, 0);
}

/* An account spends what it has, so that a reversal finds less than was deposited. */
static void spend(uint8_t from, uint64_t amount)
{
	static int n;
	_cleanup_free_ char *sql = xasprintf("WITH t AS (INSERT INTO ledger_transfer (key, kind) VALUES ('spent:%d', 'capture') RETURNING id)"
					     " INSERT INTO ledger_entry (transfer, line, account, amount) SELECT t.id, v.* FROM t, (VALUES"
					     " (1, (SELECT id * 16 + 1 FROM account WHERE address = decode(lpad('%x', 40, '0'), 'hex')), -%llu), (2, 9::bigint, %llu)) v(line, account, amount)",
					     n++, from, (unsigned long long)amount, (unsigned long long)amount);

	assert_ok(db_script(pg, sql));
}

#define EMPTY(table, where) \
	"ALTER TABLE " table " DISABLE TRIGGER USER; DELETE FROM " table " " where "; ALTER TABLE " table " ENABLE TRIGGER USER;"

/* Each test begins before the first block, with empty books: what protects them is put aside for the moment it takes to empty them. */
static int setup(void **state)
{
	uint64_t number = 99;
	struct hash h;
	bool has_hash = true;

	(void)state;
	at = 0;
	assert_ok(db_script(pg, EMPTY("ledger_entry", "") EMPTY("ledger_transfer", "") EMPTY("ledger_balance", "") EMPTY("ledger_account", "WHERE owner > 0")
				"DELETE FROM deposit; DELETE FROM account; DELETE FROM chain_cursor; DELETE FROM chain_block"));
	return db_watch_cursor(pg, &WATCH, 0, &number, &h, &has_hash) || number != 0 || has_hash ? -1 : 0;
}

static void test_credited_when_confirmed(void **state)
{
	const struct deposit_seen d = deposit(1, 0, 0xa1, 100);

	(void)state;
	assert_int_equal(next(&WATCH, 0, &d, 1), 0);
	assert_balance_of(0xa1, "0");
	assert_int_equal(empty(1), 0); /* two blocks deep, its own included */
	assert_balance_of(0xa1, "0");
	assert_state(1, "seen");
	assert_int_equal(empty(1), 1);
	assert_balance_of(0xa1, "100");
	assert_state(1, "credited");
	assert_int_equal(empty(5), 0);
	assert_balance_of(0xa1, "100");
	assert_value("SELECT -ledger_balance_of(8) AS v", "100"); /* custody: what the treasury must hold */
	assert_books();
}

/* A claimed deposit is taken back, and its transaction comes again with another sender's log in that place: it is that one's. */
static void test_claimed_and_then_of_another(void **state)
{
	const struct address claimant = { .b = { [19] = 0xc1 } };
	struct deposit_seen first = deposit(9, 0, 0xa1, 1), other = deposit(9, 0, 0xb2, 1000);
	_cleanup_free_ char *id = NULL;

	(void)state;
	first.sender = DEPOSIT_FROM_CONTRACT;
	next(&WATCH, 0, &first, 1);
	empty(3);
	assert_state(9, "held");
	id = pg_value("SELECT id AS v FROM deposit");
	assert_ok(db_deposit_claim(pg, atoll(id), &claimant));
	assert_state(9, "credited");
	rewind_to(1);
	next(&WATCH, 1, &other, 1);
	empty(3);
	assert_balance_of(0xb2, "1000");
	assert_value("SELECT (claimed_at IS NULL)::text AS v FROM deposit", "true");
}

static void test_each_log_once(void **state)
{
	const struct deposit_seen two[] = { deposit(1, 0, 0xa1, 100), deposit(1, 4, 0xa2, 7) };

	(void)state;
	assert_int_equal(next(&WATCH, 0, two, 2), 0);
	assert_int_equal(empty(2), 2);
	assert_balance_of(0xa1, "100");
	assert_balance_of(0xa2, "7");
	/* the same logs again, credited long ago: an endpoint that lies, or a watcher that lost its place */
	assert_int_equal(next(&WATCH, 0, two, 2), 0);
	assert_int_equal(empty(4), 0);
	assert_balance_of(0xa1, "100");
	assert_balance_of(0xa2, "7");
	assert_books();
}

static void test_one_watcher_per_block(void **state)
{
	const struct deposit_seen d = deposit(1, 0, 0xa1, 100);
	struct hash h = block(1, 0);
	int64_t credited = -1;

	(void)state;
	next(&WATCH, 0, NULL, 0);
	assert_int_equal(db_watch_advance(pg, &WATCH, 0, 1, &h, &d, 1, CONFIRMATIONS, &credited), ERR_CONFLICT);
	assert_int_equal(db_watch_advance(pg, &WATCH, 2, 3, &h, &d, 1, CONFIRMATIONS, &credited), ERR_CONFLICT);
	assert_int_equal(db_watch_rewind(pg, &WATCH, 3, 1), ERR_CONFLICT);
	assert_int_equal(credited, -1);
	assert_value("SELECT count(*) AS v FROM deposit", "0"); /* nothing of it stays */
	assert_value("SELECT number AS v FROM chain_cursor", "1");
}

static void *credit_one(void *arg)
{
	const struct deposit_seen d = deposit(2, 0, 0xa1, 7);

	*(int64_t *)arg = next(&WATCH, 0, &d, 1); /* sees one deposit and credits another of the same account */
	return NULL;
}

/* What opens a job takes the payer's balance first and then refers to his account: the watcher, who writes the account and then the
 * balance, must not stand in that way. */
static void test_no_deadlock_with_a_hold(void **state)
{
	const struct deposit_seen d = deposit(1, 0, 0xa1, 100);
	struct db *payer = db_new(pg_url, 30000), *look = db_new(pg_url, 30000);
	int64_t credited = 0;
	pthread_t watcher;
	enum err e;

	(void)state;
	next(&WATCH, 0, &d, 1);
	empty(1);
	assert_ok(db_script(payer, "BEGIN; SELECT FROM ledger_balance FOR UPDATE; SET LOCAL lock_timeout = '200ms'"));
	assert_int_equal(pthread_create(&watcher, NULL, credit_one, &credited), 0);
	pg_wait_blocked(look, 1);
	e = db_script(payer, "SELECT FROM account FOR KEY SHARE");
	assert_ok(db_script(payer, "ROLLBACK"));
	assert_int_equal(pthread_join(watcher, NULL), 0);
	assert_int_equal(e, ERR_OK);
	assert_int_equal(credited, 1);
	db_free(payer);
	db_free(look);
}

static void test_unconfirmed_vanishes(void **state)
{
	const struct deposit_seen d = deposit(1, 0, 0xa1, 100);

	(void)state;
	empty(1);
	next(&WATCH, 0, &d, 1);
	rewind_to(2);
	assert_state(1, "vanished");
	assert_int_equal(empty(6), 0);
	assert_balance_of(0xa1, "0");
	assert_books();
}

static void test_included_again(void **state)
{
	const struct deposit_seen d = deposit(1, 0, 0xa1, 100);

	(void)state;
	next(&WATCH, 0, &d, 1);
	rewind_to(1);
	next(&WATCH, 1, NULL, 0);
	assert_int_equal(next(&WATCH, 1, &d, 1), 0); /* a block later; its confirmations begin anew */
	assert_int_equal(empty(1), 0);
	assert_int_equal(empty(1), 1);
	assert_balance_of(0xa1, "100");
	assert_value("SELECT block_number AS v FROM deposit", "2");
	assert_books();
}

static void test_credited_and_taken_back(void **state)
{
	const struct deposit_seen d = deposit(1, 0, 0xa1, 100), other = deposit(2, 0, 0xa2, 5);

	(void)state;
	next(&WATCH, 0, &other, 1);
	next(&WATCH, 0, &d, 1);
	assert_int_equal(empty(2), 2);
	rewind_to(2);
	assert_state(1, "reversed");
	assert_state(2, "credited"); /* its block stayed */
	assert_balance_of(0xa1, "0");
	assert_balance_of(0xa2, "5");
	assert_value("SELECT -ledger_balance_of(8) AS v", "5");
	/* back in the chain: credited again, once, under a key of its own */
	next(&WATCH, 1, &d, 1);
	assert_int_equal(empty(2), 1);
	assert_balance_of(0xa1, "100");
	assert_value("SELECT credits AS v FROM deposit WHERE amount = 100", "2");
	rewind_to(2);
	assert_balance_of(0xa1, "0");
	assert_value("SELECT count(*) AS v FROM ledger_transfer WHERE kind = 'deposit_reversal'", "2");
	assert_books();
}

/* What was spent cannot be taken back: the account goes to zero, not below, and the rest is our loss. */
static void test_spent_before_reversal(void **state)
{
	const struct deposit_seen d = deposit(1, 0, 0xa1, 100);

	(void)state;
	next(&WATCH, 0, &d, 1);
	empty(2);
	spend(0xa1, 70);
	rewind_to(1);
	assert_state(1, "reversed");
	assert_balance_of(0xa1, "0");
	assert_value("SELECT shortfall AS v FROM deposit", "70");
	assert_value("SELECT ledger_balance_of(10) AS v", "-70");
	assert_value("SELECT -ledger_balance_of(8) AS v", "0");
	assert_books();
}

/* The same deposit again after that: our loss comes back first, nobody is paid twice. */
static void test_shortfall_is_repaid(void **state)
{
	const struct deposit_seen d = deposit(1, 0, 0xa1, 100);

	(void)state;
	next(&WATCH, 0, &d, 1);
	empty(2);
	spend(0xa1, 70);
	rewind_to(1);
	next(&WATCH, 1, &d, 1);
	empty(2);
	assert_state(1, "credited");
	assert_balance_of(0xa1, "30");
	assert_value("SELECT shortfall AS v FROM deposit", "0");
	assert_value("SELECT ledger_balance_of(10) AS v", "0");
	assert_value("SELECT -ledger_balance_of(8) AS v", "100");
	assert_books();
}

/* A reorganised transaction may move another amount than before: what is in the block that stays is what counts. */
static void test_included_again_with_another_amount(void **state)
{
	const struct deposit_seen before = deposit(1, 0, 0xa1, 100), after = deposit(1, 0, 0xa2, 40);

	(void)state;
	next(&WATCH, 0, &before, 1);
	rewind_to(1);
	next(&WATCH, 1, &after, 1);
	empty(2);
	assert_state(1, "credited");
	assert_balance_of(0xa1, "0");
	assert_balance_of(0xa2, "40");
	assert_books();
}

/* Another token of the same chain, watched by a cursor that is far ahead, confirms nothing of ours. */
static void test_tokens_are_apart(void **state)
{
	const struct deposit_seen d = deposit(1, 0, 0xa1, 100);
	struct watch other = WATCH;
	uint64_t number = 0;
	struct hash h;
	bool has_hash = false;
	int64_t credited = -1;

	(void)state;
	next(&WATCH, 0, &d, 1);
	other.token.b[0] = 0x71;
	assert_ok(db_watch_cursor(pg, &other, 50, &number, &h, &has_hash));
	assert_int_equal(number, 50);
	h = block(51, 0);
	assert_ok(db_watch_advance(pg, &other, 50, 51, &h, NULL, 0, CONFIRMATIONS, &credited));
	assert_int_equal(credited, 0);
	assert_balance_of(0xa1, "0");
	assert_int_equal(empty(2), 1);
	assert_balance_of(0xa1, "100");
}

static void test_nothing_is_a_deposit_too(void **state)
{
	const struct deposit_seen d = deposit(1, 0, 0xa1, 0);

	(void)state;
	next(&WATCH, 0, &d, 1);
	assert_int_equal(empty(2), 1);
	assert_state(1, "credited");
	assert_balance_of(0xa1, "0");
	rewind_to(1);
	assert_state(1, "reversed");
	assert_books();
}

static void test_blocks_are_remembered(void **state)
{
	uint64_t number = 0;
	struct hash h, expected = block(2, 0);
	bool has_hash = false;

	(void)state;
	empty(2);
	assert_ok(db_watch_cursor(pg, &WATCH, 0, &number, &h, &has_hash));
	assert_int_equal(number, 2);
	assert_true(has_hash && hash_equal(&h, &expected));
	assert_ok(db_watch_block(pg, &WATCH, 1, &h));
	assert_int_equal(db_watch_block(pg, &WATCH, 3, &h), ERR_NOT_FOUND);
	rewind_to(2);
	assert_int_equal(db_watch_block(pg, &WATCH, 2, &h), ERR_NOT_FOUND);
	assert_ok(db_watch_block(pg, &WATCH, 1, &h));
}

/* What the watcher makes of an endpoint of that chain whose newest block is 2, on that fork; `first`: its block 1. */
static enum err step_on(struct fake_rpc *fake, struct net *net, const char *chain_id, uint8_t fork, const char *first)
{
	struct hash h = block(2, fork), parent = block(1, fork);
	_cleanup_free_ char *json = xasprintf("{\"number\":\"0x2\",\"hash\":\"%s\",\"parentHash\":\"%s\",\"timestamp\":\"0x65\"}", hash_format(&h).s, hash_format(&parent).s);
	const struct fake_answer answers[] = { { .method = "eth_blockNumber", .result = "\"0x2\"" }, { .method = "eth_getBlockByNumber", .result = json, .contains = "[\"0x2\",false]" },
					       { .method = "eth_getBlockByNumber", .result = first, .contains = "[\"0x1\",false]" },
					       { .method = "eth_getBlockByNumber", .result = "null" }, { .method = "eth_chainId", .result = chain_id } };
	struct chain_pair pair = { .first = chain_new(net, fake->url, 5000) };
	struct deposits_config config = { .pair = &pair, .watch = WATCH, .confirmations = CONFIRMATIONS, .log = log_nothing };
	bool more = false;
	enum err e;

	fake_set(fake, answers, 5);
	e = deposits_step(&config, pg, &more);
	chain_free(pair.first);
	return e;
}

#define OUR_CHAIN "\"0x14a34\""
#define ANOTHER_FIRST "{\"number\":\"0x1\",\"hash\":\"0x" FORTIES "9999999999999999\",\"parentHash\":\"0x" FORTIES "0000000000000000\",\"timestamp\":\"0x64\"}"
#define FORTIES "444444444444444444444444444444444444444444444444"

/* An endpoint that has not yet seen our newest blocks takes nothing back; one that has others instead does. */
static void test_a_lagging_endpoint(void **state)
{
	const struct net_config trusted = { .reactors = 1, .connections_per_host_max = 2 };
	const struct deposit_seen d = deposit(1, 0, 0xa1, 100);
	struct fake_rpc fake = { 0 };
	struct net *net = NULL;

	(void)state;
	assert_ok(net_start(&trusted, &net));
	fake_start(&fake);
	empty(2);
	next(&WATCH, 0, &d, 1);
	assert_int_equal(empty(3), 1);
	assert_ok(step_on(&fake, net, OUR_CHAIN, 0, "null"));
	assert_state(1, "credited");
	assert_balance_of(0xa1, "100");
	assert_value("SELECT number AS v FROM chain_cursor", "6");
	assert_int_equal(step_on(&fake, net, "\"0x1\"", 1, ANOTHER_FIRST), ERR_CHAIN_DOWN); /* another chain has other blocks: that takes nothing back */
	assert_state(1, "credited");
	assert_int_equal(step_on(&fake, net, OUR_CHAIN, 1, "null"), ERR_CHAIN_DOWN); /* nor does one that lacks blocks it came past: it mixes */
	assert_state(1, "credited");
	assert_ok(step_on(&fake, net, OUR_CHAIN, 1, ANOTHER_FIRST));
	assert_state(1, "reversed");
	assert_balance_of(0xa1, "0");
	assert_books();
	net_stop(net);
	fake_stop(&fake);
}

/* ---- far behind ---- */

static char *block_json(uint64_t number)
{
	struct hash h = block(number, 0), parent = block(number - 1, 0);

	return xasprintf("{\"number\":\"0x%llx\",\"hash\":\"%s\",\"parentHash\":\"%s\",\"timestamp\":\"0x65\"}", (unsigned long long)number, hash_format(&h).s,
			 hash_format(&parent).s);
}

static char *log_json(uint64_t number)
{
	struct hash h = block(number, 0);

	return xasprintf("[{\"address\":\"%s\",\"topics\":[\"0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef\",\"0x%064x\",\"0x%024d%s\"],\"data\":\"0x%064x\","
			 "\"blockHash\":\"%s\",\"blockNumber\":\"0x%llx\",\"transactionHash\":\"%s\",\"logIndex\":\"0x0\",\"removed\":false}]",
			 address_format(&WATCH.token).s, 0xa1, 0, address_format(&WATCH.treasury).s + 2, 7, hash_format(&h).s, (unsigned long long)number, hash_format(&h).s);
}

#define FAR (5904 + DB_WATCH_KEEPS)

/* A step at an endpoint with FAR blocks. It knows the next block, `last` and `before` (0: none), and says this of the logs of a range that ends with
 * `last`, and of no other. NULL: it refuses. The next block has no transfers when it is asked about that alone. more_far: what the step says of more. */
static bool more_far;
static enum err step_far(struct fake_rpc *fake, struct chain_pair *pair, uint64_t last, uint64_t before, const char *logs)
{
	const struct deposits_config config = { .pair = pair, .watch = WATCH, .confirmations = CONFIRMATIONS, .log = log_nothing };
	_cleanup_free_ char *cursor = pg_value("SELECT coalesce(max(number), 0) AS v FROM chain_cursor");
	uint64_t now = strtoull(cursor, NULL, 10);
	_cleanup_free_ char *head = xasprintf("\"0x%x\"", FAR), *next_json = block_json(now + 1), *last_json = block_json(last), *before_json = block_json(before);
	_cleanup_free_ char *next_asked = xasprintf("[\"0x%llx\",false]", (unsigned long long)now + 1), *last_asked = xasprintf("[\"0x%llx\",false]", (unsigned long long)last),
			    *before_asked = xasprintf("[\"0x%llx\",false]", (unsigned long long)before),
			    *range = xasprintf("\"fromBlock\":\"0x%llx\",\"toBlock\":\"0x%llx\"", (unsigned long long)now + 1, (unsigned long long)last);
	const struct fake_answer answers[] = {
		{ .method = "eth_chainId", .result = OUR_CHAIN },
		{ .method = "eth_blockNumber", .result = head },
		{ .method = "eth_getBlockByNumber", .contains = next_asked, .result = next_json },
		{ .method = "eth_getBlockByNumber", .contains = last_asked, .result = last_json },
		{ .method = "eth_getBlockByNumber", .contains = before ? before_asked : NULL, .result = before ? before_json : "null" },
		{ .method = "eth_getBlockByHash", .result = next_json },
		{ .method = "eth_getLogs", .contains = "blockHash", .result = "[]" },
		{ .method = "eth_getLogs", .contains = logs ? range : "nothing", .result = logs },
	};

	fake_set(fake, answers, 8);
	return deposits_step(&config, pg, &more_far);
}

#define assert_cursor(number) assert_value("SELECT number AS v FROM chain_cursor", number)

/* Ranges without a deposit are passed over, up to what a reorganisation may still reach; a block with one is looked at by itself. */
static void test_far_behind(void **state)
{
	const struct net_config trusted = { .reactors = 1, .connections_per_host_max = 2 };
	const struct hash passed = block(2000, 0);
	_cleanup_free_ char *at_3000 = log_json(3000);
	struct chain_pair pair = { 0 };
	struct fake_rpc fake = { 0 };
	struct net *net = NULL;
	struct hash h;

	(void)state;
	assert_ok(net_start(&trusted, &net));
	fake_start(&fake);
	pair.first = chain_new(net, fake.url, 5000);
	assert_ok(step_far(&fake, &pair, 1999, 0, "[]")); /* it has no block 2000 after all */
	assert_cursor("0");
	assert_false(more_far);
	assert_ok(step_far(&fake, &pair, 2000, 0, "[]"));
	assert_cursor("2000");
	assert_true(more_far);
	assert_ok(db_watch_block(pg, &WATCH, 2000, &h));
	assert_true(hash_equal(&h, &passed));
	assert_ok(step_far(&fake, &pair, 4000, 2999, at_3000));
	assert_cursor("2999");
	assert_ok(step_far(&fake, &pair, 4999, 0, at_3000));
	assert_cursor("3000");
	assert_int_equal(step_far(&fake, &pair, 5000, 0, NULL), ERR_CHAIN_DOWN); /* too many for it */
	assert_cursor("3000");
	assert_ok(step_far(&fake, &pair, 4000, 0, "[]"));
	assert_cursor("4000");
	assert_ok(step_far(&fake, &pair, 5500, 0, "[]"));
	assert_cursor("5500");
	assert_ok(step_far(&fake, &pair, FAR - DB_WATCH_KEEPS, 0, "[]"));
	assert_cursor("5904");
	assert_ok(step_far(&fake, &pair, 7904, 0, "[]"));
	assert_cursor("5905");
	chain_free(pair.first);
	net_stop(net);
	fake_stop(&fake);
}

int main(void)
{
#define OF_ITS_OWN(test) cmocka_unit_test_setup(test, setup)
	const struct CMUnitTest tests[] = {
		OF_ITS_OWN(test_credited_when_confirmed), OF_ITS_OWN(test_each_log_once), OF_ITS_OWN(test_claimed_and_then_of_another), OF_ITS_OWN(test_one_watcher_per_block),
		OF_ITS_OWN(test_unconfirmed_vanishes), OF_ITS_OWN(test_included_again), OF_ITS_OWN(test_credited_and_taken_back),
		OF_ITS_OWN(test_spent_before_reversal), OF_ITS_OWN(test_shortfall_is_repaid),
		OF_ITS_OWN(test_included_again_with_another_amount), OF_ITS_OWN(test_tokens_are_apart), OF_ITS_OWN(test_nothing_is_a_deposit_too),
		OF_ITS_OWN(test_blocks_are_remembered), OF_ITS_OWN(test_no_deadlock_with_a_hold), OF_ITS_OWN(test_a_lagging_endpoint), OF_ITS_OWN(test_far_behind),
	};

	return cmocka_run_group_tests(tests, pg_setup, pg_teardown);
}
