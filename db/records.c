/* See records.h. Every write is fenced by the state it expects. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "crypto/crypto.h"
#include "db/records.h"

enum err db_record_want(struct db *db, const struct uuid *job, bool individual, const void *input, size_t input_len)
{
	DB_PARAMS p = { 0 };

	db_uuid(&p, job);
	db_bool(&p, individual);
	db_bytes(&p, input, input_len);
	return db_exec(db, "INSERT INTO record (job, individual, input) VALUES ($1::uuid, $2::boolean, $3) ON CONFLICT DO NOTHING", &p, NULL);
}

enum err db_records_individual_lately(struct db *db, int64_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_query_one(db, "SELECT count(*) AS n FROM record WHERE individual AND created_at > now() - interval '1 hour'", NULL, &r);

	if (!e)
		*ret_count = db_get_int(r, 0, "n");
	return e;
}

enum err db_records_sweep(struct db *db)
{
	return db_exec(db, "DELETE FROM record WHERE state = 'wanted' AND created_at < now() - interval '1 hour' AND NOT EXISTS (SELECT FROM job j WHERE j.id = record.job)",
		       NULL, NULL);
}

/* ---- wanted ---- */

void db_record_ended_done(struct record_ended *e)
{
	free(e->input);
	free(e->output);
	db_result_free(e->r);
	*e = (struct record_ended){ 0 };
}

#define SQL_ENDED \
	"SELECT r.job, r.individual, a.address AS payer, r.input, CASE WHEN j.verdict = 'passed' AND j.state = 'settled' THEN j.receipt END AS receipt," \
	" CASE WHEN r.individual THEN j.response_body END AS output FROM record r JOIN job j ON j.id = r.job JOIN account a ON a.id = j.account" \
	" WHERE r.state = 'wanted' AND j.outcome IS NOT NULL ORDER BY r.created_at LIMIT 1"

enum err db_record_ended(struct db *db, struct record_ended *ret)
{
	struct db_result *r = NULL;
	enum err e = db_query_one(db, SQL_ENDED, NULL, &r);

	if (e)
		return e;
	*ret = (struct record_ended){ .r = r, .individual = db_get_bool(r, 0, "individual"), .receipt = db_is_null(r, 0, "receipt") ? NULL : db_get_text(r, 0, "receipt") };
	db_get_uuid(r, 0, "job", &ret->job);
	db_get_address(r, 0, "payer", &ret->payer);
	if (!db_is_null(r, 0, "input"))
		ret->input = db_get_bytes(r, 0, "input", &ret->input_len);
	if (!db_is_null(r, 0, "output"))
		ret->output = db_get_bytes(r, 0, "output", &ret->output_len);
	return ERR_OK;
}

enum err db_record_drop(struct db *db, const struct uuid *job)
{
	DB_PARAMS p = { 0 };

	db_uuid(&p, job);
	return db_exec_one(db, "UPDATE record SET state = 'dropped', input = NULL WHERE job = $1::uuid AND state = 'wanted'", &p);
}

static enum err blob_add(struct db *db, const struct hash *id, const char *body)
{
	DB_PARAMS p = { 0 };

	db_hash(&p, id);
	db_bytes(&p, body, strlen(body));
	return db_exec(db, "INSERT INTO record_blob (id, body) VALUES ($1, $2) ON CONFLICT DO NOTHING", &p, NULL);
}

struct queueing {
	const struct uuid *job;
	const struct record_facts *facts;
	const char *body;
};

static enum err write_queue(struct db *db, void *arg)
{
	const struct queueing *q = arg;
	const struct record_facts *f = q->facts;
	DB_PARAMS p = { 0 };
	struct hash blob;
	enum err e = ERR_OK;

	if (q->body) {
		sha256_of(q->body, strlen(q->body), &blob);
		e = blob_add(db, &blob, q->body);
	}
	db_uuid(&p, q->job);
	db_hash(&p, &f->signer);
	db_hash(&p, &f->input_hash);
	db_hash(&p, &f->output_hash);
	db_bytes(&p, f->signature, sizeof(f->signature));
	db_int(&p, (int64_t)f->signed_at);
	db_address(&p, &f->payer);
	db_hash(&p, q->body ? &blob : NULL);
	return e ? e : db_exec_one(db, "UPDATE record SET state = 'queued', input = NULL, signer = $2, input_hash = $3, output_hash = $4, signature = $5, signed_at = $6::bigint,"
				    " payer = $7, blob = $8::bytea WHERE job = $1::uuid AND state = 'wanted' AND individual = ($8::bytea IS NOT NULL)", &p);
}

enum err db_record_queue(struct db *db, const struct uuid *job, const struct record_facts *f, const char *body)
{
	struct queueing q = { job, f, body };

	return db_transaction(db, write_queue, &q);
}

/* ---- queued ---- */

#define FACT_COLUMNS "r.signer, r.input_hash, r.output_hash, r.signature, r.signed_at, r.payer"

static void read_facts(const struct db_result *r, int i, struct record_facts *ret)
{
	size_t len = 0;
	_cleanup_free_ char *signature = db_get_bytes(r, i, "signature", &len);

	*ret = (struct record_facts){ .signed_at = (uint64_t)db_get_int(r, i, "signed_at") };
	db_get_hash(r, i, "signer", &ret->signer);
	db_get_hash(r, i, "input_hash", &ret->input_hash);
	db_get_hash(r, i, "output_hash", &ret->output_hash);
	db_get_address(r, i, "payer", &ret->payer);
	if (len == sizeof(ret->signature))
		memcpy(ret->signature, signature, len);
}

enum err db_records_queued(struct db *db, bool individual, struct record_queued *ret, size_t max, size_t *ret_count, int64_t *ret_age_ms)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_bool(&p, individual);
	db_int(&p, (int64_t)max);
	e = db_query(db, "SELECT r.job, r.blob, " FACT_COLUMNS ", (extract(epoch FROM clock_timestamp() - r.created_at) * 1000)::bigint AS age FROM record r"
			 " WHERE r.state = 'queued' AND r.individual = $1::boolean ORDER BY r.created_at, r.job LIMIT $2::int", &p, &r);
	if (e)
		return e;
	*ret_age_ms = db_rows(r) ? db_get_int(r, 0, "age") : 0;
	*ret_count = 0;
	for (int i = 0; i < db_rows(r) && *ret_count < max; i++) {
		struct record_queued *q = &ret[(*ret_count)++];

		db_get_uuid(r, i, "job", &q->job);
		read_facts(r, i, &q->facts);
		if (individual)
			db_get_hash(r, i, "blob", &q->blob);
	}
	return ERR_OK;
}

struct posting {
	const struct record_queued *calls;
	size_t count;
	const struct hash *root, *blob;
	const char *body;
};

static enum err write_post(struct db *db, void *arg)
{
	const struct posting *w = arg;
	_cleanup_free_ struct uuid_str *texts = xcalloc(w->count, sizeof(*texts));
	_cleanup_free_ const char **ids = xcalloc(w->count, sizeof(*ids));
	DB_PARAMS p = { 0 };
	enum err e = w->root ? blob_add(db, w->blob, w->body) : ERR_OK;

	for (size_t i = 0; i < w->count; i++) {
		texts[i] = uuid_format(&w->calls[i].job);
		ids[i] = texts[i].s;
	}
	db_text_array(&p, ids, w->count);
	db_hash(&p, w->root);
	db_hash(&p, w->blob);
	return e ? e : db_exec(db, "SELECT record_post_make($1::text[]::uuid[], $2::bytea, $3::bytea)", &p, NULL);
}

enum err db_record_post(struct db *db, const struct record_queued *calls, size_t count, const struct hash *root, const struct hash *blob, const char *body)
{
	struct posting w = { calls, count, root, blob, body };

	return db_transaction(db, write_post, &w);
}

/* ---- events ---- */

#define SQL_DUE \
	"SELECT p.id, p.root, p.size, p.blob, " FACT_COLUMNS " FROM record_post_due d JOIN record_post p ON p.id = d.id JOIN record r ON r.post = p.id" \
	" WHERE (SELECT count(*) FROM record_post o JOIN settlement_tx x ON x.id = o.tx WHERE x.state IN ('signed', 'mined')) < $1::int" \
	" ORDER BY p.id LIMIT 1"

enum err db_record_post_due(struct db *db, int open_max, struct record_post *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, open_max);
	e = db_query_one(db, SQL_DUE, &p, &r);
	if (e)
		return e;
	*ret = (struct record_post){ .id = db_get_int(r, 0, "id"), .batch = !db_is_null(r, 0, "root"), .size = (uint64_t)db_get_int(r, 0, "size") };
	if (ret->batch)
		db_get_hash(r, 0, "root", &ret->root);
	db_get_hash(r, 0, "blob", &ret->blob);
	read_facts(r, 0, &ret->facts);
	return ERR_OK;
}

struct writing {
	const struct signed_tx *tx;
	int64_t post;
};

static enum err write_tx(struct db *db, void *arg)
{
	const struct writing *w = arg;
	DB_PARAMS p = { 0 };
	int64_t tx = 0;
	enum err e = db_settlement_insert(db, w->tx, &tx);

	db_int(&p, w->post);
	db_int(&p, tx);
	return e ? e : db_exec_one(db, "UPDATE record_post p SET tx = $2::bigint, past = array_remove(past || p.tx, NULL) WHERE p.id = $1::bigint AND (p.tx IS NULL OR EXISTS"
				    " (SELECT FROM settlement_tx t WHERE t.id = p.tx AND t.state = 'replaced'))", &p);
}

enum err db_record_post_write(struct db *db, const struct signed_tx *tx, int64_t post)
{
	struct writing w = { tx, post };

	return db_transaction(db, write_tx, &w);
}

enum err db_record_post_moved(struct db *db, int64_t tx, bool *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, tx);
	e = db_query_one(db, "SELECT EXISTS (SELECT FROM record_post WHERE $1::bigint = ANY (past)) AS moved", &p, &r);
	if (!e)
		*ret = db_get_bool(r, 0, "moved");
	return e;
}

/* ---- reading ---- */

#define SQL_GET \
	"SELECT r.individual, r.state, coalesce(r.blob, p.blob) AS blob, p.root, p.size, CASE WHEN t.state IN ('mined', 'final') AND t.succeeded THEN p.tx_hash END AS tx_hash," \
	" CASE WHEN r.state = 'dropped' OR (t.state IN ('mined', 'final') AND NOT t.succeeded) THEN 'failed' WHEN t.state IN ('mined', 'final') THEN 'succeeded'" \
	" WHEN r.state = 'posted' THEN 'processing' ELSE 'queued' END AS status, (extract(epoch FROM r.created_at) * 1000)::bigint AS created" \
	" FROM record r LEFT JOIN record_post p ON p.id = r.post LEFT JOIN settlement_tx t ON t.id = p.tx WHERE r.job = $1::uuid"

enum err db_record_get(struct db *db, const struct uuid *job, struct record_row *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_uuid(&p, job);
	e = db_query_one(db, SQL_GET, &p, &r);
	if (e)
		return e;
	*ret = (struct record_row){ .individual = db_get_bool(r, 0, "individual"), .has_post = !db_is_null(r, 0, "size"), .has_tx_hash = !db_is_null(r, 0, "tx_hash"),
				    .is_batch = !db_is_null(r, 0, "root"), .size = db_get_int(r, 0, "size"), .created_ms = db_get_int(r, 0, "created") };
	snprintf(ret->status, sizeof(ret->status), "%s", db_get_text(r, 0, "status"));
	if (ret->has_tx_hash)
		db_get_hash(r, 0, "tx_hash", &ret->tx_hash);
	if (ret->is_batch)
		db_get_hash(r, 0, "root", &ret->root);
	if (ret->has_post)
		db_get_hash(r, 0, "blob", &ret->blob);
	return ERR_OK;
}

enum err db_record_blob(struct db *db, const struct hash *id, char **ret, size_t *ret_len)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_hash(&p, id);
	e = db_query_one(db, "SELECT body FROM record_blob WHERE id = $1", &p, &r);
	if (!e)
		*ret = db_get_bytes(r, 0, "body", ret_len);
	return e;
}
