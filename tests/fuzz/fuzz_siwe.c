/* Fuzzes sign-in messages: whatever is accepted fits its fields, and its nonce is among those an attempt uses up. */
#include <stdlib.h>
#include <string.h>

#include "auth/siwe.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = xmalloc(size ? size : 1); /* no NUL behind it: reading past the end must be visible */
	struct siwe_nonce nonces[SIWE_NONCES_MAX];
	struct siwe_message m;
	struct json_why why = { "" };
	crypto_init();
	if (size)
		memcpy(text, data, size);
	size_t n = siwe_nonces_find(text, size, nonces);
	must(n <= SIWE_NONCES_MAX);
	if (siwe_parse(text, size, &m, &why)) {
		must(strlen(why.text) > 0);
		return 0;
	}
	bool found = false;
	for (size_t i = 0; i < n; i++)
		found = found || strcmp(nonces[i].s, m.nonce.s) == 0;
	must(found);
	must(strlen(m.domain) > 0 && strlen(m.uri) > 0 && strlen(m.nonce.s) >= SIWE_NONCE_MIN);
	enum err e = siwe_check(&m, "http://127.0.0.1:8080", 84532, 1767225660000, &why);
	must(e == ERR_OK || e == ERR_BAD_SIGNATURE || e == ERR_BAD_TOKEN);
	return 0;
}
