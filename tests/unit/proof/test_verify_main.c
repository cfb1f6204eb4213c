/* `opgate verify` as a user runs it: files in, lines and exit code out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "proof/verify_main.h"
#include "tests/unit/proof/vectors.h"

static char DIR_PATH[] = "/tmp/opgate-verify-XXXXXX";
static char RECEIPT[64], STATEMENT[64], REQUEST[64], RESPONSE[64], MISSING[64];
static char OUTPUT[16384]; /* of the last run */

static void write_file(const char *path, const char *text, size_t len)
{
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static int run(const char *const *args)
{
	char *argv[24] = { (char *)"verify" };
	int argc = 1;
	while (args[argc - 1]) {
		argv[argc] = (char *)args[argc - 1];
		argc++;
	}
	FILE *out = tmpfile();
	assert_non_null(out);
	fflush(stdout);
	fflush(stderr);
	int saved_out = dup(1), saved_err = dup(2);
	dup2(fileno(out), 1);
	dup2(fileno(out), 2);
	int rc = verify_main(argc, argv);
	fflush(stdout);
	fflush(stderr);
	dup2(saved_out, 1);
	dup2(saved_err, 2);
	close(saved_out);
	close(saved_err);
	rewind(out);
	OUTPUT[fread(OUTPUT, 1, sizeof(OUTPUT) - 1, out)] = '\0';
	fclose(out);
	return rc;
}
#define RUN(...) run((const char *const[]){ __VA_ARGS__, NULL })

static int files(void **state)
{
	(void)state;
	write_file(RECEIPT, RECEIPT_JSON, strlen(RECEIPT_JSON));
	write_file(STATEMENT, NODE_STATEMENT_JSON, strlen(NODE_STATEMENT_JSON));
	write_file(REQUEST, REQUEST_BODY, strlen(REQUEST_BODY));
	write_file(RESPONSE, PLAIN_RESPONSE, strlen(PLAIN_RESPONSE));
	return 0;
}

static void accepts(void **state)
{
	(void)state;
	assert_int_equal(RUN(RECEIPT, "--node", NODE_ADDRESS), 0);
	assert_non_null(strstr(OUTPUT, "\nverdict: passed\n"));
	assert_int_equal(RUN("--node=" NODE_ADDRESS, "--request", REQUEST, "--response", RESPONSE, RECEIPT, "--chain-id", "84532"), 0);
	assert_int_equal(RUN(RECEIPT, "--statement", STATEMENT, "--gateway", GATEWAY_ADDRESS, "--request", REQUEST, "--path",
			     "/v1/chat/completions", "--method", "POST", "--content-type", "application/json"), 0);
	assert_int_equal(RUN(RECEIPT, "--node", NODE_ADDRESS, "--json"), 0);
	_cleanup_json_ json_t *j = json_loads(OUTPUT, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(j, "verdict")), "passed");
}

static void says_unverifiable(void **state)
{
	(void)state;
	assert_int_equal(RUN(RECEIPT), 2);
	assert_non_null(strstr(OUTPUT, "\nverdict: unverifiable\n"));
	assert_int_equal(RUN(RECEIPT, "--request", REQUEST, "--response", RESPONSE), 2);
	assert_int_equal(RUN(RECEIPT, "--statement", STATEMENT), 2);
	assert_int_equal(RUN(RECEIPT, "--gateway", GATEWAY_ADDRESS), 2);
}

static void says_failed(void **state)
{
	(void)state;
	assert_int_equal(RUN(RECEIPT, "--node", GATEWAY_ADDRESS), 1);
	assert_non_null(strstr(OUTPUT, "\nverdict: failed\n"));
	assert_int_equal(RUN(RECEIPT, "--statement", STATEMENT, "--gateway", NODE_ADDRESS), 1);
	assert_int_equal(RUN(RECEIPT, "--node", NODE_ADDRESS, "--model", "sha256:" "0000000000000000000000000000000000000000000000000000000000000000"), 1);
	assert_int_equal(RUN(RECEIPT, "--node", NODE_ADDRESS, "--chain-id", "1"), 1);
	assert_int_equal(RUN(RECEIPT, "--node", NODE_ADDRESS, "--request", REQUEST, "--path", "/v1/jobs"), 1);
	write_file(RECEIPT, RECEIPT_JSON "\n", strlen(RECEIPT_JSON) + 1);
	assert_int_equal(RUN(RECEIPT, "--node", NODE_ADDRESS), 1);
	write_file(RECEIPT, "", 0);
	assert_int_equal(RUN(RECEIPT, "--node", NODE_ADDRESS), 1);
}

/* The files one after the other, one byte changed: always 1, even where nothing pins the node. */
static void any_changed_byte_fails(void **state)
{
	(void)state;
	const struct { const char *path, *text; } rows[] = { { RECEIPT, RECEIPT_JSON }, { REQUEST, REQUEST_BODY }, { RESPONSE, PLAIN_RESPONSE } };
	char copy[4096];
	for (size_t i = 0; i < 3; i++) {
		size_t len = strlen(rows[i].text);
		for (size_t at = 0; at < len; at++) {
			memcpy(copy, rows[i].text, len);
			copy[at] ^= 4;
			write_file(rows[i].path, copy, len);
			assert_int_equal(RUN(RECEIPT, "--node", NODE_ADDRESS, "--request", REQUEST, "--response", RESPONSE), 1);
		}
		write_file(rows[i].path, rows[i].text, len);
	}
	assert_int_equal(RUN(RECEIPT, "--node", NODE_ADDRESS, "--request", REQUEST, "--response", RESPONSE), 0);
}

static void empty_bodies_are_bodies(void **state)
{
	(void)state;
	write_file(REQUEST, "", 0);
	assert_int_equal(RUN(RECEIPT, "--node", NODE_ADDRESS, "--request", REQUEST), 1);
	write_file(RESPONSE, "", 0);
	assert_int_equal(RUN(RECEIPT, "--node", NODE_ADDRESS, "--response", RESPONSE), 1);
	write_file(STATEMENT, "", 0);
	assert_int_equal(RUN(RECEIPT, "--node", NODE_ADDRESS, "--statement", STATEMENT), 1);
}

static void refuses_wrong_usage(void **state)
{
	(void)state;
	assert_int_equal(run((const char *const[]){ NULL }), 64);
	assert_int_equal(RUN(MISSING), 64);
	assert_int_equal(RUN(RECEIPT, RECEIPT), 64);
	assert_int_equal(RUN(RECEIPT, "--node"), 64);
	assert_int_equal(RUN(RECEIPT, "--node", "0x12"), 64);
	assert_int_equal(RUN(RECEIPT, "--node", NODE_ADDRESS, "--node", NODE_ADDRESS), 64);
	assert_int_equal(RUN(RECEIPT, "--nodes", NODE_ADDRESS), 64);
	assert_int_equal(RUN(RECEIPT, "--model", "sha256:00"), 64);
	assert_int_equal(RUN(RECEIPT, "--chain-id", "0x1"), 64);
	assert_int_equal(RUN(RECEIPT, "--chain-id", "0"), 64);
	assert_int_equal(RUN(RECEIPT, "--path", "/v1/jobs"), 64);
	assert_int_equal(RUN(RECEIPT, "--request", MISSING), 64);
	assert_int_equal(RUN(RECEIPT, "--request", DIR_PATH), 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(accepts, files),
		cmocka_unit_test_setup(says_unverifiable, files),
		cmocka_unit_test_setup(says_failed, files),
		cmocka_unit_test_setup(any_changed_byte_fails, files),
		cmocka_unit_test_setup(empty_bodies_are_bodies, files),
		cmocka_unit_test_setup(refuses_wrong_usage, files),
	};
	if (!mkdtemp(DIR_PATH))
		return 1;
	const struct { char *path; const char *name; } names[] = {
		{ RECEIPT, "receipt.json" }, { STATEMENT, "statement.json" }, { REQUEST, "request" }, { RESPONSE, "response" }, { MISSING, "missing" },
	};
	for (size_t i = 0; i < 5; i++)
		snprintf(names[i].path, 64, "%s/%s", DIR_PATH, names[i].name);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	for (size_t i = 0; i < 4; i++)
		unlink(names[i].path);
	rmdir(DIR_PATH);
	return failed;
}
