/* How the settler's transactions end: final, revived, and what they moved for payments that were given up. See payments.h. */
#include <string.h>

#include "base/mem.h"
#include "db/payments.h"

#define IDS(n) "(SELECT DISTINCT i::uuid FROM jsonb_array_elements_text($" n "::jsonb) i)"

enum err db_payments_given_up(struct db *db, const struct uuid *payments, size_t count, struct given_up *ret, size_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_uuids(&p, payments, count);
	/* LATERAL with a limit: by their ids, never through all that ended so. */
	e = db_query(db, "SELECT p.id, p.payer, p.amount FROM " IDS("1") " l(id) CROSS JOIN LATERAL (SELECT * FROM payment WHERE id = l.id LIMIT 1) p"
			 " WHERE p.state IN ('failed', 'dropped', 'lost') ORDER BY p.id", &p, &r);
	if (e)
		return e;
	*ret_count = 0;
	for (int i = 0; i < db_rows(r) && *ret_count < count; i++) {
		struct given_up *g = &ret[(*ret_count)++];

		db_get_uuid(r, i, "id", &g->id);
		db_get_address(r, i, "payer", &g->payer);
		g->amount = db_get_amount(r, i, "amount");
	}
	return ERR_OK;
}

enum err db_settlement_disputed(struct db *db, int64_t id, const struct hash *tx_hash, const struct uuid *payments, size_t count, int64_t *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, id);
	db_hash(&p, tx_hash);
	db_uuids(&p, payments, count);
	e = db_query_one(db, "SELECT count(*) AS n FROM (SELECT id, tx_hash FROM payment WHERE tx = $1::bigint AND state = 'settled'"
			     " UNION ALL SELECT id, tx_hash FROM facilitation WHERE tx = $1::bigint AND state = 'settled') s"
			     " WHERE tx_hash IN (SELECT hash FROM settlement_tx_version WHERE tx = $1::bigint) AND (tx_hash <> $2 OR id NOT IN " IDS("3") ")", &p, &r);
	if (!e)
		*ret = db_get_int(r, 0, "n");
	return e;
}

enum err db_transfer_of(struct db *db, const struct hash *tx_hash, uint32_t log, enum transfer_of *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_hash(&p, tx_hash);
	db_int(&p, log);
	e = db_query_one(db, "SELECT EXISTS (SELECT FROM payment WHERE tx_hash = $1 AND log_index = $2::int)"
			     " OR EXISTS (SELECT FROM facilitation WHERE tx_hash = $1 AND log_index = $2::int) AS claimed,"
			     " EXISTS (SELECT FROM settlement_tx_version v JOIN settlement_tx t ON t.id = v.tx WHERE v.hash = $1 AND t.state IN ('signed', 'mined')) AS ours", &p, &r);
	if (!e)
		*ret = db_get_bool(r, 0, "claimed") ? TRANSFER_CLAIMED : db_get_bool(r, 0, "ours") ? TRANSFER_OURS : TRANSFER_OTHERS;
	return e;
}

struct final {
	int64_t id;
	const struct hash *tx_hash;
	const struct arrival *late;
	size_t count;
};

static enum err book_late(struct db *db, const struct final *f, const struct arrival *a)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_uuid(&p, &a->payment);
	db_hash(&p, f->tx_hash);
	db_int(&p, a->log);
	e = db_query_one(db, "SELECT payment_late($1::uuid, $2, $3::int) AS done", &p, &r);
	return e ? e : db_get_bool(r, 0, "done") ? ERR_OK : ERR_CONFLICT;
}

static enum err change_state(struct db *db, int64_t id, const char *sql)
{
	DB_PARAMS p = { 0 };
	int64_t rows = 0;
	enum err e;

	db_int(&p, id);
	e = db_exec(db, sql, &p, &rows);
	return e ? e : rows == 1 ? ERR_OK : ERR_CONFLICT;
}

static enum err write_final(struct db *db, void *arg)
{
	const struct final *f = arg;
	enum err e = change_state(db, f->id, "UPDATE settlement_tx SET state = 'final' WHERE id = $1::bigint AND state = 'mined'");

	for (size_t i = 0; !e && i < f->count; i++)
		e = book_late(db, f, &f->late[i]);
	return e;
}

enum err db_settlement_final(struct db *db, int64_t id, const struct hash *tx_hash, const struct arrival *late, size_t late_count)
{
	struct final f = { id, tx_hash, late, late_count };

	return late_count ? db_transaction(db, write_final, &f) : write_final(db, &f);
}

enum err db_settlement_at_nonce(struct db *db, uint64_t chain_id, const struct address *sender, uint64_t nonce, bool *ret_replaced, int64_t *ret_id)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, (int64_t)chain_id);
	db_address(&p, sender);
	db_int(&p, (int64_t)nonce);
	e = db_query_one(db, "SELECT id, state = 'replaced' AS replaced FROM settlement_tx WHERE chain_id = $1::bigint AND sender = $2 AND nonce = $3::bigint", &p, &r);
	if (e)
		return e;
	*ret_replaced = db_get_bool(r, 0, "replaced");
	*ret_id = db_get_int(r, 0, "id");
	return ERR_OK;
}

enum err db_settlement_revive(struct db *db, int64_t id)
{
	return change_state(db, id, "UPDATE settlement_tx SET state = 'signed' WHERE id = $1::bigint AND state = 'replaced'");
}

struct reviving {
	int64_t id;
	const struct signed_tx *tx;
};

static enum err write_revived(struct db *db, void *arg)
{
	const struct reviving *r = arg;
	enum err e = db_settlement_replace(db, r->id, r->tx);

	return e ? e : db_settlement_revive(db, r->id);
}

enum err db_settlement_revive_as(struct db *db, int64_t id, const struct signed_tx *tx)
{
	struct reviving r = { id, tx };
	enum err e = db_transaction(db, write_revived, &r);

	return e == ERR_CONFLICT ? db_settlement_revive(db, id) : e; /* it has this form already */
}
