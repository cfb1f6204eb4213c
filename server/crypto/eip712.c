/* The digests wallets sign: EIP-191 personal messages and EIP-712 typed data (flat types). Called by auth, chain, proof
 * and the node agent; no state, no locks. */
#include "crypto/crypto.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void eip191_digest(const void *msg, size_t len, struct hash *ret)
{
	char head[64];
	int n = snprintf(head, sizeof(head), "\x19" "Ethereum Signed Message:\n%zu", len);
	const struct bytes parts[] = { { head, (size_t)n }, { msg, len } };
	keccak256_parts(parts, 2, ret);
}

/* The next word, zeroed. */
static uint8_t *word_push(struct eip712 *e)
{
	if (e->count >= sizeof(e->words) / 32)
		panic("eip712: too many members");
	uint8_t *w = e->words + 32 * e->count++;
	memset(w, 0, 32);
	return w;
}

void eip712_begin(struct eip712 *e, const char *type)
{
	struct hash h;
	e->count = 0;
	keccak256(type, strlen(type), &h);
	eip712_hash(e, &h);
}

void eip712_uint(struct eip712 *e, uint64_t v)
{
	uint8_t *w = word_push(e);
	for (int i = 31; i >= 24; i--, v >>= 8)
		w[i] = (uint8_t)v;
}

void eip712_address(struct eip712 *e, const struct address *a)
{
	memcpy(word_push(e) + 12, a->b, sizeof(a->b));
}

void eip712_hash(struct eip712 *e, const struct hash *h)
{
	memcpy(word_push(e), h->b, sizeof(h->b));
}

void eip712_bytes16(struct eip712 *e, const uint8_t b[16])
{
	memcpy(word_push(e), b, 16);
}

void eip712_string(struct eip712 *e, const char *s)
{
	struct hash h;
	keccak256(s, strlen(s), &h);
	eip712_hash(e, &h);
}

void eip712_word(struct eip712 *e, const uint8_t be[32])
{
	memcpy(word_push(e), be, 32);
}

void eip712_digest(const struct eip712 *e, const struct hash *domain_separator, struct hash *ret)
{
	struct hash struct_hash;
	keccak256(e->words, 32 * e->count, &struct_hash);
	const struct bytes parts[] = {
		{ "\x19\x01", 2 },
		{ domain_separator->b, sizeof(domain_separator->b) },
		{ struct_hash.b, sizeof(struct_hash.b) },
	};
	keccak256_parts(parts, 3, ret);
}

void eip712_domain(const char *name, const char *version, uint64_t chain_id, const struct address *verifying, struct hash *ret)
{
	struct eip712 e;
	char type[128];
	snprintf(type, sizeof(type), "EIP712Domain(string name%s,uint256 chainId%s)", version ? ",string version" : "",
		 verifying ? ",address verifyingContract" : "");
	eip712_begin(&e, type);
	eip712_string(&e, name);
	if (version)
		eip712_string(&e, version);
	eip712_uint(&e, chain_id);
	if (verifying)
		eip712_address(&e, verifying);
	keccak256(e.words, 32 * e.count, ret);
}
