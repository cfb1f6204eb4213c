/* Calls that go on chain, in the database: none is forgotten, none is in two events, and what a transaction became is what is said. */
#include <stdlib.h>
#include <string.h>

#include "db/records.h"
#include "tests/db/mined.h"
#include "tests/db/pg.h"

static const struct address SENDER = { { 0x5e } };
static uint64_t nonces;

static int setup(void **state)
{
	return pg_setup(state) ||
	       db_script(pg, "INSERT INTO account (address) SELECT decode(lpad(to_hex(n), 40, '0'), 'hex') FROM generate_series(2, 4) n;"
			     "INSERT INTO model (author, name) SELECT min(id), 'm' FROM account;"
			     "INSERT INTO model_version (model, number, surface, royalty_input, royalty_output, max_output_units, digest, manifest, published_at)"
			     " VALUES (1, 1, 'tensor', 0, 0, 0, decode(repeat('ab', 32), 'hex'), 'x', now())") ? -1 : 0;
}

/* A job that has ended so, and its caller's wish. */
static struct uuid ended(bool individual, const char *state, const char *outcome, const char *verdict)
{
	struct uuid id = uuid_new();
	_cleanup_free_ char *sql = xasprintf(
		"INSERT INTO job (id, account, version, author, policy, background, state, path, content_type, request_hash, input_units_max, output_units_max, royalty_input,"
		" royalty_output, ask_input_max, ask_output_max, fee_bps, attempt, deadline_at, outcome, ended_at, verdict, receipt, response_body)"
		" SELECT '%s', min(id), 1, min(id), 'signed', false, '%s', '/x', 'a/b', decode(repeat('00', 32), 'hex'), 1, 1, 0, 0, 0, 0, 0, 1, now(), %s, now(), '%s', 'the receipt',"
		" 'out' FROM account", uuid_format(&id).s, state, outcome, verdict);

	assert_ok(db_record_want(pg, &id, individual, individual ? "in" : NULL, individual ? 2 : 0));
	assert_ok(db_script(pg, sql));
	return id;
}

static struct record_facts facts(uint8_t n)
{
	return (struct record_facts){ .signer = { { n } }, .input_hash = { { n, 1 } }, .output_hash = { { n, 2 } }, .signature = { n, 3 }, .signed_at = 1700000000u + n,
				      .payer = { { n } } };
}

static struct uuid queued(bool individual, uint8_t n)
{
	struct uuid id = ended(individual, "settled", "'delivered'", "passed");
	struct record_ended e;
	const struct record_facts f = facts(n);

	assert_ok(db_record_ended(pg, &e));
	assert_memory_equal(e.job.b, id.b, sizeof(id.b));
	assert_string_equal(e.receipt, "the receipt");
	assert_int_equal(e.individual, individual);
	assert_int_equal(e.input_len, individual ? 2 : 0);
	assert_int_equal(e.output_len, individual ? 3 : 0);
	assert_ok(db_record_queue(pg, &id, &f, individual ? "{\"n\":1}" : NULL));
	db_record_ended_done(&e);
	return id;
}

static void assert_status(const struct uuid *job, const char *status)
{
	struct record_row row;

	assert_ok(db_record_get(pg, job, &row));
	assert_string_equal(row.status, status);
}

static struct signed_tx tx(void)
{
	nonces++;
	return (struct signed_tx){ .chain_id = 84532, .sender = SENDER, .nonce = nonces, .hash = { { 0x70, (uint8_t)nonces } }, .raw = "raw", .raw_len = 3, .max_fee = amount_from_u64(1) };
}

static int64_t tx_id(const struct signed_tx *t)
{
	struct open_tx open[64];
	size_t count = 0;
	int64_t id = 0;

	assert_ok(db_settlements_open(pg, 84532, &SENDER, open, 64, &count));
	for (size_t i = 0; i < count; i++) {
		if (open[i].nonce == t->nonce)
			id = open[i].id;
		free(open[i].raw);
	}
	assert_true(id > 0);
	return id;
}

static void mined(const struct signed_tx *t, bool ok)
{
	assert_ok(settlement_mined(tx_id(t), ok, &t->hash, 0, NULL, 0));
}

static void test_batch(void **state)
{
	const struct hash root = { { 0xaa } };
	struct record_queued calls[8], twice[2];
	struct hash blob;
	struct record_row row;
	struct record_post post, again;
	struct uuid one = queued(false, 1), two = queued(false, 2);
	size_t count = 0;
	int64_t age = -1;

	(void)state;
	assert_ok(db_records_queued(pg, false, calls, 8, &count, &age));
	assert_int_equal(count, 2);
	assert_true(age >= 0);
	assert_memory_equal(&calls[0].facts.signature, facts(1).signature, 65);
	sha256_of("tree", 4, &blob);
	assert_status(&one, "queued");
	assert_ok(db_record_post(pg, calls, 2, &root, &blob, "tree"));
	twice[0] = calls[1];
	assert_int_equal(db_record_post(pg, twice, 1, &root, &blob, "tree"), ERR_CONFLICT); /* it is in an event */
	assert_ok(db_records_queued(pg, false, calls, 8, &count, &age));
	assert_int_equal(count, 0);
	assert_status(&two, "processing");

	assert_ok(db_record_post_due(pg, 1, &post));
	assert_true(post.batch);
	assert_int_equal(post.size, 2);
	struct signed_tx first = tx(), second = tx();
	assert_ok(db_record_post_write(pg, &first, post.id));
	assert_int_equal(db_record_post_due(pg, 1, &again), ERR_NOT_FOUND);
	assert_int_equal(db_record_post_write(pg, &second, post.id), ERR_CONFLICT); /* never in two transactions that may both be mined */
	const int64_t lost = tx_id(&first);
	bool moved = true;
	assert_ok(db_settlement_replaced(pg, lost));
	assert_ok(db_record_post_moved(pg, lost, &moved));
	assert_false(moved); /* it would be sent again as it is */
	assert_ok(db_record_post_due(pg, 1, &again)); /* somebody else took its nonce */
	assert_int_equal(again.id, post.id);
	assert_ok(db_record_post_write(pg, &second, post.id));
	mined(&second, true);
	assert_ok(db_record_post_moved(pg, lost, &moved));
	assert_true(moved); /* what took its nonce is gone again: it must not make the event a second time */
	struct signed_tx empty = { .chain_id = 84532, .sender = SENDER, .nonce = first.nonce, .hash = { { 0x71 } }, .raw = "none", .raw_len = 4, .max_fee = amount_from_u64(1) };
	assert_ok(db_settlement_revive_as(pg, lost, &empty));
	assert_int_equal(tx_id(&empty), lost);
	assert_ok(db_settlement_replaced(pg, lost));
	assert_ok(db_settlement_revive_as(pg, lost, &empty)); /* and once more: it has this form */
	assert_int_equal(tx_id(&empty), lost);
	mined(&empty, true);
	assert_ok(db_record_get(pg, &one, &row));
	assert_string_equal(row.status, "succeeded");
	assert_true(row.has_tx_hash && hash_equal(&row.tx_hash, &second.hash) && hash_equal(&row.root, &root) && hash_equal(&row.blob, &blob));
	assert_ok(db_settlement_unmined(pg, tx_id(&second)));
	assert_ok(db_record_get(pg, &one, &row));
	assert_string_equal(row.status, "processing"); /* what a reorganisation took back is not said to be there */
	assert_false(row.has_tx_hash);
	mined(&second, true);
	assert_ok(db_settlement_final(pg, tx_id(&second), &second.hash, NULL, 0));
	assert_status(&two, "succeeded");

	size_t len = 0;
	_cleanup_free_ char *body = NULL;
	assert_ok(db_record_blob(pg, &blob, &body, &len));
	assert_string_equal(body, "tree");
	assert_int_equal(db_record_blob(pg, &root, &body, &len), ERR_NOT_FOUND);
}

static void test_individual(void **state)
{
	struct record_queued calls[8];
	struct record_post post;
	struct uuid one = queued(true, 5);
	size_t count = 0;
	int64_t age = 0, lately = 0;

	(void)state;
	assert_ok(db_records_queued(pg, true, calls, 8, &count, &age));
	assert_int_equal(count, 1);
	assert_ok(db_record_post(pg, calls, 1, NULL, &calls[0].blob, NULL));
	assert_ok(db_record_post_due(pg, 16, &post));
	assert_false(post.batch);
	assert_memory_equal(post.facts.payer.b, facts(5).payer.b, 20);
	struct signed_tx t = tx();
	assert_ok(db_record_post_write(pg, &t, post.id));
	mined(&t, false);
	assert_status(&one, "failed"); /* the transaction reverted */
	assert_ok(db_settlement_final(pg, tx_id(&t), &t.hash, NULL, 0));
	assert_ok(db_records_individual_lately(pg, &lately));
	assert_true(lately >= 1);
}

/* Nothing delivered, or nobody signed for it: nothing goes on chain. A stranger's job is nobody's. */
static void test_dropped(void **state)
{
	struct { const char *state, *outcome, *verdict; } cases[] = {
		{ "failed", "'node_failed'", "passed" }, { "settled", "'unproven'", "failed" }, { "settled", "'unproven'", "unverifiable" },
	};
	struct record_ended e;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct uuid id = ended(true, cases[i].state, cases[i].outcome, cases[i].verdict);
		const struct record_facts f = facts(7);

		assert_ok(db_record_ended(pg, &e));
		assert_null(e.receipt);
		db_record_ended_done(&e);
		assert_ok(db_record_drop(pg, &id));
		assert_int_equal(db_record_drop(pg, &id), ERR_CONFLICT);
		assert_int_equal(db_record_queue(pg, &id, &f, "{}"), ERR_CONFLICT);
		assert_status(&id, "failed");
	}
	assert_int_equal(db_record_ended(pg, &e), ERR_NOT_FOUND);
}

static void test_wishes(void **state)
{
	struct uuid never = uuid_new(), open = ended(false, "running", "NULL", "passed");
	struct record_ended e;
	struct record_row row;

	(void)state;
	assert_ok(db_record_want(pg, &never, false, NULL, 0));
	assert_ok(db_record_want(pg, &never, false, NULL, 0));
	assert_int_equal(db_record_ended(pg, &e), ERR_NOT_FOUND); /* neither has ended */
	assert_status(&open, "queued");
	assert_ok(db_records_sweep(pg));
	assert_status(&never, "queued"); /* its job may still come */
	assert_ok(db_script(pg, "UPDATE record SET created_at = now() - interval '2 hours'"));
	assert_ok(db_records_sweep(pg));
	assert_int_equal(db_record_get(pg, &never, &row), ERR_NOT_FOUND);
	assert_status(&open, "queued");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_batch), cmocka_unit_test(test_individual), cmocka_unit_test(test_dropped), cmocka_unit_test(test_wishes) };

	return cmocka_run_group_tests(tests, setup, pg_teardown);
}
