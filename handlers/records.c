/* See records.h. */
#include <string.h>

#include "db/records.h"
#include "base/base64.h"
#include "handlers/input.h"
#include "handlers/records.h"
#include "handlers/routes.h"
#include "handlers/waiters.h"
#include "pay/records.h"

/* ---- what the caller wants ---- */

static enum err admit_individual(struct request *req)
{
	int64_t lately = 0, max = request_app(req)->settings->record_individual_hour;
	enum err e;

	if (!request_app(req)->records_on)
		return request_fail(req, ERR_UNPROCESSABLE, "X-SETTLEMENT-TYPE: individual is not offered here");
	if (req->body_len > RECORD_INPUT_MAX)
		return request_fail(req, ERR_TOO_LARGE, "X-SETTLEMENT-TYPE: individual takes bodies of up to %u bytes", RECORD_INPUT_MAX);
	e = db_records_individual_lately(request_db(req), &lately);
	if (!e && lately >= max)
		return request_fail(req, ERR_RATE_LIMITED, "X-SETTLEMENT-TYPE: %lld individual settlements within an hour are enough; batch has no such limit", (long long)max);
	return e;
}

enum err records_read(struct request *req, struct paid *p)
{
	const char *type = request_header(req, "X-SETTLEMENT-TYPE"), *older = request_header(req, "X-SETTLE");
	const char *said = type ? type : older;
	enum data_mode mode, second;

	p->opengradient = said != NULL;
	if (!said)
		return ERR_OK;
	/* What is not known must not be taken for something else: it is about what is made public. */
	if (data_mode_parse(said, &mode))
		return request_fail(req, ERR_BAD_REQUEST, "X-SETTLEMENT-TYPE: \"%.40s\" is unknown; private, batch and individual are known", said);
	if (type && older && (data_mode_parse(older, &second) || second != mode))
		return request_fail(req, ERR_BAD_REQUEST, "X-SETTLEMENT-TYPE and X-SETTLE say different things");
	/* The SDKs say batch when nobody chose: where there is no contract they are served all the same, and promised nothing. */
	p->spec.data = mode == DATA_BATCH && !request_app(req)->records_on ? DATA_PRIVATE : mode;
	return mode == DATA_INDIVIDUAL ? admit_individual(req) : ERR_OK;
}

/* ---- what the answer says ---- */

void records_headers(struct request *req, const struct uuid *job, enum data_mode mode)
{
	if (mode == DATA_PRIVATE)
		return;
	reply_header(req, "X-Settlement-Type", data_mode_name(mode));
	reply_header(req, "X-Settlement-Job-ID", arena_printf(req->arena, "settlement-%s-%s", data_mode_name(mode), uuid_format(job).s));
	reply_header(req, "X-Settlement-Status", "queued");
}

static const char *blob_name(struct request *req, const struct hash *id)
{
	char *text = arena_alloc(req->arena, base64url_encoded_len(sizeof(id->b)) + 1);

	base64url_encode(id->b, sizeof(id->b), text);
	return text;
}

/* What is not told yet, or could not be read, may still come. */
static bool record_ended(struct db *db, const struct uuid *job)
{
	struct record_row row;

	return db_record_get(db, job, &row) == ERR_OK && strcmp(row.status, "queued") != 0 && strcmp(row.status, "processing") != 0;
}

/* Only what is true by now is added. */
static void add_headers(struct request *req, const struct uuid *job)
{
	struct record_row row;

	if (db_record_get(request_db(req), job, &row))
		return;
	reply_header(req, "X-Settlement-Status", row.status);
	if (row.has_tx_hash)
		reply_header(req, "x-settlement-tx-hash", hash_format(&row.tx_hash).s);
	if (row.has_post)
		reply_header(req, "x-settlement-walrus-blob-id", blob_name(req, &row.blob));
}

static const struct waited WAITED_RECORD = { record_ended, add_headers };

void records_finish(struct request *req, const struct uuid *job)
{
	struct app *app = request_app(req);

	waiters_hold(req, &WAITED_RECORD, job, app->settings->payment_wait_ms);
	app->pay.settle_now(app->pay.settle_now_arg);
}

/* ---- afterwards ---- */

/* The id of a job, or as X-Settlement-Job-ID has it. */
static enum err parse_id(const char *text, struct uuid *ret)
{
	static const char *const prefixes[] = { "settlement-batch-", "settlement-individual-" };

	for (size_t i = 0; i < 2; i++)
		if (!strncmp(text, prefixes[i], strlen(prefixes[i])))
			return uuid_parse(text + strlen(prefixes[i]), ret);
	return uuid_parse(text, ret);
}

enum err handle_records_get(struct request *req)
{
	struct record_row row;
	struct uuid job;
	enum err e = parse_id(request_param(req, "id"), &job) ? ERR_NOT_FOUND : db_record_get(request_db(req), &job, &row);

	if (e)
		return e == ERR_NOT_FOUND ? request_fail(req, e, "nothing of this job is to be put on chain") : e;
	reply_header(req, "Cache-Control", "no-store");
	reply_json(req, 200, json_must(json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "job", uuid_format(&job).s, "type",
						 data_mode_name(row.individual ? DATA_INDIVIDUAL : DATA_BATCH), "status", row.status, "transaction",
						 row.has_tx_hash ? json_string(hash_format(&row.tx_hash).s) : json_null(), "blob",
						 row.has_post ? json_string(blob_name(req, &row.blob)) : json_null(), "root",
						 row.is_batch ? json_string(hash_format(&row.root).s) : json_null(), "size",
						 row.has_post ? json_integer(row.size) : json_null(), "created_at", json_time(row.created_ms))));
	return ERR_OK;
}

enum err handle_blobs_get(struct request *req)
{
	const char *name = request_param(req, "blob");
	struct hash id;
	char *body = NULL;
	size_t len = 0;
	enum err e = base64url_decode(name, strlen(name), id.b, sizeof(id.b), &len) || len != sizeof(id.b) ? ERR_NOT_FOUND : ERR_OK;

	if (!e)
		e = db_record_blob(request_db(req), &id, &body, &len);
	if (e)
		return e == ERR_NOT_FOUND ? request_fail(req, e, "no such document") : e;
	arena_on_free(req->arena, free, body);
	reply_header(req, "Cache-Control", "public, max-age=31536000, immutable");
	reply_bytes(req, 200, "application/json", body, len);
	return ERR_OK;
}
