/* See ledger.h. */
#include <stdio.h>
#include <string.h>

#include "db/ledger.h"

#define SQL_BALANCE \
	"SELECT a.amount AS available, h.amount AS held, greatest(ledger_balance_of($1::bigint * 16 + 3), 0) AS author," \
	" greatest(ledger_balance_of($1::bigint * 16 + 4), 0) AS operator FROM ledger_balance a, ledger_balance h" \
	" WHERE a.account = $1::bigint * 16 + 1 AND h.account = $1::bigint * 16 + 2"

enum err db_balance(struct db *db, int64_t account, struct balance *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, account);
	e = db_query_one(db, SQL_BALANCE, &p, &r);
	if (e)
		return e;
	ret->available = db_get_amount(r, 0, "available");
	ret->held = db_get_amount(r, 0, "held");
	ret->author = db_get_amount(r, 0, "author");
	ret->operator_ = db_get_amount(r, 0, "operator");
	return ERR_OK;
}

#define SQL_TRANSFERS \
	"SELECT t.id, t.kind, t.job, a.kind AS account, e.amount, to_char(t.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS at, e.line" \
	" FROM (SELECT DISTINCT own.transfer FROM generate_series(1, 4) k CROSS JOIN LATERAL (SELECT DISTINCT x.transfer FROM ledger_entry x" \
	"   WHERE x.account = $1::bigint * 16 + k AND x.transfer < $2::bigint ORDER BY x.transfer DESC LIMIT $3::int) own ORDER BY own.transfer DESC LIMIT $3::int) newest" \
	" JOIN ledger_transfer t ON t.id = newest.transfer JOIN ledger_entry e ON e.transfer = t.id JOIN ledger_account a ON a.id = e.account" \
	" WHERE a.id BETWEEN $1::bigint * 16 + 1 AND $1::bigint * 16 + 4 ORDER BY t.id DESC, e.line"

/* One object a transfer, with the lines that touch the account. */
enum err db_transfers(struct db *db, int64_t account, int64_t after, int limit, json_t **ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	json_t *list, *last = NULL;
	int64_t last_id = 0;
	enum err e;

	db_int(&p, account);
	db_int(&p, after ? after : INT64_MAX);
	db_int(&p, limit + 1);
	e = db_query(db, SQL_TRANSFERS, &p, &r);
	if (e)
		return e;
	list = json_must(json_array());
	for (int i = 0; i < db_rows(r); i++) {
		int64_t id = db_get_int(r, i, "id");

		if (id != last_id) {
			if (json_array_size(list) == (size_t)limit + 1)
				break;
			last = json_must(json_pack("{s:I, s:s, s:o, s:s, s:[]}", "id", (json_int_t)id, "kind", db_get_text(r, i, "kind"), "job",
						   db_is_null(r, i, "job") ? json_null() : json_string(db_get_text(r, i, "job")), "at",
						   db_get_text(r, i, "at"), "entries"));
			json_array_append_new(list, last);
			last_id = id;
		}
		json_array_append_new(json_object_get(last, "entries"), json_must(json_pack("{s:s, s:s}", "account", db_get_text(r, i, "account"), "amount",
											       db_get_text(r, i, "amount"))));
	}
	bool more = json_array_size(list) > (size_t)limit;
	if (more)
		json_array_remove(list, (size_t)limit);
	*ret = json_must(json_pack("{s:s, s:o, s:b, s:{s:s, s:i}}", "object", "list", "data", list, "has_more", more, "asset", "symbol", "OPG", "decimals", 18));
	return ERR_OK;
}

#define SQL_BOOKS \
	"WITH sums AS MATERIALIZED (SELECT account, sum(amount) AS amount FROM ledger_entry GROUP BY account)," \
	" open AS (SELECT account, sum(amount) AS amount FROM hold WHERE state = 'open' GROUP BY account)," \
	" taken AS (SELECT t.job, sum(e.amount) AS amount FROM ledger_transfer t JOIN ledger_entry e ON e.transfer = t.id AND (e.account = 9 OR e.account % 16 IN (3, 4))" \
	"   WHERE t.kind = 'capture' GROUP BY t.job)" \
	" SELECT (SELECT coalesce(sum(amount), 0) FROM sums)::text AS ledger_sum," \
	" (SELECT count(*) FROM ledger_balance b LEFT JOIN sums s ON s.account = b.account WHERE b.amount <> coalesce(s.amount, 0)) AS wrong_balances," \
	" (SELECT count(*) FROM ledger_balance b LEFT JOIN open o ON o.account * 16 + 2 = b.account WHERE b.account % 16 = 2 AND b.amount <> coalesce(o.amount, 0)) AS wrong_holds," \
	" (SELECT count(*) FROM job j JOIN hold h ON h.job = j.id LEFT JOIN taken t ON t.job = j.id WHERE h.state <> 'open'" \
	"   AND (coalesce(j.charged, 0) <> h.captured OR coalesce(t.amount, 0) <> h.captured)) AS wrong_captures," \
	" (SELECT greatest(coalesce(sum(amount), 0), 0) FROM sums WHERE account NOT IN (8, 9, 10, 11)) AS liabilities," \
	" (SELECT greatest(-coalesce(sum(amount), 0), 0) FROM sums WHERE account = 11) AS unsettled," \
	" (SELECT coalesce(sum(amount), 0) FROM payout WHERE state = 'paid') AS paid_out," \
	" (SELECT greatest(-coalesce(sum(amount), 0), 0) FROM sums WHERE account = 8) AS custody"

enum err db_books(struct db *db, struct books *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_query_one(db, SQL_BOOKS, NULL, &r);

	if (e)
		return e;
	snprintf(ret->ledger_sum, sizeof(ret->ledger_sum), "%s", db_get_text(r, 0, "ledger_sum"));
	ret->wrong_balances = db_get_int(r, 0, "wrong_balances");
	ret->wrong_holds = db_get_int(r, 0, "wrong_holds");
	ret->wrong_captures = db_get_int(r, 0, "wrong_captures");
	ret->liabilities = db_get_amount(r, 0, "liabilities");
	ret->unsettled = db_get_amount(r, 0, "unsettled");
	ret->paid_out = db_get_amount(r, 0, "paid_out");
	ret->custody = db_get_amount(r, 0, "custody");
	return ERR_OK;
}

enum err db_fold(struct db *db)
{
	return db_exec(db, "SELECT ledger_fold_now()", NULL, NULL);
}
