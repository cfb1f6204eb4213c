/* secp256k1 signatures with recovery, and addresses with EIP-55 checksums. Called by auth, chain, proof and the node
 * agent; the curve context is constant after crypto_init, so no locks. */
#include "crypto/crypto.h"

#include <secp256k1_recovery.h>
#include <string.h>

#include "base/mem.h"
#include "crypto/internal.h"

/* (n-1)/2: s above it is the malleable twin of a signature. */
static const uint8_t HALF_ORDER[32] = {
	0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
};
static const uint8_t ZERO[32];

static bool s_is_low(const struct signature *sig)
{
	return memcmp(sig->b + 32, HALF_ORDER, 32) <= 0;
}

/* The last 20 bytes of keccak256 of the point without its format byte. */
static void pubkey_address(const secp256k1_pubkey *pubkey, struct address *ret)
{
	uint8_t point[65];
	size_t len = sizeof(point);
	struct hash h;
	secp256k1_ec_pubkey_serialize(crypto_curve(), point, &len, pubkey, SECP256K1_EC_UNCOMPRESSED);
	keccak256(point + 1, 64, &h);
	memcpy(ret->b, h.b + 12, sizeof(ret->b));
}

void secret_key_address(const struct secret_key *key, struct address *ret)
{
	secp256k1_pubkey pubkey;
	if (!secp256k1_ec_pubkey_create(crypto_curve(), &pubkey, key->b))
		panic("crypto: secret key out of range");
	pubkey_address(&pubkey, ret);
}

void ecdsa_sign(const struct secret_key *key, const struct hash *digest, struct signature *ret)
{
	secp256k1_ecdsa_recoverable_signature raw;
	struct signature sig;
	uint8_t extra[32] = { 0 };
	int recid = 0;
	/* RFC 6979. A point with x >= n (recid 2 or 3) has no v; it will never be seen, but then another nonce is taken. */
	do {
		if (!secp256k1_ecdsa_sign_recoverable(crypto_curve(), &raw, digest->b, key->b, NULL, extra[31] ? extra : NULL))
			panic("crypto: secret key out of range");
		secp256k1_ecdsa_recoverable_signature_serialize_compact(crypto_curve(), sig.b, &recid, &raw);
		extra[31]++;
	} while (recid > 1);
	if (!s_is_low(&sig))
		panic("crypto: signed with a high s");
	sig.b[64] = (uint8_t)(27 + recid);
	*ret = sig;
}

enum err ecdsa_recover(const struct hash *digest, const struct signature *sig, struct address *ret)
{
	secp256k1_ecdsa_recoverable_signature raw;
	secp256k1_pubkey pubkey;
	if (sig->b[64] != 27 && sig->b[64] != 28)
		return ERR_BAD_SIGNATURE;
	/* The library accepts high s; one signature must have one text. */
	if (!s_is_low(sig) || memcmp(sig->b, ZERO, 32) == 0 || memcmp(sig->b + 32, ZERO, 32) == 0)
		return ERR_BAD_SIGNATURE;
	if (!secp256k1_ecdsa_recoverable_signature_parse_compact(crypto_curve(), &raw, sig->b, sig->b[64] - 27))
		return ERR_BAD_SIGNATURE;
	if (!secp256k1_ecdsa_recover(crypto_curve(), &pubkey, &raw, digest->b))
		return ERR_BAD_SIGNATURE;
	pubkey_address(&pubkey, ret);
	return ERR_OK;
}

enum err signature_parse(const char *s, struct signature *ret)
{
	if (!s || s[0] != '0' || s[1] != 'x')
		return ERR_BAD_FIELD;
	return hex_decode(s + 2, strnlen(s + 2, 131), ret->b, sizeof(ret->b));
}

struct signature_str signature_format(const struct signature *sig)
{
	struct signature_str out = { "0x" };
	hex_encode(sig->b, sizeof(sig->b), out.s + 2);
	return out;
}

struct address_str address_format_eip55(const struct address *a)
{
	struct address_str out = address_format(a);
	struct hash h;
	keccak256(out.s + 2, 40, &h);
	for (int i = 0; i < 40; i++) {
		int nibble = h.b[i / 2] >> (i % 2 ? 0 : 4) & 15;
		if (out.s[2 + i] >= 'a' && nibble >= 8)
			out.s[2 + i] = (char)(out.s[2 + i] - 'a' + 'A');
	}
	return out;
}

bool address_checksum_ok(const char *s)
{
	struct address a;
	bool lower = false, upper = false;
	if (address_parse(s, &a))
		return false;
	for (const char *p = s + 2; *p; p++) {
		lower |= *p >= 'a' && *p <= 'f';
		upper |= *p >= 'A' && *p <= 'F';
	}
	return !(lower && upper) || strcmp(s, address_format_eip55(&a).s) == 0;
}
