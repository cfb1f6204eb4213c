/* Which versions this node serves: reads the gateway's list, checks the manifest, brings the files, adds the version. The
 * catalog thread; a version that could not be brought is tried again after a pause. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node/agent.h"

#define LIST_PAGES_MAX 1000
#define MANIFEST_ANSWER_MAX ((size_t)8 << 20)
#define REFUSED_MAX 256
#define REFUSED_WAIT_MS 60000
#define FAILED_WAIT_MS 3000
#define LOOK_MS 20

/* Versions that could not be brought, and when to look again. The catalog thread's own. */
struct refused {
	struct hash digest;
	deadline_ms again;
};
/* A model that `serve` names: is it in the gateway's list, and was it said that it is not? */
struct named {
	char *model;
	bool listed, missed;
};
struct catalog {
	struct agent *a;
	struct refused refused[REFUSED_MAX];
	size_t refused_count;
	struct named *named;
	size_t named_count;
};

/* One line of the gateway's list, or one version asked for by digest. */
struct entry {
	const char *model, *surface;
	int64_t number;
	struct hash digest;
};

static bool backend_set(const struct node_settings *s, enum node_surface surface)
{
	return surface == NODE_CHAT ? *s->chat_backend_command || *s->chat_backend_url : *s->tensor_backend_command || *s->tensor_backend_url;
}

/* author/name out of somebody else's answer becomes a URL and a log line: only plain words. */
static bool model_id_ok(const char *id)
{
	size_t len = strlen(id), slashes = 0;
	for (size_t i = 0; i < len; i++) {
		char c = id[i];
		slashes += c == '/';
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("._-/", c)))
			return false;
	}
	return slashes == 1 && len < 180 && blob_path_check(id) == ERR_OK;
}

static bool entry_read(const json_t *j, struct entry *ret)
{
	const char *digest = json_string_value(json_object_get(j, "digest"));
	const json_t *number = json_object_get(j, "version") ? json_object_get(j, "version") : json_object_get(j, "number");
	const json_t *model = json_object_get(j, "model"); /* a version names its model, the list's items are models */
	ret->model = json_string_value(model ? model : json_object_get(j, "id"));
	ret->surface = json_string_value(json_object_get(j, "surface"));
	ret->number = json_integer_value(number);
	return ret->model && ret->surface && digest && hash_parse(digest, &ret->digest) == ERR_OK && model_id_ok(ret->model) &&
	       (strcmp(ret->surface, "chat") == 0 || strcmp(ret->surface, "tensor") == 0);
}

static struct refused *refused_find(struct catalog *c, const struct hash *digest)
{
	for (size_t i = 0; i < c->refused_count; i++)
		if (hash_equal(&c->refused[i].digest, digest))
			return &c->refused[i];
	return NULL;
}

static void refused_note(struct catalog *c, const struct hash *digest, int64_t wait_ms)
{
	struct refused *r = refused_find(c, digest);
	if (!r)
		r = &c->refused[c->refused_count < REFUSED_MAX ? c->refused_count++ : (size_t)clock_mono_ms() % REFUSED_MAX];
	*r = (struct refused){ .digest = *digest, .again = deadline_in(wait_ms) };
}

/* GET as JSON; NULL when it did not work. */
static json_t *get_json(struct agent *a, const char *path, size_t max)
{
	struct api_answer answer;
	json_t *j = NULL;
	struct json_why why = { "" };
	enum err e = api_run(a, &(struct api_call){ .method = "GET", .path = path, .response_max = max, .cancel = &a->stopping }, &answer);
	if (!e && answer.status == 200)
		e = json_parse(answer.body, answer.len, &j, &why);
	if ((e || answer.status != 200) && e != ERR_CANCELLED)
		LOG_EVENT(LOG_WARN, "catalog.read_failed", L_STR("path", path), L_INT("status", answer.status),
			  L_STR("detail", e == ERR_BAD_JSON ? why.text : answer.error));
	api_answer_done(&answer);
	return j;
}

static char *version_path(const struct hash *digest)
{
	char hex[65];
	hex_encode(digest->b, sizeof(digest->b), hex);
	return xasprintf("/v1/versions/sha256:%s", hex);
}

static struct served *served_make(struct agent *a, const struct entry *e, char *take_dir)
{
	struct served *s = xcalloc(1, sizeof(*s));
	s->digest = e->digest;
	snprintf(s->model, sizeof(s->model), "%s", e->model);
	s->number = e->number;
	s->surface = strcmp(e->surface, "chat") == 0 ? NODE_CHAT : NODE_TENSOR;
	s->dir = take_dir;
	s->profile = profile_make(&a->settings, s->surface);
	sha256_of(s->profile, strlen(s->profile), &s->profile_hash);
	_cleanup_json_ json_t *profile = NULL;
	if (json_parse(s->profile, strlen(s->profile), &profile, NULL) == ERR_OK) {
		const char *precision = json_string_value(json_object_get(profile, "precision"));
		snprintf(s->precision, sizeof(s->precision), "%.32s", precision ? precision : "");
	}
	s->capacity = a->settings.capacity;
	s->stdin_fd = -1;
	s->state = SERVED_WAITING;
	s->start_at = deadline_in(0);
	return s;
}

enum err version_manifest(const char *text, size_t len, const struct hash *digest, struct manifest *ret, struct json_why *why)
{
	struct hash actual;
	struct manifest m = MANIFEST_INIT;
	sha256_of(text, len, &actual);
	if (!hash_equal(&actual, digest)) {
		snprintf(why->text, sizeof(why->text), "the manifest's hash is not the digest");
		return ERR_UNPROCESSABLE;
	}
	if (manifest_parse(text, len, &m) || m.count == 0) {
		manifest_done(&m);
		snprintf(why->text, sizeof(why->text), "the manifest is malformed or names no file");
		return ERR_UNPROCESSABLE;
	}
	*ret = m;
	return ERR_OK;
}

/* Manifest and files, then the version is ours to start. */
static enum err version_bring(struct agent *a, const struct entry *entry, struct json_why *why)
{
	_cleanup_free_ char *path = version_path(&entry->digest);
	_cleanup_json_ json_t *version = get_json(a, path, MANIFEST_ANSWER_MAX);
	const json_t *text = json_object_get(version, "manifest");
	_cleanup_manifest_ struct manifest manifest = MANIFEST_INIT;
	if (!json_is_string(text)) {
		snprintf(why->text, sizeof(why->text), "the gateway gave no manifest");
		return ERR_IO;
	}
	enum err e = version_manifest(json_string_value(text), json_string_length(text), &entry->digest, &manifest, why);
	if (e)
		return e;
	char hex[65];
	hex_encode(entry->digest.b, sizeof(entry->digest.b), hex);
	char *dir = xasprintf("%s/%s", a->settings.data_dir, hex);
	LOG_EVENT(LOG_INFO, "version.fetching", L_STR("model", entry->model), L_STR("digest", hex), L_INT("files", manifest.count));
	e = version_fetch(a, entry->model, &entry->digest, &manifest, dir, why);
	if (e) {
		free(dir);
		return e;
	}
	LOG_EVENT(LOG_INFO, "version.verified", L_STR("model", entry->model), L_STR("digest", hex));
	served_add(a, served_make(a, entry, dir));
	return ERR_OK;
}

static void version_consider(struct catalog *c, const struct entry *entry)
{
	struct agent *a = c->a;
	enum node_surface surface = strcmp(entry->surface, "chat") == 0 ? NODE_CHAT : NODE_TENSOR;
	if (atomic_load(&a->stopping) || !backend_set(&a->settings, surface) ||
	    !serve_matches(a->settings.serve, entry->model, &entry->digest) || served_find(a, &entry->digest))
		return;
	const struct refused *r = refused_find(c, &entry->digest);
	if (r && !deadline_passed(r->again))
		return;
	if (*(surface == NODE_CHAT ? a->settings.chat_backend_url : a->settings.tensor_backend_url)) {
		/* It runs already, on files of its own: the operator named the version and answers for it. */
		served_add(a, served_make(a, entry, NULL));
		return;
	}
	struct json_why why = { "" };
	enum err e = version_bring(a, entry, &why);
	if (!e || e == ERR_CANCELLED)
		return;
	refused_note(c, &entry->digest, e == ERR_UNPROCESSABLE ? REFUSED_WAIT_MS : FAILED_WAIT_MS);
	LOG_EVENT(LOG_ERROR, e == ERR_UNPROCESSABLE ? "version.refused" : "version.failed", L_STR("model", entry->model),
		  L_STR("error", err_info(e)->code), L_STR("detail", why.text));
}

/* Versions named by digest need not be the newest of their model, so the list may not hold them. */
static void pinned_sync(struct catalog *c)
{
	_cleanup_free_ char *list = xstrdup(c->a->settings.serve);
	for (char *rest = list, *word; (word = strsep(&rest, ", \t"));) {
		struct hash digest;
		struct entry entry;
		char *at = strchr(word, '@');
		if (hash_parse(at ? at + 1 : word, &digest) || served_find(c->a, &digest))
			continue;
		const struct refused *r = refused_find(c, &digest);
		if (r && !deadline_passed(r->again))
			continue;
		_cleanup_free_ char *path = version_path(&digest);
		_cleanup_json_ json_t *version = get_json(c->a, path, MANIFEST_ANSWER_MAX);
		if (version && entry_read(version, &entry) && hash_equal(&entry.digest, &digest))
			version_consider(c, &entry);
		else
			refused_note(c, &digest, FAILED_WAIT_MS);
	}
}

static struct catalog *catalog_make(struct agent *a)
{
	struct catalog *c = xcalloc(1, sizeof(*c));
	_cleanup_free_ char *list = xstrdup(a->settings.serve);
	c->a = a;
	for (char *rest = list, *word; (word = strsep(&rest, ", \t"));) {
		struct hash digest;
		char *at = strchr(word, '@');
		if (!*word || !strcmp(a->settings.serve, "all") || hash_parse(at ? at + 1 : word, &digest) == ERR_OK)
			continue; /* pinned_sync asks for those by their digest */
		c->named = xrealloc(c->named, (c->named_count + 1) * sizeof(*c->named));
		c->named[c->named_count++] = (struct named){ .model = xstrdup(word) };
	}
	return c;
}

static void catalog_free(struct catalog *c)
{
	for (size_t i = 0; i < c->named_count; i++)
		free(c->named[i].model);
	free(c->named);
	free(c);
}

static void named_seen(struct catalog *c, const char *model)
{
	for (size_t i = 0; i < c->named_count; i++)
		c->named[i].listed = c->named[i].listed || strcmp(c->named[i].model, model) == 0;
}

/* After the whole list: a typo in `serve` is said once, or it would look like a node that waits for work. */
static void named_judge(struct catalog *c)
{
	for (size_t i = 0; i < c->named_count; i++) {
		struct named *n = &c->named[i];
		if (!n->listed && !n->missed)
			LOG_EVENT(LOG_WARN, "version.unknown", L_STR("model", n->model),
				  L_STR("detail", "serve names it, and the gateway has published no such model; a version is pinned by its sha256: digest"));
		n->missed = !n->listed;
		n->listed = false;
	}
}

static void list_sync(struct catalog *c)
{
	bool whole = false;
	_cleanup_free_ char *after = NULL;
	for (int page = 0; page < LIST_PAGES_MAX && !atomic_load(&c->a->stopping); page++) {
		_cleanup_free_ char *path = after ? xasprintf("/v1/models?limit=100&after=%s", after) : xstrdup("/v1/models?limit=100");
		_cleanup_json_ json_t *list = get_json(c->a, path, MANIFEST_ANSWER_MAX);
		const json_t *data = json_object_get(list, "data");
		size_t i;
		const json_t *item;
		json_array_foreach((json_t *)data, i, item) {
			struct entry entry;
			if (!entry_read(item, &entry))
				continue;
			named_seen(c, entry.model);
			version_consider(c, &entry);
		}
		const char *last = json_string_value(json_object_get(list, "last_id"));
		whole = data && !json_is_true(json_object_get(list, "has_more"));
		if (!json_is_true(json_object_get(list, "has_more")) || !last || strlen(last) > 200 || strpbrk(last, " &#?%\r\n"))
			break;
		free(after);
		after = xstrdup(last);
	}
	if (whole)
		named_judge(c);
}

static void catalog_pass(struct catalog *c)
{
	if (strcmp(c->a->settings.serve, "all") != 0)
		pinned_sync(c);
	list_sync(c);
}

void catalog_sync(struct agent *a)
{
	struct catalog *c = catalog_make(a);
	catalog_pass(c);
	catalog_free(c);
}

void *catalog_run(void *agent)
{
	struct agent *a = agent;
	struct catalog *c = catalog_make(a);
	deadline_ms next = deadline_in(0);
	while (!atomic_load(&a->stopping)) {
		if (deadline_passed(next)) {
			catalog_pass(c);
			next = deadline_in(a->settings.poll_ms);
		}
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_MS * 1000000L }, NULL);
	}
	catalog_free(c);
	return NULL;
}
