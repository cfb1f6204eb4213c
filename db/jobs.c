/* See jobs.h: opening, closing, claiming. Reading is in job_rows.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "db/jobs.h"

static void set(json_t *o, const char *key, json_t *value)
{
	if (json_object_set_new(o, key, json_must(value)))
		abort();
}

static void set_text(json_t *o, const char *key, const char *s)
{
	if (s)
		set(o, key, json_string(s));
}

static void set_amount(json_t *o, const char *key, struct amount a)
{
	set_text(o, key, amount_format(a).s);
}

static void set_uuid(json_t *o, const char *key, const struct uuid *u)
{
	set_text(o, key, uuid_format(u).s);
}

json_t *db_job_open_item(const struct job_open *j)
{
	json_t *o = json_must(json_object());

	set_uuid(o, "id", &j->id);
	set(o, "account", json_integer(j->account));
	if (j->api_key)
		set(o, "api_key", json_integer(j->api_key));
	set(o, "version", json_integer(j->version));
	set(o, "author", json_integer(j->author));
	set_amount(o, "hold", j->hold);
	set_text(o, "policy", j->policy);
	set(o, "background", json_boolean(j->background));
	set_text(o, "state", j->background ? "queued" : "running");
	set_text(o, "path", j->path);
	set_text(o, "content_type", j->content_type);
	set_text(o, "tensor_header_length", j->tensor_header_length);
	set(o, "request_hash", json_hex(j->request_hash.b, 32));
	set(o, "input_units_max", json_integer(j->input_units_max));
	set(o, "output_units_max", json_integer(j->output_units_max));
	set_amount(o, "royalty_input", j->royalty_input);
	set_amount(o, "royalty_output", j->royalty_output);
	set_amount(o, "ask_input_max", j->ask_input_max);
	set_amount(o, "ask_output_max", j->ask_output_max);
	set(o, "fee_bps", json_integer(j->fee_bps));
	set(o, "timeout_ms", json_integer(j->timeout_ms));
	set(o, "attempt", json_integer(j->background ? 0 : 1));
	if (j->background) {
		set(o, "request_body", json_hex(j->body, j->body_len));
	} else {
		set_uuid(o, "lease", &j->lease);
		set(o, "node", json_hex(j->node.b, 20));
		set(o, "operator", json_integer(j->operator_));
		set_amount(o, "ask_input", j->ask_input);
		set_amount(o, "ask_output", j->ask_output);
	}
	if (j->idempotency_key) {
		set_text(o, "route", j->route);
		set_text(o, "key", j->idempotency_key);
		set(o, "body_digest", json_hex(j->body_digest.b, 32));
	}
	return o;
}

enum err db_job_open(struct lane *lane, const struct job_open *j, enum lane_status *ret)
{
	return lane_submit(lane, LANE_OPEN, db_job_open_item(j), ret);
}

json_t *db_job_close_item(const struct job_close *c)
{
	json_t *o = json_must(json_object());

	set_uuid(o, "id", &c->id);
	set(o, "account", json_integer(c->account));
	if (c->leased)
		set_uuid(o, "lease", &c->lease);
	set(o, "attempt", json_integer(c->attempt));
	set_text(o, "state", c->state);
	set_text(o, "outcome", c->outcome);
	set_amount(o, "ask", c->ask);
	set_amount(o, "royalty", c->royalty);
	set_amount(o, "fee", c->fee);
	set_text(o, "error", c->error);
	if (c->response_status) {
		set(o, "response_status", json_integer(c->response_status));
		set_text(o, "response_type", c->response_type);
		set_text(o, "response_header_length", c->response_header_length);
	}
	if (c->response_hash)
		set(o, "response_hash", json_hex(c->response_hash->b, 32));
	if (c->response_body)
		set(o, "response_body", json_hex(c->response_body, c->response_len));
	set_text(o, "receipt", c->receipt);
	set_text(o, "verdict", c->verdict);
	if (c->verdict_report)
		set(o, "verdict_report", json_incref(c->verdict_report));
	if (c->input_units >= 0)
		set(o, "input_units", json_integer(c->input_units));
	if (c->output_units >= 0)
		set(o, "output_units", json_integer(c->output_units));
	return o;
}

enum err db_job_close(struct lane *lane, const struct job_close *c, enum lane_status *ret)
{
	return lane_submit(lane, LANE_CLOSE, db_job_close_item(c), ret);
}

static enum err exec_fenced(struct db *db, const char *sql, const struct db_params *p)
{
	int64_t rows = 0;
	enum err e = db_exec(db, sql, p, &rows);

	return e ? e : rows == 1 ? ERR_OK : ERR_CONFLICT;
}

#define SQL_CLAIM \
	"WITH j AS (UPDATE job SET state = 'running', lease = $2::uuid, attempt = attempt + 1, node = $4, operator = $5, ask_input = $6::numeric, ask_output = $7::numeric" \
	" WHERE id = $1::uuid AND attempt = $3::int AND state = 'queued' AND NOT cancel_requested RETURNING id, attempt, node)" \
	" INSERT INTO job_attempt (job, attempt, node) SELECT id, attempt, node FROM j"

enum err db_job_claim(struct db *db, const struct uuid *id, const struct uuid *lease, int attempt_now, const struct address *node, int64_t operator_,
		      struct amount ask_input, struct amount ask_output)
{
	DB_PARAMS p = { 0 };

	db_uuid(&p, id);
	db_uuid(&p, lease);
	db_int(&p, attempt_now);
	db_address(&p, node);
	db_int(&p, operator_);
	db_amount(&p, ask_input);
	db_amount(&p, ask_output);
	return exec_fenced(db, SQL_CLAIM, &p);
}

#define SQL_RETRY \
	"WITH old AS (UPDATE job_attempt SET ended_at = clock_timestamp(), failure = $8 WHERE job = $1::uuid AND attempt = $3::int)," \
	" j AS (UPDATE job SET attempt = attempt + 1, node = $4, operator = $5, ask_input = $6::numeric, ask_output = $7::numeric" \
	" WHERE id = $1::uuid AND attempt = $3::int AND lease = $2::uuid AND state = 'running' RETURNING id, attempt, node)" \
	" INSERT INTO job_attempt (job, attempt, node) SELECT id, attempt, node FROM j"

enum err db_job_retry(struct db *db, const struct uuid *id, const struct uuid *lease, int attempt_now, const char *failure, const struct address *node,
		      int64_t operator_, struct amount ask_input, struct amount ask_output)
{
	DB_PARAMS p = { 0 };

	db_uuid(&p, id);
	db_uuid(&p, lease);
	db_int(&p, attempt_now);
	db_address(&p, node);
	db_int(&p, operator_);
	db_amount(&p, ask_input);
	db_amount(&p, ask_output);
	db_text(&p, failure);
	return exec_fenced(db, SQL_RETRY, &p);
}

#define SQL_REQUEUE \
	"WITH old AS (UPDATE job_attempt SET ended_at = clock_timestamp(), failure = $4 WHERE job = $1::uuid AND attempt = $3::int)" \
	" UPDATE job SET state = 'queued', lease = NULL WHERE id = $1::uuid AND attempt = $3::int AND lease = $2::uuid AND state = 'running'"

enum err db_job_requeue(struct db *db, const struct uuid *id, const struct uuid *lease, int attempt_now, const char *failure)
{
	DB_PARAMS p = { 0 };

	db_uuid(&p, id);
	db_uuid(&p, lease);
	db_int(&p, attempt_now);
	db_text(&p, failure);
	return exec_fenced(db, SQL_REQUEUE, &p);
}

#define SQL_PRODUCE \
	"UPDATE job SET state = 'produced', produced_at = clock_timestamp(), response_status = $4::int, response_type = $5, response_hash = $6, response_body = $7," \
	" receipt = $8, verdict = $9, verdict_report = $10::jsonb, input_units = $11::bigint, output_units = $12::bigint, response_header_length = $13" \
	" WHERE id = $1::uuid AND lease = $2::uuid AND attempt = $3::int AND state = 'running'"

enum err db_job_produce(struct db *db, const struct job_close *c)
{
	DB_PARAMS p = { 0 };

	db_uuid(&p, &c->id);
	db_uuid(&p, &c->lease);
	db_int(&p, c->attempt);
	db_int(&p, c->response_status);
	db_text(&p, c->response_type);
	db_hash(&p, c->response_hash);
	db_bytes(&p, c->response_body, c->response_len);
	db_text(&p, c->receipt);
	db_text(&p, c->verdict);
	db_json(&p, c->verdict_report);
	db_int(&p, c->input_units);
	db_int(&p, c->output_units);
	db_text(&p, c->response_header_length);
	return exec_fenced(db, SQL_PRODUCE, &p);
}

#define SQL_CANCEL \
	"UPDATE job SET cancel_requested = cancel_requested OR state IN ('queued', 'running') WHERE id = $1::uuid AND account = $2 RETURNING state"

enum err db_job_cancel(struct db *db, const struct uuid *id, int64_t account, char ret_state[16])
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_uuid(&p, id);
	db_int(&p, account);
	e = db_query_one(db, SQL_CANCEL, &p, &r);
	if (!e)
		snprintf(ret_state, 16, "%s", db_get_text(r, 0, "state"));
	return e;
}

enum err db_idempotency_get(struct db *db, int64_t account, const char *route, const char *key, struct uuid *ret_job, struct hash *ret_digest)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, account);
	db_text(&p, route);
	db_text(&p, key);
	e = db_query_one(db, "SELECT job, body_digest FROM idempotency WHERE account = $1 AND route = $2 AND key = $3", &p, &r);
	if (!e) {
		db_get_uuid(r, 0, "job", ret_job);
		db_get_hash(r, 0, "body_digest", ret_digest);
	}
	return e;
}

enum err db_instance_beat(struct db *db, const struct uuid *instance)
{
	DB_PARAMS p = { 0 };

	db_uuid(&p, instance);
	return db_exec(db, "INSERT INTO gateway_instance (id) VALUES ($1::uuid) ON CONFLICT (id) DO UPDATE SET heartbeat_at = clock_timestamp()", &p, NULL);
}

static enum err collect_ids(struct db *db, const char *sql, const struct db_params *p, struct uuid *ret, size_t max, size_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_query(db, sql, p, &r);

	if (e)
		return e;
	*ret_count = 0;
	for (int i = 0; i < db_rows(r) && *ret_count < max; i++)
		db_get_uuid(r, i, "id", &ret[(*ret_count)++]);
	return ERR_OK;
}

enum err db_jobs_queued(struct db *db, struct uuid *ret, size_t max, size_t *ret_count)
{
	DB_PARAMS p = { 0 };

	db_int(&p, (int64_t)max);
	return collect_ids(db, "SELECT id FROM (SELECT id, created_at, row_number() OVER (PARTITION BY version ORDER BY created_at) AS place FROM job"
			       " WHERE state = 'queued' AND NOT EXISTS (SELECT FROM payment p WHERE p.job = job.id AND p.state <> 'settled')) q WHERE place <= 16 ORDER BY place, created_at LIMIT $1::int", &p, ret, max, ret_count);
}

enum err db_jobs_reap(struct db *db, const struct uuid *me, int64_t instance_timeout_ms, struct uuid *ret, size_t max, size_t *ret_count)
{
	DB_PARAMS p = { 0 };

	db_uuid(&p, me);
	db_int(&p, instance_timeout_ms);
	db_int(&p, (int64_t)max);
	return collect_ids(db, "SELECT id FROM jobs_reap($1::uuid, $2::bigint, $3::int) id", &p, ret, max, ret_count);
}
