/* See rates.h. */
#include "db/rates.h"

const char *listed_currency(const struct listed_price *p)
{
	return p->usd ? "USD" : "OPG";
}

enum err db_rate_get(struct db *db, struct usd_rate *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_query_one(db, "SELECT value, (extract(epoch FROM at) * 1000)::bigint AS at, (extract(epoch FROM good_until) * 1000)::bigint AS good_until,"
		" good_until > clock_timestamp() AS good FROM usd_rate", NULL, &r);

	if (e)
		return e;
	*ret = (struct usd_rate){ .value = db_get_amount(r, 0, "value"), .at = db_get_int(r, 0, "at"), .good_until = db_get_int(r, 0, "good_until"),
				  .good = db_get_bool(r, 0, "good") };
	return ERR_OK;
}

enum err db_rate_set(struct db *db, struct amount value, int64_t max_age_ms, int64_t jump_bps, bool *ret_accepted)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_amount(&p, value);
	db_int(&p, max_age_ms);
	db_int(&p, jump_bps);
	e = db_query_one(db, "SELECT usd_rate_set($1, $2, $3) AS accepted", &p, &r);
	if (!e)
		*ret_accepted = db_get_bool(r, 0, "accepted");
	return e;
}
