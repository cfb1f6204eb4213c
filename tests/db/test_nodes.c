/* Nodes and offers: who replaces whom, what is a candidate, what stays checkable. */
#include "tests/db/pg.h"

#include "db/nodes.h"

#define PROFILE "{\"engine\":\"test\"}"

static struct address addr(uint8_t n)
{
	struct address a = { { 0 } };
	a.b[19] = n;
	return a;
}

static struct hash digest(uint8_t n)
{
	struct hash h = { { 0 } };
	h.b[31] = n;
	return h;
}

static int setup(void **state)
{
	if (pg_setup(state))
		return -1;
	assert_ok(db_script(pg,
		"INSERT INTO account (address, handle) VALUES (decode(repeat('aa', 20), 'hex'), 'alice');"
		"INSERT INTO model (author, name) SELECT id, 'adder' FROM account WHERE handle = 'alice';"
		"INSERT INTO model_version (model, number, surface, royalty_input, royalty_output, max_output_units, digest, manifest, published_at)"
		" SELECT id, 1, 'tensor', 1, 0, 0, decode(lpad('1', 64, '0'), 'hex'), 'm', now() FROM model;"
		"INSERT INTO model_version (model, number, surface, royalty_input, royalty_output, max_output_units, digest, manifest, published_at)"
		" SELECT id, 2, 'tensor', 1, 0, 0, decode(lpad('2', 64, '0'), 'hex'), 'm', now() FROM model"));
	return 0;
}

static enum err reg(uint8_t node, uint8_t operator_, int64_t issued_at, const char *url)
{
	_cleanup_free_ char *text = xasprintf("%d %d %lld %s", node, operator_, (long long)issued_at, url);
	const struct node_registration r = { .node = addr(node), .operator_ = addr(operator_), .url = url, .issued_at = issued_at, .text = text,
					     .operator_signature = "0x00" };

	return db_node_register(pg, &r);
}

static enum err offer(uint8_t node, const uint8_t *digests, size_t count, uint64_t ask, size_t *ret_bad)
{
	struct offer_new offers[4];
	struct address a = addr(node);

	for (size_t i = 0; i < count; i++) {
		offers[i] = (struct offer_new){ .digest = digest(digests[i]), .ask = { .input = amount_from_u64(ask) },
						.capacity = 3, .precision = "fp32", .profile = PROFILE };
		sha256_of(PROFILE, strlen(PROFILE), &offers[i].profile_hash);
	}
	return db_offers_replace(pg, &a, offers, count, ret_bad);
}

static int64_t version_id(int number)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };

	db_int(&p, number);
	assert_ok(db_query_one(pg, "SELECT id FROM model_version WHERE number = $1", &p, &r));
	return db_get_int(r, 0, "id");
}

/* Who serves what is called so; at most `max` of them. */
static size_t offered_as(const char *ref, int64_t number, int64_t node_timeout_ms, struct offer_row *ret, size_t max)
{
	struct version_row version = { 0 };
	size_t n = 99;

	assert_ok(db_version_offered(pg, ref, node_timeout_ms, &version, ret, max, &n));
	assert_int_equal(version.number, number);
	assert_string_equal(version.model_ref, "alice/adder");
	return n;
}

/* Version 1, by its digest. */
static size_t offered(int64_t node_timeout_ms, struct offer_row *ret, size_t max)
{
	struct hash h = digest(1);
	char ref[80];

	snprintf(ref, sizeof(ref), "sha256:%s", hash_format(&h).s + 2);
	return offered_as(ref, 1, node_timeout_ms, ret, max);
}

static void test_register(void **state)
{
	struct node_row row, again;
	struct address node = addr(1);
	(void)state;

	assert_int_equal(db_node_get(pg, &node, &row), ERR_NOT_FOUND);
	assert_ok(reg(1, 101, 1000, "http://127.0.0.1:1"));
	assert_ok(db_node_get(pg, &node, &row));
	assert_string_equal(row.url, "http://127.0.0.1:1");
	assert_string_equal(row.state, "active");
	assert_int_equal(row.operator_.b[19], 101);
	assert_true(row.heartbeat_age_ms >= 0 && row.heartbeat_age_ms < 60000);

	assert_int_equal(reg(1, 101, 1000, "http://127.0.0.1:2"), ERR_CONFLICT); /* equal time, other content */
	assert_int_equal(reg(1, 101, 999, "http://127.0.0.1:2"), ERR_CONFLICT);
	assert_ok(reg(1, 101, 1000, "http://127.0.0.1:1")); /* the very same */
	assert_ok(reg(1, 102, 1001, "http://127.0.0.1:2"));
	assert_ok(db_node_get(pg, &node, &again));
	assert_string_equal(again.url, "http://127.0.0.1:2");
	assert_int_equal(again.operator_.b[19], 102);
	assert_int_equal(again.registered_at, row.registered_at); /* of the key's first registration */
}

static void test_states(void **state)
{
	struct node_row row;
	struct address node = addr(1), nobody = addr(99);
	size_t bad;
	(void)state;

	assert_ok(db_node_drain(pg, &node));
	assert_ok(db_node_get(pg, &node, &row));
	assert_string_equal(row.state, "draining");
	assert_ok(db_node_heartbeat(pg, &node));
	assert_ok(db_node_get(pg, &node, &row));
	assert_string_equal(row.state, "active");
	assert_int_equal(db_node_heartbeat(pg, &nobody), ERR_NOT_FOUND);
	assert_ok(db_script(pg, "UPDATE node SET state = 'banned'"));
	assert_int_equal(db_node_heartbeat(pg, &node), ERR_FORBIDDEN);
	assert_int_equal(db_node_drain(pg, &node), ERR_FORBIDDEN);
	assert_int_equal(reg(1, 102, 5000, "http://127.0.0.1:2"), ERR_FORBIDDEN);
	assert_int_equal(offer(1, (const uint8_t[]){ 1 }, 1, 5, &bad), ERR_FORBIDDEN);
	assert_ok(db_script(pg, "UPDATE node SET state = 'active'"));
}

static void test_offers(void **state)
{
	struct offer_row rows[4];
	struct address one = addr(1), nobody = addr(99);
	struct hash d1 = digest(1), profile;
	struct node_registered known;
	size_t bad = 9;
	(void)state;

	assert_ok(reg(2, 103, 1000, "http://127.0.0.1:3"));
	assert_ok(offer(1, (const uint8_t[]){ 1, 2 }, 2, 7, &bad));
	assert_ok(offer(2, (const uint8_t[]){ 1 }, 1, 5, &bad));
	assert_int_equal(offer(99, (const uint8_t[]){ 1 }, 1, 5, &bad), ERR_NOT_FOUND);
	assert_int_equal(offered(60000, rows, 4), 2);
	assert_int_equal(rows[0].node.b[19], 2); /* cheapest first */
	assert_string_equal(amount_format(rows[0].ask_input).s, "5");
	assert_string_equal(rows[1].url, "http://127.0.0.1:2");
	assert_int_equal(rows[1].capacity, 3);
	assert_int_equal(offered(60000, rows, 1), 1);

	assert_int_equal(offer(1, (const uint8_t[]){ 2, 7 }, 2, 7, &bad), ERR_UNPROCESSABLE); /* unknown digest: nothing changes */
	assert_int_equal(bad, 1);
	assert_int_equal(offered(60000, rows, 4), 2);
	assert_ok(offer(1, (const uint8_t[]){ 2 }, 1, 7, &bad)); /* the whole set: version 1 is withdrawn */
	assert_int_equal(offered(60000, rows, 4), 1);
	assert_ok(db_node_registered(pg, &one, &d1, &known)); /* it had an offer: receipts stay checkable */
	assert_false(known.ready);
	assert_int_equal(known.operator_.b[19], 102);
	sha256_of(PROFILE, strlen(PROFILE), &profile);
	assert_memory_equal(&known.profile_hash, &profile, sizeof(profile));
	assert_int_equal(db_node_registered(pg, &nobody, &d1, &known), ERR_NOT_FOUND);
}

#define AT(sql) at("SELECT (extract(epoch FROM " sql ") * 1000)::bigint::text AS v")
static int64_t at(const char *sql)
{
	_cleanup_free_ char *text = pg_value(sql);

	return strtoll(text, NULL, 10);
}

/* What node 2 asked itself in that time for version 1, at most `most`: -1 when it never asked so little. */
static int64_t asked(int64_t since, int64_t until, bool changed, uint64_t most)
{
	const struct asked_when when = { .since = since, .until = until, .changed = changed };
	struct address two = addr(2);
	struct amount input, output;
	enum err e = db_offer_asked(pg, version_id(1), &two, &when, amount_from_u64(most), AMOUNT_ZERO, &input, &output);

	assert_true(e == ERR_OK || e == ERR_NOT_FOUND);
	return e ? -1 : strtoll(amount_format(input).s, NULL, 10);
}

static void test_asked_before(void **state)
{
	int64_t past = AT("now() - interval '20 minutes'"), now;
	size_t bad;
	(void)state;

	assert_ok(offer(2, (const uint8_t[]){ 1 }, 1, 50, &bad));
	now = AT("clock_timestamp() + interval '1 second'");
	assert_int_equal(asked(past, now, true, 50), 50);
	assert_int_equal(asked(past, now, true, 49), 5); /* what it asked before */
	assert_int_equal(asked(past, now, true, 4), -1);
	assert_int_equal(asked(past, now, false, 49), -1);
	assert_int_equal(asked(now, now, true, 49), -1); /* not any more by then */
	assert_ok(offer(2, (const uint8_t[]){ 1 }, 1, 50, &bad)); /* the same again is no change */
	assert_int_equal(asked(past, now, true, 49), 5);
	assert_ok(offer(2, NULL, 0, 0, &bad));
	assert_ok(db_script(pg, "UPDATE offer SET updated_at = now() - interval '1 hour' WHERE state = 'withdrawn'"));
	assert_ok(offer(2, (const uint8_t[]){ 1 }, 1, 90, &bad));
	assert_int_equal(asked(past, now, true, 90), 90);
	assert_int_equal(asked(past, now, true, 89), -1); /* nobody could have it for 50 since it was withdrawn */
}

/* An ask in USD moves with the rate: of the rates of a time the one counts that makes it dearest within the bound. */
static void test_asked_in_usd(void **state)
{
	int64_t before, after;
	bool accepted;
	(void)state;

	assert_ok(db_script(pg, "UPDATE offer SET currency = 'USD' WHERE node = decode(lpad('2', 40, '0'), 'hex'); UPDATE offer SET ask_input = 100 WHERE currency = 'USD';"
				"UPDATE offer SET before_until = now() - interval '1 hour'"));
	assert_int_equal(asked(0, AT("clock_timestamp()"), false, UINT64_MAX), -1); /* no rate */
	assert_ok(db_script(pg, "INSERT INTO usd_rate VALUES (true, 3 * 10 ^ 18, now() - interval '2 minutes', now() + interval '1 hour')"));
	before = AT("clock_timestamp() - interval '1 minute'");
	assert_int_equal(asked(before, before, false, 34), 34); /* rounded up, as a price is */
	assert_int_equal(asked(before, before, false, 33), -1);
	assert_ok(db_rate_set(pg, amount_from_u64(1000000000000000000), 60000, 10000, &accepted));
	assert_true(accepted);
	after = AT("clock_timestamp() + interval '1 second'");
	assert_int_equal(asked(before, before, false, 99), 34);
	assert_int_equal(asked(before, after, false, 99), 34);
	assert_int_equal(asked(before, after, false, 100), 100);
	assert_int_equal(asked(after, after, false, 100), 100);
	assert_int_equal(asked(after, after, false, 99), -1);
	assert_ok(db_script(pg, "UPDATE usd_rate_past SET until = now() - interval '8 days'"));
	assert_ok(db_rate_set(pg, amount_from_u64(1000000000000000000), 60000, 10000, &accepted));
	assert_value("SELECT count(*)::text AS v FROM usd_rate_past", "1"); /* what is old goes */
}

static void test_offered_by_name(void **state)
{
	static const char *const nothing[] = { "alice/adder@3", "alice/other", "nobody/adder", "adder", "sha256:00", "" };
	struct version_row version;
	struct offer_row rows[4];
	size_t bad, n;
	(void)state;

	assert_ok(offer(1, (const uint8_t[]){ 1, 2 }, 2, 7, &bad));
	assert_ok(offer(2, (const uint8_t[]){ 1 }, 1, 5, &bad));
	assert_int_equal(offered_as("alice/adder", 2, 60000, rows, 4), 1); /* the newest, and who offers that */
	assert_int_equal(rows[0].node.b[19], 1);
	assert_int_equal(offered_as("alice/adder@1", 1, 60000, rows, 4), 2);
	assert_ok(offer(1, (const uint8_t[]){ 1 }, 1, 7, &bad));
	assert_int_equal(offered_as("alice/adder", 2, 60000, rows, 4), 0); /* it is there all the same */
	for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++)
		assert_int_equal(db_version_offered(pg, nothing[i], 60000, &version, rows, 4, &n), ERR_MODEL_NOT_FOUND);
}

static void test_silence(void **state)
{
	struct offer_row rows[4];
	struct address two = addr(2);
	(void)state;

	assert_ok(db_script(pg, "UPDATE node SET heartbeat_at = now() - interval '20 seconds'"));
	assert_int_equal(offered(15000, rows, 4), 0);
	assert_ok(db_node_heartbeat(pg, &two));
	assert_int_equal(offered(15000, rows, 4), 1);
	assert_ok(db_node_drain(pg, &two));
	assert_int_equal(offered(15000, rows, 4), 0);
}

static void test_show(void **state)
{
	struct node_row rows[2];
	struct address one = addr(1);
	struct hash profile;
	_cleanup_json_ json_t *offers = NULL;
	_cleanup_free_ char *document = NULL;
	size_t n;
	(void)state;

	assert_ok(db_nodes_list(pg, NULL, rows, 2, &n));
	assert_int_equal(n, 2);
	assert_ok(db_nodes_list(pg, &one, rows, 2, &n));
	assert_int_equal(n, 1);
	assert_int_equal(rows[0].address.b[19], 2);
	assert_ok(db_offers_of_node(pg, &one, &offers));
	assert_int_equal(json_array_size(offers), 2);
	assert_string_equal(json_string_value(json_object_get(json_array_get(offers, 0), "model")), "alice/adder");
	assert_string_equal(json_string_value(json_object_get(json_array_get(offers, 0), "state")), "ready");
	assert_string_equal(json_string_value(json_object_get(json_object_get(json_array_get(offers, 0), "ask"), "input")), "7");
	sha256_of(PROFILE, strlen(PROFILE), &profile);
	assert_ok(db_profile_get(pg, &profile, &document));
	assert_string_equal(document, PROFILE);
	profile.b[0] ^= 1;
	free(document);
	document = NULL;
	assert_int_equal(db_profile_get(pg, &profile, &document), ERR_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_register), cmocka_unit_test(test_states), cmocka_unit_test(test_offers), cmocka_unit_test(test_offered_by_name),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_show), cmocka_unit_test(test_asked_before), cmocka_unit_test(test_asked_in_usd),
	};
	return cmocka_run_group_tests(tests, setup, pg_teardown);
}
