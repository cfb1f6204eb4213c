/* The group-commit lane by itself: N threads, each opening and closing one job after the other for a random payer, as requests do.
 * Run by bench.mjs, which does the same with pgbench, one transaction each (pair.sql).
 *
 *   bench_lane setup ADMIN_URL NAME URL   makes the database, migrates it, adds 10,000 payers with money
 *   bench_lane run URL SECONDS THREADS    prints one line of JSON; fails when a job fails
 *   bench_lane check URL                  fails unless the books hold and no hold is open */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "db/jobs.h"
#include "db/ledger.h"
#include "db/migrate.h"

#define PAYERS 10000
#define AUTHOR (PAYERS + 1)
#define OPERATOR (PAYERS + 2)
#define THREADS_MAX 256
#define LATENCIES_MAX (1u << 20)

static struct lane *lane;
static deadline_ms end_at;
static atomic_llong pairs, failures;
static int64_t latencies[LATENCIES_MAX]; /* of the first so many pairs, us */

static const char SETUP[] =
	"INSERT INTO account (address) SELECT decode(lpad(to_hex(i), 40, '0'), 'hex') FROM generate_series(1, 10002) i ORDER BY i;"
	"WITH t AS (INSERT INTO ledger_transfer (key, kind) SELECT 'bench:' || i, 'deposit' FROM generate_series(1, 10000) i RETURNING id, key)"
	" INSERT INTO ledger_entry (transfer, line, account, amount)"
	" SELECT t.id, l.line, CASE l.line WHEN 1 THEN 8 ELSE substr(t.key, 7)::bigint * 16 + 1 END, CASE l.line WHEN 1 THEN -1000000000000 ELSE 1000000000000 END"
	" FROM t, (VALUES (1), (2)) l(line);"
	"CREATE SEQUENCE bench_job;"
	"INSERT INTO model (author, name) VALUES (10001, 'bench');"
	"INSERT INTO model_version (model, number, surface, royalty_input, royalty_output, max_output_units) SELECT id, 1, 'tensor', 150, 0, 0 FROM model;"
	"INSERT INTO node (address, operator, url, registration, operator_signature, issued_at) VALUES (decode(repeat('11', 20), 'hex'), 10002, 'http://node', '', '', 0)";

static int complain(const char *what, const struct db *db)
{
	fprintf(stderr, "bench_lane: %s: %s\n", what, db_error(db));
	return 1;
}

static int setup(const char *admin_url, const char *name, const char *url)
{
	struct migrate_why why = { "" };
	size_t applied;
	_cleanup_free_ char *create = xasprintf("CREATE DATABASE \"%s\"", name);
	struct db *admin = db_new(admin_url, 60000), *db = db_new(url, 60000);
	int rc = db_script(admin, create) ? complain("create", admin) : db_migrate(db, &applied, &why) ? complain(why.text, db) : 0;
	if (!rc && (db_script(db, SETUP) || db_script(db, "ANALYZE")))
		rc = complain("setup", db);
	db_free(admin);
	db_free(db);
	return rc;
}

static struct amount amount_of(const char *s)
{
	struct amount a;
	if (amount_parse(s, strlen(s), &a))
		abort();
	return a;
}

/* Hold and capture of one job, as a foreground request makes them. */
static bool pair(int64_t payer)
{
	enum lane_status status = LANE_FENCED;
	struct uuid lease = uuid_new();
	struct job_open open = {
		.id = uuid_new(), .account = payer, .version = 1, .author = AUTHOR, .hold = amount_of("1000"), .policy = "signed", .path = "/v2/models/a/b/infer",
		.content_type = "application/json", .input_units_max = 1, .royalty_input = amount_of("150"), .ask_input_max = amount_of("700"), .fee_bps = 1000,
		.timeout_ms = 300000, .lease = lease, .operator_ = OPERATOR, .ask_input = amount_of("700"), .route = "oip_infer",
	};
	struct job_close close = { .id = open.id, .account = payer, .leased = true, .lease = lease, .attempt = 1, .state = "settled", .outcome = "delivered",
				   .ask = amount_of("700"), .royalty = amount_of("150"), .fee = amount_of("50"), .input_units = 1, .output_units = 0 };
	memset(open.node.b, 0x11, sizeof(open.node.b));
	if (db_job_open(lane, &open, &status) || status != LANE_OK)
		return false;
	return !db_job_close(lane, &close, &status) && status == LANE_OK;
}

static int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void *work(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	while (!deadline_passed(end_at)) {
		int64_t from = now_us();
		if (!pair(rand_r(&seed) % PAYERS + 1))
			atomic_fetch_add(&failures, 1);
		long long n = atomic_fetch_add(&pairs, 1);
		if (n < (long long)LATENCIES_MAX)
			latencies[n] = now_us() - from;
	}
	return NULL;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static int run(const char *url, uint64_t seconds, uint64_t threads)
{
	pthread_t t[THREADS_MAX];
	int64_t from = now_us();
	lane = lane_start(url, 30000);
	end_at = deadline_in((int64_t)seconds * 1000);
	for (uint64_t i = 0; i < threads; i++)
		if (pthread_create(&t[i], NULL, work, (void *)(uintptr_t)(i + 1)))
			abort();
	for (uint64_t i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	int64_t us = now_us() - from;
	lane_stop(lane);
	size_t n = (size_t)pairs < LATENCIES_MAX ? (size_t)pairs : LATENCIES_MAX;
	qsort(latencies, n, sizeof(latencies[0]), compare);
	printf("{\"requests\":%lld,\"us\":%lld,\"bad\":%lld,\"p50\":%lld,\"p99\":%lld}\n", (long long)pairs, (long long)us, (long long)failures,
	       n ? (long long)latencies[n / 2] : 0, n ? (long long)latencies[n * 99 / 100] : 0);
	return failures ? 1 : 0;
}

static int check(const char *url)
{
	struct db *db = db_new(url, 120000);
	_cleanup_result_ struct db_result *r = NULL;
	struct books b = { .ledger_sum = "?" };
	int rc = 0;
	if (db_books(db, &b) || db_query_one(db, "SELECT count(*) AS n FROM hold WHERE state = 'open'", NULL, &r))
		rc = complain("check", db);
	else if (strcmp(b.ledger_sum, "0") != 0 || b.wrong_balances || b.wrong_holds || b.wrong_captures || db_get_int(r, 0, "n"))
		rc = complain("the books do not hold", db);
	db_free(db);
	return rc;
}

/* A small decimal number, or 0. */
static uint64_t number(const char *s)
{
	uint64_t n = 0;
	for (; *s >= '0' && *s <= '9' && n < 100000; s++)
		n = n * 10 + (uint64_t)(*s - '0');
	return *s ? 0 : n;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	crypto_init();
	if (argc == 5 && strcmp(what, "setup") == 0)
		return setup(argv[2], argv[3], argv[4]);
	if (argc == 5 && strcmp(what, "run") == 0 && number(argv[3]) > 0 && number(argv[4]) > 0 && number(argv[4]) <= THREADS_MAX)
		return run(argv[2], number(argv[3]), number(argv[4]));
	if (argc == 3 && strcmp(what, "check") == 0)
		return check(argv[2]);
	fprintf(stderr, "usage: bench_lane setup ADMIN_URL NAME URL | run URL SECONDS THREADS | check URL\n");
	return 2;
}
