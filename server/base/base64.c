/* See base64.h. No state, no locks. */
#include "base/base64.h"

#include "base/mem.h"

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char URL_ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* `plus` and `slash` are what the two alphabets differ in. */
static int digit(char c, char plus, char slash)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == plus ? 62 : c == slash ? 63 : -1;
}

static int std_digit(char c)
{
	return digit(c, '+', '/');
}

static int url_digit(char c)
{
	return digit(c, '-', '_');
}

/* ---- the standard alphabet ---- */

char *base64_encode(const void *p, size_t len)
{
	const uint8_t *b = p;
	char *out = xmalloc((len + 2) / 3 * 4 + 1), *at = out;
	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t bits = (uint32_t)b[i] << 16 | (left > 1 ? (uint32_t)b[i + 1] << 8 : 0) | (left > 2 ? b[i + 2] : 0);
		*at++ = ALPHABET[bits >> 18];
		*at++ = ALPHABET[bits >> 12 & 63];
		*at++ = left > 1 ? ALPHABET[bits >> 6 & 63] : '=';
		*at++ = left > 2 ? ALPHABET[bits & 63] : '=';
	}
	*at = '\0';
	return out;
}

char *base64_decode(const char *s, size_t len, size_t *ret_len)
{
	if (len % 4 == 0 && len > 0 && s[len - 1] == '=')
		len -= s[len - 2] == '=' ? 2 : 1;
	if (len % 4 == 1)
		return NULL;
	for (size_t i = 0; i < len; i++)
		if (std_digit(s[i]) < 0)
			return NULL;
	char *out = xmalloc(len / 4 * 3 + 3);
	size_t n = 0;
	uint32_t bits = 0;
	int have = 0;
	for (size_t i = 0; i < len; i++) {
		bits = bits << 6 | (uint32_t)std_digit(s[i]);
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[n++] = (char)(bits >> have & 255);
		}
	}
	out[n] = '\0';
	*ret_len = n;
	return out;
}

/* ---- for URLs ---- */

size_t base64url_encoded_len(size_t len)
{
	return len / 3 * 4 + (len % 3 ? len % 3 + 1 : 0);
}

void base64url_encode(const void *p, size_t len, char *ret)
{
	const uint8_t *b = p;
	uint32_t bits = 0;
	int have = 0;
	for (size_t i = 0; i < len; i++) {
		bits = bits << 8 | b[i];
		for (have += 8; have >= 6; have -= 6)
			*ret++ = URL_ALPHABET[bits >> (have - 6) & 63];
	}
	if (have)
		*ret++ = URL_ALPHABET[bits << (6 - have) & 63];
	*ret = '\0';
}

enum err base64url_decode(const char *s, size_t len, uint8_t *ret, size_t ret_cap, size_t *ret_len)
{
	if (len % 4 == 1)
		return ERR_BAD_FIELD;
	for (size_t i = 0; i < len; i++)
		if (url_digit(s[i]) < 0)
			return ERR_BAD_FIELD;
	/* Unused bits of the last digit must be zero: one text per byte string, or signatures over it mean nothing. */
	if (len % 4 == 2 && (url_digit(s[len - 1]) & 15))
		return ERR_BAD_FIELD;
	if (len % 4 == 3 && (url_digit(s[len - 1]) & 3))
		return ERR_BAD_FIELD;
	size_t out_len = len / 4 * 3 + (len % 4 ? len % 4 - 1 : 0);
	if (out_len > ret_cap)
		return ERR_LIMIT;
	uint32_t bits = 0;
	int have = 0;
	for (size_t i = 0; i < len; i++) {
		bits = bits << 6 | (uint32_t)url_digit(s[i]);
		have += 6;
		if (have >= 8) {
			have -= 8;
			*ret++ = (uint8_t)(bits >> have);
		}
	}
	*ret_len = out_len;
	return ERR_OK;
}
