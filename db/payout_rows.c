/* Payouts, settings, earnings and statements as the API shows them; see payouts.h. */
#include <stdlib.h>

#include "db/payouts.h"

#define TIME(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
#define HEX(column) "'0x' || encode(" column ", 'hex')"
#define ASSET "json_build_object('symbol', 'OPG', 'decimals', 18)"

static enum err query_json(struct db *db, const char *sql, const struct db_params *p, json_t **ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_query_one(db, sql, p, &r);

	if (!e)
		*ret = json_must(db_get_json(r, 0, "j"));
	return e;
}

#define SQL_SETTINGS \
	"SELECT json_build_object('address', " HEX("payout_target(c.id)") ", 'schedule', coalesce(s.schedule, 'manual')," \
	" 'minimum', greatest(coalesce(s.minimum, 0), $2::numeric)::text, 'minimum_of_platform', $2::text, 'next_at', " TIME("s.next_at") "," \
	" 'addresses', coalesce((SELECT json_agg(json_build_object('address', " HEX("a.address") ", 'valid', a.valid_at <= clock_timestamp(), 'valid_at', " TIME("a.valid_at") ")" \
	"   ORDER BY a.chosen_at DESC, a.id DESC) FROM payout_address a WHERE a.account = c.id AND a.cancelled_at IS NULL), '[]'), 'asset', " ASSET ") AS j" \
	" FROM account c LEFT JOIN payout_setting s ON s.account = c.id WHERE c.id = $1::bigint"

enum err db_payout_settings(struct db *db, int64_t account, struct amount minimum, json_t **ret)
{
	DB_PARAMS p = { 0 };

	db_int(&p, account);
	db_amount(&p, minimum);
	return query_json(db, SQL_SETTINGS, &p, ret);
}

#define WITHDRAWAL \
	"json_build_object('id', o.id, 'object', 'withdrawal', 'source', l.kind, 'address', " HEX("o.address") ", 'amount', o.amount::text, 'state', o.state," \
	" 'waits_for', o.waits_for, 'asked_by', o.asked_by, 'reason', o.reason, 'transaction', coalesce(" HEX("o.tx_hash") "," \
	"   (SELECT " HEX("v.hash") " FROM settlement_tx_version v WHERE v.tx = o.tx AND o.state = 'sent' ORDER BY v.sent_at DESC LIMIT 1))," \
	" 'asked_at', " TIME("o.asked_at") ", 'ended_at', " TIME("o.ended_at") ", 'asset', " ASSET ")"

enum err db_payout_get(struct db *db, int64_t account, const struct uuid *id, json_t **ret)
{
	DB_PARAMS p = { 0 };

	db_int(&p, account);
	db_uuid(&p, id);
	return query_json(db, "SELECT " WITHDRAWAL " AS j FROM payout o JOIN ledger_account l ON l.id = o.source WHERE o.account = $1::bigint AND o.id = $2::uuid", &p, ret);
}

#define SQL_LIST \
	"SELECT " WITHDRAWAL " AS j FROM payout o JOIN ledger_account l ON l.id = o.source WHERE o.account = $1::bigint" \
	" AND ($2::uuid IS NULL OR (o.asked_at, o.id) < (SELECT x.asked_at, x.id FROM payout x WHERE x.id = $2::uuid AND x.account = $1::bigint))" \
	" ORDER BY o.asked_at DESC, o.id DESC LIMIT $3::int"

enum err db_payouts_list(struct db *db, int64_t account, const struct uuid *after, int limit, json_t **ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	json_t *list;
	enum err e;

	db_int(&p, account);
	if (after)
		db_uuid(&p, after);
	else
		db_text(&p, NULL);
	db_int(&p, limit + 1);
	e = db_query(db, SQL_LIST, &p, &r);
	if (e)
		return e;
	list = json_must(json_array());
	for (int i = 0; i < db_rows(r) && i < limit; i++)
		json_array_append_new(list, json_must(db_get_json(r, i, "j")));
	*ret = json_must(json_pack("{s:s, s:o, s:b}", "object", "list", "data", list, "has_more", db_rows(r) > limit));
	return ERR_OK;
}

/* earned = paid + in flight + available, whatever happens meanwhile: all of one snapshot. */
#define SQL_EARNINGS \
	"SELECT json_object_agg(k.name, json_build_object('earned', (k.available + k.in_flight + k.paid)::text, 'in_flight', k.in_flight::text, 'paid', k.paid::text," \
	" 'available', k.available::text))::jsonb || jsonb_build_object('asset', " ASSET ") AS j" \
	" FROM (SELECT l.kind AS name, ledger_balance_of(l.id) AS available," \
	"  (SELECT coalesce(sum(o.amount), 0) FROM payout o WHERE o.source = l.id AND o.state IN ('pending', 'sent')) AS in_flight," \
	"  (SELECT coalesce(sum(o.amount), 0) FROM payout o WHERE o.source = l.id AND o.state = 'paid') AS paid" \
	"  FROM ledger_account l WHERE l.id IN ($1::bigint * 16 + 3, $1::bigint * 16 + 4)) k"

enum err db_earnings(struct db *db, int64_t account, json_t **ret)
{
	DB_PARAMS p = { 0 };

	db_int(&p, account);
	return query_json(db, SQL_EARNINGS, &p, ret);
}

/* A line's id is transfer * 16 + line: a capture never has more. */
#define SQL_STATEMENT \
	"SELECT e.transfer * 16 + e.line AS id, " TIME("e.at") " AS at, e.job, (SELECT l.kind FROM ledger_account l WHERE l.id = e.account) AS role, coalesce(a.handle, " HEX("a.address") ") || '/' || m.name AS model," \
	" e.amount::text AS amount, o.id AS payout, o.state AS payout_state, " HEX("o.tx_hash") " AS transaction" \
	" FROM generate_series(3, 4) k CROSS JOIN LATERAL (SELECT x.*, y.at, y.job FROM ledger_entry x JOIN ledger_transfer y ON y.id = x.transfer" \
	"   WHERE x.account = $1::bigint * 16 + k AND x.transfer >= $4::bigint / 16 AND x.transfer * 16 + x.line > $4::bigint AND y.kind = 'capture'" \
	"   AND ($2::bigint = 0 OR y.at >= to_timestamp($2::bigint / 1000.0)) AND ($3::bigint = 0 OR y.at < to_timestamp($3::bigint / 1000.0))" \
	"   ORDER BY x.transfer, x.line LIMIT $5::int) e" \
	" JOIN job j ON j.id = e.job JOIN model_version v ON v.id = j.version JOIN model m ON m.id = v.model" \
	" JOIN account a ON a.id = m.author" \
	" LEFT JOIN LATERAL (SELECT * FROM payout c WHERE c.source = e.account AND c.upto_xid > e.xid AND c.state <> 'returned' AND c.upto_xid IS NOT NULL" \
	"   ORDER BY c.upto_xid LIMIT 1) o ON true" \
	" ORDER BY e.transfer, e.line LIMIT $5::int"

enum err db_statement(struct db *db, const struct statement_query *q, struct db_result **ret)
{
	DB_PARAMS p = { 0 };

	db_int(&p, q->account);
	db_int(&p, q->from);
	db_int(&p, q->to);
	db_int(&p, q->after);
	db_int(&p, q->limit + 1);
	return db_query(db, SQL_STATEMENT, &p, ret);
}
