/* The settler's transactions; see payments.h. Every write is fenced by the state it expects. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "db/approvals.h"

static void fill_settling(const struct db_result *r, int i, struct settling *ret)
{
	*ret = (struct settling){ .facilitated = !db_is_null(r, i, "payee"), .amount = db_get_amount(r, i, "amount"), .claim_block = (uint64_t)db_get_int(r, i, "claim_block"), .payload = db_get_json(r, i, "payload") };
	db_get_uuid(r, i, "id", &ret->id);
	db_get_address(r, i, "payer", &ret->payer);
	db_get_hash(r, i, "nonce", &ret->nonce);
	if (ret->facilitated)
		db_get_address(r, i, "payee", &ret->payee);
	snprintf(ret->method, sizeof(ret->method), "%s", db_get_text(r, i, "method"));
	snprintf(ret->scheme, sizeof(ret->scheme), "%s", db_get_text(r, i, "scheme"));
}

/* Some wait for an approval of the payer to be mined (approvals.c). */
#define SQL_APPROVAL_IN(states) "EXISTS (SELECT FROM sponsored_approval a WHERE a.hash = settlement_item.approval AND a.state IN (" states "))"
#define SQL_SETTLING "SELECT id, payee, payer, nonce, method, scheme, amount, payload, claim_block FROM settlement_item WHERE tx"
#define SQL_APPROVED " IS NULL AND (approval IS NULL OR " SQL_APPROVAL_IN("'done'") ")"
#define SQL_OLDEST " ORDER BY since LIMIT $1::int"

static enum err list_settling(struct db *db, const char *sql, const struct db_params *p, struct settling *ret, size_t max, size_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_query(db, sql, p, &r);

	if (e)
		return e;
	*ret_count = 0;
	for (int i = 0; i < db_rows(r) && *ret_count < max; i++)
		fill_settling(r, i, &ret[(*ret_count)++]);
	return ERR_OK;
}

enum err db_payments_settling(struct db *db, struct settling *ret, size_t max, size_t *ret_count)
{
	DB_PARAMS p = { 0 };

	db_int(&p, (int64_t)max);
	return list_settling(db, SQL_SETTLING SQL_APPROVED SQL_OLDEST, &p, ret, max, ret_count);
}

enum err db_payments_unapproved(struct db *db, struct settling *ret, size_t max, size_t *ret_count)
{
	DB_PARAMS p = { 0 };

	db_int(&p, (int64_t)max);
	return list_settling(db, SQL_SETTLING " IS NULL AND " SQL_APPROVAL_IN("'failed'") SQL_OLDEST, &p, ret, max, ret_count);
}

enum err db_settling_for_us(struct db *db, struct settling *ret, size_t max, size_t *ret_count)
{
	DB_PARAMS p = { 0 };

	db_int(&p, (int64_t)max);
	return list_settling(db, SQL_SETTLING SQL_APPROVED " AND payee IS NULL" SQL_OLDEST, &p, ret, max, ret_count);
}

enum err db_settling_for_others(struct db *db, struct settling *ret, size_t max, size_t *ret_count)
{
	DB_PARAMS p = { 0 };

	db_int(&p, (int64_t)max);
	return list_settling(db, SQL_SETTLING " IS NULL AND payee IS NOT NULL" SQL_OLDEST, &p, ret, max, ret_count);
}

enum err db_settlement_take_over(struct db *db, int64_t id, const struct uuid *said, size_t said_count, struct settling *ret, size_t max, size_t *ret_count)
{
	DB_PARAMS p = { 0 };

	db_int(&p, id);
	db_uuids(&p, said, said_count);
	return list_settling(db, "SELECT * FROM settlement_takes_over($1::bigint, $2::jsonb)", &p, ret, max, ret_count);
}

enum err db_settlement_payments(struct db *db, int64_t id, struct settling *ret, size_t max, size_t *ret_count)
{
	DB_PARAMS p = { 0 };

	db_int(&p, id);
	return list_settling(db, SQL_SETTLING " = $1::bigint ORDER BY id", &p, ret, max, ret_count);
}

enum err db_settler_own(struct db *db, const struct address *whose, int64_t idle_ms, bool *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_text(&p, address_format(whose).s);
	db_int(&p, idle_ms);
	e = db_query_one(db, "SELECT set_config('idle_session_timeout', $2, false), settler_own($1) AS mine", &p, &r);
	if (!e)
		*ret = db_get_bool(r, 0, "mine");
	return e;
}

enum err db_settler_agenda(struct db *db, const struct address *whose, int64_t idle_ms, struct settler_agenda *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_text(&p, address_format(whose).s);
	db_int(&p, idle_ms);
	e = db_query_one(db, "SELECT set_config('idle_session_timeout', $2, false), settler_own($1) AS mine, a.* FROM settler_agenda() a", &p, &r);
	if (!e)
		*ret = (struct settler_agenda){ .mine = db_get_bool(r, 0, "mine"), .stopped = db_get_bool(r, 0, "stopped"), .settling = db_get_bool(r, 0, "settling"),
						.approvals = db_get_bool(r, 0, "approvals"), .deposits = db_get_bool(r, 0, "deposits"), .records = db_get_bool(r, 0, "records") };
	return e;
}

enum err db_settlement_nonce(struct db *db, uint64_t chain_id, const struct address *sender, uint64_t at_least, uint64_t *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, (int64_t)chain_id);
	db_address(&p, sender);
	db_int(&p, (int64_t)at_least);
	e = db_query_one(db, "SELECT greatest(coalesce((SELECT nonce + 1 FROM settlement_tx WHERE chain_id = $1::bigint AND sender = $2 ORDER BY nonce DESC LIMIT 1), 0),"
			 " $3::bigint) AS nonce", &p, &r);
	if (!e)
		*ret = (uint64_t)db_get_int(r, 0, "nonce");
	return e;
}

enum err db_settler_release(struct db *db, const struct address *whose)
{
	DB_PARAMS p = { 0 };

	db_text(&p, address_format(whose).s);
	return db_exec(db, "SELECT settler_release($1)", &p, NULL);
}

static void push_tx(struct db_params *p, const struct signed_tx *tx)
{
	db_int(p, (int64_t)tx->chain_id);
	db_address(p, &tx->sender);
	db_int(p, (int64_t)tx->nonce);
	db_hash(p, &tx->hash);
	db_bytes(p, tx->raw, tx->raw_len);
	db_amount(p, tx->max_fee);
}

enum err db_settlement_insert(struct db *db, const struct signed_tx *tx, int64_t *ret_id)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	push_tx(&p, tx);
	e = db_query_one(db, "SELECT settlement_insert($1::bigint, $2, $3::bigint, $4, $5, $6::numeric) AS id", &p, &r);
	if (!e)
		*ret_id = db_get_int(r, 0, "id");
	return e;
}

enum err db_settlement_write(struct db *db, const struct signed_tx *tx, const struct uuid *payments, size_t count)
{
	DB_PARAMS p = { 0 };

	push_tx(&p, tx);
	db_uuids(&p, payments, count);
	return db_exec(db, "SELECT settlement_write($1::bigint, $2, $3::bigint, $4, $5, $6::numeric, $7::jsonb)", &p, NULL);
}

enum err db_settlement_replace(struct db *db, int64_t id, const struct signed_tx *tx)
{
	DB_PARAMS p = { 0 };

	db_hash(&p, &tx->hash);
	db_int(&p, id);
	db_bytes(&p, tx->raw, tx->raw_len);
	db_amount(&p, tx->max_fee);
	return db_exec_one(db, "INSERT INTO settlement_tx_version (hash, tx, raw, max_fee) VALUES ($1, $2::bigint, $3, $4::numeric)", &p);
}

#define SQL_OPEN(which, order) \
	"SELECT t.id, t.sender, t.nonce, t.state, t.block_number, t.block_hash, v.hash, v.raw, v.max_fee, (extract(epoch FROM clock_timestamp() - v.sent_at) * 1000)::bigint AS age," \
	" (extract(epoch FROM clock_timestamp() - v.tried_at) * 1000)::bigint AS idle, EXISTS (SELECT FROM settlement_item i WHERE i.tx = t.id) AS unsettled," \
	" (SELECT count(*) FROM settlement_tx_version WHERE tx = t.id) AS forms" \
	" FROM (SELECT * FROM settlement_tx WHERE chain_id = $1::bigint AND " which " AND state IN ('signed', 'mined') ORDER BY " order " LIMIT $3::int) t" \
	" JOIN LATERAL (SELECT * FROM settlement_tx_version WHERE tx = t.id ORDER BY sent_at DESC LIMIT 1) v ON true ORDER BY t.state = 'mined', t.nonce"

static void fill_open(const struct db_result *r, int i, struct open_tx *ret)
{
	*ret = (struct open_tx){ .id = db_get_int(r, i, "id"), .nonce = (uint64_t)db_get_int(r, i, "nonce"), .mined = !db_is_null(r, i, "block_hash"),
				 .unsettled = db_get_bool(r, i, "unsettled"), .forms = db_get_int(r, i, "forms"), .block_number = (uint64_t)db_get_int(r, i, "block_number"),
				 .max_fee = db_get_amount(r, i, "max_fee"), .age_ms = db_get_int(r, i, "age"), .idle_ms = db_get_int(r, i, "idle") };
	if (ret->mined)
		db_get_hash(r, i, "block_hash", &ret->block_hash);
	db_get_address(r, i, "sender", &ret->sender);
	db_get_hash(r, i, "hash", &ret->hash);
	ret->raw = db_get_bytes(r, i, "raw", &ret->raw_len);
}

static enum err list_open(struct db *db, const char *sql, const struct db_params *p, struct open_tx *ret, size_t max, size_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_query(db, sql, p, &r);

	if (e)
		return e;
	*ret_count = 0;
	for (int i = 0; i < db_rows(r) && *ret_count < max; i++)
		fill_open(r, i, &ret[(*ret_count)++]);
	return ERR_OK;
}

enum err db_settlements_open(struct db *db, uint64_t chain_id, const struct address *sender, struct open_tx *ret, size_t max, size_t *ret_count)
{
	DB_PARAMS p = { 0 };

	db_int(&p, (int64_t)chain_id);
	db_address(&p, sender);
	db_int(&p, (int64_t)max);
	return list_open(db, SQL_OPEN("sender = $2", "state = 'mined', nonce"), &p, ret, max, ret_count);
}

enum err db_settlements_former(struct db *db, uint64_t chain_id, const struct address *own, bool payouts, struct open_tx *ret, size_t max, size_t *ret_count)
{
	DB_PARAMS p = { 0 };

	db_int(&p, (int64_t)chain_id);
	db_address(&p, own);
	db_int(&p, (int64_t)max);
	db_bool(&p, payouts);
	/* Any of them, so that some that cannot be read keep no turn from the others. */
	return list_open(db, SQL_OPEN("sender <> $2 AND EXISTS (SELECT FROM payout o WHERE o.tx = settlement_tx.id) = $4::boolean", "random()"), &p, ret, max, ret_count);
}

enum err db_settlement_tried(struct db *db, int64_t id)
{
	DB_PARAMS p = { 0 };

	db_int(&p, id);
	return db_exec(db, "UPDATE settlement_tx_version SET tried_at = clock_timestamp() WHERE tx = $1::bigint", &p, NULL);
}

enum err db_settlement_hashes(struct db *db, int64_t id, struct hash *ret, size_t max, size_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, id);
	db_int(&p, (int64_t)max);
	e = db_query(db, "SELECT hash FROM settlement_tx_version WHERE tx = $1::bigint ORDER BY sent_at DESC LIMIT $2::int", &p, &r);
	if (e)
		return e;
	*ret_count = 0;
	for (int i = 0; i < db_rows(r) && *ret_count < max; i++)
		db_get_hash(r, i, "hash", &ret[(*ret_count)++]);
	return ERR_OK;
}

enum err db_settlement_mined(struct db *db, int64_t id, const struct mined_tx *m, struct arrival *arrived, size_t count)
{
	_cleanup_result_ struct db_result *r = NULL;
	_cleanup_json_ json_t *list = json_must(json_array());
	DB_PARAMS p = { 0 };
	enum err e;

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_must(json_pack("{s:s, s:I}", "payment", uuid_format(&arrived[i].payment).s, "log", (json_int_t)arrived[i].log)));
	db_int(&p, id);
	db_bool(&p, m->succeeded);
	db_int(&p, (int64_t)m->block_number);
	db_hash(&p, &m->block);
	db_hash(&p, &m->hash);
	db_amount(&p, m->cost);
	db_json(&p, list);
	e = db_query(db, "SELECT id FROM settlement_mined($1::bigint, $2::boolean, $3::bigint, $4, $5, $6::numeric, $7::jsonb) id", &p, &r);
	for (int row = 0; !e && row < db_rows(r); row++) {
		struct uuid closed;

		db_get_uuid(r, row, "id", &closed);
		for (size_t i = 0; i < count; i++)
			arrived[i].closed |= !memcmp(closed.b, arrived[i].payment.b, sizeof(closed.b));
	}
	return e;
}

/* A function that says whether the row was in the state it expects. */
static enum err ask_one(struct db *db, const char *sql, const struct db_params *p)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_query_one(db, sql, p, &r);

	return e ? e : db_get_bool(r, 0, "done") ? ERR_OK : ERR_CONFLICT;
}

enum err db_settlement_unmined(struct db *db, int64_t id)
{
	DB_PARAMS p = { 0 };

	db_int(&p, id);
	return ask_one(db, "SELECT settlement_taken_back($1::bigint) AS done", &p);
}

static enum err write_replaced(struct db *db, void *arg)
{
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, *(const int64_t *)arg);
	e = db_exec_one(db, "UPDATE settlement_tx SET state = 'replaced' WHERE id = $1::bigint AND state = 'signed'", &p);
	if (!e)
		e = db_exec(db, "UPDATE payment SET tx = NULL WHERE tx = $1::bigint AND state = 'settling'", &p, NULL);
	if (!e)
		e = db_exec(db, "UPDATE facilitation SET tx = NULL WHERE tx = $1::bigint AND state = 'settling'", &p, NULL);
	return e ? e : db_exec(db, "UPDATE payout SET state = 'pending', tx = NULL WHERE tx = $1::bigint AND state = 'sent'", &p, NULL);
}

enum err db_settlement_replaced(struct db *db, int64_t id)
{
	return db_transaction(db, write_replaced, &id);
}

enum err db_payment_arrived(struct db *db, const struct uuid *payment, const struct hash *tx_hash, uint32_t log)
{
	DB_PARAMS p = { 0 };

	db_uuid(&p, payment);
	db_hash(&p, tx_hash);
	db_int(&p, log);
	return ask_one(db, "SELECT settlement_arrived($1::uuid, $2, $3::int) AS done", &p);
}

enum err db_payment_failed(struct db *db, const struct uuid *payment, const char *reason)
{
	DB_PARAMS p = { 0 };

	db_uuid(&p, payment);
	db_text(&p, reason);
	return ask_one(db, "SELECT settlement_refused($1::uuid, $2) AS done", &p);
}
