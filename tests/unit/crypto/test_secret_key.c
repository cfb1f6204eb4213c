/* Secret keys as text and in files. */
#include "crypto/crypto.h"
#include "tests/unit/unit.h"

#include <sys/stat.h>

#define KEY "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"
#define ORDER "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
#define BELOW_ORDER "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140"

static char dir[] = "/tmp/opgate-unit-XXXXXX", path[64];

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/key", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

static void file_put(const char *text, size_t len)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	fclose(f);
}

static void text(void **state)
{
	(void)state;
	struct secret_key key, other;
	struct address who;
	assert_int_equal(secret_key_parse(KEY, &key), ERR_OK);
	secret_key_address(&key, &who);
	assert_string_equal(address_format_eip55(&who).s, "0x90F79bf6EB2c4f870365E785982E1f101E93b906");
	assert_int_equal(secret_key_parse("0x" KEY, &other), ERR_OK);
	assert_memory_equal(&key, &other, sizeof(key));
	assert_int_equal(secret_key_parse(BELOW_ORDER, &other), ERR_OK);
	static const char *const bad[] = {
		"", "0x", ORDER, "0x" ORDER, "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"0000000000000000000000000000000000000000000000000000000000000000", KEY "0", KEY "00", "0x0x" KEY, " " KEY, KEY "\n",
		"7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a", "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007ag",
	};
	other = key;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(secret_key_parse(bad[i], &other), ERR_BAD_FIELD);
	assert_int_equal(secret_key_parse(NULL, &other), ERR_BAD_FIELD);
	assert_memory_equal(&key, &other, sizeof(key));
	static const struct secret_key zero;
	secret_key_wipe(&key);
	assert_memory_equal(&key, &zero, sizeof(key));
}

static void new_keys_differ(void **state)
{
	(void)state;
	struct secret_key a, b;
	assert_int_equal(secret_key_new(&a), ERR_OK);
	assert_int_equal(secret_key_new(&b), ERR_OK);
	assert_memory_not_equal(&a, &b, sizeof(a));
}

static void written_once_and_private(void **state)
{
	(void)state;
	struct secret_key key, back, other;
	struct stat st;
	assert_int_equal(secret_key_new(&key), ERR_OK);
	assert_int_equal(secret_key_new(&other), ERR_OK);
	mode_t old = umask(0); /* the mode must not depend on the umask */
	assert_int_equal(secret_key_write_file(path, &key), ERR_OK);
	umask(old);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, 65);
	assert_int_equal(secret_key_write_file(path, &other), ERR_CONFLICT);
	assert_int_equal(secret_key_read_file(path, &back), ERR_OK);
	assert_memory_equal(&key, &back, sizeof(key));
	unlink(path);
	assert_int_equal(symlink("/nonexistent/elsewhere", path), 0);
	assert_int_equal(secret_key_write_file(path, &key), ERR_CONFLICT); /* a link is not followed */
	unlink(path);
	assert_int_equal(secret_key_write_file("/nonexistent/key", &key), ERR_IO);
	umask(0777);
	assert_int_equal(secret_key_write_file(path, &key), ERR_OK);
	umask(old);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	unlink(path);
}

static void read_from_file(void **state)
{
	(void)state;
	struct secret_key key, back;
	assert_int_equal(secret_key_parse(KEY, &key), ERR_OK);
	static const char *const good[] = { KEY, KEY "\n", "0x" KEY "\r\n", KEY " \t\n\n" };
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		memset(&back, 0, sizeof(back));
		file_put(good[i], strlen(good[i]));
		assert_int_equal(secret_key_read_file(path, &back), ERR_OK);
		assert_memory_equal(&key, &back, sizeof(key));
	}
	static const char *const bad[] = { "", "\n", KEY "x", ORDER, ("\n" KEY), (KEY "\n" KEY) };
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		file_put(bad[i], strlen(bad[i]));
		assert_int_equal(secret_key_read_file(path, &back), ERR_BAD_FIELD);
	}
	file_put(KEY "\0x", 66);
	assert_int_equal(secret_key_read_file(path, &back), ERR_BAD_FIELD);
	char spaces[4000];
	memset(spaces, ' ', sizeof(spaces));
	memcpy(spaces, KEY, 64);
	file_put(spaces, 128);
	assert_int_equal(secret_key_read_file(path, &back), ERR_OK);
	file_put(spaces, sizeof(spaces));
	assert_int_equal(secret_key_read_file(path, &back), ERR_BAD_FIELD);
	assert_memory_equal(&key, &back, sizeof(key));
	unlink(path);
	assert_int_equal(secret_key_read_file(path, &back), ERR_IO);
	assert_int_equal(secret_key_read_file("/", &back), ERR_IO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text),
		cmocka_unit_test(new_keys_differ),
		cmocka_unit_test(written_once_and_private),
		cmocka_unit_test(read_from_file),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
