/* How a payout ended, by the receipt: only our contract's word together with the token's own Transfer is a payment. And which of the
 * pending ones the treasury covers. */
#include "base/mem.h"
#include "chain/abi.h"
#include "chain/calls.h"
#include "pay/payouts.h"
#include "tests/unit/unit.h"

static const struct address TOKEN = { { 0x70 } }, CONTRACT = { { 0xc0 } }, TREASURY = { { 0x72 } }, ALICE = { { 0xa1 } }, BOB = { { 0xb0 } };
static struct payouts_config config;
static struct chain_log logs[8];
static uint8_t words[8][64];
static size_t count;

static struct payout_item item_of(uint8_t id, const struct address *to, uint64_t amount)
{
	return (struct payout_item){ .id = { { id } }, .to = *to, .amount = amount_from_u64(amount) };
}

static struct chain_log *log_add(const struct address *from, const struct hash *topic, size_t topics, size_t len)
{
	logs[count] = (struct chain_log){ .address = *from, .topic_count = topics, .data = words[count], .data_len = len };
	logs[count].topics[0] = *topic;
	memset(words[count], 0, sizeof(words[count]));
	return &logs[count++];
}

static void transfer(const struct payout_item *item)
{
	struct chain_log *l = log_add(&TOKEN, &ABI_TRANSFER_TOPIC, 3, 32);

	abi_word_from_address(&TREASURY, &l->topics[1]);
	abi_word_from_address(&item->to, &l->topics[2]);
	amount_to_be(item->amount, words[count - 1]);
}

static void paid(const struct payout_item *item, bool ok)
{
	struct chain_log *l = log_add(&CONTRACT, &CALLS_PAYOUTS_PAID, 3, 64);

	l->topics[1] = payouts_id(&item->id);
	abi_word_from_address(&item->to, &l->topics[2]);
	amount_to_be(item->amount, words[count - 1]);
	words[count - 1][63] = ok;
}

static enum err read_end(const struct payout_item *item, bool ok, struct payout_end *ret)
{
	struct chain_receipt r = { .tx = { { 0x17 } }, .ok = ok, .logs = logs, .log_count = count };

	return payouts_read_end(&config, &r, item, ret);
}

static int setup(void **state)
{
	(void)state;
	config.sender.token = TOKEN;
	config.sender.contract = CONTRACT;
	config.treasury = TREASURY;
	count = 0;
	return 0;
}

static void test_paid(void **state)
{
	const struct payout_item one = item_of(1, &ALICE, 5), two = item_of(2, &ALICE, 5);
	struct payout_end end;

	(void)state;
	transfer(&one);
	paid(&one, true);
	transfer(&two);
	paid(&two, true);
	assert_int_equal(read_end(&two, true, &end), ERR_OK);
	assert_true(end.end == PAYOUT_PAID && end.log == 2 && end.tx.b[0] == 0x17);
	assert_int_equal(read_end(&one, true, &end), ERR_OK);
	assert_true(end.end == PAYOUT_PAID && end.log == 0); /* its own, not one that looks like it */
}

static void test_unproven(void **state)
{
	const struct payout_item one = item_of(1, &ALICE, 5), two = item_of(2, &ALICE, 5), more = item_of(2, &ALICE, 6), other = item_of(2, &BOB, 5);
	struct payout_end end;

	(void)state;
	transfer(&one);
	paid(&one, true);
	paid(&two, true); /* no Transfer between: the first's does not count again */
	assert_int_equal(read_end(&two, true, &end), ERR_UNPROCESSABLE);
	assert_int_equal(read_end(&more, true, &end), ERR_UNPROCESSABLE);
	assert_int_equal(read_end(&other, true, &end), ERR_UNPROCESSABLE);
	const struct payout_item unknown = item_of(9, &ALICE, 5);
	assert_int_equal(read_end(&unknown, true, &end), ERR_UNPROCESSABLE); /* it says nothing of it */
	count = 0;
	transfer(&one);
	paid(&one, true);
	logs[1].address = TOKEN; /* a look-alike */
	assert_int_equal(read_end(&one, true, &end), ERR_UNPROCESSABLE);
	logs[1].address = CONTRACT;
	logs[0].address = CONTRACT; /* likewise */
	assert_int_equal(read_end(&one, true, &end), ERR_UNPROCESSABLE);
}

static void test_not_paid(void **state)
{
	static const struct hash skipped = { { 0x16, 0x75, 0x15, 0x37, 0x9e, 0xc2, 0x91, 0x33, 0xd6, 0x2e, 0x15, 0x79, 0x8d, 0xd6, 0xc9, 0x0f,
					       0x69, 0x20, 0x36, 0xc7, 0x14, 0xde, 0x5d, 0x7c, 0x9c, 0x36, 0xfe, 0x3e, 0xd9, 0x2a, 0xde, 0x5b } };
	const struct payout_item one = item_of(1, &ALICE, 5);
	struct payout_end end;

	(void)state;
	assert_int_equal(read_end(&one, false, &end), ERR_OK);
	assert_int_equal(end.end, PAYOUT_AGAIN); /* the whole transaction reverted */
	paid(&one, false);
	assert_int_equal(read_end(&one, true, &end), ERR_OK);
	assert_true(end.end == PAYOUT_RETURNED && end.reason);
	for (uint8_t why = 0; why < 3; why++) {
		count = 0;
		log_add(&CONTRACT, &skipped, 2, 32)->topics[1] = payouts_id(&one.id);
		words[0][31] = why;
		assert_int_equal(read_end(&one, true, &end), why == CALLS_PAY_ENDED ? ERR_NOT_FOUND : ERR_OK);
		assert_true(why == CALLS_PAY_ENDED || end.end == PAYOUT_AGAIN);
	}
}

static void test_pick(void **state)
{
	struct payout_item items[] = { item_of(1, &ALICE, 50), item_of(2, &ALICE, 80), item_of(3, &BOB, 30), item_of(4, &BOB, 21), item_of(5, &BOB, 20) };

	(void)state;
	assert_int_equal(payouts_pick(items, 5, amount_from_u64(100)), 3);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(items[i].id.b[0], "\1\3\5\2\4"[i]);
	assert_int_equal(payouts_pick(items, 5, AMOUNT_ZERO), 0);
	assert_int_equal(payouts_pick(items, 5, amount_from_u64(201)), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup(test_paid, setup), cmocka_unit_test_setup(test_unproven, setup),
					    cmocka_unit_test_setup(test_not_paid, setup), cmocka_unit_test(test_pick) };

	return RUN_TESTS(tests);
}
