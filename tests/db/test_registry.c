/* Models, versions, files, publication and the market against a real database. */
#include "tests/db/pg.h"

#include <pthread.h>

#include "db/accounts.h"
#include "db/registry.h"

static struct arena *arena;
static struct account_row alice, bob;

static int setup(void **state)
{
	struct address a = { { 0xa1 } }, b = { { 0xb0 } };
	if (pg_setup(state))
		return -1;
	arena = arena_new();
	if (db_account_ensure(pg, &a, &alice) || db_account_ensure(pg, &b, &bob) || db_account_set_handle(pg, alice.id, "alice", &alice))
		return -1;
	return 0;
}

static int teardown(void **state)
{
	arena_free(arena);
	return pg_teardown(state);
}

static struct model_row model_make(int64_t author, const char *name)
{
	struct model_ref ref;
	struct model_row row;
	const struct account_row *a = author == alice.id ? &alice : &bob;
	assert_ok(db_model_create(pg, author, name, "A title", "words"));
	assert_ok(model_ref_parse(address_format(&a->address).s, name, &ref));
	assert_ok(db_model_get(pg, arena, &ref, &row));
	return row;
}

static struct version_row draft_make(const struct model_row *m, const char *surface)
{
	struct version_new new = { .model = m->id, .author = m->author, .surface = surface, .royalty = { .input = amount_from_u64(5), .output = amount_from_u64(7) },
				   .max_output_units = 512 };
	struct version_row row;
	assert_ok(db_version_create(pg, &new, &row));
	return row;
}

struct publish {
	int64_t version, author;
	uint8_t digest;
};

static enum err publish_run(struct db *db, void *arg)
{
	struct publish *p = arg;
	struct hash digest = { { p->digest, 0xdd } };
	bool published;
	enum err e = db_version_lock(db, p->version, p->author, &published);
	if (!e && published)
		e = ERR_CONFLICT;
	return e ? e : db_version_publish(db, p->version, &digest, "manifest\n");
}

static enum err publish(const struct version_row *v, int64_t author, uint8_t digest)
{
	struct publish p = { v->id, author, digest };
	return db_transaction(pg, publish_run, &p);
}

static void test_model(void **state)
{
	(void)state;
	struct model_row m = model_make(alice.id, "cat"), again;
	struct model_ref ref;
	assert_string_equal(m.ref, "alice/cat");
	assert_string_equal(m.owner, "alice");
	assert_int_equal(db_model_create(pg, alice.id, "cat", "", ""), ERR_CONFLICT);
	assert_ok(db_model_create(pg, bob.id, "cat", "", "")); /* another author's */
	assert_ok(model_ref_parse_id("alice/cat", 9, &ref));
	assert_ok(db_model_get(pg, arena, &ref, &again));
	assert_int_equal(m.id, again.id);
	assert_int_equal(db_model_patch(pg, m.id, bob.id, "mine", NULL), ERR_NOT_FOUND); /* not his */
	assert_ok(db_model_patch(pg, m.id, alice.id, "New", NULL));
	assert_ok(db_model_get(pg, arena, &ref, &again));
	assert_string_equal(again.title, "New");
	assert_string_equal(again.description, "words");
	_cleanup_free_ char *id = xasprintf("%s/cat", address_format(&bob.address).s); /* without a handle the address stands for it */
	assert_ok(model_ref_parse_id(id, strlen(id), &ref));
	assert_ok(db_model_get(pg, arena, &ref, &again));
	assert_string_equal(again.ref, id);
}

static void test_refs(void **state)
{
	static const char *const bad[] = { "", "/", "a", "a/", "/a", "a/b/c", "a b/c", "A/b", "a/.b", "a/-b", "a/b@1", "0x12/a\n", "'; DROP TABLE model; --/x", "a/b c" };
	struct model_ref ref;
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (model_ref_parse_id(bad[i], strlen(bad[i]), &ref) != ERR_NOT_FOUND)
			fail_msg("accepted: %s", bad[i]);
	assert_ok(model_ref_parse_id("a/B.c_d-e", 9, &ref));
	assert_string_equal(ref.handle, "a");
	assert_string_equal(ref.name, "B.c_d-e");
}

static void test_versions_and_resolve(void **state)
{
	static const char *const bad[] = { "", "alice/dog@0", "alice/dog@3", "alice/dog@01", "alice/dog@-1", "alice/dog@main", "alice/dog@", "alice/nothing", "nobody/dog",
					   "sha256:00", "alice/dog@sha256:zz", "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff" };
	(void)state;
	struct model_row m = model_make(alice.id, "dog");
	struct version_row v1 = draft_make(&m, "chat"), v2 = draft_make(&m, "chat"), r;
	assert_int_equal(v1.number, 1);
	assert_int_equal(v2.number, 2);
	assert_false(v1.published);
	assert_int_equal(db_version_resolve(pg, "alice/dog", &r), ERR_MODEL_NOT_FOUND); /* drafts are nobody's to run */
	assert_int_equal(db_version_resolve(pg, "alice/dog@1", &r), ERR_MODEL_NOT_FOUND);
	assert_int_equal(publish(&v1, bob.id, 1), ERR_NOT_FOUND);
	assert_ok(publish(&v1, alice.id, 1));
	assert_ok(db_version_resolve(pg, "alice/dog", &r));
	assert_int_equal(r.id, v1.id);
	assert_ok(publish(&v2, alice.id, 2));
	assert_ok(db_version_resolve(pg, "alice/dog", &r));
	assert_int_equal(r.id, v2.id); /* the newest */
	assert_int_equal(r.author, alice.id);
	assert_true(address_equal(&r.author_address, &alice.address));
	assert_string_equal(r.model_ref, "alice/dog");
	assert_string_equal(r.surface, "chat");
	assert_string_equal(amount_format(r.royalty_output).s, "7");
	assert_int_equal(r.max_output_units, 512);
	assert_ok(db_version_resolve(pg, "alice/dog@1", &r));
	assert_int_equal(r.id, v1.id);
	_cleanup_free_ char *digest = xasprintf("sha256:%s", hash_format(&r.digest).s + 2), *pinned = xasprintf("alice/dog@%s", digest);
	_cleanup_free_ char *foreign = xasprintf("alice/cat@%s", digest);
	assert_ok(db_version_resolve(pg, digest, &r));
	assert_int_equal(r.id, v1.id);
	assert_ok(db_version_resolve(pg, pinned, &r));
	assert_int_equal(r.id, v1.id);
	assert_int_equal(db_version_resolve(pg, foreign, &r), ERR_MODEL_NOT_FOUND); /* a digest of another model */
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (db_version_resolve(pg, bad[i], &r) != ERR_MODEL_NOT_FOUND)
			fail_msg("resolved: %s", bad[i]);
}

static void test_names_without_an_author(void **state)
{
	static const char *const bad[] = { "", "lon", "lonely@1", "alice/lonely", ".x", "lonely'" };
	(void)state;
	struct model_row m = model_make(alice.id, "lonely"), other = model_make(bob.id, "lonely");
	struct version_row v1 = draft_make(&m, "chat"), v2 = draft_make(&m, "chat"), foreign = draft_make(&other, "chat"), r;
	assert_int_equal(db_version_of_name(pg, "lonely", &r), ERR_MODEL_NOT_FOUND); /* drafts do not count */
	assert_ok(publish(&v1, alice.id, 71));
	assert_ok(publish(&v2, alice.id, 72));
	assert_ok(db_version_of_name(pg, "lonely", &r));
	assert_int_equal(r.id, v2.id);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (db_version_of_name(pg, bad[i], &r) != ERR_MODEL_NOT_FOUND)
			fail_msg("found: %s", bad[i]);
	assert_ok(publish(&foreign, bob.id, 73));
	assert_int_equal(db_version_of_name(pg, "lonely", &r), ERR_CONFLICT); /* nobody is served what he did not mean */
}

static void test_published_is_immutable(void **state)
{
	(void)state;
	struct model_row m = model_make(alice.id, "stone");
	struct version_row v = draft_make(&m, "tensor"), other = draft_make(&m, "tensor"), *list;
	struct file_row f = { .path = "a.onnx", .size = 3 }, *files;
	size_t n;
	assert_int_equal(db_file_put(pg, v.id, bob.id, &f), ERR_CONFLICT); /* not his */
	assert_ok(db_file_put(pg, v.id, alice.id, &f));
	f.size = 4;
	assert_ok(db_file_put(pg, v.id, alice.id, &f)); /* replaced while a draft */
	assert_ok(db_version_files(pg, arena, v.id, &files, &n));
	assert_int_equal(n, 1);
	assert_int_equal(files[0].size, 4);
	assert_ok(publish(&v, alice.id, 3));
	assert_int_equal(publish(&v, alice.id, 4), ERR_CONFLICT);
	assert_int_equal(publish(&other, alice.id, 3), ERR_CONFLICT); /* the same files as another version */
	assert_int_equal(db_file_put(pg, v.id, alice.id, &f), ERR_CONFLICT);
	/* the database itself refuses, whoever asks */
	assert_int_equal(db_script(pg, "UPDATE model_version SET royalty_input = 0 WHERE published_at IS NOT NULL"), ERR_CONFLICT);
	assert_int_equal(db_script(pg, "DELETE FROM version_file"), ERR_CONFLICT);
	assert_int_equal(db_script(pg, "UPDATE version_file SET size = 1"), ERR_CONFLICT);
	_cleanup_free_ char *insert = xasprintf("INSERT INTO version_file VALUES (%lld, 'b', decode(repeat('00', 32), 'hex'), 1)", (long long)v.id);
	assert_int_equal(db_script(pg, insert), ERR_CONFLICT);
	assert_ok(db_versions_list(pg, arena, m.id, false, 0, 10, &list, &n));
	assert_int_equal(n, 1); /* the draft is not listed for others */
	assert_ok(db_versions_list(pg, arena, m.id, true, 0, 10, &list, &n));
	assert_int_equal(n, 2);
	assert_true(list[0].number == 2 && !list[0].published);
}

static void test_files_sorted_by_bytes_and_bounded(void **state)
{
	(void)state;
	struct model_row m = model_make(alice.id, "many");
	struct version_row v = draft_make(&m, "tensor");
	struct file_row *files, one_more = { .path = "one-more" };
	size_t n;
	for (int i = 0; i < VERSION_FILES_MAX; i++) {
		char path[32];
		snprintf(path, sizeof(path), "%c%d", i % 2 ? 'a' : 'B', i);
		struct file_row f = { .path = path };
		assert_ok(db_file_put(pg, v.id, alice.id, &f));
	}
	assert_int_equal(db_file_put(pg, v.id, alice.id, &one_more), ERR_CONFLICT);
	assert_ok(db_version_files(pg, arena, v.id, &files, &n));
	assert_int_equal(n, VERSION_FILES_MAX);
	for (size_t i = 1; i < n; i++)
		assert_true(strcmp(files[i - 1].path, files[i].path) < 0);
}

/* A publication holds its lock; an upload that started before must wait, and then be refused. */
static struct version_row contested;
static void *late_upload(void *arg)
{
	struct db *db = db_new(pg_url, 30000);
	struct file_row f = { .path = "late" };
	*(enum err *)arg = db_file_put(db, contested.id, alice.id, &f);
	db_free(db);
	return NULL;
}

struct race {
	pthread_t thread;
	enum err upload;
};

static enum err race_run(struct db *db, void *arg)
{
	struct race *r = arg;
	struct hash digest = { { 0x77 } };
	bool published;
	enum err e = db_version_lock(db, contested.id, alice.id, &published);
	if (e)
		return e;
	assert_int_equal(pthread_create(&r->thread, NULL, late_upload, &r->upload), 0);
	/* until the upload stands at our lock */
	for (deadline_ms d = deadline_in(10000);;) {
		assert_false(deadline_passed(d));
		_cleanup_result_ struct db_result *res = NULL;
		assert_ok(db_query_one(db, "SELECT count(*) AS n FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))", NULL, &res));
		if (db_get_int(res, 0, "n") > 0)
			break;
	}
	return db_version_publish(db, contested.id, &digest, "");
}

static void test_no_file_behind_the_manifest(void **state)
{
	(void)state;
	struct model_row m = model_make(alice.id, "contested");
	struct race r = { .upload = ERR_OK };
	struct file_row *files;
	size_t n;
	contested = draft_make(&m, "tensor");
	assert_ok(db_transaction(pg, race_run, &r));
	pthread_join(r.thread, NULL);
	assert_int_equal(r.upload, ERR_CONFLICT);
	assert_ok(db_version_files(pg, arena, contested.id, &files, &n));
	assert_int_equal(n, 0);
}

static void offer_make(uint8_t n, int64_t operator_, int64_t version, int in, int out, const char *heartbeat)
{
	_cleanup_free_ char *sql = xasprintf(
		"INSERT INTO execution_profile VALUES (decode(repeat('ee', 32), 'hex'), '{}') ON CONFLICT DO NOTHING;"
		"INSERT INTO node (address, operator, url, registration, operator_signature, issued_at, heartbeat_at) VALUES (decode(repeat('%02x', 20), 'hex'), %lld, 'http://n', '{}', '0x', 1, %s);"
		"INSERT INTO offer (node, version, ask_input, ask_output, capacity, profile_hash, state)"
		" VALUES (decode(repeat('%02x', 20), 'hex'), %lld, %d, %d, 2, decode(repeat('ee', 32), 'hex'), 'ready')", n, (long long)operator_, heartbeat, n, (long long)version, in, out);
	assert_ok(db_script(pg, sql));
}

static void test_market(void **state)
{
	(void)state;
	struct model_row m = model_make(bob.id, "market");
	struct version_row v = draft_make(&m, "chat");
	struct model_filter f = { .model = m.id, .max = 10, .node_timeout_ms = 60000 };
	struct model_listed *rows;
	struct model_offer *offers;
	struct model_ref author;
	size_t n;
	assert_ok(db_models_list(pg, arena, &f, &rows, &n));
	assert_int_equal(n, 0); /* nothing is published */
	assert_ok(publish(&v, bob.id, 9));
	assert_ok(db_models_list(pg, arena, &f, &rows, &n));
	assert_int_equal(n, 1);
	assert_int_equal(rows[0].offers, 0);
	offer_make(0x11, alice.id, v.id, 10, 90, "now()");
	offer_make(0x22, alice.id, v.id, 20, 30, "now()");
	offer_make(0x33, alice.id, v.id, 1, 1, "now() - interval '5 minutes'"); /* the cheapest is silent */
	assert_ok(db_models_list(pg, arena, &f, &rows, &n));
	assert_int_equal(rows[0].offers, 2);
	assert_string_equal(amount_format(rows[0].ask_input).s, "20");
	assert_string_equal(amount_format(rows[0].ask_output).s, "30");
	assert_ok(db_model_offers(pg, arena, m.id, 60000, &offers, &n));
	assert_int_equal(n, 2);
	assert_int_equal(offers[0].node.b[0], 0x22);
	assert_true(address_equal(&offers[0].operator_, &alice.address));
	assert_int_equal(offers[0].capacity, 2);
	/* filters and paging */
	assert_ok(model_ref_parse("alice", "any", &author));
	f = (struct model_filter){ .max = 100, .node_timeout_ms = 60000, .author = &author };
	assert_ok(db_models_list(pg, arena, &f, &rows, &n));
	for (size_t i = 0; i < n; i++)
		assert_string_equal(rows[i].model.owner, "alice");
	f = (struct model_filter){ .max = 100, .node_timeout_ms = 60000, .surface = "chat" };
	assert_ok(db_models_list(pg, arena, &f, &rows, &n));
	assert_true(n >= 2);
	for (size_t i = 0; i < n; i++)
		assert_string_equal(rows[i].version.surface, "chat");
	int64_t newest = rows[0].model.id;
	f.before = newest;
	assert_ok(db_models_list(pg, arena, &f, &rows, &n));
	for (size_t i = 0; i < n; i++)
		assert_true(rows[i].model.id < newest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model), cmocka_unit_test(test_refs), cmocka_unit_test(test_versions_and_resolve), cmocka_unit_test(test_names_without_an_author), cmocka_unit_test(test_published_is_immutable),
		cmocka_unit_test(test_files_sorted_by_bytes_and_bounded), cmocka_unit_test(test_no_file_behind_the_manifest), cmocka_unit_test(test_market),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
