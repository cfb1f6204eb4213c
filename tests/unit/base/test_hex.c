/* Hex, base64url and the fixed-size words. */
#include "base/base64.h"
#include "base/clock.h"
#include "base/hex.h"
#include "tests/unit/unit.h"

#define A40 "52908400098527886e0f7030069857d2e4169ee7"
#define H64 "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef"

static void hex_both_ways(void **state)
{
	(void)state;
	uint8_t all[256], back[256];
	char text[513];
	for (int i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	hex_encode(all, sizeof(all), text);
	assert_int_equal(strlen(text), 512);
	assert_memory_equal(text, "000102", 6);
	assert_string_equal(text + 506, "fdfeff");
	assert_int_equal(hex_decode(text, 512, back, 256), ERR_OK);
	assert_memory_equal(all, back, 256);
	assert_int_equal(hex_decode("DeAdBeEf", 8, back, 4), ERR_OK);
	assert_memory_equal(back, "\xde\xad\xbe\xef", 4);
	assert_int_equal(hex_decode("", 0, back, 0), ERR_OK);
	hex_encode("", 0, text);
	assert_string_equal(text, "");
}

static void hex_refuses(void **state)
{
	(void)state;
	uint8_t out[4] = { 1, 2, 3, 4 };
	assert_int_equal(hex_decode("0011223", 7, out, 4), ERR_BAD_FIELD);
	assert_int_equal(hex_decode("001122", 6, out, 4), ERR_BAD_FIELD);
	assert_int_equal(hex_decode("0011223344", 10, out, 4), ERR_BAD_FIELD);
	assert_int_equal(hex_decode("0x112233", 8, out, 4), ERR_BAD_FIELD);
	assert_int_equal(hex_decode("0011223g", 8, out, 4), ERR_BAD_FIELD);
	assert_int_equal(hex_decode("001122 3", 8, out, 4), ERR_BAD_FIELD);
	for (int c = 1; c < 256; c++) {
		char s[9] = "0011223";
		s[7] = (char)c;
		bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
		uint8_t tmp[4];
		assert_int_equal(hex_decode(s, 8, tmp, 4), digit ? ERR_OK : ERR_BAD_FIELD);
	}
	assert_memory_equal(out, "\1\2\3\4", 4); /* untouched by refusals */
}

static void addresses(void **state)
{
	(void)state;
	struct address a, b = { { 0 } };
	assert_int_equal(address_parse("0x" A40, &a), ERR_OK);
	assert_string_equal(address_format(&a).s, "0x" A40);
	assert_int_equal(address_parse("0x52908400098527886E0F7030069857D2E4169EE7", &b), ERR_OK);
	assert_true(address_equal(&a, &b));
	b.b[19] ^= 1;
	assert_false(address_equal(&a, &b));
	assert_false(address_is_zero(&a));
	assert_true(address_is_zero(&(struct address){ { 0 } }));
	static const char *const bad[] = { "", "0", "0x", A40, "0X" A40, "0x" A40 "0", "0x" A40 "00", "0x5290840009852788", " 0x" A40,
					   "0x" A40 " ", "0x52908400098527886e0f7030069857d2e4169eeg" };
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(address_parse(bad[i], &b), ERR_BAD_FIELD);
	assert_int_equal(address_parse(NULL, &b), ERR_BAD_FIELD);
}

static void hashes(void **state)
{
	(void)state;
	struct hash a, b;
	assert_int_equal(hash_parse("0x" H64, &a), ERR_OK);
	assert_string_equal(hash_format(&a).s, "0x" H64);
	assert_int_equal(hash_parse(H64, &b), ERR_OK);
	assert_true(hash_equal(&a, &b));
	memset(&b, 0, sizeof(b));
	assert_int_equal(hash_parse("sha256:" H64, &b), ERR_OK);
	assert_true(hash_equal(&a, &b));
	for (int i = 0; i < 256; i++) { /* every single bit counts */
		b = a;
		b.b[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_false(hash_equal(&a, &b));
	}
	static const char *const bad[] = { "", "0x", "sha256:", "sha256:0x" H64, "0xsha256:" H64, "sha512:" H64, "SHA256:" H64, H64 "0",
					   "0x" H64 "0", "0x0x" H64, "0x1122", "0X" H64 };
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(hash_parse(bad[i], &b), ERR_BAD_FIELD);
	assert_int_equal(hash_parse(NULL, &b), ERR_BAD_FIELD);
}

static void uuids(void **state)
{
	(void)state;
	struct uuid u, v;
	const char *text = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
	assert_int_equal(uuid_parse(text, &u), ERR_OK);
	assert_string_equal(uuid_format(&u).s, text);
	assert_int_equal(uuid_parse("017F22E2-79B0-7CC3-98C4-DC0C0C07398F", &v), ERR_OK);
	assert_memory_equal(&u, &v, sizeof(u));
	static const char *const bad[] = { "", "017f22e279b07cc398c4dc0c0c07398f", "017f22e2-79b0-7cc3-98c4-dc0c0c07398",
					   "017f22e2-79b0-7cc3-98c4-dc0c0c07398f0", "017f22e2-79b0-7cc3-98c4+dc0c0c07398f",
					   "{017f22e2-79b0-7cc3-98c4-dc0c0c0739}", "017f22e-279b0-7cc3-98c4-dc0c0c07398f",
					   "017f22e2-79b0-7cc3-98c4-dc0c0c07398-" };
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(uuid_parse(bad[i], &v), ERR_BAD_FIELD);
	assert_int_equal(uuid_parse(NULL, &v), ERR_BAD_FIELD);
}

static void new_uuids_are_version_7_now_and_distinct(void **state)
{
	(void)state;
	struct uuid seen[200];
	for (size_t i = 0; i < COUNT_OF(seen); i++) {
		uint64_t before = (uint64_t)clock_wall_ms(), at = 0;
		seen[i] = uuid_new();
		uint64_t after = (uint64_t)clock_wall_ms();
		for (int k = 0; k < 6; k++)
			at = at << 8 | seen[i].b[k];
		assert_true(at >= before && at <= after);
		assert_int_equal(seen[i].b[6] >> 4, 7);
		assert_int_equal(seen[i].b[8] >> 6, 2);
		for (size_t k = 0; k < i; k++)
			assert_memory_not_equal(&seen[i], &seen[k], sizeof(seen[i]));
	}
}

static void base64url_vectors(void **state)
{
	(void)state;
	static const struct {
		const char *plain, *text;
	} rfc4648[] = { { "", "" }, { "f", "Zg" }, { "fo", "Zm8" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg" },
			{ "fooba", "Zm9vYmE" }, { "foobar", "Zm9vYmFy" }, { "\xfb\xff\xbf", "-_-_" } };
	for (size_t i = 0; i < COUNT_OF(rfc4648); i++) {
		char text[16];
		uint8_t back[16];
		size_t len = strlen(rfc4648[i].plain), back_len = 99;
		assert_int_equal(base64url_encoded_len(len), strlen(rfc4648[i].text));
		base64url_encode(rfc4648[i].plain, len, text);
		assert_string_equal(text, rfc4648[i].text);
		assert_int_equal(base64url_decode(text, strlen(text), back, sizeof(back), &back_len), ERR_OK);
		assert_int_equal(back_len, len);
		assert_memory_equal(back, rfc4648[i].plain, len);
	}
}

static void base64url_refuses(void **state)
{
	(void)state;
	uint8_t out[8];
	size_t len = 5;
	/* "Zh" to "Zm-" have stray bits; '+' and '/' are the other alphabet */
	static const char *const bad[] = { "Z", "Zm9vY", "Zg==", "Zh", "Zi", "Zk", "Zo", "Zm9", "Zm-", "Zm+v", "Zm/v", "Zm 9", "Zm9\n", "Zm9v=" };
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(base64url_decode(bad[i], strlen(bad[i]), out, sizeof(out), &len), ERR_BAD_FIELD);
	assert_int_equal(base64url_decode("Zm9vYmFy", 8, out, 5, &len), ERR_LIMIT);
	assert_int_equal(len, 5);
	assert_int_equal(base64url_decode("Zm9vYmFy", 8, out, 6, &len), ERR_OK);
	assert_int_equal(len, 6);
}

static void base64url_round_trip(void **state)
{
	(void)state;
	uint8_t in[300], out[300];
	char text[401];
	random_bytes(in, sizeof(in));
	for (size_t n = 0; n <= sizeof(in); n++) {
		size_t len = 0;
		base64url_encode(in, n, text);
		assert_int_equal(strlen(text), base64url_encoded_len(n));
		assert_int_equal(base64url_decode(text, strlen(text), out, n, &len), ERR_OK);
		assert_int_equal(len, n);
		if (n)
			assert_memory_equal(in, out, n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hex_both_ways),
		cmocka_unit_test(hex_refuses),
		cmocka_unit_test(addresses),
		cmocka_unit_test(hashes),
		cmocka_unit_test(uuids),
		cmocka_unit_test(new_uuids_are_version_7_now_and_distinct),
		cmocka_unit_test(base64url_vectors),
		cmocka_unit_test(base64url_refuses),
		cmocka_unit_test(base64url_round_trip),
	};
	return RUN_TESTS(tests);
}
