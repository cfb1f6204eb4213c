/* Sign-In with Ethereum (EIP-4361): a strict parser and the checks of one message. Values in, values out: the caller
 * (handlers/auth.c) consumes the nonce first, whatever these functions say afterwards. Nothing is locked. */
#ifndef OPGATE_AUTH_SIWE_H
#define OPGATE_AUTH_SIWE_H

#include "base/json.h"
#include "crypto/crypto.h"

#define SIWE_MESSAGE_MAX 4096
#define SIWE_NONCE_MIN 8
#define SIWE_NONCE_MAX 64
#define SIWE_NONCES_MAX 4
#define SIWE_LIFETIME_MS (5 * 60 * 1000)
#define SIWE_CLOCK_SKEW_MS (60 * 1000)

struct siwe_nonce {
	char s[SIWE_NONCE_MAX + 1];
};

struct siwe_message {
	char scheme[16]; /* "" when absent */
	char domain[256];
	struct address address;
	char uri[512];
	uint64_t chain_id;
	struct siwe_nonce nonce;
	int64_t issued_at, expires_at; /* ms; without an Expiration Time: issued_at + SIWE_LIFETIME_MS */
	int64_t not_before;            /* 0 when absent */
};

/* A fresh nonce: 24 alphanumeric characters, 142 bits. */
struct siwe_nonce siwe_nonce_new(void);

/* Every text after a line start `Nonce: ` that has the shape of a nonce, well-formed message or not (at most SIWE_NONCES_MAX):
 * what an attempt uses up. Returns how many. */
size_t siwe_nonces_find(const char *text, size_t len, struct siwe_nonce ret[SIWE_NONCES_MAX]);

/* Exactly the grammar of EIP-4361, as viem's createSiweMessage writes it. ERR_BAD_FIELD, and `why` names the line. */
enum err siwe_parse(const char *text, size_t len, struct siwe_message *ret, struct json_why *why) WARN_UNUSED;

/* Is the message for this gateway, this chain and this moment? ERR_BAD_SIGNATURE for another site or chain, ERR_BAD_TOKEN
 * for a moment outside its times. */
enum err siwe_check(const struct siwe_message *m, const char *base_url, uint64_t chain_id, int64_t now_ms, struct json_why *why) WARN_UNUSED;

/* The signature (EIP-191) was made by the address in the message. ERR_BAD_SIGNATURE. */
enum err siwe_verify(const struct siwe_message *m, const char *text, size_t len, const char *signature) WARN_UNUSED;

#endif
