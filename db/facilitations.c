/* See facilitations.h. The settler's side of these rows is in settlements.c. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "db/facilitations.h"

/* ---- payees ---- */

enum err db_payee_register(struct db *db, const struct address *payee, int64_t account, int64_t proven_at)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_address(&p, payee);
	db_int(&p, account);
	db_int(&p, proven_at);
	db_int(&p, PAYEES_MAX);
	/* The account's row is locked first, so that its own registrations cannot pass the limit side by side. */
	e = db_query_one(db, "WITH me AS MATERIALIZED (SELECT id FROM account WHERE id = $2::bigint FOR UPDATE),"
			     " room AS MATERIALIZED (SELECT count(*) < $4::int AS ok FROM payee p, me WHERE p.account = me.id AND p.address <> $1),"
			     " done AS (INSERT INTO payee AS p (address, account, proven_at) SELECT $1, me.id, to_timestamp($3::bigint / 1000.0) FROM me, room WHERE room.ok"
			     "  ON CONFLICT (address) DO UPDATE SET account = EXCLUDED.account, proven_at = EXCLUDED.proven_at,"
			     "   registered_at = CASE WHEN p.account = EXCLUDED.account THEN p.registered_at ELSE now() END"
			     "  WHERE p.account = EXCLUDED.account OR p.proven_at < EXCLUDED.proven_at RETURNING 1)"
			     " SELECT (SELECT ok FROM room) AS room, EXISTS (SELECT FROM done) AS done", &p, &r);
	if (e)
		return e;
	return !db_get_bool(r, 0, "room") ? ERR_LIMIT : db_get_bool(r, 0, "done") ? ERR_OK : ERR_CONFLICT;
}

enum err db_payee_delete(struct db *db, const struct address *payee, int64_t account)
{
	DB_PARAMS p = { 0 };
	int64_t rows = 0;
	enum err e;

	db_address(&p, payee);
	db_int(&p, account);
	e = db_exec(db, "DELETE FROM payee WHERE address = $1 AND account = $2::bigint", &p, &rows);
	return e ? e : rows == 1 ? ERR_OK : ERR_NOT_FOUND;
}

static enum err ask_bool(struct db *db, const char *sql, const struct db_params *p, bool *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_query_one(db, sql, p, &r);

	if (!e)
		*ret = db_get_bool(r, 0, "v");
	return e;
}

enum err db_payee_known(struct db *db, const struct address *payee, bool *ret)
{
	DB_PARAMS p = { 0 };

	db_address(&p, payee);
	return ask_bool(db, "SELECT EXISTS (SELECT FROM payee WHERE address = $1) AS v", &p, ret);
}

enum err db_payee_asks(struct db *db, const struct address *payee, int64_t account, bool *ret)
{
	DB_PARAMS p = { 0 };

	db_address(&p, payee);
	db_int(&p, account);
	return ask_bool(db, "WITH first AS (UPDATE payee SET keyed_at = clock_timestamp() WHERE address = $1 AND account = $2::bigint AND keyed_at IS NULL)"
			    " SELECT EXISTS (SELECT FROM payee WHERE address = $1 AND (account = $2::bigint OR keyed_at IS NULL)) AS v", &p, ret);
}

enum err db_payees_list(struct db *db, int64_t account, json_t **ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, account);
	db_int(&p, PAYEES_MAX);
	e = db_query_one(db, "SELECT coalesce(jsonb_agg(jsonb_build_object('address', '0x' || encode(l.address, 'hex'), 'registered_at',"
			     "  to_char(l.registered_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), 'gas_today', l.gas::text) ORDER BY l.registered_at, l.address), '[]') AS list"
			     " FROM (SELECT p.address, p.registered_at, coalesce(g.wei, 0) AS gas FROM payee p LEFT JOIN gas_subject_day g ON g.subject = p.address"
			     "  AND g.purpose = 'facilitator' AND g.day = (clock_timestamp() AT TIME ZONE 'UTC')::date WHERE p.account = $1::bigint LIMIT $2::int) l", &p, &r);
	if (!e)
		*ret = db_get_json(r, 0, "list");
	return e;
}

/* ---- settlements ---- */

static void push_key(struct db_params *p, const struct authorization_key *key)
{
	db_int(p, (int64_t)key->chain_id);
	db_address(p, &key->verifier);
	db_address(p, &key->payer);
	db_hash(p, &key->nonce);
}
#define WHERE_KEY " WHERE chain_id = $1::bigint AND verifier = $2 AND payer = $3 AND nonce = $4"

enum err db_authorization_known(struct db *db, const struct authorization_key *key, bool *ret)
{
	DB_PARAMS p = { 0 };

	push_key(&p, key);
	return ask_bool(db, "SELECT EXISTS (SELECT FROM payment_authorization" WHERE_KEY ") AS v", &p, ret);
}

enum err db_facilitation_claim(struct db *db, const struct facilitation *f)
{
	_cleanup_result_ struct db_result *r = NULL;
	_cleanup_json_ json_t *o = json_must(json_pack("{s:s, s:i, s:I, s:s, s:s, s:s, s:s, s:O, s:I}", "id", uuid_format(&f->id).s, "version", f->version, "chain_id",
						       (json_int_t)f->key.chain_id, "scheme", f->scheme, "method", f->method, "amount_max",
						       amount_format(f->amount_max).s, "amount", amount_format(f->amount).s, "payload", f->payload, "claim_block",
						       (json_int_t)f->block));
	DB_PARAMS p = { 0 };
	const char *status;
	enum err e;

	json_object_set_new(o, "verifier", json_hex(f->key.verifier.b, 20));
	json_object_set_new(o, "payer", json_hex(f->key.payer.b, 20));
	json_object_set_new(o, "nonce", json_hex(f->key.nonce.b, 32));
	json_object_set_new(o, "payee", json_hex(f->payee.b, 20));
	json_object_set_new(o, "request_digest", json_hex(f->request_digest.b, 32));
	db_json(&p, o);
	db_amount(&p, f->gas);
	db_amount(&p, f->gas_payee_max);
	db_amount(&p, f->gas_all_max);
	e = db_query_one(db, "SELECT facilitation_claim($1::jsonb, $2::numeric, $3::numeric, $4::numeric) AS status", &p, &r);
	if (e)
		return e;
	status = db_get_text(r, 0, "status");
	return !strcmp(status, "ok") ? ERR_OK : !strcmp(status, "no_gas") ? ERR_LIMIT : !strcmp(status, "unregistered") ? ERR_NOT_FOUND : ERR_CONFLICT;
}

void db_facilitation_row_done(struct facilitation_row *f)
{
	db_result_free(f->r);
	f->r = NULL;
}

static void fill(struct db_result *r, struct facilitation_row *ret)
{
	*ret = (struct facilitation_row){ .r = r, .version = (int)db_get_int(r, 0, "version"), .state = db_get_text(r, 0, "state"), .scheme = db_get_text(r, 0, "scheme"),
					  .method = db_get_text(r, 0, "method"), .reason = db_is_null(r, 0, "reason") ? NULL : db_get_text(r, 0, "reason"),
					  .amount_max = db_get_amount(r, 0, "amount_max"), .amount = db_get_amount(r, 0, "amount"),
					  .has_tx_hash = !db_is_null(r, 0, "tx_hash"), .has_sent = !db_is_null(r, 0, "sent"), .told = db_get_bool(r, 0, "told"),
					  .created_at = db_get_int(r, 0, "created_ms"),
					  .updated_at = db_get_int(r, 0, "updated_ms") };
	db_get_uuid(r, 0, "id", &ret->id);
	db_get_address(r, 0, "payer", &ret->payer);
	db_get_address(r, 0, "payee", &ret->payee);
	db_get_hash(r, 0, "request_digest", &ret->request_digest);
	if (ret->has_tx_hash)
		db_get_hash(r, 0, "tx_hash", &ret->tx_hash);
	if (ret->has_sent)
		db_get_hash(r, 0, "sent", &ret->sent);
}

#define FACILITATION_COLUMNS \
	"SELECT id, version, payer, payee, request_digest, state, scheme, method, reason, amount_max, amount, tx_hash, (extract(epoch FROM created_at) * 1000)::bigint AS created_ms," \
	" (extract(epoch FROM updated_at) * 1000)::bigint AS updated_ms," \
	" told_at IS NOT NULL AS told, (SELECT v.hash FROM settlement_tx_version v WHERE v.tx = facilitation.tx ORDER BY v.sent_at DESC LIMIT 1) AS sent FROM facilitation"

static enum err get_one(struct db *db, const char *sql, const struct db_params *p, struct facilitation_row *ret)
{
	struct db_result *r = NULL;
	enum err e = db_query_one(db, sql, p, &r);

	if (!e)
		fill(r, ret);
	return e;
}

enum err db_facilitation_get(struct db *db, const struct uuid *id, struct facilitation_row *ret)
{
	DB_PARAMS p = { 0 };

	db_uuid(&p, id);
	return get_one(db, FACILITATION_COLUMNS " WHERE id = $1::uuid", &p, ret);
}

enum err db_facilitation_find(struct db *db, const struct authorization_key *key, struct facilitation_row *ret)
{
	DB_PARAMS p = { 0 };

	push_key(&p, key);
	return get_one(db, FACILITATION_COLUMNS WHERE_KEY, &p, ret);
}

enum err db_facilitation_tell(struct db *db, const struct uuid *id, bool *ret_first)
{
	DB_PARAMS p = { 0 };
	int64_t rows = 0;
	enum err e;

	db_uuid(&p, id);
	e = db_exec(db, "UPDATE facilitation SET told_at = clock_timestamp() WHERE id = $1::uuid AND state = 'settled' AND told_at IS NULL", &p, &rows);
	if (!e)
		*ret_first = rows == 1;
	return e;
}
