/* Payouts in the database: taken from their source once whatever races, covering exactly the captures they name, ended once; and after
 * every step the books hold. */
#include <pthread.h>

#include "db/ledger.h"
#include "db/payouts.h"
#include "tests/db/mined.h"
#include "tests/db/pg.h"

static const struct address SENDER = { { 0x5e } }, CONTRACT = { { 0xc0 } }, ELSEWHERE = { { 0xe1 } };
static uint64_t nonces;
static int accounts, captures;

static int64_t number(const char *sql)
{
	_cleanup_free_ char *text = pg_value(sql);
	long long v = 0;

	assert_int_equal(sscanf(text, "%lld", &v), 1);
	return v;
}

static int64_t account_new(void)
{
	_cleanup_free_ char *sql = xasprintf("WITH a AS (INSERT INTO account (address) VALUES (decode(lpad('%x', 40, '0'), 'hex')) RETURNING id) SELECT id AS v FROM a", ++accounts);

	return number(sql);
}

/* `amount` from custody, by a transfer of this kind. */
static char *moving(const char *kind, int64_t ledger_account, int amount)
{
	return xasprintf("WITH t AS (INSERT INTO ledger_transfer (key, kind) VALUES ('test:%d', '%s') RETURNING id)"
			 " INSERT INTO ledger_entry (transfer, line, account, amount) SELECT t.id, v.* FROM t, (VALUES (1, 8, -%d), (2, %lld, %d)) v(line, account, amount)",
			 ++captures, kind, amount, (long long)ledger_account, amount);
}

/* Until every transaction that had begun (autovacuum's, say) has ended: payouts cover what is below them all. */
static void quiet(void)
{
	bool is = false;

	for (int i = 0; i < 10000 && !is; i++) {
		_cleanup_free_ char *text = pg_value("SELECT (pg_snapshot_xmin(s) = pg_snapshot_xmax(s))::text AS v FROM pg_current_snapshot() s");

		is = !strcmp(text, "true");
	}
	assert_true(is);
}

static void earn(int64_t account, enum payout_kind kind, int amount)
{
	_cleanup_free_ char *sql = moving(kind == PAYOUT_AVAILABLE ? "deposit" : "capture", account * 16 + (int64_t)kind, amount);

	assert_ok(db_script(pg, sql));
}

static struct payout_ask asking(int64_t account, enum payout_kind kind)
{
	return (struct payout_ask){ .id = uuid_new(), .account = account, .kind = kind, .minimum = amount_from_u64(1) };
}

static struct uuid open_whole(int64_t account, enum payout_kind kind)
{
	struct payout_ask a = asking(account, kind);

	quiet();
	assert_ok(db_payout_open(pg, &a));
	return a.id;
}

static void assert_of(const struct uuid *id, const char *column, const char *expected)
{
	_cleanup_free_ char *sql = xasprintf("SELECT %s AS v FROM payout WHERE id = '%s'", column, uuid_format(id).s);

	assert_value(sql, expected);
}

static void assert_balance(int64_t ledger_account, const char *expected)
{
	_cleanup_free_ char *sql = xasprintf("SELECT ledger_balance_of(%lld) AS v", (long long)ledger_account);

	assert_value(sql, expected);
}

static void assert_books(void)
{
	struct books b;

	assert_ok(db_books(pg, &b));
	assert_string_equal(b.ledger_sum, "0");
	assert_int_equal(b.wrong_balances, 0);
	/* What is on its way is in account 12 and nowhere else, and is owed. */
	assert_value("SELECT (ledger_balance_of(12) = (SELECT coalesce(sum(amount), 0) FROM payout WHERE state IN ('pending', 'sent')))::text AS v", "true");
	assert_value("SELECT bool_and(ledger_balance_of(id) >= 0)::text AS v FROM ledger_account WHERE id % 16 IN (3, 4)", "true");
}

/* Everything pending goes into one transaction. */
static int64_t send_all(void)
{
	struct payout_item items[32];
	struct signed_tx tx = { .chain_id = 84532, .sender = SENDER, .nonce = nonces++, .raw = "raw", .raw_len = 3, .max_fee = amount_from_u64(1) };
	size_t count = 0;

	random_bytes(tx.hash.b, sizeof(tx.hash.b));
	assert_ok(db_payouts_pending(pg, items, 32, &count));
	assert_ok(db_payouts_write(pg, &tx, &CONTRACT, items, count));
	assert_books();
	return number("SELECT max(id) AS v FROM settlement_tx");
}

static void mine(int64_t tx)
{
	const struct hash hash = { { 0xb1 } };

	assert_ok(settlement_mined(tx, true, &hash, 0, NULL, 0));
}

static enum err end_as(int64_t tx, const struct uuid *id, int end)
{
	struct payout_end x = { .id = *id, .end = end, .reason = "refused" };

	random_bytes(x.tx.b, sizeof(x.tx.b));
	return db_payouts_final(pg, tx, &x, 1);
}

static void test_earnings_are_paid_whole(void **state)
{
	int64_t who = account_new(), tx;
	struct payout_ask again = asking(who, PAYOUT_AUTHOR);
	struct uuid id;

	(void)state;
	assert_int_equal(db_payout_open(pg, &again), ERR_LIMIT); /* nothing earned */
	earn(who, PAYOUT_AUTHOR, 70);
	earn(who, PAYOUT_AUTHOR, 30);
	again.minimum = amount_from_u64(101);
	assert_int_equal(db_payout_open(pg, &again), ERR_LIMIT);
	again.minimum = amount_from_u64(1);
	id = open_whole(who, PAYOUT_AUTHOR);
	assert_of(&id, "amount", "100");
	assert_balance(who * 16 + 3, "0");
	earn(who, PAYOUT_AUTHOR, 5);
	assert_int_equal(db_payout_open(pg, &again), ERR_IN_PROGRESS);
	tx = send_all();
	assert_int_equal(db_payout_open(pg, &again), ERR_IN_PROGRESS);
	mine(tx);
	assert_ok(end_as(tx, &id, PAYOUT_PAID));
	assert_int_equal(end_as(tx, &id, PAYOUT_PAID), ERR_CONFLICT);
	assert_books();
	quiet();
	assert_ok(db_payout_open(pg, &again)); /* what came later, and nothing of before */
	assert_of(&again.id, "amount", "5");
	assert_int_equal(db_script(pg, "UPDATE payout SET amount = 6 WHERE state = 'pending'"), ERR_CONFLICT);
	assert_int_equal(db_script(pg, "UPDATE payout SET state = 'sent', ended_at = NULL WHERE state = 'paid'"), ERR_CONFLICT);
	tx = send_all();
	mine(tx);
	assert_ok(end_as(tx, &again.id, PAYOUT_PAID));
	assert_books();
}

static void test_returned_goes_back_once(void **state)
{
	int64_t who = account_new(), tx;
	struct uuid first, second;

	(void)state;
	earn(who, PAYOUT_OPERATOR, 40);
	first = open_whole(who, PAYOUT_OPERATOR);
	tx = send_all();
	earn(who, PAYOUT_OPERATOR, 2);
	mine(tx);
	assert_ok(end_as(tx, &first, PAYOUT_RETURNED));
	assert_int_equal(end_as(tx, &first, PAYOUT_RETURNED), ERR_CONFLICT);
	assert_balance(who * 16 + 4, "42");
	assert_books();
	second = open_whole(who, PAYOUT_OPERATOR); /* its jobs are in the next one */
	assert_of(&second, "amount", "42");
	tx = send_all();
	mine(tx);
	assert_ok(end_as(tx, &second, PAYOUT_AGAIN)); /* not tried: into another transaction */
	assert_of(&second, "state", "pending");
	tx = send_all();
	assert_ok(db_settlement_replaced(pg, tx)); /* somebody used the nonce */
	assert_of(&second, "state", "pending");
	tx = send_all();
	mine(tx);
	assert_ok(db_settlement_unmined(pg, tx)); /* a reorganisation: nothing was booked yet */
	assert_int_equal(end_as(tx, &second, PAYOUT_PAID), ERR_CONFLICT);
	mine(tx);
	assert_ok(end_as(tx, &second, PAYOUT_PAID));
	assert_balance(who * 16 + 4, "0");
	assert_books();
}

/* A capture whose transfer came first and whose commit comes last is in exactly one payout. */
static void test_late_commit(void **state)
{
	int64_t who = account_new(), tx;
	_cleanup_free_ char *late = moving("capture", who * 16 + 3, 7);
	struct db *other = db_new(pg_url, 30000);
	struct payout_ask first = asking(who, PAYOUT_AUTHOR), ask = asking(who, PAYOUT_AUTHOR);

	(void)state;
	earn(who, PAYOUT_AUTHOR, 10);
	quiet();
	assert_ok(db_script(other, "BEGIN"));
	assert_ok(db_script(other, late));
	earn(who, PAYOUT_AUTHOR, 20); /* after it: waits for it */
	assert_ok(db_payout_open(pg, &first));
	assert_of(&first.id, "amount", "10");
	assert_ok(db_script(other, "COMMIT"));
	quiet();
	tx = send_all();
	mine(tx);
	assert_ok(end_as(tx, &first.id, PAYOUT_PAID));
	assert_ok(db_payout_open(pg, &ask));
	assert_of(&ask.id, "amount", "27");
	tx = send_all();
	mine(tx);
	assert_ok(end_as(tx, &ask.id, PAYOUT_PAID));
	assert_balance(who * 16 + 3, "0");
	db_free(other);
	assert_books();
}

struct racer {
	pthread_t thread;
	int64_t account;
	enum payout_kind kind;
	int wins;
};

static void *race(void *arg)
{
	struct racer *r = arg;
	struct db *db = db_new(pg_url, 30000);
	const struct amount ten = amount_from_u64(10);

	for (int i = 0; i < 5; i++) {
		struct payout_ask a = asking(r->account, r->kind);

		a.amount = r->kind == PAYOUT_AVAILABLE ? &ten : NULL;
		r->wins += db_payout_open(db, &a) == ERR_OK;
	}
	db_free(db);
	return NULL;
}

static int race_all(int64_t account, enum payout_kind kind)
{
	struct racer racers[6];
	int wins = 0;

	for (size_t i = 0; i < 6; i++) {
		racers[i] = (struct racer){ .account = account, .kind = kind };
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	for (size_t i = 0; i < 6; i++) {
		pthread_join(racers[i].thread, NULL);
		wins += racers[i].wins;
	}
	return wins;
}

/* Nobody takes more than there is, however many ask at once, and while it is folded. */
static void test_races(void **state)
{
	int64_t who = account_new();

	(void)state;
	earn(who, PAYOUT_AVAILABLE, 75);
	assert_int_equal(race_all(who, PAYOUT_AVAILABLE), 7);
	assert_ok(db_fold(pg));
	for (int i = 0; i < 20; i++)
		earn(who, PAYOUT_OPERATOR, 3);
	assert_ok(db_fold(pg));
	earn(who, PAYOUT_OPERATOR, 1);
	quiet();
	assert_int_equal(race_all(who, PAYOUT_OPERATOR), 1);
	assert_balance(who * 16 + 4, "0");
	assert_books();
}

static void test_idempotency(void **state)
{
	int64_t who = account_new();
	struct payout_ask a = asking(who, PAYOUT_AVAILABLE), b;
	const struct amount five = amount_from_u64(5);

	(void)state;
	earn(who, PAYOUT_AVAILABLE, 20);
	a.amount = &five;
	a.route = "withdrawals";
	a.key = "k";
	b = a;
	b.id = uuid_new();
	assert_ok(db_payout_open(pg, &a));
	assert_int_equal(db_payout_open(pg, &b), ERR_CONFLICT);
	assert_balance(who * 16 + 1, "15");
}

static void test_addresses(void **state)
{
	int64_t who = account_new();
	const struct payout_signed statement = { .nonce = { { 1 } }, .signature = "sig", .len = 3 };
	struct payout_ask a = asking(who, PAYOUT_AVAILABLE);

	(void)state;
	earn(who, PAYOUT_AVAILABLE, 20);
	assert_int_equal(db_payout_choose(pg, who, &ELSEWHERE, NULL, 60000), ERR_UNPROCESSABLE);
	assert_ok(db_payout_choose(pg, who, &ELSEWHERE, &statement, 60000));
	a.to = &ELSEWHERE;
	assert_int_equal(db_payout_open(pg, &a), ERR_FORBIDDEN); /* not yet */
	assert_ok(db_payout_cancel(pg, who, &ELSEWHERE));
	assert_int_equal(db_payout_cancel(pg, who, &ELSEWHERE), ERR_NOT_FOUND);
	assert_int_equal(db_payout_choose(pg, who, &ELSEWHERE, &statement, 0), ERR_CONFLICT); /* each statement once */
	assert_int_equal(db_payout_open(pg, &a), ERR_FORBIDDEN);
	assert_ok(db_payout_choose(pg, who, &ELSEWHERE, &(struct payout_signed){ .nonce = { { 2 } }, .signature = "sig", .len = 3 }, 0));
	assert_ok(db_payout_open(pg, &a));
	assert_of(&a.id, "(address = decode('e1' || repeat('00', 19), 'hex'))::text", "true");
}

static void test_schedule(void **state)
{
	int64_t who = account_new(), opened = 0;

	(void)state;
	assert_ok(db_payout_schedule_set(pg, who, "daily", amount_from_u64(10)));
	earn(who, PAYOUT_AUTHOR, 10);
	earn(who, PAYOUT_OPERATOR, 9);
	assert_ok(db_payouts_schedule(pg, amount_from_u64(1), &opened));
	assert_int_equal(opened, 0); /* not due */
	assert_ok(db_script(pg, "UPDATE payout_setting SET next_at = now() - interval '1 second'"));
	quiet();
	assert_ok(db_payouts_schedule(pg, amount_from_u64(1), &opened));
	assert_int_equal(opened, 1); /* the other is below its minimum */
	assert_value("SELECT (next_at > now() AND next_at <= now() + interval '24 hours')::text AS v FROM payout_setting", "true");
	assert_ok(db_payouts_schedule(pg, amount_from_u64(1), &opened));
	assert_int_equal(opened, 0);
	assert_balance(who * 16 + 4, "9");
	assert_books();
}

/* What the contract can have paid lies between what is booked and what was ever sent. */
static void test_sums(void **state)
{
	struct payout_sums before, after;
	struct books books;
	int64_t who = account_new(), tx;
	struct uuid id;

	(void)state;
	assert_ok(db_payouts_sums(pg, &CONTRACT, &before));
	assert_int_equal(amount_is_zero(before.elsewhere), true);
	earn(who, PAYOUT_AUTHOR, 64);
	assert_ok(db_books(pg, &books));
	id = open_whole(who, PAYOUT_AUTHOR);
	assert_ok(db_payouts_sums(pg, &CONTRACT, &after));
	assert_ok(amount_sub(after.most, before.most, &after.most));
	assert_string_equal(amount_format(after.most).s, "64");
	tx = send_all();
	mine(tx);
	assert_ok(end_as(tx, &id, PAYOUT_PAID));
	before.most = books.paid_out;
	assert_ok(db_books(pg, &books));
	assert_ok(amount_sub(books.paid_out, before.most, &after.most));
	assert_string_equal(amount_format(after.most).s, "64");
	assert_ok(db_payouts_sums(pg, &ELSEWHERE, &after)); /* another contract: all of that was paid elsewhere */
	assert_int_equal(amount_cmp(after.elsewhere, books.paid_out), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_earnings_are_paid_whole), cmocka_unit_test(test_returned_goes_back_once), cmocka_unit_test(test_late_commit),
		cmocka_unit_test(test_races), cmocka_unit_test(test_idempotency), cmocka_unit_test(test_addresses), cmocka_unit_test(test_schedule),
		cmocka_unit_test(test_sums),
	};

	return cmocka_run_group_tests(tests, pg_setup, pg_teardown);
}
