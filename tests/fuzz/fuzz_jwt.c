/* Fuzzes tokens. The input is either a whole token, or (first byte '{') a header and claims, split at a NUL, which are then
 * signed with the right key, so that the checks behind the signature are reached. Whatever is accepted is in its time. */
#include <stdlib.h>
#include <string.h>

#include "auth/apikey.h"
#include "auth/jwt.h"
#include "base/base64.h"
#include "base/mem.h"

#define NOW 1767225600

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t KEY[TOKEN_KEY_LEN] = { 1, 2, 3 };

static void must(bool ok)
{
	if (!ok)
		abort();
}

static char *part(const void *p, size_t len)
{
	char *s = xmalloc(base64url_encoded_len(len) + 1);
	base64url_encode(p, len, s);
	return s;
}

static char *signed_token(const uint8_t *data, size_t size)
{
	const uint8_t *nul = memchr(data, 0, size);
	size_t head = nul ? (size_t)(nul - data) : size;
	_cleanup_free_ char *h = part(data, head);
	_cleanup_free_ char *c = nul ? part(nul + 1, size - head - 1) : part("{}", 2);
	_cleanup_free_ char *input = xasprintf("%s.%s", h, c);
	struct hash mac;
	hmac_sha256(KEY, sizeof(KEY), input, strlen(input), &mac);
	_cleanup_free_ char *sig = part(&mac, sizeof(mac));
	return xasprintf("%s.%s", input, sig);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct token_claims claims;
	struct json_why why = { "" };
	crypto_init();
	_cleanup_free_ char *token = size && data[0] == '{' ? signed_token(data, size) : xstrndup((const char *)data, size);
	(void)apikey_well_formed(token);
	if (token_check(KEY, "http://127.0.0.1:8080", NOW, token, &claims, &why)) {
		must(strlen(why.text) > 0);
		return 0;
	}
	must(token_shaped(token) || data[0] == '{');
	must(claims.account > 0 && claims.expires_at > NOW && claims.expires_at <= claims.issued_at + TOKEN_LIFETIME_S);
	return 0;
}
