/* See paid.h: reading, quoting, replaying. Answering is front.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "base/mem.h"
#include "db/ledger.h"
#include "handlers/front.h"
#include "handlers/input.h"
#include "handlers/jobs.h"
#include "handlers/model_names.h"
#include "handlers/paid.h"
#include "handlers/records.h"
#include "handlers/x402.h"

#define OUTPUTS_MAX 16 /* `n` of a chat request */

static const char *first(const char *a, const char *b)
{
	return a ? a : b;
}

static enum err read_policy(struct request *req, const char *text, struct paid *p)
{
	if (!text || !strcasecmp(text, "signed") || !strcasecmp(text, "VANILLA"))
		p->policy = "signed";
	else if (!strcasecmp(text, "none"))
		p->policy = "none";
	else
		return request_fail(req, ERR_UNPROCESSABLE, "policy: \"%.40s\" is not offered here; none and signed are", text);
	return ERR_OK;
}

static enum err read_max_price(struct request *req, const char *text, struct paid *p)
{
	if (!text)
		return ERR_OK;
	if (amount_parse(text, strlen(text), &p->max_price))
		return request_fail(req, ERR_BAD_FIELD, "max_price: must be a decimal string of base units");
	p->has_max_price = true;
	return ERR_OK;
}

/* The `opgate` member of a body: policy and max_price, nothing else (money fields are never ignored). */
static enum err read_extension(struct request *req, const json_t *body, const char **policy, const char **max_price)
{
	const json_t *ext = json_object_get(body, "opgate");
	const char *key;
	json_t *value;

	if (!ext)
		return ERR_OK;
	if (!json_is_object(ext))
		return request_fail(req, ERR_BAD_FIELD, "opgate: must be an object");
	json_object_foreach((json_t *)ext, key, value) {
		const char **into = !strcmp(key, "policy") ? policy : !strcmp(key, "max_price") ? max_price : NULL;

		if (!into)
			return request_fail(req, ERR_UNKNOWN_FIELD, "opgate.%.40s: unknown; policy and max_price are known", key);
		if (!json_is_string(value))
			return request_fail(req, ERR_BAD_FIELD, "opgate.%s: must be a string", key);
		*into = first(*into, json_string_value(value));
	}
	return ERR_OK;
}

static enum err read_count(struct request *req, const json_t *body, const char *name, int64_t max, int64_t *into)
{
	const json_t *v = json_object_get(body, name);

	if (!v || json_is_null(v))
		return ERR_OK;
	if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > max) {
		request_fail_param(req, name);
		return request_fail(req, ERR_BAD_FIELD, "%s: must be an integer from 1 to %lld", name, (long long)max);
	}
	*into = json_integer_value(v);
	return ERR_OK;
}

/* A chat body names model and bounds; everything else is the node's business and goes through unread. */
static enum err read_chat(struct request *req, struct paid *p, const char **policy, const char **max_price)
{
	json_t *body = NULL;
	const json_t *model, *stream;
	int64_t n = 1;
	enum err e = input_json(req, &body);

	if (e)
		return e;
	if (!json_is_object(body))
		return request_fail(req, ERR_BAD_JSON, "the body must be a JSON object");
	model = json_object_get(body, "model");
	if (!p->model && !json_is_string(model)) {
		request_fail_param(req, "model");
		return request_fail(req, ERR_BAD_FIELD, "model: a string is required");
	}
	p->model = p->model ? p->model : json_string_value(model);
	stream = json_object_get(body, "stream");
	if (stream && !json_is_boolean(stream) && !json_is_null(stream)) {
		request_fail_param(req, "stream");
		return request_fail(req, ERR_BAD_FIELD, "stream: must be true or false");
	}
	p->stream = json_is_true(stream);
	e = read_count(req, body, "max_tokens", INT32_MAX, &p->max_output);
	if (!e)
		e = read_count(req, body, "max_completion_tokens", INT32_MAX, &p->max_output);
	if (!e)
		e = read_count(req, body, "n", OUTPUTS_MAX, &n);
	if (!e && p->max_output > 0)
		p->max_output *= n;
	return e ? e : read_extension(req, body, policy, max_price);
}

/* Tensors as JSON must at least be one JSON object; binary ones (with a header length) go through unread. */
static enum err read_tensor(struct request *req, const struct paid *p, const char **policy, const char **max_price)
{
	json_t *body = NULL;
	enum err e;

	if (p->spec.tensor_header_length)
		return ERR_OK;
	e = input_json(req, &body);
	if (!e && !json_is_object(body))
		e = request_fail(req, ERR_BAD_JSON, "the body must be a JSON object");
	if (!e && !json_is_array(json_object_get(body, "inputs")))
		e = request_fail(req, ERR_BAD_FIELD, "inputs: an array is required");
	return e ? e : read_extension(req, body, policy, max_price);
}

/* What the caller demands: the query wins over the headers, they over the body's extension. */
static enum err read_demands(struct request *req, const char *surface, struct paid *p)
{
	const char *policy = first(request_query(req, "policy"), request_header(req, "Opgate-Policy"));
	const char *max_price = first(request_query(req, "max_price"), request_header(req, "Opgate-Max-Price"));
	enum err e = ERR_OK;

	if (surface)
		e = !strcmp(surface, "chat") ? read_chat(req, p, &policy, &max_price) : read_tensor(req, p, &policy, &max_price);
	if (!e)
		e = read_policy(req, policy, p);
	if (!e)
		e = read_max_price(req, max_price, p);
	if (!e)
		p->spec.policy = p->policy;
	return e;
}

static void digest_text(struct sha256 *s, const char *text)
{
	sha256_update(s, text ? text : "", text ? strlen(text) + 1 : 1);
}

/* Everything that makes one request another. */
static void digest_request(const struct request *req, struct hash *ret)
{
	static const char *const headers[] = { "Content-Type", "Inference-Header-Content-Length", "Opgate-Policy", "Opgate-Max-Price", "X-SETTLEMENT-TYPE",
					       "X-SETTLE" };
	struct sha256 *s = sha256_new();

	digest_text(s, req->path);
	digest_text(s, req->query);
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
		digest_text(s, request_header(req, headers[i]));
	sha256_update(s, req->body, req->body_len);
	sha256_final(s, ret);
	sha256_free(s);
}

static enum err check_text(struct request *req, const char *name, const char *value)
{
	for (const char *c = value; c && *c; c++)
		if (*c < ' ' || *c > '~')
			return request_fail(req, ERR_BAD_FIELD, "%s: must be printable ASCII", name);
	return ERR_OK;
}

static enum err read_key(struct request *req, struct paid *p)
{
	const char *key = request_header(req, "Idempotency-Key");

	digest_request(req, &p->spec.body_digest);
	if (!key)
		return ERR_OK;
	if (!*key || strlen(key) > 255)
		return request_fail(req, ERR_BAD_FIELD, "Idempotency-Key: must have 1 to 255 characters");
	p->spec.idempotency_key = key;
	p->spec.route = req->route->name;
	return ERR_OK;
}

/* What a paid request may say in its URL. A misspelt bound on money must not be ignored, nor may one be said twice. */
static enum err check_query(struct request *req)
{
	static const char *const known[] = { "model", "policy", "max_price" };
	unsigned seen = 0;

	for (const char *p = req->query; *p;) {
		size_t len = strcspn(p, "&"), name = strcspn(p, "=&"), i = 0;

		while (i < 3 && (strlen(known[i]) != name || memcmp(known[i], p, name) != 0))
			i++;
		if (i == 3)
			return request_fail(req, ERR_UNKNOWN_FIELD, "query parameter \"%.*s\": unknown; model, policy and max_price are known",
					    (int)(name < 40 ? name : 40), p);
		if (seen & (1u << i))
			return request_fail(req, ERR_BAD_FIELD, "query parameter %s: given twice", known[i]);
		seen |= 1u << i;
		p += len + (p[len] == '&');
	}
	return ERR_OK;
}

enum err paid_read(struct request *req, const char *model, const char *surface, struct paid *ret)
{
	const struct principal *who = req->principal;
	const char *type = request_header(req, "Content-Type");
	struct paid p = { .model = model, .surface = surface, .max_output = -1 };
	enum err e;

	if (atomic_load(&request_app(req)->pay.stopped))
		return request_fail(req, ERR_SETTLEMENT_STOPPED, "reconciliation failed: paid work is stopped until an operator has resolved it");
	if (req->body_len == 0)
		return request_fail(req, ERR_BAD_REQUEST, "the body is empty");
	p.spec = (struct run_spec){ .account = who ? who->account : 0, .api_key = who ? who->api_key : 0, .path = req->path, .content_type = type ? type : "application/json",
				    .tensor_header_length = request_header(req, "Inference-Header-Content-Length"), .request_id = req->id,
				    .body = req->body, .body_len = req->body_len };
	e = check_query(req);
	if (!e)
		e = records_read(req, &p);
	if (!e)
		e = check_text(req, "Content-Type", p.spec.content_type);
	if (!e)
		e = check_text(req, "Inference-Header-Content-Length", p.spec.tensor_header_length);
	if (!e)
		e = check_text(req, "Idempotency-Key", request_header(req, "Idempotency-Key"));
	if (!e)
		e = read_key(req, &p);
	if (!e)
		e = read_demands(req, surface, &p);
	if (!e)
		*ret = p;
	return e;
}

/* What this caller can spend here. A wallet's means are not known: it is offered what the cheapest node would cost, or up to twice
 * that for the sake of failover, so that nobody can make it dear by an absurd ask. */
static enum err spendable(struct request *req, const struct paid *p, struct amount *ret)
{
	const struct quote *q = p->quote;
	const struct price cheapest = quote_price(q, &q->candidates[0]);
	struct balance b = { AMOUNT_ZERO, AMOUNT_ZERO, AMOUNT_ZERO, AMOUNT_ZERO };
	struct split split;
	enum err e;

	if (p->spec.account) {
		e = db_balance(request_db(req), p->spec.account, &b);
		*ret = b.available;
		return e;
	}
	e = price_split(&cheapest, (uint64_t)q->input_units_max, (uint64_t)q->output_units_max, &split);
	return e ? e : amount_mul(split.total, 2, ret);
}

/* A node too dear for this caller must not keep the others from serving him. */
static enum err fit(struct request *req, struct paid *p)
{
	struct amount limit = AMOUNT_ZERO;
	enum err e = spendable(req, p, &limit);

	if (!e && p->has_max_price)
		limit = amount_min(limit, p->max_price);
	return e ? e : quote_fit(p->quote, &limit);
}

enum err paid_price(struct request *req, struct paid *p, size_t body_len)
{
	enum err e = quote_make(&request_app(req)->pay, body_len, p->max_output, p->quote);

	return !e && quote_varies(p->quote) ? fit(req, p) : e;
}

enum err paid_quote(struct request *req, struct paid *p)
{
	enum err e;

	p->quote = arena_alloc(req->arena, sizeof(*p->quote));
	p->spec.quote = p->quote;
	e = model_names_find(req, p->model, p->quote);
	if (e)
		return e;
	if (p->surface && strcmp(p->surface, p->quote->version.surface) != 0)
		return request_fail(req, ERR_UNPROCESSABLE, "model: %.200s is a %s model; this route serves %s models", p->model, p->quote->version.surface, p->surface);
	if (!p->surface) /* POST /v1/jobs: only now is it known how to read the body */
		e = read_demands(req, p->quote->version.surface, p);
	if (!e)
		e = paid_price(req, p, req->body_len);
	if (e == ERR_NO_NODE)
		return request_fail(req, e, "no node serves %.200s right now", p->model);
	if (!e && p->has_max_price && amount_cmp(p->quote->hold.total, p->max_price) > 0)
		return request_fail(req, ERR_UNPROCESSABLE, "max_price: this request may cost up to %s base units", amount_format(p->quote->hold.total).s);
	return e;
}

enum err paid_find_replay(struct request *req, const struct paid *p, struct uuid *ret_job, bool *ret_found)
{
	struct hash digest;
	enum err e;

	*ret_found = false;
	if (!p->spec.idempotency_key)
		return ERR_OK;
	e = db_idempotency_get(request_db(req), p->spec.account, p->spec.route, p->spec.idempotency_key, ret_job, &digest);
	if (e == ERR_NOT_FOUND)
		return ERR_OK;
	if (e)
		return e;
	if (!hash_equal(&digest, &p->spec.body_digest))
		return request_fail(req, ERR_KEY_REUSED, "Idempotency-Key: was used for another request");
	*ret_found = true;
	return ERR_OK;
}

/* How much is wanted and how much there is, so that the caller knows what to deposit. */
static enum err insufficient(struct request *req, const struct paid *p)
{
	struct balance b = { AMOUNT_ZERO, AMOUNT_ZERO, AMOUNT_ZERO, AMOUNT_ZERO };
	struct amount most = p->quote->hold.total;
	enum err e = db_balance(request_db(req), p->spec.account, &b);

	if (e)
		return request_fail(req, ERR_INSUFFICIENT_FUNDS, "this request may cost up to %s base units of OPG, which the balance does not cover", amount_format(most).s);
	return request_fail(req, ERR_INSUFFICIENT_FUNDS, "this request may cost up to %s base units of OPG; %s are available", amount_format(most).s,
			    amount_format(b.available).s);
}

enum err paid_refused(struct request *req, const struct paid *p, enum lane_status status)
{
	if (status == LANE_KEY_REVOKED)
		return request_fail(req, ERR_BAD_KEY, "the API key was revoked or has expired");
	if (status == LANE_INSUFFICIENT)
		return insufficient(req, p);
	return request_fail(req, ERR_INTERNAL, "unexpected answer of the ledger");
}

/* The answer of an ended foreground job, again. */
static enum err replay(struct request *req, const struct uuid *id)
{
	_cleanup_job_row_ struct job_row job = { 0 };
	enum err e = db_job_get(request_db(req), id, ((struct principal *)req->principal)->account, &job);

	if (e)
		return e;
	reply_header(req, "Idempotent-Replayed", "true");
	if (!job.outcome)
		return request_fail(req, ERR_IN_PROGRESS, "the first request with this Idempotency-Key is still running");
	paid_headers(req, id, job.receipt);
	if (strcmp(job.state, "settled") != 0)
		return request_fail(req, ERR_UNPROCESSABLE, "the first request with this Idempotency-Key ended as %s and nothing was charged; use a new key", job.outcome);
	e = jobs_answer(req, id, job.account, 0);
	return e == ERR_NOT_FOUND ? request_fail(req, ERR_CONFLICT, "the answer was delivered once and is too large to be kept") : e;
}

enum err paid_run(struct request *req, struct paid *p)
{
	struct uuid earlier;
	bool found = false;
	enum lane_status status = LANE_OK;
	enum err e;

	if (!req->principal)
		return x402_run(req, p);
	e = paid_find_replay(req, p, &earlier, &found);

	if (!e && found)
		return replay(req, &earlier);
	if (!e)
		e = paid_quote(req, p);
	if (!e)
		e = front_run(req, &p->spec, &status);
	if (e == ERR_OVERLOADED)
		return request_fail(req, e, "every node that serves this model is busy");
	if (e || status == LANE_OK)
		return e;
	if (status != LANE_KEY_EXISTS)
		return paid_refused(req, p, status);
	e = paid_find_replay(req, p, &earlier, &found);
	if (!e && !found)
		e = ERR_INTERNAL;
	return e ? e : replay(req, &earlier);
}

void paid_headers(struct request *req, const struct uuid *job, const char *receipt)
{
	reply_header(req, "Opgate-Job", uuid_format(job).s);
	if (receipt) {
		char *encoded = arena_alloc(req->arena, base64url_encoded_len(strlen(receipt)) + 1);

		base64url_encode(receipt, strlen(receipt), encoded);
		reply_header(req, "Opgate-Receipt", encoded);
	}
}
