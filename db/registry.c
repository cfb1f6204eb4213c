/* SQL of models, versions and files; see registry.h. What the market asks is in market.c. */
#include "db/registry.h"

#include <stdio.h>
#include <string.h>

#include "db/registry_sql.h"

bool model_name_ok(const char *name)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t n = strlen(name);
	return n >= 1 && n <= MODEL_NAME_MAX && strspn(name, alphabet) == n && !strchr("._-", name[0]);
}

enum err model_ref_parse(const char *author, const char *name, struct model_ref *ret)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	struct model_ref ref = { 0 };
	size_t n = strlen(author);
	if (!model_name_ok(name))
		return ERR_NOT_FOUND;
	if (address_parse(author, &ref.address)) {
		if (n == 0 || n >= sizeof(ref.handle) || strspn(author, alphabet) != n)
			return ERR_NOT_FOUND;
		snprintf(ref.handle, sizeof(ref.handle), "%s", author);
	}
	snprintf(ref.name, sizeof(ref.name), "%s", name);
	*ret = ref;
	return ERR_OK;
}

enum err model_ref_parse_id(const char *id, size_t len, struct model_ref *ret)
{
	char text[MODEL_REF_MAX];
	if (len >= sizeof(text) || memchr(id, '\0', len))
		return ERR_NOT_FOUND;
	memcpy(text, id, len);
	text[len] = '\0';
	char *slash = strchr(text, '/');
	if (!slash)
		return ERR_NOT_FOUND;
	*slash = '\0';
	return model_ref_parse(text, slash + 1, ret);
}

void registry_push_author(struct db_params *p, const struct model_ref *ref)
{
	db_text(p, ref->handle[0] ? ref->handle : NULL);
	db_address(p, ref->handle[0] ? NULL : &ref->address);
}

void registry_read_model(const struct db_result *r, int row, struct arena *arena, struct model_row *ret)
{
	*ret = (struct model_row){
		.id = db_get_int(r, row, "model"),
		.author = db_get_int(r, row, "author"),
		.owner = arena_strdup(arena, db_get_text(r, row, "owner")),
		.name = arena_strdup(arena, db_get_text(r, row, "name")),
		.title = arena_strdup(arena, db_get_text(r, row, "title")),
		.description = arena_strdup(arena, db_get_text(r, row, "description")),
		.created_at = db_get_int(r, row, "model_created_ms"),
	};
	ret->ref = arena_printf(arena, "%s/%s", ret->owner, ret->name);
}

struct listed_price registry_read_price(const struct db_result *r, int row, const char *input, const char *output)
{
	return (struct listed_price){ .usd = !strcmp(db_get_text(r, row, "currency"), "USD"), .input = db_get_amount(r, row, input), .output = db_get_amount(r, row, output) };
}

void registry_read_version(const struct db_result *r, int row, struct version_row *ret)
{
	*ret = (struct version_row){
		.id = db_get_int(r, row, "id"),
		.model = db_get_int(r, row, "model"),
		.author = db_get_int(r, row, "author"),
		.number = db_get_int(r, row, "number"),
		.royalty = registry_read_price(r, row, "listed_input", "listed_output"),
		.priced = !db_is_null(r, row, "royalty_input") && !db_is_null(r, row, "royalty_output"),
		.max_output_units = db_get_int(r, row, "max_output_units"),
		.published = !db_is_null(r, row, "digest"),
		.created_at = db_get_int(r, row, "created_ms"),
		.published_at = db_get_int(r, row, "published_ms"),
	};
	db_get_address(r, row, "author_address", &ret->author_address);
	snprintf(ret->model_ref, sizeof(ret->model_ref), "%s/%s", db_get_text(r, row, "owner"), db_get_text(r, row, "name"));
	snprintf(ret->surface, sizeof(ret->surface), "%s", db_get_text(r, row, "surface"));
	if (ret->priced) {
		ret->royalty_input = db_get_amount(r, row, "royalty_input");
		ret->royalty_output = db_get_amount(r, row, "royalty_output");
	}
	if (ret->published)
		db_get_hash(r, row, "digest", &ret->digest);
}

/* ---- models ---- */

enum err db_model_create(struct db *db, int64_t author, const char *name, const char *title, const char *description)
{
	DB_PARAMS p = { 0 };
	db_int(&p, author);
	db_text(&p, name);
	db_text(&p, title);
	db_text(&p, description);
	return db_exec(db, "INSERT INTO model (author, name, title, description) VALUES ($1, $2, $3, $4)", &p, NULL);
}

enum err db_model_get(struct db *db, struct arena *arena, const struct model_ref *ref, struct model_row *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	registry_push_author(&p, ref);
	db_text(&p, ref->name);
	enum err e = db_query_one(db,
		"SELECT " MODEL_NAMED ", " MODEL_ABOUT " FROM model m JOIN account a ON a.id = m.author WHERE m.author = " AUTHOR_OF("$1", "$2") " AND m.name = $3", &p, &r);
	if (!e)
		registry_read_model(r, 0, arena, ret);
	return e;
}

enum err db_model_patch(struct db *db, int64_t model, int64_t author, const char *title, const char *description)
{
	DB_PARAMS p = { 0 };
	int64_t n = 0;
	db_int(&p, model);
	db_int(&p, author);
	db_text(&p, title);
	db_text(&p, description);
	enum err e = db_exec(db,
		"UPDATE model SET title = coalesce($3::text, title), description = coalesce($4::text, description) WHERE id = $1 AND author = $2", &p, &n);
	return e ? e : n == 1 ? ERR_OK : ERR_NOT_FOUND;
}

/* ---- versions ---- */

static enum err version_one(struct db *db, const char *sql, const struct db_params *p, struct version_row *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_query_one(db, sql, p, &r);
	if (!e)
		registry_read_version(r, 0, ret);
	return e;
}

/* After the @: a number, or sha256: and a digest. */
static bool revision_parse(const char *s, int64_t *ret_number, struct hash *ret_digest)
{
	if (strncmp(s, "sha256:", 7) == 0)
		return hash_parse(s, ret_digest) == ERR_OK;
	size_t n = strlen(s);
	if (n == 0 || n > 9 || s[0] == '0' || strspn(s, "0123456789") != n)
		return false;
	*ret_number = 0;
	for (; *s; s++)
		*ret_number = *ret_number * 10 + (*s - '0');
	return true;
}

static enum err push_name(struct db_params *p, const char *id, struct model_ref *ref)
{
	struct hash digest;
	int64_t number = 0;
	const char *at = strchr(id, '@');
	size_t len = at ? (size_t)(at - id) : strlen(id);
	if (model_ref_parse_id(id, len, ref) || (at && !revision_parse(at + 1, &number, &digest)))
		return ERR_MODEL_NOT_FOUND;
	registry_push_author(p, ref);
	db_text(p, ref->name);
	db_int(p, number);
	if (at && number == 0)
		db_hash(p, &digest);
	else
		db_text(p, NULL);
	return ERR_OK;
}

enum err registry_push_version(struct db_params *p, const char *ref, struct model_ref *ret_name, bool *ret_by_digest)
{
	struct hash digest;
	if (!ref || strnlen(ref, VERSION_REF_MAX) == VERSION_REF_MAX)
		return ERR_MODEL_NOT_FOUND;
	*ret_by_digest = strncmp(ref, "sha256:", 7) == 0;
	if (!*ret_by_digest)
		return push_name(p, ref, ret_name);
	if (hash_parse(ref, &digest))
		return ERR_MODEL_NOT_FOUND;
	db_hash(p, &digest);
	return ERR_OK;
}

enum err db_version_resolve(struct db *db, const char *ref, struct version_row *ret)
{
	DB_PARAMS p = { 0 };
	struct model_ref name;
	bool by_digest = false;
	enum err e = registry_push_version(&p, ref, &name, &by_digest);
	if (!e)
		e = version_one(db, by_digest ? VERSION_BY_DIGEST : VERSION_BY_NAME, &p, ret);
	return e == ERR_NOT_FOUND ? ERR_MODEL_NOT_FOUND : e;
}

enum err db_version_of_name(struct db *db, const char *name, struct version_row *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;
	if (strnlen(name, MODEL_NAME_MAX + 1) > MODEL_NAME_MAX || !model_name_ok(name))
		return ERR_MODEL_NOT_FOUND;
	db_text(&p, name);
	e = db_query(db,
		"SELECT DISTINCT ON (v.model) " VERSION_COLUMNS " FROM " VERSION_TABLES
		" WHERE m.name = $1 AND v.published_at IS NOT NULL ORDER BY v.model, v.number DESC LIMIT 2", &p, &r);
	if (e || db_rows(r) != 1)
		return e ? e : db_rows(r) ? ERR_CONFLICT : ERR_MODEL_NOT_FOUND;
	registry_read_version(r, 0, ret);
	return ERR_OK;
}

enum err db_version_by_number(struct db *db, int64_t model, int64_t number, struct version_row *ret)
{
	DB_PARAMS p = { 0 };
	db_int(&p, model);
	db_int(&p, number);
	return version_one(db, "SELECT " VERSION_COLUMNS " FROM " VERSION_TABLES " WHERE v.model = $1 AND v.number = $2", &p, ret);
}

enum err db_versions_list(struct db *db, struct arena *arena, int64_t model, bool drafts, int64_t below, size_t max,
			  struct version_row **ret, size_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_int(&p, model);
	db_bool(&p, drafts);
	db_int(&p, below > 0 ? below : INT32_MAX);
	db_int(&p, (int64_t)max);
	enum err e = db_query(db,
		"SELECT " VERSION_COLUMNS " FROM " VERSION_TABLES
		" WHERE v.model = $1 AND ($2::boolean OR v.published_at IS NOT NULL) AND v.number < $3 ORDER BY v.number DESC LIMIT $4", &p, &r);
	if (e)
		return e;
	size_t n = (size_t)db_rows(r);
	struct version_row *rows = arena_alloc(arena, sizeof(*rows) * (n + 1));
	for (size_t i = 0; i < n; i++)
		registry_read_version(r, (int)i, &rows[i]);
	*ret = rows;
	*ret_count = n;
	return ERR_OK;
}

enum err db_version_create(struct db *db, const struct version_new *version, struct version_row *ret)
{
	DB_PARAMS p = { 0 };
	db_int(&p, version->model);
	db_int(&p, version->author);
	db_text(&p, version->surface);
	db_text(&p, listed_currency(&version->royalty));
	db_amount(&p, version->royalty.input);
	db_amount(&p, version->royalty.output);
	db_int(&p, version->max_output_units);
	return version_one(db,
		"WITH n AS (UPDATE model SET last_number = last_number + 1 WHERE id = $1 AND author = $2 RETURNING id, last_number),"
		" v AS (INSERT INTO model_version (model, number, surface, currency, royalty_input, royalty_output, max_output_units)"
		" SELECT n.id, n.last_number, $3, $4, $5::numeric, $6::numeric, $7::bigint FROM n RETURNING *)"
		" SELECT " VERSION_COLUMNS " FROM v JOIN model m ON m.id = v.model JOIN account a ON a.id = m.author", &p, ret);
}

/* ---- files ---- */

enum err db_version_files(struct db *db, struct arena *arena, int64_t version, struct file_row **ret, size_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_int(&p, version);
	enum err e = db_query(db, "SELECT path, sha256, size FROM version_file WHERE version = $1 ORDER BY path COLLATE \"C\"", &p, &r);
	if (e)
		return e;
	size_t n = (size_t)db_rows(r);
	struct file_row *rows = arena_alloc(arena, sizeof(*rows) * (n + 1));
	for (size_t i = 0; i < n; i++) {
		rows[i].path = arena_strdup(arena, db_get_text(r, (int)i, "path"));
		db_get_hash(r, (int)i, "sha256", &rows[i].sha256);
		rows[i].size = db_get_int(r, (int)i, "size");
	}
	*ret = rows;
	*ret_count = n;
	return ERR_OK;
}

enum err db_version_file(struct db *db, int64_t version, const char *path, struct file_row *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_int(&p, version);
	db_text(&p, path);
	enum err e = db_query_one(db, "SELECT sha256, size FROM version_file WHERE version = $1 AND path = $2", &p, &r);
	if (e)
		return e;
	ret->path = path;
	db_get_hash(r, 0, "sha256", &ret->sha256);
	ret->size = db_get_int(r, 0, "size");
	return ERR_OK;
}

enum err db_version_manifest(struct db *db, struct arena *arena, int64_t version, const char **ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_int(&p, version);
	enum err e = db_query_one(db, "SELECT manifest FROM model_version WHERE id = $1", &p, &r);
	if (!e)
		*ret = db_is_null(r, 0, "manifest") ? NULL : arena_strdup(arena, db_get_text(r, 0, "manifest"));
	return e;
}

enum err db_file_put(struct db *db, int64_t version, int64_t author, const struct file_row *file)
{
	DB_PARAMS p = { 0 };
	int64_t n = 0;
	db_int(&p, version);
	db_int(&p, author);
	db_text(&p, file->path);
	db_hash(&p, &file->sha256);
	db_int(&p, file->size);
	db_int(&p, VERSION_FILES_MAX);
	enum err e = db_exec(db,
		"WITH v AS (SELECT v.id FROM model_version v JOIN model m ON m.id = v.model"
		" WHERE v.id = $1 AND m.author = $2 AND v.published_at IS NULL FOR UPDATE OF v)"
		" INSERT INTO version_file (version, path, sha256, size) SELECT v.id, $3::text, $4::bytea, $5::bigint FROM v"
		" WHERE (SELECT count(*) FROM version_file f WHERE f.version = v.id AND f.path <> $3::text) < $6::bigint"
		" ON CONFLICT (version, path) DO UPDATE SET sha256 = EXCLUDED.sha256, size = EXCLUDED.size", &p, &n);
	return e ? e : n == 1 ? ERR_OK : ERR_CONFLICT;
}

/* ---- publication ---- */

enum err db_version_lock(struct db *db, int64_t version, int64_t author, bool *ret_published)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_int(&p, version);
	db_int(&p, author);
	enum err e = db_query_one(db,
		"SELECT v.published_at IS NOT NULL AS published FROM model_version v JOIN model m ON m.id = v.model"
		" WHERE v.id = $1 AND m.author = $2 FOR UPDATE OF v", &p, &r);
	if (!e)
		*ret_published = db_get_bool(r, 0, "published");
	return e;
}

enum err db_version_publish(struct db *db, int64_t version, const struct hash *digest, const char *manifest)
{
	DB_PARAMS p = { 0 };
	int64_t n = 0;
	db_int(&p, version);
	db_hash(&p, digest);
	db_text(&p, manifest);
	enum err e = db_exec(db, "UPDATE model_version SET digest = $2, manifest = $3, published_at = now() WHERE id = $1 AND published_at IS NULL", &p, &n);
	return e ? e : n == 1 ? ERR_OK : ERR_CONFLICT;
}
