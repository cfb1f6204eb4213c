/* Settling for others in the database: an authorization is claimed once whoever it pays, gas is set aside with the claim, the settler
 * finds it beside the payments, and a reorganisation opens it again. */
#include <pthread.h>

#include "db/data_settlements.h"
#include "db/facilitations.h"
#include "db/gas.h"
#include "db/payments.h"
#include "tests/db/mined.h"
#include "tests/db/pg.h"

#define RACERS 8

static const struct address TOKEN = { { 0x70 } }, PAYER = { { 0xaa } }, SENDER = { { 0x5e } }, SHOP = { { 0x5b } }, OTHER_SHOP = { { 0x5c } };
static uint8_t nonces;
static uint64_t tx_nonces;
static json_t *payload;

static int setup(void **state)
{
	if (pg_setup(state) || db_script(pg, "INSERT INTO account (address) SELECT decode(lpad(to_hex(i), 40, '0'), 'hex') FROM generate_series(1, 3) i"))
		return -1;
	payload = json_must(json_object());
	return db_payee_register(pg, &SHOP, 1, 1000) ? -1 : 0;
}

static int teardown(void **state)
{
	json_decref(payload);
	return pg_teardown(state);
}

static struct facilitation new_one(uint64_t max, uint64_t amount)
{
	nonces++;
	return (struct facilitation){ .id = uuid_new(), .version = 2, .key = { .chain_id = 84532, .verifier = TOKEN, .payer = PAYER, .nonce = { { nonces } } }, .payee = SHOP,
				      .request_digest = { { 7, nonces } }, .scheme = amount == max ? "exact" : "upto", .method = "eip3009", .amount_max = amount_from_u64(max),
				      .amount = amount_from_u64(amount), .payload = payload, .block = 5, .gas = amount_from_u64(10),
				      .gas_payee_max = amount_from_u64(1000000), .gas_all_max = amount_from_u64(1000000) };
}

static struct facilitation claimed(uint64_t amount)
{
	struct facilitation f = new_one(amount, amount);

	assert_ok(db_facilitation_claim(pg, &f));
	return f;
}

static void assert_state(const struct facilitation *f, const char *state)
{
	_cleanup_facilitation_row_ struct facilitation_row row = { 0 };

	assert_ok(db_facilitation_get(pg, &f->id, &row));
	assert_string_equal(row.state, state);
}

static void assert_gas(const struct facilitation *f, const char *used)
{
	_cleanup_free_ char *sql = xasprintf("SELECT coalesce(used::text, 'reserved') AS v FROM gas_reservation WHERE id = '%s'", uuid_format(&f->id).s);

	assert_value(sql, used);
}

/* In one transaction; its id. */
static int64_t sent(const struct facilitation *list, size_t count)
{
	struct signed_tx tx = { .chain_id = 84532, .sender = SENDER, .nonce = tx_nonces, .hash = { { 0x77, (uint8_t)tx_nonces } }, .raw = "raw", .raw_len = 3, .max_fee = amount_from_u64(1) };
	struct uuid ids[4];
	struct open_tx open[8];
	size_t n = 0;
	int64_t id = 0;

	tx_nonces++;
	for (size_t i = 0; i < count; i++)
		ids[i] = list[i].id;
	assert_ok(db_settlement_write(pg, &tx, ids, count));
	assert_ok(db_settlements_open(pg, 84532, &SENDER, open, 8, &n));
	for (size_t i = 0; i < n; i++) {
		if (open[i].nonce == tx.nonce)
			id = open[i].id;
		free(open[i].raw);
	}
	return id;
}

static enum err mined(int64_t tx, uint8_t hash, uint64_t cost, struct arrival *arrived, size_t count)
{
	const struct hash tx_hash = { { 0x88, hash } };

	return settlement_mined(tx, true, &tx_hash, cost, arrived, count);
}

static void test_claim(void **state)
{
	struct facilitation f = claimed(5), again = f, poor, unknown;
	_cleanup_facilitation_row_ struct facilitation_row row = { 0 };
	bool known = false;

	(void)state;
	again.id = uuid_new();
	assert_int_equal(db_facilitation_claim(pg, &again), ERR_CONFLICT);
	assert_ok(db_facilitation_find(pg, &f.key, &row));
	assert_memory_equal(&row.id, &f.id, sizeof(f.id));
	assert_true(hash_equal(&row.request_digest, &f.request_digest) && address_equal(&row.payee, &SHOP) && address_equal(&row.payer, &PAYER));
	assert_string_equal(row.state, "settling");
	assert_ok(db_authorization_known(pg, &f.key, &known));
	assert_true(known);
	unknown = new_one(5, 5);
	unknown.payee = OTHER_SHOP;
	assert_int_equal(db_facilitation_claim(pg, &unknown), ERR_NOT_FOUND);
	poor = new_one(5, 5);
	poor.gas = amount_from_u64(2000000);
	assert_int_equal(db_facilitation_claim(pg, &poor), ERR_LIMIT);
	assert_ok(db_authorization_known(pg, &poor.key, &known));
	assert_false(known); /* a refusal uses nothing up */
	poor.gas = amount_from_u64(10);
	assert_ok(db_facilitation_claim(pg, &poor));
	assert_gas(&poor, "reserved");
	assert_value("SELECT count(*) AS v FROM ledger_transfer", "0");
}

static void test_nothing_to_take(void **state)
{
	struct facilitation f = new_one(5, 0);

	(void)state;
	f.gas_all_max = f.gas_payee_max = AMOUNT_ZERO;
	assert_ok(db_facilitation_claim(pg, &f));
	assert_state(&f, "settled");
	assert_int_equal(db_facilitation_claim(pg, &f), ERR_CONFLICT);
}

static void *race(void *arg)
{
	struct db *db = db_new(pg_url, 30000);
	struct facilitation f = *(struct facilitation *)arg;
	enum err e;

	f.id = uuid_new();
	e = db_facilitation_claim(db, &f);
	db_free(db);
	return (void *)(uintptr_t)(e == ERR_OK ? 1 : e == ERR_CONFLICT ? 0 : 100);
}

static void test_racing(void **state)
{
	struct facilitation f = new_one(5, 5);
	pthread_t threads[RACERS];
	uintptr_t won = 0;

	(void)state;
	for (size_t i = 0; i < RACERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, race, &f), 0);
	for (size_t i = 0; i < RACERS; i++) {
		void *r = NULL;

		assert_int_equal(pthread_join(threads[i], &r), 0);
		won += (uintptr_t)r;
	}
	assert_int_equal(won, 1);
	assert_value("SELECT count(*) - (SELECT count(*) FROM facilitation WHERE amount > 0) AS v FROM gas_reservation", "0"); /* the losers reserved nothing */
}

/* The same authorization, as a payment to us. */
static void test_ours_or_theirs(void **state)
{
	struct facilitation f = claimed(5), g = new_one(5, 5);

	(void)state;
	assert_ok(db_script(pg, "INSERT INTO model (author, name) VALUES (1, 'm');"
				"INSERT INTO model_version (model, number, surface, royalty_input, royalty_output, max_output_units, digest, manifest, published_at)"
				" VALUES (1, 1, 'tensor', 1, 0, 0, decode(repeat('ab', 32), 'hex'), 'x', now())"));
	const struct payment_claim claim = { .id = uuid_new(), .chain_id = 84532, .verifier = TOKEN, .payer = PAYER, .nonce = f.key.nonce, .request_digest = { { 7 } }, .scheme = "exact",
					     .method = "eip3009", .amount_max = amount_from_u64(5), .payload = payload, .block = 5 };
	const struct uuid me = { { 1 } };
	struct job_open job = { .id = uuid_new(), .version = 1, .author = 1, .hold = amount_from_u64(5), .policy = "signed", .path = "/v1/jobs", .content_type = "application/json",
				.input_units_max = 1, .timeout_ms = 60000, .lease = me, .node = { { 9 } }, .operator_ = 2 };
	struct payment_claim ours = claim;
	int64_t account = 0;

	assert_int_equal(db_payment_claim(pg, &ours, &job, &account), ERR_CONFLICT); /* theirs */
	assert_value("SELECT count(*) AS v FROM payment", "0");
	assert_value("SELECT count(*) AS v FROM ledger_transfer", "0");
	ours.nonce = g.key.nonce;
	assert_ok(db_payment_claim(pg, &ours, &job, &account));
	assert_int_equal(db_facilitation_claim(pg, &g), ERR_CONFLICT); /* ours */
}

static void test_settling(void **state)
{
	struct facilitation list[3] = { claimed(5), claimed(6), claimed(7) };
	struct settling items[32];
	size_t count = 0, found = 0;
	struct arrival arrived[2] = { { .payment = list[0].id, .log = 3 }, { .payment = list[1].id, .log = 4 } };
	int64_t tx;

	(void)state;
	assert_ok(db_payments_settling(pg, items, 32, &count));
	for (size_t i = 0; i < count; i++) {
		found += items[i].facilitated && address_equal(&items[i].payee, &SHOP) && !memcmp(&items[i].id, &list[2].id, sizeof(list[2].id));
		json_decref(items[i].payload);
	}
	assert_int_equal(found, 1);
	tx = sent(list, 3);
	assert_ok(mined(tx, 1, 20, arrived, 2));
	for (size_t i = 0; i < 3; i++)
		assert_gas(&list[i], "7"); /* a third of 20, rounded up */
	assert_state(&list[0], "settled");
	assert_ok(db_payment_failed(pg, &list[2].id, "because"));
	assert_state(&list[2], "failed");
	assert_int_equal(db_payment_failed(pg, &list[0].id, "late"), ERR_CONFLICT);
	assert_ok(db_settlement_unmined(pg, tx)); /* all of it is open again: the transaction may end otherwise in another block */
	for (size_t i = 0; i < 3; i++)
		assert_state(&list[i], "settling");
	assert_ok(mined(tx, 1, 300, arrived, 2));
	assert_gas(&list[0], "7"); /* the first word stands */
}

static bool told(const struct facilitation *f)
{
	bool first = false;

	assert_ok(db_facilitation_tell(pg, &f->id, &first));
	return first;
}

/* That it is settled is said once, and not again when a reorganisation had it settled twice. */
static void test_told_once(void **state)
{
	struct facilitation f = claimed(5);
	struct arrival arrived = { .payment = f.id, .log = 9 };
	int64_t tx = sent(&f, 1);

	(void)state;
	assert_false(told(&f)); /* not settled yet */
	assert_ok(mined(tx, 9, 20, &arrived, 1));
	assert_true(told(&f));
	assert_false(told(&f));
	assert_ok(db_settlement_unmined(pg, tx));
	assert_ok(mined(tx, 9, 20, &arrived, 1));
	assert_false(told(&f));
}

static void test_a_transfer_pays_once(void **state)
{
	struct facilitation list[2] = { claimed(5), claimed(5) };
	const struct hash theirs = { { 0x99 } };

	(void)state;
	assert_ok(db_payment_arrived(pg, &list[0].id, &theirs, 1));
	assert_int_equal(db_payment_arrived(pg, &list[1].id, &theirs, 1), ERR_CONFLICT);
	assert_state(&list[1], "settling");
	assert_ok(db_payment_failed(pg, &list[1].id, "never sent"));
	assert_gas(&list[1], "0");
}

static void test_lost_nonce(void **state)
{
	struct facilitation f = claimed(5);
	int64_t tx = sent(&f, 1), next;

	(void)state;
	assert_ok(db_settlement_replaced(pg, tx));
	assert_gas(&f, "reserved");
	next = sent(&f, 1);
	assert_true(next != tx);
}

/* What had the nonce is gone again, and the first transaction settles after all; its receipt says for whom. */
static void test_taken_over(void **state)
{
	struct facilitation f = claimed(5);
	int64_t first = sent(&f, 1), second, disputed = 9;
	const struct hash hash = { { 0x77, (uint8_t)(tx_nonces - 1) } };
	struct arrival a = { .payment = f.id, .log = 3 };
	enum transfer_of of;
	struct settling items[4];
	size_t count = 9;

	(void)state;
	assert_ok(db_settlement_replaced(pg, first));
	second = sent(&f, 1);
	assert_ok(db_settlement_revive(pg, first));
	assert_ok(db_settlement_take_over(pg, first, &f.id, 1, items, 4, &count));
	assert_int_equal(count, 1);
	json_decref(items[0].payload);
	assert_ok(db_settlement_payments(pg, second, items, 4, &count));
	assert_int_equal(count, 0);
	assert_ok(settlement_mined(first, true, &hash, 0, &a, 1));
	assert_state(&f, "settled");
	assert_ok(db_transfer_of(pg, &hash, 3, &of));
	assert_int_equal(of, TRANSFER_CLAIMED);
	assert_ok(db_settlement_disputed(pg, first, &hash, &f.id, 1, &disputed));
	assert_int_equal(disputed, 0);
	assert_ok(db_settlement_disputed(pg, first, &hash, NULL, 0, &disputed)); /* the receipt does not know of it any more */
	assert_int_equal(disputed, 1);
	assert_ok(db_settlement_unmined(pg, first));
	assert_state(&f, "settling");
}

static void test_payees(void **state)
{
	const struct address a = { { 0xa1 } };
	bool known = true;
	json_t *list = NULL;

	(void)state;
	assert_ok(db_payee_known(pg, &a, &known));
	assert_false(known);
	assert_ok(db_payee_register(pg, &a, 2, 5000));
	assert_ok(db_payee_register(pg, &a, 2, 4000)); /* again by the same account */
	assert_ok(db_payee_register(pg, &a, 2, 5000));
	assert_int_equal(db_payee_register(pg, &a, 3, 4999), ERR_CONFLICT);
	assert_int_equal(db_payee_register(pg, &a, 3, 5000), ERR_CONFLICT);
	assert_ok(db_payee_register(pg, &a, 3, 5001));
	for (int64_t round = 0; round < 2; round++) /* anybody, until its owner has asked himself; who that was before is anybody */
		for (int64_t account = 0; account <= 3; account++) {
			assert_ok(db_payee_asks(pg, &a, account, &known));
			assert_int_equal(known, round == 0 || account == 3);
		}
	assert_int_equal(db_payee_delete(pg, &a, 2), ERR_NOT_FOUND);
	assert_ok(db_payees_list(pg, 3, &list));
	assert_int_equal(json_array_size(list), 1);
	json_decref(list);
	assert_ok(db_payee_delete(pg, &a, 3));
	for (uint8_t i = 0; i < PAYEES_MAX; i++) {
		struct address one = { { 0xa2, i } };

		assert_ok(db_payee_register(pg, &one, 2, 1));
	}
	assert_int_equal(db_payee_register(pg, &a, 2, 1), ERR_LIMIT);
}

static void test_data(void **state)
{
	struct data_settlement d = { .content = { { 1 } }, .tee_id = { { 2 } }, .input_hash = { { 3 } }, .output_hash = { { 4 } }, .tee_signature_len = 256, .tee_timestamp = 1700000000 };
	struct data_settlement_row row;
	struct uuid first, second;

	(void)state;
	assert_ok(db_data_settlement_add(pg, &d, &first));
	assert_ok(db_data_settlement_add(pg, &d, &second));
	assert_memory_equal(&first, &second, sizeof(first));
	d.content.b[0] = 9;
	d.individual = true;
	d.input = "in";
	d.output = "out";
	assert_ok(db_data_settlement_add(pg, &d, &second));
	assert_ok(db_data_settlement_get(pg, &second, &row));
	assert_true(row.individual && !row.has_tx_hash);
	assert_string_equal(row.state, "queued");
	assert_value("SELECT string_agg(type || coalesce(input, ''), ' ' ORDER BY type) AS v FROM data_settlement", "batch individualin");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_claim), cmocka_unit_test(test_nothing_to_take), cmocka_unit_test(test_racing), cmocka_unit_test(test_ours_or_theirs),
		cmocka_unit_test(test_settling), cmocka_unit_test(test_told_once), cmocka_unit_test(test_a_transfer_pays_once), cmocka_unit_test(test_lost_nonce), cmocka_unit_test(test_taken_over), cmocka_unit_test(test_payees),
		cmocka_unit_test(test_data),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
