/* Base64 in both alphabets: the standard one of x402's headers, and the one for URLs, of tokens, receipts and tickets (RFC 4648). */
#ifndef OPGATE_BASE_BASE64_H
#define OPGATE_BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Standard alphabet, padded; the caller frees. */
char *base64_encode(const void *p, size_t len);
/* As clients of the official packages are read: standard alphabet only, padding may be missing but not be wrong. NULL when it is not
 * base64; otherwise the bytes with a NUL behind them, which the caller frees. */
char *base64_decode(const char *s, size_t len, size_t *ret_len);

size_t base64url_encoded_len(size_t len);                     /* without NUL */
void base64url_encode(const void *p, size_t len, char *ret);  /* no padding, NUL-terminated */
enum err base64url_decode(const char *s, size_t len, uint8_t *ret, size_t ret_cap, size_t *ret_len) WARN_UNUSED; /* strict, no padding */

#endif
