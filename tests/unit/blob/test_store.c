/* The content-addressed store, in a folder of its own that goes away again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "blob/blob.h"
#include "crypto/crypto.h"

struct place {
	char folder[64], store_folder[96];
	struct blob_store *store;
};

static int place_setup(void **state)
{
	struct place *p = xcalloc(1, sizeof(*p));

	snprintf(p->folder, sizeof(p->folder), "/tmp/opgate-blob-XXXXXX");
	assert_non_null(mkdtemp(p->folder));
	snprintf(p->store_folder, sizeof(p->store_folder), "%s/store", p->folder);
	assert_int_equal(blob_store_open(p->store_folder, &p->store), ERR_OK);
	*state = p;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int place_teardown(void **state)
{
	struct place *p = *state;

	blob_store_close(p->store);
	nftw(p->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(p);
	return 0;
}

static int count_files(const struct place *p, const char *sub)
{
	char path[128];
	int n = 0;

	snprintf(path, sizeof(path), "%s/%s", p->store_folder, sub);
	DIR *dir = opendir(path);
	const struct dirent *e;

	assert_non_null(dir);
	while ((e = readdir(dir)) != NULL)
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

static struct blob_upload *begin(struct place *p, uint64_t max)
{
	struct blob_upload *u;

	assert_int_equal(blob_begin(p->store, max, &u), ERR_OK);
	return u;
}

static struct hash put_text(struct place *p, const char *text)
{
	struct blob_upload *u = begin(p, 1000);
	struct hash h;
	uint64_t size;

	assert_int_equal(blob_write(u, text, strlen(text)), ERR_OK);
	assert_int_equal(blob_commit(u, &h, &size), ERR_OK);
	assert_int_equal(size, strlen(text));
	return h;
}

static void assert_holds(struct place *p, const struct hash *h, const char *text)
{
	struct buf b = BUF_INIT(1000);

	assert_int_equal(blob_read(p->store, h, &b), ERR_OK);
	assert_int_equal(b.len, strlen(text));
	assert_memory_equal(b.data ? b.data : "", text, b.len);
	buf_done(&b);
}

static void test_put_and_get(void **state)
{
	struct place *p = *state;
	struct hash h = put_text(p, "abc"), none = { { 1 } };
	struct stat st;
	uint64_t size;
	char path[192];
	int fd;

	assert_string_equal(hash_format(&h).s, "0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_holds(p, &h, "abc");
	assert_true(blob_exists(p->store, &h));
	snprintf(path, sizeof(path), "%s/sha256/ba/7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", p->store_folder);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(count_files(p, "incoming"), 0);
	assert_int_equal(blob_open(p->store, &h, &fd, &size), ERR_OK);
	assert_int_equal(size, 3);
	assert_int_equal(write(fd, "x", 1), -1);
	close(fd);

	assert_false(blob_exists(p->store, &none));
	assert_int_equal(blob_open(p->store, &none, &fd, &size), ERR_NOT_FOUND);
	struct buf small = BUF_INIT(2);
	assert_int_equal(blob_read(p->store, &h, &small), ERR_TOO_LARGE);
	assert_int_equal(small.len, 0);
	buf_done(&small);
}

static void test_pieces_and_the_empty_file(void **state)
{
	struct place *p = *state;
	struct blob_upload *u = begin(p, 3);
	struct hash h, empty;
	uint64_t size;

	assert_int_equal(blob_write(u, "a", 1), ERR_OK);
	assert_int_equal(blob_write(u, "", 0), ERR_OK);
	assert_int_equal(blob_write(u, "bc", 2), ERR_OK);
	assert_int_equal(blob_commit(u, &h, &size), ERR_OK);
	assert_holds(p, &h, "abc");
	empty = put_text(p, "");
	assert_string_equal(hash_format(&empty).s, "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_holds(p, &empty, "");
}

static void test_same_content_twice(void **state)
{
	struct place *p = *state;
	struct hash a = put_text(p, "same"), b = put_text(p, "same");
	struct blob_upload *u1 = begin(p, 10), *u2 = begin(p, 10);
	struct hash c, d;
	uint64_t size;

	assert_true(hash_equal(&a, &b));
	assert_int_equal(blob_write(u1, "both", 4), ERR_OK);
	assert_int_equal(blob_write(u2, "both", 4), ERR_OK);
	assert_int_equal(blob_commit(u2, &c, &size), ERR_OK);
	assert_int_equal(blob_commit(u1, &d, &size), ERR_OK);
	assert_true(hash_equal(&c, &d));
	assert_holds(p, &d, "both");
	assert_int_equal(count_files(p, "incoming"), 0);
	assert_int_equal(count_files(p, "sha256"), 2);
}

/* A file of the right name but the wrong length (a disk that lied) is replaced by the next upload of the real bytes. */
static void test_damaged_file_is_replaced(void **state)
{
	struct place *p = *state;
	struct hash h = put_text(p, "precious");
	char path[192], hex[65];

	hex_encode(h.b, 32, hex);
	snprintf(path, sizeof(path), "%s/sha256/%.2s/%s", p->store_folder, hex, hex + 2);
	assert_int_equal(truncate(path, 3), 0);
	put_text(p, "precious");
	assert_holds(p, &h, "precious");
}

static void test_size_limit(void **state)
{
	struct place *p = *state;
	struct blob_upload *u = begin(p, 5);
	struct hash h;
	uint64_t size;

	assert_int_equal(blob_write(u, "12345", 5), ERR_OK);
	assert_int_equal(blob_write(u, "6", 1), ERR_TOO_LARGE);
	assert_int_equal(blob_write(u, "6", 1), ERR_IO);
	assert_int_equal(count_files(p, "incoming"), 1);
	blob_abandon(u);
	assert_int_equal(count_files(p, "incoming"), 0);
	assert_int_equal(count_files(p, "sha256"), 0);
	u = begin(p, 5);
	assert_int_equal(blob_write(u, "6", SIZE_MAX), ERR_TOO_LARGE);
	blob_abandon(u);
	u = begin(p, 0);
	assert_int_equal(blob_write(u, "1", 1), ERR_TOO_LARGE);
	assert_int_equal(blob_commit(u, &h, &size), ERR_IO); /* what was refused once is never kept */
	assert_int_equal(count_files(p, "incoming"), 0);
	assert_int_equal(count_files(p, "sha256"), 0);
	blob_abandon(NULL);
}

static void test_commit_as(void **state)
{
	struct place *p = *state;
	struct hash right, wrong = { { 7 } };
	struct blob_upload *u = begin(p, 10);
	uint64_t size;

	sha256_of("abc", 3, &right);
	assert_int_equal(blob_write(u, "abd", 3), ERR_OK);
	assert_int_equal(blob_commit_as(u, &right, &size), ERR_BAD_FIELD);
	assert_false(blob_exists(p->store, &right));
	assert_int_equal(count_files(p, "sha256"), 0);
	assert_int_equal(count_files(p, "incoming"), 0);
	u = begin(p, 10);
	assert_int_equal(blob_write(u, "abc", 3), ERR_OK);
	assert_int_equal(blob_commit_as(u, &right, &size), ERR_OK);
	assert_true(blob_exists(p->store, &right));
	assert_false(blob_exists(p->store, &wrong));
}

static void test_disk_refuses(void **state)
{
	struct place *p = *state;
	struct rlimit before, tiny;
	struct blob_upload *u = begin(p, 100000);
	char bytes[4096] = { 0 };
	struct hash h;
	uint64_t size;
	void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	tiny = before;
	tiny.rlim_cur = 5000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tiny), 0);
	assert_int_equal(blob_write(u, bytes, sizeof(bytes)), ERR_OK);
	enum err e = blob_write(u, bytes, sizeof(bytes));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, handler);
	assert_int_equal(e, ERR_IO);
	assert_int_equal(blob_commit(u, &h, &size), ERR_IO);
	assert_int_equal(count_files(p, "incoming"), 0);
}

/* What a process that died left in incoming/ is swept by the next open; what a living one writes is not. */
static void test_leftovers_are_swept(void **state)
{
	struct place *p = *state;
	struct blob_upload *alive = begin(p, 10);
	struct blob_store *again;
	struct hash h;
	uint64_t size;
	int status;
	pid_t child;

	assert_int_equal(blob_write(alive, "alive", 5), ERR_OK);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct blob_store *own;
		struct blob_upload *u;

		if (blob_store_open(p->store_folder, &own) != ERR_OK || blob_begin(own, 10, &u) != ERR_OK || blob_write(u, "dying", 5) != ERR_OK)
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(count_files(p, "incoming"), 2);
	assert_int_equal(blob_store_open(p->store_folder, &again), ERR_OK);
	assert_int_equal(count_files(p, "incoming"), 1);
	assert_int_equal(blob_commit(alive, &h, &size), ERR_OK);
	assert_true(blob_exists(again, &h));
	assert_int_equal(count_files(p, "incoming"), 0);
	blob_store_close(again);
}

static void test_folders_that_do_not_work(void **state)
{
	struct place *p = *state;
	struct blob_store *none = NULL;
	char path[128];

	snprintf(path, sizeof(path), "%s/missing/store", p->folder);
	assert_int_equal(blob_store_open(path, &none), ERR_IO);
	snprintf(path, sizeof(path), "%s/file", p->folder);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_int_equal(blob_store_open(path, &none), ERR_IO);
	assert_null(none);
	blob_store_close(NULL);
}

static void *many_uploads(void *arg)
{
	struct place *p = arg;
	char text[32];

	for (int i = 0; i < 40; i++) {
		struct blob_store *other;

		snprintf(text, sizeof(text), "content %d", i % 10);
		put_text(p, text);
		if (blob_store_open(p->store_folder, &other) != ERR_OK) /* sweeps while others write */
			abort();
		blob_store_close(other);
	}
	return NULL;
}

static void test_many_threads(void **state)
{
	struct place *p = *state;
	pthread_t threads[4];
	struct hash h;

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, many_uploads, p), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(count_files(p, "incoming"), 0);
	for (int i = 0; i < 10; i++) {
		char text[32];

		snprintf(text, sizeof(text), "content %d", i);
		sha256_of(text, strlen(text), &h);
		assert_holds(p, &h, text);
	}
}

static int all_setup(void **state)
{
	(void)state;
	crypto_init();
	return 0;
}

#define PLACE(test) cmocka_unit_test_setup_teardown(test, place_setup, place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLACE(test_put_and_get), PLACE(test_pieces_and_the_empty_file), PLACE(test_same_content_twice), PLACE(test_damaged_file_is_replaced),
		PLACE(test_size_limit), PLACE(test_commit_as), PLACE(test_disk_refuses), PLACE(test_leftovers_are_swept),
		PLACE(test_folders_that_do_not_work), PLACE(test_many_threads),
	};

	return cmocka_run_group_tests(tests, all_setup, NULL);
}
