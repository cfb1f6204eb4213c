/* Which Transfer belongs to which payment: payments of one payer and one amount share a transaction, and each has its own. */
#include "tests/unit/unit.h"

#include "pay/settler_internal.h"

#define LOGS_MAX 16

static const struct address CONTRACT = { { 0xc0 } }, TOKEN = { { 0x70 } }, PAYER = { { 0xa1 } }, US = { { 0x05 } };

static struct chain_receipt receipt;
static struct chain_log logs[LOGS_MAX];
static uint8_t words[LOGS_MAX][96];

static struct hash topic(const char *signature)
{
	struct hash h;

	keccak256(signature, strlen(signature), &h);
	return h;
}

static struct hash padded(const struct address *a)
{
	struct hash h = { { 0 } };

	memcpy(h.b + 12, a->b, sizeof(a->b));
	return h;
}

static struct uuid payment(uint8_t n)
{
	return (struct uuid){ { n } };
}

static void add_transfer(uint64_t amount)
{
	size_t i = receipt.log_count++;

	words[i][31] = (uint8_t)amount;
	logs[i] = (struct chain_log){ .address = TOKEN, .topic_count = 3, .topics = { topic("Transfer(address,address,uint256)"), padded(&PAYER), padded(&US) }, .data = words[i],
				      .data_len = 32 };
}

static void add_settled(uint8_t n, bool ok)
{
	size_t i = receipt.log_count++;
	struct uuid id = payment(n);
	struct hash ref = { { 0 } };

	memcpy(ref.b, id.b, sizeof(id.b));
	words[i][31] = ok;
	words[i][63] = 64;
	logs[i] = (struct chain_log){ .address = CONTRACT, .topic_count = 3, .topics = { topic("Settled(uint256,bytes32,bool,bytes)"), { { 0 } }, ref }, .data = words[i], .data_len = 96 };
}

static int empty(void **state)
{
	(void)state;
	memset(logs, 0, sizeof(logs));
	memset(words, 0, sizeof(words));
	receipt = (struct chain_receipt){ .ok = true, .logs = logs };
	return 0;
}

/* The log, or -1. */
static int moved(uint8_t n, uint64_t amount)
{
	const struct settler_config c = { .contract = CONTRACT, .token = TOKEN };
	const struct chain_payment what = { .token = TOKEN, .payer = PAYER, .to = US, .amount = amount_from_u64(amount) };
	struct uuid id = payment(n);
	uint32_t log = 99;

	return settler_moved(&c, &receipt, &id, &what, &log) ? (int)log : -1;
}

static void test_each_has_its_own(void **state)
{
	(void)state;
	add_transfer(7);
	add_settled(3, true);
	add_transfer(7);
	add_settled(1, true);
	add_transfer(7);
	add_settled(2, true);
	assert_int_equal(moved(1, 7), 2);
	assert_int_equal(moved(2, 7), 4);
	assert_int_equal(moved(3, 7), 0);
	assert_int_equal(moved(4, 7), -1); /* not in it */
	receipt.ok = false;
	assert_int_equal(moved(1, 7), -1);
}

static void test_not_what_was_paid(void **state)
{
	(void)state;
	add_transfer(7);
	add_settled(1, true);
	add_settled(2, true); /* returned, and moved nothing: the transfer before is another's */
	add_transfer(6);
	add_settled(3, true);
	add_transfer(7);
	add_settled(4, false);
	add_transfer(7); /* behind its event is not before it */
	assert_int_equal(moved(1, 7), 0);
	assert_int_equal(moved(2, 7), -1);
	assert_int_equal(moved(3, 7), -1);
	assert_int_equal(moved(3, 6), 3);
	assert_int_equal(moved(4, 7), -1); /* the call failed */
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup(test_each_has_its_own, empty), cmocka_unit_test_setup(test_not_what_was_paid, empty) };

	return RUN_TESTS(tests);
}
