/* See audit.h. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "db/audit.h"

enum err settlement_stopped(struct db *db, bool *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_query_one(db, "SELECT settlement_stopped() AS stopped", NULL, &r);

	if (!e)
		*ret = db_get_bool(r, 0, "stopped");
	return e;
}

enum err db_audit_cursor(struct db *db, const struct watch *w, uint64_t start, uint64_t *ret)
{
	DB_PARAMS p = { 0 };
	enum err e;

	db_watch_push(&p, w);
	db_int(&p, (int64_t)start);
	e = db_exec(db, "INSERT INTO audit_cursor (chain_id, token, treasury, number) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING", &p, NULL);
	return e ? e : db_watch_number(db, "SELECT number FROM audit_cursor WHERE chain_id = $1 AND token = $2 AND treasury = $3", w, ret);
}

enum err db_audit_at(struct db *db, const struct watch *w, uint64_t *ret)
{
	return db_watch_number(db, "SELECT coalesce(max(number), 0) AS number FROM audit_cursor WHERE chain_id = $1 AND token = $2 AND treasury = $3", w, ret);
}

enum err db_audit_booked(struct db *db, const struct watch *w, uint64_t *ret)
{
	return db_watch_number(db, "SELECT coalesce(greatest((SELECT number FROM chain_cursor WHERE chain_id = $1 AND token = $2 AND treasury = $3),"
				   " (SELECT max(block_number) FROM settlement_tx WHERE chain_id = $1 AND state IN ('mined', 'final'))), 0) AS number", w, ret);
}

enum err db_audit_block(struct db *db, const struct watch *w, uint64_t number, uint64_t *ret_number, struct hash *ret_hash)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_watch_push(&p, w);
	db_int(&p, (int64_t)number);
	e = db_query_one(db, "SELECT number, hash FROM audit_block WHERE chain_id = $1 AND token = $2 AND treasury = $3 AND number <= $4::bigint ORDER BY number DESC LIMIT 1", &p, &r);
	if (e)
		return e;
	*ret_number = (uint64_t)db_get_int(r, 0, "number");
	db_get_hash(r, 0, "hash", ret_hash);
	return ERR_OK;
}

/* A function that says whether it was the first. */
static enum err ask_first(struct db *db, const char *sql, const struct db_params *p)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_query_one(db, sql, p, &r);

	return e ? e : db_get_bool(r, 0, "done") ? ERR_OK : ERR_CONFLICT;
}

enum err db_audit_advance(struct db *db, const json_t *scope, uint64_t before, uint64_t upto, const struct hash *hash, const json_t *movements, bool sure)
{
	_cleanup_result_ struct db_result *r = NULL;
	const char *status;
	DB_PARAMS p = { 0 };
	enum err e;

	db_json(&p, scope);
	db_int(&p, (int64_t)before);
	db_int(&p, (int64_t)upto);
	db_hash(&p, hash);
	db_json(&p, movements);
	db_bool(&p, sure);
	e = db_query_one(db, "SELECT audit_advance($1::jsonb, $2::bigint, $3::bigint, $4, $5::jsonb, $6::boolean) AS status", &p, &r);
	if (e)
		return e;
	status = db_get_text(r, 0, "status");
	return !strcmp(status, "ok") ? ERR_OK : !strcmp(status, "doubt") ? ERR_IN_PROGRESS : ERR_CONFLICT;
}

enum err db_audit_rewind(struct db *db, const json_t *scope, uint64_t before, uint64_t target)
{
	DB_PARAMS p = { 0 };

	db_json(&p, scope);
	db_int(&p, (int64_t)before);
	db_int(&p, (int64_t)target);
	return ask_first(db, "SELECT audit_rewind($1::jsonb, $2::bigint, $3::bigint) AS done", &p);
}

void audit_questions_free(struct audit_question *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(list[i].kind);
		free(list[i].subject);
		free(list[i].detail);
	}
	free(list);
}

enum err db_audit_questions(struct db *db, const json_t *scope, uint64_t upto, struct audit_question **ret, size_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	struct audit_question *list;
	DB_PARAMS p = { 0 };
	enum err e;

	db_json(&p, scope);
	db_int(&p, (int64_t)upto);
	e = db_query(db, "SELECT * FROM audit_questions($1::jsonb, $2::bigint)", &p, &r);
	if (e)
		return e;
	list = xcalloc((size_t)db_rows(r) + 1, sizeof(*list));
	for (int i = 0; i < db_rows(r); i++) {
		list[i] = (struct audit_question){ .mismatch = db_get_int(r, i, "mismatch"), .ordinal = (uint32_t)db_get_int(r, i, "ordinal"), .claimed = db_get_bool(r, i, "claimed"),
						   .early = db_get_bool(r, i, "early"),
						   .kind = xstrdup(db_get_text(r, i, "kind")), .subject = xstrdup(db_get_text(r, i, "subject")),
						   .detail = xstrdup(db_get_text(r, i, "detail")), .block_number = (uint64_t)db_get_int(r, i, "block_number") };
		db_get_hash(r, i, "tx", &list[i].tx);
		list[i].has_hash = !db_is_null(r, i, "block_hash");
		if (list[i].has_hash)
			db_get_hash(r, i, "block_hash", &list[i].block_hash);
	}
	*ret = list;
	*ret_count = (size_t)db_rows(r);
	return ERR_OK;
}

enum err db_audit_missed(struct db *db, const struct audit_question *q, uint64_t head)
{
	DB_PARAMS p = { 0 };

	db_hash(&p, &q->tx);
	db_int(&p, (int64_t)q->ordinal);
	db_int(&p, (int64_t)head);
	return db_exec(db, "UPDATE payment SET missed_block = $3::bigint WHERE tx_hash = $1 AND log_index = $2::int AND audited_block IS NULL", &p, NULL);
}

enum err db_audit_judge(struct db *db, const json_t *scope, const json_t *movement, json_t **ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_json(&p, scope);
	db_json(&p, movement);
	e = db_query_one(db, "SELECT audit_judge($1::jsonb, $2::jsonb) AS found", &p, &r);
	if (!e)
		*ret = db_get_json(r, 0, "found");
	return e;
}

enum err db_audit_range(struct db *db, const json_t *scope, uint64_t first, uint64_t last, const json_t *movements, struct db_result **ret)
{
	DB_PARAMS p = { 0 };

	db_json(&p, scope);
	db_int(&p, (int64_t)first);
	db_int(&p, (int64_t)last);
	db_json(&p, movements);
	return db_query(db, "SELECT * FROM audit_range($1::jsonb, $2::bigint, $3::bigint, $4::jsonb)", &p, ret);
}

enum err db_audit_elsewhere(struct db *db, const json_t *scope, uint64_t head, struct db_result **ret)
{
	DB_PARAMS p = { 0 };

	db_json(&p, scope);
	db_int(&p, (int64_t)head);
	return db_query(db, "SELECT * FROM audit_elsewhere($1::jsonb, $2::bigint)", &p, ret);
}

/* One statement, so one snapshot. */
#define SQL_CUSTODY \
	"SELECT CASE WHEN booked = rows THEN '' ELSE format('the ledger has %s in custody, the rows say %s', booked, rows) END AS words FROM (SELECT -ledger_balance_of(8) AS booked," \
	" (SELECT coalesce(sum(amount), 0) FROM deposit WHERE state IN ('credited', 'held')) + (SELECT coalesce(sum(amount), 0) FROM payment WHERE state IN ('settled', 'credited'))" \
	" - (SELECT coalesce(sum(amount), 0) FROM payout_transfer) AS rows) s"

enum err db_audit_custody(struct db *db, char **ret_words)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_query_one(db, SQL_CUSTODY, NULL, &r);

	if (!e)
		*ret_words = xstrdup(db_get_text(r, 0, "words"));
	return e;
}

enum err db_mismatch_report(struct db *db, const char *const *kinds, size_t kind_count, const json_t *found)
{
	DB_PARAMS p = { 0 };

	db_text_array(&p, kinds, kind_count);
	db_json(&p, found);
	return db_exec(db, "SELECT mismatch_report($1::text[], $2::jsonb)", &p, NULL);
}

enum err db_mismatch_heal(struct db *db, int64_t id)
{
	DB_PARAMS p = { 0 };

	db_int(&p, id);
	return db_exec(db, "UPDATE mismatch SET healed_at = now() WHERE id = $1::bigint AND healed_at IS NULL", &p, NULL);
}

enum err db_mismatch_resolve(struct db *db, int64_t id, int64_t account, const char *note)
{
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, id);
	db_int(&p, account);
	db_text(&p, note);
	e = ask_first(db, "SELECT mismatch_resolve($1::bigint, $2::bigint, $3) AS done", &p);
	return e == ERR_CONFLICT ? ERR_NOT_FOUND : e;
}

enum err db_books_first_wrong(struct db *db, json_t **ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	json_t *list;
	enum err e = db_query(db, "SELECT * FROM books_first_wrong()", NULL, &r);

	if (e)
		return e;
	list = json_must(json_array());
	for (int i = 0; i < db_rows(r); i++)
		json_array_append_new(list, json_must(json_pack("{s:s, s:s, s:s}", "kind", db_get_text(r, i, "kind"), "subject", db_get_text(r, i, "subject"), "detail",
								  db_get_text(r, i, "detail"))));
	*ret = list;
	return ERR_OK;
}

#define UTC(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
#define SQL_MISMATCHES \
	"SELECT (SELECT count(*) FROM mismatch WHERE healed_at IS NULL AND resolved_at IS NULL) AS stopping," \
	" (SELECT count(*) FROM mismatch WHERE healed_at IS NULL AND tx IS NULL) AS of_books, (SELECT coalesce(jsonb_agg(j ORDER BY n), '[]') FROM (SELECT jsonb_build_object(" \
	"'id', id, 'check', kind, 'subject', subject, 'block', block_number, 'detail', detail, 'first_seen_at', " UTC("first_seen_at") ", 'last_seen_at', " UTC("last_seen_at") \
	", 'healed_at', " UTC("healed_at") ", 'resolved_at', " UTC("resolved_at") ", 'note', note," \
	" 'state', CASE WHEN healed_at IS NOT NULL THEN 'healed' WHEN resolved_at IS NOT NULL THEN 'resolved' ELSE 'open' END) AS j," \
	" row_number() OVER (ORDER BY healed_at IS NOT NULL, resolved_at IS NOT NULL, CASE WHEN healed_at IS NULL THEN id ELSE -id END) AS n" \
	" FROM (SELECT * FROM ((SELECT * FROM mismatch WHERE healed_at IS NULL ORDER BY id LIMIT 20) UNION ALL" \
	" (SELECT * FROM mismatch WHERE healed_at IS NOT NULL ORDER BY id DESC LIMIT 20)) u) x ORDER BY n LIMIT 20) y) AS list"

enum err db_mismatches(struct db *db, int64_t *ret_stopping, int64_t *ret_of_books, json_t **ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_query_one(db, SQL_MISMATCHES, NULL, &r);

	if (e)
		return e;
	*ret_stopping = db_get_int(r, 0, "stopping");
	*ret_of_books = db_get_int(r, 0, "of_books");
	*ret = db_get_json(r, 0, "list");
	return ERR_OK;
}

#define SQL_IN_FLIGHT \
	"SELECT (SELECT count(*) FROM settlement_tx WHERE state = 'signed') AS signed, (SELECT count(*) FROM settlement_tx WHERE state = 'mined') AS mined," \
	" (SELECT count(*) FROM payment WHERE state = 'settling') AS settling, (SELECT coalesce(sum(amount), 0) FROM payment WHERE state = 'settling') AS settling_amount," \
	" custody_in_flight($1) AS unproven, greatest(ledger_balance_of(15), 0) AS unattributed"

enum err db_in_flight(struct db *db, const struct address *payouts, struct in_flight *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_address(&p, payouts);
	e = db_query_one(db, SQL_IN_FLIGHT, &p, &r);

	if (!e)
		*ret = (struct in_flight){ .signed_ = db_get_int(r, 0, "signed"), .mined = db_get_int(r, 0, "mined"), .settling = db_get_int(r, 0, "settling"),
					   .settling_amount = db_get_amount(r, 0, "settling_amount"), .unproven = db_get_amount(r, 0, "unproven"),
					   .unattributed = db_get_amount(r, 0, "unattributed") };
	return e;
}
