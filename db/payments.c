/* See payments.h: claiming, closing, reading. The settler's transactions are in settlements.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "db/payments.h"

static json_t *gas_json(const struct payment_gas *g)
{
	json_t *o = json_must(json_pack("{s:s, s:s, s:s}", "wei", amount_format(g->wei).s, "payer_max", amount_format(g->payer_max).s, "all_max", amount_format(g->all_max).s));

	if (!g->raw)
		return o;
	json_object_set_new(o, "hash", json_hex(g->hash.b, 32));
	json_object_set_new(o, "raw", json_hex(g->raw, g->raw_len));
	json_object_set_new(o, "nonce", json_must(json_integer((json_int_t)g->nonce)));
	json_object_set_new(o, "unlimited", json_boolean(g->unlimited));
	json_object_set_new(o, "top_up", json_must(json_string(amount_format(g->top_up).s)));
	return o;
}

static json_t *claim_json(const struct payment_claim *c)
{
	json_t *o = json_must(json_pack("{s:s, s:I, s:s, s:s, s:s, s:O, s:I}", "id", uuid_format(&c->id).s, "chain_id", (json_int_t)c->chain_id, "scheme", c->scheme,
					"method", c->method, "amount_max", amount_format(c->amount_max).s, "payload", c->payload, "claim_block",
					(json_int_t)c->block));

	if (c->limited) {
		json_object_set_new(o, "payer_max", json_must(json_string(amount_format(c->payer_max).s)));
		json_object_set_new(o, "all_max", json_must(json_string(amount_format(c->all_max).s)));
	}
	if (c->has_balance)
		json_object_set_new(o, "balance", json_must(json_string(amount_format(c->balance).s)));
	if (c->identifier) {
		json_object_set_new(o, "identifier", json_must(json_string(c->identifier)));
		json_object_set_new(o, "identifier_window_ms", json_must(json_integer(c->identifier_window_ms)));
	}
	if (c->gas)
		json_object_set_new(o, "gas", gas_json(c->gas));
	json_object_set_new(o, "verifier", json_hex(c->verifier.b, 20));
	json_object_set_new(o, "payer", json_hex(c->payer.b, 20));
	json_object_set_new(o, "nonce", json_hex(c->nonce.b, 32));
	json_object_set_new(o, "request_digest", json_hex(c->request_digest.b, 32));
	return o;
}

enum err db_payment_claim(struct db *db, const struct payment_claim *c, const struct job_open *job, int64_t *ret_account)
{
	_cleanup_result_ struct db_result *r = NULL;
	_cleanup_json_ json_t *claim = claim_json(c);
	_cleanup_json_ json_t *item = db_job_open_item(job);
	DB_PARAMS p = { 0 };
	const char *status;
	enum err e;

	db_json(&p, claim);
	db_json(&p, item);
	e = db_query_one(db, job->background ? "SELECT status, account FROM payment_claim_background($1::jsonb, $2::jsonb)"
					     : "SELECT status, account FROM payment_claim_extended($1::jsonb, $2::jsonb)", &p, &r);
	if (e)
		return e;
	status = db_get_text(r, 0, "status");
	if (strcmp(status, "ok") != 0)
		return !strcmp(status, "exposed") ? ERR_LIMIT : !strcmp(status, "insufficient") ? ERR_INSUFFICIENT_FUNDS :
		       !strcmp(status, "unsponsored") ? ERR_FORBIDDEN : ERR_CONFLICT;
	*ret_account = db_get_int(r, 0, "account");
	return ERR_OK;
}

enum err db_payment_claim_shared(struct lane *lane, const struct payment_claim *c, const struct job_open *job, int64_t *ret_account)
{
	enum lane_status status = LANE_OK;
	enum err e = lane_submit_claim(lane, json_must(json_pack("{s:o, s:o}", "claim", claim_json(c), "job", db_job_open_item(job))), &status, ret_account);

	return e ? e : status == LANE_OK ? ERR_OK : status == LANE_EXPOSED ? ERR_LIMIT : status == LANE_INSUFFICIENT ? ERR_INSUFFICIENT_FUNDS : ERR_CONFLICT;
}

#define PAYMENT_COLUMNS \
	"SELECT p.id, p.job, p.payer, p.account, p.request_digest, p.state, p.scheme, p.method, p.reason, p.amount_max, p.amount, p.tx_hash, p.payload, j.outcome," \
	" (extract(epoch FROM clock_timestamp() - p.claimed_at) * 1000)::bigint AS age" \
	" FROM payment p JOIN job j ON j.id = p.job"

static const char *text_or_null(const struct db_result *r, const char *column)
{
	return db_is_null(r, 0, column) ? NULL : db_get_text(r, 0, column);
}

static void fill(struct db_result *r, struct payment_row *ret)
{
	*ret = (struct payment_row){ .r = r, .state = db_get_text(r, 0, "state"), .scheme = db_get_text(r, 0, "scheme"), .method = db_get_text(r, 0, "method"),
				     .reason = text_or_null(r, "reason"), .outcome = text_or_null(r, "outcome"), .account = db_get_int(r, 0, "account"),
				     .amount_max = db_get_amount(r, 0, "amount_max"), .amount = db_get_amount(r, 0, "amount"),
				     .has_tx_hash = !db_is_null(r, 0, "tx_hash"), .age_ms = db_get_int(r, 0, "age"), .payload = db_get_json(r, 0, "payload") };
	db_get_uuid(r, 0, "id", &ret->id);
	db_get_uuid(r, 0, "job", &ret->job);
	db_get_address(r, 0, "payer", &ret->payer);
	db_get_hash(r, 0, "request_digest", &ret->request_digest);
	if (ret->has_tx_hash)
		db_get_hash(r, 0, "tx_hash", &ret->tx_hash);
}

void db_payment_row_done(struct payment_row *p)
{
	db_result_free(p->r);
	json_decref(p->payload);
	p->r = NULL;
	p->payload = NULL;
}

enum err db_payment_get(struct db *db, const struct uuid *id, struct payment_row *ret)
{
	struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_uuid(&p, id);
	e = db_query_one(db, PAYMENT_COLUMNS " WHERE p.id = $1::uuid", &p, &r);
	if (!e)
		fill(r, ret);
	return e;
}

enum err db_payment_find(struct db *db, uint64_t chain_id, const struct address *verifier, const struct address *payer, const struct hash *nonce,
			 struct payment_row *ret)
{
	struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, (int64_t)chain_id);
	db_address(&p, verifier);
	db_address(&p, payer);
	db_hash(&p, nonce);
	e = db_query_one(db, PAYMENT_COLUMNS " WHERE p.chain_id = $1::bigint AND p.verifier = $2 AND p.payer = $3 AND p.nonce = $4", &p, &r);
	if (!e)
		fill(r, ret);
	return e;
}

enum err db_payment_of_job(struct db *db, const struct uuid *job, struct payment_row *ret)
{
	struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_uuid(&p, job);
	e = db_query_one(db, PAYMENT_COLUMNS " WHERE p.job = $1::uuid", &p, &r);
	if (!e)
		fill(r, ret);
	return e;
}

enum err db_payment_identified(struct db *db, const struct address *payer, const char *identifier, struct payment_row *ret)
{
	struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_address(&p, payer);
	db_text(&p, identifier);
	e = db_query_one(db, PAYMENT_COLUMNS " JOIN payment_identifier i ON i.payment = p.id WHERE i.payer = $1 AND i.id = $2", &p, &r);
	if (!e)
		fill(r, ret);
	return e;
}

enum err db_payment_for_request(struct db *db, const struct address *payer, const struct hash *request_digest, int64_t max_age_ms, struct payment_row *ret)
{
	struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_address(&p, payer);
	db_hash(&p, request_digest);
	db_int(&p, max_age_ms);
	e = db_query_one(db, PAYMENT_COLUMNS " WHERE p.payer = $1 AND p.request_digest = $2 AND p.state <> 'dropped'"
			     " AND p.claimed_at > clock_timestamp() - $3::bigint * interval '1 millisecond' ORDER BY p.claimed_at DESC LIMIT 1", &p, &r);
	if (!e)
		fill(r, ret);
	return e;
}

enum err db_siwx_nonce_use(struct db *db, const char *nonce, const struct address *address, int64_t lifetime_ms)
{
	DB_PARAMS p = { 0 };

	db_text(&p, nonce);
	db_address(&p, address);
	db_int(&p, lifetime_ms);
	return db_exec(db, "INSERT INTO siwx_nonce (nonce, address, expires_at) VALUES ($1, $2, clock_timestamp() + $3::bigint * interval '1 millisecond')", &p, NULL);
}

enum err db_payments_ended(struct db *db, const struct uuid *ids, size_t count, struct uuid *ret, size_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_uuids(&p, ids, count);
	e = db_query(db, "SELECT p.id FROM jsonb_array_elements_text($1::jsonb) i CROSS JOIN LATERAL (SELECT * FROM payment WHERE id = i::uuid LIMIT 1) p WHERE p.state IN ('settled', 'failed', 'dropped')", &p, &r);
	if (e)
		return e;
	*ret_count = 0;
	for (int i = 0; i < db_rows(r) && *ret_count < count; i++)
		db_get_uuid(r, i, "id", &ret[(*ret_count)++]);
	return ERR_OK;
}

enum err db_payment_settle(struct db *db, const struct uuid *id, struct amount amount)
{
	DB_PARAMS p = { 0 };
	int64_t rows = 0;
	enum err e;

	db_uuid(&p, id);
	db_amount(&p, amount);
	e = db_exec(db, "UPDATE payment SET state = CASE WHEN $2::numeric > 0 THEN 'settling' ELSE 'settled' END, amount = $2::numeric,"
			" ended_at = CASE WHEN $2::numeric > 0 THEN NULL ELSE clock_timestamp() END WHERE id = $1::uuid AND state = 'claimed'", &p, &rows);
	return e ? e : rows == 1 ? ERR_OK : ERR_CONFLICT;
}

enum err db_payment_close(struct db *db, const struct uuid *id, const struct job_close *c, bool dropped, const char *why)
{
	_cleanup_result_ struct db_result *r = NULL;
	_cleanup_json_ json_t *item = db_job_close_item(c);
	DB_PARAMS p = { 0 };
	enum err e;

	db_uuid(&p, id);
	db_json(&p, item);
	db_bool(&p, dropped);
	db_text(&p, why);
	e = db_query_one(db, "SELECT payment_close($1::uuid, $2::jsonb, $3::boolean, $4) AS status", &p, &r);
	if (!e && strcmp(db_get_text(r, 0, "status"), "ok") != 0)
		e = ERR_CONFLICT;
	return e;
}

static enum err submit(struct lane *lane, enum lane_kind kind, json_t *take_item)
{
	enum lane_status status = LANE_OK;
	enum err e = lane_submit(lane, kind, take_item, &status);

	return e ? e : status == LANE_OK ? ERR_OK : ERR_CONFLICT;
}

enum err db_payment_produce(struct lane *lane, const struct uuid *id, const struct job_close *c, struct amount amount)
{
	json_t *item = db_job_close_item(c);

	json_object_set_new(item, "payment", json_must(json_string(uuid_format(id).s)));
	json_object_set_new(item, "amount", json_must(json_string(amount_format(amount).s)));
	return submit(lane, LANE_PAYMENT_PRODUCE, item);
}

enum err db_payment_close_shared(struct lane *lane, const struct uuid *id, const struct job_close *c, bool dropped, const char *why)
{
	json_t *item = db_job_close_item(c);

	json_object_set_new(item, "payment", json_must(json_string(uuid_format(id).s)));
	json_object_set_new(item, "dropped", json_boolean(dropped));
	if (why)
		json_object_set_new(item, "why", json_must(json_string(why)));
	return submit(lane, LANE_PAYMENT_CLOSE, item);
}
