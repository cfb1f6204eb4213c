/* See links.h. */
#include <string.h>

#include "base/base64.h"
#include "handlers/jobs.h"
#include "handlers/links.h"
#include "handlers/routes.h"

#define SECRET_LEN 16

struct link {
	struct uuid job;
	uint8_t secret[SECRET_LEN];
};

static struct link link_of(struct request *req, const struct uuid *job)
{
	const struct app *app = request_app(req);
	struct link l = { .job = *job };
	struct hash key, mac;

	hmac_sha256(app->jwt_secret, sizeof(app->jwt_secret), "job link", 8, &key);
	hmac_sha256(key.b, sizeof(key.b), job->b, sizeof(job->b), &mac);
	memcpy(l.secret, mac.b, sizeof(l.secret));
	return l;
}

const char *links_make(struct request *req, const struct uuid *job)
{
	const struct link l = link_of(req, job);
	char *text = arena_alloc(req->arena, base64url_encoded_len(sizeof(l)) + 1);

	base64url_encode(&l, sizeof(l), text);
	return arena_printf(req->arena, "/v1/links/%s", text);
}

/* Shows the caller of a good link what `show` shows the payer. */
static enum err follow(struct request *req, enum err (*show)(struct request *req, const struct uuid *job))
{
	const char *text = request_param(req, "link");
	struct principal *payer = arena_alloc(req->arena, sizeof(*payer));
	_cleanup_job_row_ struct job_row row = { 0 };
	struct link given, ours;
	size_t len = 0;
	enum err e;

	if (base64url_decode(text, strlen(text), (uint8_t *)&given, sizeof(given), &len) || len != sizeof(given))
		return request_fail(req, ERR_NOT_FOUND, "no such link");
	ours = link_of(req, &given.job);
	if (!crypto_equal(ours.secret, given.secret, sizeof(ours.secret)))
		return request_fail(req, ERR_NOT_FOUND, "no such link");
	e = db_job_get(request_db(req), &given.job, 0, &row);
	if (e)
		return e == ERR_NOT_FOUND ? request_fail(req, e, "no such link") : e;
	*payer = (struct principal){ .account = row.account };
	req->principal = payer;
	reply_header(req, "Cache-Control", "private, no-store");
	return show(req, &given.job);
}

enum err handle_links_get(struct request *req)
{
	return follow(req, jobs_show_or_wait);
}

enum err handle_links_output(struct request *req)
{
	return follow(req, jobs_output);
}

enum err handle_links_receipt(struct request *req)
{
	return follow(req, jobs_receipt);
}
