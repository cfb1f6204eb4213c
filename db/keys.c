/* SQL of API keys and node nonces; see keys.h. */
#include "db/keys.h"

#include <stdio.h>

#define KEY_COLUMNS \
	"id, name, prefix, array_to_string(scopes, ' ') AS scopes, (extract(epoch FROM created_at) * 1000)::bigint AS created_ms," \
	" coalesce((extract(epoch FROM expires_at) * 1000)::bigint, 0) AS expires_ms," \
	" coalesce((extract(epoch FROM revoked_at) * 1000)::bigint, 0) AS revoked_ms"

static void key_read(const struct db_result *r, int row, struct arena *arena, struct key_row *ret)
{
	*ret = (struct key_row){
		.id = db_get_int(r, row, "id"),
		.name = arena_strdup(arena, db_get_text(r, row, "name")),
		.prefix = arena_strdup(arena, db_get_text(r, row, "prefix")),
		.scopes = arena_strdup(arena, db_get_text(r, row, "scopes")),
		.created_at = db_get_int(r, row, "created_ms"),
		.expires_at = db_get_int(r, row, "expires_ms"),
		.revoked_at = db_get_int(r, row, "revoked_ms"),
	};
}

enum err db_key_find(struct db *db, const struct hash *secret_hash, struct key_holder *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_hash(&p, secret_hash);
	enum err e = db_query_one(db,
		"SELECT k.id, k.account, a.address, array_to_string(k.scopes, ' ') AS scopes FROM api_key k JOIN account a ON a.id = k.account"
		" WHERE k.secret_hash = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())", &p, &r);
	if (e)
		return e;
	ret->key = db_get_int(r, 0, "id");
	ret->account = db_get_int(r, 0, "account");
	db_get_address(r, 0, "address", &ret->address);
	snprintf(ret->scopes, sizeof(ret->scopes), "%s", db_get_text(r, 0, "scopes"));
	return ERR_OK;
}

enum err db_key_create(struct db *db, struct arena *arena, const struct key_new *key, struct key_row *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_int(&p, key->account);
	db_text(&p, key->name);
	db_text(&p, key->prefix);
	db_hash(&p, &key->secret_hash);
	db_text_array(&p, key->scopes, key->scope_count);
	db_int(&p, key->expires_at);
	db_int(&p, KEYS_LIVE_MAX);
	enum err e = db_query_one(db,
		"INSERT INTO api_key (account, name, prefix, secret_hash, scopes, expires_at)"
		" SELECT $1::bigint, $2, $3, $4::bytea, $5::text[],"
		" CASE WHEN $6::bigint > 0 THEN to_timestamp($6::bigint / 1000.0) END"
		" WHERE (SELECT count(*) FROM api_key WHERE account = $1::bigint AND revoked_at IS NULL"
		" AND (expires_at IS NULL OR expires_at > now())) < $7::bigint RETURNING " KEY_COLUMNS, &p, &r);
	if (e == ERR_NOT_FOUND)
		return ERR_LIMIT;
	if (!e)
		key_read(r, 0, arena, ret);
	return e;
}

enum err db_keys_list(struct db *db, struct arena *arena, int64_t account, int64_t before, size_t max, struct key_row **ret, size_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_int(&p, account);
	db_int(&p, before > 0 ? before : INT64_MAX);
	db_int(&p, (int64_t)max);
	enum err e = db_query(db, "SELECT " KEY_COLUMNS " FROM api_key WHERE account = $1 AND id < $2 ORDER BY id DESC LIMIT $3", &p, &r);
	if (e)
		return e;
	int n = db_rows(r);
	struct key_row *rows = arena_alloc(arena, sizeof(*rows) * (size_t)(n + 1));
	for (int i = 0; i < n; i++)
		key_read(r, i, arena, &rows[i]);
	*ret = rows;
	*ret_count = (size_t)n;
	return ERR_OK;
}

enum err db_key_revoke(struct db *db, int64_t account, int64_t id)
{
	DB_PARAMS p = { 0 };
	int64_t n = 0;
	db_int(&p, account);
	db_int(&p, id);
	enum err e = db_exec(db, "UPDATE api_key SET revoked_at = coalesce(revoked_at, now()) WHERE account = $1 AND id = $2", &p, &n);
	return e ? e : n == 1 ? ERR_OK : ERR_NOT_FOUND;
}

enum err db_node_nonce_use(struct db *db, const struct address *node, const struct hash *nonce)
{
	DB_PARAMS p = { 0 };
	int64_t n = 0;
	db_address(&p, node);
	db_hash(&p, nonce);
	/* Nonces older than every acceptable time stamp go a few at a time, so the table stays small without a sweeper. */
	enum err e = db_exec(db,
		"WITH dead AS (SELECT node, nonce FROM node_nonce WHERE seen_at < now() - interval '10 minutes' ORDER BY seen_at LIMIT 10"
		" FOR UPDATE SKIP LOCKED), swept AS (DELETE FROM node_nonce n USING dead d WHERE n.node = d.node AND n.nonce = d.nonce)"
		" INSERT INTO node_nonce (node, nonce) SELECT address, $2::bytea FROM node WHERE address = $1 AND state <> 'banned'", &p, &n);
	return e ? e : n == 1 ? ERR_OK : ERR_FORBIDDEN;
}
