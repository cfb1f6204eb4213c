/* Checks payments as a paid route does before any work: reads the header, compares it with the offer, recovers who signed, asks the
 * chain. A measuring program; each thread checks the next payment that nobody has.
 *
 *   bench_verify FILE AT_ONCE    first line {"rpc_url", "chain_id", "settler", "offer"}, then one PAYMENT-SIGNATURE each */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/mem.h"
#include "pay/x402.h"

#define AT_ONCE_MAX 64

static struct {
	struct x402 x402;
	struct x402_terms terms;
	char **payments;
	size_t count;
	int64_t *latencies_us;
	atomic_size_t next, bad;
	const char *_Atomic reason;
} bench;

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (int64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

static const char *check_one(const char *header)
{
	struct x402_payment payment;
	struct x402_why why;
	struct x402_check check;
	struct x402_paid paid;
	const char *reason;

	if (x402_payment_decode(header, &payment, &why) != X402_DECODED)
		return "not decoded";
	reason = x402_read(&payment, &bench.terms, &check, &paid);
	if (!reason) {
		if (x402_ask_chain(&bench.x402, &check, &paid, &reason))
			reason = chain_error();
		x402_paid_done(&paid);
	}
	x402_payment_done(&payment);
	return reason;
}

static void *check_all(void *arg)
{
	(void)arg;
	for (size_t i; (i = atomic_fetch_add(&bench.next, 1)) < bench.count;) {
		int64_t begin = now_us();
		const char *reason = check_one(bench.payments[i]);

		bench.latencies_us[i] = now_us() - begin;
		if (reason) {
			atomic_store(&bench.reason, reason);
			atomic_fetch_add(&bench.bad, 1);
		}
	}
	return NULL;
}

static void payments_read(FILE *f)
{
	char *line = NULL;
	size_t cap = 0;

	for (ssize_t n; (n = getline(&line, &cap, f)) > 0;) {
		bench.payments = xrealloc(bench.payments, (bench.count + 1) * sizeof(*bench.payments));
		bench.payments[bench.count++] = xstrndup(line, strcspn(line, "\n"));
	}
	free(line);
	bench.latencies_us = xcalloc(bench.count, sizeof(*bench.latencies_us));
}

/* false: the file is not what it should be. `root` stays with the bench: the offer's texts are its. */
static bool world_read(FILE *f, struct net *net, json_t **root)
{
	char *line = NULL;
	size_t cap = 0;
	ssize_t n = getline(&line, &cap, f);
	struct json_why why;
	const json_t *j;
	bool ok;

	if (n <= 0 || json_parse(line, (size_t)n, root, &why))
		return false;
	free(line);
	j = *root;
	struct x402_offer *offer = &bench.terms.offers[0];
	ok = x402_offer_read(json_object_get(j, "offer"), 2, offer) == ERR_OK && json_string_value(json_object_get(j, "rpc_url"));
	if (!ok)
		return false;
	bench.terms.count = 1;
	bench.x402 = (struct x402){ .chain = chain_new(net, json_string_value(json_object_get(j, "rpc_url")), 10000), .chain_id = offer->chain_id,
				    .token = offer->asset, .pay_to = offer->pay_to };
	bench.x402.facts = chain_facts_new(bench.x402.chain, &offer->asset);
	payments_read(f);
	return true;
}

static void print(int64_t us, int64_t cpu)
{
	const char *reason = atomic_load(&bench.reason);
	_cleanup_json_ json_t *list = json_must(json_array());

	for (size_t i = 0; i < bench.count; i++)
		json_array_append_new(list, json_must(json_integer(bench.latencies_us[i])));
	_cleanup_json_ json_t *said = json_must(json_pack("{s:I, s:I, s:O, s:I, s:[s]}", "us", (json_int_t)us, "cpu_us", (json_int_t)cpu, "latencies_us", list,
							   "bad", (json_int_t)atomic_load(&bench.bad), "reasons", reason ? reason : ""));
	_cleanup_free_ char *text = json_text(said);
	puts(text);
}

int main(int argc, char **argv)
{
	pthread_t threads[AT_ONCE_MAX];
	struct net_config config = { .reactors = 1, .connections_per_host_max = 64 };
	struct net *net = NULL;
	json_t *root = NULL;
	int at_once = argc == 3 ? (int)(argv[2][0] - '0') : 0;
	FILE *f = argc == 3 ? fopen(argv[1], "r") : NULL;

	crypto_init();
	if (!f || at_once < 1 || at_once > 9 || argv[2][1] || net_start(&config, &net) || !world_read(f, net, &root)) {
		fprintf(stderr, "usage: bench_verify FILE AT_ONCE\n");
		return 2;
	}
	fclose(f);
	int64_t begin = now_us(), cpu = cpu_us();
	for (int i = 0; i < at_once; i++)
		if (pthread_create(&threads[i], NULL, check_all, NULL))
			panic("bench_verify: no thread");
	for (int i = 0; i < at_once; i++)
		pthread_join(threads[i], NULL);
	print(now_us() - begin, cpu_us() - cpu);
	net_stop(net);
	return 0;
}
