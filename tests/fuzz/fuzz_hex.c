/* Fuzzes the small text formats: hex, addresses, hashes, ids, base64url, times. Whatever is accepted is written back as
 * the same text (up to letter case and prefix) or, for times, as the same moment. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void check_bytes(const char *s, size_t len)
{
	_cleanup_free_ uint8_t *out = xmalloc(len);
	_cleanup_free_ char *text = xmalloc(2 * len + 8);
	if (hex_decode(s, len, out, len / 2) == ERR_OK) {
		hex_encode(out, len / 2, text);
		must(strlen(text) == len && strncasecmp(text, s, len) == 0);
	}
	size_t n = 0;
	if (base64url_decode(s, len, out, len, &n) == ERR_OK) {
		must(base64url_encoded_len(n) == len);
		base64url_encode(out, n, text);
		must(strlen(text) == len && memcmp(text, s, len) == 0); /* exactly one text for each value */
	}
	_cleanup_free_ uint8_t *tight = xmalloc(n);
	if (n > 0) {
		must(base64url_decode(s, len, tight, n - 1, &n) == ERR_LIMIT);
		must(base64url_decode(s, len, tight, n, &n) == ERR_OK);
	}
}

static void check_words(const char *s)
{
	struct address address;
	struct hash hash;
	struct uuid uuid;
	int64_t ms, again;
	if (address_parse(s, &address) == ERR_OK)
		must(strcasecmp(address_format(&address).s, s) == 0);
	if (hash_parse(s, &hash) == ERR_OK) {
		struct hash_str text = hash_format(&hash);
		must(strlen(s) >= 64 && strcasecmp(text.s + 2, s + strlen(s) - 64) == 0);
	}
	if (uuid_parse(s, &uuid) == ERR_OK)
		must(strcasecmp(uuid_format(&uuid).s, s) == 0);
	if (time_parse_rfc3339(s, &ms)) {
		/* an offset may carry the year outside the four digits that can be written */
		struct time_str text = time_format_rfc3339(ms);
		must(time_parse_rfc3339(text.s, &again));
		must(again == ms || ms < INT64_C(-62167219200000) || ms > INT64_C(253402300799999));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *exact = xmalloc(size); /* no NUL behind it: reading past the end must be visible */
	memcpy(exact, data, size);
	check_bytes(exact, size);
	_cleanup_free_ char *s = xstrndup((const char *)data, size);
	check_words(s);
	return 0;
}
