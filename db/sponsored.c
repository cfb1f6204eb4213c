/* See sponsored.h. */
#include <string.h>

#include "base/mem.h"
#include "db/sponsored.h"

enum err db_sponsored_open(struct db *db, const struct sponsored_new *d)
{
	_cleanup_result_ struct db_result *r = NULL;
	_cleanup_json_ json_t *o = json_must(json_pack("{s:s, s:I, s:I, s:o, s:s, s:o, s:s, s:I, s:o, s:s}", "id", uuid_format(&d->id).s, "chain_id", (json_int_t)d->chain_id,
						       "account", (json_int_t)d->account, "owner", json_hex(d->owner.b, 20), "method", d->method, "nonce",
						       json_hex(d->nonce.b, 32), "amount", amount_format(d->amount).s, "valid_until", (json_int_t)d->valid_until, "call",
						       json_hex(d->call, d->call_len), "gas_cost", amount_format(d->gas_cost).s));
	const char *status;
	DB_PARAMS p = { 0 };
	enum err e;

	db_json(&p, o);
	db_amount(&p, d->gas_account_max);
	db_amount(&p, d->gas_all_max);
	e = db_query_one(db, "SELECT sponsored_deposit_open($1::jsonb, $2::numeric, $3::numeric) AS status", &p, &r);
	if (e)
		return e;
	status = db_get_text(r, 0, "status");
	return !strcmp(status, "ok") ? ERR_OK : !strcmp(status, "used") ? ERR_CONFLICT : !strcmp(status, "busy") ? ERR_IN_PROGRESS : ERR_LIMIT;
}

#define SQL_GET \
	"SELECT s.id, s.method, s.amount, s.state, s.reason, to_char(s.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS created_at," \
	" (SELECT '0x' || encode(v.hash, 'hex') FROM settlement_tx_version v WHERE v.tx = s.tx ORDER BY v.sent_at DESC LIMIT 1) AS transaction" \
	" FROM sponsored_deposit s WHERE s.id = $1::uuid AND s.account = $2::bigint"

enum err db_sponsored_get(struct db *db, int64_t account, const struct uuid *id, json_t **ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_uuid(&p, id);
	db_int(&p, account);
	e = db_query_one(db, SQL_GET, &p, &r);
	if (e)
		return e;
	*ret = json_must(json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:s}", "id", db_get_text(r, 0, "id"), "method", db_get_text(r, 0, "method"), "amount",
				   db_get_text(r, 0, "amount"), "state", db_get_text(r, 0, "state"), "transaction",
				   db_is_null(r, 0, "transaction") ? json_null() : json_string(db_get_text(r, 0, "transaction")), "reason",
				   db_is_null(r, 0, "reason") ? json_null() : json_string(db_get_text(r, 0, "reason")), "created_at", db_get_text(r, 0, "created_at")));
	return ERR_OK;
}

enum err db_sponsored_next(struct db *db, uint64_t chain_id, struct sponsored *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, (int64_t)chain_id);
	e = db_query_one(db, "SELECT id, valid_until, call FROM sponsored_deposit WHERE chain_id = $1::bigint AND state = 'queued' ORDER BY created_at, id LIMIT 1", &p, &r);
	if (e)
		return e;
	db_get_uuid(r, 0, "id", &ret->id);
	ret->valid_until = db_get_int(r, 0, "valid_until");
	ret->call = db_get_bytes(r, 0, "call", &ret->call_len);
	return ERR_OK;
}

struct tying {
	const struct uuid *id;
	const struct signed_tx *tx;
};

static enum err tie(struct db *db, void *arg)
{
	const struct tying *t = arg;
	DB_PARAMS p = { 0 };
	int64_t row = 0, rows = 0;
	enum err e = db_settlement_insert(db, t->tx, &row);

	db_uuid(&p, t->id);
	db_int(&p, row);
	if (!e)
		e = db_exec(db, "UPDATE sponsored_deposit SET state = 'sent', tx = $2::bigint WHERE id = $1::uuid AND state = 'queued'", &p, &rows);
	return e ? e : rows == 1 ? ERR_OK : ERR_CONFLICT;
}

enum err db_sponsored_write(struct db *db, const struct uuid *id, const struct signed_tx *tx)
{
	struct tying t = { id, tx };

	return db_transaction(db, tie, &t);
}

enum err db_sponsored_fail(struct db *db, const struct uuid *id, const char *reason)
{
	DB_PARAMS p = { 0 };

	db_uuid(&p, id);
	db_text(&p, reason);
	return db_exec(db, "UPDATE sponsored_deposit SET state = 'failed', reason = $2, ended_at = clock_timestamp() WHERE id = $1::uuid AND state = 'queued'", &p, NULL);
}
