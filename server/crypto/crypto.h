/* The only door to OpenSSL and libsecp256k1. crypto_init() runs once before threads; everything else is thread-safe. */
#ifndef OPGATE_CRYPTO_CRYPTO_H
#define OPGATE_CRYPTO_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hex.h"

void crypto_init(void); /* fetches digests, makes and randomizes the curve context; idempotent; aborts on failure */

/* ---- SHA-256 (FIPS 180-4), incremental ---- */
struct sha256; /* opaque, heap */
struct sha256 *sha256_new(void);
void sha256_update(struct sha256 *s, const void *p, size_t len);
void sha256_final(struct sha256 *s, struct hash *ret); /* leaves s reset for reuse */
void sha256_peek(const struct sha256 *s, struct hash *ret); /* the digest so far; s can go on */
void sha256_free(struct sha256 *s); /* accepts NULL */
void sha256_of(const void *p, size_t len, struct hash *ret);
void hmac_sha256(const void *key, size_t key_len, const void *p, size_t len, struct hash *ret);

/* ---- Keccak-256 as Ethereum uses it (pad 0x01), our own permutation ---- */
void keccak256(const void *p, size_t len, struct hash *ret);
/* Over several pieces, in order. */
struct bytes { const void *p; size_t len; };
void keccak256_parts(const struct bytes *parts, size_t count, struct hash *ret);

/* ---- secp256k1 ---- */
struct secret_key { uint8_t b[32]; };
struct signature { uint8_t b[65]; }; /* r, s, v with v 27 or 28; s is low */

enum err secret_key_new(struct secret_key *ret) WARN_UNUSED;
enum err secret_key_parse(const char *hex, struct secret_key *ret) WARN_UNUSED; /* 64 digits, 0x optional; range checked */
enum err secret_key_read_file(const char *path, struct secret_key *ret) WARN_UNUSED; /* a file holding 64 hex digits; ERR_IO, ERR_BAD_FIELD */
enum err secret_key_write_file(const char *path, const struct secret_key *key) WARN_UNUSED; /* mode 0600, refuses to overwrite */
void secret_key_wipe(struct secret_key *key);
void secret_key_address(const struct secret_key *key, struct address *ret);
void ecdsa_sign(const struct secret_key *key, const struct hash *digest, struct signature *ret);
/* ERR_BAD_SIGNATURE for a malformed, high-s or unrecoverable signature, or v other than 27/28. */
enum err ecdsa_recover(const struct hash *digest, const struct signature *sig, struct address *ret) WARN_UNUSED;
enum err signature_parse(const char *s, struct signature *ret) WARN_UNUSED; /* 0x + 130 digits */
struct signature_str { char s[133]; };
struct signature_str signature_format(const struct signature *sig);

/* EIP-191 personal_sign digest ("\x19Ethereum Signed Message:\n" …). */
void eip191_digest(const void *msg, size_t len, struct hash *ret);

/* ---- EIP-712 ----
 * Types here are flat: a struct of atomic members, string and bytes32. A type is its canonical string, e.g.
 * "Receipt(bytes16 jobId,uint32 attempt,…)"; values are pushed in that order. */
struct eip712 {
	uint8_t words[32 * 24]; /* encodeData so far, typeHash first */
	size_t count;
};
void eip712_begin(struct eip712 *e, const char *type);
void eip712_uint(struct eip712 *e, uint64_t v);
void eip712_address(struct eip712 *e, const struct address *a);
void eip712_hash(struct eip712 *e, const struct hash *h);        /* bytes32, as is */
void eip712_bytes16(struct eip712 *e, const uint8_t b[16]);      /* left-aligned in its word */
void eip712_string(struct eip712 *e, const char *s);             /* keccak256 of the bytes */
void eip712_word(struct eip712 *e, const uint8_t be[32]);        /* uint256 */
/* keccak256(0x1901 || domain || hashStruct). */
void eip712_digest(const struct eip712 *e, const struct hash *domain_separator, struct hash *ret);
/* Domain {name, version, chainId}; verifying may be NULL (member left out of the type), version NULL likewise. */
void eip712_domain(const char *name, const char *version, uint64_t chain_id, const struct address *verifying, struct hash *ret);

/* EIP-55 checksummed text of an address. */
struct address_str address_format_eip55(const struct address *a);
bool address_checksum_ok(const char *s); /* true for all-lower, all-upper or correct mixed case */

bool crypto_equal(const void *a, const void *b, size_t len); /* constant time */
void crypto_wipe(void *p, size_t len);

#endif
