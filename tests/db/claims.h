/* Claimed x402 payments for tests: a published version, a payer, and claims that differ in nothing but their nonce. */
#ifndef OPGATE_TESTS_DB_CLAIMS_H
#define OPGATE_TESTS_DB_CLAIMS_H

#include "db/ledger.h"
#include "db/payments.h"
#include "tests/db/pg.h"

static const struct uuid ME = { { 1 } };
static const struct address NODE = { { 9 } }, TOKEN = { { 0x70 } }, PAYER = { { 0xaa } }, SENDER = { { 0x5e } };
static int64_t author, operator_;
static uint8_t nonces;

static int64_t add_account(int n)
{
	_cleanup_free_ char *sql = xasprintf("WITH a AS (INSERT INTO account (address) VALUES (decode(lpad('%x', 40, '0'), 'hex')) RETURNING id) SELECT id AS v FROM a", n);
	_cleanup_free_ char *id = pg_value(sql);
	int64_t v = 0;

	assert_int_equal(sscanf(id, "%ld", &v), 1);
	return v;
}

static int claims_setup(void **state)
{
	if (pg_setup(state))
		return -1;
	author = add_account(2);
	operator_ = add_account(3);
	return db_script(pg, "INSERT INTO model (author, name) VALUES (1, 'm');"
			     "INSERT INTO model_version (model, number, surface, royalty_input, royalty_output, max_output_units, digest, manifest, published_at)"
			     " VALUES (1, 1, 'tensor', 1, 0, 0, decode(repeat('ab', 32), 'hex'), 'x', now())") ? -1 : 0;
}

static struct amount amount(uint64_t v)
{
	return amount_from_u64(v);
}

struct claimed {
	struct payment_claim claim;
	struct job_open job;
	int64_t account;
};

static struct claimed claim_new(const char *scheme, uint64_t max)
{
	static json_t *payload;
	struct claimed c = { .claim = { .id = uuid_new(), .chain_id = 84532, .verifier = TOKEN, .payer = PAYER, .nonce = { { ++nonces } }, .request_digest = { { 7 } },
					.scheme = scheme, .method = "eip3009", .amount_max = amount(max), .block = 5 },
			     .job = { .id = uuid_new(), .version = 1, .author = author, .hold = amount(max), .policy = "signed", .path = "/v1/jobs",
				      .content_type = "application/json", .input_units_max = 1, .timeout_ms = 60000, .lease = ME, .node = NODE, .operator_ = operator_ } };

	if (!payload)
		payload = json_must(json_object());
	c.claim.payload = payload;
	return c;
}

static struct job_close closing(const struct claimed *c, const char *state, const char *outcome, uint64_t ask)
{
	return (struct job_close){ .id = c->job.id, .account = c->account, .leased = true, .lease = ME, .attempt = 1, .state = state, .outcome = outcome, .ask = amount(ask),
				   .input_units = -1, .output_units = -1 };
}

static enum err close_as(const struct claimed *c, const char *state, const char *outcome, uint64_t ask, bool dropped)
{
	struct job_close j = closing(c, state, outcome, ask);

	return db_payment_close(pg, &c->claim.id, &j, dropped, dropped ? outcome : NULL);
}

static void assert_books(const char *unsettled)
{
	struct books b;

	assert_ok(db_books(pg, &b));
	assert_string_equal(b.ledger_sum, "0");
	assert_int_equal(b.wrong_balances, 0);
	assert_int_equal(b.wrong_holds, 0);
	assert_int_equal(b.wrong_captures, 0);
	assert_string_equal(amount_format(b.unsettled).s, unsettled);
}

#endif
