/* Reconciliation in the database: which Transfers agree with the books, what is kept of those that do not, and what stops because of
 * it. The chain is only numbers here; audit.c on a real one is tested in tests/faults. */
#include "db/audit.h"
#include "db/deposits.h"
#include "db/ledger.h"
#include "pay/audit.h"
#include "tests/db/pg.h"
#include "tests/unit/chain/fake_rpc.h"

#define TOKEN "7000000000000000000000000000000000000000"
#define TREASURY "7e00000000000000000000000000000000000000"
#define PAY_TO "9a00000000000000000000000000000000000000"
#define SOMEBODY "00000000000000000000000000000000000000a1"

static const struct watch WATCH = { .chain_id = 84532, .token = { { 0x70 } }, .treasury = { { 0x7e } } };
static uint64_t at;

static json_t *scope(void)
{
	const struct address pay_to = { { 0x9a } };

	return audit_scope(&WATCH, &pay_to, &pay_to, 1);
}

static json_t *movement(uint8_t tx, int ordinal, int block, const char *from, const char *to, const char *value)
{
	return json_must(json_pack("{s:o, s:i, s:i, s:o, s:s, s:s, s:s}", "tx", json_sprintf("dd%02x%060d", tx, 0), "ordinal", ordinal, "block", block, "hash", json_sprintf("%064d", block), "from", from, "to", to,
				   "value", value));
}

/* The blocks up to `upto` hold only this (or nothing). */
static void compare(uint64_t upto, json_t *m)
{
	_cleanup_json_ json_t *s = scope(), *list = json_must(json_array());
	struct hash h = { { (uint8_t)upto, 1 } };

	if (m)
		json_array_append_new(list, m);
	assert_ok(db_audit_advance(pg, s, at, upto, &h, list, true));
	at = upto;
}

static void assert_stopped(bool expected)
{
	bool stopped = !expected;

	assert_ok(settlement_stopped(pg, &stopped));
	assert_int_equal(stopped, expected);
}

/* A deposit of 100 from SOMEBODY in block 5, credited. */
static void deposit(void)
{
	struct deposit_seen d = { .tx = { { 0xdd, 1 } }, .ordinal = 2, .from = { { 0 } }, .amount = amount_from_u64(100) };
	struct hash h = { { 5 } };
	uint64_t number;
	int64_t credited = 0;
	bool has_hash;

	d.from.b[19] = 0xa1;
	assert_ok(db_watch_cursor(pg, &WATCH, 4, &number, &h, &has_hash));
	assert_ok(db_watch_advance(pg, &WATCH, 4, 5, &h, &d, 1, 1, &credited));
	assert_int_equal(credited, 1);
}

#define EMPTY(table, where) "ALTER TABLE " table " DISABLE TRIGGER USER; DELETE FROM " table " " where "; ALTER TABLE " table " ENABLE TRIGGER USER;"

static int setup(void **state)
{
	(void)state;
	at = 0;
	assert_ok(db_script(pg, EMPTY("ledger_entry", "") EMPTY("ledger_transfer", "") EMPTY("ledger_balance", "") EMPTY("ledger_account", "WHERE owner > 0")
				"DELETE FROM deposit; DELETE FROM mismatch; DELETE FROM account; DELETE FROM chain_cursor; DELETE FROM chain_block; DELETE FROM audit_cursor; DELETE FROM audit_block"));
	return db_audit_cursor(pg, &WATCH, 0, &at) || at != 0 ? -1 : 0;
}

static void test_a_deposit_agrees(void **state)
{
	(void)state;
	deposit();
	compare(9, movement(1, 2, 5, SOMEBODY, TREASURY, "100"));
	assert_value("SELECT audited_block AS v FROM deposit", "5");
	assert_value("SELECT count(*) AS v FROM mismatch", "0");
	assert_stopped(false);
}

static void test_what_does_not_agree_stops(void **state)
{
	const struct {
		json_t *m;
		const char *kind;
	} cases[] = {
		{ movement(1, 2, 5, SOMEBODY, TREASURY, "101"), "deposit_differs" },
		{ movement(1, 3, 5, SOMEBODY, TREASURY, "100"), "deposit_missing" },
		{ movement(2, 2, 5, SOMEBODY, TREASURY, "100"), "deposit_missing" },
		{ movement(1, 2, 5, "00000000000000000000000000000000000000a2", TREASURY, "100"), "deposit_differs" },
		{ movement(3, 0, 6, TREASURY, SOMEBODY, "1"), "outflow_unknown" },
		{ movement(3, 1, 6, PAY_TO, SOMEBODY, "1"), "outflow_unknown" },
	};

	(void)state;
	deposit();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_ok(db_script(pg, "DELETE FROM mismatch"));
		compare(10 + i, cases[i].m);
		assert_value("SELECT kind AS v FROM mismatch", cases[i].kind);
		assert_stopped(true);
	}
	assert_value("SELECT coalesce(audited_block, -1) AS v FROM deposit", "-1");
	assert_value("SELECT subject || ' ' || block_number AS v FROM mismatch", "0xdd03000000000000000000000000000000000000000000000000000000000000:1 6");
}

/* What does not agree at the first reading is read again before it counts: the chain may just be changing its mind. */
static void test_doubt(void **state)
{
	_cleanup_json_ json_t *s = scope(), *list = json_must(json_array());
	struct hash h = { { 9 } };

	(void)state;
	json_array_append_new(list, movement(2, 2, 5, SOMEBODY, TREASURY, "100"));
	assert_int_equal(db_audit_advance(pg, s, 0, 9, &h, list, false), ERR_IN_PROGRESS);
	assert_value("SELECT number || ' ' || (SELECT count(*) FROM mismatch) AS v FROM audit_cursor", "0 0");
	assert_stopped(false);
	assert_ok(db_audit_advance(pg, s, 0, 9, &h, list, true));
	assert_stopped(true);
}

/* Our own money that moves, and what strangers send to pay_to, need no row. */
static void test_what_needs_no_row(void **state)
{
	(void)state;
	compare(10, movement(1, 0, 5, PAY_TO, TREASURY, "7"));
	compare(11, movement(1, 1, 5, TREASURY, PAY_TO, "7"));
	compare(12, movement(1, 2, 5, SOMEBODY, PAY_TO, "7"));
	assert_value("SELECT count(*) AS v FROM mismatch", "0");
}

/* A deposit that the watcher has not booked yet, because fewer confirmations are asked for since: it agrees, and is asked about later. */
static void test_a_deposit_that_is_only_seen(void **state)
{
	_cleanup_json_ json_t *s = scope();
	struct audit_question *list = NULL;
	size_t count = 0;

	(void)state;
	deposit();
	assert_ok(db_script(pg, "UPDATE deposit SET state = 'seen'"));
	compare(9, movement(1, 2, 5, SOMEBODY, TREASURY, "100"));
	assert_value("SELECT count(*) AS v FROM mismatch", "0");
	assert_ok(db_script(pg, "UPDATE deposit SET state = 'credited'"));
	assert_value("SELECT coalesce(audited_block, -1) AS v FROM deposit", "-1");
	assert_ok(db_audit_questions(pg, s, 9, &list, &count));
	assert_int_equal(count, 1);
	audit_questions_free(list, count);
	assert_ok(db_script(pg, "UPDATE deposit SET state = 'seen'"));
	compare(10, movement(1, 2, 5, SOMEBODY, TREASURY, "101"));
	assert_value("SELECT kind AS v FROM mismatch", "deposit_differs");
}

/* Anybody can make logs of nothing, also in our name; but a row that says more than its log differs all the same. */
static void test_nothing_that_moves_means_nothing(void **state)
{
	(void)state;
	compare(10, movement(1, 0, 5, TREASURY, SOMEBODY, "0"));
	compare(11, movement(1, 1, 5, PAY_TO, SOMEBODY, "0"));
	compare(12, movement(2, 0, 5, SOMEBODY, TREASURY, "0"));
	assert_value("SELECT count(*) AS v FROM mismatch", "0");
	assert_stopped(false);
	deposit();
	compare(13, movement(1, 2, 5, SOMEBODY, TREASURY, "0"));
	assert_value("SELECT kind AS v FROM mismatch", "deposit_differs");
}

/* Our own Settler says that it took money for a payment: a payment must say so, too. */
static void test_a_settlement_nobody_wrote_down(void **state)
{
	json_t *m = movement(1, 2, 5, SOMEBODY, PAY_TO, "7");

	(void)state;
	json_object_set_new(m, "ref", json_string("0198c0ffee007abc8def0123456789ab00000000000000000000000000000000"));
	compare(12, m);
	assert_value("SELECT kind AS v FROM mismatch", "payment_missing");
	assert_stopped(true);
}

static void test_one_comparer_a_block(void **state)
{
	_cleanup_json_ json_t *s = scope(), *none = json_must(json_array());
	struct hash h = { { 9 } };

	(void)state;
	compare(9, NULL);
	assert_int_equal(db_audit_advance(pg, s, 0, 9, &h, none, true), ERR_CONFLICT);
	assert_int_equal(db_audit_rewind(pg, s, 0, 0), ERR_CONFLICT);
	assert_value("SELECT number AS v FROM audit_cursor", "9");
}

static void test_a_row_without_log_is_asked_about(void **state)
{
	struct audit_question *list = NULL;
	size_t count = 0;
	_cleanup_json_ json_t *s = scope();

	(void)state;
	deposit();
	assert_ok(db_audit_questions(pg, s, 4, &list, &count));
	assert_int_equal(count, 0); /* its block was not compared yet */
	audit_questions_free(list, count);
	assert_ok(db_audit_questions(pg, s, 5, &list, &count));
	assert_int_equal(count, 1);
	assert_string_equal(list[0].kind, "deposit_without_log");
	assert_true(list[0].claimed && list[0].mismatch == 0 && list[0].block_number == 5 && list[0].ordinal == 2);
	audit_questions_free(list, count);
	compare(9, movement(1, 2, 5, SOMEBODY, TREASURY, "100"));
	assert_ok(db_audit_questions(pg, s, 9, &list, &count));
	assert_int_equal(count, 0);
	audit_questions_free(list, count);
}

/* A reorganisation: what was compared is compared again, also a row that is undone and comes again. */
static void test_going_back(void **state)
{
	_cleanup_json_ json_t *s = scope();

	(void)state;
	deposit();
	compare(4, NULL);
	compare(9, movement(1, 2, 5, SOMEBODY, TREASURY, "100"));
	assert_ok(db_audit_rewind(pg, s, 9, 4));
	at = 4;
	assert_value("SELECT coalesce(audited_block, -1) AS v FROM deposit", "-1");
	assert_value("SELECT count(*) AS v FROM audit_block WHERE number > 4", "0");
	compare(9, movement(1, 2, 5, SOMEBODY, TREASURY, "100"));
	assert_value("SELECT audited_block AS v FROM deposit", "5");
	assert_ok(db_watch_rewind(pg, &WATCH, 5, 5));
	assert_value("SELECT state || ' ' || coalesce(audited_block, -1) AS v FROM deposit", "reversed -1");
}

static void report(const char *json)
{
	static const char *const kinds[] = { "ledger_sum", "custody_short" };
	_cleanup_json_ json_t *found = json_must(json_loads(json, 0, NULL));

	assert_ok(db_mismatch_report(pg, kinds, 2, found));
}

/* Gone is gone: history, no stop. Again is another one. */
static void test_a_mismatch_heals(void **state)
{
	(void)state;
	report("[{\"kind\": \"custody_short\", \"subject\": \"custody\", \"detail\": \"one\"}]");
	report("[{\"kind\": \"custody_short\", \"subject\": \"custody\", \"detail\": \"two\"}]");
	assert_value("SELECT string_agg(detail, ' ') AS v FROM mismatch", "two");
	assert_stopped(true);
	report("[]");
	assert_stopped(false);
	assert_value("SELECT count(*) AS v FROM mismatch WHERE healed_at IS NOT NULL", "1");
	report("[{\"kind\": \"custody_short\", \"subject\": \"custody\", \"detail\": \"three\"}]");
	assert_stopped(true);
	assert_value("SELECT count(*) AS v FROM mismatch", "2");
}

static void test_an_operator_resolves(void **state)
{
	_cleanup_free_ char *id = NULL;
	long long n = 0, who = 0;

	(void)state;
	deposit();
	report("[{\"kind\": \"custody_short\", \"subject\": \"custody\", \"detail\": \"one\"}]");
	id = pg_value("SELECT id::text || ' ' || (SELECT min(id) FROM account) AS v FROM mismatch");
	assert_int_equal(sscanf(id, "%lld %lld", &n, &who), 2);
	assert_int_equal(db_mismatch_resolve(pg, n + 1, who, "found"), ERR_NOT_FOUND);
	assert_ok(db_mismatch_resolve(pg, n, who, "found"));
	assert_int_equal(db_mismatch_resolve(pg, n, who, "again"), ERR_NOT_FOUND);
	assert_stopped(false);
	report("[{\"kind\": \"custody_short\", \"subject\": \"custody\", \"detail\": \"still\"}]"); /* while it lasts it stays resolved */
	assert_stopped(false);
	report("[]");
	report("[{\"kind\": \"custody_short\", \"subject\": \"custody\", \"detail\": \"anew\"}]");
	assert_stopped(true);
}

static void report_missing(const char *amount)
{
	_cleanup_free_ char *json = xasprintf("[{\"kind\": \"custody_short\", \"subject\": \"custody\", \"missing\": \"%s\", \"detail\": \"%s missing\"}]", amount, amount);

	report(json);
}

static void resolve(void)
{
	_cleanup_free_ char *ids = pg_value("SELECT max(id)::text || ' ' || (SELECT min(id) FROM account) AS v FROM mismatch");
	long long id = 0, who = 0;

	assert_int_equal(sscanf(ids, "%lld %lld", &id, &who), 2);
	assert_ok(db_mismatch_resolve(pg, id, who, "found"));
}

/* An operator takes responsibility for what was missing then, not for whatever is missing later. */
static void test_what_grows_is_another_one(void **state)
{
	(void)state;
	deposit();
	report_missing("9");
	report_missing("5");
	resolve();
	report_missing("4");
	report_missing("5");
	assert_stopped(false);
	assert_value("SELECT count(*) AS v FROM mismatch", "1");
	report_missing("6");
	assert_stopped(true);
	assert_value("SELECT string_agg(missing || ' ' || (healed_at IS NULL) || ' ' || (resolved_at IS NULL), ', ' ORDER BY id) AS v FROM mismatch", "5 false false, 6 true true");
	report_missing("1000000");
	assert_value("SELECT detail AS v FROM mismatch WHERE healed_at IS NULL", "1000000 missing");
	resolve();
	report_missing("1000000");
	assert_stopped(false);
}

static void test_where_the_books_first_went_wrong(void **state)
{
	_cleanup_json_ json_t *found = NULL;

	(void)state;
	deposit();
	assert_ok(db_script(pg, "ALTER TABLE ledger_entry DISABLE TRIGGER USER; UPDATE ledger_entry SET amount = 99 WHERE amount = 100; ALTER TABLE ledger_entry ENABLE TRIGGER USER"));
	assert_ok(db_books_first_wrong(pg, &found));
	assert_int_equal(json_array_size(found), 2);
	assert_string_equal(json_string_value(json_object_get(json_array_get(found, 0), "kind")), "ledger_sum");
	assert_non_null(strstr(json_string_value(json_object_get(json_array_get(found, 0), "detail")), "sum to -1"));
	assert_string_equal(json_string_value(json_object_get(json_array_get(found, 1), "kind")), "balance");
}

#define HASH(digit) "\"0x000000000000000000000000000000000000000000000000000000000000000" digit "\""

/* Logs come from a node that does not have their last block, though another behind the same address does: nothing is compared, and nothing is
 * kept of it. */
static void test_an_endpoint_in_two_minds(void **state)
{
	const struct net_config trusted = { .reactors = 1, .connections_per_host_max = 2 };
	const struct fake_answer answers[] = {
		{ .method = "eth_blockNumber", .result = "\"0x5\"" },
		{ .method = "eth_getLogs", .result = "[]" },
		{ .method = "eth_getBlockByNumber", .contains = "eth_getLogs", .result = "null" },
		{ .method = "eth_getBlockByNumber", .result = "{\"number\":\"0x5\",\"hash\":" HASH("5") ",\"parentHash\":" HASH("4") ",\"timestamp\":\"0x1\"}" },
	};
	struct fake_rpc fake = { 0 };
	struct audit_memory memory = { 0 };
	struct chain_pair pair = { 0 };
	struct net *net = NULL;
	bool more = true;

	(void)state;
	deposit();
	assert_ok(net_start(&trusted, &net));
	fake_start(&fake);
	fake_set(&fake, answers, sizeof(answers) / sizeof(answers[0]));
	pair.first = chain_new(net, fake.url, 5000);
	const struct audit_config config = { .pair = &pair, .watch = WATCH, .confirmations = 1, .memory = &memory, .log = log_nothing };
	assert_int_equal(audit_step(&config, pg, &more), ERR_NOT_FOUND);
	assert_false(more);
	assert_value("SELECT number AS v FROM audit_cursor", "0");
	chain_free(pair.first);
	net_stop(net);
	fake_stop(&fake);
}

int main(void)
{
#define OF_ITS_OWN(test) cmocka_unit_test_setup(test, setup)
	const struct CMUnitTest tests[] = {
		OF_ITS_OWN(test_a_deposit_agrees), OF_ITS_OWN(test_what_does_not_agree_stops), OF_ITS_OWN(test_doubt), OF_ITS_OWN(test_what_needs_no_row),
		OF_ITS_OWN(test_a_deposit_that_is_only_seen), OF_ITS_OWN(test_nothing_that_moves_means_nothing), OF_ITS_OWN(test_a_settlement_nobody_wrote_down), OF_ITS_OWN(test_one_comparer_a_block), OF_ITS_OWN(test_a_row_without_log_is_asked_about),
		OF_ITS_OWN(test_going_back), OF_ITS_OWN(test_a_mismatch_heals), OF_ITS_OWN(test_an_operator_resolves), OF_ITS_OWN(test_what_grows_is_another_one),
		OF_ITS_OWN(test_where_the_books_first_went_wrong), OF_ITS_OWN(test_an_endpoint_in_two_minds),
	};

	return cmocka_run_group_tests(tests, pg_setup, pg_teardown);
}
