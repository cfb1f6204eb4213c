/* See approvals.h. */
#include <string.h>

#include "db/approvals.h"
#include "db/gas.h"

#define SQL_OPEN \
	"SELECT a.hash, a.payer, a.nonce, a.top_up, a.state, a.raw, t.state AS funding, coalesce(t.succeeded, false) AS funded," \
	" (extract(epoch FROM clock_timestamp() - a.created_at) * 1000)::bigint AS age," \
	" (extract(epoch FROM clock_timestamp() - coalesce(a.tried_at, a.created_at)) * 1000)::bigint AS idle" \
	" FROM sponsored_approval a LEFT JOIN settlement_tx t ON t.id = a.tx" \
	" WHERE a.chain_id = $1::bigint AND a.state IN ('wanted', 'funding', 'sent') ORDER BY a.created_at LIMIT $2::int"

static enum approval_state state_of(const char *s)
{
	return !strcmp(s, "wanted") ? APPROVAL_WANTED : !strcmp(s, "funding") ? APPROVAL_FUNDING : APPROVAL_SENT;
}

static enum top_up_state funding_of(const char *s)
{
	return !*s ? TOP_UP_NONE : !strcmp(s, "signed") ? TOP_UP_SIGNED : !strcmp(s, "replaced") ? TOP_UP_REPLACED : TOP_UP_MINED;
}

enum err db_approvals_open(struct db *db, uint64_t chain_id, struct approval_row *ret, size_t max, size_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, (int64_t)chain_id);
	db_int(&p, (int64_t)max);
	e = db_query(db, SQL_OPEN, &p, &r);
	if (e)
		return e;
	*ret_count = 0;
	for (int i = 0; i < db_rows(r) && *ret_count < max; i++) {
		struct approval_row *a = &ret[(*ret_count)++];

		*a = (struct approval_row){ .nonce = (uint64_t)db_get_int(r, i, "nonce"), .top_up = db_get_amount(r, i, "top_up"), .state = state_of(db_get_text(r, i, "state")),
					    .funding = funding_of(db_get_text(r, i, "funding")), .funded = db_get_bool(r, i, "funded"), .age_ms = db_get_int(r, i, "age"),
					    .idle_ms = db_get_int(r, i, "idle") };
		db_get_hash(r, i, "hash", &a->hash);
		db_get_address(r, i, "payer", &a->payer);
		a->raw = db_get_bytes(r, i, "raw", &a->raw_len);
	}
	return ERR_OK;
}

static enum err exec_one(struct db *db, const char *sql, const struct db_params *p)
{
	int64_t rows = 0;
	enum err e = db_exec(db, sql, p, &rows);

	return e ? e : rows == 1 ? ERR_OK : ERR_CONFLICT;
}

struct funding {
	const struct hash *approval;
	const struct signed_tx *tx;
};

static enum err write_funding(struct db *db, void *arg)
{
	const struct funding *f = arg;
	DB_PARAMS p = { 0 };
	int64_t id = 0;
	enum err e = db_settlement_insert(db, f->tx, &id);

	if (e)
		return e;
	db_hash(&p, f->approval);
	db_int(&p, id);
	return exec_one(db, "UPDATE sponsored_approval SET state = 'funding', tx = $2::bigint WHERE hash = $1 AND state = 'wanted'", &p);
}

enum err db_approval_fund(struct db *db, const struct hash *approval, const struct signed_tx *tx)
{
	struct funding f = { approval, tx };

	return db_transaction(db, write_funding, &f);
}

enum err db_approval_send(struct db *db, const struct hash *approval)
{
	DB_PARAMS p = { 0 };

	db_hash(&p, approval);
	return exec_one(db, "UPDATE sponsored_approval SET state = 'sent', tried_at = clock_timestamp() WHERE hash = $1 AND state IN ('wanted', 'funding', 'sent')", &p);
}

struct ending {
	const struct hash *approval;
	const char *why;
};

static enum err write_end(struct db *db, void *arg)
{
	const struct ending *end = arg;
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	struct uuid gas;
	enum err e;

	db_hash(&p, end->approval);
	db_text(&p, end->why);
	e = db_query_one(db, "UPDATE sponsored_approval SET state = CASE WHEN $2::text IS NULL THEN 'done' ELSE 'failed' END, reason = $2, ended_at = clock_timestamp()"
			     " WHERE hash = $1 AND state IN ('wanted', 'funding', 'sent') RETURNING gas, tx", &p, &r);
	if (e || !db_is_null(r, 0, "tx")) /* what was given stays counted, at the most it can have cost */
		return e == ERR_NOT_FOUND ? ERR_CONFLICT : e;
	db_get_uuid(r, 0, "gas", &gas);
	return db_gas_settle(db, &gas, AMOUNT_ZERO);
}

enum err db_approval_end(struct db *db, const struct hash *approval, const char *why)
{
	struct ending end = { approval, why };

	return db_transaction(db, write_end, &end);
}
