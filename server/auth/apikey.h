/* API keys: `ogk_`, 40 random base62 characters, 6 base62 characters of CRC-32 over what precedes them, so that a mistyped
 * key is told from a wrong one without a look-up. Only the SHA-256 of the text is ever kept. Pure; nothing is locked. */
#ifndef OPGATE_AUTH_APIKEY_H
#define OPGATE_AUTH_APIKEY_H

#include "crypto/crypto.h"

#define APIKEY_PREFIX "ogk_"
#define APIKEY_LEN 50
#define APIKEY_SHOWN 10 /* characters that may be shown later */

struct apikey {
	char s[APIKEY_LEN + 1];
};

struct apikey apikey_new(void);
/* Begins like one of our keys: somebody means to use a key, well-formed or not. */
bool apikey_shaped(const char *s);
/* Length, alphabet and checksum. */
bool apikey_well_formed(const char *s);
void apikey_hash(const char *s, struct hash *ret);

#endif
