/* The connection: async libpq with our own deadline on every wait. See db.h. No locks: one thread at a time. */
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "db/internal.h"

#define STATEMENTS_MAX 256
#define RETRIES_MAX 3
#define ABANDON_LOOK_MS 100
#define LAST_WORDS_MAX 8 /* reads of 16 KiB at most */

struct db {
	char *url;
	int64_t deadline_ms;
	const atomic_bool *abandon; /* NULL: never */
	PGconn *conn;
	char *statements[STATEMENTS_MAX]; /* prepared on this connection; index is the name */
	size_t statement_count;
	bool in_transaction;
	char error[256];
	char sqlstate[6];
};

struct db *db_new(const char *url, int64_t statement_deadline_ms)
{
	struct db *db = xcalloc(1, sizeof(*db));

	db->url = xstrdup(url);
	db->deadline_ms = statement_deadline_ms;
	return db;
}

int64_t db_deadline_set(struct db *db, int64_t statement_deadline_ms)
{
	int64_t before = db->deadline_ms;

	db->deadline_ms = statement_deadline_ms;
	return before;
}

void db_abandon_on(struct db *db, const atomic_bool *flag)
{
	db->abandon = flag;
}

static void disconnect(struct db *db)
{
	if (db->conn)
		PQfinish(db->conn);
	db->conn = NULL;
	while (db->statement_count > 0)
		free(db->statements[--db->statement_count]);
}

void db_free(struct db *db)
{
	if (!db)
		return;
	disconnect(db);
	free(db->url);
	free(db);
}

const char *db_error(const struct db *db)
{
	return db->error;
}

const char *db_sqlstate(const struct db *db)
{
	return db->sqlstate;
}

static enum err set_error(struct db *db, enum err e, const char *text)
{
	snprintf(db->error, sizeof(db->error), "%s", text ? text : "");
	db->error[strcspn(db->error, "\n")] = 0;
	if (e == ERR_DB_DOWN)
		metric_add(METRIC_DB_ERRORS, 1);
	return e;
}

/* The connection is of no more use: what was running may or may not have happened. */
static enum err lost(struct db *db, const char *text)
{
	enum err e = set_error(db, ERR_DB_DOWN, text);

	snprintf(db->sqlstate, sizeof(db->sqlstate), "08006");
	disconnect(db);
	return e;
}

static bool wait_socket(struct db *db, short events, deadline_ms deadline)
{
	struct pollfd p = { .fd = PQsocket(db->conn), .events = events };

	for (;;) {
		int64_t left = deadline_left(deadline), most = db->abandon ? ABANDON_LOOK_MS : 60000;
		int n = left > 0 ? poll(&p, 1, (int)(left > most ? most : left)) : 0;

		if (n > 0)
			return true;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || deadline_passed(deadline) || (db->abandon && atomic_load(db->abandon)))
			return false;
	}
}

static void ignore_notice(void *arg, const PGresult *res)
{
	(void)arg;
	(void)res;
}

static enum err connect_now(struct db *db, deadline_ms deadline)
{
	db->conn = PQconnectStart(db->url);
	if (!db->conn || PQstatus(db->conn) == CONNECTION_BAD)
		return lost(db, db->conn ? PQerrorMessage(db->conn) : "out of memory");
	for (PostgresPollingStatusType s = PGRES_POLLING_WRITING; s != PGRES_POLLING_OK; s = PQconnectPoll(db->conn)) {
		if (s == PGRES_POLLING_FAILED)
			return lost(db, PQerrorMessage(db->conn));
		if (!wait_socket(db, s == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline))
			return lost(db, "connecting took too long");
	}
	PQsetNoticeReceiver(db->conn, ignore_notice, NULL);
	if (PQsetnonblocking(db->conn, 1) != 0)
		return lost(db, PQerrorMessage(db->conn));
	return ERR_OK;
}

static enum err flush(struct db *db, deadline_ms deadline)
{
	for (;;) {
		int n = PQflush(db->conn);

		if (n == 0)
			return ERR_OK;
		if (n < 0 || !wait_socket(db, POLLIN | POLLOUT, deadline))
			return lost(db, n < 0 ? PQerrorMessage(db->conn) : "the database took too long to read");
		if (PQconsumeInput(db->conn) == 0)
			return lost(db, PQerrorMessage(db->conn));
	}
}

/* Collects results to the end; the last one that matters is kept: the first failure, or else the last result. */
static enum err collect(struct db *db, deadline_ms deadline, PGresult **ret)
{
	PGresult *kept = NULL;
	enum err e = flush(db, deadline);

	if (e)
		return e;
	for (;;) {
		while (PQisBusy(db->conn)) {
			if (!wait_socket(db, POLLIN, deadline) || PQconsumeInput(db->conn) == 0) {
				PQclear(kept);
				return lost(db, "the database did not answer in time");
			}
		}
		PGresult *r = PQgetResult(db->conn);
		if (!r)
			break;
		if (kept && PQresultStatus(kept) == PGRES_FATAL_ERROR) {
			PQclear(r);
			continue;
		}
		PQclear(kept);
		kept = r;
	}
	if (!kept)
		return lost(db, PQerrorMessage(db->conn));
	*ret = kept;
	return ERR_OK;
}

static enum err err_of_sqlstate(const char *s, const PGresult *r)
{
	const char *constraint = PQresultErrorField(r, PG_DIAG_TABLE_NAME);

	if (!strcmp(s, "23505"))
		return ERR_CONFLICT;
	if (!strcmp(s, "OG001") || (!strcmp(s, "23514") && constraint && !strcmp(constraint, "ledger_balance")))
		return ERR_INSUFFICIENT_FUNDS;
	if (!strcmp(s, "OG404"))
		return ERR_NOT_FOUND;
	if (!strcmp(s, "OG409"))
		return ERR_CONFLICT;
	if (!strcmp(s, "40001") || !strcmp(s, "40P01") || !strcmp(s, "55P03"))
		return ERR_OVERLOADED;
	if (!strncmp(s, "08", 2) || !strncmp(s, "53", 2) || !strncmp(s, "57", 2))
		return ERR_DB_DOWN;
	if (!strncmp(s, "23", 2))
		return ERR_UNPROCESSABLE;
	return ERR_INTERNAL;
}

/* Turns a server answer into an err; frees it on failure. */
static enum err judge(struct db *db, PGresult *r, PGresult **ret)
{
	ExecStatusType status = PQresultStatus(r);
	const char *state;
	enum err e;

	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY) {
		db->sqlstate[0] = 0;
		*ret = r;
		return ERR_OK;
	}
	state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	if (!state) {
		PQclear(r);
		return lost(db, PQerrorMessage(db->conn));
	}
	snprintf(db->sqlstate, sizeof(db->sqlstate), "%s", state);
	e = set_error(db, err_of_sqlstate(state, r), PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY));
	PQclear(r);
	if (PQstatus(db->conn) == CONNECTION_BAD)
		disconnect(db);
	return e;
}

static enum err prepare(struct db *db, const char *sql, deadline_ms deadline, size_t *ret_index)
{
	char name[16];
	PGresult *r = NULL;
	enum err e;
	size_t i;

	for (i = 0; i < db->statement_count; i++)
		if (!strcmp(db->statements[i], sql)) {
			*ret_index = i;
			return ERR_OK;
		}
	if (i == STATEMENTS_MAX)
		abort(); /* more statements than the table holds: raise STATEMENTS_MAX */
	snprintf(name, sizeof(name), "s%zu", i);
	if (!PQsendPrepare(db->conn, name, sql, 0, NULL))
		return lost(db, PQerrorMessage(db->conn));
	e = collect(db, deadline, &r);
	if (!e)
		e = judge(db, r, &r);
	if (e)
		return e;
	PQclear(r);
	db->statements[db->statement_count++] = xstrdup(sql);
	*ret_index = i;
	return ERR_OK;
}

/* A server that went away while we were idle has left an end-of-file on the socket, behind its last words if it had any: find it before
 * sending, because after sending nobody knows whether the statement ran. */
static void drop_if_dead(struct db *db)
{
	struct pollfd p = { .events = POLLIN };

	if (!db->conn)
		return;
	p.fd = PQsocket(db->conn);
	for (int i = 0; i < LAST_WORDS_MAX && PQstatus(db->conn) != CONNECTION_BAD && poll(&p, 1, 0) > 0; i++)
		(void)PQconsumeInput(db->conn);
	if (PQstatus(db->conn) == CONNECTION_BAD)
		disconnect(db);
}

static enum err run_once(struct db *db, const char *sql, const struct db_params *p, PGresult **ret)
{
	deadline_ms deadline = deadline_in(db->deadline_ms);
	PGresult *r = NULL;
	char name[16];
	size_t i = 0;
	enum err e = ERR_OK;

	drop_if_dead(db);
	if (!db->conn && db->in_transaction)
		return set_error(db, ERR_DB_DOWN, "the connection was lost inside a transaction");
	if (!db->conn)
		e = connect_now(db, deadline);
	if (!e)
		e = prepare(db, sql, deadline, &i);
	if (e)
		return e;
	snprintf(name, sizeof(name), "s%zu", i);
	if (!PQsendQueryPrepared(db->conn, name, p ? p->n : 0, p ? p->v : NULL, NULL, NULL, 0))
		return lost(db, PQerrorMessage(db->conn));
	e = collect(db, deadline, &r);
	return e ? e : judge(db, r, ret);
}

static void back_off(int attempt)
{
	uint8_t jitter;
	struct timespec t = { 0 };

	random_bytes(&jitter, 1);
	t.tv_nsec = (long)(attempt + 1) * 5000000L + jitter * 20000L;
	nanosleep(&t, NULL);
}

enum err db_run(struct db *db, const char *sql, const struct db_params *p, PGresult **ret)
{
	for (int attempt = 0;; attempt++) {
		enum err e = run_once(db, sql, p, ret);

		/* Inside a transaction the whole transaction retries, not the statement. */
		if (e == ERR_OVERLOADED && !db->in_transaction && attempt < RETRIES_MAX) {
			back_off(attempt);
			continue;
		}
		if (e == ERR_OVERLOADED && !db->in_transaction)
			return set_error(db, ERR_DB_DOWN, "too much contention");
		return e;
	}
}

enum err db_script(struct db *db, const char *sql)
{
	deadline_ms deadline = deadline_in(db->deadline_ms);
	PGresult *r = NULL;
	enum err e = ERR_OK;

	if (!db->conn)
		e = connect_now(db, deadline);
	if (e)
		return e;
	if (!PQsendQuery(db->conn, sql))
		return lost(db, PQerrorMessage(db->conn));
	e = collect(db, deadline, &r);
	if (!e)
		e = judge(db, r, &r);
	if (!e)
		PQclear(r);
	return e;
}

static enum err transaction_once(struct db *db, enum err (*fn)(struct db *db, void *arg), void *arg)
{
	enum err e = db_exec(db, "BEGIN", NULL, NULL);

	if (e)
		return e;
	db->in_transaction = true;
	e = fn(db, arg);
	if (!e)
		e = db_exec(db, "COMMIT", NULL, NULL);
	db->in_transaction = false;
	if (e && db->conn && PQtransactionStatus(db->conn) != PQTRANS_IDLE && db_script(db, "ROLLBACK"))
		disconnect(db);
	return e;
}

enum err db_transaction(struct db *db, enum err (*fn)(struct db *db, void *arg), void *arg)
{
	for (int attempt = 0;; attempt++) {
		enum err e = transaction_once(db, fn, arg);

		if (e != ERR_OVERLOADED)
			return e;
		if (attempt == RETRIES_MAX)
			return set_error(db, ERR_DB_DOWN, "too much contention");
		back_off(attempt);
	}
}
