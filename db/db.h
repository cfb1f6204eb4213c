/* One PostgreSQL connection with our own deadlines over async libpq: a frozen server cannot freeze a thread. Connects lazily,
 * reconnects after loss, prepares each statement once per connection. Used by one thread at a time.
 *
 * Every statement that writes carries its own idempotency (a unique key or a fenced state change), because an error during
 * COMMIT says nothing about whether it committed. */
#ifndef OPGATE_DB_DB_H
#define OPGATE_DB_DB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/amount.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/json.h"

struct db;
struct db_result;

struct db *db_new(const char *url, int64_t statement_deadline_ms); /* does not connect yet */
void db_free(struct db *db);
/* Of the statements from now on; returns what it was. */
int64_t db_deadline_set(struct db *db, int64_t statement_deadline_ms);
/* For statements that may take long and may be left: when *flag is true their wait ends within 100 ms, as if at its deadline. The flag must
 * outlive the connection. */
void db_abandon_on(struct db *db, const atomic_bool *flag);
/* Words of the last failure on this connection, for logs; never holds parameter values. */
const char *db_error(const struct db *db);
const char *db_sqlstate(const struct db *db); /* "" when none */

/* ---- parameters, in order $1… ; text format ---- */
#define DB_PARAMS_MAX 32
struct db_params {
	const char *v[DB_PARAMS_MAX];
	char *owned[DB_PARAMS_MAX]; /* freed by db_params_done */
	int n;
};
#define DB_PARAMS _cleanup_(db_params_done) struct db_params
void db_params_done(struct db_params *p);
void db_text(struct db_params *p, const char *s);  /* NULL is SQL NULL; borrowed */
void db_int(struct db_params *p, int64_t v);
void db_bool(struct db_params *p, bool v);
void db_amount(struct db_params *p, struct amount a);
void db_bytes(struct db_params *p, const void *data, size_t len); /* bytea; NULL data is SQL NULL */
void db_address(struct db_params *p, const struct address *a);    /* bytea; NULL is SQL NULL */
void db_hash(struct db_params *p, const struct hash *h);          /* bytea */
void db_uuid(struct db_params *p, const struct uuid *u);
void db_json(struct db_params *p, const json_t *j);               /* jsonb */
void db_uuids(struct db_params *p, const struct uuid *u, size_t count); /* jsonb, an array of texts */
void db_text_array(struct db_params *p, const char *const *items, size_t count); /* text[] */

/* ---- running ----
 * `sql` is prepared under its own text: keep the number of different texts small and put values in parameters.
 * SQLSTATE → err, once, here: 23505 ERR_CONFLICT; OG001 (raised by our functions on overdraft) and 23514 on ledger_balance
 * ERR_INSUFFICIENT_FUNDS; OG404 ERR_NOT_FOUND; OG409 ERR_CONFLICT; 40001/40P01/55P03 retried 3 times with jitter, then ERR_DB_DOWN;
 * 08*, 53*, 57*, connection loss, deadline ERR_DB_DOWN; other constraint violations ERR_UNPROCESSABLE; else ERR_INTERNAL. */
enum err db_query(struct db *db, const char *sql, const struct db_params *p, struct db_result **ret) WARN_UNUSED; /* p may be NULL */
enum err db_exec(struct db *db, const char *sql, const struct db_params *p, int64_t *ret_rows_affected) WARN_UNUSED; /* ret may be NULL */
/* Changes exactly one row, or ERR_CONFLICT. */
enum err db_exec_one(struct db *db, const char *sql, const struct db_params *p) WARN_UNUSED;
/* Exactly one row or ERR_NOT_FOUND. */
enum err db_query_one(struct db *db, const char *sql, const struct db_params *p, struct db_result **ret) WARN_UNUSED;
/* Several statements, no parameters, one implicit transaction: migrations and tests only. */
enum err db_script(struct db *db, const char *sql) WARN_UNUSED;
/* Runs fn in one transaction; rolls back when it fails; retries the whole on serialization failure or deadlock. */
enum err db_transaction(struct db *db, enum err (*fn)(struct db *db, void *arg), void *arg) WARN_UNUSED;

/* ---- results: columns by name; an unknown column is a bug and aborts ---- */
void db_result_free(struct db_result *r);
static inline void db_result_cleanup(struct db_result **r) { if (*r) db_result_free(*r); }
#define _cleanup_result_ __attribute__((cleanup(db_result_cleanup)))
int db_rows(const struct db_result *r);
bool db_is_null(const struct db_result *r, int row, const char *column);
const char *db_get_text(const struct db_result *r, int row, const char *column); /* "" for NULL; borrowed from r */
int64_t db_get_int(const struct db_result *r, int row, const char *column);
bool db_get_bool(const struct db_result *r, int row, const char *column);
struct amount db_get_amount(const struct db_result *r, int row, const char *column); /* aborts on a negative: use text for deltas */
void db_get_address(const struct db_result *r, int row, const char *column, struct address *ret);
void db_get_hash(const struct db_result *r, int row, const char *column, struct hash *ret);
void db_get_uuid(const struct db_result *r, int row, const char *column, struct uuid *ret);
/* bytea; the caller frees; *ret_len bytes and a NUL. */
char *db_get_bytes(const struct db_result *r, int row, const char *column, size_t *ret_len);
json_t *db_get_json(const struct db_result *r, int row, const char *column); /* new reference; NULL for SQL NULL */

#endif
