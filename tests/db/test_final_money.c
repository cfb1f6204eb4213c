/* What came by x402 is not paid out before it is final on chain: credits, what was earned by them, and what was lost. */
#include "db/audit.h"
#include "db/payouts.h"
#include "pay/audit.h"
#include "tests/db/claims.h"
#include "tests/db/mined.h"

static uint64_t tx_nonces;
static int transfers;

static struct claimed claimed(uint64_t max)
{
	struct claimed c = claim_new("exact", max);

	c.claim.payer.b[1] = nonces; /* each by an account of its own */
	assert_ok(db_payment_claim(pg, &c.claim, &c.job, &c.account));
	assert_ok(db_payment_settle(pg, &c.claim.id, amount(max)));
	return c;
}

struct settling_tx {
	int64_t id;
	struct hash hash;
};

static struct settling_tx tx_write(const struct claimed *c)
{
	struct signed_tx tx = { .chain_id = 84532, .sender = SENDER, .nonce = tx_nonces, .hash = { { 0x71, (uint8_t)(tx_nonces + 1) } }, .raw = "raw", .raw_len = 3,
				.max_fee = amount(1) };
	_cleanup_free_ char *id = NULL;
	struct settling_tx t = { .hash = tx.hash };

	tx_nonces++;
	assert_ok(db_settlement_write(pg, &tx, &c->claim.id, 1));
	id = pg_value("SELECT max(id) AS v FROM settlement_tx");
	assert_int_equal(sscanf(id, "%ld", &t.id), 1);
	return t;
}

static void mined(const struct settling_tx *t, const struct claimed *c, const struct hash *moved_by)
{
	struct arrival a = { .payment = c->claim.id, .log = (uint32_t)tx_nonces };

	assert_ok(settlement_mined(t->id, true, moved_by, 0, &a, 1));
}

static void make_final(const struct settling_tx *t)
{
	assert_ok(db_settlement_final(pg, t->id, &t->hash, NULL, 0));
}

/* Until every transaction that had begun has ended: payouts of earnings cover what is below them all. */
static void quiet(void)
{
	bool is = false;

	for (int i = 0; i < 10000 && !is; i++) {
		_cleanup_free_ char *text = pg_value("SELECT (pg_snapshot_xmin(s) = pg_snapshot_xmax(s))::text AS v FROM pg_current_snapshot() s");

		is = !strcmp(text, "true");
	}
	assert_true(is);
}

/* `most` 0: all. */
static enum err withdraw(int64_t account, enum payout_kind kind, uint64_t most)
{
	const struct amount wanted = amount(most);
	struct payout_ask a = { .id = uuid_new(), .account = account, .kind = kind, .amount = most ? &wanted : NULL, .minimum = amount(1) };

	quiet();
	return db_payout_open(pg, &a);
}

static void assert_not_final(int64_t account, enum payout_kind kind, const char *expected)
{
	struct amount got;

	assert_ok(db_payout_not_final(pg, account, kind, &got));
	assert_string_equal(amount_format(got).s, expected);
}

static void assert_paid_last(const char *expected)
{
	assert_value("SELECT amount AS v FROM payout ORDER BY asked_at DESC LIMIT 1", expected);
}

/* Those under way would keep the next one waiting. */
static void all_returned(void)
{
	assert_ok(db_script(pg, "DO $$ DECLARE o payout; BEGIN FOR o IN SELECT * FROM payout WHERE state = 'pending' LOOP"
				" UPDATE payout SET state = 'sent', tx = (SELECT min(id) FROM settlement_tx) WHERE id = o.id;"
				" PERFORM payout_end(o.id, 'returned', NULL, NULL, 'test'); END LOOP; END $$"));
}

static void move(const char *kind, int64_t from, int64_t to, int sum)
{
	_cleanup_free_ char *sql = xasprintf("WITH t AS (INSERT INTO ledger_transfer (key, kind) VALUES ('test:%d', '%s') RETURNING id)"
					     " INSERT INTO ledger_entry (transfer, line, account, amount) SELECT t.id, v.* FROM t, (VALUES (1, %lld, -%d), (2, %lld, %d)) v(line, account, amount)",
					     ++transfers, kind, (long long)from, sum, (long long)to, sum);

	assert_ok(db_script(pg, sql));
}

/* ---- what is on an account ---- */

static void test_credit_waits(void **state)
{
	struct claimed c = claimed(100);
	struct settling_tx t = tx_write(&c);

	(void)state;
	mined(&t, &c, &t.hash);
	assert_ok(close_as(&c, "failed", "node_failed", 0, false)); /* his own node's, say */
	assert_not_final(c.account, PAYOUT_AVAILABLE, "100");
	assert_int_equal(withdraw(c.account, PAYOUT_AVAILABLE, 100), ERR_INSUFFICIENT_FUNDS);
	assert_int_equal(withdraw(c.account, PAYOUT_AVAILABLE, 0), ERR_LIMIT);
	move("deposit", 8, c.account * 16 + 1, 30);
	assert_int_equal(withdraw(c.account, PAYOUT_AVAILABLE, 31), ERR_INSUFFICIENT_FUNDS);
	assert_ok(withdraw(c.account, PAYOUT_AVAILABLE, 10));
	assert_ok(withdraw(c.account, PAYOUT_AVAILABLE, 0)); /* all there is of the deposit */
	assert_paid_last("20");
	assert_ok(db_settlement_unmined(pg, t.id));
	assert_int_equal(withdraw(c.account, PAYOUT_AVAILABLE, 1), ERR_INSUFFICIENT_FUNDS); /* owed to us again */
	mined(&t, &c, &t.hash);
	assert_int_equal(withdraw(c.account, PAYOUT_AVAILABLE, 1), ERR_INSUFFICIENT_FUNDS);
	make_final(&t);
	assert_not_final(c.account, PAYOUT_AVAILABLE, "0");
	assert_ok(withdraw(c.account, PAYOUT_AVAILABLE, 0));
	assert_paid_last("100");
	all_returned();
	assert_books("0");
}

/* A job that is not over has its money held: only what it did not cost is on the account. */
static void test_only_what_is_credited(void **state)
{
	struct claimed c = claimed(100);
	struct settling_tx t = tx_write(&c);

	(void)state;
	mined(&t, &c, &t.hash);
	assert_not_final(c.account, PAYOUT_AVAILABLE, "0");
	assert_ok(close_as(&c, "settled", "delivered", 60, false));
	assert_not_final(c.account, PAYOUT_AVAILABLE, "40");
	assert_int_equal(withdraw(c.account, PAYOUT_AVAILABLE, 40), ERR_INSUFFICIENT_FUNDS);
	make_final(&t);
	assert_ok(withdraw(c.account, PAYOUT_AVAILABLE, 40));
	all_returned();
}

/* That our own transaction is final says nothing about the one that moved the money. */
static void test_moved_by_another(void **state)
{
	struct claimed c = claimed(100);
	struct settling_tx t = tx_write(&c);
	const struct hash theirs = { { 0x7e } };

	(void)state;
	mined(&t, &c, &theirs);
	assert_ok(close_as(&c, "failed", "node_failed", 0, false));
	make_final(&t);
	assert_int_equal(withdraw(c.account, PAYOUT_AVAILABLE, 100), ERR_INSUFFICIENT_FUNDS);
	assert_ok(db_script(pg, "UPDATE payment SET audited_block = 9 WHERE tx_hash = decode('7e' || repeat('00', 31), 'hex')")); /* the auditor met its log */
	assert_ok(withdraw(c.account, PAYOUT_AVAILABLE, 100));
	all_returned();
}

static void test_lost_is_never_paid_out(void **state)
{
	struct claimed c = claimed(100);
	struct settling_tx t = tx_write(&c);

	(void)state;
	mined(&t, &c, &t.hash);
	assert_ok(close_as(&c, "settled", "delivered", 60, false));
	assert_ok(db_settlement_unmined(pg, t.id));
	assert_ok(db_payment_failed(pg, &c.claim.id, "insufficient"));
	assert_not_final(c.account, PAYOUT_AVAILABLE, "40");
	assert_int_equal(withdraw(c.account, PAYOUT_AVAILABLE, 1), ERR_INSUFFICIENT_FUNDS);
}

/* ---- what was earned ---- */

static void test_earnings_wait(void **state)
{
	struct claimed c = claimed(100), later = claimed(10);
	struct settling_tx t = tx_write(&c), u = tx_write(&later);

	(void)state;
	mined(&t, &c, &t.hash);
	mined(&u, &later, &u.hash);
	move("capture", 8, operator_ * 16 + PAYOUT_OPERATOR, 5); /* of somebody who paid from a deposit */
	assert_ok(close_as(&c, "settled", "delivered", 60, false));
	move("capture", 8, operator_ * 16 + PAYOUT_OPERATOR, 7);
	assert_ok(close_as(&later, "settled", "delivered", 10, false));
	make_final(&u);
	quiet();
	assert_ok(withdraw(operator_, PAYOUT_OPERATOR, 0)); /* what came before */
	assert_paid_last("5");
	assert_not_final(operator_, PAYOUT_OPERATOR, "77"); /* a payout covers what was earned without a gap */
	all_returned();
	make_final(&t);
	assert_not_final(operator_, PAYOUT_OPERATOR, "0");
	assert_ok(withdraw(operator_, PAYOUT_OPERATOR, 0));
	assert_paid_last("82");
	all_returned();
}

/* The schedule takes no more than the account itself could. */
static void test_schedule_waits(void **state)
{
	struct claimed c = claimed(100);
	struct settling_tx t = tx_write(&c);
	struct job_close end = closing(&c, "settled", "delivered", 0);
	int64_t opened = -1;

	(void)state;
	mined(&t, &c, &t.hash);
	end.royalty = amount(50);
	assert_ok(db_payment_close(pg, &c.claim.id, &end, false, NULL));
	assert_ok(db_payout_schedule_set(pg, author, "daily", amount(1)));
	for (int final = 0; final < 2; final++) {
		if (final)
			make_final(&t);
		assert_ok(db_script(pg, "UPDATE payout_setting SET next_at = now() - interval '1 second'"));
		quiet();
		assert_ok(db_payouts_schedule(pg, amount(1), &opened));
		assert_int_equal(opened, final);
	}
	assert_paid_last("50");
	all_returned();
}

/* What is credited is spent at a node of his own, and that one asks to be paid. */
static void test_spent_is_not_final_either(void **state)
{
	int64_t node = add_account(0xfe);
	struct claimed c = claimed(100);
	struct settling_tx t = tx_write(&c);

	(void)state;
	mined(&t, &c, &t.hash);
	assert_ok(close_as(&c, "failed", "node_failed", 0, false));
	move("hold", c.account * 16 + 1, c.account * 16 + 2, 90);
	move("capture", c.account * 16 + 2, node * 16 + PAYOUT_OPERATOR, 90);
	assert_int_equal(withdraw(node, PAYOUT_OPERATOR, 0), ERR_LIMIT);
	assert_not_final(node, PAYOUT_OPERATOR, "90");
	make_final(&t);
	assert_ok(withdraw(node, PAYOUT_OPERATOR, 0));
	all_returned();
}

/* ---- what the auditor met on chain ---- */

static json_t *movement(const struct claimed *c, const struct settling_tx *t, const char *value)
{
	return json_must(json_pack("{s:s, s:i, s:i, s:o, s:s, s:s, s:s}", "tx", hash_format(&t->hash).s + 2, "ordinal", (int)tx_nonces, "block", 9, "hash", json_sprintf("%064d", 9), "from",
				   address_format(&c->claim.payer).s + 2, "to", "9a00000000000000000000000000000000000000", "value", value));
}

/* Of one list each movement is judged for itself. */
static void test_met_by_the_auditor(void **state)
{
	const struct watch watch = { .chain_id = 84532, .token = TOKEN, .treasury = { { 0x7e } } };
	const struct address pay_to = { { 0x9a } };
	const struct hash block = { { 9 } };
	_cleanup_json_ json_t *scope = audit_scope(&watch, &pay_to, &pay_to, 1), *list = json_must(json_array());
	const char *const values[] = { "5", "7", "5" };
	uint64_t at = 1;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct claimed c = claimed(5);
		struct settling_tx t = tx_write(&c);

		mined(&t, &c, &t.hash);
		json_array_append_new(list, movement(&c, &t, values[i]));
	}
	assert_ok(db_audit_cursor(pg, &watch, 0, &at));
	assert_int_equal(db_audit_advance(pg, scope, at, 9, &block, list, false), ERR_IN_PROGRESS);
	assert_ok(db_audit_advance(pg, scope, at, 9, &block, list, true));
	assert_value("SELECT string_agg(coalesce(audited_block, -1)::text, ' ' ORDER BY claimed_at) AS v FROM (SELECT * FROM payment ORDER BY claimed_at DESC LIMIT 3) p", "9 -1 9");
	assert_value("SELECT string_agg(kind, ' ') AS v FROM mismatch", "payment_differs");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_earnings_wait), /* first: the operator has earned nothing yet */
		cmocka_unit_test(test_credit_waits), cmocka_unit_test(test_only_what_is_credited), cmocka_unit_test(test_moved_by_another),
		cmocka_unit_test(test_lost_is_never_paid_out), cmocka_unit_test(test_schedule_waits),
		cmocka_unit_test(test_spent_is_not_final_either), cmocka_unit_test(test_met_by_the_auditor),
	};

	return cmocka_run_group_tests(tests, claims_setup, pg_teardown);
}
