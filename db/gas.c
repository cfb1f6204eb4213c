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

enum err db_gas_settle(struct db *db, const struct uuid *id, struct amount used)
{
	DB_PARAMS p = { 0 };

	db_uuid(&p, id);
	db_amount(&p, used);
	return db_exec(db, "SELECT gas_settle($1::uuid, $2::numeric)", &p, NULL);
}
