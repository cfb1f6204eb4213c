/* Percent-decoding and the checks of paths and queries (declared in router.h). Values only, no locks. */
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"
#include "http/router.h"

long url_decode(const char *s, size_t len, bool plus, char *out)
{
	long n = 0;
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '%') {
			int hi = i + 2 < len ? hex_digit(s[i + 1]) : -1;
			int lo = i + 2 < len ? hex_digit(s[i + 2]) : -1;
			if (hi < 0 || lo < 0)
				return -1;
			out[n++] = (char)(hi << 4 | lo);
			i += 2;
		} else {
			out[n++] = plus && s[i] == '+' ? ' ' : s[i];
		}
	}
	return n;
}

/* Length of the UTF-8 sequence at s, 0 when malformed (overlong, surrogate, past U+10FFFF, cut). */
static size_t utf8_len(const unsigned char *s, size_t left)
{
	unsigned c = s[0];
	if (c < 0x80)
		return 1;
	size_t n = c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
	if (!n || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f) || (c == 0xf0 && s[1] < 0x90) || (c == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

bool utf8_valid(const char *s, size_t len)
{
	for (size_t i = 0, n; i < len; i += n) {
		n = utf8_len((const unsigned char *)s + i, len - i);
		if (!n)
			return false;
	}
	return true;
}

static const char *text_check(const char *s, size_t len, bool controls)
{
	if (memchr(s, '\0', len))
		return "an encoded NUL";
	if (!utf8_valid(s, len))
		return "bytes that are not UTF-8";
	for (size_t i = 0; !controls && i < len; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return "a control character";
	return NULL;
}

static bool raw_ok(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s <= 0x20 || *s == 0x7f || *s == '#')
			return false;
	return true;
}

/* On the decoded path, so that %2e%2e and %2f are seen for what they are. */
static const char *segments_check(const char *p, size_t len)
{
	const char *end = p + len;
	if (!len || *p != '/')
		return "no leading slash";
	for (p++; p <= end;) {
		const char *slash = memchr(p, '/', (size_t)(end - p));
		size_t n = (size_t)((slash ? slash : end) - p);
		if (!n && slash)
			return "an empty segment";
		if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return "a dot segment";
		if (!slash)
			break;
		p = slash + 1;
	}
	return NULL;
}

const char *path_check(const char *path)
{
	if (path[0] != '/')
		return "not an absolute path";
	if (!raw_ok(path))
		return "a character that must be encoded";
	size_t len = strlen(path);
	_cleanup_free_ char *decoded = xmalloc(len + 1);
	long n = url_decode(path, len, false, decoded);
	if (n < 0)
		return "malformed percent-encoding";
	const char *why = text_check(decoded, (size_t)n, false);
	return why ? why : segments_check(decoded, (size_t)n);
}

const char *query_check(const char *query)
{
	if (!*query)
		return NULL;
	if (!raw_ok(query))
		return "a character that must be encoded";
	size_t len = strlen(query);
	_cleanup_free_ char *decoded = xmalloc(len + 1);
	long n = url_decode(query, len, true, decoded);
	if (n < 0)
		return "malformed percent-encoding";
	/* Checked parameter by parameter, or a sequence cut by an & would pass as a whole. */
	for (const char *p = query; *p;) {
		size_t part = strcspn(p, "&=");
		n = url_decode(p, part, true, decoded);
		const char *why = n < 0 ? "malformed percent-encoding" : text_check(decoded, (size_t)n, true);
		if (why)
			return why;
		p += part;
		p += *p != '\0';
	}
	return NULL;
}

/* Does the encoded name equal the plain one? */
static bool name_equal(struct slice raw, const char *name)
{
	size_t want = strlen(name);
	if (raw.len < want || raw.len > 3 * want)
		return false;
	if (raw.len == want && !memchr(raw.p, '%', raw.len) && !memchr(raw.p, '+', raw.len))
		return memcmp(raw.p, name, want) == 0;
	_cleanup_free_ char *decoded = xmalloc(raw.len + 1);
	long n = url_decode(raw.p, raw.len, true, decoded);
	return n == (long)want && memcmp(decoded, name, want) == 0;
}

bool query_find(const char *query, const char *name, struct slice *ret_raw)
{
	for (const char *p = query; *p;) {
		const char *end = strchrnul(p, '&');
		const char *eq = memchr(p, '=', (size_t)(end - p));
		struct slice key = { p, (size_t)((eq ? eq : end) - p) };
		if (name_equal(key, name)) {
			*ret_raw = eq ? (struct slice){ eq + 1, (size_t)(end - eq - 1) } : (struct slice){ end, 0 };
			return true;
		}
		p = *end ? end + 1 : end;
	}
	return false;
}
