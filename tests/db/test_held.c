/* Deposits whose sender is no account by itself: held, claimed, ours, reversed; and the rows of deposits whose gas we pay. */
#include "db/deposits.h"
#include "db/ledger.h"
#include "db/sponsored.h"
#include "tests/db/pg.h"

static const struct watch WATCH = { .chain_id = 84532, .token = { { 0x70 } }, .treasury = { { 0x7e } } };
static uint64_t at;

static struct address address(uint8_t n)
{
	struct address a = { { 0 } };

	a.b[19] = n;
	return a;
}

static void next(uint8_t fork, const struct deposit_seen *seen, size_t count)
{
	struct hash h = { { (uint8_t)++at, fork } };
	int64_t credited = 0;

	assert_ok(db_watch_advance(pg, &WATCH, at - 1, at, &h, seen, count, 1, &credited));
}

static struct deposit_seen from(uint8_t who, enum deposit_sender sender)
{
	return (struct deposit_seen){ .tx = { { 0xdd, who } }, .from = address(who), .sender = sender, .amount = amount_from_u64(100) };
}

static int64_t newest(void)
{
	_cleanup_free_ char *text = pg_value("SELECT max(id) AS v FROM deposit");
	long long id = 0;

	assert_int_equal(sscanf(text, "%lld", &id), 1);
	return id;
}

static void assert_owed(const char *unattributed, const char *custody)
{
	struct books b;

	assert_ok(db_books(pg, &b));
	assert_string_equal(b.ledger_sum, "0");
	assert_int_equal(b.wrong_balances, 0);
	assert_value("SELECT ledger_balance_of(15) AS v", unattributed);
	assert_string_equal(amount_format(b.custody).s, custody);
	assert_true(amount_cmp(b.liabilities, b.custody) <= 0);
}

#define EMPTY(table, where) "ALTER TABLE " table " DISABLE TRIGGER USER; DELETE FROM " table " " where "; ALTER TABLE " table " ENABLE TRIGGER USER;"

static int setup(void **state)
{
	uint64_t number;
	struct hash h;
	bool has_hash;

	(void)state;
	at = 0;
	assert_ok(db_script(pg, EMPTY("ledger_entry", "") EMPTY("ledger_transfer", "") EMPTY("ledger_balance", "") EMPTY("ledger_account", "WHERE owner > 0")
				"DELETE FROM sponsored_deposit; DELETE FROM settlement_tx_version; DELETE FROM settlement_tx; DELETE FROM deposit; DELETE FROM account;"
				" DELETE FROM chain_cursor; DELETE FROM chain_block"));
	return db_watch_cursor(pg, &WATCH, 0, &number, &h, &has_hash);
}

static void test_a_contract_is_held_and_claimed(void **state)
{
	const struct deposit_seen d = from(0xc1, DEPOSIT_FROM_CONTRACT);
	struct address to = address(0xa1), other = address(0xa2);

	(void)state;
	next(0, &d, 1);
	assert_value("SELECT state || ' ' || (account IS NULL) AS v FROM deposit", "held true");
	assert_owed("100", "100");
	assert_int_equal(db_deposit_claim(pg, newest() + 1, &to), ERR_NOT_FOUND);
	assert_ok(db_deposit_claim(pg, newest(), &to));
	assert_ok(db_deposit_claim(pg, newest(), &to));
	assert_int_equal(db_deposit_claim(pg, newest(), &other), ERR_CONFLICT);
	assert_value("SELECT state || ' ' || (SELECT sum(amount) FROM ledger_balance) AS v FROM deposit", "credited 100");
	assert_value("SELECT count(*) AS v FROM ledger_transfer WHERE kind = 'deposit_claimed'", "1");
	assert_owed("0", "100");
}

/* It came and went and came again: whoever it was given to keeps it, and it is booked once for each time it is there. */
static void test_claimed_and_reorganised(void **state)
{
	const struct deposit_seen d = from(0xc1, DEPOSIT_FROM_CONTRACT);
	struct address to = address(0xa1);

	(void)state;
	next(0, &d, 1);
	assert_ok(db_deposit_claim(pg, newest(), &to));
	assert_ok(db_watch_rewind(pg, &WATCH, 1, 1));
	at = 0;
	assert_value("SELECT state || ' ' || reversals || ' ' || (reason <> '') AS v FROM deposit", "reversed 1 true");
	assert_owed("0", "0");
	next(1, &d, 1);
	assert_value("SELECT state || ' ' || (SELECT sum(amount) FROM ledger_balance) AS v FROM deposit", "credited 100");
	assert_owed("0", "100");
}

static void test_held_and_reorganised(void **state)
{
	const struct deposit_seen d = from(0xc1, DEPOSIT_FROM_CONTRACT);
	struct address to = address(0xa1);

	(void)state;
	next(0, &d, 1);
	assert_ok(db_watch_rewind(pg, &WATCH, 1, 1));
	assert_owed("0", "0");
	assert_int_equal(db_deposit_claim(pg, newest(), &to), ERR_CONFLICT); /* what is not there is given to nobody */
}

static void test_a_known_contract_is_credited(void **state)
{
	const struct deposit_seen d = from(0xc1, DEPOSIT_FROM_CONTRACT);

	(void)state;
	assert_ok(db_script(pg, "INSERT INTO account (address) VALUES (decode(lpad('c1', 40, '0'), 'hex'))"));
	next(0, &d, 1); /* an account, but nobody ever signed in as it */
	assert_value("SELECT state AS v FROM deposit", "held");
	assert_ok(db_script(pg, "UPDATE account SET signed_in_at = now()"));
	assert_ok(db_watch_rewind(pg, &WATCH, 1, 1));
	at = 0;
	next(1, &d, 1);
	assert_value("SELECT state AS v FROM deposit", "credited");
	assert_owed("0", "100");
}

static void test_mints_and_our_own(void **state)
{
	const struct deposit_seen both[] = { from(0, DEPOSIT_FROM_NOBODY), from(0xee, DEPOSIT_FROM_US), from(0xa1, DEPOSIT_FROM_KEY) };

	(void)state;
	next(0, both, 3);
	assert_value("SELECT string_agg(state, ' ' ORDER BY id) AS v FROM deposit", "held internal credited");
	assert_owed("100", "200"); /* our own money is not booked a second time */
	assert_ok(db_watch_rewind(pg, &WATCH, 1, 1));
	assert_value("SELECT string_agg(state, ' ' ORDER BY id) AS v FROM deposit", "reversed vanished reversed");
}

/* ---- deposits whose gas we pay ---- */

static int64_t account_of(uint8_t n)
{
	_cleanup_free_ char *sql = xasprintf("INSERT INTO account (address) VALUES (decode(lpad('%02x', 40, '0'), 'hex')) ON CONFLICT (address) DO UPDATE SET created_at = account.created_at"
					     " RETURNING id AS v", n);
	_cleanup_free_ char *text = pg_value(sql);
	long long id = 0;

	assert_int_equal(sscanf(text, "%lld", &id), 1);
	return id;
}

static enum err open_for(uint8_t who, uint8_t nonce, struct uuid *ret)
{
	struct sponsored_new d = { .id = uuid_new(), .chain_id = 84532, .account = account_of(who), .owner = address(who), .method = "permit2", .nonce = { { 0, nonce } },
				   .amount = amount_from_u64(5), .gas_cost = amount_from_u64(10), .valid_until = 99, .call = "call", .call_len = 4,
				   .gas_account_max = amount_from_u64(25), .gas_all_max = amount_from_u64(35) };

	*ret = d.id;
	return db_sponsored_open(pg, &d);
}

/* Written with a transaction of its own, which ends as `state` says. */
static void send_it(const struct uuid *id, uint64_t nonce)
{
	const struct signed_tx tx = { .chain_id = 84532, .sender = address(0x55), .nonce = nonce, .hash = { { 0x99, (uint8_t)nonce } }, .raw = "raw", .raw_len = 3,
				      .max_fee = amount_from_u64(1) };

	assert_ok(db_sponsored_write(pg, id, &tx));
}

static void mined(uint64_t nonce, bool succeeded)
{
	_cleanup_free_ char *sql = xasprintf("UPDATE settlement_tx SET state = 'mined', succeeded = %s, block_number = 1, block_hash = decode(repeat('01', 32), 'hex') WHERE nonce = %llu",
					     succeeded ? "true" : "false", (unsigned long long)nonce);

	assert_ok(db_script(pg, sql));
}

static void test_sponsored_once(void **state)
{
	struct uuid one, two;
	struct sponsored next_one;

	(void)state;
	assert_int_equal(db_sponsored_next(pg, 84532, &next_one), ERR_NOT_FOUND);
	assert_ok(open_for(0xa1, 1, &one));
	assert_int_equal(open_for(0xa1, 1, &two), ERR_CONFLICT);
	assert_int_equal(open_for(0xa1, 2, &two), ERR_IN_PROGRESS);
	assert_ok(db_sponsored_next(pg, 84532, &next_one));
	assert_memory_equal(&next_one.id, &one, sizeof(one));
	free(next_one.call);
	send_it(&one, 7);
	assert_int_equal(db_sponsored_next(pg, 84532, &next_one), ERR_NOT_FOUND);
	assert_int_equal(open_for(0xa1, 2, &two), ERR_IN_PROGRESS);
	mined(7, true);
	assert_value("SELECT state AS v FROM sponsored_deposit", "done");
	assert_int_equal(open_for(0xa1, 1, &two), ERR_CONFLICT);
	assert_ok(open_for(0xa1, 2, &two));
}

/* A signature that was never sent used no nonce of the token: the owner signs that one again. One that was sent and reverted is used. */
static void test_sponsored_again_when_never_sent(void **state)
{
	struct uuid one, two, three;

	(void)state;
	assert_ok(open_for(0xa1, 1, &one));
	assert_ok(db_sponsored_fail(pg, &one, "the signature expired before it was sent"));
	assert_ok(open_for(0xa1, 1, &two));
	send_it(&two, 7);
	mined(7, false);
	assert_value("SELECT string_agg(state, ' ') AS v FROM sponsored_deposit", "failed failed");
	assert_int_equal(open_for(0xa1, 1, &three), ERR_CONFLICT);
}

static void test_sponsored_gas_of_a_day(void **state)
{
	struct uuid id;

	(void)state;
	for (uint8_t n = 1; n <= 2; n++) {
		assert_ok(open_for(0xa1, n, &id));
		send_it(&id, n);
		mined(n, n == 1); /* what was reverted cost gas, too */
	}
	assert_int_equal(open_for(0xa1, 3, &id), ERR_LIMIT); /* of the account */
	assert_ok(open_for(0xa2, 1, &id));
	assert_int_equal(open_for(0xa3, 1, &id), ERR_LIMIT); /* of all */
	assert_ok(db_sponsored_fail(pg, &id, "never opened"));
	assert_ok(db_script(pg, "UPDATE sponsored_deposit SET created_at = created_at - interval '25 hours'"));
	assert_ok(open_for(0xa3, 1, &id));
}

/* A reorganisation takes the transaction back, or another takes its nonce: the deposit is under way again. */
static void test_sponsored_follows_its_transaction(void **state)
{
	struct uuid id;

	(void)state;
	assert_ok(open_for(0xa1, 1, &id));
	send_it(&id, 7);
	mined(7, true);
	assert_ok(db_script(pg, "UPDATE settlement_tx SET state = 'signed', succeeded = NULL, block_number = NULL, block_hash = NULL"));
	assert_value("SELECT state AS v FROM sponsored_deposit", "sent");
	assert_ok(db_script(pg, "UPDATE settlement_tx SET state = 'replaced'"));
	assert_value("SELECT state || ' ' || (tx IS NULL) AS v FROM sponsored_deposit", "queued true");
	send_it(&id, 8);
	mined(8, false);
	assert_value("SELECT state || ': ' || reason AS v FROM sponsored_deposit", "failed: the transaction was reverted");
}

int main(void)
{
#define OF_ITS_OWN(test) cmocka_unit_test_setup(test, setup)
	const struct CMUnitTest tests[] = {
		OF_ITS_OWN(test_a_contract_is_held_and_claimed), OF_ITS_OWN(test_claimed_and_reorganised), OF_ITS_OWN(test_held_and_reorganised),
		OF_ITS_OWN(test_a_known_contract_is_credited), OF_ITS_OWN(test_mints_and_our_own), OF_ITS_OWN(test_sponsored_once), OF_ITS_OWN(test_sponsored_again_when_never_sent),
		OF_ITS_OWN(test_sponsored_gas_of_a_day), OF_ITS_OWN(test_sponsored_follows_its_transaction),
	};

	return cmocka_run_group_tests(tests, pg_setup, pg_teardown);
}
