/* Our access tokens: JWT, HS256 and nothing else, over libjwt, whose own checks are not enough (it takes any algorithm the
 * token names, any token when the key is NULL, and never looks at the times). Pure but for randomness; nothing is locked. */
#ifndef OPGATE_AUTH_JWT_H
#define OPGATE_AUTH_JWT_H

#include "base/json.h"
#include "crypto/crypto.h"

#define TOKEN_MAX 1024 /* bytes of a token */
#define TOKEN_LIFETIME_S (15 * 60)
#define TOKEN_SESSION_S (12 * 60 * 60) /* from the signature to the last refresh */
#define TOKEN_AUDIENCE "opgate"
#define TOKEN_KEY_LEN 32

struct token_claims {
	struct address address;
	int64_t account;
	int64_t issued_at, expires_at, signed_in_at; /* seconds since 1970 */
};

/* A token for claims->address and ->account, signed in at ->signed_in_at; sets ->issued_at and ->expires_at. The caller frees. */
char *token_make(const uint8_t key[TOKEN_KEY_LEN], const char *issuer, int64_t now_s, struct token_claims *claims);

/* Begins like a JWT of ours: three dot-separated base64url parts, the first a JSON object. */
bool token_shaped(const char *s);

/* ERR_BAD_TOKEN for anything but a token made by token_make with this key and issuer, in its time; `why` says what is wrong. */
enum err token_check(const uint8_t key[TOKEN_KEY_LEN], const char *issuer, int64_t now_s, const char *token,
		     struct token_claims *ret, struct json_why *why) WARN_UNUSED;

#endif
