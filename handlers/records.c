/* See records.h. `lock` guards the list; an answer belongs to whoever took it out. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "db/records.h"
#include "handlers/input.h"
#include "handlers/records.h"
#include "handlers/routes.h"
#include "pay/records.h"

#define LOOK_MAX 64 /* a turn of the janitor */

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

struct waiting {
	struct waiting *next;
	struct request *req;
	struct uuid job;
	deadline_ms until;
	bool known;
};

struct records_waiting {
	pthread_mutex_t lock;
	struct waiting *head; /* bounded by the connections */
};

struct records_waiting *records_waiting_new(void)
{
	struct records_waiting *w = xcalloc(1, sizeof(*w));

	pthread_mutex_init(&w->lock, NULL);
	return w;
}

void records_waiting_free(struct records_waiting *w)
{
	if (!w)
		return;
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* On a worker: only what is true by now is added. */
static void finish(void *arg)
{
	struct waiting *w = arg;
	struct record_row row;

	if (db_record_get(request_db(w->req), &w->job, &row) == ERR_OK) {
		reply_header(w->req, "X-Settlement-Status", row.status);
		if (row.has_tx_hash)
			reply_header(w->req, "x-settlement-tx-hash", hash_format(&row.tx_hash).s);
		if (row.has_post)
			reply_header(w->req, "x-settlement-walrus-blob-id", blob_name(w->req, &row.blob));
	}
	request_finish(w->req);
	free(w);
}

void records_finish(struct request *req, const struct uuid *job)
{
	struct app *app = request_app(req);
	struct waiting *w = xcalloc(1, sizeof(*w));

	w->req = req;
	w->job = *job;
	w->until = deadline_in(app->settings->payment_wait_ms);
	pthread_mutex_lock(&app->records_waiting->lock);
	w->next = app->records_waiting->head;
	app->records_waiting->head = w;
	pthread_mutex_unlock(&app->records_waiting->lock);
	app->pay.settle_now(app->pay.settle_now_arg);
}

/* Marks the answers whose record has come to an end. */
static void look(struct app *app, struct db *db)
{
	struct uuid jobs[LOOK_MAX];
	size_t count = 0;

	pthread_mutex_lock(&app->records_waiting->lock);
	for (struct waiting *w = app->records_waiting->head; w && count < LOOK_MAX; w = w->next)
		jobs[count++] = w->job;
	pthread_mutex_unlock(&app->records_waiting->lock);
	for (size_t i = 0; i < count; i++) {
		struct record_row row;

		if (db_record_get(db, &jobs[i], &row) || !strcmp(row.status, "queued") || !strcmp(row.status, "processing"))
			continue;
		pthread_mutex_lock(&app->records_waiting->lock);
		for (struct waiting *w = app->records_waiting->head; w; w = w->next)
			w->known |= !memcmp(w->job.b, jobs[i].b, sizeof(jobs[i].b));
		pthread_mutex_unlock(&app->records_waiting->lock);
	}
}

void records_tick(struct app *app, struct db *db, bool all)
{
	struct waiting *ready = NULL;

	look(app, db);
	pthread_mutex_lock(&app->records_waiting->lock);
	for (struct waiting **link = &app->records_waiting->head; *link;) {
		struct waiting *w = *link;

		if (all || w->known || deadline_passed(w->until) || request_gone(w->req)) {
			*link = w->next;
			w->next = ready;
			ready = w;
		} else {
			link = &w->next;
		}
	}
	pthread_mutex_unlock(&app->records_waiting->lock);
	while (ready) {
		struct waiting *w = ready;

		ready = w->next;
		http_post(app->http, finish, w);
	}
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
