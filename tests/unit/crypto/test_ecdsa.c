/* Signing, recovery and what recovery refuses; addresses and their checksums. */
#include "crypto/crypto.h"
#include "tests/unit/unit.h"

#include <pthread.h>

static struct secret_key key_of(const char *hex)
{
	struct secret_key k;
	assert_int_equal(secret_key_parse(hex, &k), ERR_OK);
	return k;
}

static struct signature sig_of(const char *hex)
{
	struct signature s;
	assert_int_equal(signature_parse(hex, &s), ERR_OK);
	return s;
}

static void published_signatures(void **state)
{
	(void)state;
	struct hash digest;
	struct signature sig;
	struct address who;
	/* RFC 6979 on this curve: key 1, SHA-256 */
	struct secret_key one = key_of("0000000000000000000000000000000000000000000000000000000000000001");
	sha256_of("Satoshi Nakamoto", 16, &digest);
	ecdsa_sign(&one, &digest, &sig);
	assert_memory_equal(signature_format(&sig).s,
			    "0x934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
			    "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5", 130);
	secret_key_address(&one, &who);
	assert_string_equal(address_format_eip55(&who).s, "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf");
	/* the personal_sign example of the web3.js documentation */
	struct secret_key doc = key_of("0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318");
	eip191_digest("Some data", 9, &digest);
	assert_string_equal(hash_format(&digest).s, "0x1da44b586eb0729ff70a73c326926f6ed5a25f5b056e7f47fbc6e58d86871655");
	ecdsa_sign(&doc, &digest, &sig);
	assert_string_equal(signature_format(&sig).s,
			    "0xb91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd"
			    "6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c");
	assert_int_equal(ecdsa_recover(&digest, &sig, &who), ERR_OK);
	assert_string_equal(address_format_eip55(&who).s, "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23");
}

/* n - s, big-endian. */
static void negate(const uint8_t s[32], uint8_t ret[32])
{
	static const uint8_t n[32] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
		0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
	};
	int borrow = 0;
	for (int i = 31; i >= 0; i--) {
		int d = n[i] - s[i] - borrow;
		borrow = d < 0;
		ret[i] = (uint8_t)d;
	}
}

static void signs_low_and_recovers(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++) {
		struct secret_key key;
		struct hash digest;
		struct signature sig, again;
		struct address who, owner;
		uint8_t other[32];
		assert_int_equal(secret_key_new(&key), ERR_OK);
		random_bytes(digest.b, sizeof(digest.b));
		secret_key_address(&key, &owner);
		ecdsa_sign(&key, &digest, &sig);
		ecdsa_sign(&key, &digest, &again);
		assert_memory_equal(&sig, &again, sizeof(sig)); /* deterministic */
		assert_true(sig.b[64] == 27 || sig.b[64] == 28);
		negate(sig.b + 32, other);
		assert_true(memcmp(sig.b + 32, other, 32) < 0); /* the lower of the two */
		assert_int_equal(ecdsa_recover(&digest, &sig, &who), ERR_OK);
		assert_true(address_equal(&who, &owner));

		/* The malleable twin is valid mathematics, and refused. */
		memcpy(again.b + 32, other, 32);
		again.b[64] = (uint8_t)(sig.b[64] ^ 27 ^ 28);
		assert_int_equal(ecdsa_recover(&digest, &again, &who), ERR_BAD_SIGNATURE);

		/* Any changed bit gives another signer or none. */
		uint32_t bit;
		random_bytes(&bit, sizeof(bit));
		again = sig;
		again.b[bit / 8 % 64] ^= (uint8_t)(1 << bit % 8);
		if (ecdsa_recover(&digest, &again, &who) == ERR_OK)
			assert_false(address_equal(&who, &owner));
		digest.b[bit / 8 % 32] ^= (uint8_t)(1 << bit % 8);
		if (ecdsa_recover(&digest, &sig, &who) == ERR_OK)
			assert_false(address_equal(&who, &owner));
	}
}

#define R "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
#define S "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5"
#define ZERO "0000000000000000000000000000000000000000000000000000000000000000"
#define HALF "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0"
#define HALF_AND_ONE "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a1"
#define ORDER "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
#define ONES "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

static void recovery_refuses(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"0x" R S "00", "0x" R S "01", "0x" R S "1a", "0x" R S "1d", "0x" R S "ff", /* v */
		"0x" ZERO S "1b", "0x" R ZERO "1b", "0x" ZERO ZERO "1b",
		"0x" ORDER S "1b", "0x" ONES S "1b", "0x" R ORDER "1b", "0x" R ONES "1b",
		"0x" R HALF_AND_ONE "1b", "0x" R HALF_AND_ONE "1c",
		"0x0000000000000000000000000000000000000000000000000000000000000005" S "1b", /* not the x of a point */
	};
	struct hash digest;
	sha256_of("Satoshi Nakamoto", 16, &digest);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct signature sig = sig_of(bad[i]);
		struct address who = { { 0x5a } }, before = who;
		if (ecdsa_recover(&digest, &sig, &who) != ERR_BAD_SIGNATURE)
			fail_msg("accepted: %s", bad[i]);
		assert_true(address_equal(&who, &before));
	}
	/* The largest low s is still fine. */
	struct signature edge = sig_of("0x" R HALF "1b");
	struct address who;
	assert_int_equal(ecdsa_recover(&digest, &edge, &who), ERR_OK);
}

static void signature_text(void **state)
{
	(void)state;
	struct signature sig = sig_of("0x" R S "1b"), other = { { 7 } };
	assert_string_equal(signature_format(&sig).s, "0x" R S "1b");
	static const char *const bad[] = { "", "0x", R S "1b", "0x" R S, "0x" R S "1", "0x" R S "1b0", "0x" R S "1b00", "0x" R S "1g", "0X" R S "1b" };
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(signature_parse(bad[i], &other), ERR_BAD_FIELD);
	assert_int_equal(signature_parse(NULL, &other), ERR_BAD_FIELD);
	assert_int_equal(other.b[0], 7);
}

/* The test cases of EIP-55 itself. */
static void checksummed_addresses(void **state)
{
	(void)state;
	static const char *const good[] = {
		"0x52908400098527886E0F7030069857D2E4169EE7", "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
		"0xde709f2102306220921060314715629080e2fb77", "0x27b1fdb04752bbc536007a920d24acb045561c26",
		"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
		"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB", "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
	};
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		struct address a;
		char text[43];
		assert_int_equal(address_parse(good[i], &a), ERR_OK);
		assert_string_equal(address_format_eip55(&a).s, good[i]);
		assert_true(address_checksum_ok(good[i]));
		assert_true(address_checksum_ok(address_format(&a).s));
		if (i < 4)
			continue; /* one case only: nothing to get wrong */
		for (int k = 2; k < 42; k++) {
			memcpy(text, good[i], sizeof(text));
			if (text[k] < 'A')
				continue;
			text[k] ^= 0x20;
			assert_false(address_checksum_ok(text));
		}
	}
	assert_true(address_checksum_ok("0x5AAEB6053F3E94C9B9A09F33669435E7EF1BEAED"));
	assert_true(address_checksum_ok("0x0000000000000000000000000000000000000001"));
	assert_false(address_checksum_ok("5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"));
	assert_false(address_checksum_ok("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe"));
	assert_false(address_checksum_ok(""));
	assert_false(address_checksum_ok(NULL));
}

static void *recover_many(void *arg)
{
	struct secret_key key = key_of("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318");
	struct address owner, who;
	bool *ok = arg;
	*ok = true;
	secret_key_address(&key, &owner);
	for (int i = 0; i < 50; i++) {
		struct hash digest;
		struct signature sig;
		random_bytes(digest.b, sizeof(digest.b));
		ecdsa_sign(&key, &digest, &sig);
		*ok &= ecdsa_recover(&digest, &sig, &who) == ERR_OK && address_equal(&who, &owner);
	}
	return NULL;
}

static void threads(void **state)
{
	(void)state;
	pthread_t t[4];
	bool ok[COUNT_OF(t)];
	for (size_t i = 0; i < COUNT_OF(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, recover_many, &ok[i]), 0);
	for (size_t i = 0; i < COUNT_OF(t); i++) {
		pthread_join(t[i], NULL);
		assert_true(ok[i]);
	}
}

static void sign_with_zero(void *arg)
{
	struct signature sig;
	ecdsa_sign(arg, &(struct hash){ { 1 } }, &sig);
}

static void an_impossible_key_aborts(void **state)
{
	(void)state;
	struct secret_key zero = { { 0 } };
	assert_true(unit_aborts(sign_with_zero, &zero));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_signatures),
		cmocka_unit_test(signs_low_and_recovers),
		cmocka_unit_test(recovery_refuses),
		cmocka_unit_test(signature_text),
		cmocka_unit_test(checksummed_addresses),
		cmocka_unit_test(threads),
		cmocka_unit_test(an_impossible_key_aborts),
	};
	return RUN_TESTS(tests);
}
