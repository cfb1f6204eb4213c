/* The text of API keys. */
#include "auth/apikey.h"
#include "tests/unit/unit.h"

static void made_keys_are_well_formed(void **state)
{
	(void)state;
	for (int i = 0; i < 200; i++) {
		struct apikey a = apikey_new(), b = apikey_new();
		assert_int_equal(strlen(a.s), APIKEY_LEN);
		assert_true(apikey_shaped(a.s));
		assert_true(apikey_well_formed(a.s));
		assert_string_not_equal(a.s, b.s);
	}
}

static void checksum_by_hand(void **state)
{
	(void)state;
	/* CRC-32 of "ogk_" and forty zeros, in base 62, computed with another program */
	assert_true(apikey_well_formed("ogk_00000000000000000000000000000000000000001DYboY"));
}

static void mistyped_keys(void **state)
{
	(void)state;
	struct apikey key = apikey_new();
	for (size_t i = 0; i < APIKEY_LEN; i++) { /* any character changed */
		struct apikey k = key;
		k.s[i] = k.s[i] == 'x' ? 'y' : 'x';
		assert_false(apikey_well_formed(k.s));
	}
	for (size_t i = 5; i < APIKEY_LEN; i++) { /* any two neighbours exchanged */
		struct apikey k = key;
		k.s[i] = key.s[i - 1];
		k.s[i - 1] = key.s[i];
		assert_int_equal(apikey_well_formed(k.s), strcmp(k.s, key.s) == 0);
	}
	struct apikey cut = key;
	cut.s[APIKEY_LEN - 1] = '\0';
	assert_false(apikey_well_formed(cut.s));
	assert_false(apikey_well_formed(""));
	assert_false(apikey_well_formed("ogk_"));
	assert_false(apikey_shaped("sk-000000000000000000000000000000000000000000000000"));
	assert_false(apikey_shaped(""));
	assert_false(apikey_shaped("OGK_"));
}

static void hash_is_sha256_of_the_text(void **state)
{
	(void)state;
	struct hash a, b;
	apikey_hash("ogk_x", &a);
	sha256_of("ogk_x", 5, &b);
	assert_memory_equal(&a, &b, sizeof(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(made_keys_are_well_formed), cmocka_unit_test(checksum_by_hand), cmocka_unit_test(mistyped_keys), cmocka_unit_test(hash_is_sha256_of_the_text),
	};
	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
