/* Parameters in and columns out, in text format. See db.h. */
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "db/internal.h"

struct db_result {
	PGresult *r;
};

/* ---- parameters ---- */

static void push(struct db_params *p, const char *v, char *owned)
{
	if (p->n == DB_PARAMS_MAX)
		abort();
	p->v[p->n] = v;
	p->owned[p->n++] = owned;
}

void db_params_done(struct db_params *p)
{
	for (int i = 0; i < p->n; i++)
		free(p->owned[i]);
	p->n = 0;
}

void db_text(struct db_params *p, const char *s)
{
	push(p, s, NULL);
}

static void push_owned(struct db_params *p, char *s)
{
	push(p, s, s);
}

void db_int(struct db_params *p, int64_t v)
{
	push_owned(p, xasprintf("%" PRId64, v));
}

void db_bool(struct db_params *p, bool v)
{
	push(p, v ? "t" : "f", NULL);
}

void db_amount(struct db_params *p, struct amount a)
{
	push_owned(p, xstrdup(amount_format(a).s));
}

void db_bytes(struct db_params *p, const void *data, size_t len)
{
	char *s;

	if (!data) {
		push(p, NULL, NULL);
		return;
	}
	s = xmalloc(2 * len + 3);
	s[0] = '\\';
	s[1] = 'x';
	hex_encode(data, len, s + 2);
	push_owned(p, s);
}

void db_address(struct db_params *p, const struct address *a)
{
	db_bytes(p, a ? a->b : NULL, sizeof(a->b));
}

void db_hash(struct db_params *p, const struct hash *h)
{
	db_bytes(p, h ? h->b : NULL, sizeof(h->b));
}

void db_uuid(struct db_params *p, const struct uuid *u)
{
	if (u)
		push_owned(p, xstrdup(uuid_format(u).s));
	else
		push(p, NULL, NULL);
}

void db_uuids(struct db_params *p, const struct uuid *u, size_t count)
{
	_cleanup_json_ json_t *list = json_must(json_array());

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_must(json_string(uuid_format(&u[i]).s)));
	db_json(p, list);
}

void db_json(struct db_params *p, const json_t *j)
{
	if (j)
		push_owned(p, json_text(j));
	else
		push(p, NULL, NULL);
}

void db_text_array(struct db_params *p, const char *const *items, size_t count)
{
	struct buf b = BUF_INIT(1 << 20);
	bool ok = buf_puts(&b, "{") == ERR_OK;

	for (size_t i = 0; ok && i < count; i++) {
		ok = buf_puts(&b, i ? ",\"" : "\"") == ERR_OK;
		for (const char *c = items[i]; ok && *c; c++) {
			if (*c == '"' || *c == '\\')
				ok = buf_append(&b, "\\", 1) == ERR_OK;
			if (ok)
				ok = buf_append(&b, c, 1) == ERR_OK;
		}
		if (ok)
			ok = buf_puts(&b, "\"") == ERR_OK;
	}
	if (!ok || buf_puts(&b, "}"))
		abort(); /* arrays here are lists of scopes and ids, bounded by their handlers */
	push_owned(p, buf_steal(&b));
}

/* ---- running ---- */

enum err db_query(struct db *db, const char *sql, const struct db_params *p, struct db_result **ret)
{
	PGresult *r = NULL;
	enum err e = db_run(db, sql, p, &r);

	if (e)
		return e;
	*ret = xmalloc(sizeof(**ret));
	(*ret)->r = r;
	return ERR_OK;
}

enum err db_exec(struct db *db, const char *sql, const struct db_params *p, int64_t *ret_rows_affected)
{
	PGresult *r = NULL;
	enum err e = db_run(db, sql, p, &r);

	if (e)
		return e;
	if (ret_rows_affected) {
		*ret_rows_affected = 0;
		if (sscanf(PQcmdTuples(r), "%" SCNd64, ret_rows_affected) != 1)
			*ret_rows_affected = PQntuples(r);
	}
	PQclear(r);
	return ERR_OK;
}

enum err db_exec_one(struct db *db, const char *sql, const struct db_params *p)
{
	int64_t rows = 0;
	enum err e = db_exec(db, sql, p, &rows);

	return e ? e : rows == 1 ? ERR_OK : ERR_CONFLICT;
}

enum err db_query_one(struct db *db, const char *sql, const struct db_params *p, struct db_result **ret)
{
	struct db_result *r = NULL;
	enum err e = db_query(db, sql, p, &r);

	if (e)
		return e;
	if (db_rows(r) != 1) {
		db_result_free(r);
		return ERR_NOT_FOUND;
	}
	*ret = r;
	return ERR_OK;
}

/* ---- results ---- */

void db_result_free(struct db_result *r)
{
	if (!r)
		return;
	PQclear(r->r);
	free(r);
}

int db_rows(const struct db_result *r)
{
	return PQntuples(r->r);
}

static int column_of(const struct db_result *r, int row, const char *column)
{
	int c = PQfnumber(r->r, column);

	if (c < 0 || row < 0 || row >= PQntuples(r->r)) {
		fprintf(stderr, "no column \"%s\" or row %d in a result\n", column, row);
		abort();
	}
	return c;
}

bool db_is_null(const struct db_result *r, int row, const char *column)
{
	return PQgetisnull(r->r, row, column_of(r, row, column));
}

const char *db_get_text(const struct db_result *r, int row, const char *column)
{
	return PQgetvalue(r->r, row, column_of(r, row, column));
}

int64_t db_get_int(const struct db_result *r, int row, const char *column)
{
	int64_t v = 0;

	if (sscanf(db_get_text(r, row, column), "%" SCNd64, &v) != 1)
		return 0;
	return v;
}

bool db_get_bool(const struct db_result *r, int row, const char *column)
{
	return db_get_text(r, row, column)[0] == 't';
}

struct amount db_get_amount(const struct db_result *r, int row, const char *column)
{
	const char *s = db_get_text(r, row, column);
	struct amount a = AMOUNT_ZERO;

	if (*s && amount_parse(s, strlen(s), &a)) {
		fprintf(stderr, "column \"%s\" holds no amount\n", column);
		abort();
	}
	return a;
}

static void get_fixed(const struct db_result *r, int row, const char *column, uint8_t *ret, size_t len)
{
	const char *s = db_get_text(r, row, column);

	if (strlen(s) != 2 * len + 2 || hex_decode(s + 2, 2 * len, ret, len)) {
		fprintf(stderr, "column \"%s\" does not hold %zu bytes\n", column, len);
		abort();
	}
}

void db_get_address(const struct db_result *r, int row, const char *column, struct address *ret)
{
	get_fixed(r, row, column, ret->b, sizeof(ret->b));
}

void db_get_hash(const struct db_result *r, int row, const char *column, struct hash *ret)
{
	get_fixed(r, row, column, ret->b, sizeof(ret->b));
}

void db_get_uuid(const struct db_result *r, int row, const char *column, struct uuid *ret)
{
	if (uuid_parse(db_get_text(r, row, column), ret))
		abort();
}

char *db_get_bytes(const struct db_result *r, int row, const char *column, size_t *ret_len)
{
	const char *s = db_get_text(r, row, column);
	size_t len = strlen(s) >= 2 ? (strlen(s) - 2) / 2 : 0;
	char *p = xmalloc(len + 1);

	if (len && hex_decode(s + 2, 2 * len, (uint8_t *)p, len))
		abort();
	p[len] = 0;
	*ret_len = len;
	return p;
}

json_t *db_get_json(const struct db_result *r, int row, const char *column)
{
	if (db_is_null(r, row, column))
		return NULL;
	return json_must(json_loads(db_get_text(r, row, column), JSON_DECODE_ANY, NULL));
}
