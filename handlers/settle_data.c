/* OpenGradient's /settle_data: takes a signed statement of inference to be put on chain, and says what became of it. */
#include <stdio.h>
#include <string.h>

#include "handlers/facilitator.h"
#include "handlers/input.h"
#include "handlers/routes.h"
#include "pay/settle_data.h"

static const struct kind {
	const char *name, *prefix, *queue;
} BATCH = { "batch", "settlement-batch-", "x402-settle-data-queue-v2" },
  INDIVIDUAL = { "individual", "settlement-individual-", "x402-settle-data-individual-queue-v2" };

static json_t *job_json(const struct data_settlement_row *row)
{
	const struct kind *kind = row->individual ? &INDIVIDUAL : &BATCH;
	bool succeeded = !strcmp(row->state, "succeeded"), failed = !strcmp(row->state, "failed");
	char id[80];
	json_t *job;

	snprintf(id, sizeof(id), "%s%s", kind->prefix, uuid_format(&row->id).s);
	job = json_must(json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:s}", "jobId", id, "queue", kind->queue, "status", row->state, "createdAt",
				  json_time(row->created_at), "updatedAt", json_time(row->updated_at), "result",
				  succeeded ? json_pack("{s:b}", "success", 1) : failed ? json_pack("{s:b, s:s}", "success", 0, "errorReason", row->reason) : json_null(),
				  "settlementType", kind->name));
	if (row->has_tx_hash)
		json_object_set_new(job, "txHash", json_must(json_string(hash_format(&row->tx_hash).s)));
	return job;
}

static enum err find(struct request *req, const struct kind *kind, const char *text, struct data_settlement_row *ret)
{
	size_t n = strlen(kind->prefix);
	struct uuid id;
	enum err e = strncmp(text, kind->prefix, n) != 0 || uuid_parse(text + n, &id) ? ERR_NOT_FOUND : db_data_settlement_get(request_db(req), &id, ret);

	return !e && ret->individual != (kind == &INDIVIDUAL) ? ERR_NOT_FOUND : e;
}

enum err settle_data_job(struct request *req, const char *id)
{
	struct data_settlement_row row;
	enum err e = find(req, &BATCH, id, &row);

	if (e == ERR_NOT_FOUND)
		e = find(req, &INDIVIDUAL, id, &row);
	if (!e)
		reply_json(req, 200, job_json(&row));
	return e;
}

static enum err take(struct request *req, enum settle_data_type type)
{
	struct data_settlement_row row;
	struct x402_why why = { "" };
	struct settle_data data;
	struct uuid id;
	enum err e;

	if (settle_data_read(type, request_header(req, "x-settlement-data"), &data, &why))
		return request_fail(req, ERR_BAD_REQUEST, "%s", why.text);
	e = db_data_settlement_add(request_db(req), &data.row, &id);
	if (!e)
		e = db_data_settlement_get(request_db(req), &id, &row);
	settle_data_done(&data);
	if (e)
		return e == ERR_OVERLOADED ? request_fail(req, e, "too many statements wait to be put on chain") : e;
	reply_json(req, 202, json_must(json_pack("{s:o}", "settlementJob", job_json(&row))));
	return ERR_OK;
}

enum err handle_facilitator_settle_data(struct request *req)
{
	enum settle_data_type type;
	struct x402_why why = { "" };

	if (settle_data_type_read(request_header(req, "x-settlement-type"), &type, &why))
		return request_fail(req, ERR_BAD_REQUEST, "%s", why.text);
	if (type != SETTLE_DATA_PRIVATE)
		return take(req, type);
	reply_json(req, 202, json_must(json_pack("{s:n, s:s}", "settlementJob", "notes", "private: nothing is kept and nothing is put on chain")));
	return ERR_OK;
}
