/* Accounts, sign-in nonces, API keys and node nonces against a real database. */
#include "tests/db/pg.h"

#include <pthread.h>

#include "auth/apikey.h"
#include "auth/siwe.h"
#include "db/accounts.h"
#include "db/keys.h"

static struct address address_of(uint8_t n)
{
	struct address a = { { 0 } };
	a.b[0] = 0xaa;
	a.b[19] = n;
	return a;
}

static struct account_row account_of(uint8_t n)
{
	struct address a = address_of(n);
	struct account_row row;
	assert_ok(db_account_ensure(pg, &a, &row));
	return row;
}

static void test_account_once(void **state)
{
	(void)state;
	struct account_row a = account_of(1), b = account_of(1), c = account_of(2), d;
	assert_int_equal(a.id, b.id);
	assert_int_not_equal(a.id, c.id);
	assert_string_equal(a.handle, "");
	assert_true(a.created_at > 1500000000000);
	assert_ok(db_account_get(pg, c.id, &d));
	assert_true(address_equal(&c.address, &d.address));
	assert_int_equal(db_account_get(pg, 999999, &d), ERR_NOT_FOUND);
}

static void test_handle(void **state)
{
	(void)state;
	struct account_row a = account_of(3), b = account_of(4);
	assert_ok(db_account_set_handle(pg, a.id, "alice", &a));
	assert_string_equal(a.handle, "alice");
	assert_ok(db_account_set_handle(pg, a.id, "alice", &a));                    /* again is fine */
	assert_int_equal(db_account_set_handle(pg, a.id, "alicia", &a), ERR_CONFLICT); /* another is not */
	assert_int_equal(db_account_set_handle(pg, b.id, "alice", &b), ERR_CONFLICT);  /* taken */
	assert_int_equal(db_account_set_handle(pg, b.id, "0xabc", &b), ERR_UNPROCESSABLE);
	assert_int_equal(db_account_set_handle(pg, b.id, "Bob", &b), ERR_UNPROCESSABLE);
}

static void test_nonce_works_once(void **state)
{
	(void)state;
	struct siwe_nonce n = siwe_nonce_new();
	const char *both[] = { n.s, "neverstored12345" };
	bool live[2] = { true, true };
	int64_t expires_at;
	assert_ok(db_siwe_nonce_add(pg, n.s, 60000, &expires_at));
	assert_true(expires_at > clock_wall_ms() + 30000 && expires_at < clock_wall_ms() + 90000);
	assert_ok(db_siwe_nonces_use(pg, both, 2, live));
	assert_true(live[0]);
	assert_false(live[1]);
	assert_ok(db_siwe_nonces_use(pg, both, 2, live));
	assert_false(live[0]);
}

static void test_nonce_expires(void **state)
{
	(void)state;
	const char *nonce[] = { "expired123456789" };
	bool live = true;
	int64_t expires_at;
	assert_ok(db_script(pg, "INSERT INTO siwe_nonce (nonce, issued_at, expires_at) VALUES ('expired123456789', now() - interval '10 minutes', now() - interval '1 ms')"));
	assert_ok(db_siwe_nonces_use(pg, nonce, 1, &live));
	assert_false(live);
	/* dead ones go when others come */
	assert_ok(db_script(pg, "INSERT INTO siwe_nonce (nonce, expires_at) SELECT 'deadbeef12345678' || i, now() - interval '1 s' FROM generate_series(1, 15) i"));
	for (int i = 0; i < 2; i++)
		assert_ok(db_siwe_nonce_add(pg, siwe_nonce_new().s, 60000, &expires_at));
	assert_value("SELECT count(*) AS v FROM siwe_nonce WHERE expires_at < now()", "0");
}

#define RACERS 8
static struct siwe_nonce raced;

static void *race(void *arg)
{
	const char *nonce[] = { raced.s };
	bool *won = arg;
	struct db *db = db_new(pg_url, 30000);
	if (db_siwe_nonces_use(db, nonce, 1, won))
		*won = false;
	db_free(db);
	return NULL;
}

static void test_nonce_race(void **state)
{
	(void)state;
	for (int round = 0; round < 10; round++) {
		pthread_t threads[RACERS];
		bool won[RACERS] = { false };
		int64_t expires_at;
		int winners = 0;
		raced = siwe_nonce_new();
		assert_ok(db_siwe_nonce_add(pg, raced.s, 60000, &expires_at));
		for (int i = 0; i < RACERS; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, race, &won[i]), 0);
		for (int i = 0; i < RACERS; i++) {
			pthread_join(threads[i], NULL);
			winners += won[i];
		}
		assert_int_equal(winners, 1);
	}
}

static struct key_row key_make(struct arena *arena, int64_t account, const char *text, int64_t expires_at)
{
	static const char *const scopes[] = { "inference", "read" };
	struct key_new new = { .account = account, .name = "laptop", .prefix = "ogk_abc", .scopes = scopes, .scope_count = 2, .expires_at = expires_at };
	struct key_row row;
	apikey_hash(text, &new.secret_hash);
	assert_ok(db_key_create(pg, arena, &new, &row));
	return row;
}

static enum err key_find(const char *text, struct key_holder *ret)
{
	struct hash h;
	apikey_hash(text, &h);
	return db_key_find(pg, &h, ret);
}

static void test_keys(void **state)
{
	(void)state;
	struct arena *arena = arena_new();
	struct account_row a = account_of(5), b = account_of(6);
	struct key_holder holder;
	struct key_row *rows, row = key_make(arena, a.id, "k1", 0);
	size_t n;
	assert_string_equal(row.scopes, "inference read");
	assert_int_equal(row.expires_at, 0);
	assert_ok(key_find("k1", &holder));
	assert_int_equal(holder.account, a.id);
	assert_int_equal(holder.key, row.id);
	assert_true(address_equal(&holder.address, &a.address));
	assert_int_equal(key_find("k2", &holder), ERR_NOT_FOUND);
	/* somebody else cannot see or revoke it */
	assert_ok(db_keys_list(pg, arena, b.id, 0, 10, &rows, &n));
	assert_int_equal(n, 0);
	assert_int_equal(db_key_revoke(pg, b.id, row.id), ERR_NOT_FOUND);
	assert_ok(key_find("k1", &holder));
	/* dead at once, and again is fine */
	assert_ok(db_key_revoke(pg, a.id, row.id));
	assert_int_equal(key_find("k1", &holder), ERR_NOT_FOUND);
	assert_ok(db_key_revoke(pg, a.id, row.id));
	assert_ok(db_keys_list(pg, arena, a.id, 0, 10, &rows, &n));
	assert_int_equal(n, 1);
	assert_true(rows[0].revoked_at > 0);
	arena_free(arena);
}

static void test_key_expiry(void **state)
{
	(void)state;
	struct arena *arena = arena_new();
	struct account_row a = account_of(7);
	struct key_holder holder;
	int64_t soon = clock_wall_ms() + 3600000;
	struct key_row row = key_make(arena, a.id, "later", soon);
	assert_int_equal(row.expires_at, soon);
	assert_ok(key_find("later", &holder));
	key_make(arena, a.id, "past", clock_wall_ms() - 1000);
	assert_int_equal(key_find("past", &holder), ERR_NOT_FOUND);
	arena_free(arena);
}

static void test_key_paging_and_limit(void **state)
{
	(void)state;
	struct arena *arena = arena_new();
	struct account_row a = account_of(8);
	struct key_row *rows, last = { 0 };
	size_t n;
	for (int i = 0; i < KEYS_LIVE_MAX; i++) {
		char text[32];
		snprintf(text, sizeof(text), "many%d", i);
		last = key_make(arena, a.id, text, 0);
	}
	struct key_new one_more = { .account = a.id, .name = "x", .prefix = "x", .scopes = (const char *const[]){ "read" }, .scope_count = 1 };
	assert_int_equal(db_key_create(pg, arena, &one_more, &last), ERR_LIMIT);
	assert_ok(db_keys_list(pg, arena, a.id, 0, 3, &rows, &n));
	assert_int_equal(n, 3);
	assert_true(rows[0].id > rows[1].id && rows[1].id > rows[2].id);
	int64_t third = rows[2].id;
	assert_ok(db_keys_list(pg, arena, a.id, third, 3, &rows, &n));
	assert_true(n == 3 && rows[0].id < third);
	assert_ok(db_key_revoke(pg, a.id, third));
	assert_ok(db_key_create(pg, arena, &one_more, &last));
	arena_free(arena);
}

static void test_node_nonce(void **state)
{
	(void)state;
	struct account_row operator_ = account_of(9);
	struct address node = address_of(10), stranger = address_of(11);
	struct hash h1 = { { 1 } }, h2 = { { 2 } };
	_cleanup_free_ char *sql = xasprintf("INSERT INTO node (address, operator, url, registration, operator_signature, issued_at) VALUES"
					     " (decode('%s', 'hex'), %lld, 'http://n', '{}', '0x', 1)", address_format(&node).s + 2, (long long)operator_.id);
	assert_ok(db_script(pg, sql));
	assert_ok(db_node_nonce_use(pg, &node, &h1));
	assert_int_equal(db_node_nonce_use(pg, &node, &h1), ERR_CONFLICT);
	assert_ok(db_node_nonce_use(pg, &node, &h2));
	assert_int_equal(db_node_nonce_use(pg, &stranger, &h1), ERR_FORBIDDEN); /* strangers leave no rows */
	assert_value("SELECT count(*) AS v FROM node_nonce", "2");
	assert_ok(db_script(pg, "UPDATE node SET state = 'banned'"));
	struct hash h3 = { { 3 } };
	assert_int_equal(db_node_nonce_use(pg, &node, &h3), ERR_FORBIDDEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_account_once), cmocka_unit_test(test_handle), cmocka_unit_test(test_nonce_works_once), cmocka_unit_test(test_nonce_expires),
		cmocka_unit_test(test_nonce_race), cmocka_unit_test(test_keys), cmocka_unit_test(test_key_expiry), cmocka_unit_test(test_key_paging_and_limit),
		cmocka_unit_test(test_node_nonce),
	};
	return cmocka_run_group_tests(tests, pg_setup, pg_teardown);
}
