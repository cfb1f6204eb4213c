/* Payments of one moment in one transaction: each gets its own status, one that is refused changes nothing and takes nobody with it,
 * and after every step the books hold and what is owed to us is what is open. */
#include <pthread.h>

#include "base/buf.h"
#include "db/payments.h"
#include "tests/db/pg.h"

#define RACERS 12

static const struct uuid ME = { { 1 } };
static const struct address NODE = { { 9 } }, TOKEN = { { 0x70 } };
static struct lane *lane;
static json_t *payload;
static uint8_t nonces;

static int setup(void **state)
{
	if (pg_setup(state))
		return -1;
	payload = json_must(json_object());
	lane = lane_start(pg_url, 10000);
	return db_script(pg, "INSERT INTO account (address) VALUES (decode(repeat('02', 20), 'hex')), (decode(repeat('03', 20), 'hex'));"
			     "INSERT INTO model (author, name) VALUES (1, 'm');"
			     "INSERT INTO model_version (model, number, surface, royalty_input, royalty_output, max_output_units, digest, manifest, published_at)"
			     " VALUES (1, 1, 'tensor', 1, 0, 0, decode(repeat('ab', 32), 'hex'), 'x', now())") ? -1 : 0;
}

static int teardown(void **state)
{
	lane_stop(lane);
	json_decref(payload);
	return pg_teardown(state);
}

static struct amount amount(uint64_t v)
{
	return amount_from_u64(v);
}

struct claimed {
	struct payment_claim claim;
	struct job_open job;
	int64_t account;
	enum err err;
};

static struct claimed claim_new(uint8_t payer, uint64_t max)
{
	return (struct claimed){
		.claim = { .id = uuid_new(), .chain_id = 84532, .verifier = TOKEN, .payer = { { 0xaa, payer } }, .nonce = { { ++nonces } }, .request_digest = { { 7 } },
			   .scheme = "upto", .method = "permit2", .amount_max = amount(max), .payload = payload, .block = 5, .limited = true,
			   .payer_max = amount(1000), .all_max = amount(100000) },
		.job = { .id = uuid_new(), .version = 1, .author = 1, .hold = amount(max), .policy = "signed", .path = "/v1/jobs", .content_type = "application/json",
			 .input_units_max = 1, .timeout_ms = 60000, .lease = ME, .node = NODE, .operator_ = 2 },
	};
}

static void *claim_one(void *arg)
{
	struct claimed *c = arg;

	c->err = db_payment_claim_shared(lane, &c->claim, &c->job, &c->account);
	return NULL;
}

static void claim_together(struct claimed *all, size_t count)
{
	pthread_t threads[RACERS];

	for (size_t i = 0; i < count; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, claim_one, &all[i]), 0);
	for (size_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

static struct job_close closing(const struct claimed *c, const char *state, const char *outcome, uint64_t ask)
{
	return (struct job_close){ .id = c->job.id, .account = c->account, .leased = true, .lease = ME, .attempt = 1, .state = state, .outcome = outcome, .ask = amount(ask),
				   .input_units = -1, .output_units = -1 };
}

static enum err produce_by(struct lane *by, const struct claimed *c, uint64_t value)
{
	struct hash h = { { 3 } };
	struct job_close j = closing(c, "settled", "delivered", value);

	j.response_status = 200;
	j.response_type = "application/json";
	j.response_hash = &h;
	j.response_body = "{}";
	j.response_len = 2;
	return db_payment_produce(by, &c->claim.id, &j, amount(value));
}

static enum err produce(const struct claimed *c, uint64_t value)
{
	return produce_by(lane, c, value);
}

static enum err close_as(const struct claimed *c, const char *state, const char *outcome, uint64_t ask, bool dropped)
{
	struct job_close j = closing(c, state, outcome, ask);

	return db_payment_close_shared(lane, &c->claim.id, &j, dropped, dropped ? outcome : NULL);
}

static void value_is(const char *sql, const char *want)
{
	_cleanup_free_ char *got = pg_value(sql);

	assert_string_equal(got, want);
}

/* Everything adds up, and account 11 owes what payments that are open were signed for. */
static void books_hold(void)
{
	value_is("SELECT (SELECT coalesce(sum(amount), 0) FROM ledger_entry) + (SELECT coalesce(sum(amount), 0) FROM ledger_entry WHERE account = 11)"
		 " + (SELECT coalesce(sum(CASE WHEN p.state IN ('claimed', 'failed') OR (p.state = 'settling' AND j.outcome IS NULL) THEN p.amount_max"
		 " WHEN p.state = 'settling' THEN p.amount WHEN p.state = 'settled' AND j.outcome IS NULL THEN p.amount_max - p.amount ELSE 0 END), 0)"
		 " FROM payment p JOIN job j ON j.id = p.job) AS v", "0");
}

static char *state_of(const struct claimed *c)
{
	_cleanup_free_ char *sql = xasprintf("SELECT p.state || ' ' || j.state || ' ' || coalesce(p.amount::text, '-') AS v FROM payment p JOIN job j ON j.id = p.job WHERE p.id = '%s'",
					     uuid_format(&c->claim.id).s);

	return pg_value(sql);
}

static void state_is(const struct claimed *c, const char *want)
{
	_cleanup_free_ char *got = state_of(c);

	assert_string_equal(got, want);
}

static void test_racing_copies_are_claimed_once(void **state)
{
	struct claimed all[RACERS];
	size_t won = 0;

	(void)state;
	for (size_t i = 0; i < RACERS; i++) {
		all[i] = claim_new(1, 10);
		all[i].claim.nonce = all[0].claim.nonce;
	}
	claim_together(all, RACERS);
	for (size_t i = 0; i < RACERS; i++) {
		won += all[i].err == ERR_OK;
		assert_true(all[i].err == ERR_OK || all[i].err == ERR_CONFLICT);
	}
	assert_int_equal(won, 1);
	value_is("SELECT count(*) || ' ' || (SELECT count(*) FROM job) AS v FROM payment", "1 1");
	books_hold();
}

#define ITEM "{\"claim\":{\"id\":\"%s\",\"chain_id\":84532,\"scheme\":\"exact\",\"method\":\"eip3009\",\"amount_max\":\"10\",\"payload\":{},\"claim_block\":1," \
	"\"verifier\":\"7000000000000000000000000000000000000000\",\"payer\":\"ee00000000000000000000000000000000000000\",\"nonce\":\"%064d\"," \
	"\"request_digest\":\"%064d\",\"payer_max\":\"25\",\"all_max\":\"9999\"},\"job\":{\"id\":\"%s\",\"version\":1,\"author\":1,\"hold\":\"10\",\"policy\":\"signed\"," \
	"\"background\":false,\"state\":\"running\",\"path\":\"/\",\"content_type\":\"a/b\",\"request_hash\":\"%064d\",\"input_units_max\":1,\"output_units_max\":0," \
	"\"royalty_input\":\"1\",\"royalty_output\":\"0\",\"ask_input_max\":\"1\",\"ask_output_max\":\"0\",\"fee_bps\":0,\"timeout_ms\":1000,\"attempt\":1," \
	"\"lease\":\"01000000-0000-0000-0000-000000000000\",\"node\":\"0900000000000000000000000000000000000000\",\"operator\":2,\"ask_input\":\"1\",\"ask_output\":\"0\"}}"

/* The statuses of one statement over three claims of 10 with these nonces. */
static char *statuses(int a, int b, int c)
{
	struct buf sql = BUF_INIT(1 << 16);
	const int nonce[3] = { a, b, c };
	char *said;

	assert_ok(buf_puts(&sql, "SELECT string_agg(status, ' ' ORDER BY ord) AS v FROM payments_claim('["));
	for (size_t i = 0; i < 3; i++) {
		struct uuid payment = uuid_new(), job = uuid_new();

		assert_ok(buf_printf(&sql, "%s" ITEM, i ? "," : "", uuid_format(&payment).s, nonce[i], 7, uuid_format(&job).s, 1));
	}
	assert_ok(buf_puts(&sql, "]')"));
	said = pg_value(sql.data);
	buf_done(&sql);
	return said;
}

static void statuses_are(int a, int b, int c, const char *want)
{
	_cleanup_free_ char *said = statuses(a, b, c);

	assert_string_equal(said, want);
}

/* What depends on one beside it is asked again, when it is known what became of that one. */
static void test_in_one_statement(void **state)
{
	(void)state;
	assert_ok(db_script(pg, "INSERT INTO payment_authorization VALUES (84532, decode('70' || repeat('00', 19), 'hex'), decode('ee' || repeat('00', 19), 'hex'),"
				" decode(repeat('00', 31) || '09', 'hex'))"));
	statuses_are(9, 9, 9, "claimed_before claimed_before claimed_before"); /* by a settlement for somebody else: none of its batch suffers */
	statuses_are(1, 1, 2, "ok retry retry"); /* the copy counts, too: rather once more than too much */
	statuses_are(1, 1, 1, "claimed_before claimed_before claimed_before");
	statuses_are(2, 3, 1, "ok retry claimed_before");
	statuses_are(3, 4, 1, "exposed exposed claimed_before");
	value_is("SELECT count(*) || ' ' || sum(amount_max) AS v FROM payment WHERE payer = decode('ee' || repeat('00', 19), 'hex')", "2 20");
	books_hold();
}

/* That many of those who came together, and the others are above the cap. */
static void assert_served(const struct claimed *all, size_t expected)
{
	size_t ok = 0, limit = 0;

	for (size_t i = 0; i < RACERS; i++) {
		ok += all[i].err == ERR_OK;
		limit += all[i].err == ERR_LIMIT;
	}
	assert_int_equal(ok, expected);
	assert_int_equal(limit, RACERS - expected);
	books_hold();
}

static void test_exposure_counts_those_beside(void **state)
{
	struct claimed all[RACERS];

	(void)state;
	for (size_t i = 0; i < RACERS; i++)
		all[i] = claim_new(2, 150); /* six of them fit into 1000 */
	claim_together(all, RACERS);
	assert_served(all, 6);
	struct claimed unlimited = claim_new(2, 150), another = claim_new(3, 150);

	unlimited.claim.limited = false;
	assert_ok(db_payment_claim_shared(lane, &unlimited.claim, &unlimited.job, &unlimited.account));
	assert_ok(db_payment_claim_shared(lane, &another.claim, &another.job, &another.account));
	assert_int_not_equal(unlimited.account, another.account);
	books_hold();
}

/* Those who come at once cannot promise one balance many times. */
static void test_a_balance_is_promised_once(void **state)
{
	struct claimed all[RACERS];
	size_t ok = 0;

	(void)state;
	for (size_t i = 0; i < RACERS; i++) {
		all[i] = claim_new(7, 10);
		all[i].claim.limited = i % 2; /* served before it is settled or not */
		all[i].claim.has_balance = true;
		all[i].claim.balance = amount(59);
	}
	claim_together(all, RACERS);
	for (size_t i = 0; i < RACERS; i++) {
		ok += all[i].err == ERR_OK;
		assert_true(all[i].err == ERR_OK || all[i].err == ERR_INSUFFICIENT_FUNDS);
	}
	assert_int_equal(ok, 5);
	books_hold();
}

/* What all payers together are served before it is settled, too: of twelve who come at once it is not passed by a single one. */
static void test_exposure_of_all_counts_those_beside(void **state)
{
	_cleanup_free_ char *open = pg_value("SELECT coalesce(sum(amount_max), 0) AS v FROM payment WHERE state IN ('claimed', 'settling')");
	const uint64_t served = strtoull(open, NULL, 10);
	struct claimed all[RACERS];

	(void)state;
	for (uint8_t i = 0; i < RACERS; i++) {
		all[i] = claim_new((uint8_t)(100 + i), 150);
		all[i].claim.all_max = amount(served + 1000);
	}
	claim_together(all, RACERS);
	assert_served(all, 6);
}

static void test_produced_and_asked_for_together(void **state)
{
	struct claimed c = claim_new(4, 100), free_ = claim_new(4, 100), foreign = claim_new(4, 100), twice;

	(void)state;
	assert_ok(db_payment_claim_shared(lane, &c.claim, &c.job, &c.account));
	assert_ok(db_payment_claim_shared(lane, &free_.claim, &free_.job, &free_.account));
	assert_ok(db_payment_claim_shared(lane, &foreign.claim, &foreign.job, &foreign.account));
	assert_ok(produce(&c, 60));
	state_is(&c, "settling produced 60");
	assert_int_equal(produce(&c, 70), ERR_CONFLICT);
	state_is(&c, "settling produced 60");
	assert_ok(produce(&free_, 0));
	state_is(&free_, "settled produced 0");
	foreign.job.lease = ME;
	assert_ok(db_script(pg, "UPDATE job SET lease = '02000000-0000-0000-0000-000000000000' WHERE state = 'running'"));
	assert_int_equal(produce(&foreign, 60), ERR_CONFLICT);
	state_is(&foreign, "claimed running -");
	assert_ok(db_script(pg, "UPDATE job SET lease = '01000000-0000-0000-0000-000000000000' WHERE state = 'running'"));
	twice = foreign;
	twice.claim.id = c.claim.id; /* another job's payment */
	assert_int_equal(produce(&twice, 60), ERR_CONFLICT);
	state_is(&foreign, "claimed running -");
	state_is(&c, "settling produced 60");
	books_hold();
}

static void test_settled_and_closed(void **state)
{
	struct claimed paid = claim_new(5, 100), dropped = claim_new(5, 100), other = claim_new(5, 100);
	_cleanup_free_ char *sql = NULL, *again = NULL, *moved = NULL;

	(void)state;
	assert_ok(db_payment_claim_shared(lane, &paid.claim, &paid.job, &paid.account));
	assert_ok(db_payment_claim_shared(lane, &dropped.claim, &dropped.job, &dropped.account));
	assert_ok(db_payment_claim_shared(lane, &other.claim, &other.job, &other.account));
	assert_ok(produce(&paid, 60));
	assert_int_equal(close_as(&paid, "failed", "settlement_failed", 0, true), ERR_CONFLICT); /* it may come */
	state_is(&paid, "settling produced 60");
	sql = xasprintf("SELECT string_agg(id::text, ' ') AS v FROM payments_settled('[{\"payment\":\"%s\",\"log\":1},{\"payment\":\"%s\",\"log\":2}]', decode(repeat('aa', 32), 'hex')) id",
			uuid_format(&paid.claim.id).s, uuid_format(&other.claim.id).s);
	moved = pg_value(sql);
	assert_string_equal(moved, uuid_format(&paid.claim.id).s); /* the other one was not asked for */
	again = pg_value(sql);
	assert_string_equal(again, "");
	state_is(&paid, "settled produced 60");
	books_hold();
	assert_int_equal(close_as(&dropped, "failed", "node_failed", 0, false), ERR_CONFLICT); /* nothing came for it */
	state_is(&dropped, "claimed running -");
	assert_ok(close_as(&dropped, "failed", "node_failed", 0, true));
	state_is(&dropped, "dropped failed -");
	assert_ok(close_as(&paid, "settled", "delivered", 60, false));
	assert_int_equal(close_as(&paid, "settled", "delivered", 60, false), ERR_CONFLICT);
	state_is(&paid, "settled settled 60");
	value_is("SELECT amount AS v FROM ledger_balance b JOIN account a ON b.account = a.id * 16 + 1 WHERE a.address = decode('aa05' || repeat('00', 18), 'hex')", "0");
	value_is("SELECT coalesce(sum(e.amount), 0) AS v FROM ledger_entry e JOIN payment p ON e.account = p.account * 16 + 2 WHERE p.payer = decode('aa05' || repeat('00', 18), 'hex')"
		 " AND p.state = 'claimed'", "100");
	books_hold();
}

/* The log that paid for one payment pays for no other one, and then nothing of that transaction is booked. */
static void test_no_log_pays_twice(void **state)
{
	struct claimed a = claim_new(6, 100), b = claim_new(6, 100);
	_cleanup_free_ char *sql = NULL;

	(void)state;
	assert_ok(db_payment_claim_shared(lane, &a.claim, &a.job, &a.account));
	assert_ok(db_payment_claim_shared(lane, &b.claim, &b.job, &b.account));
	assert_ok(produce(&a, 100));
	assert_ok(produce(&b, 100));
	sql = xasprintf("SELECT FROM payments_settled('[{\"payment\":\"%s\",\"log\":4},{\"payment\":\"%s\",\"log\":4}]', decode(repeat('bb', 32), 'hex'))", uuid_format(&a.claim.id).s,
			uuid_format(&b.claim.id).s);
	assert_int_equal(db_exec(pg, sql, NULL, NULL), ERR_CONFLICT);
	state_is(&a, "settling produced 100");
	state_is(&b, "settling produced 100");
	books_hold();
}

static int64_t sent(const struct claimed *all, size_t count)
{
	static uint64_t next;
	const struct signed_tx tx = { .chain_id = 84532, .sender = { { 0x5e } }, .nonce = next, .hash = { { 0xcc, (uint8_t)next } }, .raw = "raw", .raw_len = 3, .max_fee = amount(1) };
	_cleanup_free_ char *id = NULL;
	struct uuid ids[RACERS];
	int64_t ret = 0;

	next++;
	for (size_t i = 0; i < count; i++)
		ids[i] = all[i].claim.id;
	assert_ok(db_settlement_write(pg, &tx, ids, count));
	id = pg_value("SELECT max(id) AS v FROM settlement_tx");
	assert_int_equal(sscanf(id, "%ld", &ret), 1);
	return ret;
}

/* Which jobs ended with their money: a bit for each. */
static unsigned mined(int64_t tx, uint8_t hash, const struct claimed *all, size_t count)
{
	const struct mined_tx mined = { .succeeded = true, .block_number = 9, .block = { { 0xb1 } }, .hash = { { hash } } };
	struct arrival arrived[RACERS];
	unsigned closed = 0;

	for (size_t i = 0; i < count; i++)
		arrived[i] = (struct arrival){ .payment = all[i].claim.id, .log = (uint32_t)i };
	assert_ok(db_settlement_mined(pg, tx, &mined, arrived, count));
	for (size_t i = 0; i < count; i++)
		closed |= (unsigned)arrived[i].closed << i;
	return closed;
}

/* With its money ends the job whose answer is stored and whose lease is still that of who stored it. */
static void test_ends_with_its_money(void **state)
{
	struct claimed all[3];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		all[i] = claim_new(7, 100);
		assert_ok(db_payment_claim_shared(lane, &all[i].claim, &all[i].job, &all[i].account));
	}
	assert_ok(produce(&all[0], 60));
	assert_ok(produce(&all[1], 60));
	assert_ok(db_payment_settle(pg, &all[2].claim.id, amount(100))); /* settled first: the work is still to be done */
	assert_int_equal(db_exec(pg, "UPDATE job SET lease = '02000000-0000-0000-0000-000000000000' WHERE id = (SELECT job FROM payment WHERE nonce ="
				     " (SELECT nonce FROM payment WHERE state = 'settling' AND closing IS NOT NULL ORDER BY nonce DESC LIMIT 1))", NULL, NULL), ERR_OK);
	assert_int_equal(mined(sent(all, 3), 0xd1, all, 3), 1);
	state_is(&all[0], "settled settled 60");
	state_is(&all[1], "settled produced 60");
	state_is(&all[2], "settled running 100");
	value_is("SELECT j.outcome || ' ' || j.charged || ' ' || j.response_status || ' ' || h.state AS v FROM payment p JOIN job j ON j.id = p.job JOIN hold h ON h.job = j.id"
		 " WHERE p.payer = decode('aa07' || repeat('00', 18), 'hex') AND j.outcome IS NOT NULL", "delivered 60 200 captured");
	books_hold();
	assert_int_equal(close_as(&all[0], "settled", "delivered", 60, false), ERR_CONFLICT);
	assert_ok(close_as(&all[2], "failed", "caller_gone", 0, false));
	books_hold();
}

/* A job that the books refuse to end so is left to whoever holds it; the money is there all the same. */
static void test_money_without_an_end(void **state)
{
	struct claimed all[2] = { claim_new(8, 100), claim_new(8, 100) };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		assert_ok(db_payment_claim_shared(lane, &all[i].claim, &all[i].job, &all[i].account));
		assert_ok(produce(&all[i], 60));
	}
	assert_int_equal(db_exec(pg, "UPDATE payment SET closing = closing || '{\"ask\": \"101\"}' WHERE nonce = (SELECT nonce FROM payment ORDER BY nonce DESC LIMIT 1)", NULL, NULL), ERR_OK);
	assert_int_equal(mined(sent(all, 2), 0xd2, all, 2), 0);
	for (size_t i = 0; i < 2; i++) {
		state_is(&all[i], "settled produced 60");
		assert_ok(close_as(&all[i], "settled", "delivered", 60, false));
	}
	books_hold();
}

/* A reorganisation, and the money comes again: the job has ended and stays as it is. */
static void test_comes_again(void **state)
{
	struct claimed c = claim_new(9, 100);
	int64_t tx;

	(void)state;
	assert_ok(db_payment_claim_shared(lane, &c.claim, &c.job, &c.account));
	assert_ok(produce(&c, 60));
	tx = sent(&c, 1);
	assert_int_equal(mined(tx, 0xd3, &c, 1), 1);
	assert_ok(db_settlement_unmined(pg, tx));
	state_is(&c, "settling settled 60");
	books_hold();
	assert_int_equal(mined(tx, 0xd3, &c, 1), 0);
	state_is(&c, "settled settled 60");
	books_hold();
}

struct producing {
	struct claimed c;
	struct lane *lane;
	enum err e;
};

static void *produce_one(void *arg)
{
	struct producing *p = arg;

	p->e = produce_by(p->lane, &p->c, 60);
	return NULL;
}

/* The answer is lost while the statement still waits in the database; asked for again, it finds that it is done, even when the settler was so quick
 * that its money has come by then. Nobody is told that nothing was charged. */
static void test_produced_meets_itself(void **state)
{
	struct producing p;
	struct db *holder = db_new(pg_url, 30000);
	pthread_t thread;

	(void)state;
	assert_ok(db_script(pg, "CREATE FUNCTION settle_at_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
				" PERFORM payments_settled(jsonb_build_array(jsonb_build_object('payment', NEW.id, 'log', 1)), decode(repeat('dd', 32), 'hex'));"
				" PERFORM payments_close(jsonb_build_array(NEW.closing || '{\"dropped\": false}')); RETURN NULL; END $$;"
				"CREATE CONSTRAINT TRIGGER settle_at_once AFTER UPDATE ON payment DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state = 'settling')"
				" EXECUTE FUNCTION settle_at_once()"));
	for (int i = 0; i < 2; i++) {
		p = (struct producing){ .c = claim_new(10, 100), .lane = lane_start(pg_url, 1000) };
		assert_ok(db_payment_claim_shared(lane, &p.c.claim, &p.c.job, &p.c.account));
		assert_ok(db_script(holder, "BEGIN; SELECT FROM payment WHERE state = 'claimed' FOR UPDATE"));
		assert_int_equal(pthread_create(&thread, NULL, produce_one, &p), 0);
		pg_wait_blocked(pg, 2); /* the first try, whose answer nobody waits for any more, and the second */
		assert_ok(db_script(holder, "ROLLBACK"));
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_ok(p.e);
		state_is(&p.c, i == 0 ? "settled settled 60" : "settling produced 60");
		lane_stop(p.lane);
		if (i == 0)
			assert_ok(db_script(pg, "DROP TRIGGER settle_at_once ON payment"));
	}
	books_hold();
	db_free(holder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_racing_copies_are_claimed_once), cmocka_unit_test(test_in_one_statement), cmocka_unit_test(test_exposure_counts_those_beside),
		cmocka_unit_test(test_exposure_of_all_counts_those_beside),
		cmocka_unit_test(test_produced_and_asked_for_together), cmocka_unit_test(test_settled_and_closed), cmocka_unit_test(test_no_log_pays_twice),
		cmocka_unit_test(test_ends_with_its_money), cmocka_unit_test(test_money_without_an_end), cmocka_unit_test(test_comes_again), cmocka_unit_test(test_produced_meets_itself), cmocka_unit_test(test_a_balance_is_promised_once),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
