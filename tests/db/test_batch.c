/* One batch of closings in which a job stands twice: only the item that holds the lease ends it, and only that one is told so. */
#include <pthread.h>

#include "db/jobs.h"
#include "tests/db/pg.h"

static const struct uuid ME = { { 1 } };
static struct lane *lane;

static int setup(void **state)
{
	if (pg_setup(state))
		return -1;
	assert_ok(db_script(pg, "INSERT INTO account (address) VALUES (decode(repeat('01', 20), 'hex')), (decode(repeat('02', 20), 'hex'));"
				"INSERT INTO model (author, name) VALUES (2, 'm');"
				"INSERT INTO model_version (model, number, surface, royalty_input, royalty_output, max_output_units, digest, manifest, published_at)"
				" VALUES (1, 1, 'tensor', 1, 0, 0, decode(repeat('ab', 32), 'hex'), 'x', now());"
				"WITH t AS (INSERT INTO ledger_transfer (key, kind) VALUES ('test', 'deposit') RETURNING id)"
				" INSERT INTO ledger_entry (transfer, line, account, amount)"
				" SELECT t.id, v.* FROM t, (VALUES (1, 8::bigint, -1000), (2, 17::bigint, 1000)) v(line, account, amount)"));
	lane = lane_start(pg_url, 10000);
	return 0;
}

static int teardown(void **state)
{
	lane_stop(lane);
	return pg_teardown(state);
}

/* The statuses of one batch of three: attempt 2 before and after the job's own attempt 1. */
static char *statuses(const struct uuid *job, bool with_own)
{
	_cleanup_free_ char *sql = xasprintf(
		"SELECT string_agg(status, ' ' ORDER BY ord) AS v FROM job_close((SELECT jsonb_agg(jsonb_build_object('id', '%s', 'account', 1, 'attempt', a,"
		" 'lease', '%s', 'state', CASE a WHEN 1 THEN 'failed' ELSE 'settled' END, 'outcome', CASE a WHEN 1 THEN 'node_failed' ELSE 'delivered' END,"
		" 'operator', 2, 'ask', CASE a WHEN 1 THEN '0' ELSE '5' END, 'royalty', '0', 'fee', '0') ORDER BY o) FROM (VALUES (1, 2), (2, %d), (3, 2)) v(o, a)))",
		uuid_format(job).s, uuid_format(&ME).s, with_own ? 1 : 2);

	return pg_value(sql);
}

static void test_only_the_lease_ends_it(void **state)
{
	struct job_open o = { .id = uuid_new(), .account = 1, .version = 1, .author = 2, .hold = amount_from_u64(100), .policy = "signed", .path = "/v1/jobs",
			      .content_type = "application/json", .input_units_max = 1, .timeout_ms = 60000, .lease = ME, .node = { { 9 } }, .operator_ = 2 };
	enum lane_status status;
	_cleanup_free_ char *none = NULL, *own = NULL, *late = NULL, *end = NULL, *available = NULL;

	(void)state;
	assert_ok(db_job_open(lane, &o, &status));
	assert_int_equal(status, LANE_OK);
	none = statuses(&o.id, false);
	assert_string_equal(none, "fenced fenced fenced");
	own = statuses(&o.id, true);
	assert_string_equal(own, "fenced ok fenced");
	late = statuses(&o.id, true);
	assert_string_equal(late, "fenced fenced fenced");
	end = pg_value("SELECT outcome || ' ' || charged AS v FROM job");
	assert_string_equal(end, "node_failed 0");
	available = pg_value("SELECT amount AS v FROM ledger_balance WHERE account = 17");
	assert_string_equal(available, "1000");
}

struct opening {
	struct lane *lane;
	struct job_open job;
	enum err e;
	enum lane_status status;
};

static void *open_job(void *arg)
{
	struct opening *o = arg;

	o->e = db_job_open(o->lane, &o->job, &o->status);
	return NULL;
}

/* The answer is lost while the statement still waits in the database: asked for again, it meets itself. It is open, and was opened once. */
static void test_an_opening_that_meets_itself(void **state)
{
	static const char *const keys[] = { NULL, "key" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct opening o = { .lane = lane_start(pg_url, 1000),
				     .job = { .id = uuid_new(), .account = 1, .version = 1, .author = 2, .hold = amount_from_u64(100), .policy = "signed", .path = "/v1/jobs",
					      .content_type = "application/json", .input_units_max = 1, .timeout_ms = 60000, .lease = ME, .node = { { 9 } }, .operator_ = 2,
					      .route = "r", .idempotency_key = keys[i] } };
		struct db *holder = db_new(pg_url, 30000);
		pthread_t thread;

		assert_ok(db_script(holder, "BEGIN; SELECT FROM ledger_balance WHERE account = 17 FOR UPDATE"));
		assert_int_equal(pthread_create(&thread, NULL, open_job, &o), 0);
		pg_wait_blocked(pg, 2); /* the first try, whose answer nobody waits for any more, and the second */
		assert_ok(db_script(holder, "ROLLBACK"));
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_ok(o.e);
		assert_int_equal(o.status, LANE_OK);
		db_free(holder);
		lane_stop(o.lane);
	}
	assert_value("SELECT amount AS v FROM ledger_balance WHERE account = 18", "200");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_only_the_lease_ends_it), cmocka_unit_test(test_an_opening_that_meets_itself) };

	return cmocka_run_group_tests(tests, setup, teardown);
}
