/* The only file that knows libjwt. The header and the claims are read by our own strict reader before and after; libjwt
 * makes tokens and compares signatures. Called by handlers/auth.c and handlers/guard.c. */
#include "auth/jwt.h"

#include <jwt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/clock.h"

#define BASE64URL "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

/* A machine of the same deployment may be this far behind. */
#define SKEW_S 5

static void jwt_cleanup(jwt_t **j)
{
	if (*j)
		jwt_free(*j);
}

static enum err refuse(struct json_why *why, const char *text)
{
	snprintf(why->text, sizeof(why->text), "token: %s", text);
	return ERR_BAD_TOKEN;
}

char *token_make(const uint8_t key[TOKEN_KEY_LEN], const char *issuer, int64_t now_s, struct token_claims *claims)
{
	__attribute__((cleanup(jwt_cleanup))) jwt_t *jwt = NULL;
	claims->issued_at = now_s;
	claims->expires_at = now_s + TOKEN_LIFETIME_S;
	if (jwt_new(&jwt) || jwt_add_grant(jwt, "iss", issuer) || jwt_add_grant(jwt, "aud", TOKEN_AUDIENCE) ||
	    jwt_add_grant(jwt, "sub", address_format(&claims->address).s) || jwt_add_grant_int(jwt, "account", claims->account) ||
	    jwt_add_grant_int(jwt, "iat", claims->issued_at) || jwt_add_grant_int(jwt, "nbf", claims->issued_at) ||
	    jwt_add_grant_int(jwt, "exp", claims->expires_at) || jwt_add_grant_int(jwt, "auth_time", claims->signed_in_at) ||
	    jwt_set_alg(jwt, JWT_ALG_HS256, key, TOKEN_KEY_LEN))
		panic("token_make: libjwt refused");
	char *text = jwt_encode_str(jwt);
	if (!text)
		panic("token_make: libjwt could not sign");
	char *copy = xstrdup(text);
	free(text);
	return copy;
}

/* Lengths of the three parts; false unless there are exactly three of base64url. */
static bool token_split(const char *s, size_t ret_len[3])
{
	for (int i = 0; i < 3; i++) {
		ret_len[i] = strspn(s, BASE64URL);
		if (ret_len[i] == 0 && i < 2)
			return false;
		s += ret_len[i];
		if (*s != (i < 2 ? '.' : '\0'))
			return false;
		s++;
	}
	return true;
}

bool token_shaped(const char *s)
{
	size_t len[3];
	return strncmp(s, "eyJ", 3) == 0 && token_split(s, len); /* eyJ is `{"` */
}

/* One part as a strict JSON object. */
static enum err part_read(const char *part, size_t len, json_t **ret)
{
	uint8_t text[TOKEN_MAX];
	size_t n;
	if (base64url_decode(part, len, text, sizeof(text), &n))
		return ERR_BAD_TOKEN;
	return json_parse((const char *)text, n, ret, NULL) ? ERR_BAD_TOKEN : ERR_OK;
}

struct header {
	const char *alg, *typ;
};

/* Exactly {"alg":"HS256","typ":"JWT"}: no kid, jku, jwk or crit to be led astray by. */
static enum err header_check(const char *part, size_t len, struct json_why *why)
{
	static const struct json_field fields[] = {
		{ .name = "alg", .kind = JSON_FIELD_STR, .offset = offsetof(struct header, alg), .required = true },
		{ .name = "typ", .kind = JSON_FIELD_STR, .offset = offsetof(struct header, typ), .required = true },
	};
	_cleanup_json_ json_t *j = NULL;
	struct header h = { 0 };
	if (part_read(part, len, &j) || JSON_READ(j, fields, &h, NULL))
		return refuse(why, "malformed header");
	if (strcmp(h.alg, "HS256") != 0 || strcmp(h.typ, "JWT") != 0)
		return refuse(why, "only HS256 is accepted");
	return ERR_OK;
}

struct claims_read {
	const char *iss, *aud;
	struct address sub;
	int64_t account, iat, nbf, exp, auth_time;
};

static enum err claims_check(const char *part, size_t len, const char *issuer, int64_t now, struct token_claims *ret, struct json_why *why)
{
#define INT_CLAIM(name_) { .name = #name_, .kind = JSON_FIELD_INT, .offset = offsetof(struct claims_read, name_), .required = true, .min = 1, .max = INT64_MAX / 2 }
	static const struct json_field fields[] = {
		{ .name = "iss", .kind = JSON_FIELD_STR, .offset = offsetof(struct claims_read, iss), .required = true },
		{ .name = "aud", .kind = JSON_FIELD_STR, .offset = offsetof(struct claims_read, aud), .required = true },
		{ .name = "sub", .kind = JSON_FIELD_ADDRESS, .offset = offsetof(struct claims_read, sub), .required = true },
		INT_CLAIM(account), INT_CLAIM(iat), INT_CLAIM(nbf), INT_CLAIM(exp), INT_CLAIM(auth_time),
	};
#undef INT_CLAIM
	_cleanup_json_ json_t *j = NULL;
	struct claims_read c = { 0 };
	if (part_read(part, len, &j) || JSON_READ(j, fields, &c, NULL))
		return refuse(why, "malformed claims");
	if (strcmp(c.iss, issuer) != 0 || strcmp(c.aud, TOKEN_AUDIENCE) != 0)
		return refuse(why, "made for another gateway");
	if (c.iat > now + SKEW_S || c.nbf > now + SKEW_S)
		return refuse(why, "not valid yet");
	if (c.exp <= now)
		return refuse(why, "expired");
	if (c.exp <= c.iat || c.exp - c.iat > TOKEN_LIFETIME_S || c.auth_time > c.iat)
		return refuse(why, "impossible times");
	*ret = (struct token_claims){ .address = c.sub, .account = c.account, .issued_at = c.iat, .expires_at = c.exp, .signed_in_at = c.auth_time };
	return ERR_OK;
}

enum err token_check(const uint8_t key[TOKEN_KEY_LEN], const char *issuer, int64_t now_s, const char *token,
		     struct token_claims *ret, struct json_why *why)
{
	__attribute__((cleanup(jwt_cleanup))) jwt_t *jwt = NULL;
	size_t len[3];
	if (strnlen(token, TOKEN_MAX + 1) > TOKEN_MAX || !token_split(token, len))
		return refuse(why, "malformed");
	enum err e = header_check(token, len[0], why); /* before libjwt, which believes the token */
	if (e)
		return e;
	if (len[2] != base64url_encoded_len(sizeof(struct hash)))
		return refuse(why, "wrong signature");
	if (jwt_decode(&jwt, token, key, TOKEN_KEY_LEN) || jwt_get_alg(jwt) != JWT_ALG_HS256)
		return refuse(why, "wrong signature");
	return claims_check(token + len[0] + 1, len[1], issuer, now_s, ret, why);
}
