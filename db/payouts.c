/* See payouts.h: asking, the sender's side, settings. Reading for the API is payout_rows.c. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "db/payouts.h"

static json_t *ask_json(const struct payout_ask *a)
{
	json_t *o = json_must(json_pack("{s:s, s:I, s:i, s:s, s:s}", "id", uuid_format(&a->id).s, "account", (json_int_t)a->account, "kind", (int)a->kind, "minimum",
					amount_format(a->minimum).s, "asked_by", "account"));

	if (a->amount)
		json_object_set_new(o, "amount", json_must(json_string(amount_format(*a->amount).s)));
	if (a->to)
		json_object_set_new(o, "to", json_must(json_string(address_format(a->to).s + 2)));
	if (a->key) {
		json_object_set_new(o, "route", json_must(json_string(a->route)));
		json_object_set_new(o, "key", json_must(json_string(a->key)));
		json_object_set_new(o, "body_digest", json_must(json_string(hash_format(&a->body_digest).s + 2)));
	}
	return o;
}

enum err db_payout_open(struct db *db, const struct payout_ask *a)
{
	static const struct {
		const char *status;
		enum err e;
	} ends[] = { { "ok", ERR_OK }, { "key_exists", ERR_CONFLICT }, { "address", ERR_FORBIDDEN }, { "under_way", ERR_IN_PROGRESS },
		     { "below_minimum", ERR_LIMIT }, { "insufficient", ERR_INSUFFICIENT_FUNDS } };
	_cleanup_result_ struct db_result *r = NULL;
	_cleanup_json_ json_t *ask = ask_json(a);
	DB_PARAMS p = { 0 };
	enum err e;

	db_json(&p, ask);
	e = db_query_one(db, "SELECT payout_open($1::jsonb) AS status", &p, &r);
	if (e)
		return e;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (!strcmp(db_get_text(r, 0, "status"), ends[i].status))
			return ends[i].e;
	return ERR_INTERNAL;
}

enum err db_payout_not_final(struct db *db, int64_t account, enum payout_kind kind, struct amount *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, account);
	db_int(&p, (int64_t)kind);
	e = db_query_one(db, "SELECT payout_not_final($1::bigint, $2::bigint) AS amount", &p, &r);
	if (!e)
		*ret = db_get_amount(r, 0, "amount");
	return e;
}

enum err db_payouts_schedule(struct db *db, struct amount minimum, int64_t *ret_opened)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_amount(&p, minimum);
	e = db_query_one(db, "SELECT payout_schedule($1::numeric) AS opened", &p, &r);
	if (!e)
		*ret_opened = db_get_int(r, 0, "opened");
	return e;
}

/* ---- the sender's side ---- */

static enum err list_items(struct db *db, const char *sql, const struct db_params *p, struct payout_item *ret, size_t max, size_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_query(db, sql, p, &r);

	if (e)
		return e;
	*ret_count = 0;
	for (int i = 0; i < db_rows(r) && *ret_count < max; i++) {
		struct payout_item *item = &ret[(*ret_count)++];

		db_get_uuid(r, i, "id", &item->id);
		db_get_address(r, i, "address", &item->to);
		item->amount = db_get_amount(r, i, "amount");
	}
	return ERR_OK;
}

enum err db_payouts_pending(struct db *db, struct payout_item *ret, size_t max, size_t *ret_count)
{
	DB_PARAMS p = { 0 };

	db_int(&p, (int64_t)max);
	return list_items(db, "SELECT id, address, amount FROM payout WHERE state = 'pending' ORDER BY asked_at, id LIMIT $1::int", &p, ret, max, ret_count);
}

enum err db_payouts_of_tx(struct db *db, int64_t tx, struct payout_item *ret, size_t max, size_t *ret_count)
{
	DB_PARAMS p = { 0 };

	db_int(&p, tx);
	return list_items(db, "SELECT id, address, amount FROM payout WHERE tx = $1::bigint AND state = 'sent' ORDER BY id", &p, ret, max, ret_count);
}

enum err db_payouts_waiting(struct db *db, const struct uuid *ids, size_t count, int64_t *ret_new)
{
	_cleanup_result_ struct db_result *r = NULL;
	_cleanup_free_ struct uuid_str *texts = xcalloc(count + 1, sizeof(*texts));
	_cleanup_free_ const char **list = xcalloc(count + 1, sizeof(*list));
	DB_PARAMS p = { 0 };
	enum err e;

	for (size_t i = 0; i < count; i++) {
		texts[i] = uuid_format(&ids[i]);
		list[i] = texts[i].s;
	}
	db_text_array(&p, list, count);
	e = db_query_one(db, "WITH changed AS (UPDATE payout SET waits_for = CASE WHEN id::text = ANY ($1::text[]) THEN 'funds' END"
			     " WHERE state = 'pending' AND (waits_for IS NOT NULL) <> (id::text = ANY ($1::text[])) RETURNING waits_for)"
			     " SELECT count(waits_for) AS waiting FROM changed", &p, &r);
	if (!e)
		*ret_new = db_get_int(r, 0, "waiting");
	return e;
}

enum err db_payouts_unmined(struct db *db, uint64_t chain_id, struct amount *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, (int64_t)chain_id);
	e = db_query_one(db, "SELECT coalesce(sum(o.amount), 0) AS amount FROM payout o JOIN settlement_tx t ON t.id = o.tx"
			     " WHERE o.state = 'sent' AND t.state = 'signed' AND t.chain_id = $1::bigint", &p, &r);
	if (!e)
		*ret = db_get_amount(r, 0, "amount");
	return e;
}

struct writing {
	const struct signed_tx *tx;
	const struct address *contract;
	const struct payout_item *items;
	size_t count;
};

static enum err write_tx(struct db *db, void *arg)
{
	const struct writing *w = arg;
	int64_t id = 0;
	enum err e = db_settlement_insert(db, w->tx, &id);

	for (size_t i = 0; !e && i < w->count; i++) {
		DB_PARAMS p = { 0 };

		db_uuid(&p, &w->items[i].id);
		db_int(&p, id);
		db_address(&p, w->contract);
		e = db_exec_one(db, "UPDATE payout SET state = 'sent', waits_for = NULL, tx = $2::bigint, contract = $3 WHERE id = $1::uuid AND state = 'pending'", &p);
	}
	return e;
}

enum err db_payouts_write(struct db *db, const struct signed_tx *tx, const struct address *contract, const struct payout_item *items, size_t count)
{
	struct writing w = { tx, contract, items, count };

	return db_transaction(db, write_tx, &w);
}

struct ending {
	int64_t tx;
	const struct payout_end *ends;
	size_t count;
};

static enum err end_one(struct db *db, const struct payout_end *end)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_uuid(&p, &end->id);
	if (end->end == PAYOUT_AGAIN)
		return db_exec_one(db, "UPDATE payout SET state = 'pending', tx = NULL WHERE id = $1::uuid AND state = 'sent'", &p);
	db_text(&p, end->end == PAYOUT_PAID ? "paid" : "returned");
	if (end->end == PAYOUT_PAID) {
		db_hash(&p, &end->tx);
		db_int(&p, end->log);
		db_text(&p, NULL);
	} else {
		db_text(&p, NULL);
		db_text(&p, NULL);
		db_text(&p, end->reason);
	}
	e = db_query_one(db, "SELECT payout_end($1::uuid, $2, $3::bytea, $4::int, $5) AS done", &p, &r);
	return e ? e : db_get_bool(r, 0, "done") ? ERR_OK : ERR_CONFLICT;
}

static enum err write_final(struct db *db, void *arg)
{
	const struct ending *x = arg;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, x->tx);
	e = db_exec_one(db, "UPDATE settlement_tx SET state = 'final' WHERE id = $1::bigint AND state = 'mined'", &p);
	for (size_t i = 0; !e && i < x->count; i++)
		e = end_one(db, &x->ends[i]);
	return e;
}

enum err db_payouts_final(struct db *db, int64_t tx, const struct payout_end *ends, size_t count)
{
	struct ending x = { tx, ends, count };

	return db_transaction(db, write_final, &x);
}

enum err db_payouts_sums(struct db *db, const struct address *contract, struct payout_sums *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_address(&p, contract);
	e = db_query_one(db, "SELECT coalesce(sum(amount) FILTER (WHERE state = 'paid' AND contract <> $1), 0) AS elsewhere,"
			     " coalesce(sum(amount) FILTER (WHERE state <> 'returned' AND coalesce(contract, $1) = $1), 0) AS most FROM payout", &p, &r);
	if (e)
		return e;
	ret->elsewhere = db_get_amount(r, 0, "elsewhere");
	ret->most = db_get_amount(r, 0, "most");
	return ERR_OK;
}

/* ---- where and when ---- */

enum err db_payout_choose(struct db *db, int64_t account, const struct address *to, const struct payout_signed *statement, int64_t delay_ms)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, account);
	db_address(&p, to);
	db_int(&p, delay_ms);
	db_bytes(&p, statement ? statement->nonce.b : NULL, sizeof(statement->nonce.b));
	db_bytes(&p, statement ? statement->signature : NULL, statement ? statement->len : 0);
	e = db_query_one(db, "SELECT payout_choose($1::bigint, $2, $3::bigint, $4, $5) AS status", &p, &r);
	if (e)
		return e;
	return !strcmp(db_get_text(r, 0, "status"), "ok") ? ERR_OK : !strcmp(db_get_text(r, 0, "status"), "unknown") ? ERR_UNPROCESSABLE : ERR_CONFLICT;
}

enum err db_payout_cancel(struct db *db, int64_t account, const struct address *to)
{
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, account);
	db_address(&p, to);
	e = db_exec_one(db, "UPDATE payout_address SET cancelled_at = clock_timestamp() WHERE account = $1::bigint AND address = $2 AND cancelled_at IS NULL", &p);
	return e == ERR_CONFLICT ? ERR_NOT_FOUND : e;
}

enum err db_payout_schedule_set(struct db *db, int64_t account, const char *schedule, struct amount minimum)
{
	DB_PARAMS p = { 0 };

	db_int(&p, account);
	db_text(&p, schedule);
	db_amount(&p, minimum);
	return db_exec(db, "INSERT INTO payout_setting (account, schedule, minimum, next_at) VALUES ($1::bigint, $2, $3::numeric, payout_next($2))"
			   " ON CONFLICT (account) DO UPDATE SET schedule = EXCLUDED.schedule, minimum = EXCLUDED.minimum,"
			   " next_at = CASE WHEN payout_setting.schedule = EXCLUDED.schedule THEN payout_setting.next_at ELSE EXCLUDED.next_at END", &p, NULL);
}
