/* SQL of accounts and sign-in nonces; see accounts.h. */
#include "db/accounts.h"

#include <stdio.h>
#include <string.h>

#define ACCOUNT_COLUMNS "id, address, handle, (extract(epoch FROM created_at) * 1000)::bigint AS created_ms"

static void account_read(const struct db_result *r, struct account_row *ret)
{
	ret->id = db_get_int(r, 0, "id");
	db_get_address(r, 0, "address", &ret->address);
	snprintf(ret->handle, sizeof(ret->handle), "%s", db_get_text(r, 0, "handle"));
	ret->created_at = db_get_int(r, 0, "created_ms");
}

enum err db_account_ensure(struct db *db, const struct address *address, struct account_row *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_address(&p, address);
	enum err e = db_query_one(db, "SELECT " ACCOUNT_COLUMNS " FROM account WHERE address = $1", &p, &r);
	if (e == ERR_NOT_FOUND) {
		/* Two first sign-ins at once: one inserts, both read the same row. */
		e = db_exec(db, "INSERT INTO account (address) VALUES ($1) ON CONFLICT (address) DO NOTHING", &p, NULL);
		if (!e)
			e = db_query_one(db, "SELECT " ACCOUNT_COLUMNS " FROM account WHERE address = $1", &p, &r);
	}
	if (!e)
		account_read(r, ret);
	return e;
}

enum err db_account_signed_in(struct db *db, const struct address *address, struct account_row *ret)
{
	DB_PARAMS p = { 0 };
	db_address(&p, address);
	enum err e = db_account_ensure(db, address, ret);
	if (!e)
		e = db_exec(db, "UPDATE account SET signed_in_at = now() WHERE address = $1 AND (signed_in_at IS NULL OR signed_in_at < now() - interval '1 day')", &p, NULL);
	return e;
}

enum err db_account_get(struct db *db, int64_t id, struct account_row *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_int(&p, id);
	enum err e = db_query_one(db, "SELECT " ACCOUNT_COLUMNS " FROM account WHERE id = $1", &p, &r);
	if (!e)
		account_read(r, ret);
	return e;
}

enum err db_account_set_handle(struct db *db, int64_t id, const char *handle, struct account_row *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_int(&p, id);
	db_text(&p, handle);
	enum err e = db_query_one(db,
		"UPDATE account SET handle = $2 WHERE id = $1 AND (handle IS NULL OR handle = $2) RETURNING " ACCOUNT_COLUMNS, &p, &r);
	if (e == ERR_NOT_FOUND)
		return ERR_CONFLICT;
	if (!e)
		account_read(r, ret);
	return e;
}

enum err db_siwe_nonce_add(struct db *db, const char *nonce, int64_t lifetime_ms, int64_t *ret_expires_at)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_text(&p, nonce);
	db_int(&p, lifetime_ms);
	enum err e = db_query_one(db,
		"WITH dead AS (SELECT nonce FROM siwe_nonce WHERE expires_at < now() ORDER BY expires_at LIMIT 10 FOR UPDATE SKIP LOCKED),"
		" swept AS (DELETE FROM siwe_nonce n USING dead d WHERE n.nonce = d.nonce)"
		" INSERT INTO siwe_nonce (nonce, expires_at) VALUES ($1, now() + $2::bigint * interval '1 millisecond')"
		" RETURNING (extract(epoch FROM expires_at) * 1000)::bigint AS expires_ms", &p, &r);
	if (!e)
		*ret_expires_at = db_get_int(r, 0, "expires_ms");
	return e;
}

enum err db_siwe_nonces_use(struct db *db, const char *const *nonces, size_t count, bool *ret_live)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_text_array(&p, nonces, count);
	enum err e = db_query(db, "DELETE FROM siwe_nonce WHERE nonce = ANY ($1::text[]) RETURNING nonce, expires_at > now() AS live", &p, &r);
	if (e)
		return e;
	for (size_t i = 0; i < count; i++) {
		ret_live[i] = false;
		for (int row = 0; row < db_rows(r); row++)
			if (strcmp(nonces[i], db_get_text(r, row, "nonce")) == 0)
				ret_live[i] = db_get_bool(r, row, "live");
	}
	return ERR_OK;
}
