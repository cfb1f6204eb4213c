/* Loading the web pages: what is missing, too large or a link refuses the start. How they are served is tests/web's. */
#include "tests/unit/unit.h"

#include <sys/stat.h>

#include "crypto/crypto.h"
#include "handlers/pages.h"

static char folder[64];

static void file_make(const char *name, size_t len)
{
	char path[160];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	for (size_t i = 0; i < len; i++)
		assert_int_not_equal(fputc('x', f), EOF);
	assert_int_equal(fclose(f), 0);
}

static void file_remove(const char *name)
{
	char path[160];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(remove(path), 0);
}

static void folder_make(const char *name)
{
	char path[160];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(mkdir(path, 0700), 0);
}

static void loading(void **state)
{
	(void)state;
	char link_path[160];
	crypto_init();
	snprintf(folder, sizeof(folder), "/tmp/opgate-pages-XXXXXX");
	assert_non_null(mkdtemp(folder));

	assert_int_equal(pages_load("/nonexistent"), ERR_IO);
	assert_int_equal(pages_load(folder), ERR_IO); /* no index.html */
	file_make("index.html", 3);
	assert_int_equal(pages_load(folder), ERR_IO); /* no operator.html */
	file_make("operator.html", 3);
	assert_int_equal(pages_load(folder), ERR_IO); /* no assets/ */
	folder_make("assets");
	assert_int_equal(pages_load(folder), ERR_OK);

	file_make("assets/large.js", (1u << 20) + 1);
	assert_int_equal(pages_load(folder), ERR_LIMIT);
	file_remove("assets/large.js");
	file_make("assets/large.js~", (1u << 20) + 1); /* no known type: not ours */
	assert_int_equal(pages_load(folder), ERR_OK);
	file_remove("assets/large.js~");

	snprintf(link_path, sizeof(link_path), "%s/assets/passwd.txt", folder);
	assert_int_equal(symlink("/etc/passwd", link_path), 0);
	assert_int_equal(pages_load(folder), ERR_IO);
	file_remove("assets/passwd.txt");
	folder_make("assets/folder.js");
	assert_int_equal(pages_load(folder), ERR_IO);
	file_remove("assets/folder.js");

	file_remove("assets");
	file_remove("operator.html");
	file_remove("index.html");
	assert_int_equal(rmdir(folder), 0);
}

static void many(void **state)
{
	(void)state;
	char name[32];
	snprintf(folder, sizeof(folder), "/tmp/opgate-pages-XXXXXX");
	assert_non_null(mkdtemp(folder));
	file_make("index.html", 1);
	file_make("operator.html", 1);
	folder_make("assets");
	for (int i = 0; i < 65; i++) {
		snprintf(name, sizeof(name), "assets/%d.css", i);
		file_make(name, 1);
	}
	assert_int_equal(pages_load(folder), ERR_LIMIT);
	for (int i = 0; i < 65; i++) {
		snprintf(name, sizeof(name), "assets/%d.css", i);
		file_remove(name);
	}
	file_remove("assets");
	file_remove("operator.html");
	file_remove("index.html");
	assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(loading), cmocka_unit_test(many) };
	return RUN_TESTS(tests);
}
