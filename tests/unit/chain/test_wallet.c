/* Wallets with code, asked whether they signed: yes, no, and not learned. */
#include "chain/wallet.h"
#include "tests/unit/chain/bytes.h"
#include "tests/unit/chain/fake_chain.h"

#define ZEROS "00000000000000000000000000000000000000000000000000000000"

static void what_wallets_say(void **state)
{
	(void)state;
	static const struct {
		const char *result, *whole;
		enum err e;
		bool accepts;
	} rows[] = {
		{ .result = "\"0x1626ba7e" ZEROS "\"", .accepts = true },
		{ .result = "\"0x1626ba7f" ZEROS "\"" },
		{ .result = "\"0x1626ba7e\"" },
		{ .result = "\"0x1626ba7e" ZEROS "00\"" },
		{ .result = "\"0x\"" }, /* no code there */
		{ .whole = "{\"jsonrpc\":\"2.0\",\"id\":ID,\"error\":{\"code\":3,\"message\":\"execution reverted\",\"data\":\"0x1626ba7e" ZEROS "\"}}" },
		{ .whole = "{\"jsonrpc\":\"2.0\",\"id\":ID,\"error\":{\"code\":-32005,\"message\":\"limit exceeded\"}}", .e = ERR_CHAIN_DOWN },
		{ .result = "7", .e = ERR_CHAIN_DOWN },
		{ .whole = "", .e = ERR_CHAIN_DOWN },
	};
	const struct address wallet = { { 0xaa } };
	const struct hash digest = { { 0xbb } };

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct fake_answer a = { .method = "eth_call", .result = rows[i].result, .whole = rows[i].whole };
		bool accepts = false;

		fake_set(&fake, &a, 1);
		assert_int_equal(wallet_accepts(chain, &wallet, &digest, "signature", 9, 50000, &accepts), rows[i].e);
		assert_int_equal(accepts, rows[i].accepts);
	}
	assert_true(fake_was_asked(&fake, "\"gas\":\"0xc350\""));
}

static void what_is_read(void **state)
{
	(void)state;
	static const char *const refused[] = { "", "0x", "1234", "0x1", "0x12g4", "0X1234", "0x12 4" };
	uint8_t bytes[WALLET_SIGNATURE_MAX];
	char text[2 * WALLET_SIGNATURE_MAX + 5] = "0x";
	size_t len = 0;

	for (size_t i = 0; i < COUNT_OF(refused); i++)
		assert_int_equal(wallet_signature_read(refused[i], bytes, &len), ERR_BAD_FIELD);
	assert_int_equal(wallet_signature_read("0x12aB", bytes, &len), ERR_OK);
	assert_int_equal(len, 2);
	assert_memory_equal(bytes, "\x12\xab", 2);
	memset(text + 2, 'f', 2 * WALLET_SIGNATURE_MAX);
	assert_int_equal(wallet_signature_read(text, bytes, &len), ERR_OK);
	assert_int_equal(len, WALLET_SIGNATURE_MAX);
	memset(text + 2, 'f', 2 * WALLET_SIGNATURE_MAX + 2);
	assert_int_equal(wallet_signature_read(text, bytes, &len), ERR_BAD_FIELD);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(what_wallets_say), cmocka_unit_test(what_is_read) };

	return RUN_TESTS_OF_CHAIN(tests);
}
