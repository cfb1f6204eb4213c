/* The database refuses what would break the books, whoever asks. */
#include "tests/db/pg.h"

static void add_account(int n)
{
	_cleanup_free_ char *sql = xasprintf("INSERT INTO account (address) VALUES (decode(lpad('%x', 40, '0'), 'hex'))", n);

	assert_ok(db_script(pg, sql));
}

static int setup(void **state)
{
	if (pg_setup(state))
		return -1;
	add_account(1);
	add_account(2);
	return 0;
}

static enum err post(const char *key, const char *lines)
{
	_cleanup_free_ char *sql = xasprintf("WITH t AS (INSERT INTO ledger_transfer (key, kind) VALUES ('%s', 'deposit') RETURNING id)"
					     " INSERT INTO ledger_entry (transfer, line, account, amount)"
					     " SELECT t.id, v.* FROM t, (VALUES %s) v(line, account, amount)", key, lines);

	return db_script(pg, sql);
}

static void test_zero_sum(void **state)
{
	(void)state;
	assert_ok(post("a", "(1, 8, -100), (2, 17, 100)"));
	assert_value("SELECT amount AS v FROM ledger_balance WHERE account = 17", "100");
	assert_int_equal(post("b", "(1, 8, -100), (2, 17, 99)"), ERR_UNPROCESSABLE);
	assert_int_equal(post("c", "(1, 17, 5)"), ERR_UNPROCESSABLE);
	assert_value("SELECT amount AS v FROM ledger_balance WHERE account = 17", "100");
	assert_value("SELECT sum(amount) AS v FROM ledger_entry", "0");
}

/* The trigger looks where foreign keys did. */
static void test_parents(void **state)
{
	(void)state;
	assert_int_equal(post("x", "(1, 8, -5), (2, 999, 5)"), ERR_UNPROCESSABLE);
	assert_int_equal(db_script(pg, "INSERT INTO ledger_entry (transfer, line, account, amount) VALUES (999, 1, 8, -5), (999, 2, 9, 5)"), ERR_UNPROCESSABLE);
	assert_value("SELECT count(*) AS v FROM ledger_entry WHERE account = 999 OR transfer = 999", "0");
}

static void test_overdraft(void **state)
{
	(void)state;
	assert_int_equal(post("d", "(1, 17, -101), (2, 33, 101)"), ERR_INSUFFICIENT_FUNDS);
	assert_ok(post("e", "(1, 17, -100), (2, 33, 100)"));
	assert_int_equal(post("f", "(1, 17, -1), (2, 33, 1)"), ERR_INSUFFICIENT_FUNDS);
	assert_value("SELECT amount AS v FROM ledger_balance WHERE account = 33", "100");
}

static void test_once(void **state)
{
	(void)state;
	assert_int_equal(post("e", "(1, 8, -100), (2, 33, 100)"), ERR_CONFLICT);
	assert_value("SELECT amount AS v FROM ledger_balance WHERE account = 33", "100");
}

static void test_append_only(void **state)
{
	static const char *const forbidden[] = {
		"UPDATE ledger_entry SET amount = amount * 2", "DELETE FROM ledger_entry", "TRUNCATE ledger_entry",
		"UPDATE ledger_transfer SET key = 'x' || key", "DELETE FROM ledger_transfer", "UPDATE ledger_balance SET amount = amount + 1",
		"DELETE FROM ledger_balance", "INSERT INTO ledger_balance VALUES (9, 0)", "UPDATE ledger_account SET guarded = false",
		"INSERT INTO ledger_transfer (key, kind) VALUES ('empty', 'deposit')",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
		if (db_script(pg, forbidden[i]) == ERR_OK)
			fail_msg("allowed: %s", forbidden[i]);
	assert_value("SELECT amount AS v FROM ledger_balance WHERE account = 33", "100");
	assert_value("SELECT count(*) AS v FROM ledger_transfer WHERE key = 'empty'", "0");
}

static void test_amounts(void **state)
{
	static const char *const bad[] = { "(1, 8, 'NaN'::numeric), (2, 17, 'NaN'::numeric)", "(1, 8, 0), (2, 17, 0)",
					   "(1, 8, -170141183460469231731687303715884105728), (2, 17, 170141183460469231731687303715884105728)" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		_cleanup_free_ char *key = xasprintf("bad%zu", i);

		if (post(key, bad[i]) == ERR_OK)
			fail_msg("allowed: %s", bad[i]);
	}
}

/* What no account can have, no column holds. */
static void test_stored_amounts(void **state)
{
	static const char *const bad[] = { "'NaN'::numeric", "-1", "170141183460469231731687303715884105728" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		_cleanup_free_ char *sql = xasprintf("INSERT INTO hold (job, account, amount) VALUES (gen_random_uuid(), 1, %s)", bad[i]);

		if (db_script(pg, sql) == ERR_OK)
			fail_msg("allowed: %s", bad[i]);
	}
	assert_ok(db_script(pg, "BEGIN; INSERT INTO hold (job, account, amount) VALUES (gen_random_uuid(), 1, 170141183460469231731687303715884105727); ROLLBACK"));
}

static void test_fold(void **state)
{
	(void)state;
	assert_ok(post("g", "(1, 33, -40), (2, 19, 30), (3, 9, 10)"));
	assert_value("SELECT ledger_balance_of(19) AS v", "30");
	assert_ok(db_script(pg, "SELECT ledger_fold_now()"));
	assert_value("SELECT amount AS v FROM ledger_fold WHERE account = 19", "30");
	assert_ok(post("h", "(1, 33, -5), (2, 19, 5)"));
	assert_value("SELECT ledger_balance_of(19) AS v", "35");
	assert_ok(db_script(pg, "SELECT ledger_fold_now()"));
	assert_ok(db_script(pg, "SELECT ledger_fold_now()"));
	assert_value("SELECT ledger_balance_of(19) AS v", "35");
	assert_value("SELECT ledger_balance_of(9) AS v", "10");
}

/* However many accounts there are, only what moved is written; and one process at a time does it. */
static void test_fold_leaves_the_rest(void **state)
{
	_cleanup_free_ char *before = NULL;
	struct db *other = db_new(pg_url, 30000);

	(void)state;
	assert_ok(db_script(pg, "SELECT ledger_fold_now()"));
	before = pg_value("SELECT string_agg(account || ' ' || xmin, ', ' ORDER BY account) AS v FROM ledger_fold WHERE account <> 19");
	assert_non_null(strstr(before, "9 "));
	assert_ok(post("i", "(1, 33, -2), (2, 19, 2)"));
	assert_ok(db_script(other, "BEGIN; SELECT FROM ledger_folded FOR UPDATE"));
	assert_ok(db_script(pg, "SELECT ledger_fold_now()"));
	assert_value("SELECT amount AS v FROM ledger_fold WHERE account = 19", "35");
	assert_ok(db_script(other, "ROLLBACK"));
	assert_ok(db_script(pg, "SELECT ledger_fold_now()"));
	assert_value("SELECT amount AS v FROM ledger_fold WHERE account = 19", "37");
	assert_value("SELECT string_agg(account || ' ' || xmin, ', ' ORDER BY account) AS v FROM ledger_fold WHERE account <> 19", before);
	db_free(other);
}

/* The horizon keeps an entry whose transaction is still open out of the fold, even when later ones have ended. */
static void test_fold_waits_for_open_transactions(void **state)
{
	struct db *slow = db_new(pg_url, 30000);

	(void)state;
	assert_ok(db_script(slow, "BEGIN; WITH t AS (INSERT INTO ledger_transfer (key, kind) VALUES ('slow', 'deposit') RETURNING id)"
				  " INSERT INTO ledger_entry (transfer, line, account, amount) SELECT t.id, v.* FROM t, (VALUES (1, 8, -7), (2, 19, 7)) v(line, account, amount)"));
	assert_ok(post("fast", "(1, 33, -1), (2, 19, 1)"));
	assert_ok(db_script(pg, "SELECT ledger_fold_now()"));
	assert_ok(db_script(slow, "COMMIT"));
	assert_value("SELECT ledger_balance_of(19) AS v", "45");
	assert_ok(db_script(pg, "SELECT ledger_fold_now()"));
	assert_value("SELECT amount AS v FROM ledger_fold WHERE account = 19", "45");
	db_free(slow);
}

static void test_hold_closes_once(void **state)
{
	(void)state;
	assert_ok(db_script(pg, "INSERT INTO hold (job, account, amount) VALUES ('00000000-0000-7000-8000-000000000001', 1, 10)"));
	assert_int_equal(db_script(pg, "UPDATE hold SET state = 'captured', captured = 11, closed_at = now()"), ERR_UNPROCESSABLE);
	assert_int_equal(db_script(pg, "UPDATE hold SET state = 'voided', captured = 1, closed_at = now()"), ERR_UNPROCESSABLE);
	assert_ok(db_script(pg, "UPDATE hold SET state = 'captured', captured = 9, closed_at = now()"));
	assert_int_equal(db_script(pg, "UPDATE hold SET state = 'voided', captured = 0, closed_at = now()"), ERR_CONFLICT);
	assert_int_equal(db_script(pg, "DELETE FROM hold"), ERR_CONFLICT);
}

static void test_migrations_twice(void **state)
{
	struct migrate_why why = { "" };
	size_t applied = 99;

	(void)state;
	assert_ok(db_migrate(pg, &applied, &why));
	assert_int_equal(applied, 0);
	assert_ok(db_migrate_check(pg, &why));
	assert_ok(db_script(pg, "UPDATE migration SET sha256 = '0x00' WHERE name = '0002_ledger'"));
	assert_int_equal(db_migrate(pg, &applied, &why), ERR_CONFLICT);
	assert_non_null(strstr(why.text, "0002_ledger was edited"));
}

static void test_everything_is_commented(void **state)
{
	(void)state;
	assert_value("SELECT coalesce(string_agg(c.relname || '.' || a.attname, ', '), '') AS v FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
		     " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped"
		     " AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zero_sum), cmocka_unit_test(test_parents), cmocka_unit_test(test_overdraft), cmocka_unit_test(test_once), cmocka_unit_test(test_append_only),
		cmocka_unit_test(test_amounts), cmocka_unit_test(test_stored_amounts), cmocka_unit_test(test_fold), cmocka_unit_test(test_fold_leaves_the_rest), cmocka_unit_test(test_fold_waits_for_open_transactions),
		cmocka_unit_test(test_hold_closes_once), cmocka_unit_test(test_everything_is_commented), cmocka_unit_test(test_migrations_twice),
	};

	return cmocka_run_group_tests(tests, setup, pg_teardown);
}
