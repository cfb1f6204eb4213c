/* Sign-in messages: what viem writes is read, and everything one step away from it is refused. */
#include "auth/siwe.h"
#include "base/clock.h"
#include "tests/unit/unit.h"

#define BASE "http://127.0.0.1:8080"
#define CHAIN 84532
#define NOW 1767225660000 /* a minute after the messages below */

/* viem 2: createSiweMessage and signMessage with the first anvil key */
#define ADDRESS "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
#define HEAD "127.0.0.1:8080 wants you to sign in with your Ethereum account:\n" ADDRESS "\n\n\n"
#define BODY "URI: http://127.0.0.1:8080\nVersion: 1\nChain ID: 84532\nNonce: abcDEF1234567890\nIssued At: 2026-01-01T00:00:00.000Z"
#define PLAIN HEAD BODY
#define PLAIN_SIG \
	"0x3913ffc639297eb02797a2731cfa11b3c910ded109fe524df27d8d26ffad8bc819ebc34fbeadc45023e223234382ca924fbd2d66a8178edd3758bcf9aca2b7481c"
#define FULL \
	"http://127.0.0.1:8080 wants you to sign in with your Ethereum account:\n" ADDRESS "\n\nSign in to opgate.\n\n" \
	"URI: http://127.0.0.1:8080/v1/auth/siwe\nVersion: 1\nChain ID: 84532\nNonce: abcDEF1234567890\nIssued At: 2026-01-01T00:00:00.000Z\n" \
	"Expiration Time: 2026-01-01T00:05:00.000Z\nNot Before: 2026-01-01T00:00:00.000Z\nRequest ID: r-1\nResources:\n- https://example.com/a\n- ipfs://x"
#define FULL_SIG \
	"0x25340d760dbac883393718d5ec8918e85e4f7909460ea8a27988c8153a4cd4651e6af3a7fd4bd9b2c1d039c1e48a9e70f45a1b67ea22d4ec364dd416c2bfb6a31c"

static enum err parse(const char *text, struct siwe_message *m)
{
	struct json_why why = { "" };
	enum err e = siwe_parse(text, strlen(text), m, &why);
	if (e)
		assert_true(strlen(why.text) > 0);
	return e;
}

static enum err check(const char *text, const char *base, uint64_t chain, int64_t now)
{
	struct siwe_message m;
	struct json_why why = { "" };
	enum err e = parse(text, &m);
	return e ? e : siwe_check(&m, base, chain, now, &why);
}

static void viem_plain(void **state)
{
	(void)state;
	struct siwe_message m;
	assert_int_equal(parse(PLAIN, &m), ERR_OK);
	assert_string_equal(m.scheme, "");
	assert_string_equal(m.domain, "127.0.0.1:8080");
	assert_string_equal(m.uri, BASE);
	assert_string_equal(m.nonce.s, "abcDEF1234567890");
	assert_int_equal(m.chain_id, CHAIN);
	assert_int_equal(m.issued_at, 1767225600000);
	assert_int_equal(m.expires_at, 1767225900000); /* five minutes when it does not say */
	assert_int_equal(check(PLAIN, BASE, CHAIN, NOW), ERR_OK);
	assert_int_equal(siwe_verify(&m, PLAIN, strlen(PLAIN), PLAIN_SIG), ERR_OK);
}

static void viem_full(void **state)
{
	(void)state;
	struct siwe_message m;
	assert_int_equal(parse(FULL, &m), ERR_OK);
	assert_string_equal(m.scheme, "http");
	assert_int_equal(m.expires_at, 1767225900000);
	assert_int_equal(m.not_before, 1767225600000);
	assert_int_equal(check(FULL, BASE, CHAIN, NOW), ERR_OK);
	assert_int_equal(check(FULL, BASE "/", CHAIN, NOW), ERR_OK);
	assert_int_equal(siwe_verify(&m, FULL, strlen(FULL), FULL_SIG), ERR_OK);
}

static void wrong_signatures(void **state)
{
	(void)state;
	struct siwe_message m;
	char sig[133];
	assert_int_equal(parse(PLAIN, &m), ERR_OK);
	assert_int_equal(siwe_verify(&m, PLAIN, strlen(PLAIN), FULL_SIG), ERR_BAD_SIGNATURE);
	assert_int_equal(siwe_verify(&m, PLAIN, strlen(PLAIN), ""), ERR_BAD_SIGNATURE);
	assert_int_equal(siwe_verify(&m, PLAIN, strlen(PLAIN), "0x00"), ERR_BAD_SIGNATURE);
	assert_int_equal(siwe_verify(&m, PLAIN " ", strlen(PLAIN) + 1, PLAIN_SIG), ERR_BAD_SIGNATURE);
	for (size_t i = 2; i < 132; i++) { /* any digit changed */
		memcpy(sig, PLAIN_SIG, 133);
		sig[i] = sig[i] == '1' ? '2' : '1';
		assert_int_equal(siwe_verify(&m, PLAIN, strlen(PLAIN), sig), ERR_BAD_SIGNATURE);
	}
	m.address.b[0] ^= 1; /* somebody else's signature */
	assert_int_equal(siwe_verify(&m, PLAIN, strlen(PLAIN), PLAIN_SIG), ERR_BAD_SIGNATURE);
}

static void malformed(void **state)
{
	static const char *const bad[] = {
		"", "\n", "hello", HEAD, BODY,
		"127.0.0.1:8080 wants you to sign in with your Ethereum account\n" ADDRESS "\n\n\n" BODY,
		" wants you to sign in with your Ethereum account:\n" ADDRESS "\n\n\n" BODY,
		"a b wants you to sign in with your Ethereum account:\n" ADDRESS "\n\n\n" BODY,
		"evil@127.0.0.1:8080 wants you to sign in with your Ethereum account:\n" ADDRESS "\n\n\n" BODY,
		"127.0.0.1:8080 wants you to sign in with your Ethereum account:\n" ADDRESS "\n\n" BODY,
		"127.0.0.1:8080 wants you to sign in with your Ethereum account:\n" ADDRESS "\n\n\n\n" BODY,
		"127.0.0.1:8080 wants you to sign in with your Ethereum account:\n" ADDRESS "\n\nstatement\n" BODY,
		"127.0.0.1:8080 wants you to sign in with your Ethereum account:\n" ADDRESS "\n\nsta\ttement\n\n" BODY,
		"127.0.0.1:8080 wants you to sign in with your Ethereum account:\nf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n\n\n" BODY,
		"127.0.0.1:8080 wants you to sign in with your Ethereum account:\n" ADDRESS "0\n\n\n" BODY,
		/* one letter of the checksum in the other case */
		"127.0.0.1:8080 wants you to sign in with your Ethereum account:\n0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n\n\n" BODY,
		HEAD "Version: 1\nURI: http://127.0.0.1:8080\nChain ID: 84532\nNonce: abcDEF1234567890\nIssued At: 2026-01-01T00:00:00.000Z",
		HEAD "URI: http://127.0.0.1:8080/<\nVersion: 1\nChain ID: 84532\nNonce: abcDEF1234567890\nIssued At: 2026-01-01T00:00:00.000Z",
		HEAD "URI: http://127.0.0.1:8080\nVersion: 2\nChain ID: 84532\nNonce: abcDEF1234567890\nIssued At: 2026-01-01T00:00:00.000Z",
		HEAD "URI: http://127.0.0.1:8080\nVersion: 1\nChain ID: 084532\nNonce: abcDEF1234567890\nIssued At: 2026-01-01T00:00:00.000Z",
		HEAD "URI: http://127.0.0.1:8080\nVersion: 1\nChain ID: 0x14a34\nNonce: abcDEF1234567890\nIssued At: 2026-01-01T00:00:00.000Z",
		HEAD "URI: http://127.0.0.1:8080\nVersion: 1\nChain ID: 99999999999999999999\nNonce: abcDEF1234567890\nIssued At: 2026-01-01T00:00:00.000Z",
		HEAD "URI: http://127.0.0.1:8080\nVersion: 1\nChain ID: 84532\nNonce: short12\nIssued At: 2026-01-01T00:00:00.000Z",
		HEAD "URI: http://127.0.0.1:8080\nVersion: 1\nChain ID: 84532\nNonce: abcDEF-1234567890\nIssued At: 2026-01-01T00:00:00.000Z",
		HEAD "URI: http://127.0.0.1:8080\nVersion: 1\nChain ID: 84532\nIssued At: 2026-01-01T00:00:00.000Z",
		HEAD "URI: http://127.0.0.1:8080\nVersion: 1\nChain ID: 84532\nNonce: abcDEF1234567890\nIssued At: 2026-01-01",
		HEAD "URI: http://127.0.0.1:8080\nVersion: 1\nChain ID: 84532\nNonce: abcDEF1234567890\nIssued At: 1767225600",
		PLAIN "\n", PLAIN "\r", PLAIN "\nNonce: abcDEF1234567890", PLAIN "\nhello",
		PLAIN "\nExpiration Time: tomorrow", PLAIN "\nNot Before: x", PLAIN "\nRequest ID: a b", PLAIN "\nRequest ID",
		PLAIN "\nNot Before: 2026-01-01T00:00:00.000Z\nExpiration Time: 2026-01-01T00:01:00.000Z",
		PLAIN "\nExpiration Time: 2026-01-01T00:01:00.000Z\nExpiration Time: 2026-01-01T00:01:00.000Z",
		PLAIN "\nResources: a", PLAIN "\nResources:\nhttps://a", PLAIN "\nResources:\n- ", PLAIN "\nResources:\n- https://a\n",
	};
	(void)state;
	struct siwe_message m;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (parse(bad[i], &m) != ERR_BAD_FIELD)
			fail_msg("accepted: %s", bad[i]);
	struct json_why why;
	assert_int_equal(siwe_parse(PLAIN "\0x", strlen(PLAIN) + 2, &m, &why), ERR_BAD_FIELD);
	char *big = xmalloc(SIWE_MESSAGE_MAX + 2);
	memset(big, 'a', SIWE_MESSAGE_MAX + 1);
	assert_int_equal(siwe_parse(big, SIWE_MESSAGE_MAX + 1, &m, &why), ERR_BAD_FIELD);
	free(big);
	/* every prefix is refused, and none is read past its end */
	for (size_t n = 0; n < strlen(PLAIN) - 1; n++) {
		char *part = xmalloc(n + 1);
		memcpy(part, PLAIN, n);
		enum err e = siwe_parse(part, n, &m, &why);
		assert_true(e == ERR_BAD_FIELD);
		free(part);
	}
}

static void other_sites_and_chains(void **state)
{
	(void)state;
	assert_int_equal(check(PLAIN, "https://gateway.example", CHAIN, NOW), ERR_BAD_SIGNATURE);
	assert_int_equal(check(PLAIN, "http://127.0.0.1:80", CHAIN, NOW), ERR_BAD_SIGNATURE);
	assert_int_equal(check(PLAIN, "http://127.0.0.1", CHAIN, NOW), ERR_BAD_SIGNATURE);
	assert_int_equal(check(PLAIN, BASE, 1, NOW), ERR_BAD_SIGNATURE);
	assert_int_equal(check(FULL, "https://127.0.0.1:8080", CHAIN, NOW), ERR_BAD_SIGNATURE); /* another scheme */
	/* what a phishing page would show: the URI is ours, the domain is its own */
	assert_int_equal(check("evil.example wants you to sign in with your Ethereum account:\n" ADDRESS "\n\n\n" BODY, BASE, CHAIN, NOW), ERR_BAD_SIGNATURE);
	/* the domain is ours, the URI is not, nor begins like it */
	assert_int_equal(check(HEAD "URI: http://evil.example\nVersion: 1\nChain ID: 84532\nNonce: abcDEF1234567890\nIssued At: 2026-01-01T00:00:00Z",
			       BASE, CHAIN, NOW), ERR_BAD_SIGNATURE);
	assert_int_equal(check(HEAD "URI: http://127.0.0.1:80800/\nVersion: 1\nChain ID: 84532\nNonce: abcDEF1234567890\nIssued At: 2026-01-01T00:00:00Z",
			       BASE, CHAIN, NOW), ERR_BAD_SIGNATURE);
	assert_int_equal(check(HEAD "URI: http://127.0.0.1:8080@evil/\nVersion: 1\nChain ID: 84532\nNonce: abcDEF1234567890\nIssued At: 2026-01-01T00:00:00Z",
			       BASE, CHAIN, NOW), ERR_BAD_SIGNATURE);
}

static void times(void **state)
{
	(void)state;
	assert_int_equal(check(PLAIN, BASE, CHAIN, 1767225600000 - SIWE_CLOCK_SKEW_MS), ERR_OK);
	assert_int_equal(check(PLAIN, BASE, CHAIN, 1767225600000 - SIWE_CLOCK_SKEW_MS - 1), ERR_BAD_TOKEN);
	assert_int_equal(check(PLAIN, BASE, CHAIN, 1767225899999), ERR_OK);
	assert_int_equal(check(PLAIN, BASE, CHAIN, 1767225900000), ERR_BAD_TOKEN);
	assert_int_equal(check(PLAIN "\nExpiration Time: 2026-01-01T00:05:00.001Z", BASE, CHAIN, NOW), ERR_BAD_TOKEN); /* longer than five minutes */
	assert_int_equal(check(PLAIN "\nExpiration Time: 2026-01-01T00:00:30Z", BASE, CHAIN, NOW), ERR_BAD_TOKEN);
	assert_int_equal(check(PLAIN "\nExpiration Time: 2025-12-31T23:59:59Z", BASE, CHAIN, NOW), ERR_BAD_TOKEN);
	assert_int_equal(check(PLAIN "\nNot Before: 2026-01-01T00:01:00.001Z", BASE, CHAIN, NOW), ERR_BAD_TOKEN);
	assert_int_equal(check(PLAIN "\nNot Before: 2026-01-01T00:01:00Z", BASE, CHAIN, NOW), ERR_OK);
}

static void nonces(void **state)
{
	(void)state;
	struct siwe_nonce n[SIWE_NONCES_MAX];
	assert_int_equal(siwe_nonces_find(PLAIN, strlen(PLAIN), n), 1);
	assert_string_equal(n[0].s, "abcDEF1234567890");
	/* malformed messages use theirs up too */
	assert_int_equal(siwe_nonces_find("x\nNonce: abcdefgh\r\ny", 19, n), 1);
	assert_string_equal(n[0].s, "abcdefgh");
	assert_int_equal(siwe_nonces_find("Nonce: aaaaaaaa\nNonce: bbbbbbbb", 31, n), 2);
	assert_string_equal(n[1].s, "bbbbbbbb");
	assert_int_equal(siwe_nonces_find(" Nonce: aaaaaaaa", 16, n), 0);
	assert_int_equal(siwe_nonces_find("Nonce: short", 12, n), 0);
	assert_int_equal(siwe_nonces_find("", 0, n), 0);
	struct siwe_nonce a = siwe_nonce_new(), b = siwe_nonce_new();
	assert_int_equal(strlen(a.s), 24);
	assert_string_not_equal(a.s, b.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(viem_plain), cmocka_unit_test(viem_full), cmocka_unit_test(wrong_signatures), cmocka_unit_test(malformed),
		cmocka_unit_test(other_sites_and_chains), cmocka_unit_test(times), cmocka_unit_test(nonces),
	};
	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
