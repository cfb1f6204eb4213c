/* Jobs: accepted in the background, looked at, waited for, cancelled; their output and receipt byte for byte. */
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "handlers/input.h"
#include "handlers/jobs.h"
#include "handlers/model_names.h"
#include "handlers/paid.h"
#include "handlers/records.h"
#include "handlers/routes.h"
#include "handlers/waiters.h"
#include "handlers/x402.h"

static int64_t caller(const struct request *req)
{
	return ((const struct principal *)req->principal)->account;
}

static enum err job_param(struct request *req, struct uuid *ret)
{
	if (uuid_parse(request_param(req, "id"), ret))
		return request_fail(req, ERR_NOT_FOUND, "no such job");
	return ERR_OK;
}

static enum err show(struct request *req, const struct uuid *job)
{
	_cleanup_job_row_ struct job_row row = { 0 };
	enum err e = db_job_get(request_db(req), job, caller(req), &row);

	if (e)
		return e == ERR_NOT_FOUND ? request_fail(req, e, "no such job") : e;
	paid_headers(req, job, row.receipt);
	reply_json(req, row.outcome ? 200 : 202, db_job_json(&row));
	return ERR_OK;
}

/* No failure: who begins again pays twice. Where it is found is in Location. */
static void reply_accepted(struct request *req, const struct uuid *job)
{
	paid_headers(req, job, NULL);
	reply_header(req, "Retry-After", "2");
	reply_json(req, 202, json_must(json_pack("{s:s, s:s, s:s}", "id", uuid_format(job).s, "state", "pending", "detail",
						 "the job is accepted and cannot be shown right now; do not begin again, ask where Location says")));
}

static void show_waited(struct request *req, const struct uuid *job)
{
	enum err e = show(req, job);

	if (e && req->route->method == HTTP_POST)
		reply_accepted(req, job);
	else if (e)
		reply_error(req, e);
}

static bool ended(struct db *db, const struct uuid *job)
{
	_cleanup_job_row_ struct job_row row = { 0 };

	return db_job_get(db, job, 0, &row) == ERR_OK && row.outcome;
}

static const struct waited WAITED_JOB = { ended, show_waited };

enum err jobs_show_or_wait(struct request *req, const struct uuid *job)
{
	_cleanup_job_row_ struct job_row row = { 0 };
	int64_t wait_ms = waiters_preferred_ms(req);
	enum err e = wait_ms > 0 ? db_job_get(request_db(req), job, caller(req), &row) : ERR_OK;

	if (wait_ms <= 0 || e || row.outcome)
		return show(req, job);
	reply_header(req, "Preference-Applied", arena_printf(req->arena, "wait=%d", (int)(wait_ms / 1000)));
	waiters_add(req, &WAITED_JOB, job, wait_ms);
	return ERR_OK;
}

void jobs_show_accepted(struct request *req, const struct uuid *job)
{
	if (jobs_show_or_wait(req, job))
		reply_accepted(req, job);
}

static enum err open_job(struct request *req, struct paid *p, struct uuid *ret_job)
{
	enum lane_status status = LANE_OK;
	int64_t account = 0;
	bool found = false;
	enum err e = paid_find_replay(req, p, ret_job, &found);

	if (!e && !found) {
		e = paid_quote(req, p);
		if (!e)
			e = run_open_background(&request_app(req)->pay, request_db(req), &p->spec, ret_job, &account, &status);
		if (!e && status == LANE_KEY_EXISTS)
			e = paid_find_replay(req, p, ret_job, &found);
		else if (!e && status != LANE_OK)
			e = paid_refused(req, p, status);
	}
	if (!e && found)
		reply_header(req, "Idempotent-Replayed", "true");
	return e;
}

enum err handle_jobs_create(struct request *req)
{
	const char *model = request_query(req, "model");
	struct uuid job;
	struct paid p;
	enum err e;

	if (!model)
		return request_fail(req, ERR_BAD_FIELD, "model: a query parameter is required");
	e = paid_read(req, model, NULL, &p);
	if (!e && !req->principal) {
		p.background = true;
		return x402_run(req, &p);
	}
	if (!e)
		e = open_job(req, &p, &job);
	if (e)
		return e;
	FAULT(job_acknowledged);
	records_headers(req, &job, p.spec.data);
	runs_dispatch(&request_app(req)->pay, request_db(req));
	reply_header(req, "Location", arena_printf(req->arena, "/v1/jobs/%s", uuid_format(&job).s));
	jobs_show_accepted(req, &job);
	return ERR_OK;
}

enum err handle_jobs_get(struct request *req)
{
	struct uuid job;
	enum err e = job_param(req, &job);

	return e ? e : jobs_show_or_wait(req, &job);
}

enum err handle_jobs_list(struct request *req)
{
	const char *after = request_query(req, "after");
	struct uuid from;
	size_t limit = 0;
	json_t *list = NULL;
	enum err e = input_limit(req, 20, 100, &limit);

	if (!e && after && uuid_parse(after, &from))
		e = request_fail(req, ERR_BAD_FIELD, "after: must be the id of a job");
	if (!e)
		e = db_job_list(request_db(req), caller(req), after ? &from : NULL, (int)limit, &list);
	if (!e)
		reply_json(req, 200, list);
	return e;
}

enum err handle_jobs_cancel(struct request *req)
{
	struct pay *pay = &request_app(req)->pay;
	struct uuid job;
	char state[16];
	enum err e = job_param(req, &job);

	if (!e)
		e = db_job_cancel(request_db(req), &job, caller(req), state);
	if (e)
		return e == ERR_NOT_FOUND ? request_fail(req, e, "no such job") : e;
	if (strcmp(state, "queued") != 0 && strcmp(state, "running") != 0)
		return request_fail(req, ERR_CONFLICT, "the job is %s already", state);
	FAULT(cancel_written);
	e = runs_tick(pay, request_db(req)); /* at once, not at the janitor's next turn */
	return e ? e : show(req, &job);
}

enum err jobs_answer(struct request *req, const struct uuid *job, int64_t account, int status)
{
	struct job_output *o = arena_alloc(req->arena, sizeof(*o));
	enum err e = db_job_output(request_db(req), job, account, o);

	if (e)
		return e;
	arena_on_free(req->arena, free, o->body);
	if (*o->header_length)
		reply_header(req, "Inference-Header-Content-Length", o->header_length);
	reply_bytes(req, status ? status : o->status, o->type, o->body, o->len);
	return ERR_OK;
}

enum err jobs_output(struct request *req, const struct uuid *job)
{
	enum err e = jobs_answer(req, job, caller(req), 200);

	if (e)
		return e == ERR_NOT_FOUND ? request_fail(req, e, "the job has no stored output (it has not settled, or its answer was streamed to its caller)") : e;
	reply_header(req, "Opgate-Job", uuid_format(job).s);
	return ERR_OK;
}

enum err handle_jobs_output(struct request *req)
{
	struct uuid job;
	enum err e = job_param(req, &job);

	return e ? e : jobs_output(req, &job);
}

enum err jobs_receipt(struct request *req, const struct uuid *job)
{
	_cleanup_job_row_ struct job_row row = { 0 };
	enum err e = db_job_get(request_db(req), job, caller(req), &row);

	if (e || !row.receipt)
		return e && e != ERR_NOT_FOUND ? e : request_fail(req, ERR_NOT_FOUND, e ? "no such job" : "the job has no receipt");
	reply_bytes(req, 200, "application/json", arena_strdup(req->arena, row.receipt), strlen(row.receipt));
	return ERR_OK;
}

enum err handle_jobs_receipt(struct request *req)
{
	struct uuid job;
	enum err e = job_param(req, &job);

	return e ? e : jobs_receipt(req, &job);
}

/* ---- quotes ---- */

struct quote_input {
	const char *model;
	int64_t input_bytes, max_output_tokens;
};

static const struct json_field QUOTE_FIELDS[] = {
	{ "model", JSON_FIELD_STR, offsetof(struct quote_input, model), true, 1, 255 },
	{ "input_bytes", JSON_FIELD_INT, offsetof(struct quote_input, input_bytes), false, 0, 16 << 20 },
	{ "max_output_tokens", JSON_FIELD_INT, offsetof(struct quote_input, max_output_tokens), false, 1, INT32_MAX },
};

enum err handle_quotes_create(struct request *req)
{
	struct quote_input in = { .input_bytes = 0, .max_output_tokens = -1 };
	struct quote *q = arena_alloc(req->arena, sizeof(*q));
	enum err e = INPUT_READ(req, QUOTE_FIELDS, &in);

	if (!e)
		e = model_names_find(req, in.model, q);
	if (!e)
		e = quote_make(&request_app(req)->pay, (size_t)in.input_bytes, in.max_output_tokens, q);
	if (e)
		return e == ERR_NO_NODE ? request_fail(req, e, "no node serves %.200s right now", in.model) : e;
	reply_json(req, 200, json_must(json_pack("{s:s, s:s, s:I, s:I, s:I, s:{s:s, s:i}}", "model", q->version.model_ref, "hold", amount_format(q->hold.total).s,
						 "input_units_max", (json_int_t)q->input_units_max, "output_units_max", (json_int_t)q->output_units_max,
						 "candidates", (json_int_t)q->candidate_count, "asset", "symbol", "OPG", "decimals", 18)));
	return ERR_OK;
}

/* ---- a node's word on an answer that was cut ---- */

enum err handle_nodes_receipt(struct request *req)
{
	const struct node_principal *node = req->principal;
	struct receipt receipt;
	struct signature sig;
	struct address signer;
	struct json_why why;
	uint64_t chain_id = 0;
	enum err e = doc_read(&RECEIPT_TYPE, req->body, req->body_len, &receipt, &chain_id, &sig, &why);

	if (e)
		return request_fail(req, ERR_BAD_FIELD, "the body must be one receipt in its JSON form: %s", why.text);
	if (doc_signer(&RECEIPT_TYPE, &receipt, chain_id, &sig, &signer) || !address_equal(&signer, &node->node) || !address_equal(&signer, &receipt.node))
		return request_fail(req, ERR_BAD_SIGNATURE, "the receipt is not signed by this node");
	e = runs_partial_receipt(&request_app(req)->pay, &receipt, req->body, req->body_len);
	if (e == ERR_NOT_FOUND)
		return request_fail(req, e, "no job waits for this receipt");
	if (!e)
		reply_empty(req, 204);
	return e;
}
