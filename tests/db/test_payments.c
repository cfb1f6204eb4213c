/* x402 payments in the database: claimed once whatever races, closed one way, and after every step the books hold and what is owed
 * to us is what is open. */
#include <pthread.h>

#include "tests/db/claims.h"
#include "tests/db/mined.h"

static uint64_t tx_nonces;

static struct claimed claimed(const char *scheme, uint64_t max)
{
	struct claimed c = claim_new(scheme, max);

	assert_ok(db_payment_claim(pg, &c.claim, &c.job, &c.account));
	return c;
}

static void assert_state(const struct claimed *c, const char *state)
{
	_cleanup_payment_row_ struct payment_row row = { 0 };

	assert_ok(db_payment_get(pg, &c->claim.id, &row));
	assert_string_equal(row.state, state);
}

static void assert_available(const struct claimed *c, const char *expected)
{
	struct balance b;

	assert_ok(db_balance(pg, c->account, &b));
	assert_string_equal(amount_format(b.available).s, expected);
	assert_string_equal(amount_format(b.held).s, "0");
}

/* Signed, written and tied to the payments that wait. */
static int64_t tx_write(const struct claimed *c)
{
	struct signed_tx tx = { .chain_id = 84532, .sender = SENDER, .nonce = tx_nonces, .hash = { { 0x70, (uint8_t)(tx_nonces + 1) } }, .raw = "raw", .raw_len = 3,
				.max_fee = amount(1) };
	struct open_tx open[64];
	size_t count = 0;
	int64_t id = 0;

	tx_nonces++;
	assert_ok(db_settlement_write(pg, &tx, &c->claim.id, 1));
	assert_ok(db_settlements_open(pg, 84532, &SENDER, open, 64, &count));
	for (size_t i = 0; i < count; i++) {
		if (open[i].nonce == tx.nonce)
			id = open[i].id;
		free(open[i].raw);
	}
	assert_true(id > 0);
	return id;
}

static void mined(int64_t tx, const struct claimed *c, uint32_t log)
{
	const struct hash hash = { { 0x70, (uint8_t)tx_nonces } };
	struct arrival a = { .payment = c->claim.id, .log = log };

	assert_ok(settlement_mined(tx, true, &hash, 0, &a, 1));
}

/* ---- tests; each leaves nothing open ---- */

static void test_delivered(void **state)
{
	struct claimed c = claimed("exact", 100);

	(void)state;
	assert_books("100");
	assert_ok(db_payment_settle(pg, &c.claim.id, amount(100)));
	assert_int_equal(db_payment_settle(pg, &c.claim.id, amount(100)), ERR_CONFLICT);
	mined(tx_write(&c), &c, 0);
	assert_state(&c, "settled");
	assert_books("0");
	assert_ok(close_as(&c, "settled", "delivered", 60, false));
	assert_available(&c, "40"); /* exact: what was paid and not used stays the payer's */
	assert_int_equal(close_as(&c, "settled", "delivered", 60, false), ERR_CONFLICT);
	assert_books("0");
	assert_ok(db_script(pg, "WITH t AS (INSERT INTO ledger_transfer (key, kind) VALUES ('away', 'deposit_reversal') RETURNING id)"
				" INSERT INTO ledger_entry (transfer, line, account, amount) SELECT t.id, v.* FROM t,"
				" (VALUES (1, (SELECT id * 16 + 1 FROM account WHERE address = decode('aa' || repeat('00', 19), 'hex')), -40), (2, 8, 40)) v(line, account, amount)"));
}

static void test_upto(void **state)
{
	struct claimed c = claimed("upto", 100);

	(void)state;
	assert_ok(db_payment_settle(pg, &c.claim.id, amount(30)));
	mined(tx_write(&c), &c, 0);
	assert_books("70"); /* the rest is taken back when the job is closed */
	assert_ok(close_as(&c, "settled", "delivered", 30, false));
	assert_available(&c, "0");
	assert_books("0");
}

static void test_upto_of_nothing(void **state)
{
	struct claimed c = claimed("upto", 100), again = claim_new("upto", 100);

	(void)state;
	assert_ok(db_payment_settle(pg, &c.claim.id, amount(0)));
	assert_state(&c, "settled");
	assert_ok(close_as(&c, "settled", "delivered", 0, false));
	assert_available(&c, "0");
	assert_books("0");
	again.claim.nonce = c.claim.nonce;
	assert_int_equal(db_payment_claim(pg, &again.claim, &again.job, &again.account), ERR_CONFLICT);
}

static void test_costs_nothing(void **state)
{
	struct claimed c = claimed("exact", 0);

	(void)state;
	assert_ok(db_payment_settle(pg, &c.claim.id, amount(0)));
	assert_ok(close_as(&c, "settled", "delivered", 0, false));
	assert_available(&c, "0");
	assert_books("0");
}

static void test_dropped(void **state)
{
	struct claimed c = claimed("exact", 100);

	(void)state;
	assert_int_equal(close_as(&c, "failed", "node_failed", 0, false), ERR_CONFLICT); /* it was not settled */
	assert_ok(close_as(&c, "failed", "node_failed", 0, true));
	assert_state(&c, "dropped");
	assert_available(&c, "0");
	assert_books("0");
	assert_int_equal(db_payment_settle(pg, &c.claim.id, amount(100)), ERR_CONFLICT);
}

static void test_not_dropped_once_asked_for(void **state)
{
	struct claimed c = claimed("exact", 100);

	(void)state;
	assert_ok(db_payment_settle(pg, &c.claim.id, amount(100)));
	assert_int_equal(close_as(&c, "failed", "internal_error", 0, true), ERR_CONFLICT);
	assert_state(&c, "settling");
	assert_books("100");
	assert_value("SELECT count(*)::text AS v FROM hold WHERE state = 'open'", "1"); /* the job's end went with it */
	assert_ok(db_payment_failed(pg, &c.claim.id, "refused"));
	assert_int_equal(db_payment_failed(pg, &c.claim.id, "refused"), ERR_CONFLICT);
	assert_int_equal(close_as(&c, "settled", "delivered", 60, false), ERR_CONFLICT);
	assert_ok(close_as(&c, "failed", "settlement_failed", 0, true));
	assert_state(&c, "dropped");
	assert_available(&c, "0");
	assert_books("0");
}

struct racer {
	pthread_t thread;
	struct claimed c;
	enum err err;
};

static void *race(void *arg)
{
	struct racer *r = arg;
	struct db *db = db_new(pg_url, 30000);

	r->err = db_payment_claim(db, &r->c.claim, &r->c.job, &r->c.account);
	db_free(db);
	return NULL;
}

static void test_racing_claims(void **state)
{
	struct racer racers[16];
	const struct racer *winner = NULL;

	(void)state;
	for (size_t i = 0; i < 16; i++) {
		racers[i].c = claim_new("exact", 100);
		racers[i].c.claim.nonce = racers[0].c.claim.nonce;
	}
	for (size_t i = 0; i < 16; i++)
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	for (size_t i = 0; i < 16; i++) {
		pthread_join(racers[i].thread, NULL);
		assert_true(racers[i].err == ERR_CONFLICT || (racers[i].err == ERR_OK && !winner));
		if (!racers[i].err)
			winner = &racers[i];
	}
	assert_non_null(winner);
	assert_books("100");
	assert_value("SELECT count(*)::text AS v FROM job WHERE outcome IS NULL", "1");
	assert_ok(close_as(&winner->c, "failed", "node_failed", 0, true));
	assert_books("0");
}

/* Side by side one payer cannot owe more than allowed. */
static void test_exposure(void **state)
{
	struct racer racers[8];
	size_t ok = 0;

	(void)state;
	for (size_t i = 0; i < 8; i++) {
		racers[i].c = claim_new("exact", 100);
		racers[i].c.claim.limited = true;
		racers[i].c.claim.payer_max = amount(300);
		racers[i].c.claim.all_max = amount(100000);
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	for (size_t i = 0; i < 8; i++) {
		pthread_join(racers[i].thread, NULL);
		assert_true(racers[i].err == ERR_OK || racers[i].err == ERR_LIMIT);
		ok += !racers[i].err;
	}
	assert_int_equal(ok, 3);
	assert_books("300");
	struct claimed other = claim_new("exact", 1);
	other.claim.payer.b[1] = 1;
	other.claim.limited = true;
	other.claim.payer_max = amount(300);
	other.claim.all_max = amount(300);
	assert_int_equal(db_payment_claim(pg, &other.claim, &other.job, &other.account), ERR_LIMIT); /* all together */
	for (size_t i = 0; i < 8; i++)
		if (!racers[i].err)
			assert_ok(close_as(&racers[i].c, "failed", "node_failed", 0, true));
	assert_books("0");
}

/* One balance is promised once, by how many authorizations ever: what is open of the payer's is counted, and what is over is not. */
static void test_balance_is_promised_once(void **state)
{
	struct racer racers[8];
	struct claimed ok[3], more;
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < 8; i++) {
		racers[i].c = claim_new(i % 2 ? "exact" : "upto", 100);
		racers[i].c.claim.has_balance = true;
		racers[i].c.claim.balance = amount(399);
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	for (size_t i = 0; i < 8; i++) {
		pthread_join(racers[i].thread, NULL);
		assert_true(racers[i].err == ERR_INSUFFICIENT_FUNDS || (racers[i].err == ERR_OK && n < 3));
		if (!racers[i].err)
			ok[n++] = racers[i].c;
	}
	assert_int_equal(n, 3);
	assert_books("300");
	for (uint64_t has = 369; has <= 370; has++) { /* of what is asked for, only that counts: 30 + 100 + 100 are open, and 140 more fit into 370 */
		more = claim_new("exact", 140);
		more.claim.has_balance = true;
		more.claim.balance = amount(has);
		more.job.background = true;
		if (has == 369)
			assert_ok(db_payment_settle(pg, &ok[0].claim.id, amount(30)));
		assert_int_equal(db_payment_claim(pg, &more.claim, &more.job, &more.account), has == 369 ? ERR_INSUFFICIENT_FUNDS : ERR_OK);
	}
	assert_int_equal(db_payment_claim(pg, &more.claim, &more.job, &more.account), ERR_CONFLICT); /* it is the one that was claimed */
	struct claimed free_of_charge = claim_new("exact", 0);
	free_of_charge.claim.has_balance = true;
	assert_ok(db_payment_claim(pg, &free_of_charge.claim, &free_of_charge.job, &free_of_charge.account));
	assert_ok(close_as(&ok[1], "failed", "node_failed", 0, true));
	assert_ok(close_as(&ok[2], "failed", "node_failed", 0, true));
	assert_ok(db_payment_failed(pg, &more.claim.id, "gone"));
	more = claim_new("exact", 100); /* dropped and failed ones take nothing */
	more.claim.has_balance = true;
	more.claim.balance = amount(130);
	assert_ok(db_payment_claim(pg, &more.claim, &more.job, &more.account));
}

/* One Transfer pays once. */
static void test_one_log_one_payment(void **state)
{
	struct claimed a = claimed("exact", 100), b = claimed("exact", 100);
	const struct hash tx = { { 0xfe } };

	(void)state;
	assert_ok(db_payment_settle(pg, &a.claim.id, amount(100)));
	assert_ok(db_payment_settle(pg, &b.claim.id, amount(100)));
	assert_ok(db_payment_arrived(pg, &a.claim.id, &tx, 3));
	assert_int_equal(db_payment_arrived(pg, &b.claim.id, &tx, 3), ERR_CONFLICT);
	assert_books("100");
	assert_ok(db_payment_arrived(pg, &b.claim.id, &tx, 4));
	assert_ok(close_as(&a, "settled", "delivered", 100, false));
	assert_ok(close_as(&b, "settled", "delivered", 100, false));
	assert_available(&a, "0");
	assert_books("0");
}

static void test_reorganised(void **state)
{
	struct claimed c = claimed("upto", 100);
	int64_t tx;

	(void)state;
	assert_ok(db_payment_settle(pg, &c.claim.id, amount(30)));
	tx = tx_write(&c);
	mined(tx, &c, 0);
	assert_ok(close_as(&c, "settled", "delivered", 30, false));
	assert_books("0");
	for (int i = 0; i < 2; i++) {
		assert_ok(db_settlement_unmined(pg, tx));
		assert_int_equal(db_settlement_unmined(pg, tx), ERR_CONFLICT);
		assert_state(&c, "settling");
		assert_books("30");
		mined(tx, &c, (uint32_t)i);
		assert_state(&c, "settled");
		assert_books("0");
	}
	assert_ok(db_settlement_unmined(pg, tx));
	assert_ok(db_payment_failed(pg, &c.claim.id, "gone")); /* the answer was given long ago */
	assert_state(&c, "lost");
	assert_value("SELECT ledger_balance_of(10)::text AS v", "-30");
	assert_books("0");
	assert_available(&c, "0");
}

/* The key was used by somebody else: its payments wait for another transaction. */
static void test_replaced(void **state)
{
	struct claimed c = claimed("exact", 100);
	struct settling list[4];
	size_t count = 0;
	int64_t tx;
	const struct hash hash = { { 0x70, (uint8_t)(tx_nonces + 1) } };
	enum transfer_of of;

	(void)state;
	assert_ok(db_payment_settle(pg, &c.claim.id, amount(100)));
	tx = tx_write(&c);
	assert_ok(db_transfer_of(pg, &hash, 0, &of));
	assert_int_equal(of, TRANSFER_OURS);
	assert_ok(db_payments_settling(pg, list, 4, &count));
	assert_int_equal(count, 0);
	assert_ok(db_settlement_replaced(pg, tx));
	assert_ok(db_transfer_of(pg, &hash, 0, &of));
	assert_int_equal(of, TRANSFER_OTHERS);
	assert_ok(db_payments_settling(pg, list, 4, &count));
	assert_int_equal(count, 1);
	assert_int_equal(list[0].claim_block, 5);
	json_decref(list[0].payload);
	mined(tx_write(&c), &c, 0);
	assert_ok(close_as(&c, "settled", "delivered", 100, false));
	assert_books("0");
}

/* What had the nonce is gone again, and the first transaction goes through after all: the payment is its own, not the second one's. */
static void test_revived(void **state)
{
	struct claimed c = claimed("exact", 100);
	const struct hash hash = { { 0x70, (uint8_t)(tx_nonces + 1) } };
	struct arrival a = { .payment = c.claim.id, .log = 3 };
	struct settling list[4];
	size_t count = 9;
	int64_t first, second, found = 0, disputed = 9;
	bool replaced = false;
	enum transfer_of of;

	(void)state;
	assert_ok(db_payment_settle(pg, &c.claim.id, amount(100)));
	first = tx_write(&c);
	assert_ok(db_settlement_at_nonce(pg, 84532, &SENDER, tx_nonces - 1, &replaced, &found));
	assert_false(replaced);
	assert_int_equal(db_settlement_revive(pg, first), ERR_CONFLICT);
	assert_ok(db_settlement_replaced(pg, first));
	second = tx_write(&c);
	assert_ok(db_settlement_at_nonce(pg, 84532, &SENDER, tx_nonces - 2, &replaced, &found));
	assert_true(replaced);
	assert_int_equal(found, first);
	assert_int_equal(db_settlement_at_nonce(pg, 84532, &SENDER, 1000, &replaced, &found), ERR_NOT_FOUND);
	assert_ok(db_settlement_revive(pg, first));
	assert_ok(db_settlement_take_over(pg, first, &c.claim.id, 1, list, 4, &count));
	assert_int_equal(count, 1);
	assert_memory_equal(list[0].id.b, c.claim.id.b, sizeof(c.claim.id.b));
	json_decref(list[0].payload);
	assert_ok(settlement_mined(first, true, &hash, 0, &a, 1));
	assert_ok(db_settlement_payments(pg, second, list, 4, &count));
	assert_int_equal(count, 0);
	assert_ok(db_transfer_of(pg, &hash, 3, &of));
	assert_int_equal(of, TRANSFER_CLAIMED);
	assert_ok(db_settlement_disputed(pg, first, &hash, &c.claim.id, 1, &disputed));
	assert_int_equal(disputed, 0);
	assert_ok(db_settlement_disputed(pg, first, &hash, NULL, 0, &disputed)); /* the receipt does not know of it any more */
	assert_int_equal(disputed, 1);
	assert_ok(close_as(&c, "settled", "delivered", 100, false));
	assert_ok(db_settlement_final(pg, first, &hash, NULL, 0));
	assert_books("0");
}

/* A payment that is carried already: nothing of a second transaction for it is written, nor for what it would have carried besides. */
static void test_carried_once(void **state)
{
	struct claimed c = claimed("exact", 100), other = claimed("exact", 100);
	struct signed_tx tx = { .chain_id = 84532, .sender = SENDER, .hash = { { 0x7e } }, .raw = "raw", .raw_len = 3, .max_fee = amount(1) };
	const struct uuid both[2] = { c.claim.id, other.claim.id };
	bool replaced = false;
	int64_t id = 0;

	(void)state;
	assert_ok(db_payment_settle(pg, &c.claim.id, amount(100)));
	assert_ok(db_payment_settle(pg, &other.claim.id, amount(100)));
	id = tx_write(&c);
	tx.nonce = tx_nonces;
	assert_int_equal(db_settlement_write(pg, &tx, both, 2), ERR_CONFLICT);
	assert_int_equal(db_settlement_at_nonce(pg, 84532, &SENDER, tx.nonce, &replaced, &id), ERR_NOT_FOUND);
	mined(id, &c, 0);
	mined(tx_write(&other), &other, 0);
	assert_ok(close_as(&c, "settled", "delivered", 100, false));
	assert_ok(close_as(&other, "settled", "delivered", 100, false));
	assert_books("0");
}

static enum err book_late_again(const struct claimed *c, const struct hash *hash, bool *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_uuid(&p, &c->claim.id);
	db_hash(&p, hash);
	e = db_query_one(pg, "SELECT payment_late($1::uuid, $2, 1) AS done", &p, &r);
	if (!e)
		*ret = db_get_bool(r, 0, "done");
	return e;
}

/* Given up, and then the money comes after all: it is the payer's, once. */
static void test_came_late(void **state)
{
	struct claimed c = claimed("exact", 100);
	const struct hash hash = { { 0x70, (uint8_t)(tx_nonces + 1) } };
	const struct arrival late = { .payment = c.claim.id, .log = 1 };
	struct given_up given_up[1];
	size_t count = 0;
	int64_t tx;
	bool done = false;

	(void)state;
	assert_ok(db_payment_settle(pg, &c.claim.id, amount(100)));
	tx = tx_write(&c);
	assert_ok(settlement_mined(tx, true, &hash, 0, NULL, 0));
	assert_ok(db_payment_failed(pg, &c.claim.id, "gone"));
	assert_ok(db_payments_given_up(pg, &c.claim.id, 1, given_up, &count));
	assert_int_equal(count, 1);
	assert_int_equal(db_settlement_final(pg, tx, &hash, &late, 1), ERR_CONFLICT); /* its job is open: it says first that it failed */
	assert_ok(close_as(&c, "failed", "settlement_failed", 0, true));
	assert_available(&c, "0");
	assert_ok(db_settlement_final(pg, tx, &hash, &late, 1));
	assert_state(&c, "credited");
	assert_available(&c, "100");
	assert_books("0");
	assert_ok(db_payments_given_up(pg, &c.claim.id, 1, given_up, &count));
	assert_int_equal(count, 0);
	assert_int_equal(db_settlement_final(pg, tx, &hash, &late, 1), ERR_CONFLICT);
	assert_available(&c, "100");
	assert_ok(book_late_again(&c, &hash, &done));
	assert_true(done);
	assert_available(&c, "100");
	assert_ok(db_script(pg, "WITH t AS (INSERT INTO ledger_transfer (key, kind) VALUES ('test:spent', 'x402_dropped') RETURNING id)"
				" INSERT INTO ledger_entry (transfer, line, account, amount) SELECT t.id, v.line, v.account, v.amount FROM t,"
				" (VALUES (1, (SELECT id * 16 + 1 FROM account WHERE address = decode(rpad('aa', 40, '0'), 'hex')), -100), (2, 8, 100)) v(line, account, amount)"));
}

/* A job past its deadline is left alone while the chain has not said. */
static void test_reaper_waits_for_the_chain(void **state)
{
	struct claimed c = claimed("exact", 100);
	const struct uuid other = { { 2 } };
	struct uuid taken[4];
	size_t count = 9;

	(void)state;
	assert_ok(db_payment_settle(pg, &c.claim.id, amount(100)));
	assert_ok(db_jobs_reap(pg, &other, 1000, taken, 4, &count));
	assert_int_equal(count, 0);
	assert_ok(db_payment_failed(pg, &c.claim.id, "refused"));
	assert_ok(db_jobs_reap(pg, &other, 1000, taken, 4, &count));
	assert_int_equal(count, 1);
	struct job_close j = closing(&c, "failed", "settlement_failed", 0);
	j.lease = other;
	j.attempt = 2;
	assert_ok(db_payment_close(pg, &c.claim.id, &j, true, NULL));
	assert_books("0");
}

static bool owns(struct db *db, const struct address *whose, int64_t idle_ms)
{
	bool mine = false;

	assert_ok(db_settler_own(db, whose, idle_ms, &mine));
	return mine;
}

/* A key has one owner, turn after turn, until their connection ends or falls silent. */
static void test_one_owner(void **state)
{
	const struct address other = { { 0x5f } };
	struct db *one = db_new(pg_url, 30000), *two = db_new(pg_url, 30000);

	(void)state;
	for (int turn = 0; turn < 3; turn++) {
		assert_true(owns(one, &SENDER, 60000));
		assert_false(owns(two, &SENDER, 60000));
		assert_true(owns(two, &other, 60000));
	}
	assert_false(owns(one, &other, 60000));
	db_free(one);
	while (!owns(two, &SENDER, 60000)) /* the server notices a moment later */
		;
	one = db_new(pg_url, 30000);
	assert_false(owns(one, &SENDER, 60000));
	assert_true(owns(two, &SENDER, 200)); /* and says nothing more */
	while (!owns(one, &SENDER, 60000))
		;
	db_free(one);
	db_free(two);
}

/* Jobs in the background: claimed and asked for at once, and nobody takes one from the queue before its money is there. */
static struct claimed later_new(const char *name)
{
	struct claimed c = claim_new("exact", 100);

	c.job.background = true;
	c.job.body = "x";
	c.job.body_len = 1;
	c.claim.identifier = name;
	c.claim.identifier_window_ms = 60000;
	return c;
}

static struct claimed claimed_for_later(const char *name)
{
	struct claimed c = later_new(name);

	assert_ok(db_payment_claim(pg, &c.claim, &c.job, &c.account));
	assert_state(&c, "settling");
	return c;
}

static size_t queued(void)
{
	struct uuid ids[8];
	size_t count = 0;

	assert_ok(db_jobs_queued(pg, ids, 8, &count));
	return count;
}

static void test_queue_waits_for_the_money(void **state)
{
	struct claimed c = claimed_for_later(NULL), again;
	struct uuid taken[4];
	size_t count = 0;
	int64_t tx;

	(void)state;
	assert_books("100");
	assert_int_equal(queued(), 0);
	tx = tx_write(&c);
	mined(tx, &c, 0);
	assert_int_equal(queued(), 1);
	assert_books("0");
	assert_ok(db_settlement_unmined(pg, tx)); /* taken back: it waits again */
	assert_int_equal(queued(), 0);
	mined(tx, &c, 0);
	assert_ok(db_job_claim(pg, &c.job.id, &ME, 0, &NODE, operator_, amount(1), amount(0)));
	assert_ok(close_as(&c, "settled", "delivered", 60, false));
	assert_available(&c, "40");
	assert_books("0");

	c = claimed_for_later("later_0123456789");
	again = later_new("later_0123456789");
	assert_int_equal(db_payment_claim(pg, &again.claim, &again.job, &again.account), ERR_CONFLICT); /* names hold for these, too */
	assert_ok(db_jobs_reap(pg, &ME, 1000, taken, 4, &count));
	assert_int_equal(count, 0);
	assert_ok(db_payment_failed(pg, &c.claim.id, "refused")); /* nobody waits for its deadline */
	assert_int_equal(queued(), 0);
	assert_ok(db_jobs_reap(pg, &ME, 1000, taken, 4, &count));
	assert_int_equal(count, 1);
	assert_ok(close_as(&c, "failed", "settlement_failed", 0, true));
	assert_available(&c, "40");
	assert_books("0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_delivered), cmocka_unit_test(test_upto), cmocka_unit_test(test_upto_of_nothing), cmocka_unit_test(test_costs_nothing),
		cmocka_unit_test(test_dropped), cmocka_unit_test(test_not_dropped_once_asked_for), cmocka_unit_test(test_racing_claims), cmocka_unit_test(test_exposure),
		cmocka_unit_test(test_one_log_one_payment), cmocka_unit_test(test_reorganised), cmocka_unit_test(test_replaced), cmocka_unit_test(test_revived), cmocka_unit_test(test_carried_once), cmocka_unit_test(test_one_owner), cmocka_unit_test(test_came_late),
		cmocka_unit_test(test_reaper_waits_for_the_chain), cmocka_unit_test(test_queue_waits_for_the_money), cmocka_unit_test(test_balance_is_promised_once),
	};

	return cmocka_run_group_tests(tests, claims_setup, pg_teardown);
}
