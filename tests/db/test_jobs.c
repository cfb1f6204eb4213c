/* Jobs through the lane: one hold and one end each, whatever comes at once, twice or late. */
#include <pthread.h>

#include "db/jobs.h"
#include "db/ledger.h"
#include "tests/db/pg.h"

static struct lane *lane;
static const struct uuid ME = { { 1 } }, OTHER = { { 2 } };
static const struct address NODE = { { 9 } };
static int64_t payer, author, operator_;

static int64_t add_account(int n)
{
	_cleanup_free_ char *sql = xasprintf("WITH a AS (INSERT INTO account (address) VALUES (decode(lpad('%x', 40, '0'), 'hex')) RETURNING id) SELECT id AS v FROM a", n);
	_cleanup_free_ char *id = pg_value(sql);
	int64_t v = 0;

	assert_int_equal(sscanf(id, "%ld", &v), 1);
	return v;
}

static void deposit(int64_t account, const char *amount)
{
	static int n;
	_cleanup_free_ char *sql = xasprintf("WITH t AS (INSERT INTO ledger_transfer (key, kind) VALUES ('test:%d', 'deposit') RETURNING id)"
					     " INSERT INTO ledger_entry (transfer, line, account, amount)"
					     " SELECT t.id, v.* FROM t, (VALUES (1, 8::bigint, -%s), (2, %ld, %s)) v(line, account, amount)", n++, amount, account * 16 + 1, amount);

	assert_ok(db_script(pg, sql));
}

static int setup(void **state)
{
	if (pg_setup(state))
		return -1;
	payer = add_account(1);
	author = add_account(2);
	operator_ = add_account(3);
	assert_ok(db_script(pg, "INSERT INTO model (author, name) VALUES (2, 'm');"
				"INSERT INTO model_version (model, number, surface, royalty_input, royalty_output, max_output_units, digest, manifest, published_at)"
				" VALUES (1, 1, 'tensor', 1, 0, 0, decode(repeat('ab', 32), 'hex'), 'x', now())"));
	assert_ok(db_script(pg, "INSERT INTO api_key (account, name, prefix, secret_hash, scopes) VALUES (1, 'k', 'ogk_', decode(repeat('cd', 32), 'hex'), '{inference}')"));
	lane = lane_start(pg_url, 10000);
	return 0;
}

static int teardown(void **state)
{
	lane_stop(lane);
	return pg_teardown(state);
}

static struct amount amount(uint64_t v)
{
	return amount_from_u64(v);
}

static struct job_open opening(uint64_t hold)
{
	return (struct job_open){ .id = uuid_new(), .account = payer, .version = 1, .author = author, .hold = amount(hold), .policy = "signed", .path = "/v1/jobs",
				  .content_type = "application/json", .input_units_max = 1, .timeout_ms = 60000, .lease = ME, .node = NODE, .operator_ = operator_ };
}

static struct job_close closing(const struct uuid *id, const char *state, const char *outcome, uint64_t ask, uint64_t royalty, uint64_t fee)
{
	return (struct job_close){ .id = *id, .account = payer, .leased = true, .lease = ME, .attempt = 1, .state = state, .outcome = outcome, .ask = amount(ask),
				   .royalty = amount(royalty), .fee = amount(fee), .input_units = 1, .output_units = 0 };
}

static void assert_books(void)
{
	struct books b;

	assert_ok(db_books(pg, &b));
	assert_string_equal(b.ledger_sum, "0");
	assert_int_equal(b.wrong_balances, 0);
	assert_int_equal(b.wrong_holds, 0);
	assert_int_equal(b.wrong_captures, 0);
}

static void assert_balance(uint64_t available, uint64_t held)
{
	struct balance b;

	assert_ok(db_balance(pg, payer, &b));
	assert_int_equal(amount_cmp(b.available, amount(available)), 0);
	assert_int_equal(amount_cmp(b.held, amount(held)), 0);
}

static void test_hold_and_capture(void **state)
{
	struct job_open o = opening(100);
	struct job_close c = closing(&o.id, "settled", "delivered", 50, 30, 8);
	_cleanup_job_row_ struct job_row row = { 0 };
	enum lane_status status;
	struct balance b;

	(void)state;
	deposit(payer, "1000");
	assert_ok(db_job_open(lane, &o, &status));
	assert_int_equal(status, LANE_OK);
	assert_balance(900, 100);
	assert_ok(db_job_close(lane, &c, &status));
	assert_int_equal(status, LANE_OK);
	assert_balance(912, 0);
	assert_ok(db_balance(pg, operator_, &b));
	assert_int_equal(amount_cmp(b.operator_, amount(50)), 0);
	assert_ok(db_balance(pg, author, &b));
	assert_int_equal(amount_cmp(b.author, amount(30)), 0);
	assert_ok(db_job_get(pg, &o.id, payer, &row));
	assert_string_equal(row.state, "settled");
	assert_int_equal(amount_cmp(row.charged, amount(88)), 0);
	assert_books();
}

static void test_closes_once(void **state)
{
	struct job_open o = opening(100);
	struct job_close c = closing(&o.id, "failed", "node_failed", 0, 0, 0), again = closing(&o.id, "settled", "delivered", 50, 30, 8);
	enum lane_status status;

	(void)state;
	assert_ok(db_job_open(lane, &o, &status));
	assert_ok(db_job_close(lane, &c, &status));
	assert_int_equal(status, LANE_OK);
	assert_ok(db_job_close(lane, &again, &status));
	assert_int_equal(status, LANE_FENCED);
	assert_balance(912, 0);
	assert_books();
}

static void test_fencing(void **state)
{
	struct job_open o = opening(100);
	struct job_close c = closing(&o.id, "settled", "delivered", 50, 30, 8);
	enum lane_status status;

	(void)state;
	assert_ok(db_job_open(lane, &o, &status));
	c.lease = OTHER;
	assert_ok(db_job_close(lane, &c, &status));
	assert_int_equal(status, LANE_FENCED);
	c.lease = ME;
	c.attempt = 2;
	assert_ok(db_job_close(lane, &c, &status));
	assert_int_equal(status, LANE_FENCED);
	assert_balance(812, 100);
	c.attempt = 1;
	assert_ok(db_job_close(lane, &c, &status));
	assert_int_equal(status, LANE_OK);
	assert_balance(824, 0);
	assert_books();
}

/* A close that would take more than was held fails alone; the job can still be closed properly. */
static void test_never_more_than_held(void **state)
{
	struct job_open o = opening(100);
	struct job_close bad = closing(&o.id, "settled", "delivered", 60, 40, 1), good = closing(&o.id, "failed", "node_failed", 0, 0, 0);
	enum lane_status status;

	(void)state;
	assert_ok(db_job_open(lane, &o, &status));
	assert_int_not_equal(db_job_close(lane, &bad, &status), ERR_OK);
	assert_balance(724, 100);
	assert_ok(db_job_close(lane, &good, &status));
	assert_int_equal(status, LANE_OK);
	assert_balance(824, 0);
	assert_books();
}

struct many {
	enum lane_status status[64];
	enum err err[64];
	const char *key;
	int64_t api_key;
	uint64_t hold;
	size_t next;
	pthread_mutex_t lock;
};

static void *open_one(void *arg)
{
	struct many *m = arg;
	struct job_open o = opening(m->hold);
	size_t i;

	pthread_mutex_lock(&m->lock);
	i = m->next++;
	pthread_mutex_unlock(&m->lock);
	o.idempotency_key = m->key;
	o.route = "jobs_create";
	o.api_key = m->api_key;
	m->err[i] = db_job_open(lane, &o, &m->status[i]);
	return NULL;
}

static size_t open_many(struct many *m, size_t count, enum lane_status wanted)
{
	pthread_t threads[64];
	size_t n = 0;

	pthread_mutex_init(&m->lock, NULL);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, open_one, m), 0);
	for (size_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(m->err[i], ERR_OK);
		n += m->status[i] == wanted;
	}
	pthread_mutex_destroy(&m->lock);
	return n;
}

/* 824 available: exactly eight holds of 100 fit, however they are batched. */
static void test_no_overdraft_at_once(void **state)
{
	struct many m = { .hold = 100 };

	(void)state;
	assert_int_equal(open_many(&m, 64, LANE_OK), 8);
	assert_balance(24, 800);
	assert_books();
	assert_ok(db_script(pg, "UPDATE gateway_instance SET heartbeat_at = now()"));
}

static void test_one_key_one_job(void **state)
{
	struct many m = { .hold = 1, .key = "same" };

	(void)state;
	assert_int_equal(open_many(&m, 32, LANE_OK), 1);
	assert_value("SELECT count(*) AS v FROM job j JOIN idempotency i ON i.job = j.id WHERE i.key = 'same'", "1");
	assert_balance(23, 801);
	assert_books();
}

/* A refusal for want of money must not use the key up. */
static void test_refused_key_stays_free(void **state)
{
	struct many poor = { .hold = 1000, .key = "later" }, fine = { .hold = 1, .key = "later" };

	(void)state;
	assert_int_equal(open_many(&poor, 1, LANE_INSUFFICIENT), 1);
	assert_int_equal(open_many(&fine, 1, LANE_OK), 1);
	assert_books();
}

static void test_revoked_key(void **state)
{
	struct many m = { .hold = 1, .api_key = 1 };

	(void)state;
	assert_ok(db_script(pg, "UPDATE api_key SET expires_at = now() - interval '1 millisecond' WHERE id = 1"));
	assert_int_equal(open_many(&m, 1, LANE_KEY_REVOKED), 1);
	m.next = 0;
	assert_ok(db_script(pg, "UPDATE api_key SET expires_at = now() + interval '1 hour' WHERE id = 1"));
	assert_int_equal(open_many(&m, 1, LANE_OK), 1);
	assert_ok(db_script(pg, "UPDATE api_key SET revoked_at = now() WHERE id = 1"));
	m.next = 0;
	assert_int_equal(open_many(&m, 4, LANE_KEY_REVOKED), 4);
	assert_books();
}

static void test_reaping(void **state)
{
	struct uuid ids[64];
	struct job_close c;
	enum lane_status status;
	size_t n = 0;

	(void)state;
	/* Nobody beats for ME: its jobs are orphans; their new owner closes them, the old one cannot. */
	assert_ok(db_jobs_reap(pg, &OTHER, 1000, ids, 64, &n));
	assert_int_equal(n, 11);
	for (size_t i = 0; i < n; i++) {
		c = closing(&ids[i], "settled", "delivered", 1, 0, 0);
		assert_ok(db_job_close(lane, &c, &status));
		assert_int_equal(status, LANE_FENCED);
		c = closing(&ids[i], "failed", "gateway_lost", 0, 0, 0);
		c.lease = OTHER;
		c.attempt = 2;
		assert_ok(db_job_close(lane, &c, &status));
		assert_int_equal(status, LANE_OK);
	}
	assert_balance(824, 0);
	assert_books();
}

static enum err claim(const struct uuid *id, const struct uuid *lease, int attempt_now)
{
	return db_job_claim(pg, id, lease, attempt_now, &NODE, operator_, AMOUNT_ZERO, AMOUNT_ZERO);
}

static enum err retry(const struct uuid *id, const struct uuid *lease, int attempt_now)
{
	return db_job_retry(pg, id, lease, attempt_now, "node_failed", &NODE, operator_, AMOUNT_ZERO, AMOUNT_ZERO);
}

/* Every step between hold and close names the lease and the attempt it stands on; whoever lost either changes nothing. */
static void test_steps_are_fenced(void **state)
{
	struct job_open o = opening(10);
	const struct hash answer = { { 7 } };
	struct job_close c = closing(&o.id, "settled", "delivered", 1, 0, 0);
	struct job_output output;
	enum lane_status status;

	(void)state;
	o.background = true;
	o.body = "{}";
	o.body_len = 2;
	assert_ok(db_job_open(lane, &o, &status));
	assert_ok(claim(&o.id, &ME, 0));
	assert_int_equal(claim(&o.id, &OTHER, 0), ERR_CONFLICT);
	assert_int_equal(claim(&o.id, &OTHER, 1), ERR_CONFLICT); /* it runs */
	assert_int_equal(db_job_requeue(pg, &o.id, &OTHER, 1, "no_node"), ERR_CONFLICT);
	assert_int_equal(db_job_requeue(pg, &o.id, &ME, 0, "no_node"), ERR_CONFLICT);
	assert_ok(db_job_requeue(pg, &o.id, &ME, 1, "no_node"));
	assert_int_equal(claim(&o.id, &ME, 0), ERR_CONFLICT); /* it is queued again, after another attempt */
	assert_ok(claim(&o.id, &ME, 1));
	assert_int_equal(retry(&o.id, &OTHER, 2), ERR_CONFLICT);
	assert_int_equal(retry(&o.id, &ME, 1), ERR_CONFLICT);
	assert_ok(retry(&o.id, &ME, 2));
	c.response_status = 200;
	c.response_type = "application/json";
	c.response_header_length = "2";
	c.response_hash = &answer;
	c.response_body = "{}";
	c.response_len = 2;
	c.attempt = 2;
	assert_int_equal(db_job_produce(pg, &c), ERR_CONFLICT);
	c.attempt = 3;
	c.lease = OTHER;
	assert_int_equal(db_job_produce(pg, &c), ERR_CONFLICT);
	c.lease = ME;
	assert_ok(db_job_produce(pg, &c));
	assert_int_equal(db_job_produce(pg, &c), ERR_CONFLICT); /* an answer is not replaced */
	assert_int_equal(db_job_output(pg, &o.id, payer, &output), ERR_NOT_FOUND); /* not paid for yet */
	c.response_header_length = NULL; /* whoever ends it for a gateway that died has it from the row only */
	assert_ok(db_job_close(lane, &c, &status));
	assert_int_equal(status, LANE_OK);
	assert_int_equal(db_job_output(pg, &o.id, author, &output), ERR_NOT_FOUND);
	assert_ok(db_job_output(pg, &o.id, payer, &output));
	assert_int_equal(output.len, 2);
	assert_int_equal(output.status, 200);
	assert_string_equal(output.type, "application/json");
	assert_string_equal(output.header_length, "2");
	free(output.body);
	assert_balance(823, 0);
	assert_books();
}

static void test_only_the_owner(void **state)
{
	struct job_open o = opening(10);
	struct job_close c = closing(&o.id, "cancelled", "cancelled_queued", 0, 0, 0);
	_cleanup_job_row_ struct job_row row = { 0 };
	enum lane_status status;
	struct uuid ids[4];
	size_t n = 9;
	char was[16];

	(void)state;
	o.background = true;
	o.body = "{}";
	o.body_len = 2;
	assert_ok(db_job_open(lane, &o, &status));
	assert_int_equal(db_job_get(pg, &o.id, author, &row), ERR_NOT_FOUND);
	assert_int_equal(db_job_cancel(pg, &o.id, author, was), ERR_NOT_FOUND);
	assert_value("SELECT count(*) AS v FROM job WHERE cancel_requested", "0");
	assert_ok(db_jobs_reap(pg, &OTHER, 1000, ids, 4, &n));
	assert_int_equal(n, 0); /* it waits for its turn */
	assert_ok(db_job_cancel(pg, &o.id, payer, was));
	assert_string_equal(was, "queued");
	assert_int_equal(claim(&o.id, &ME, 0), ERR_CONFLICT); /* nobody starts it any more */
	assert_ok(db_jobs_reap(pg, &OTHER, 1000, ids, 4, &n));
	assert_int_equal(n, 1);
	c.lease = OTHER;
	assert_ok(db_job_close(lane, &c, &status));
	assert_int_equal(status, LANE_OK);
	assert_balance(823, 0);
}

/* Jobs of a gateway that gives signs of life are its own. */
static void test_the_living_are_spared(void **state)
{
	struct job_open o = opening(10);
	struct job_close c = closing(&o.id, "failed", "node_failed", 0, 0, 0);
	enum lane_status status;
	struct uuid ids[4];
	size_t n = 9;

	(void)state;
	assert_ok(db_instance_beat(pg, &ME));
	assert_ok(db_job_open(lane, &o, &status));
	assert_ok(db_jobs_reap(pg, &OTHER, 60000, ids, 4, &n));
	assert_int_equal(n, 0);
	assert_ok(db_script(pg, "UPDATE gateway_instance SET heartbeat_at = now() - interval '61 seconds'"));
	assert_ok(db_jobs_reap(pg, &OTHER, 60000, ids, 4, &n));
	assert_int_equal(n, 1);
	c.lease = OTHER;
	c.attempt = 2;
	assert_ok(db_job_close(lane, &c, &status));
	assert_int_equal(status, LANE_OK);
	assert_balance(823, 0);
}

/* The checker is tested by seeding corruption: each kind is seen, and only that kind. */
static void test_books_see_corruption(void **state)
{
	struct books b;

	(void)state;
	assert_ok(db_script(pg, "ALTER TABLE ledger_balance DISABLE TRIGGER guard; UPDATE ledger_balance SET amount = amount + 1 WHERE account = 17;"
				"ALTER TABLE ledger_balance ENABLE TRIGGER guard"));
	assert_ok(db_books(pg, &b));
	assert_int_equal(b.wrong_balances, 1);
	assert_int_equal(b.wrong_captures, 0);
	assert_ok(db_script(pg, "ALTER TABLE ledger_balance DISABLE TRIGGER guard; UPDATE ledger_balance SET amount = amount - 1 WHERE account = 17;"
				"ALTER TABLE ledger_balance ENABLE TRIGGER guard"));
	assert_ok(db_script(pg, "ALTER TABLE hold DISABLE TRIGGER closes_once; UPDATE hold SET state = 'open', closed_at = NULL, captured = 0 WHERE job ="
				" (SELECT job FROM hold WHERE state = 'voided' LIMIT 1); ALTER TABLE hold ENABLE TRIGGER closes_once"));
	assert_ok(db_books(pg, &b));
	assert_int_equal(b.wrong_holds, 1);
	assert_int_equal(b.wrong_balances, 0);
	assert_ok(db_script(pg, "UPDATE job SET charged = charged + 1, fee = fee + 1 WHERE state = 'settled'"));
	assert_ok(db_books(pg, &b));
	assert_int_equal(b.wrong_captures, 3);
	assert_ok(db_script(pg, "ALTER TABLE ledger_entry DISABLE TRIGGER ledger_entry_inserted; INSERT INTO ledger_entry (transfer, line, account, amount)"
				" SELECT min(id), 9, 9, 5 FROM ledger_transfer; ALTER TABLE ledger_entry ENABLE TRIGGER ledger_entry_inserted"));
	assert_ok(db_books(pg, &b));
	assert_string_equal(b.ledger_sum, "5");
}

#define FULL 4

static void queue(int64_t version, struct uuid *ret)
{
	struct job_open o = opening(1);
	enum lane_status status;

	o.account = operator_;
	o.version = version;
	o.background = true;
	o.body = "{}";
	o.body_len = 2;
	assert_ok(db_job_open(lane, &o, &status));
	assert_int_equal(status, LANE_OK);
	*ret = o.id;
}

/* Versions whose nodes have no room leave their jobs in the queue: whoever comes later for another one must still be seen, in a batch
 * that the others alone could fill. */
static void test_the_queue_is_fair(void **state)
{
	struct uuid full[FULL][20], late, got[64];
	size_t count = 0, of_version[FULL] = { 0 };
	bool seen = false;

	(void)state;
	deposit(operator_, "1000");
	for (int v = 2; v <= FULL + 2; v++) {
		_cleanup_free_ char *sql = xasprintf("INSERT INTO model_version (model, number, surface, royalty_input, royalty_output, max_output_units, digest, manifest, published_at)"
						     " VALUES (1, %d, 'tensor', 1, 0, 0, decode(repeat('0%d', 32), 'hex'), 'x', now())", v, v);
		assert_ok(db_script(pg, sql));
	}
	for (int i = 0; i < 20; i++)
		for (int v = 0; v < FULL; v++)
			queue(v + 2, &full[v][i]);
	queue(FULL + 2, &late);
	assert_ok(db_jobs_queued(pg, got, 64, &count));
	assert_int_equal(count, 64);
	for (size_t i = 0; i < count; i++) {
		seen = seen || !memcmp(&got[i], &late, sizeof(late));
		for (int v = 0; v < FULL; v++)
			if (of_version[v] < 20 && !memcmp(&got[i], &full[v][of_version[v]], sizeof(late))) /* each version's own are in order */
				of_version[v]++;
	}
	assert_true(seen);
	for (int v = 0; v < FULL; v++)
		assert_in_range(of_version[v], 15, 16);
	assert_int_equal(of_version[0] + of_version[1] + of_version[2] + of_version[3], 63);
	/* Alone, too, a version is handed out 16 at a time. */
	assert_ok(db_script(pg, "UPDATE job SET cancel_requested = true, state = 'running' WHERE state = 'queued' AND version > 2"));
	assert_ok(db_jobs_queued(pg, got, 64, &count));
	assert_int_equal(count, 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hold_and_capture), cmocka_unit_test(test_closes_once), cmocka_unit_test(test_fencing),
		cmocka_unit_test(test_never_more_than_held), cmocka_unit_test(test_no_overdraft_at_once), cmocka_unit_test(test_one_key_one_job),
		cmocka_unit_test(test_refused_key_stays_free), cmocka_unit_test(test_revoked_key), cmocka_unit_test(test_reaping),
		cmocka_unit_test(test_steps_are_fenced), cmocka_unit_test(test_only_the_owner), cmocka_unit_test(test_the_living_are_spared),
		cmocka_unit_test(test_the_queue_is_fair), cmocka_unit_test(test_books_see_corruption),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
