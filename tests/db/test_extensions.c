/* x402 extensions in the database: names of payments, sign-ins, and the gas and coin of approvals. Whatever races or is refused, a name
 * is one payment, a challenge one answer, an approval one top-up, and no budget is passed. */
#include <pthread.h>

#include "db/approvals.h"
#include "tests/db/claims.h"
#include "tests/db/mined.h"

#define NAME "pay_0123456789abcdef"
#define HOUR_MS 3600000
static uint64_t tx_nonces;

static void drop(const struct claimed *c)
{
	assert_ok(close_as(c, "failed", "node_failed", 0, true));
}

static void assert_nothing_open(void)
{
	assert_value("SELECT count(*)::text AS v FROM job WHERE outcome IS NULL", "0");
	assert_books("0");
}

/* ---- names ---- */

static struct claimed named_new(const char *name, uint8_t payer, uint8_t request)
{
	struct claimed c = claim_new("exact", 100);

	c.claim.payer.b[5] = payer;
	c.claim.request_digest.b[0] = request;
	c.claim.identifier = name;
	c.claim.identifier_window_ms = HOUR_MS;
	return c;
}

static enum err claim(struct claimed *c)
{
	return db_payment_claim(pg, &c->claim, &c->job, &c->account);
}

static void assert_named(const struct claimed *c, const struct claimed *expected)
{
	_cleanup_payment_row_ struct payment_row row = { 0 };

	assert_ok(db_payment_identified(pg, &c->claim.payer, c->claim.identifier, &row));
	assert_memory_equal(&row.id, &expected->claim.id, sizeof(row.id));
}

static void test_name_is_one_payment(void **state)
{
	struct claimed first = named_new(NAME, 1, 7), again = named_new(NAME, 1, 7), other = named_new(NAME, 1, 8), theirs = named_new(NAME, 2, 7);
	_cleanup_payment_row_ struct payment_row row = { 0 };

	(void)state;
	assert_int_equal(db_payment_identified(pg, &first.claim.payer, NAME, &row), ERR_NOT_FOUND);
	assert_ok(claim(&first));
	assert_int_equal(claim(&again), ERR_CONFLICT);
	assert_int_equal(claim(&other), ERR_CONFLICT);
	assert_books("100"); /* neither of them left anything */
	assert_named(&again, &first);
	assert_ok(claim(&theirs)); /* another payer's name of the same letters */
	assert_named(&theirs, &theirs);
	assert_named(&again, &first);
	drop(&theirs);
	drop(&first);
	/* it was dropped: the same request may be tried again under its name, another may not take it */
	assert_int_equal(claim(&other), ERR_CONFLICT);
	assert_ok(claim(&again));
	assert_named(&first, &again);
	drop(&again);
	assert_nothing_open();
}

static void test_name_is_free_after_the_window(void **state)
{
	struct claimed old = named_new("name-of-long-ago", 1, 7), next = named_new("name-of-long-ago", 1, 9);

	(void)state;
	assert_ok(claim(&old));
	assert_int_equal(claim(&next), ERR_CONFLICT);
	assert_ok(db_script(pg, "UPDATE payment SET claimed_at = claimed_at - interval '1 hour' WHERE state = 'claimed'"));
	assert_ok(claim(&next));
	assert_named(&old, &next);
	drop(&old);
	drop(&next);
	assert_nothing_open();
}

static void test_malformed_names(void **state)
{
	static const char *const names[] = { "fifteen-letters", "sixteen letters!", "" };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct claimed c = named_new(names[i], 1, 7);

		assert_int_equal(claim(&c), ERR_UNPROCESSABLE);
	}
	assert_nothing_open();
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

static size_t race_all(struct racer *racers, size_t count, enum err loser)
{
	size_t won = 0;

	for (size_t i = 0; i < count; i++)
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	for (size_t i = 0; i < count; i++) {
		pthread_join(racers[i].thread, NULL);
		assert_true(racers[i].err == ERR_OK || racers[i].err == loser);
		won += !racers[i].err;
	}
	return won;
}

static void test_racing_names(void **state)
{
	struct racer racers[12];

	(void)state;
	for (size_t i = 0; i < 12; i++)
		racers[i].c = named_new("racing-for-a-name", 3, 7);
	assert_int_equal(race_all(racers, 12, ERR_CONFLICT), 1);
	for (size_t i = 0; i < 12; i++)
		if (!racers[i].err)
			drop(&racers[i].c);
	assert_nothing_open();
}

/* ---- sign-ins ---- */

static void test_signed_in(void **state)
{
	struct claimed old = named_new(NULL, 4, 0x51), newer = named_new(NULL, 4, 0x51), dropped = named_new(NULL, 4, 0x51), other = named_new(NULL, 5, 0x51);
	_cleanup_payment_row_ struct payment_row row = { 0 };

	(void)state;
	assert_ok(claim(&old));
	assert_ok(claim(&newer));
	assert_ok(claim(&dropped));
	assert_ok(claim(&other));
	drop(&dropped);
	assert_ok(db_payment_for_request(pg, &old.claim.payer, &old.claim.request_digest, HOUR_MS, &row));
	assert_memory_equal(&row.id, &newer.claim.id, sizeof(row.id));
	assert_int_equal(db_payment_for_request(pg, &old.claim.payer, &old.claim.nonce, HOUR_MS, &row), ERR_NOT_FOUND);
	assert_ok(db_script(pg, "UPDATE payment SET claimed_at = claimed_at - interval '1 hour' WHERE state = 'claimed'"));
	db_payment_row_done(&row);
	assert_int_equal(db_payment_for_request(pg, &old.claim.payer, &old.claim.request_digest, HOUR_MS, &row), ERR_NOT_FOUND);
	drop(&old);
	drop(&newer);
	drop(&other);
	assert_nothing_open();
	assert_ok(db_siwx_nonce_use(pg, "0123456789abcdef0123456789abcdef", &old.claim.payer, 1000));
	assert_int_equal(db_siwx_nonce_use(pg, "0123456789abcdef0123456789abcdef", &old.claim.payer, 1000), ERR_CONFLICT);
	assert_ok(db_siwx_nonce_use(pg, "0123456789abcdef0123456789abcdef", &other.claim.payer, 1000)); /* others get the same challenge */
	assert_ok(db_siwx_nonce_use(pg, "1123456789abcdef0123456789abcdef", &old.claim.payer, 1000));
}

/* ---- approvals ---- */

static uint8_t hashes;

static struct payment_gas gas_new(uint64_t wei, uint64_t top_up, uint64_t nonce)
{
	return (struct payment_gas){ .wei = amount(wei), .payer_max = amount(1000), .all_max = amount(2300), .raw = top_up ? "raw" : NULL, .raw_len = 3, .hash = { { 0xa9, ++hashes } },
				     .nonce = nonce, .unlimited = true, .top_up = amount(top_up) };
}

static struct claimed sponsored_new(uint8_t payer, const struct payment_gas *gas)
{
	struct claimed c = claim_new("exact", 100);

	c.claim.payer.b[5] = payer;
	c.claim.gas = gas;
	return c;
}

static void assert_reserved(const char *expected)
{
	assert_value("SELECT coalesce(sum(wei), 0)::text AS v FROM gas_day WHERE purpose = 'sponsor'", expected);
}

static void test_gas_is_bounded(void **state)
{
	const struct payment_gas permit = gas_new(400, 0, 0);
	struct racer racers[8];
	struct claimed other = sponsored_new(11, &permit), third = sponsored_new(12, &permit);

	(void)state;
	for (size_t i = 0; i < 8; i++)
		racers[i].c = sponsored_new(10, &permit);
	assert_int_equal(race_all(racers, 8, ERR_FORBIDDEN), 2); /* of one payer: 1000 */
	assert_books("200"); /* where there is no gas, there is no payment */
	assert_reserved("800");
	for (size_t i = 0; i < 8; i++)
		if (!racers[i].err)
			drop(&racers[i].c);
	assert_ok(claim(&other));
	drop(&other);
	other = sponsored_new(11, &permit);
	assert_ok(claim(&other));
	drop(&other);
	assert_ok(claim(&third));
	drop(&third);
	third = sponsored_new(12, &permit);
	assert_int_equal(claim(&third), ERR_FORBIDDEN); /* all together: 2300 */
	assert_reserved("2000");
	assert_nothing_open();
	assert_ok(db_script(pg, "DELETE FROM gas_day; DELETE FROM gas_subject_day"));
}

static struct signed_tx top_up_tx(void)
{
	const uint64_t nonce = tx_nonces++;

	return (struct signed_tx){ .chain_id = 84532, .sender = SENDER, .nonce = nonce, .hash = { { 0x70, (uint8_t)tx_nonces } }, .raw = "raw", .raw_len = 3, .max_fee = amount(1) };
}

static size_t approvals_open(struct approval_row *first)
{
	struct approval_row rows[16];
	size_t count = 0;

	assert_ok(db_approvals_open(pg, 84532, rows, 16, &count));
	for (size_t i = 0; i < count; i++)
		free(rows[i].raw);
	if (count > 0)
		*first = rows[0];
	first->raw = NULL;
	return count;
}

static size_t waiting(bool failed)
{
	struct settling rows[16];
	size_t count = 0;

	assert_ok(failed ? db_payments_unapproved(pg, rows, 16, &count) : db_payments_settling(pg, rows, 16, &count));
	for (size_t i = 0; i < count; i++)
		json_decref(rows[i].payload);
	return count;
}

static void test_approval(void **state)
{
	const struct payment_gas gas = gas_new(300, 200, 4);
	struct claimed c = sponsored_new(20, &gas);
	struct signed_tx tx = top_up_tx(), twin = tx;
	struct approval_row a;
	struct open_tx open[4];
	size_t count = 0;

	(void)state;
	assert_ok(claim(&c));
	assert_ok(db_payment_settle(pg, &c.claim.id, amount(100)));
	assert_int_equal(waiting(false), 0); /* not before it is approved */
	assert_int_equal(approvals_open(&a), 1);
	assert_true(a.state == APPROVAL_WANTED && a.nonce == 4 && a.funding == TOP_UP_NONE && hash_equal(&a.hash, &gas.hash));
	assert_ok(db_approval_fund(pg, &gas.hash, &tx));
	twin.nonce++;
	twin.hash.b[5] = 1;
	assert_int_equal(db_approval_fund(pg, &gas.hash, &twin), ERR_CONFLICT); /* given once */
	assert_value("SELECT count(*)::text AS v FROM settlement_tx", "1");
	assert_ok(db_settlements_open(pg, 84532, &SENDER, open, 4, &count));
	assert_int_equal(count, 1);
	free(open[0].raw);
	assert_ok(settlement_mined(open[0].id, true, &tx.hash, 0, NULL, 0));
	assert_int_equal(approvals_open(&a), 1);
	assert_true(a.state == APPROVAL_FUNDING && a.funding == TOP_UP_MINED && a.funded);
	assert_ok(db_approval_send(pg, &gas.hash));
	assert_int_equal(approvals_open(&a), 1);
	assert_int_equal(a.state, APPROVAL_SENT);
	assert_int_equal(waiting(false), 0);
	assert_ok(db_approval_end(pg, &gas.hash, NULL));
	assert_int_equal(db_approval_end(pg, &gas.hash, "late"), ERR_CONFLICT);
	assert_int_equal(db_approval_send(pg, &gas.hash), ERR_CONFLICT);
	assert_int_equal(approvals_open(&a), 0);
	assert_int_equal(waiting(false), 1);
	assert_reserved("300"); /* what was given stays counted */
	assert_ok(db_payment_failed(pg, &c.claim.id, "refused"));
	assert_ok(close_as(&c, "failed", "settlement_failed", 0, true));
	assert_nothing_open();
}

/* Does the settler's next turn look at approvals? */
static bool looked_at(void)
{
	struct settler_agenda agenda = { 0 };

	assert_ok(db_settler_agenda(pg, &SENDER, 60000, &agenda));
	return agenda.mine && agenda.approvals;
}

static void test_approval_fails(void **state)
{
	const struct payment_gas gas = gas_new(300, 200, 5);
	struct claimed c = sponsored_new(21, &gas), again = sponsored_new(21, &gas);

	(void)state;
	assert_false(looked_at());
	assert_ok(claim(&c));
	assert_ok(db_payment_settle(pg, &c.claim.id, amount(100)));
	assert_true(looked_at());
	assert_int_equal(waiting(true), 0);
	assert_reserved("600");
	assert_ok(db_approval_end(pg, &gas.hash, "it was not mined in time"));
	assert_reserved("300"); /* nothing was given: it is free again */
	assert_int_equal(waiting(false), 0);
	assert_int_equal(waiting(true), 1);
	assert_true(looked_at()); /* also by whoever comes after one that died here: the payment is to be given up */
	assert_int_equal(claim(&again), ERR_FORBIDDEN); /* this one will not be mined */
	assert_ok(db_payment_failed(pg, &c.claim.id, "refused"));
	assert_false(looked_at());
	assert_ok(close_as(&c, "failed", "settlement_failed", 0, true));
	assert_nothing_open();
}

static void test_one_approval_for_many(void **state)
{
	const struct payment_gas gas = gas_new(300, 200, 6), dearer = gas_new(310, 210, 6);
	struct payment_gas bounded = gas_new(300, 200, 7), wider = gas_new(300, 200, 7);
	struct claimed c[5] = { sponsored_new(22, &gas), sponsored_new(22, &gas), sponsored_new(22, &dearer), sponsored_new(22, &bounded), sponsored_new(22, &wider) };

	(void)state;
	bounded.unlimited = false;
	for (size_t i = 0; i < 4; i++)
		assert_ok(claim(&c[i]));
	assert_int_equal(claim(&c[4]), ERR_FORBIDDEN); /* the one on its way may not be enough for both */
	assert_value("SELECT count(*)::text AS v FROM sponsored_approval WHERE state = 'wanted'", "2");
	assert_value("SELECT count(DISTINCT approval)::text AS v FROM payment WHERE state = 'claimed'", "2");
	assert_reserved("900");
	for (size_t i = 0; i < 4; i++)
		drop(&c[i]);
	assert_ok(db_approval_end(pg, &gas.hash, "over"));
	assert_ok(db_approval_end(pg, &bounded.hash, "over"));
	assert_nothing_open();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_name_is_one_payment), cmocka_unit_test(test_name_is_free_after_the_window), cmocka_unit_test(test_malformed_names),
		cmocka_unit_test(test_racing_names), cmocka_unit_test(test_signed_in), cmocka_unit_test(test_gas_is_bounded), cmocka_unit_test(test_approval),
		cmocka_unit_test(test_approval_fails), cmocka_unit_test(test_one_approval_for_many),
	};

	return cmocka_run_group_tests(tests, claims_setup, pg_teardown);
}
