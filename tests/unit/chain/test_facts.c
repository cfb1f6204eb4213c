/* Facts about payers: what is asked and how answers are read, and askers that share calls, each getting the answer about its own payer. */
#include <stdatomic.h>

#include "chain/facts.h"
#include "crypto/crypto.h"
#include "fake_rpc.h"
#include "tests/unit/unit.h"

#define GAS 200000
#define GAS_EACH 150000
#define WORD "000000000000000000000000000000000000000000000000000000000000000"
#define ASKERS 16
#define SHARE_DEADLINE_MS 60000

static struct fake_rpc fake;
static struct net *net;
static struct chain *chain;
static const struct address TOKEN = { { 0x70 } };

static int setup(void **state)
{
	const struct net_config config = { .reactors = 1, .connections_per_host_max = 8 };

	(void)state;
	fake_start(&fake);
	if (net_start(&config, &net))
		return -1;
	chain = chain_new(net, fake.url, 10000);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	chain_free(chain);
	net_stop(net);
	fake_stop(&fake);
	return 0;
}

static void answer(const char *result)
{
	const struct fake_answer a[] = { { .method = "eth_call", .result = result } };

	fake_set(&fake, a, 1);
}

/* size of code, known, nonce, balance, allowance */
#define EOA "0x" WORD "0" WORD "3" WORD "0" WORD "5" WORD "9"
#define WALLET WORD "c" WORD "7" WORD "1" WORD "6" WORD "2"

static void test_what_is_asked_and_read(void **state)
{
	const struct chain_ask asks[2] = { { .payer = { { 0xaa } }, .place = { { 0xbb } } }, { .payer = { { 0xcc } }, .permit2 = true, .place = { { 0xdd } } } };
	struct chain_facts f[2];

	(void)state;
	answer("\"" EOA WALLET "\"");
	assert_int_equal(chain_facts_read(chain, &TOKEN, asks, 2, f), ERR_OK);
	assert_true(fake_was_asked(&fake, "\"latest\""));
	assert_false(fake_was_asked(&fake, "\"to\"")); /* or it would be a call to somebody */
	assert_true(fake_was_asked(&fake, "0000000000000000000000007000000000000000000000000000000000000000"
					  "000000000000000000000000000000000022d473030f116ddee9f6b43ac78ba3"
					  "000000000000000000000000aa00000000000000000000000000000000000000"
					  "0000000000000000000000000000000000000000000000000000000000000000"
					  "bb00000000000000000000000000000000000000000000000000000000000000"
					  "000000000000000000000000cc00000000000000000000000000000000000000"
					  "0000000000000000000000000000000000000000000000000000000000000001"
					  "dd00000000000000000000000000000000000000000000000000000000000000\""));
	assert_true(f[0].known && f[1].known && !f[0].has_code && f[1].has_code);
	assert_true(u256_is_zero(&f[0].nonce) && u256_is_zero(&f[0].allowance)); /* which EIP-3009 has not */
	assert_int_equal(u256_cmp(&f[0].balance, &(struct u256){ { 5 } }), 0);
	assert_int_equal(u256_cmp(&f[1].nonce, &(struct u256){ { 1 } }), 0);
	assert_int_equal(u256_cmp(&f[1].balance, &(struct u256){ { 6 } }), 0);
	assert_int_equal(u256_cmp(&f[1].allowance, &(struct u256){ { 2 } }), 0);
}

static void test_what_is_not_learned(void **state)
{
	static const char *const bad[] = {
		"\"0x\"", "\"0x" WORD "0\"", "\"" EOA EOA "\"", "\"0x" WORD "0" WORD "2" WORD "0" WORD "5" WORD "0\"", "\"0x" WORD "0" WORD "1" WORD "0" WORD "5" WORD "0\"",
		"null", "\"nonsense\"",
	};
	const struct chain_ask ask = { .payer = { { 0xaa } }, .place = { { 0xbb } } };
	struct chain_facts_line *line = chain_facts_new(chain, &TOKEN);
	struct chain_facts f;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		answer(bad[i]);
		assert_int_equal(chain_facts_ask(line, &ask, &f), ERR_CHAIN_DOWN);
		assert_true(strlen(chain_error()) > 0);
	}
	answer("\"" EOA "\"");
	assert_int_equal(chain_facts_ask(line, &ask, &f), ERR_OK); /* the line is not stuck */
	chain_facts_free(line);
}

/* One that Permit2 says nothing about must not take the answers of the others with it. */
static void test_one_unknown_spoils_nothing(void **state)
{
	const struct chain_ask asks[2] = { { .payer = { { 0xaa } } }, { .payer = { { 0xcc } }, .permit2 = true } };
	struct chain_facts f[2];

	(void)state;
	answer("\"" EOA WORD "0" WORD "2" WORD "0" WORD "6" WORD "0\"");
	assert_int_equal(chain_facts_read(chain, &TOKEN, asks, 2, f), ERR_OK);
	assert_true(f[0].known && !f[1].known);
}

/* ---- many askers: an endpoint that answers by what it is asked ---- */

struct teller {
	int listener;
	pthread_t thread;
	atomic_uint calls, payers, failing;
};

/* The balance of a payer is its last byte, and so is the state of its nonce that of the place. */
static void tell(struct teller *t, int fd, const char *body)
{
	json_t *call = json_loads(body, 0, NULL), *message = json_array_get(json_object_get(call, "params"), 0);
	const char *data = json_string_value(json_object_get(message, "data"));
	size_t n = ((size_t)strtoull(json_string_value(json_object_get(message, "gas")), NULL, 16) - GAS) / GAS_EACH;
	const char *ask = data + strlen(data) - n * 192;
	struct buf text = BUF_INIT(1 << 20);

	if (atomic_load(&t->failing)) {
		static const char no[] = "HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

		fake_send(fd, no, strlen(no));
	} else {
		assert_int_equal(buf_printf(&text, "{\"jsonrpc\":\"2.0\",\"id\":%lld,\"result\":\"0x", (long long)json_integer_value(json_object_get(call, "id"))), ERR_OK);
		for (size_t i = 0; i < n; i++, ask += 192)
			assert_int_equal(buf_printf(&text, WORD "0" WORD "3%062d%.2s%062d%.2s" WORD "0", 0, ask + 190, 0, ask + 62), ERR_OK);
		assert_int_equal(buf_puts(&text, "\"}"), ERR_OK);
		char *head = xasprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", text.len);

		fake_send(fd, head, strlen(head));
		fake_send(fd, text.data, text.len);
		free(head);
	}
	atomic_fetch_add(&t->calls, 1);
	atomic_fetch_add(&t->payers, (unsigned)n);
	buf_done(&text);
	json_decref(call);
}

static void *teller_main(void *arg)
{
	struct teller *t = arg;

	for (int fd; (fd = accept(t->listener, NULL, NULL)) >= 0;) {
		struct buf b = BUF_INIT(1 << 20);
		size_t body = fake_receive(fd, &b);

		if (body)
			tell(t, fd, b.data + body);
		shutdown(fd, SHUT_WR);
		close(fd);
		buf_done(&b);
	}
	return NULL;
}

struct asker {
	pthread_t thread;
	struct chain_facts_line *line;
	const struct teller *teller;
	uint8_t number;
	unsigned wrong;
	bool expect_failure;
};

static void *asker_main(void *arg)
{
	struct asker *a = arg;
	int64_t until = clock_mono_ms() + SHARE_DEADLINE_MS;

	for (unsigned i = 0; i < 50 || (atomic_load(&a->teller->payers) == atomic_load(&a->teller->calls) && clock_mono_ms() < until); i++) {
		struct chain_ask ask = { 0 };
		struct chain_facts f = { 0 };

		ask.payer.b[19] = a->number;
		ask.place.b[31] = (uint8_t)i;
		enum err e = chain_facts_ask(a->line, &ask, &f);

		if (a->expect_failure)
			a->wrong += e != ERR_CHAIN_DOWN || !strstr(chain_error(), "500");
		else
			a->wrong += e || u256_cmp(&f.balance, &(struct u256){ { a->number } }) || u256_cmp(&f.nonce, &(struct u256){ { (uint8_t)i } });
	}
	return NULL;
}

static void ask_together(bool failing)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct asker askers[ASKERS] = { 0 };
	struct teller t = { .failing = failing };
	socklen_t len = sizeof(at);
	char url[64];

	t.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_false(bind(t.listener, (struct sockaddr *)&at, sizeof(at)) || listen(t.listener, 64) || getsockname(t.listener, (struct sockaddr *)&at, &len));
	assert_false(pthread_create(&t.thread, NULL, teller_main, &t));
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", ntohs(at.sin_port));
	struct chain *c = chain_new(net, url, SHARE_DEADLINE_MS);
	struct chain_facts_line *line = chain_facts_new(c, &TOKEN);

	for (uint8_t i = 0; i < ASKERS; i++) {
		askers[i] = (struct asker){ .line = line, .teller = &t, .number = (uint8_t)(i + 1), .expect_failure = failing };
		assert_false(pthread_create(&askers[i].thread, NULL, asker_main, &askers[i]));
	}
	for (size_t i = 0; i < ASKERS; i++) {
		pthread_join(askers[i].thread, NULL);
		assert_int_equal(askers[i].wrong, 0);
	}
	assert_true(atomic_load(&t.calls) < atomic_load(&t.payers)); /* they shared */
	shutdown(t.listener, SHUT_RDWR);
	pthread_join(t.thread, NULL);
	close(t.listener);
	chain_facts_free(line);
	chain_free(c);
}

static void test_askers_share_calls(void **state)
{
	(void)state;
	ask_together(false);
}

static void test_a_failure_is_everybodys(void **state)
{
	(void)state;
	ask_together(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_asked_and_read), cmocka_unit_test(test_what_is_not_learned), cmocka_unit_test(test_one_unknown_spoils_nothing),
		cmocka_unit_test(test_askers_share_calls), cmocka_unit_test(test_a_failure_is_everybodys),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, setup, teardown);
}
