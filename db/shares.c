/* Co-authors of a model; see registry.h. How a capture is split is job_close in migrations/0010_payouts.sql. */
#include <stdlib.h>

#include "db/registry.h"

enum err db_model_shares_set(struct db *db, int64_t model, const struct model_share *shares, size_t count)
{
	_cleanup_json_ json_t *list = json_must(json_array());
	DB_PARAMS p = { 0 };

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_must(json_pack("{s:s, s:i}", "address", address_format(&shares[i].address).s + 2, "bps", (int)shares[i].bps)));
	db_int(&p, model);
	db_json(&p, list);
	return db_exec(db, "SELECT model_share_set($1::bigint, $2::jsonb)", &p, NULL);
}

enum err db_model_shares(struct db *db, int64_t model, struct model_share *ret, size_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, model);
	e = db_query(db, "SELECT a.address, s.bps FROM model_share s JOIN account a ON a.id = s.account WHERE s.model = $1::bigint ORDER BY s.place", &p, &r);
	if (e)
		return e;
	*ret_count = 0;
	for (int i = 0; i < db_rows(r) && *ret_count < MODEL_SHARES_MAX; i++) {
		ret[*ret_count].bps = (uint32_t)db_get_int(r, i, "bps");
		db_get_address(r, i, "address", &ret[(*ret_count)++].address);
	}
	return ERR_OK;
}
