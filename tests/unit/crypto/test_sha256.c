/* SHA-256 and HMAC against published vectors; reuse, peeking and threads. */
#include "crypto/crypto.h"
#include "tests/unit/unit.h"

#include <pthread.h>

static void assert_hash(const struct hash *h, const char *hex)
{
	assert_string_equal(hash_format(h).s + 2, hex);
}

#define SHA_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SHA_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define SHA_MILLION_A "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

static void published_vectors(void **state)
{
	(void)state;
	struct hash h;
	sha256_of("", 0, &h);
	assert_hash(&h, SHA_EMPTY);
	sha256_of(NULL, 0, &h);
	assert_hash(&h, SHA_EMPTY);
	sha256_of("abc", 3, &h);
	assert_hash(&h, SHA_ABC);
	const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
	sha256_of(two, strlen(two), &h);
	assert_hash(&h, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void incremental_peek_and_reuse(void **state)
{
	(void)state;
	char block[1000];
	struct hash h;
	struct sha256 *s = sha256_new();
	memset(block, 'a', sizeof(block));
	for (int round = 0; round < 2; round++) { /* the second round uses the object left by final */
		sha256_peek(s, &h);
		assert_hash(&h, SHA_EMPTY);
		for (int i = 0; i < 1000; i++) {
			sha256_update(s, block, sizeof(block));
			if (i == 500)
				sha256_peek(s, &h); /* must not disturb what follows */
		}
		sha256_peek(s, &h);
		assert_hash(&h, SHA_MILLION_A);
		sha256_final(s, &h);
		assert_hash(&h, SHA_MILLION_A);
	}
	sha256_update(s, "a", 1);
	sha256_update(s, "", 0);
	sha256_of("other", 5, &h); /* the scratch context is not the object's */
	sha256_update(s, "bc", 2);
	sha256_final(s, &h);
	assert_hash(&h, SHA_ABC);
	sha256_free(s);
	sha256_free(NULL);
}

static void two_objects_are_independent(void **state)
{
	(void)state;
	struct sha256 *a = sha256_new(), *b = sha256_new();
	struct hash h;
	sha256_update(a, "ab", 2);
	sha256_update(b, "xyz", 3);
	sha256_update(a, "c", 1);
	sha256_final(a, &h);
	assert_hash(&h, SHA_ABC);
	sha256_final(b, &h);
	assert_hash(&h, "3608bca1e44ea6c4d268eb6db02260269892c0b42b86bbf1e77a6fa16c3c9282");
	sha256_free(a);
	sha256_free(b);
}

static void hmac_rfc4231(void **state)
{
	(void)state;
	uint8_t key[131], data[50];
	struct hash h;
	memset(key, 0x0b, 20);
	hmac_sha256(key, 20, "Hi There", 8, &h);
	assert_hash(&h, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, &h);
	assert_hash(&h, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, 131);
	memset(data, 0xdd, 50);
	hmac_sha256(key, 20, data, 50, &h);
	assert_hash(&h, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
	const char *larger = "Test Using Larger Than Block-Size Key - Hash Key First";
	hmac_sha256(key, 131, larger, strlen(larger), &h);
	assert_hash(&h, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	hmac_sha256(NULL, 0, NULL, 0, &h);
	assert_hash(&h, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
	/* the key and the message may not blur into each other, nor a block-size key into its hash */
	struct hash a, b, c;
	hmac_sha256(key, 64, "m", 1, &a);
	assert_hash(&a, "cdb5d9cab7afaa5ababb13c058c1744bfc88f7b7fc848616dbb904d3fc058a1e");
	hmac_sha256(key, 65, "m", 1, &b);
	sha256_of(key, 65, &c);
	hmac_sha256(c.b, 32, "m", 1, &c);
	assert_false(hash_equal(&a, &b));
	assert_true(hash_equal(&b, &c));
}

static void *hash_many(void *arg)
{
	bool *ok = arg;
	struct hash want, h;
	*ok = hash_parse(SHA_ABC, &want) == ERR_OK;
	struct sha256 *s = sha256_new();
	for (int i = 0; i < 5000; i++) {
		sha256_of("abc", 3, &h);
		*ok &= hash_equal(&h, &want);
		sha256_update(s, "abc", 3);
		sha256_peek(s, &h);
		*ok &= hash_equal(&h, &want);
		sha256_final(s, &h);
		*ok &= hash_equal(&h, &want);
	}
	sha256_free(s);
	return NULL;
}

static void threads(void **state)
{
	(void)state;
	pthread_t t[4];
	bool ok[COUNT_OF(t)];
	for (size_t i = 0; i < COUNT_OF(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, hash_many, &ok[i]), 0);
	for (size_t i = 0; i < COUNT_OF(t); i++) {
		pthread_join(t[i], NULL);
		assert_true(ok[i]);
	}
}

static void constant_time_words(void **state)
{
	(void)state;
	char a[] = "same bytes", b[] = "same bytes";
	assert_true(crypto_equal(a, b, sizeof(a)));
	assert_true(crypto_equal(a, "x", 0));
	b[9] ^= 1;
	assert_false(crypto_equal(a, b, sizeof(a)));
	assert_false(crypto_equal(a, b, 10));
	assert_true(crypto_equal(a, b, 9));
	crypto_wipe(a, sizeof(a));
	for (size_t i = 0; i < sizeof(a); i++)
		assert_int_equal(a[i], 0);
	crypto_init();
	crypto_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_vectors),
		cmocka_unit_test(incremental_peek_and_reuse),
		cmocka_unit_test(two_objects_are_independent),
		cmocka_unit_test(hmac_rfc4231),
		cmocka_unit_test(threads),
		cmocka_unit_test(constant_time_words),
	};
	return RUN_TESTS(tests);
}
