/* See gas.h. The sums are kept by the functions of migrations/0008_gas.sql, under the lock of the day's row. */
#include "db/gas.h"

enum err db_gas_reserve(struct db *db, const struct uuid *id, const char *purpose, const struct address *subject, struct amount wei,
			struct amount subject_max, struct amount all_max)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_uuid(&p, id);
	db_text(&p, purpose);
	db_address(&p, subject);
	db_amount(&p, wei);
	db_amount(&p, subject_max);
	db_amount(&p, all_max);
	e = db_query_one(db, "SELECT gas_reserve($1::uuid, $2, $3::bytea, $4::numeric, $5::numeric, $6::numeric) AS ok", &p, &r);
	return e ? e : db_get_bool(r, 0, "ok") ? ERR_OK : ERR_LIMIT;
}

enum err db_gas_room(struct db *db, const char *purpose, const struct address *subject, struct amount wei, struct amount subject_max, struct amount all_max)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_text(&p, purpose);
	db_address(&p, subject);
	db_amount(&p, wei);
	db_amount(&p, subject_max);
	db_amount(&p, all_max);
	e = db_query_one(db, "WITH today AS (SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date AS day)"
			     " SELECT coalesce((SELECT g.wei FROM gas_day g, today t WHERE g.day = t.day AND g.purpose = $1), 0) + $3::numeric <= $5::numeric"
			     " AND coalesce((SELECT s.wei FROM gas_subject_day s, today t WHERE s.day = t.day AND s.purpose = $1 AND s.subject = $2), 0) + $3::numeric"
			     " <= $4::numeric AS ok", &p, &r);
	return e ? e : db_get_bool(r, 0, "ok") ? ERR_OK : ERR_LIMIT;
}

enum err db_gas_settle(struct db *db, const struct uuid *id, struct amount used)
{
	DB_PARAMS p = { 0 };

	db_uuid(&p, id);
	db_amount(&p, used);
	return db_exec(db, "SELECT gas_settle($1::uuid, $2::numeric)", &p, NULL);
}
