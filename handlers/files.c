/* Files of versions: uploads streamed and hashed into the blob store, never whole in memory; downloads of published ones.
 * Who may upload, and what, is settled before the first byte of the body is read. */
#include "handlers/files.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "blob/blob.h"
#include "handlers/app.h"
#include "handlers/input.h"
#include "handlers/registry.h"
#include "handlers/routes.h"

struct file_upload {
	struct blob_upload *blob;
	struct request *req;
	int64_t version;
	bool expected_given;
	struct hash expected;
};

static enum err upload_expected(struct request *req, struct file_upload *u)
{
	const char *s = request_header(req, "X-Content-SHA256");
	if (!s)
		s = request_header(req, "Digest-Sha256");
	if (s && hash_parse(s, &u->expected))
		return request_fail(req, ERR_BAD_FIELD, "X-Content-SHA256: must be 64 hex digits");
	u->expected_given = s != NULL;
	return ERR_OK;
}

static enum err upload_begin(void *app, struct request *req, void **ret)
{
	const struct app *a = app;
	struct file_upload u = { .req = req };
	struct version_row draft;
	const char *length = request_header(req, "Content-Length");
	int64_t declared = 0;
	enum err e = registry_draft(req, &draft);
	if (!e && blob_path_check(request_param(req, "path")))
		e = request_fail(req, ERR_BAD_FIELD, "path: segments of A-Z, a-z, 0-9, '.', '_' and '-', none starting with a dot, at most %d bytes", BLOB_PATH_MAX);
	if (!e && length && (!input_uint(length, &declared) || declared > a->settings->upload_max_bytes))
		e = request_fail(req, ERR_TOO_LARGE, "a file may have at most %lld bytes", (long long)a->settings->upload_max_bytes);
	if (!e)
		e = upload_expected(req, &u);
	if (!e)
		e = blob_begin(a->blobs, (uint64_t)a->settings->upload_max_bytes, &u.blob);
	if (e)
		return e;
	u.version = draft.id;
	struct file_upload *copy = xmalloc(sizeof(*copy));
	*copy = u;
	*ret = copy;
	return ERR_OK;
}

static enum err upload_write(void *upload, const void *p, size_t len)
{
	struct file_upload *u = upload;
	enum err e = blob_write(u->blob, p, len);
	if (e == ERR_TOO_LARGE)
		return request_fail(u->req, e, "a file may have at most %lld bytes", (long long)request_app(u->req)->settings->upload_max_bytes);
	return e;
}

static void upload_abandon(void *upload)
{
	struct file_upload *u = upload;
	blob_abandon(u->blob);
	free(u);
}

const struct upload_sink FILES_SINK = { .begin = upload_begin, .write = upload_write, .abandon = upload_abandon };

/* The body is complete. The contents go to the store first: a file that no row names is only space. */
enum err handle_files_put(struct request *req)
{
	const struct principal *p = req->principal;
	struct file_upload *u = request_take_upload(req);
	struct file_row file = { .path = request_param(req, "path") };
	int64_t version = u->version;
	uint64_t size = 0;
	enum err e;
	if (u->expected_given) {
		file.sha256 = u->expected;
		e = blob_commit_as(u->blob, &u->expected, &size);
	} else {
		e = blob_commit(u->blob, &file.sha256, &size);
	}
	free(u);
	if (e == ERR_BAD_FIELD)
		return request_fail(req, e, "X-Content-SHA256: the body has another digest");
	if (e)
		return e;
	file.size = (int64_t)size;
	e = db_file_put(request_db(req), version, p->account, &file);
	if (e == ERR_CONFLICT)
		return request_fail(req, e, "the version was published meanwhile, or has %d files already", VERSION_FILES_MAX);
	if (e)
		return e;
	reply_json(req, 201, json_must(json_pack("{s:s,s:I,s:s}", "path", file.path, "size", (json_int_t)file.size, "sha256", hash_format(&file.sha256).s + 2)));
	return ERR_OK;
}

/* GET /{author}/{name}/resolve/{revision}/{path...}, as the Hub does it. */
enum err handle_files_get(struct request *req)
{
	const char *revision = request_param(req, "revision"), *path = request_param(req, "path");
	const char *model = arena_printf(req->arena, "%s/%s", request_param(req, "author"), request_param(req, "name"));
	bool newest = strcmp(revision, "main") == 0;
	struct version_row v;
	struct file_row file;
	uint64_t size;
	int fd;
	if (strchr(model, '@')) /* the revision has a place of its own */
		return registry_not_found(req, model);
	enum err e = db_version_resolve(request_db(req), newest ? model : arena_printf(req->arena, "%s@%s", model, revision), &v);
	if (e == ERR_MODEL_NOT_FOUND)
		return registry_not_found(req, arena_printf(req->arena, "%s@%s", model, revision));
	if (!e)
		e = db_version_file(request_db(req), v.id, path, &file);
	if (e == ERR_NOT_FOUND)
		return request_fail(req, e, "`%s@%lld` has no file `%.200s`", v.model_ref, (long long)v.number, path);
	if (!e)
		e = blob_open(request_app(req)->blobs, &file.sha256, &fd, &size);
	if (e)
		return e == ERR_NOT_FOUND ? ERR_IO : e; /* a published file whose contents are gone is our fault */
	reply_header(req, "X-Repo-Commit", registry_digest(req->arena, &v.digest));
	reply_header(req, "X-Content-Type-Options", "nosniff"); /* whatever the author uploaded, it is no page of ours */
	reply_header(req, "Content-Disposition", "attachment");
	reply_header(req, "Cache-Control", newest ? "no-cache" : "public, max-age=31536000, immutable");
	reply_file(req, "application/octet-stream", fd, size, arena_printf(req->arena, "\"%s\"", hash_format(&file.sha256).s + 2));
	return ERR_OK;
}
