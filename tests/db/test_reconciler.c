/* pay/reconciler.c on a real database: who asks, who looks, and what a long look holds up. Its endpoint is a closed port: custody is unknown. */
#include "tests/db/pg.h"

#include <pthread.h>
#include <stdatomic.h>

#include "net/net.h"
#include "pay/reconciler.h"

#define ASKING 8

static struct net *net;
static struct pay pay;
static struct reconcile_with with;
static struct chain_pair pair;
static _Atomic int looks;

static void saw(void *arg, const struct reconciliation *r)
{
	(void)arg;
	if (r->custody != CUSTODY_UNKNOWN)
		abort();
	atomic_fetch_add(&looks, 1);
}

static struct reconciler *r; /* NULL: none; ends with its test */

static void start(void)
{
	const struct reconciler_config config = { .database_url = pg_url, .pay = &pay, .with = with, .saw = saw, .log = log_nothing };

	atomic_store(&looks, 0);
	r = reconciler_start(&config);
}

static int stop(void **state)
{
	(void)state;
	reconciler_stop(r);
	reconciler_free(r);
	r = NULL;
	return 0;
}

static bool holds(void)
{
	json_t *body = NULL;
	bool ok;

	assert_ok(reconciler_ask(r, &body));
	assert_true(json_is_null(json_object_get(body, "custody_ok")));
	ok = json_is_true(json_object_get(body, "balances_ok"));
	assert_int_equal(json_is_true(json_object_get(body, "ok")), ok);
	json_decref(body);
	return ok;
}

/* ---- what is seen is what was there when they asked ---- */

static void test_sees_what_was_before_the_question(void **state)
{
	(void)state;
	start();
	assert_true(holds());
	assert_ok(db_script(pg, "INSERT INTO account (address) VALUES (decode(repeat('aa', 20), 'hex')); ALTER TABLE ledger_balance DISABLE TRIGGER guard;"
				" UPDATE ledger_balance SET amount = amount + 1 WHERE account % 16 = 1"));
	assert_false(holds());
	assert_true(atomic_load(&pay.stopped));
	assert_ok(db_script(pg, "UPDATE ledger_balance SET amount = amount - 1 WHERE account % 16 = 1; ALTER TABLE ledger_balance ENABLE TRIGGER guard"));
	assert_true(holds());
	assert_false(atomic_load(&pay.stopped));
}

/* The server ends its connection while it does nothing; whoever asks then is told what is, all the same. */
static void test_a_connection_that_died_is_no_answer(void **state)
{
	int64_t ended = 0;

	(void)state;
	start();
	assert_true(holds());
	assert_ok(db_exec(pg, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()", NULL, &ended));
	assert_true(ended > 0);
	assert_true(holds());
}

/* ---- many ask, one looks ---- */

/* NULL unless it was told that all holds. */
static void *asks(void *arg)
{
	json_t *body = NULL;
	bool ok = reconciler_ask(r, &body) == ERR_OK && json_is_true(json_object_get(body, "ok"));

	json_decref(body);
	return ok ? arg : NULL;
}

/* The books cannot be read while their table is locked; until they can. */
static void test_one_looks_for_many(void **state)
{
	struct db *other = db_new(pg_url, 30000), *look = db_new(pg_url, 30000);
	pthread_t threads[ASKING];
	void *said;

	(void)state;
	start();
	assert_true(holds());
	assert_ok(db_script(other, "BEGIN; LOCK TABLE hold IN ACCESS EXCLUSIVE MODE"));
	atomic_store(&looks, 0);
	for (size_t i = 0; i < ASKING; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, asks, &pay), 0);
	pg_wait_blocked(look, 1);
	assert_ok(db_script(other, "COMMIT"));
	for (size_t i = 0; i < ASKING; i++) {
		pthread_join(threads[i], &said);
		assert_ptr_equal(said, &pay);
	}
	assert_true(atomic_load(&looks) <= 2 + ASKING / 2); /* those who came after the first began share the next; a slow machine may make some come later */
	db_free(other);
	db_free(look);
}

/* ---- a look that takes long ---- */

static void test_a_long_look_holds_up_nobody(void **state)
{
	struct db *other = db_new(pg_url, 30000), *look = db_new(pg_url, 30000);
	json_t *body;

	(void)state;
	start();
	assert_true(holds());
	assert_ok(db_script(other, "BEGIN; LOCK TABLE hold IN ACCESS EXCLUSIVE MODE"));
	assert_true(holds()); /* what was seen last */
	pg_wait_blocked(look, 1);
	stop(state); /* does not wait for the statement, which may have minutes */

	start();
	assert_int_equal(reconciler_ask(r, &body), ERR_OVERLOADED); /* nothing was seen yet */
	reconciler_stop(r);
	assert_int_equal(reconciler_ask(r, &body), ERR_DB_DOWN); /* the look was cut short */
	reconciler_free(r);
	r = NULL;
	assert_ok(db_script(other, "COMMIT"));
	db_free(other);
	db_free(look);
}

static int setup(void **state)
{
	const struct net_config trusted = { .reactors = 1, .connections_per_host_max = 2 };

	if (pg_setup(state) || net_start(&trusted, &net))
		return -1;
	with.chain = chain_new(net, "http://127.0.0.1:9", 5000);
	pair = (struct chain_pair){ .first = with.chain };
	with.watcher = with.auditor = &pair;
	with.watch = (struct watch){ .chain_id = 84532 };
	return 0;
}

static int teardown(void **state)
{
	chain_free(with.chain);
	net_stop(net);
	return pg_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_sees_what_was_before_the_question, stop),
		cmocka_unit_test_teardown(test_a_connection_that_died_is_no_answer, stop),
		cmocka_unit_test_teardown(test_one_looks_for_many, stop),
		cmocka_unit_test_teardown(test_a_long_look_holds_up_nobody, stop),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
