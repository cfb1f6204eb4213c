/* Keccak-256 as Ethereum uses it: Keccak-f[1600], rate 136, pad 0x01 (SHA-3 proper pads 0x06, so OpenSSL's does not
 * help). Called by this folder, chain and proof; no state, no locks. */
#include "crypto/crypto.h"

#include <string.h>

#define RATE 136

struct keccak {
	uint64_t lane[25];
	size_t fill; /* bytes of the current block already absorbed */
};

static inline uint64_t rotl(uint64_t v, unsigned n)
{
	return v << n | v >> (64 - n);
}

/* Indices and rotations become constants: four times as fast as the loops. */
#define UNROLL _Pragma("GCC unroll 25")

static void keccak_f(uint64_t a[25])
{
	static const uint64_t round_constant[24] = {
		0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000, 0x000000000000808b, 0x0000000080000001,
		0x8000000080008081, 0x8000000000008009, 0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
		0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003, 0x8000000000008002, 0x8000000000000080,
		0x000000000000800a, 0x800000008000000a, 0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
	};
	/* rho and pi walk one cycle through 24 of the 25 lanes */
	static const uint8_t rotation[24] = { 1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 2, 14, 27, 41, 56, 8, 25, 43, 62, 18, 39, 61, 20, 44 };
	static const uint8_t position[24] = { 10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1 };
	for (int round = 0; round < 24; round++) {
		uint64_t c[5];
		UNROLL for (int x = 0; x < 5; x++)
			c[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
		UNROLL for (int x = 0; x < 5; x++) {
			uint64_t d = c[(x + 4) % 5] ^ rotl(c[(x + 1) % 5], 1);
			UNROLL for (int y = 0; y < 25; y += 5)
				a[y + x] ^= d;
		}
		uint64_t moving = a[1];
		UNROLL for (int i = 0; i < 24; i++) {
			uint64_t next = a[position[i]];
			a[position[i]] = rotl(moving, rotation[i]);
			moving = next;
		}
		UNROLL for (int y = 0; y < 25; y += 5) {
			memcpy(c, a + y, sizeof(c));
			UNROLL for (int x = 0; x < 5; x++)
				a[y + x] = c[x] ^ (~c[(x + 1) % 5] & c[(x + 2) % 5]);
		}
		a[0] ^= round_constant[round];
	}
}

static void keccak_xor_byte(struct keccak *k, size_t at, uint8_t byte)
{
	k->lane[at / 8] ^= (uint64_t)byte << (8 * (at % 8));
}

static uint64_t load_le64(const uint8_t *p)
{
	uint64_t v = 0;
	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

static void keccak_absorb(struct keccak *k, const uint8_t *p, size_t len)
{
	while (len > 0) {
		if (k->fill % 8 == 0 && len >= 8) {
			k->lane[k->fill / 8] ^= load_le64(p);
			k->fill += 8;
			p += 8;
			len -= 8;
		} else {
			keccak_xor_byte(k, k->fill++, *p++);
			len--;
		}
		if (k->fill == RATE) {
			keccak_f(k->lane);
			k->fill = 0;
		}
	}
}

void keccak256_parts(const struct bytes *parts, size_t count, struct hash *ret)
{
	struct keccak k = { .fill = 0 };
	for (size_t i = 0; i < count; i++)
		keccak_absorb(&k, parts[i].p, parts[i].len);
	keccak_xor_byte(&k, k.fill, 0x01);
	keccak_xor_byte(&k, RATE - 1, 0x80);
	keccak_f(k.lane);
	for (size_t i = 0; i < sizeof(ret->b); i++)
		ret->b[i] = (uint8_t)(k.lane[i / 8] >> (8 * (i % 8)));
}

void keccak256(const void *p, size_t len, struct hash *ret)
{
	keccak256_parts(&(struct bytes){ p, len }, 1, ret);
}
