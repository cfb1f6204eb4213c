/* Reading jobs; see jobs.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "db/jobs.h"

#define JOB_COLUMNS \
	"j.id, j.account, j.version, j.author, coalesce(j.operator, 0) AS operator, j.fee_bps, j.state, j.outcome, j.policy, j.path, j.content_type," \
	" j.tensor_header_length, j.receipt, j.error, j.verdict, j.verdict_report, j.background, j.cancel_requested, j.lease, j.attempt, j.request_hash," \
	" j.response_hash, j.node, j.royalty_input, j.royalty_output, j.ask_input, j.ask_output, j.ask_input_max, j.ask_output_max, j.input_units_max," \
	" j.output_units_max, j.input_units, j.output_units, j.charged, j.ask, j.royalty, j.fee, j.response_status, j.response_type," \
	" h.amount AS hold, v.digest, v.number, m.name AS model_name, coalesce(au.handle, '0x' || encode(au.address, 'hex')) AS author_name," \
	" '0x' || encode(au.address, 'hex') AS author_address, '0x' || encode(op.address, 'hex') AS operator_address," \
	" (extract(epoch FROM j.deadline_at - clock_timestamp()) * 1000)::bigint AS left_ms," \
	" (extract(epoch FROM j.created_at) * 1000)::bigint AS created_ms," \
	" to_char(j.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS created," \
	" to_char(j.ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS ended"
#define JOB_TABLES \
	" FROM job j JOIN hold h ON h.job = j.id JOIN model_version v ON v.id = j.version JOIN model m ON m.id = v.model" \
	" JOIN account au ON au.id = j.author LEFT JOIN account op ON op.id = j.operator"

static const char *text_or_null(const struct db_result *r, int row, const char *column)
{
	return db_is_null(r, row, column) ? NULL : db_get_text(r, row, column);
}

static void fill(struct job_row *j)
{
	const struct db_result *r = j->r;
	int i = j->row;

	db_get_uuid(r, i, "id", &j->id);
	j->account = db_get_int(r, i, "account");
	j->version = db_get_int(r, i, "version");
	j->author = db_get_int(r, i, "author");
	j->operator_ = db_get_int(r, i, "operator");
	j->fee_bps = db_get_int(r, i, "fee_bps");
	j->state = db_get_text(r, i, "state");
	j->outcome = text_or_null(r, i, "outcome");
	j->policy = db_get_text(r, i, "policy");
	j->path = db_get_text(r, i, "path");
	j->content_type = db_get_text(r, i, "content_type");
	j->tensor_header_length = text_or_null(r, i, "tensor_header_length");
	j->receipt = text_or_null(r, i, "receipt");
	j->error = text_or_null(r, i, "error");
	j->verdict = text_or_null(r, i, "verdict");
	j->background = db_get_bool(r, i, "background");
	j->cancel_requested = db_get_bool(r, i, "cancel_requested");
	j->leased = !db_is_null(r, i, "lease");
	if (j->leased)
		db_get_uuid(r, i, "lease", &j->lease);
	j->attempt = (int)db_get_int(r, i, "attempt");
	db_get_hash(r, i, "request_hash", &j->request_hash);
	db_get_hash(r, i, "digest", &j->digest);
	j->has_response_hash = !db_is_null(r, i, "response_hash");
	if (j->has_response_hash)
		db_get_hash(r, i, "response_hash", &j->response_hash);
	j->has_node = !db_is_null(r, i, "node");
	if (j->has_node)
		db_get_address(r, i, "node", &j->node);
	j->hold = db_get_amount(r, i, "hold");
	j->charged = db_get_amount(r, i, "charged");
	j->ask = db_get_amount(r, i, "ask");
	j->royalty = db_get_amount(r, i, "royalty");
	j->fee = db_get_amount(r, i, "fee");
	j->royalty_input = db_get_amount(r, i, "royalty_input");
	j->royalty_output = db_get_amount(r, i, "royalty_output");
	j->ask_input = db_get_amount(r, i, "ask_input");
	j->ask_output = db_get_amount(r, i, "ask_output");
	j->ask_input_max = db_get_amount(r, i, "ask_input_max");
	j->ask_output_max = db_get_amount(r, i, "ask_output_max");
	j->input_units_max = db_get_int(r, i, "input_units_max");
	j->output_units_max = db_get_int(r, i, "output_units_max");
	j->has_units = !db_is_null(r, i, "input_units");
	j->input_units = db_get_int(r, i, "input_units");
	j->output_units = db_get_int(r, i, "output_units");
	j->left_ms = db_get_int(r, i, "left_ms");
	j->created_at = db_get_int(r, i, "created_ms");
	j->response_status = (int)db_get_int(r, i, "response_status");
}

void db_job_row_done(struct job_row *j)
{
	db_result_free(j->r);
	j->r = NULL;
}

enum err db_job_get(struct db *db, const struct uuid *id, int64_t account, struct job_row *ret)
{
	struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_uuid(&p, id);
	db_int(&p, account);
	e = db_query_one(db, "SELECT " JOB_COLUMNS JOB_TABLES " WHERE j.id = $1::uuid AND ($2::bigint = 0 OR j.account = $2::bigint)", &p, &r);
	if (e)
		return e;
	*ret = (struct job_row){ .r = r };
	fill(ret);
	return ERR_OK;
}

static json_t *text_json(const char *s)
{
	return s ? json_must(json_string(s)) : json_null();
}

static json_t *hash_json(const struct hash *h)
{
	return json_must(json_string(hash_format(h).s));
}

/* Who got what, once the job has ended. */
static json_t *split_json(const struct job_row *j)
{
	if (!j->outcome)
		return json_null();
	return json_must(json_pack("{s:s, s:s, s:s}", "node", amount_format(j->ask).s, "author", amount_format(j->royalty).s, "platform",
				   amount_format(j->fee).s));
}

json_t *db_job_json(const struct job_row *j)
{
	const struct db_result *r = j->r;
	struct hash_str digest = hash_format(&j->digest);
	_cleanup_free_ char *model = xasprintf("%s/%s", db_get_text(r, j->row, "author_name"), db_get_text(r, j->row, "model_name"));
	_cleanup_free_ char *digest_text = xasprintf("sha256:%s", digest.s + 2);
	json_t *o = json_must(json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:b, s:i}", "id", uuid_format(&j->id).s, "object", "job", "state", j->state, "model",
					model, "digest", digest_text, "version", (int)db_get_int(r, j->row, "number"), "policy", j->policy, "background",
					j->background, "attempt", j->attempt));
	json_t *report = db_get_json(r, j->row, "verdict_report");

	json_object_set_new(o, "outcome", text_json(j->outcome));
	json_object_set_new(o, "error", text_json(j->error));
	json_object_set_new(o, "node", j->has_node ? json_must(json_string(address_format(&j->node).s)) : json_null());
	json_object_set_new(o, "operator", text_json(text_or_null(r, j->row, "operator_address")));
	json_object_set_new(o, "author", text_json(text_or_null(r, j->row, "author_address")));
	json_object_set_new(o, "verdict", text_json(j->verdict));
	json_object_set_new(o, "checks", report ? json_incref(json_object_get(report, "checks")) : json_null());
	json_decref(report);
	json_object_set_new(o, "hold", json_must(json_string(amount_format(j->hold).s)));
	json_object_set_new(o, "charged", j->outcome ? json_must(json_string(amount_format(j->charged).s)) : json_null());
	json_object_set_new(o, "split", split_json(j));
	json_object_set_new(o, "asset", json_must(json_pack("{s:s, s:i}", "symbol", "OPG", "decimals", 18)));
	json_object_set_new(o, "usage", j->has_units ? json_must(json_pack("{s:I, s:I}", "input_units", (json_int_t)j->input_units, "output_units",
									     (json_int_t)j->output_units))
						      : json_null());
	json_object_set_new(o, "request", json_must(json_pack("{s:s, s:s, s:s, s:o}", "method", "POST", "path", j->path, "content_type", j->content_type, "hash",
							      hash_json(&j->request_hash))));
	json_object_set_new(o, "response", j->response_status ? json_must(json_pack("{s:i, s:o, s:o}", "status", j->response_status, "content_type",
										      text_json(text_or_null(r, j->row, "response_type")), "hash",
										      j->has_response_hash ? hash_json(&j->response_hash) : json_null()))
							       : json_null());
	json_object_set_new(o, "created_at", text_json(db_get_text(r, j->row, "created")));
	json_object_set_new(o, "ended_at", text_json(text_or_null(r, j->row, "ended")));
	return o;
}

enum err db_job_list(struct db *db, int64_t account, const struct uuid *after, int limit, json_t **ret)
{
	DB_PARAMS p = { 0 };
	struct db_result *r = NULL;
	json_t *list;
	enum err e;

	db_int(&p, account);
	db_uuid(&p, after);
	db_int(&p, limit + 1);
	e = db_query(db, "SELECT " JOB_COLUMNS JOB_TABLES " WHERE j.account = $1::bigint AND ($2::uuid IS NULL OR j.id < $2::uuid) ORDER BY j.id DESC LIMIT $3::int", &p, &r);
	if (e)
		return e;
	list = json_must(json_array());
	for (int i = 0; i < db_rows(r) && i < limit; i++) {
		struct job_row j = { .r = r, .row = i };

		fill(&j);
		json_array_append_new(list, db_job_json(&j));
	}
	*ret = json_must(json_pack("{s:s, s:o, s:b}", "object", "list", "data", list, "has_more", db_rows(r) > limit));
	db_result_free(r);
	return ERR_OK;
}

enum err db_job_output(struct db *db, const struct uuid *id, int64_t account, struct job_output *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_uuid(&p, id);
	db_int(&p, account);
	e = db_query_one(db, "SELECT response_body, response_type, response_header_length, response_status FROM job WHERE id = $1::uuid AND account = $2::bigint"
			     " AND state = 'settled' AND response_body IS NOT NULL", &p, &r);
	if (e)
		return e;
	*ret = (struct job_output){ .status = (int)db_get_int(r, 0, "response_status") };
	ret->body = db_get_bytes(r, 0, "response_body", &ret->len);
	snprintf(ret->type, sizeof(ret->type), "%s", db_get_text(r, 0, "response_type"));
	snprintf(ret->header_length, sizeof(ret->header_length), "%s", db_get_text(r, 0, "response_header_length"));
	return ERR_OK;
}

enum err db_job_body(struct db *db, const struct uuid *id, char **ret, size_t *ret_len)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_uuid(&p, id);
	e = db_query_one(db, "SELECT request_body FROM job WHERE id = $1::uuid AND request_body IS NOT NULL", &p, &r);
	if (!e)
		*ret = db_get_bytes(r, 0, "request_body", ret_len);
	return e;
}
