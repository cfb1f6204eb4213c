/* SHA-256 and HMAC over OpenSSL. Called by everyone; an object has one owner, and each thread has one scratch context. */
#include "crypto/crypto.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "crypto/internal.h"

#define BLOCK 64

struct sha256 {
	EVP_MD_CTX *ctx;
};

/* The scratch context dies with its thread; the key exists only for its destructor. */
static _Thread_local EVP_MD_CTX *scratch_ctx;
static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void scratch_free(void *ctx)
{
	EVP_MD_CTX_free(ctx);
	scratch_ctx = NULL;
}

static void scratch_make_key(void)
{
	if (pthread_key_create(&scratch_key, scratch_free) != 0)
		panic("crypto: no thread key");
}

static EVP_MD_CTX *scratch(void)
{
	if (!scratch_ctx) {
		pthread_once(&scratch_once, scratch_make_key);
		scratch_ctx = EVP_MD_CTX_new();
		if (!scratch_ctx || pthread_setspecific(scratch_key, scratch_ctx) != 0)
			panic("crypto: no digest context");
	}
	return scratch_ctx;
}

static void ctx_start(EVP_MD_CTX *ctx)
{
	if (!EVP_DigestInit_ex2(ctx, crypto_sha256_md(), NULL))
		panic("crypto: SHA-256 init failed");
}

static void ctx_update(EVP_MD_CTX *ctx, const void *p, size_t len)
{
	if (len && !EVP_DigestUpdate(ctx, p, len))
		panic("crypto: SHA-256 update failed");
}

static void ctx_finish(EVP_MD_CTX *ctx, struct hash *ret)
{
	unsigned len = 0;
	if (!EVP_DigestFinal_ex(ctx, ret->b, &len) || len != sizeof(ret->b))
		panic("crypto: SHA-256 final failed");
}

struct sha256 *sha256_new(void)
{
	struct sha256 *s = xcalloc(1, sizeof(*s));
	s->ctx = EVP_MD_CTX_new();
	if (!s->ctx)
		panic("out of memory");
	ctx_start(s->ctx);
	return s;
}

void sha256_update(struct sha256 *s, const void *p, size_t len)
{
	ctx_update(s->ctx, p, len);
}

void sha256_final(struct sha256 *s, struct hash *ret)
{
	ctx_finish(s->ctx, ret);
	ctx_start(s->ctx);
}

void sha256_peek(const struct sha256 *s, struct hash *ret)
{
	if (!EVP_MD_CTX_copy_ex(scratch(), s->ctx))
		panic("crypto: SHA-256 copy failed");
	ctx_finish(scratch(), ret);
}

void sha256_free(struct sha256 *s)
{
	if (!s)
		return;
	EVP_MD_CTX_free(s->ctx);
	free(s);
}

void sha256_of(const void *p, size_t len, struct hash *ret)
{
	EVP_MD_CTX *ctx = scratch();
	ctx_start(ctx);
	ctx_update(ctx, p, len);
	ctx_finish(ctx, ret);
}

void hmac_sha256(const void *key, size_t key_len, const void *p, size_t len, struct hash *ret)
{
	/* RFC 2104 in four calls: OpenSSL's HMAC() fetches its parts anew every time. */
	uint8_t pad[BLOCK] = { 0 };
	struct hash inner;
	if (key_len > BLOCK)
		sha256_of(key, key_len, (struct hash *)pad);
	else if (key_len)
		memcpy(pad, key, key_len);
	for (int i = 0; i < BLOCK; i++)
		pad[i] ^= 0x36;
	EVP_MD_CTX *ctx = scratch();
	ctx_start(ctx);
	ctx_update(ctx, pad, BLOCK);
	ctx_update(ctx, p, len);
	ctx_finish(ctx, &inner);
	for (int i = 0; i < BLOCK; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	ctx_start(ctx);
	ctx_update(ctx, pad, BLOCK);
	ctx_update(ctx, inner.b, sizeof(inner.b));
	ctx_finish(ctx, ret);
	crypto_wipe(pad, sizeof(pad));
	crypto_wipe(&inner, sizeof(inner));
}
