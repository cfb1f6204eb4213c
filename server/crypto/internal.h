/* Shared between the files of this folder only. */
#ifndef OPGATE_CRYPTO_INTERNAL_H
#define OPGATE_CRYPTO_INTERNAL_H

#include <openssl/evp.h>
#include <secp256k1.h>

/* Both initialise on first use; constant afterwards. */
const EVP_MD *crypto_sha256_md(void);
const secp256k1_context *crypto_curve(void);

#endif
