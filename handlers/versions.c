/* Versions of a model: drafts, publication (immutable from then on, named by the digest of its manifest), looking them up. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "blob/blob.h"
#include "handlers/app.h"
#include "handlers/input.h"
#include "handlers/registry.h"
#include "handlers/routes.h"

#define CHAT_OUTPUT_STANDARD 512
#define ROYALTY_MAX "1000000000000000000000000000" /* 10^9 OPG a unit: sums with asks and counts of units stay in range */
#define MANIFEST_MAX (VERSION_FILES_MAX * (64 + 1 + 20 + 1 + BLOB_PATH_MAX + 1))

/* The version with its files and manifest. */
static enum err version_reply(struct request *req, int status, const struct version_row *v)
{
	struct file_row *files;
	const char *manifest;
	size_t n;
	enum err e = db_version_files(request_db(req), req->arena, v->id, &files, &n);
	if (!e)
		e = db_version_manifest(request_db(req), req->arena, v->id, &manifest);
	if (e)
		return e;
	json_t *list = json_must(json_array());
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_must(json_pack("{s:s,s:I,s:s}", "path", files[i].path, "size", (json_int_t)files[i].size,
			"sha256", hash_format(&files[i].sha256).s + 2)));
	json_t *body = registry_version_json(req->arena, v);
	json_object_set_new(body, "files", list);
	json_object_set_new(body, "manifest", json_must(manifest ? json_string(manifest) : json_null()));
	reply_json(req, status, body);
	return ERR_OK;
}

enum err handle_versions_list(struct request *req)
{
	struct model_row model;
	struct version_row *rows;
	size_t limit, n;
	int64_t after = 0;
	const char *s = request_query(req, "after");
	if (s && (!input_uint(s, &after) || after > INT32_MAX))
		return request_fail(req, ERR_BAD_FIELD, "after: must be the number of a version");
	enum err e = input_limit(req, 50, 200, &limit);
	if (!e)
		e = registry_model(req, &model);
	if (e)
		return e;
	bool owner = registry_owns(req, model.author);
	e = db_versions_list(request_db(req), req->arena, model.id, owner, after, limit + 1, &rows, &n);
	if (e)
		return e;
	if (n == 0 && !owner && after == 0) /* nothing published: nobody else knows of it */
		return registry_not_found(req, model.ref);
	json_t *data = json_must(json_array());
	for (size_t i = 0; i < n && i < limit; i++)
		json_array_append_new(data, registry_version_json(req->arena, &rows[i]));
	reply_json(req, 200, json_must(json_pack("{s:s,s:o,s:b}", "object", "list", "data", data, "has_more", (int)(n > limit))));
	return ERR_OK;
}

/* ---- a draft ---- */

struct version_input {
	const char *surface;
	json_t *price;
	int64_t max_output_tokens;
};
static const struct json_field version_fields[] = {
	{ .name = "surface", .kind = JSON_FIELD_STR, .offset = offsetof(struct version_input, surface), .required = true },
	{ .name = "price", .kind = JSON_FIELD_OBJECT, .offset = offsetof(struct version_input, price), .required = true },
	{ .name = "max_output_tokens", .kind = JSON_FIELD_INT, .offset = offsetof(struct version_input, max_output_tokens), .min = 1, .max = 1000000 },
};

static enum err version_read(struct request *req, struct version_new *ret)
{
	struct version_input in = { 0 };
	struct listed_price price;
	struct amount most;
	enum err e = INPUT_READ(req, version_fields, &in);
	if (!e)
		e = registry_price_read(req, "price", in.price, false, &price);
	if (e)
		return e;
	bool chat = strcmp(in.surface, "chat") == 0;
	if (!chat && strcmp(in.surface, "tensor") != 0)
		return request_fail(req, ERR_BAD_FIELD, "surface: must be chat or tensor");
	if (!chat && (in.max_output_tokens || !amount_is_zero(price.output)))
		return request_fail(req, ERR_BAD_FIELD, "price.output, max_output_tokens: a tensor call has no output units; its price is price.input");
	if (amount_parse(ROYALTY_MAX, strlen(ROYALTY_MAX), &most) || amount_cmp(price.input, most) > 0 || amount_cmp(price.output, most) > 0)
		return request_fail(req, ERR_BAD_FIELD, "price: at most " ROYALTY_MAX " a unit");
	ret->surface = in.surface;
	ret->royalty = price;
	ret->max_output_units = in.max_output_tokens ? in.max_output_tokens : chat ? CHAT_OUTPUT_STANDARD : 0;
	return ERR_OK;
}

enum err handle_versions_create(struct request *req)
{
	const struct principal *p = req->principal;
	struct version_new new = { .author = p->account };
	struct model_row model;
	struct version_row row;
	enum err e = version_read(req, &new);
	if (!e)
		e = registry_model_owned(req, &model);
	if (e)
		return e;
	new.model = model.id;
	e = db_version_create(request_db(req), &new, &row);
	return e ? e : version_reply(req, 201, &row);
}

/* ---- looking one up ---- */

/* {version}: "main" (the newest published), a number (drafts for their owner), or sha256:… */
static enum err version_named(struct request *req, struct version_row *ret)
{
	const char *name = request_param(req, "version");
	struct model_row model;
	int64_t number;
	enum err e = registry_model(req, &model);
	if (e)
		return e;
	if (input_uint(name, &number)) {
		e = number > INT32_MAX ? ERR_NOT_FOUND : db_version_by_number(request_db(req), model.id, number, ret);
		if (!e && !ret->published && !registry_owns(req, model.author))
			e = ERR_NOT_FOUND;
	} else if (strcmp(name, "main") == 0) {
		e = db_version_resolve(request_db(req), model.ref, ret);
	} else {
		e = db_version_resolve(request_db(req), arena_printf(req->arena, "%s@%s", model.ref, name), ret);
	}
	if (e == ERR_NOT_FOUND || e == ERR_MODEL_NOT_FOUND)
		return request_fail(req, ERR_NOT_FOUND, "the model `%s` has no version `%.100s`", model.ref, name);
	return e;
}

enum err handle_versions_get(struct request *req)
{
	struct version_row row;
	enum err e = version_named(req, &row);
	return e ? e : version_reply(req, 200, &row);
}

enum err handle_versions_by_digest(struct request *req)
{
	const char *digest = request_param(req, "digest");
	struct version_row row;
	struct hash hash;
	if (hash_parse(digest, &hash))
		return request_fail(req, ERR_BAD_FIELD, "digest: must be sha256: and 64 hex digits");
	enum err e = db_version_resolve(request_db(req), registry_digest(req->arena, &hash), &row);
	if (e == ERR_MODEL_NOT_FOUND)
		return request_fail(req, ERR_NOT_FOUND, "no version with the digest %.80s is published", digest);
	return e ? e : version_reply(req, 200, &row);
}

/* ---- publication ---- */

struct publication {
	struct request *req;
	const struct version_row *draft;
	bool publishing; /* everything of ours was in order: a conflict from here on is the digest's */
	struct hash digest;
};

static bool has_suffix(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);
	return n > m && strcasecmp(s + n - m, suffix) == 0;
}

/* Everything a node needs is there, and exactly one file is the model itself. */
static enum err files_check(struct request *req, const struct version_row *v, const struct file_row *files, size_t n)
{
	bool chat = strcmp(v->surface, "chat") == 0;
	size_t models = 0;
	if (n == 0)
		return request_fail(req, ERR_UNPROCESSABLE, "the version has no files");
	if (n > VERSION_FILES_MAX)
		return request_fail(req, ERR_UNPROCESSABLE, "the version has more than %d files", VERSION_FILES_MAX);
	for (size_t i = 0; i < n; i++) {
		models += has_suffix(files[i].path, chat ? ".gguf" : ".onnx");
		if (!blob_exists(request_app(req)->blobs, &files[i].sha256))
			return request_fail(req, ERR_UNPROCESSABLE, "the contents of `%s` are missing; upload it again", files[i].path);
	}
	if (models != 1)
		return request_fail(req, ERR_UNPROCESSABLE, "a %s version needs exactly one %s file; this one has %zu", v->surface, chat ? ".gguf" : ".onnx", models);
	return ERR_OK;
}

static enum err manifest_make(struct request *req, const struct file_row *files, size_t n, struct buf *text, struct hash *digest)
{
	_cleanup_manifest_ struct manifest m = MANIFEST_INIT;
	for (size_t i = 0; i < n; i++)
		if (manifest_add(&m, files[i].path, &files[i].sha256, (uint64_t)files[i].size))
			return request_fail(req, ERR_UNPROCESSABLE, "`%s` cannot be in the manifest: it is a folder of another file, or malformed", files[i].path);
	manifest_digest(&m, digest);
	return manifest_text(&m, text);
}

static enum err publish_run(struct db *db, void *arg)
{
	struct publication *pub = arg;
	struct request *req = pub->req;
	const struct principal *p = req->principal;
	_cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX);
	struct file_row *files;
	size_t n;
	bool published;
	pub->publishing = false;
	enum err e = db_version_lock(db, pub->draft->id, p->account, &published);
	if (!e && published)
		e = request_fail(req, ERR_CONFLICT, "the version is published already");
	if (!e)
		e = db_version_files(db, req->arena, pub->draft->id, &files, &n);
	if (!e)
		e = files_check(req, pub->draft, files, n);
	if (!e)
		e = manifest_make(req, files, n, &text, &pub->digest);
	if (e)
		return e;
	pub->publishing = true;
	return db_version_publish(db, pub->draft->id, &pub->digest, text.data);
}

/* A version is its files, and has one price: who wants another price finds here which version has it now, and the way out. */
static enum err refuse_twin(struct request *req, const struct hash *digest)
{
	struct version_row twin;
	enum err e = db_version_resolve(request_db(req), registry_digest(req->arena, digest), &twin);

	if (e)
		return request_fail(req, ERR_CONFLICT, "a version with exactly these files is published already");
	return request_fail(req, ERR_CONFLICT, "%s@%lld has exactly these files; change or add one (a README will do) to publish them at another price", twin.model_ref,
			    (long long)twin.number);
}

enum err handle_versions_publish(struct request *req)
{
	struct version_row row;
	struct publication pub = { .req = req, .draft = &row };
	enum err e = registry_draft(req, &row);
	if (e)
		return e;
	e = db_transaction(request_db(req), publish_run, &pub);
	if (e == ERR_CONFLICT && pub.publishing)
		return refuse_twin(req, &pub.digest);
	if (!e)
		e = db_version_by_number(request_db(req), row.model, row.number, &row);
	return e ? e : version_reply(req, 200, &row);
}
