/* A database of its own for each test program: TEST_DATABASE_URL names a server (script/with-postgres sets it); a fresh
 * database is made there, migrated, and dropped at the end. */
#ifndef OPGATE_TESTS_DB_PG_H
#define OPGATE_TESTS_DB_PG_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "db/db.h"
#include "db/migrate.h"

static char *pg_url;  /* of the test's database */
static char pg_name[64];
static struct db *pg; /* a connection to it */

#define assert_ok(expr) \
	do { \
		enum err e_ = (expr); \
		if (e_) \
			fail_msg("%s: %s (%s)", #expr, err_info(e_)->code, pg ? db_error(pg) : ""); \
	} while (0)

static void pg_admin(const char *sql_format)
{
	_cleanup_free_ char *sql = xasprintf("%s \"%s\"", sql_format, pg_name);
	struct db *admin = db_new(getenv("TEST_DATABASE_URL"), 30000);
	enum err e = db_script(admin, sql);

	if (e) {
		fprintf(stderr, "%s: %s\n", sql, db_error(admin));
		abort();
	}
	db_free(admin);
}

/* The server's URL with another database name: everything after the last '/' (before '?') is replaced. */
static char *pg_url_for(const char *name)
{
	const char *base = getenv("TEST_DATABASE_URL");
	const char *query = strchr(base, '?');
	size_t end = query ? (size_t)(query - base) : strlen(base);

	while (end > 0 && base[end - 1] != '/')
		end--;
	return xasprintf("%.*s%s%s", (int)end, base, name, query ? query : "");
}

static int pg_setup(void **state)
{
	struct migrate_why why = { "" };
	size_t applied = 0;

	(void)state;
	if (!getenv("TEST_DATABASE_URL")) {
		fprintf(stderr, "TEST_DATABASE_URL is not set: run through ./script/with-postgres\n");
		return -1;
	}
	crypto_init();
	snprintf(pg_name, sizeof(pg_name), "t_%d_%lld", (int)getpid(), (long long)clock_wall_ms());
	pg_admin("CREATE DATABASE");
	pg_url = pg_url_for(pg_name);
	pg = db_new(pg_url, 30000);
	if (db_migrate(pg, &applied, &why)) {
		fprintf(stderr, "migrate: %s\n", why.text);
		return -1;
	}
	return 0;
}

static int pg_teardown(void **state)
{
	(void)state;
	db_free(pg);
	pg_admin("DROP DATABASE IF EXISTS");
	free(pg_url);
	return 0;
}

/* One value of one row, as text; the caller frees. */
static inline char *pg_value(const char *sql)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS none = { 0 };

	assert_ok(db_query(pg, sql, &none, &r));
	assert_int_equal(db_rows(r), 1);
	return xstrdup(db_get_text(r, 0, "v"));
}

/* Until so many statements on the test's database wait for a lock, as seen by another connection. */
static inline void pg_wait_blocked(struct db *look, int64_t count)
{
	int64_t blocked = 0;

	while (blocked < count)
		assert_ok(db_exec(look, "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", NULL, &blocked));
}

/* For the threads that want somebody to tell. */
static inline void log_nothing(const char *event, int64_t number, const char *detail)
{
	(void)event, (void)number, (void)detail;
}

#define assert_value(sql, expected) \
	do { \
		_cleanup_free_ char *v_ = pg_value(sql); \
		assert_string_equal(v_, expected); \
	} while (0)

#endif
