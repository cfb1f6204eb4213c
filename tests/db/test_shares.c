/* Co-authors: a capture is split to the last base unit, and to nobody's loss. */
#include "db/jobs.h"
#include "db/ledger.h"
#include "db/registry.h"
#include "tests/db/pg.h"

static struct lane *lane;
static const struct uuid ME = { { 1 } };
static const struct address NODE = { { 9 } };
static const struct model_share SHARES[] = { { { { 0xa1 } }, 3333 }, { { { 0xa2 } }, 3333 } };

static int setup(void **state)
{
	if (pg_setup(state))
		return -1;
	lane = lane_start(pg_url, 10000);
	return db_script(pg, "INSERT INTO account (address) SELECT decode(lpad(n::text, 40, '0'), 'hex') FROM generate_series(1, 3) n;"
			     "INSERT INTO model (author, name) VALUES (2, 'm'), (2, 'other');"
			     "INSERT INTO model_version (model, number, surface, royalty_input, royalty_output, max_output_units, digest, manifest, published_at)"
			     " SELECT n, 1, 'tensor', 1, 0, 0, decode(repeat(lpad(n::text, 2, '0'), 32), 'hex'), 'x', now() FROM generate_series(1, 2) n;"
			     "WITH t AS (INSERT INTO ledger_transfer (key, kind) VALUES ('test', 'deposit') RETURNING id) INSERT INTO ledger_entry (transfer, line, account, amount)"
			     " SELECT t.id, v.* FROM t, (VALUES (1, 8, -1000000), (2, 17, 1000000)) v(line, account, amount)") ? -1 : 0;
}

static int teardown(void **state)
{
	lane_stop(lane);
	return pg_teardown(state);
}

static void capture(int64_t version, uint64_t royalty)
{
	struct job_open o = { .id = uuid_new(), .account = 1, .version = version, .author = 2, .hold = amount_from_u64(1000), .policy = "signed", .path = "/v1/jobs",
			      .content_type = "application/json", .input_units_max = 1, .timeout_ms = 60000, .lease = ME, .node = NODE, .operator_ = 3 };
	struct job_close c = { .id = o.id, .account = 1, .leased = true, .lease = ME, .attempt = 1, .state = "settled", .outcome = "delivered", .ask = amount_from_u64(50),
			       .royalty = amount_from_u64(royalty), .fee = amount_from_u64(8), .input_units = 1 };
	enum lane_status status;
	struct books b;

	assert_ok(db_job_open(lane, &o, &status));
	assert_int_equal(status, LANE_OK);
	assert_ok(db_job_close(lane, &c, &status));
	assert_int_equal(status, LANE_OK);
	assert_ok(db_books(pg, &b));
	assert_string_equal(b.ledger_sum, "0");
	assert_int_equal(b.wrong_captures, 0);
}

#define EARNED(address) "SELECT coalesce(sum(e.amount), 0) AS v FROM ledger_entry e JOIN account a ON e.account = a.id * 16 + 3 WHERE a.address = decode(" address ", 'hex')"
#define OWNER "SELECT coalesce(sum(amount), 0) AS v FROM ledger_entry WHERE account = 2 * 16 + 3"

static void test_split(void **state)
{
	(void)state;
	capture(1, 100);
	assert_value(OWNER, "100"); /* nobody else yet */
	assert_ok(db_model_shares_set(pg, 1, SHARES, 2));
	capture(1, 100);
	assert_value(OWNER, "134"); /* 33, 33, and what rounding leaves */
	assert_value(EARNED("'a1' || repeat('00', 19)"), "33");
	assert_value(EARNED("'a2' || repeat('00', 19)"), "33");
	capture(1, 2);
	assert_value(OWNER, "136"); /* 0, 0, 2 */
	capture(1, 0);
	capture(2, 10); /* another model */
	assert_value(OWNER, "146");
	assert_ok(db_model_shares_set(pg, 1, &(struct model_share){ { { 0xa1 } }, 10000 }, 1));
	capture(1, 7);
	assert_value(OWNER, "146");
	assert_value(EARNED("'a1' || repeat('00', 19)"), "40");
	assert_ok(db_model_shares_set(pg, 1, NULL, 0));
	capture(1, 5);
	assert_value(OWNER, "151");
}

static void test_never_more_than_the_whole(void **state)
{
	const struct model_share many[] = { { { { 0xa1 } }, 6000 }, { { { 0xa2 } }, 4001 } };
	struct model_share owner = { .bps = 1 }, got[MODEL_SHARES_MAX];
	size_t count = 0;

	(void)state;
	owner.address.b[19] = 2;
	assert_ok(db_model_shares_set(pg, 2, SHARES, 2));
	assert_int_equal(db_model_shares_set(pg, 2, many, 2), ERR_UNPROCESSABLE);
	assert_int_equal(db_model_shares_set(pg, 2, &owner, 1), ERR_UNPROCESSABLE);
	assert_ok(db_model_shares(pg, 2, got, &count));
	assert_int_equal(count, 2); /* as before */
	assert_int_equal(got[1].bps, 3333);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_split), cmocka_unit_test(test_never_more_than_the_whole) };

	return cmocka_run_group_tests(tests, setup, teardown);
}
