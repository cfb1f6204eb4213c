/* Tokens: ours pass, and a corpus of tokens that must not. Most of these pass a bare jwt_decode of libjwt 1.10. */
#include "auth/jwt.h"
#include "base/base64.h"
#include "tests/unit/unit.h"

#define ISSUER "http://127.0.0.1:8080"
#define NOW 1767225600
#define GOOD_HEADER "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define SUB "\"sub\":\"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266\""
#define IDENTITY "\"iss\":\"" ISSUER "\",\"aud\":\"opgate\"," SUB ",\"account\":7"
#define TIMES "\"iat\":1767225600,\"nbf\":1767225600,\"exp\":1767226500,\"auth_time\":1767225000"
#define GOOD_CLAIMS "{" IDENTITY "," TIMES "}"

static const uint8_t KEY[32] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };
static const char PUBLIC_KEY[] =
	"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\nq9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==\n-----END PUBLIC KEY-----\n";

static char *b64(const void *p, size_t len)
{
	char *s = xmalloc(base64url_encoded_len(len) + 1);
	base64url_encode(p, len, s);
	return s;
}

/* A token of any header and claims, signed HS256 with any key. */
static char *forge(const char *header, const char *claims, const void *key, size_t key_len)
{
	_cleanup_free_ char *h = b64(header, strlen(header)), *c = b64(claims, strlen(claims));
	_cleanup_free_ char *input = xasprintf("%s.%s", h, c);
	struct hash mac;
	hmac_sha256(key, key_len, input, strlen(input), &mac);
	_cleanup_free_ char *sig = b64(&mac, sizeof(mac));
	return xasprintf("%s.%s", input, sig);
}

static enum err check_at(const char *token, int64_t now)
{
	struct token_claims claims = { .account = -1 };
	struct json_why why = { "" };
	enum err e = token_check(KEY, ISSUER, now, token, &claims, &why);
	if (e) {
		assert_int_equal(claims.account, -1); /* nothing written on failure */
		assert_true(strlen(why.text) > 0);
	}
	return e;
}

static void ours_pass(void **state)
{
	(void)state;
	struct token_claims made = { .account = 7, .signed_in_at = NOW - 100 }, read;
	struct json_why why;
	memset(&made.address, 0xab, sizeof(made.address));
	_cleanup_free_ char *token = token_make(KEY, ISSUER, NOW, &made);
	assert_true(token_shaped(token));
	assert_int_equal(token_check(KEY, ISSUER, NOW, token, &read, &why), ERR_OK);
	assert_int_equal(read.account, 7);
	assert_true(address_equal(&read.address, &made.address));
	assert_int_equal(read.issued_at, NOW);
	assert_int_equal(read.expires_at, NOW + TOKEN_LIFETIME_S);
	assert_int_equal(read.signed_in_at, NOW - 100);
	assert_int_equal(check_at(token, NOW + TOKEN_LIFETIME_S - 1), ERR_OK);
	assert_int_equal(check_at(token, NOW + TOKEN_LIFETIME_S), ERR_BAD_TOKEN);
	assert_int_equal(check_at(token, NOW - 60), ERR_BAD_TOKEN);
	uint8_t other[32] = { 9 };
	assert_int_equal(token_check(other, ISSUER, NOW, token, &read, &why), ERR_BAD_TOKEN);
	assert_int_equal(token_check(KEY, "http://other", NOW, token, &read, &why), ERR_BAD_TOKEN);
}

static void forge_works(void **state)
{
	(void)state; /* otherwise the corpus below would be refused for the wrong reason */
	_cleanup_free_ char *token = forge(GOOD_HEADER, GOOD_CLAIMS, KEY, sizeof(KEY));
	assert_int_equal(check_at(token, NOW), ERR_OK);
}

/* Correctly signed with our key, and still not ours. */
static void signed_corpus(void **state)
{
	static const struct {
		const char *header, *claims;
	} bad[] = {
		{ "{\"alg\":\"none\",\"typ\":\"JWT\"}", GOOD_CLAIMS },
		{ "{\"alg\":\"NONE\",\"typ\":\"JWT\"}", GOOD_CLAIMS },
		{ "{\"alg\":\"hs256\",\"typ\":\"JWT\"}", GOOD_CLAIMS },
		{ "{\"alg\":\"HS256 \",\"typ\":\"JWT\"}", GOOD_CLAIMS },
		{ "{\"alg\":\"HS384\",\"typ\":\"JWT\"}", GOOD_CLAIMS },
		{ "{\"alg\":\"RS256\",\"typ\":\"JWT\"}", GOOD_CLAIMS },
		{ "{\"alg\":\"ES256\",\"typ\":\"JWT\"}", GOOD_CLAIMS },
		{ "{\"alg\":[\"HS256\"],\"typ\":\"JWT\"}", GOOD_CLAIMS },
		{ "{\"alg\":\"HS256\",\"alg\":\"HS256\",\"typ\":\"JWT\"}", GOOD_CLAIMS },
		{ "{\"alg\":\"HS256\"}", GOOD_CLAIMS },
		{ "{\"alg\":\"HS256\",\"typ\":\"jwe\"}", GOOD_CLAIMS },
		{ "{\"typ\":\"JWT\"}", GOOD_CLAIMS },
		{ "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"../../dev/null\"}", GOOD_CLAIMS },
		{ "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"crit\":[\"b64\"],\"b64\":false}", GOOD_CLAIMS },
		{ "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"jwk\":{}}", GOOD_CLAIMS },
		{ "[]", GOOD_CLAIMS }, { "{}", GOOD_CLAIMS }, { "{\"alg\"", GOOD_CLAIMS },
		{ GOOD_HEADER, "{}" }, { GOOD_HEADER, "[]" }, { GOOD_HEADER, "\"x\"" }, { GOOD_HEADER, "{" },
		/* expired, not yet valid, from the future, too long, never ending */
		{ GOOD_HEADER, "{" IDENTITY ",\"iat\":1767224000,\"nbf\":1767224000,\"exp\":1767224900,\"auth_time\":1767224000}" },
		{ GOOD_HEADER, "{" IDENTITY ",\"iat\":1767225600,\"nbf\":1767225660,\"exp\":1767226500,\"auth_time\":1767225600}" },
		{ GOOD_HEADER, "{" IDENTITY ",\"iat\":1767225660,\"nbf\":1767225600,\"exp\":1767226500,\"auth_time\":1767225600}" },
		{ GOOD_HEADER, "{" IDENTITY ",\"iat\":1767225600,\"nbf\":1767225600,\"exp\":1767226501,\"auth_time\":1767225600}" },
		{ GOOD_HEADER, "{" IDENTITY ",\"iat\":1767225600,\"nbf\":1767225600,\"exp\":9223372036854775807,\"auth_time\":1767225600}" },
		{ GOOD_HEADER, "{" IDENTITY ",\"iat\":1767225600,\"nbf\":1767225600,\"exp\":1767226500,\"auth_time\":1767225601}" },
		/* times that are no integers */
		{ GOOD_HEADER, "{" IDENTITY ",\"iat\":1767225600,\"nbf\":1767225600,\"exp\":1767226500.0,\"auth_time\":1767225600}" },
		{ GOOD_HEADER, "{" IDENTITY ",\"iat\":1767225600,\"nbf\":1767225600,\"exp\":\"1767226500\",\"auth_time\":1767225600}" },
		{ GOOD_HEADER, "{" IDENTITY ",\"iat\":1767225600,\"nbf\":1767225600,\"exp\":1.7e9,\"auth_time\":1767225600}" },
		{ GOOD_HEADER, "{" IDENTITY ",\"iat\":1767225600,\"nbf\":1767225600,\"exp\":-1,\"auth_time\":1767225600}" },
		{ GOOD_HEADER, "{" IDENTITY ",\"iat\":1767225600,\"nbf\":1767225600,\"exp\":null,\"auth_time\":1767225600}" },
		{ GOOD_HEADER, "{" IDENTITY ",\"iat\":1767225600,\"nbf\":1767225600,\"exp\":1,\"exp\":1767226500,\"auth_time\":1767225600}" },
		/* a missing or wrong claim */
		{ GOOD_HEADER, "{" IDENTITY ",\"iat\":1767225600,\"nbf\":1767225600,\"auth_time\":1767225600}" },
		{ GOOD_HEADER, "{" IDENTITY ",\"nbf\":1767225600,\"exp\":1767226500,\"auth_time\":1767225600}" },
		{ GOOD_HEADER, "{" IDENTITY ",\"iat\":1767225600,\"nbf\":1767225600,\"exp\":1767226500}" },
		{ GOOD_HEADER, "{\"aud\":\"opgate\"," SUB ",\"account\":7," TIMES "}" },
		{ GOOD_HEADER, "{\"iss\":\"" ISSUER "\"," SUB ",\"account\":7," TIMES "}" },
		{ GOOD_HEADER, "{\"iss\":\"" ISSUER "\",\"aud\":\"opgate\",\"account\":7," TIMES "}" },
		{ GOOD_HEADER, "{\"iss\":\"" ISSUER "\",\"aud\":\"opgate\"," SUB "," TIMES "}" },
		{ GOOD_HEADER, "{\"iss\":\"http://evil\",\"aud\":\"opgate\"," SUB ",\"account\":7," TIMES "}" },
		{ GOOD_HEADER, "{\"iss\":\"" ISSUER "\",\"aud\":\"other\"," SUB ",\"account\":7," TIMES "}" },
		{ GOOD_HEADER, "{\"iss\":\"" ISSUER "\",\"aud\":[\"opgate\"]," SUB ",\"account\":7," TIMES "}" },
		{ GOOD_HEADER, "{\"iss\":\"" ISSUER "\",\"aud\":\"opgate\",\"sub\":\"root\",\"account\":7," TIMES "}" },
		{ GOOD_HEADER, "{\"iss\":\"" ISSUER "\",\"aud\":\"opgate\"," SUB ",\"account\":0," TIMES "}" },
		{ GOOD_HEADER, "{\"iss\":\"" ISSUER "\",\"aud\":\"opgate\"," SUB ",\"account\":\"7\"," TIMES "}" },
		{ GOOD_HEADER, "{" IDENTITY "," TIMES ",\"admin\":true}" },
	};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		_cleanup_free_ char *token = forge(bad[i].header, bad[i].claims, KEY, sizeof(KEY));
		if (check_at(token, NOW) != ERR_BAD_TOKEN)
			fail_msg("accepted: %s %s", bad[i].header, bad[i].claims);
	}
}

/* The right words under a wrong signature. */
static void forged_corpus(void **state)
{
	(void)state;
	_cleanup_free_ char *good = forge(GOOD_HEADER, GOOD_CLAIMS, KEY, sizeof(KEY));
	_cleanup_free_ char *public_key = forge(GOOD_HEADER, GOOD_CLAIMS, PUBLIC_KEY, strlen(PUBLIC_KEY));
	_cleanup_free_ char *empty_key = forge(GOOD_HEADER, GOOD_CLAIMS, "", 0);
	_cleanup_free_ char *rs = forge("{\"alg\":\"RS256\",\"typ\":\"JWT\"}", GOOD_CLAIMS, PUBLIC_KEY, strlen(PUBLIC_KEY));
	static const char none_header[] = "{\"alg\":\"none\",\"typ\":\"JWT\"}";
	_cleanup_free_ char *h_none = b64(none_header, strlen(none_header)), *c = b64(GOOD_CLAIMS, strlen(GOOD_CLAIMS));
	_cleanup_free_ char *none = xasprintf("%s.%s.", h_none, c);
	_cleanup_free_ char *head_of_good = xstrndup(good, (size_t)(strrchr(good, '.') - good) + 1);
	_cleanup_free_ char *padded = xasprintf("%s=", good);
	_cleanup_free_ char *four = xasprintf("%s.x", good);
	_cleanup_free_ char *space = xasprintf("%s ", good);
	_cleanup_free_ char *dots = xasprintf("..%s", strrchr(good, '.') + 1);
	const char *const bad[] = { public_key, empty_key, rs, none, head_of_good, padded, four, space, dots, "", ".", "..", "...", "a.b.c", "eyJ", "eyJ..", "null" };
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (check_at(bad[i], NOW) != ERR_BAD_TOKEN)
			fail_msg("accepted: %s", bad[i]);
}

static void every_byte_counts(void **state)
{
	(void)state;
	_cleanup_free_ char *good = forge(GOOD_HEADER, GOOD_CLAIMS, KEY, sizeof(KEY));
	size_t n = strlen(good);
	assert_int_equal(check_at(good, NOW), ERR_OK);
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *t = xstrdup(good);
		for (int k = 0; k < 3; k++) { /* the last character has bits to spare: try several */
			t[i] = "AQg"[k];
			if (t[i] != good[i])
				assert_int_equal(check_at(t, NOW), ERR_BAD_TOKEN);
		}
		t[i] = '\0'; /* truncated */
		assert_int_equal(check_at(t, NOW), ERR_BAD_TOKEN);
	}
}

static void huge(void **state)
{
	(void)state;
	_cleanup_free_ char *pad = xmalloc(TOKEN_MAX + 1);
	memset(pad, 'a', TOKEN_MAX);
	pad[TOKEN_MAX] = '\0';
	_cleanup_free_ char *claims = xasprintf("{\"x\":\"%s\"," IDENTITY "," TIMES "}", pad);
	_cleanup_free_ char *token = forge(GOOD_HEADER, claims, KEY, sizeof(KEY));
	assert_int_equal(check_at(token, NOW), ERR_BAD_TOKEN);
	_cleanup_free_ char *big = xmalloc(10000001);
	memset(big, 'e', 10000000);
	big[10000000] = '\0';
	assert_int_equal(check_at(big, NOW), ERR_BAD_TOKEN);
	_cleanup_free_ char *deep = xmalloc(701);
	memset(deep, '[', 700);
	deep[700] = '\0';
	_cleanup_free_ char *nested = forge(deep, "{}", KEY, sizeof(KEY));
	assert_int_equal(check_at(nested, NOW), ERR_BAD_TOKEN);
}

static void shapes(void **state)
{
	(void)state; /* what counts as an attempt to use a token, and what as nothing at all */
	assert_true(token_shaped("eyJhbGciOiJub25lIn0.eyJ9."));
	assert_true(token_shaped("eyJx.e30.c2ln"));
	assert_false(token_shaped("opengradient-placeholder"));
	assert_false(token_shaped("sk-abc.def.ghi"));
	assert_false(token_shaped("0x0000000000000000000000000000000000000000"));
	assert_false(token_shaped("eyJx.e30"));
	assert_false(token_shaped("eyJx.e30.a.b"));
	assert_false(token_shaped("eyJx. e30.c2ln"));
	assert_false(token_shaped(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ours_pass), cmocka_unit_test(forge_works), cmocka_unit_test(signed_corpus), cmocka_unit_test(forged_corpus),
		cmocka_unit_test(every_byte_counts), cmocka_unit_test(huge), cmocka_unit_test(shapes),
	};
	crypto_init();
	return RUN_TESTS(tests);
}
