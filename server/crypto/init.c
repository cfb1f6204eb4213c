/* The process-wide parts: the fetched digest and the randomized curve context. Called by main once and by every other
 * file here; pthread_once is the only lock. */
#include "crypto/crypto.h"

#include <openssl/crypto.h>
#include <pthread.h>

#include "base/mem.h"
#include "crypto/internal.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256_md;
static secp256k1_context *curve;

static void init_once(void)
{
	/* An implicit fetch on every digest costs more than the digest and takes a lock. */
	sha256_md = EVP_MD_fetch(NULL, "SHA2-256", NULL);
	if (!sha256_md)
		panic("crypto: no SHA-256");
	curve = secp256k1_context_create(SECP256K1_CONTEXT_NONE);
	uint8_t seed[32];
	random_bytes(seed, sizeof(seed));
	/* Blinding against side channels; changes the context, so it happens before any other use. */
	if (!curve || !secp256k1_context_randomize(curve, seed))
		panic("crypto: no curve context");
	crypto_wipe(seed, sizeof(seed));
}

void crypto_init(void)
{
	pthread_once(&once, init_once);
}

const EVP_MD *crypto_sha256_md(void)
{
	crypto_init();
	return sha256_md;
}

const secp256k1_context *crypto_curve(void)
{
	crypto_init();
	return curve;
}

bool crypto_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}

void crypto_wipe(void *p, size_t len)
{
	OPENSSL_cleanse(p, len);
}
