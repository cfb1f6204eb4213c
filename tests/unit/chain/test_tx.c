/* Transactions of type 2 against viem's, byte for byte, and what a strict reader refuses. */
#include "tests/unit/unit.h"

#include "chain/tx.h"
#include "tests/unit/chain/bytes.h"
#include "tests/unit/chain/vectors.h"

static struct tx tx_of(const struct tx_vector *v, uint8_t **ret_data)
{
	struct tx tx = { .chain_id = v->chain_id,
			 .nonce = v->nonce,
			 .max_priority_fee = v->max_priority_fee,
			 .max_fee = v->max_fee,
			 .gas = v->gas };
	unhex_into(v->to, tx.to.b, sizeof(tx.to.b));
	uint8_t value[32];
	unhex_into(v->value, value, sizeof(value));
	tx.value = u256_from_be(value);
	tx.data = *ret_data = unhex(v->data, &tx.data_len);
	return tx;
}

static void signs_as_viem(void **state)
{
	(void)state;
	struct secret_key key;
	assert_int_equal(secret_key_parse(TX_KEY, &key), ERR_OK);
	for (size_t i = 0; i < COUNT_OF(TX_VECTORS); i++) {
		const struct tx_vector *v = &TX_VECTORS[i];
		uint8_t *data;
		struct tx tx = tx_of(v, &data);
		struct buf raw = BUF_INIT(TX_RAW_MAX);
		struct hash hash;
		assert_int_equal(tx_sign(&tx, &key, &raw, &hash), ERR_OK);
		expect_hex(&raw, v->raw);
		assert_string_equal(hash_format(&hash).s, v->hash);
		buf_done(&raw);
		free(data);
	}
}

static void reads_back(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(TX_VECTORS); i++) {
		const struct tx_vector *v = &TX_VECTORS[i];
		uint8_t *data;
		size_t len;
		struct tx want = tx_of(v, &data), got;
		uint8_t *raw = unhex(v->raw, &len);
		struct address sender;
		struct hash hash;
		assert_int_equal(tx_parse_signed(raw, len, &got, &sender, &hash), ERR_OK);
		assert_string_equal(address_format(&sender).s, TX_SENDER);
		assert_string_equal(hash_format(&hash).s, v->hash);
		assert_true(got.chain_id == want.chain_id && got.nonce == want.nonce && got.gas == want.gas);
		assert_true(got.max_fee == want.max_fee && got.max_priority_fee == want.max_priority_fee);
		assert_true(address_equal(&got.to, &want.to));
		assert_true(u256_equal(&got.value, &want.value));
		assert_int_equal(got.data_len, want.data_len);
		assert_memory_equal(got.data, want.data, want.data_len);
		assert_true(got.data_len == 0 || (got.data > raw && got.data < raw + len));
		free(raw);
		free(data);
	}
}

static void refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(TX_REFUSED); i++) {
		size_t len;
		uint8_t *raw = unhex(TX_REFUSED[i].raw, &len);
		struct tx tx = { .nonce = 99 };
		struct address sender = { { 9 } };
		struct hash hash = { { 9 } };
		enum err e = tx_parse_signed(raw, len, &tx, &sender, &hash);
		if (e != ERR_BAD_FIELD && e != ERR_BAD_SIGNATURE)
			fail_msg("accepted: %s", TX_REFUSED[i].name);
		assert_true(tx.nonce == 99 && sender.b[0] == 9 && hash.b[0] == 9);
		free(raw);
	}
	struct tx tx;
	struct address sender;
	struct hash hash;
	assert_int_equal(tx_parse_signed(NULL, 0, &tx, &sender, &hash), ERR_BAD_FIELD);
}

/* Every prefix is refused; a flipped bit is refused or names another signer or another transaction, never the same one. */
static void damaged(void **state)
{
	(void)state;
	size_t len;
	uint8_t *raw = unhex(TX_VECTORS[2].raw, &len);
	struct tx tx;
	struct address sender, owner;
	struct hash hash;
	unhex_into(TX_SENDER, owner.b, sizeof(owner.b));
	for (size_t n = 0; n < len; n++) {
		uint8_t *cut = xmalloc(n ? n : 1); /* exactly: a sanitizer sees a byte too far */
		memcpy(cut, raw, n);
		assert_int_equal(tx_parse_signed(cut, n, &tx, &sender, &hash), ERR_BAD_FIELD);
		free(cut);
	}
	size_t read = 0;
	for (size_t bit = 0; bit < 8 * len; bit++) {
		raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (tx_parse_signed(raw, len, &tx, &sender, &hash) == ERR_OK) {
			assert_false(address_equal(&sender, &owner));
			read++;
		}
		raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_in_range(read, 100, 8 * len); /* it looked */
	free(raw);
}

static void limits(void **state)
{
	(void)state;
	struct secret_key key;
	struct hash hash;
	struct buf raw = BUF_INIT(SIZE_MAX / 2);
	uint8_t *data = xcalloc(TX_RAW_MAX, 1);
	assert_int_equal(secret_key_parse(TX_KEY, &key), ERR_OK);
	struct tx tx = { .chain_id = 1, .max_priority_fee = 2, .max_fee = 1, .data = data, .data_len = 0 };
	assert_int_equal(tx_sign(&tx, &key, &raw, &hash), ERR_BAD_FIELD);
	tx.max_fee = 2;
	tx.data_len = TX_RAW_MAX - 100;
	assert_int_equal(tx_sign(&tx, &key, &raw, &hash), ERR_LIMIT);
	assert_int_equal(raw.len, 0);
	tx.data_len = TX_RAW_MAX - 200;
	assert_int_equal(tx_sign(&tx, &key, &raw, &hash), ERR_OK);
	struct tx got;
	struct address sender;
	struct hash again;
	assert_int_equal(tx_parse_signed(raw.data, raw.len, &got, &sender, &again), ERR_OK);
	assert_true(hash_equal(&hash, &again));
	buf_done(&raw);
	raw = BUF_INIT(20); /* the caller's own bound */
	tx.data_len = 0;
	assert_int_equal(buf_puts(&raw, "x"), ERR_OK);
	assert_int_equal(tx_sign(&tx, &key, &raw, &hash), ERR_LIMIT);
	assert_int_equal(raw.len, 1);
	buf_done(&raw);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signs_as_viem), cmocka_unit_test(reads_back), cmocka_unit_test(refuses), cmocka_unit_test(damaged), cmocka_unit_test(limits),
	};
	crypto_init();
	return RUN_TESTS(tests);
}
