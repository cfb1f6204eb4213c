/* What the settler sends for a stored authorization: the call its kind demands, and nothing for what cannot be read. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "chain/calls.h"
#include "chain/wallet.h"
#include "chain/tx.h"
#include "pay/settler.h"
#include "tests/unit/unit.h"

#define ADDRESS_A "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ADDRESS_B "0xbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define WORD_1 "0x0000000000000000000000000000000000000000000000000000000000000001"
#define WORD_2 "0x0000000000000000000000000000000000000000000000000000000000000002"
#define WORD_BIG "0xf000000000000000000000000000000000000000000000000000000000000003"

static const struct settler_config CONFIG = { .token = { { 0x70 } }, .contract = { { 0x5e } }, .pay_to = { { 0xbb } } };

static char *signature_of(size_t len)
{
	char *s = xmalloc(2 * len + 3);

	memcpy(s, "0x", 3);
	for (size_t i = 0; i < len; i++)
		memcpy(s + 2 + 2 * i, "1b", 3);
	return s;
}

static struct settling payment(const char *method, const char *scheme, size_t signature_len)
{
	_cleanup_free_ char *sig = signature_of(signature_len);
	struct settling p = { .id = { { 0xc0, 0xde } }, .payer = { { 0xaa } }, .amount = amount_from_u64(77) };

	snprintf(p.method, sizeof(p.method), "%s", method);
	snprintf(p.scheme, sizeof(p.scheme), "%s", scheme);
	p.payload = json_must(json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "from", ADDRESS_A, "to", ADDRESS_B, "value", WORD_BIG, "validAfter", WORD_1, "validBefore",
					WORD_2, "nonce", WORD_BIG, "signature", sig));
	return p;
}

static struct buf call_of(const struct settling *p)
{
	struct buf b = BUF_INIT(SETTLER_CALL_MAX);

	assert_int_equal(settler_call(&CONFIG, p, &b), ERR_OK);
	return b;
}

static const uint8_t *word(const struct buf *b, size_t i)
{
	assert_true(b->len >= 4 + 32 * (i + 1));
	return (const uint8_t *)b->data + 4 + 32 * i;
}

static void assert_selector(const struct buf *b, const char *hex)
{
	uint8_t want[4];

	assert_int_equal(hex_decode(hex, 8, want, sizeof(want)), ERR_OK);
	assert_memory_equal(b->data, want, 4);
}

static void test_eip3009(void **state)
{
	struct settling p = payment("eip3009", "exact", 65);
	struct buf b = call_of(&p);

	(void)state;
	assert_selector(&b, "e3ee160e"); /* with v, r, s */
	assert_int_equal(b.len, 4 + 9 * 32);
	assert_int_equal(word(&b, 0)[31], 0xaa);
	assert_int_equal(word(&b, 1)[12], 0xbb);
	assert_int_equal(word(&b, 2)[0], 0xf0); /* the value as it was signed */
	assert_int_equal(word(&b, 3)[31], 1);
	assert_int_equal(word(&b, 4)[31], 2);
	assert_int_equal(word(&b, 5)[31], 3);
	assert_int_equal(word(&b, 6)[31], 0x1b);
	buf_done(&b);
	json_decref(p.payload);
}

static void test_eip3009_of_a_wallet(void **state)
{
	(void)state;
	for (size_t len = 0; len <= WALLET_SIGNATURE_MAX; len += len < 130 ? 26 : 959) {
		struct settling p = payment("eip3009", "exact", len);
		struct buf b = call_of(&p);

		assert_selector(&b, len == 65 ? "e3ee160e" : "cf092995"); /* with bytes */
		buf_done(&b);
		json_decref(p.payload);
	}
}

static void test_permit2(void **state)
{
	struct settling exact = payment("permit2", "exact", 65), upto = payment("permit2", "upto", 65);
	struct buf a = call_of(&exact), b = call_of(&upto);
	uint8_t used[32];

	(void)state;
	assert_int_equal(word(&a, 1)[0], 0xf0); /* what was signed for */
	assert_selector(&b, "ff11e7b4");
	amount_to_be(amount_from_u64(77), used);
	assert_memory_equal(word(&b, 4), used, 32); /* what is taken of it */
	assert_int_equal(word(&b, 7)[12], 0x5e);    /* by whom: the contract, not our key */
	buf_done(&a);
	buf_done(&b);
	json_decref(exact.payload);
	json_decref(upto.payload);
}

static void test_unreadable(void **state)
{
	static const char *const members[] = { "from", "to", "value", "validAfter", "validBefore", "nonce", "signature" };
	static const char *const bad[] = { "", "0x", "0xaa", "0xzz", WORD_1 "00", "1" };

	(void)state;
	for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++)
		for (size_t j = 0; j < sizeof(bad) / sizeof(*bad); j++) {
			struct settling p = payment("permit2", "exact", 65);
			struct buf b = BUF_INIT(SETTLER_CALL_MAX);
			bool is_signature = !strcmp(members[i], "signature");

			json_object_set_new(p.payload, members[i], json_must(json_string(bad[j])));
			/* Any whole bytes may be a wallet's signature. */
			if (!is_signature || !strcmp(bad[j], "0xzz") || bad[j][0] != '0')
				assert_int_not_equal(settler_call(&CONFIG, &p, &b), ERR_OK);
			json_object_del(p.payload, members[i]);
			buf_reset(&b);
			assert_int_equal(settler_call(&CONFIG, &p, &b), ERR_BAD_FIELD);
			buf_done(&b);
			json_decref(p.payload);
		}
	struct settling p = payment("eip3009", "exact", WALLET_SIGNATURE_MAX + 1);
	struct buf b = BUF_INIT(SETTLER_CALL_MAX);
	assert_int_equal(settler_call(&CONFIG, &p, &b), ERR_BAD_FIELD);
	buf_done(&b);
	json_decref(p.payload);
}

/* Whoever settles it has to send these words. */
static void test_permit(void **state)
{
	static const char *const schemes[] = { "exact", "upto" };
	uint8_t permit[SETTLER_PERMIT_LEN];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct settling p = payment("permit2", schemes[i], 65);
		struct buf call = call_of(&p);

		assert_int_equal(settler_permit(&CONFIG, &p, permit), ERR_OK);
		assert_non_null(memmem(call.data, call.len, permit, sizeof(permit)));
		assert_memory_equal(permit + 12, CONFIG.token.b, 20);
		buf_done(&call);
		json_object_del(p.payload, "nonce");
		assert_int_equal(settler_permit(&CONFIG, &p, permit), ERR_BAD_FIELD);
		json_decref(p.payload);
	}
}

/* As it was signed: pay_to may be another by now. */
static void test_receiver(void **state)
{
	struct settling p = payment("eip3009", "exact", 65);
	struct address to = settler_receiver(&CONFIG, &p);

	(void)state;
	assert_string_equal(address_format(&to).s, ADDRESS_B);
	json_object_del(p.payload, "to");
	to = settler_receiver(&CONFIG, &p);
	assert_true(address_equal(&to, &CONFIG.pay_to));
	json_decref(p.payload);
}

static void test_batch(void **state)
{
	struct settling list[SETTLER_BATCH_MAX + 1];
	struct buf one = BUF_INIT(TX_RAW_MAX), all = BUF_INIT(TX_RAW_MAX), small = BUF_INIT(4096);
	uint64_t gas_one = 0, gas_all = 0, none = 0;

	(void)state;
	for (size_t i = 0; i <= SETTLER_BATCH_MAX; i++)
		list[i] = payment(i % 2 ? "permit2" : "eip3009", i % 4 == 1 ? "upto" : "exact", 65);
	assert_int_equal(settler_batch(&CONFIG, list, 1, &one, &gas_one), ERR_OK);
	assert_int_equal(settler_batch(&CONFIG, list, SETTLER_BATCH_MAX, &all, &gas_all), ERR_OK);
	assert_true(gas_one > 220000 && gas_all > 32 * 220000ull && gas_all < 32 * gas_one);
	assert_true(gas_all < 15000000); /* of a block */
	assert_int_equal(settler_batch(&CONFIG, list, SETTLER_BATCH_MAX + 1, &all, &none), ERR_LIMIT);
	assert_int_equal(settler_batch(&CONFIG, list, SETTLER_BATCH_MAX, &small, &none), ERR_LIMIT); /* the settler takes half of them then */
	assert_int_equal(none, 0);
	buf_done(&one);
	buf_done(&all);
	buf_done(&small);
	for (size_t i = 0; i <= SETTLER_BATCH_MAX; i++)
		json_decref(list[i].payload);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_eip3009), cmocka_unit_test(test_eip3009_of_a_wallet), cmocka_unit_test(test_permit2),
		cmocka_unit_test(test_unreadable), cmocka_unit_test(test_receiver), cmocka_unit_test(test_permit), cmocka_unit_test(test_batch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
