/* What must be true of the database before the gateway serves: every migration applied as it is written here, and settings that lose
 * nothing that was acknowledged. */
#include "handlers/startup.h"
#include "tests/db/pg.h"

static enum err check(const char *expected_word)
{
	struct startup_why why = { "" };
	enum err e = startup_check_database(pg, &why);

	if (expected_word && !strstr(why.text, expected_word))
		fail_msg("no \"%s\" in: %s", expected_word, why.text);
	return e;
}

static void test_good(void **state)
{
	(void)state;
	assert_ok(check(NULL));
}

static void test_migrations(void **state)
{
	(void)state;
	assert_ok(db_script(pg, "CREATE TABLE kept AS SELECT * FROM migration"));
	assert_ok(db_script(pg, "DELETE FROM migration WHERE name = (SELECT max(name) FROM migration)"));
	assert_int_equal(check("opgate migrate"), ERR_CONFLICT);
	assert_ok(db_script(pg, "DELETE FROM migration; INSERT INTO migration SELECT * FROM kept; UPDATE migration SET sha256 = '0x00' WHERE name LIKE '0001%'"));
	assert_int_equal(check("edited"), ERR_CONFLICT);
	assert_ok(db_script(pg, "DELETE FROM migration; INSERT INTO migration SELECT * FROM kept; INSERT INTO migration VALUES ('9999_later', '0x00')"));
	assert_int_equal(check("9999_later"), ERR_CONFLICT);
	assert_ok(db_script(pg, "DELETE FROM migration WHERE name = '9999_later'"));
	assert_ok(check(NULL));
}

static void test_durability(void **state)
{
	(void)state;
	assert_ok(db_script(pg, "SET synchronous_commit = off"));
	assert_int_equal(check("synchronous_commit"), ERR_CONFLICT);
	assert_ok(db_script(pg, "SET synchronous_commit = local")); /* a standby promoted after a crash would lack it */
	assert_int_equal(check("synchronous_commit"), ERR_CONFLICT);
	assert_ok(db_script(pg, "RESET synchronous_commit"));
	assert_ok(check(NULL));
}

/* The sweep takes what is over and nothing else. */
static void test_sweep(void **state)
{
	(void)state;
	assert_ok(db_script(pg, "INSERT INTO siwe_nonce VALUES ('expiredexpiredex', now() - interval '6 minutes', now() - interval '1 minute'),"
				" ('livelivelivelive', now(), now() + interval '5 minutes');"
				"INSERT INTO node_nonce VALUES (decode(repeat('01', 20), 'hex'), decode(repeat('01', 32), 'hex'), now() - interval '11 minutes'),"
				" (decode(repeat('01', 20), 'hex'), decode(repeat('02', 32), 'hex'), now() - interval '9 minutes');"
				"INSERT INTO account (address) VALUES (decode(repeat('0a', 20), 'hex'));"
				"INSERT INTO idempotency SELECT id, 'r', k, decode(repeat('03', 32), 'hex'), gen_random_uuid(), now() - d FROM account,"
				" (VALUES ('old', interval '31 days'), ('new', interval '29 days')) v(k, d)"));
	assert_ok(db_script(pg, "INSERT INTO siwx_nonce SELECT v.n, decode(repeat('aa', 20), 'hex'), now() + v.i FROM (VALUES ('over', interval '-1 second'), ('used', interval '1 minute')) v(n, i)"));
	assert_ok(startup_sweep(pg));
	assert_value("SELECT string_agg(nonce, ' ') AS v FROM siwe_nonce", "livelivelivelive");
	assert_value("SELECT string_agg(nonce, ' ') AS v FROM siwx_nonce", "used");
	assert_value("SELECT encode(nonce, 'hex') AS v FROM node_nonce", "0202020202020202020202020202020202020202020202020202020202020202");
	assert_value("SELECT string_agg(key, ' ') AS v FROM idempotency", "new");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good), cmocka_unit_test(test_migrations), cmocka_unit_test(test_durability), cmocka_unit_test(test_sweep),
	};

	return cmocka_run_group_tests(tests, pg_setup, pg_teardown);
}
