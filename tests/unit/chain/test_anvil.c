/* Sending on a real chain: anvil, when it is installed, on a port of its own choice, mining only when told to. */
#include "tests/unit/unit.h"

#include <poll.h>
#include <sys/prctl.h>

#include "chain/rpc.h"
#include "chain/send.h"
#include "chain/tx.h"

#define ANVIL "node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil"
#define CHAIN 84532u
#define GWEI UINT64_C(1000000000)
#define START_DEADLINE_MS 30000

/* The first account that anvil gives money to; published with it. */
#define RICH "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"

static pid_t anvil_pid;
static struct net *net;
static struct chain *chain;
static struct secret_key rich;
static struct address rich_address;
static uint64_t next; /* nonce of the rich account, kept here as the settler keeps it */

static void anvil_stop(void)
{
	if (anvil_pid > 0) {
		kill(anvil_pid, SIGKILL);
		waitpid(anvil_pid, NULL, 0);
		anvil_pid = 0;
	}
}

/* Reads what anvil prints until it names its port; 0 when it does not. */
static unsigned port_read(int fd)
{
	char text[16384] = "";
	size_t len = 0;
	int64_t until = clock_mono_ms() + START_DEADLINE_MS;
	while (len < sizeof(text) - 1 && clock_mono_ms() < until) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		if (poll(&p, 1, (int)(until - clock_mono_ms())) <= 0)
			return 0;
		ssize_t n = read(fd, text + len, sizeof(text) - 1 - len);
		if (n <= 0)
			return 0;
		len += (size_t)n;
		unsigned port = 0;
		const char *at = strstr(text, "Listening on 127.0.0.1:");
		if (at && strchr(at, '\n') && sscanf(at + 23, "%u", &port) == 1)
			return port;
	}
	return 0;
}

static unsigned anvil_start(void)
{
	int out[2];
	pid_t parent = getpid();
	if (pipe(out))
		return 0;
	anvil_pid = fork();
	if (anvil_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* should we die before we stop it */
		int null = open("/dev/null", O_RDWR);
		if (getppid() != parent || dup2(null, 0) < 0 || dup2(out[1], 1) < 0 || dup2(null, 2) < 0)
			_exit(1);
		close(out[0]);
		execl(ANVIL, "anvil", "--host", "127.0.0.1", "--port", "0", "--chain-id", "84532", "--no-mining", (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	unsigned port = port_read(out[0]);
	fcntl(out[0], F_SETFD, FD_CLOEXEC); /* kept open: anvil would die of a closed pipe */
	return port;
}

static void rpc_do(const char *method, json_t *params)
{
	_cleanup_json_ json_t *result = NULL;
	if (rpc_call(chain, method, params, &result))
		fail_msg("%s: %s", method, chain_error());
}

static void mine(void)
{
	rpc_do("evm_mine", json_array());
}

/* A contract of these bytes at 0x…<id>. */
static struct address contract_put(uint8_t id, const char *code)
{
	struct address a = { { [0] = 0xc0, [19] = id } };
	rpc_do("anvil_setCode", json_pack("[s, s]", address_format(&a).s, code));
	return a;
}

static struct tx transfer(uint64_t nonce, uint64_t fee_gwei, uint64_t value)
{
	return (struct tx){ .chain_id = CHAIN, .nonce = nonce, .max_priority_fee = GWEI, .max_fee = fee_gwei * GWEI, .gas = 21000,
			    .to = { { 0xdd } }, .value = u256_from_u64(value) };
}

static enum chain_sent send_as(const struct secret_key *key, const struct tx *tx, struct hash *ret_hash)
{
	struct buf raw = BUF_INIT(TX_RAW_MAX);
	assert_int_equal(tx_sign(tx, key, &raw, ret_hash), ERR_OK);
	enum chain_sent sent = chain_send_raw(chain, raw.data, raw.len);
	buf_done(&raw);
	return sent;
}

static void expect_sent(enum chain_sent got, enum chain_sent want)
{
	if (got != want)
		fail_msg("%s: %s", chain_sent_name(got), got == CHAIN_SENT ? "" : chain_error());
}

static void transfer_from_pool_to_block(void **state)
{
	(void)state;
	struct chain_fees fees;
	const struct chain_fee_caps caps = { 2 * GWEI, 100 * GWEI };
	struct tx tx = transfer(next, 10, 12345);
	struct hash hash;
	struct chain_receipt r;
	struct chain_block block;
	struct amount balance;
	uint64_t nonce;
	assert_int_equal(chain_fees(chain, &caps, &fees), ERR_OK);
	assert_true(fees.base > 0 && fees.affordable && fees.fee >= fees.base + fees.priority);
	tx.max_fee = fees.fee;
	tx.max_priority_fee = fees.priority;
	expect_sent(send_as(&rich, &tx, &hash), CHAIN_SENT);
	assert_int_equal(chain_receipt(chain, &hash, &r), ERR_NOT_FOUND);
	assert_int_equal(chain_nonce(chain, &rich_address, CHAIN_LATEST, &nonce), ERR_OK);
	assert_int_equal(nonce, next);
	assert_int_equal(chain_nonce(chain, &rich_address, CHAIN_PENDING, &nonce), ERR_OK);
	assert_int_equal(nonce, next + 1);
	expect_sent(send_as(&rich, &tx, &hash), CHAIN_SENT_KNOWN);
	mine();
	assert_int_equal(chain_receipt(chain, &hash, &r), ERR_OK);
	assert_true(r.ok && r.gas_used == 21000 && r.log_count == 0 && r.gas_price > 0 && r.gas_price <= tx.max_fee);
	assert_true(address_equal(&r.from, &rich_address) && address_equal(&r.to, &tx.to));
	assert_int_equal(chain_block_by_number(chain, r.block_number, &block), ERR_OK);
	assert_true(hash_equal(&block.hash, &r.block));
	assert_int_equal(chain_native_balance(chain, &tx.to, UINT64_MAX, &balance), ERR_OK);
	assert_string_equal(amount_format(balance).s, "12345");
	assert_int_equal(chain_native_balance(chain, &tx.to, r.block_number - 1, &balance), ERR_OK);
	assert_true(amount_is_zero(balance));
	chain_receipt_done(&r);
	expect_sent(send_as(&rich, &tx, &hash), CHAIN_SENT_NONCE_TOO_LOW); /* the very same bytes: so ask by hash */
	next++;
}

static void replaced(void **state)
{
	(void)state;
	struct tx first = transfer(next, 10, 1), twin = transfer(next, 10, 2), better = transfer(next, 10, 3);
	struct hash first_hash, hash;
	struct chain_receipt r;
	struct chain_fees now, fees, sent = { 0, first.max_priority_fee, first.max_fee, true };
	const struct chain_fee_caps caps = { 2 * GWEI, 100 * GWEI };
	expect_sent(send_as(&rich, &first, &first_hash), CHAIN_SENT);
	expect_sent(send_as(&rich, &twin, &hash), CHAIN_SENT_UNDERPRICED);
	assert_int_equal(chain_fees(chain, &caps, &now), ERR_OK);
	assert_int_equal(chain_fees_bump(&sent, &now, &caps, &fees), ERR_OK);
	better.max_fee = fees.fee;
	better.max_priority_fee = fees.priority;
	expect_sent(send_as(&rich, &better, &hash), CHAIN_SENT);
	mine();
	assert_int_equal(chain_receipt(chain, &hash, &r), ERR_OK);
	assert_true(r.ok);
	chain_receipt_done(&r);
	assert_int_equal(chain_receipt(chain, &first_hash, &r), ERR_NOT_FOUND);
	expect_sent(send_as(&rich, &twin, &hash), CHAIN_SENT_NONCE_TOO_LOW);
	next++;
}

static void refused(void **state)
{
	(void)state;
	struct secret_key poor;
	struct hash hash;
	assert_int_equal(secret_key_new(&poor), ERR_OK);
	struct tx tx = transfer(0, 10, 0);
	expect_sent(send_as(&poor, &tx, &hash), CHAIN_SENT_INSUFFICIENT_FUNDS);
	tx = transfer(next, 10, 0);
	tx.chain_id = 1;
	expect_sent(send_as(&rich, &tx, &hash), CHAIN_SENT_REJECTED);
	tx = transfer(next, 10, 0);
	tx.gas = 20999;
	expect_sent(send_as(&rich, &tx, &hash), CHAIN_SENT_REJECTED);
	tx.gas = UINT64_C(1) << 40;
	expect_sent(send_as(&rich, &tx, &hash), CHAIN_SENT_REJECTED);
	tx = transfer(next, 10, 0);
	tx.max_fee = tx.max_priority_fee = 1; /* below the base fee */
	expect_sent(send_as(&rich, &tx, &hash), CHAIN_SENT_UNDERPRICED);
	expect_sent(chain_send_raw(chain, "\x02\xc0", 2), CHAIN_SENT_REJECTED);
}

static void a_dropped_transaction_is_sent_again(void **state)
{
	(void)state;
	struct tx tx = transfer(next, 10, 7);
	struct hash hash;
	struct chain_receipt r;
	expect_sent(send_as(&rich, &tx, &hash), CHAIN_SENT);
	rpc_do("anvil_dropTransaction", json_pack("[s]", hash_format(&hash).s));
	expect_sent(send_as(&rich, &tx, &hash), CHAIN_SENT); /* the same bytes: it is not known */
	mine();
	assert_int_equal(chain_receipt(chain, &hash, &r), ERR_OK);
	chain_receipt_done(&r);
	next++;
}

/* LOG2 of 32 bytes with the topics 7 and 8, and LOG0 of nothing: twice in one block, so that the index runs on. */
static void logs_of_a_contract(void **state)
{
	(void)state;
	struct address emitter = contract_put(1, "0x602a6000526008600760206000a260006000a000");
	struct hash hashes[2];
	for (unsigned i = 0; i < 2; i++) {
		struct tx tx = transfer(next++, 10, 0);
		tx.to = emitter;
		tx.gas = 100000;
		expect_sent(send_as(&rich, &tx, &hashes[i]), CHAIN_SENT);
	}
	mine();
	for (unsigned i = 0; i < 2; i++) {
		struct chain_receipt r;
		assert_int_equal(chain_receipt(chain, &hashes[i], &r), ERR_OK);
		assert_true(r.ok);
		assert_int_equal(r.log_count, 2);
		assert_true(address_equal(&r.logs[0].address, &emitter));
		assert_int_equal(r.logs[0].topic_count, 2);
		assert_true(r.logs[0].topics[0].b[31] == 7 && r.logs[0].topics[1].b[31] == 8);
		assert_true(r.logs[0].data_len == 32 && r.logs[0].data[31] == 42);
		assert_true(r.logs[1].topic_count == 0 && r.logs[1].data_len == 0);
		chain_receipt_done(&r);
	}
	struct buf code = BUF_INIT(1024);
	assert_int_equal(chain_code_at(chain, &emitter, UINT64_MAX, &code), ERR_OK);
	assert_int_equal(code.len, 20);
	assert_int_equal(chain_code_at(chain, &rich_address, UINT64_MAX, &code), ERR_OK);
	assert_int_equal(code.len, 20);
	buf_done(&code);
}

static void failures_are_told_apart(void **state)
{
	(void)state;
	static const struct { const char *code; bool ok; size_t out; } rows[] = {
		{ "0x60206000f3", true, 32 },	/* answers a zero word */
		{ "0x60206000fd", false, 32 },	/* reverts with one: anvil puts the zeros into its words, too */
		{ "0x60006000fd", false, 0 },	/* reverts without words */
		{ "0xfe", false, 0 },		/* no such instruction */
		{ "0x5b600056", false, 0 },	/* never ends */
		{ "0x50", false, 0 },		/* takes from an empty stack */
		{ "0x600456", false, 0 },	/* jumps to nowhere */
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct chain_message m = { .from = rich_address, .to = contract_put((uint8_t)(16 + i), rows[i].code), .gas = 200000 };
		struct buf out = BUF_INIT(64);
		bool ok = !rows[i].ok;
		uint64_t gas = 0;
		if (chain_simulate(chain, &m, UINT64_MAX, &out, &ok))
			fail_msg("%s: %s", rows[i].code, chain_error());
		assert_int_equal(ok, rows[i].ok);
		assert_int_equal(out.len, rows[i].out);
		if (chain_gas_estimate(chain, &m, &gas) != (ok ? ERR_OK : ERR_UNPROCESSABLE))
			fail_msg("%s: %s", rows[i].code, chain_error());
		assert_true(ok ? gas >= 21000 && gas <= m.gas : gas == 0);
		assert_int_equal(chain_simulate(chain, &m, 1000000, &out, &ok), ERR_CHAIN_DOWN); /* no such block */
		buf_done(&out);
	}
	/* Mined all the same: the nonce is used, and the receipt says that it failed. */
	struct tx tx = transfer(next++, 10, 0);
	struct hash hash;
	struct chain_receipt r;
	tx.to = contract_put(17, "0x60006000fd");
	tx.gas = 100000;
	expect_sent(send_as(&rich, &tx, &hash), CHAIN_SENT);
	mine();
	assert_int_equal(chain_receipt(chain, &hash, &r), ERR_OK);
	assert_true(!r.ok && r.log_count == 0 && r.gas_used > 21000);
	chain_receipt_done(&r);
}

static void the_chain_goes_away(void **state)
{
	(void)state;
	struct tx tx = transfer(next, 10, 0);
	struct hash hash;
	struct chain_receipt r;
	anvil_stop();
	expect_sent(send_as(&rich, &tx, &hash), CHAIN_SENT_UNKNOWN);
	assert_int_equal(chain_receipt(chain, &hash, &r), ERR_CHAIN_DOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(transfer_from_pool_to_block), cmocka_unit_test(replaced),		cmocka_unit_test(refused),
		cmocka_unit_test(a_dropped_transaction_is_sent_again), cmocka_unit_test(logs_of_a_contract), cmocka_unit_test(failures_are_told_apart),
		cmocka_unit_test(the_chain_goes_away),
	};
	if (access(ANVIL, X_OK)) {
		printf("test_anvil: skipped, %s is not installed\n", ANVIL);
		return 0;
	}
	crypto_init();
	const struct net_config config = { .reactors = 1, .connections_per_host_max = 8 };
	unsigned port = anvil_start();
	if (!port || secret_key_parse(RICH, &rich) || net_start(&config, &net)) {
		fprintf(stderr, "test_anvil: anvil did not start\n");
		anvil_stop();
		return 1;
	}
	char url[64];
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
	secret_key_address(&rich, &rich_address);
	chain = chain_new(net, url, 20000);
	int failed = RUN_TESTS(tests);
	chain_free(chain);
	net_stop(net);
	anvil_stop();
	return failed;
}
