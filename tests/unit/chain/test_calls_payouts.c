/* Calls of contracts/Payouts.sol against viem's encoding, and its events: exactly in form or not at all. */
#include "tests/unit/unit.h"

#include "chain/calls.h"
#include "tests/unit/chain/bytes.h"
#include "tests/unit/chain/vectors.h"

#define EXPECT_CALL(call, hex) \
	do { \
		struct buf out = BUF_INIT(1024); \
		assert_int_equal(call, ERR_OK); \
		expect_hex(&out, hex); \
		buf_done(&out); \
	} while (0)

static void calls(void **state)
{
	const struct u256 max = { { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX } };
	struct calls_payout items[2] = { { .amount = u256_from_u64(5) }, { .amount = max } };

	(void)state;
	memset(items[0].id.b, 0x77, 32);
	memset(items[1].id.b, 0x78, 32);
	memset(items[0].to.b, 0x3c, 20);
	memset(items[1].to.b, 0x0e, 20);
	EXPECT_CALL(calls_payouts_pay(items, 2, &out), CALL_PAYOUTS_PAY);
	EXPECT_CALL(calls_payouts_end_of(&items[0].id, &out), CALL_PAYOUTS_END_OF);
	EXPECT_CALL(calls_payouts_total(&out), CALL_PAYOUTS_TOTAL);
}

static void events(void **state)
{
	struct hash paid[3], skipped[3];
	uint8_t data[64], why[32] = { 0 };
	struct calls_paid_out said;

	(void)state;
	unhex_into(PAID_OUT_TOPICS, paid, sizeof(paid));
	unhex_into(PAYOUT_SKIPPED_TOPICS, skipped, 2 * sizeof(skipped[0]));
	unhex_into(PAID_OUT_DATA, data, sizeof(data));
	assert_true(calls_read_paid_out(paid, 3, data, 64, &said));
	assert_true(said.end == CALLS_PAID && said.id.b[31] == 0x77 && said.to.b[19] == 0x3c && said.amount.limb[0] == 5);
	data[63] = 0;
	assert_true(calls_read_paid_out(paid, 3, data, 64, &said));
	assert_int_equal(said.end, CALLS_PAY_REFUSED);
	data[63] = 2; /* no bool */
	assert_false(calls_read_paid_out(paid, 3, data, 64, &said));
	data[63] = 1;
	assert_false(calls_read_paid_out(paid, 2, data, 64, &said));
	assert_false(calls_read_paid_out(paid, 3, data, 63, &said));
	paid[2].b[0] = 1; /* no address */
	assert_false(calls_read_paid_out(paid, 3, data, 64, &said));
	paid[0].b[0] ^= 1; /* another event */
	assert_false(calls_read_paid_out(paid, 3, data, 64, &said));
	for (uint8_t v = 0; v < 4; v++) {
		why[31] = v;
		assert_int_equal(calls_read_paid_out(skipped, 2, why, 32, &said), v < 3);
		assert_true(v == 3 || (said.end == CALLS_PAY_SKIPPED && said.why == v && said.id.b[0] == 0x77));
	}
	assert_false(calls_read_paid_out(skipped, 2, data, 64, &said));
	assert_false(calls_read_paid_out(skipped, 1, why, 32, &said));
}

static void ends(void **state)
{
	uint8_t words[65] = { [31] = 1, [62] = 1, [63] = 2 };
	uint64_t block = 9;
	bool ended = false;

	(void)state;
	assert_int_equal(calls_read_end_of(words, 64, &ended, &block), ERR_OK);
	assert_true(ended && block == 258);
	words[31] = 3;
	assert_int_equal(calls_read_end_of(words, 64, &ended, &block), ERR_BAD_FIELD);
	words[31] = 0;
	assert_int_equal(calls_read_end_of(words, 65, &ended, &block), ERR_BAD_FIELD);
	assert_int_equal(calls_read_end_of(words, 64, &ended, &block), ERR_OK);
	assert_false(ended);
	words[32] = 1;
	assert_int_equal(calls_read_end_of(words, 64, &ended, &block), ERR_BAD_FIELD);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(calls), cmocka_unit_test(events), cmocka_unit_test(ends) };

	return RUN_TESTS(tests);
}
