/* Paths that a version may use, and the one text that its digest is of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "blob/blob.h"
#include "crypto/crypto.h"

#define H1 "1111111111111111111111111111111111111111111111111111111111111111"
#define HA "abababababababababababababababababababababababababababababababab"

static void test_paths(void **state)
{
	static const char *const good[] = { "a", "model.onnx", "a/b/c", "A-z_0.9", "a..b", "a.", "-", "a/-/_", "1/2/3/4/5/6/7/8", "con", "config.json" };
	static const char *const bad[] = { "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "./a", "a/./b", ".git", "a/.b", "...", "a b", "a\\b", "a:b",
		"a\nb", "a%2fb", "a\tb", "~a/..", "~", "\xc3\xa4", "a/b?", "a*", "1/2/3/4/5/6/7/8/9", "a\x7f", "\"", "C:\\x" };
	char longest[BLOB_PATH_MAX + 2];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (blob_path_check(good[i]) != ERR_OK)
			fail_msg("%s is refused", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (blob_path_check(bad[i]) != ERR_BAD_FIELD)
			fail_msg("%s is accepted", bad[i]);
	memset(longest, 'a', sizeof(longest));
	longest[BLOB_PATH_MAX] = '\0';
	assert_int_equal(blob_path_check(longest), ERR_OK);
	longest[BLOB_PATH_MAX] = 'a';
	longest[BLOB_PATH_MAX + 1] = '\0';
	assert_int_equal(blob_path_check(longest), ERR_BAD_FIELD);
}

static void add(struct manifest *m, const char *path, uint8_t byte, uint64_t size)
{
	struct hash h;

	memset(h.b, byte, sizeof(h.b));
	assert_int_equal(manifest_add(m, path, &h, size), ERR_OK);
}

static void test_text_is_sorted_by_bytes(void **state)
{
	static const char expected[] = H1 " 9223372036854775807 B\n" H1 " 0 a\n" HA " 5 a-b\n" H1 " 1 a.b\n" H1 " 2 aa/x\n" H1 " 3 aa0\n";
	struct manifest m = MANIFEST_INIT;
	struct buf b = BUF_INIT(10000), tiny = BUF_INIT(100);
	struct hash digest, direct;

	(void)state;
	add(&m, "aa0", 0x11, 3);
	add(&m, "a.b", 0x11, 1);
	add(&m, "B", 0x11, INT64_MAX);
	add(&m, "a", 0x11, 0);
	add(&m, "aa/x", 0x11, 2);
	add(&m, "a-b", 0xab, 5);
	assert_int_equal(manifest_text(&m, &b), ERR_OK);
	assert_string_equal(b.data, expected);
	manifest_digest(&m, &digest);
	sha256_of(expected, sizeof(expected) - 1, &direct);
	assert_true(hash_equal(&digest, &direct));
	assert_int_equal(manifest_text(&m, &tiny), ERR_LIMIT);
	assert_int_equal(manifest_find(&m, "a-b")->size, 5);
	assert_null(manifest_find(&m, "a-"));

	struct manifest back;
	assert_int_equal(manifest_parse(b.data, b.len, &back), ERR_OK);
	assert_int_equal(back.count, 6);
	manifest_digest(&back, &direct);
	assert_true(hash_equal(&digest, &direct));
	manifest_done(&back);
	buf_done(&b);
	buf_done(&tiny);
	manifest_done(&m);
}

static void test_known_digest(void **state)
{
	struct manifest m = MANIFEST_INIT;
	struct hash h, digest;

	(void)state;
	manifest_digest(&m, &digest); /* of nothing */
	assert_string_equal(hash_format(&digest).s, "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	sha256_of("abc", 3, &h);
	assert_int_equal(manifest_add(&m, "abc.txt", &h, 3), ERR_OK);
	manifest_digest(&m, &digest); /* printf '%s 3 abc.txt\n' $(printf abc | sha256sum | cut -c1-64) | sha256sum */
	assert_string_equal(hash_format(&digest).s, "0xdb0b06e362838db2ce54471b199b2a4de2dd75b8bd3edbbf7d06c5dded8cc4a9");
	manifest_done(&m);
}

static void test_refused_files(void **state)
{
	struct manifest m = MANIFEST_INIT;
	struct hash h = { { 0 } };

	(void)state;
	add(&m, "a/b/c", 1, 1);
	add(&m, "x", 1, 1);
	assert_int_equal(manifest_add(&m, "../x", &h, 1), ERR_BAD_FIELD);
	assert_int_equal(manifest_add(&m, "x", &h, 1), ERR_CONFLICT);
	assert_int_equal(manifest_add(&m, "a", &h, 1), ERR_CONFLICT);   /* is a folder */
	assert_int_equal(manifest_add(&m, "a/b", &h, 1), ERR_CONFLICT); /* is a folder */
	assert_int_equal(manifest_add(&m, "x/y", &h, 1), ERR_CONFLICT); /* needs a folder where a file is */
	assert_int_equal(manifest_add(&m, "a/b/c/d", &h, 1), ERR_CONFLICT);
	assert_int_equal(manifest_add(&m, "a-", &h, 1), ERR_OK); /* sorts between a and a/ */
	assert_int_equal(manifest_add(&m, "a/b0", &h, 1), ERR_OK);
	assert_int_equal(m.count, 4);
	manifest_done(&m);
	manifest_done(&m); /* twice is harmless */
}

static void test_file_limit(void **state)
{
	struct manifest m = MANIFEST_INIT;
	struct hash h = { { 0 } };
	char path[16];

	(void)state;
	for (int i = MANIFEST_FILES_MAX; i > 0; i--) {
		snprintf(path, sizeof(path), "f%05d", i);
		assert_int_equal(manifest_add(&m, path, &h, 1), ERR_OK);
	}
	assert_string_equal(m.files[0].path, "f00001");
	assert_int_equal(manifest_add(&m, "one-more", &h, 1), ERR_LIMIT);
	manifest_done(&m);
}

static void test_parse_is_strict(void **state)
{
	static const char *const bad[] = { "\n", H1 " 1 a", H1 " 1 a\n\n", H1 " 1 a\r\n", H1 "  1 a\n", H1 " 1  a\n", H1 " 01 a\n", H1 " -1 a\n", H1 " +1 a\n",
		H1 " 1 \n", H1 " a\n", H1 "  a\n", H1 " 1x a\n", H1 " 9223372036854775808 a\n", H1 " 99999999999999999999 a\n", H1 " 1 ../a\n", H1 " 1 /a\n", H1 " 1 a b\n",
		H1 " 1 a \n", "0x" H1 " 1 a\n", " " H1 " 1 a\n", "G" H1 " 1 a\n", H1 "1 1 a\n",
		"ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB 1 a\n", /* upper case */
		H1 " 1 b\n" H1 " 1 a\n" /* order */, H1 " 1 a\n" H1 " 1 a\n" /* twice */, H1 " 1 a\n" H1 " 1 a/b\n" /* clash */, H1 " 1 a\n" H1 };
	static const char zero[] = H1 " 1 a\0b\n";
	struct manifest m = MANIFEST_INIT;
	_cleanup_free_ char *longest = xmalloc(1000);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (manifest_parse(bad[i], strlen(bad[i]), &m) != ERR_BAD_FIELD)
			fail_msg("accepted: %s", bad[i]);
	assert_int_equal(manifest_parse(zero, sizeof(zero) - 1, &m), ERR_BAD_FIELD);
	memset(longest, 'a', 1000);
	memcpy(longest, H1 " 1 ", 67);
	longest[67 + BLOB_PATH_MAX] = '\n';
	assert_int_equal(manifest_parse(longest, 67 + BLOB_PATH_MAX + 1, &m), ERR_OK);
	manifest_done(&m);
	longest[67 + BLOB_PATH_MAX] = 'a';
	longest[67 + BLOB_PATH_MAX + 1] = '\n';
	assert_int_equal(manifest_parse(longest, 67 + BLOB_PATH_MAX + 2, &m), ERR_BAD_FIELD);
	assert_int_equal(m.count, 0);
	assert_int_equal(manifest_parse("", 0, &m), ERR_OK);
	assert_int_equal(m.count, 0);
}

static int all_setup(void **state)
{
	(void)state;
	crypto_init();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths), cmocka_unit_test(test_text_is_sorted_by_bytes), cmocka_unit_test(test_known_digest),
		cmocka_unit_test(test_refused_files), cmocka_unit_test(test_file_limit), cmocka_unit_test(test_parse_is_strict),
	};

	return cmocka_run_group_tests(tests, all_setup, NULL);
}
