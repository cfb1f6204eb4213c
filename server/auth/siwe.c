/* The EIP-4361 parser and its checks. Called by handlers/auth.c; no state, no locks. */
#include "auth/siwe.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"

#define ALNUM "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define URI_CHARS ALNUM "-._~:/?#[]@!$&'()*+,;=%"

/* A piece of the message; never NUL-terminated. */
struct span {
	const char *p;
	size_t len;
};

struct lines {
	const char *p, *end; /* what is left; p == NULL after the last line */
};

static enum err refuse(struct json_why *why, enum err e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static enum err refuse(struct json_why *why, enum err e, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return e;
}

struct siwe_nonce siwe_nonce_new(void)
{
	struct siwe_nonce n = { { 0 } };
	size_t have = 0;
	while (have < 24) {
		uint8_t b[32];
		random_bytes(b, sizeof(b));
		for (size_t i = 0; i < sizeof(b) && have < 24; i++)
			if (b[i] < 4 * 62) /* the rest would favour some characters */
				n.s[have++] = ALNUM[b[i] % 62];
	}
	return n;
}

static bool only(struct span s, const char *alphabet)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] == '\0' || !strchr(alphabet, s.p[i]))
			return false;
	return true;
}

static bool nonce_shaped(struct span s)
{
	return s.len >= SIWE_NONCE_MIN && s.len <= SIWE_NONCE_MAX && only(s, ALNUM);
}

static bool lines_next(struct lines *l, struct span *ret)
{
	if (!l->p)
		return false;
	const char *lf = memchr(l->p, '\n', (size_t)(l->end - l->p));
	*ret = (struct span){ l->p, (size_t)((lf ? lf : l->end) - l->p) };
	l->p = lf ? lf + 1 : NULL;
	return true;
}

static bool starts_with(struct span s, const char *prefix, struct span *ret_rest)
{
	size_t n = strlen(prefix);
	if (s.len < n || memcmp(s.p, prefix, n) != 0)
		return false;
	*ret_rest = (struct span){ s.p + n, s.len - n };
	return true;
}

size_t siwe_nonces_find(const char *text, size_t len, struct siwe_nonce ret[SIWE_NONCES_MAX])
{
	struct lines l = { text, text + len };
	struct span line, value;
	size_t n = 0;
	while (n < SIWE_NONCES_MAX && lines_next(&l, &line)) {
		if (!starts_with(line, "Nonce: ", &value))
			continue;
		while (value.len > 0 && (value.p[value.len - 1] == '\r' || value.p[value.len - 1] == ' '))
			value.len--;
		if (!nonce_shaped(value))
			continue;
		ret[n] = (struct siwe_nonce){ { 0 } };
		memcpy(ret[n++].s, value.p, value.len);
	}
	return n;
}

/* Copies into a fixed array, NUL-terminated; false when it does not fit or is empty. */
static bool span_copy(struct span s, char *ret, size_t cap)
{
	if (s.len == 0 || s.len >= cap)
		return false;
	memcpy(ret, s.p, s.len);
	ret[s.len] = '\0';
	return true;
}

static bool span_time(struct span s, int64_t *ret)
{
	char text[40];
	return span_copy(s, text, sizeof(text)) && strlen(text) == s.len && time_parse_rfc3339(text, ret);
}

static bool span_uint(struct span s, uint64_t *ret)
{
	if (s.len == 0 || s.len > 18 || s.p[0] == '0' || !only(s, "0123456789"))
		return false;
	uint64_t v = 0;
	for (size_t i = 0; i < s.len; i++)
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	*ret = v;
	return true;
}

/* "[scheme://]domain wants you to sign in with your Ethereum account:" */
static bool parse_domain(struct span line, struct siwe_message *m)
{
	static const char tail[] = " wants you to sign in with your Ethereum account:";
	size_t n = sizeof(tail) - 1;
	if (line.len <= n || memcmp(line.p + line.len - n, tail, n) != 0)
		return false;
	struct span s = { line.p, line.len - n };
	const char *sep = memmem(s.p, s.len, "://", 3);
	if (sep) {
		struct span scheme = { s.p, (size_t)(sep - s.p) };
		if (!only(scheme, ALNUM "+-.") || !span_copy(scheme, m->scheme, sizeof(m->scheme)))
			return false;
		s = (struct span){ sep + 3, s.len - scheme.len - 3 };
	}
	/* an authority without user information */
	return only(s, ALNUM "-._~%!$&'()*+,;=:[]") && span_copy(s, m->domain, sizeof(m->domain));
}

/* The three lines after the first: the address, then an optional statement between empty lines. */
static enum err parse_head(struct lines *l, struct siwe_message *m, struct json_why *why)
{
	struct span line;
	char address[43];
	if (!lines_next(l, &line) || !parse_domain(line, m))
		return refuse(why, ERR_BAD_FIELD, "message: the first line must be `<domain> wants you to sign in with your Ethereum account:`");
	if (!lines_next(l, &line) || line.len != 42 || !span_copy(line, address, sizeof(address)) || address_parse(address, &m->address))
		return refuse(why, ERR_BAD_FIELD, "message: the second line must be an address");
	if (!address_checksum_ok(address))
		return refuse(why, ERR_BAD_FIELD, "message: the address has a wrong EIP-55 checksum");
	if (!lines_next(l, &line) || line.len != 0 || !lines_next(l, &line))
		return refuse(why, ERR_BAD_FIELD, "message: an empty line must follow the address");
	if (line.len != 0) {
		for (size_t i = 0; i < line.len; i++)
			if ((unsigned char)line.p[i] < 0x20 || line.p[i] == 0x7f)
				return refuse(why, ERR_BAD_FIELD, "message: the statement has a control character");
		if (!lines_next(l, &line) || line.len != 0)
			return refuse(why, ERR_BAD_FIELD, "message: an empty line must follow the statement");
	}
	return ERR_OK;
}

static enum err parse_required(struct lines *l, struct siwe_message *m, struct json_why *why)
{
	struct span line, v;
	if (!lines_next(l, &line) || !starts_with(line, "URI: ", &v) || !only(v, URI_CHARS) || !span_copy(v, m->uri, sizeof(m->uri)))
		return refuse(why, ERR_BAD_FIELD, "message: `URI: ` line missing or malformed");
	if (!lines_next(l, &line) || !starts_with(line, "Version: ", &v) || v.len != 1 || *v.p != '1')
		return refuse(why, ERR_BAD_FIELD, "message: `Version: 1` line missing");
	if (!lines_next(l, &line) || !starts_with(line, "Chain ID: ", &v) || !span_uint(v, &m->chain_id))
		return refuse(why, ERR_BAD_FIELD, "message: `Chain ID: ` line missing or malformed");
	if (!lines_next(l, &line) || !starts_with(line, "Nonce: ", &v) || !nonce_shaped(v) || !span_copy(v, m->nonce.s, sizeof(m->nonce.s)))
		return refuse(why, ERR_BAD_FIELD, "message: `Nonce: ` line missing or malformed");
	if (!lines_next(l, &line) || !starts_with(line, "Issued At: ", &v) || !span_time(v, &m->issued_at))
		return refuse(why, ERR_BAD_FIELD, "message: `Issued At: ` line missing or malformed");
	return ERR_OK;
}

/* Optional lines, each at most once, in the order of the grammar, and nothing after them. */
static enum err parse_optional(struct lines *l, struct siwe_message *m, struct json_why *why)
{
	struct span line, v;
	bool more = lines_next(l, &line);
	m->expires_at = m->issued_at + SIWE_LIFETIME_MS;
	if (more && starts_with(line, "Expiration Time: ", &v)) {
		if (!span_time(v, &m->expires_at))
			return refuse(why, ERR_BAD_FIELD, "message: `Expiration Time: ` is malformed");
		more = lines_next(l, &line);
	}
	if (more && starts_with(line, "Not Before: ", &v)) {
		if (!span_time(v, &m->not_before))
			return refuse(why, ERR_BAD_FIELD, "message: `Not Before: ` is malformed");
		more = lines_next(l, &line);
	}
	if (more && starts_with(line, "Request ID: ", &v)) {
		if (!only(v, URI_CHARS))
			return refuse(why, ERR_BAD_FIELD, "message: `Request ID: ` is malformed");
		more = lines_next(l, &line);
	}
	if (more && starts_with(line, "Resources:", &v) && v.len == 0) {
		while ((more = lines_next(l, &line)))
			if (!starts_with(line, "- ", &v) || v.len == 0 || !only(v, URI_CHARS))
				return refuse(why, ERR_BAD_FIELD, "message: a line under `Resources:` is malformed");
	}
	if (more)
		return refuse(why, ERR_BAD_FIELD, "message: an unknown, repeated or misplaced line");
	return ERR_OK;
}

enum err siwe_parse(const char *text, size_t len, struct siwe_message *ret, struct json_why *why)
{
	struct siwe_message m = { 0 };
	struct lines l = { text, text + len };
	if (len == 0 || len > SIWE_MESSAGE_MAX || memchr(text, '\0', len))
		return refuse(why, ERR_BAD_FIELD, "message: must have 1 to %d bytes and no NUL", SIWE_MESSAGE_MAX);
	enum err e = parse_head(&l, &m, why);
	if (!e)
		e = parse_required(&l, &m, why);
	if (!e)
		e = parse_optional(&l, &m, why);
	if (!e)
		*ret = m;
	return e;
}

/* "http://host:port/…" → the origin "http://host:port" and the authority "host:port". */
static bool url_origin(const char *url, struct span *ret_scheme, struct span *ret_authority, size_t *ret_origin_len)
{
	const char *sep = strstr(url, "://");
	if (!sep || sep == url)
		return false;
	size_t n = strcspn(sep + 3, "/?#");
	if (n == 0)
		return false;
	*ret_scheme = (struct span){ url, (size_t)(sep - url) };
	*ret_authority = (struct span){ sep + 3, n };
	*ret_origin_len = (size_t)(sep - url) + 3 + n;
	return true;
}

static bool span_is(struct span s, const char *text)
{
	return strlen(text) == s.len && strncasecmp(s.p, text, s.len) == 0;
}

enum err siwe_check(const struct siwe_message *m, const char *base_url, uint64_t chain_id, int64_t now_ms, struct json_why *why)
{
	struct span scheme, authority;
	size_t origin;
	if (!url_origin(base_url, &scheme, &authority, &origin))
		return refuse(why, ERR_INTERNAL, "base_url is not a URL");
	if (!span_is(authority, m->domain) || (m->scheme[0] && !span_is(scheme, m->scheme)))
		return refuse(why, ERR_BAD_SIGNATURE, "message: the domain must be %.*s", (int)authority.len, authority.p);
	if (strncasecmp(m->uri, base_url, origin) != 0 || (m->uri[origin] && !strchr("/?#", m->uri[origin])))
		return refuse(why, ERR_BAD_SIGNATURE, "message: the URI must be under %.*s", (int)origin, base_url);
	if (m->chain_id != chain_id)
		return refuse(why, ERR_BAD_SIGNATURE, "message: the Chain ID must be %llu", (unsigned long long)chain_id);
	if (m->issued_at > now_ms + SIWE_CLOCK_SKEW_MS)
		return refuse(why, ERR_BAD_TOKEN, "message: Issued At is in the future");
	if (m->expires_at <= m->issued_at || m->expires_at - m->issued_at > SIWE_LIFETIME_MS)
		return refuse(why, ERR_BAD_TOKEN, "message: Expiration Time must be at most five minutes after Issued At");
	if (m->expires_at <= now_ms)
		return refuse(why, ERR_BAD_TOKEN, "message: expired");
	if (m->not_before > now_ms)
		return refuse(why, ERR_BAD_TOKEN, "message: not valid yet");
	return ERR_OK;
}

enum err siwe_verify(const struct siwe_message *m, const char *text, size_t len, const char *signature)
{
	struct signature sig;
	struct hash digest;
	struct address signer;
	if (signature_parse(signature, &sig))
		return ERR_BAD_SIGNATURE;
	eip191_digest(text, len, &digest);
	if (ecdsa_recover(&digest, &sig, &signer) || !address_equal(&signer, &m->address))
		return ERR_BAD_SIGNATURE;
	return ERR_OK;
}
