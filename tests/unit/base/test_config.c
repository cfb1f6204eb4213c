/* Settings: precedence, strictness, error texts, masking. */
#include "base/config.h"
#include "tests/unit/unit.h"

#include <sys/mman.h>

#include "base/mem.h"

extern char **environ;

struct settings {
	char *listen, *token;
	int64_t workers;
	bool dev;
	struct address payee;
	struct hash pin;
	struct amount floor;
};

#define AT(member) offsetof(struct settings, member)
static const struct setting table[] = {
	{ "listen", SETTING_STR, AT(listen), "127.0.0.1:8080", 0, 0, false, "address | port" },
	{ "api-token", SETTING_STR, AT(token), NULL, 0, 0, true, "shared with the proxy" },
	{ "workers", SETTING_INT, AT(workers), "8", 1, 256, false, "worker threads" },
	{ "dev", SETTING_BOOL, AT(dev), "false", 0, 0, false, "development mode" },
	{ "payee", SETTING_ADDRESS, AT(payee), "0x0000000000000000000000000000000000000001", 0, 0, false, NULL },
	{ "pin", SETTING_HASH, AT(pin), "0x0000000000000000000000000000000000000000000000000000000000000002", 0, 0, false, "pin" },
	{ "floor", SETTING_AMOUNT, AT(floor), "1000", 0, 0, false, "least price" },
};
#define COUNT COUNT_OF(table)

/* A settings file that exists only as long as its descriptor. */
static int file_fd = -1;
static char file_path[40];

static const char *file_with(const char *text, size_t len)
{
	if (file_fd >= 0)
		close(file_fd);
	file_fd = memfd_create("settings", MFD_CLOEXEC);
	assert_true(file_fd >= 0);
	assert_int_equal(write(file_fd, text, len), len);
	snprintf(file_path, sizeof(file_path), "/proc/self/fd/%d", file_fd);
	return file_path;
}

static enum err load(const char *text, struct settings *out, struct config_why *why)
{
	why->text[0] = '\0';
	return config_load(table, COUNT, text ? file_with(text, strlen(text)) : NULL, out, why);
}

static int clean_env(void **state)
{
	(void)state;
	/* Whatever the shell around the tests has set must not matter. */
	static char *none[] = { NULL };
	environ = none;
	return 0;
}

static int clean_file(void **state)
{
	(void)state;
	clearenv();
	if (file_fd >= 0)
		close(file_fd);
	file_fd = -1;
	return 0;
}

static void defaults_then_file_then_environment(void **state)
{
	(void)state;
	struct settings s = { 0 };
	struct config_why why;
	setenv("OPGATE_WORKERS", "32", 1);
	setenv("OPGATE_API_TOKEN", "from env", 1);
	setenv("OPGATE_VAR", "/tmp/x", 1); /* these two families belong to the scripts */
	setenv("OPGATE_TEST_ANYTHING", "1", 1);
	setenv("OTHER_WORKERS", "x", 1);
	assert_int_equal(load("# a comment\n\n  workers=16 \r\nlisten = [::]:80 # not a comment\n\tdev = true\nfloor = 0", &s, &why), ERR_OK);
	assert_true(s.workers == 32);
	assert_string_equal(s.token, "from env");
	assert_string_equal(s.listen, "[::]:80 # not a comment");
	assert_true(s.dev);
	assert_true(amount_is_zero(s.floor));
	assert_string_equal(address_format(&s.payee).s, table[4].default_text);
	assert_string_equal(hash_format(&s.pin).s, table[5].default_text);
	config_free(table, COUNT, &s);
	assert_null(s.token);
	assert_null(s.listen);
	config_free(table, COUNT, &s);
	static const char *const edges[] = { "workers = 1", "workers = 256" };
	unsetenv("OPGATE_WORKERS");
	for (size_t i = 0; i < COUNT_OF(edges); i++) {
		assert_int_equal(load(edges[i], &s, &why), ERR_OK);
		assert_true(s.workers == (i ? 256 : 1));
		config_free(table, COUNT, &s);
	}
	assert_int_equal(load(NULL, &s, &why), ERR_OK); /* no file at all */
	assert_string_equal(s.listen, "127.0.0.1:8080");
	config_free(table, COUNT, &s);
}

static void refuses_with_line_name_and_reason(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum err e;
		const char *why; /* after the path */
	} cases[] = {
		{ "api-token = t\nworker = 3\n", ERR_UNKNOWN_FIELD, ":2: worker: unknown setting" },
		{ "api-token = t\nWORKERS = 3\n", ERR_UNKNOWN_FIELD, ":2: WORKERS: unknown setting" },
		{ "= 3\n", ERR_UNKNOWN_FIELD, ":1: : unknown setting" },
		{ "\n\nworkers 3\n", ERR_BAD_FIELD, ":3: expected `name = value`" },
		{ "dev=true\nworkers=3\ndev=true", ERR_BAD_FIELD, ":3: dev: already set in line 1" },
		{ "workers = 0", ERR_BAD_FIELD, ":1: workers: must be between 1 and 256" },
		{ "workers = 257", ERR_BAD_FIELD, ":1: workers: must be between 1 and 256" },
		{ "workers = 3x", ERR_BAD_FIELD, ":1: workers: must be an integer" },
		{ "workers =", ERR_BAD_FIELD, ":1: workers: must be an integer" },
		{ "workers = -", ERR_BAD_FIELD, ":1: workers: must be an integer" },
		{ "workers = +3", ERR_BAD_FIELD, ":1: workers: must be an integer" },
		{ "workers = 3.0", ERR_BAD_FIELD, ":1: workers: must be an integer" },
		{ "workers = 9223372036854775808", ERR_BAD_FIELD, ":1: workers: must be an integer" },
		{ "workers = 18446744073709551620", ERR_BAD_FIELD, ":1: workers: must be an integer" },
		{ "dev = yes", ERR_BAD_FIELD, ":1: dev: must be true or false" },
		{ "dev = truely", ERR_BAD_FIELD, ":1: dev: must be true or false" },
		{ "payee = 0x1", ERR_BAD_FIELD, ":1: payee: must be an address: 0x and 40 hex digits" },
		{ "pin = 0x1", ERR_BAD_FIELD, ":1: pin: must be a hash: 0x and 64 hex digits" },
		{ "floor = 1.5", ERR_BAD_FIELD, ":1: floor: must be a decimal number of base units, below 2^127" },
		{ "\x1b[31m = 1", ERR_UNKNOWN_FIELD, ":1: ?[31m: unknown setting" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct settings s, before;
		struct config_why why;
		memset(&s, 0x5a, sizeof(s));
		before = s;
		assert_int_equal(load(cases[i].text, &s, &why), cases[i].e);
		assert_memory_equal(why.text, file_path, strlen(file_path));
		assert_string_equal(why.text + strlen(file_path), cases[i].why);
		assert_memory_equal(&s, &before, sizeof(s));
		assert_int_equal(config_load(table, COUNT, file_path, &s, NULL), cases[i].e);
	}
}

static void missing_required_setting(void **state)
{
	(void)state;
	struct settings s;
	struct config_why why;
	assert_int_equal(load("", &s, &why), ERR_BAD_FIELD);
	assert_string_equal(why.text, "api-token: is required; set it in the file or the environment");
}

static void the_environment_is_strict_too(void **state)
{
	(void)state;
	struct settings s;
	struct config_why why;
	setenv("OPGATE_API_TOKEN", "t", 1);
	static const struct {
		const char *name, *value, *why;
		enum err e;
	} cases[] = {
		{ "OPGATE_WORKER", "3", "environment: OPGATE_WORKER: unknown setting", ERR_UNKNOWN_FIELD },
		{ "OPGATE_workers", "3", "environment: OPGATE_workers: unknown setting", ERR_UNKNOWN_FIELD },
		{ "OPGATE_", "3", "environment: OPGATE_: unknown setting", ERR_UNKNOWN_FIELD },
		{ "OPGATE_VARS", "3", "environment: OPGATE_VARS: unknown setting", ERR_UNKNOWN_FIELD },
		{ "OPGATE_VA", "3", "environment: OPGATE_VA: unknown setting", ERR_UNKNOWN_FIELD },
		{ "OPGATE_TESTS", "3", "environment: OPGATE_TESTS: unknown setting", ERR_UNKNOWN_FIELD },
		{ "OPGATE_WORKERS", "many", "environment: OPGATE_WORKERS: must be an integer", ERR_BAD_FIELD },
		{ "OPGATE_WORKERS", " 3", "environment: OPGATE_WORKERS: must be an integer", ERR_BAD_FIELD },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		setenv(cases[i].name, cases[i].value, 1);
		assert_int_equal(load(NULL, &s, &why), cases[i].e);
		assert_string_equal(why.text, cases[i].why);
		unsetenv(cases[i].name);
	}
	/* A bad value in the file is an error even when the environment would win. */
	setenv("OPGATE_WORKERS", "3", 1);
	assert_int_equal(load("workers = x", &s, &why), ERR_BAD_FIELD);
}

static void bad_files(void **state)
{
	(void)state;
	struct settings s;
	struct config_why why;
	assert_int_equal(config_load(table, COUNT, "/nonexistent/opgate.conf", &s, &why), ERR_IO);
	assert_string_equal(why.text, "/nonexistent/opgate.conf: No such file or directory");
	assert_int_equal(config_load(table, COUNT, "/", &s, &why), ERR_IO);
	assert_int_equal(config_load(table, COUNT, file_with("dev = true\0\nx", 13), &s, &why), ERR_BAD_FIELD);
	assert_non_null(strstr(why.text, "contains a NUL byte"));
	char *big = xmalloc((1u << 20) + 1);
	memset(big, '\n', (1u << 20) + 1);
	assert_int_equal(config_load(table, COUNT, file_with(big, (1u << 20) + 1), &s, &why), ERR_LIMIT);
	memcpy(big, "api-token = t\n", 14);
	assert_int_equal(config_load(table, COUNT, file_with(big, 1u << 20), &s, &why), ERR_OK);
	config_free(table, COUNT, &s);
	free(big);
}

static void a_wrong_default_is_noticed(void **state)
{
	(void)state;
	const struct setting wrong[] = { { "n", SETTING_INT, 0, "ten", 0, 0, false, NULL } };
	int64_t n = 3;
	struct config_why why;
	assert_int_equal(config_load(wrong, 1, NULL, &n, &why), ERR_BAD_FIELD);
	assert_string_equal(why.text, "n: its default must be an integer");
	const struct setting edge[] = { { "n", SETTING_INT, 0, "-9223372036854775808", 0, 0, false, NULL } };
	assert_int_equal(config_load(edge, 1, NULL, &n, &why), ERR_OK);
	assert_true(n == INT64_MIN);
}

static char *printed(void (*print)(FILE *, const struct settings *), const struct settings *s)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	print(out, s);
	fclose(out);
	return text;
}

static void print_values(FILE *out, const struct settings *s)
{
	config_print(table, COUNT, s, out);
}

static void print_docs(FILE *out, const struct settings *s)
{
	(void)s;
	config_print_markdown(table, COUNT, out);
}

static void prints_without_secrets(void **state)
{
	(void)state;
	struct settings s = { 0 };
	struct config_why why;
	assert_int_equal(load("api-token = hunter2\n", &s, &why), ERR_OK);
	_cleanup_free_ char *text = printed(print_values, &s);
	assert_string_equal(text, "listen = 127.0.0.1:8080\napi-token = ***\nworkers = 8\ndev = false\n"
				  "payee = 0x0000000000000000000000000000000000000001\n"
				  "pin = 0x0000000000000000000000000000000000000000000000000000000000000002\nfloor = 1000\n");
	config_free(table, COUNT, &s);
	_cleanup_free_ char *docs = printed(print_docs, NULL);
	assert_non_null(strstr(docs, "| `listen` | text | `127.0.0.1:8080` | address \\| port |\n"));
	assert_non_null(strstr(docs, "| `api-token` | text, secret | required | shared with the proxy |\n"));
	assert_non_null(strstr(docs, "| `workers` | integer, 1 to 256 | `8` | worker threads |\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(defaults_then_file_then_environment, clean_env, clean_file),
		cmocka_unit_test_setup_teardown(refuses_with_line_name_and_reason, clean_env, clean_file),
		cmocka_unit_test_setup_teardown(missing_required_setting, clean_env, clean_file),
		cmocka_unit_test_setup_teardown(the_environment_is_strict_too, clean_env, clean_file),
		cmocka_unit_test_setup_teardown(bad_files, clean_env, clean_file),
		cmocka_unit_test_setup_teardown(a_wrong_default_is_noticed, clean_env, clean_file),
		cmocka_unit_test_setup_teardown(prints_without_secrets, clean_env, clean_file),
	};
	return RUN_TESTS(tests);
}
