/* See data_settlements.h. */
#include <stdio.h>

#include "db/data_settlements.h"

enum err db_data_settlement_add(struct db *db, const struct data_settlement *d, struct uuid *ret_id)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	struct uuid id = uuid_new();
	enum err e;

	db_uuid(&p, &id);
	db_text(&p, d->individual ? "individual" : "batch");
	db_hash(&p, &d->content);
	db_hash(&p, &d->tee_id);
	db_hash(&p, &d->input_hash);
	db_hash(&p, &d->output_hash);
	db_bytes(&p, d->tee_signature, d->tee_signature_len);
	db_int(&p, d->tee_timestamp);
	db_address(&p, d->individual ? &d->eth_address : NULL);
	db_text(&p, d->input);
	db_text(&p, d->output);
	db_int(&p, DATA_QUEUED_MAX);
	e = db_query(db, "INSERT INTO data_settlement AS d (id, type, content, tee_id, input_hash, output_hash, tee_signature, tee_timestamp, eth_address, input, output)"
			 " SELECT $1::uuid, $2, $3, $4, $5, $6, $7, $8::bigint, $9::bytea, $10, $11"
			 " WHERE (SELECT count(*) FROM (SELECT FROM data_settlement WHERE state = 'queued' LIMIT $12::int) q) < $12::int"
			 " ON CONFLICT (content) DO UPDATE SET content = EXCLUDED.content RETURNING d.id", &p, &r);
	if (!e && db_rows(r) == 0)
		return ERR_OVERLOADED;
	if (!e)
		db_get_uuid(r, 0, "id", ret_id);
	return e;
}

enum err db_data_settlement_get(struct db *db, const struct uuid *id, struct data_settlement_row *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_uuid(&p, id);
	e = db_query_one(db, "SELECT id, type = 'individual' AS individual, state, reason, tx_hash, (extract(epoch FROM created_at) * 1000)::bigint AS created_ms,"
			     " (extract(epoch FROM updated_at) * 1000)::bigint AS updated_ms FROM data_settlement WHERE id = $1::uuid", &p, &r);
	if (e)
		return e;
	*ret = (struct data_settlement_row){ .individual = db_get_bool(r, 0, "individual"), .has_tx_hash = !db_is_null(r, 0, "tx_hash"),
					     .created_at = db_get_int(r, 0, "created_ms"), .updated_at = db_get_int(r, 0, "updated_ms") };
	db_get_uuid(r, 0, "id", &ret->id);
	snprintf(ret->state, sizeof(ret->state), "%s", db_get_text(r, 0, "state"));
	snprintf(ret->reason, sizeof(ret->reason), "%s", db_get_text(r, 0, "reason"));
	if (ret->has_tx_hash)
		db_get_hash(r, 0, "tx_hash", &ret->tx_hash);
	return ERR_OK;
}
