/* Making and checking the text of API keys. Called by handlers/keys.c and handlers/guard.c; no state. */
#include "auth/apikey.h"

#include <string.h>

static const char BASE62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#define PREFIX_LEN (sizeof(APIKEY_PREFIX) - 1)
#define CHECKSUM_LEN 6
#define BODY_LEN (APIKEY_LEN - CHECKSUM_LEN) /* prefix and random part */

/* CRC-32 (IEEE), bit by bit: 44 bytes once per key. */
static uint32_t crc32_of(const char *p, size_t len)
{
	uint32_t crc = 0xffffffffu;
	for (size_t i = 0; i < len; i++) {
		crc ^= (uint8_t)p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static void checksum_of(const char *body, char ret[CHECKSUM_LEN])
{
	uint32_t crc = crc32_of(body, BODY_LEN);
	for (size_t i = CHECKSUM_LEN; i-- > 0; crc /= 62)
		ret[i] = BASE62[crc % 62];
}

struct apikey apikey_new(void)
{
	struct apikey key = { APIKEY_PREFIX };
	size_t have = PREFIX_LEN;
	while (have < BODY_LEN) {
		uint8_t b[64];
		random_bytes(b, sizeof(b));
		for (size_t i = 0; i < sizeof(b) && have < BODY_LEN; i++)
			if (b[i] < 4 * 62) /* the rest would favour some characters */
				key.s[have++] = BASE62[b[i] % 62];
		crypto_wipe(b, sizeof(b));
	}
	checksum_of(key.s, key.s + BODY_LEN);
	key.s[APIKEY_LEN] = '\0';
	return key;
}

bool apikey_shaped(const char *s)
{
	return strncmp(s, APIKEY_PREFIX, PREFIX_LEN) == 0;
}

bool apikey_well_formed(const char *s)
{
	char checksum[CHECKSUM_LEN];
	if (!apikey_shaped(s) || strlen(s) != APIKEY_LEN || strspn(s + PREFIX_LEN, BASE62) != APIKEY_LEN - PREFIX_LEN)
		return false;
	checksum_of(s, checksum);
	return memcmp(checksum, s + BODY_LEN, CHECKSUM_LEN) == 0;
}

void apikey_hash(const char *s, struct hash *ret)
{
	sha256_of(s, strlen(s), ret);
}
