/* Contract calls as bytes, see calls.h. Called by payment checks and the settler; pure. */
#include "chain/calls.h"

#include <string.h>

#include "base/mem.h"
#include "chain/abi.h"

const struct address CALLS_PERMIT2 = { { 0x00, 0x00, 0x00, 0x00, 0x00, 0x22, 0xd4, 0x73, 0x03, 0x0f,
					 0x11, 0x6d, 0xde, 0xe9, 0xf6, 0xb4, 0x3a, 0xc7, 0x8b, 0xa3 } };
const struct address CALLS_X402_EXACT_PROXY = { { 0x40, 0x20, 0x85, 0xc2, 0x48, 0xee, 0xa2, 0x7d, 0x92, 0xe8,
						  0xb3, 0x0b, 0x2c, 0x58, 0xed, 0x07, 0xf9, 0xe2, 0x00, 0x01 } };
const struct address CALLS_X402_UPTO_PROXY = { { 0x40, 0x20, 0xa4, 0xf3, 0xb7, 0xb9, 0x0c, 0xca, 0x42, 0x3b,
						 0x9f, 0xab, 0xcc, 0x0c, 0xe5, 0x7c, 0x6c, 0x24, 0x00, 0x02 } };
const struct address CALLS_MULTICALL3 = { { 0xca, 0x11, 0xbd, 0xe0, 0x59, 0x77, 0xb3, 0x63, 0x11, 0x67,
					    0x02, 0x88, 0x62, 0xbe, 0x2a, 0x17, 0x39, 0x76, 0xca, 0x11 } };

/* First four bytes of keccak256 of the signature; the unit tests compare every call with what viem makes of the signature. */
static const uint8_t BALANCE_OF[4] = { 0x70, 0xa0, 0x82, 0x31 };
static const uint8_t TRANSFER[4] = { 0xa9, 0x05, 0x9c, 0xbb };
static const uint8_t APPROVE[4] = { 0x09, 0x5e, 0xa7, 0xb3 };
static const uint8_t ALLOWANCE[4] = { 0xdd, 0x62, 0xed, 0x3e };
static const uint8_t TRANSFER_WITH_AUTHORIZATION[4] = { 0xe3, 0xee, 0x16, 0x0e };       /* …,uint8,bytes32,bytes32 */
static const uint8_t TRANSFER_WITH_AUTHORIZATION_BYTES[4] = { 0xcf, 0x09, 0x29, 0x95 }; /* …,bytes */
static const uint8_t AUTHORIZATION_STATE[4] = { 0xe9, 0x4a, 0x01, 0x02 };
static const uint8_t PERMIT[4] = { 0xd5, 0x05, 0xac, 0xcf };
static const uint8_t NONCES[4] = { 0x7e, 0xce, 0xbe, 0x00 };
static const uint8_t NONCE_BITMAP[4] = { 0x4f, 0xe0, 0x2b, 0x44 };
static const uint8_t PERMIT_TRANSFER_FROM[4] = { 0x30, 0xf2, 0x8b, 0x7a };
static const uint8_t DEPOSIT_WITH_PERMIT2[4] = { 0x64, 0xe7, 0xc6, 0x60 };
static const uint8_t DEPOSIT_WITH_PERMIT[4] = { 0x12, 0xa6, 0x2c, 0xff };
static const uint8_t EXACT_SETTLE[4] = { 0x13, 0xcd, 0x3b, 0x53 };
static const uint8_t EXACT_SETTLE_WITH_PERMIT[4] = { 0xfa, 0x34, 0x03, 0x78 };
static const uint8_t UPTO_SETTLE[4] = { 0xff, 0x11, 0xe7, 0xb4 };
static const uint8_t UPTO_SETTLE_WITH_PERMIT[4] = { 0x01, 0x6c, 0x17, 0x48 };
static const uint8_t IS_VALID_SIGNATURE[4] = { 0x16, 0x26, 0xba, 0x7e }; /* and the magic answer */
static const uint8_t AGGREGATE3[4] = { 0x82, 0xad, 0x56, 0xcb };

static const uint8_t SETTLER_SETTLE[4] = { 0x85, 0x40, 0xe2, 0x3b };

/* keccak256 of Settled(uint256,bytes32,bool,bytes) and Skipped(uint256,bytes32,uint8) */
static const struct hash SETTLED = { { 0xbb, 0xd3, 0x7c, 0xb4, 0xcf, 0x36, 0x63, 0x88, 0xd5, 0x0b, 0x64, 0x9d, 0x18, 0xa4, 0xe9, 0xd6,
				       0xed, 0xbf, 0x19, 0x9c, 0x4f, 0x2e, 0xdb, 0x9e, 0xf9, 0x97, 0xde, 0x02, 0xba, 0x69, 0x5a, 0x86 } };
static const struct hash SKIPPED = { { 0x49, 0x0f, 0xa2, 0x62, 0x07, 0x54, 0x0d, 0x0b, 0xe7, 0x1d, 0xb5, 0x24, 0x21, 0xeb, 0x65, 0xf2,
				       0xcb, 0x9a, 0x5a, 0x07, 0x51, 0xbd, 0xea, 0x98, 0x14, 0xae, 0xad, 0x7d, 0x77, 0xb7, 0x92, 0x37 } };

static enum err one_address(const uint8_t selector[4], const struct address *a, struct buf *out)
{
	struct abi_writer w;
	struct abi_part args;
	abi_begin(&w, out, selector, 1, &args);
	abi_address(&w, &args, a);
	return abi_finish(&w);
}

static enum err address_and_word(const uint8_t selector[4], const struct address *a, const uint8_t be[32], struct buf *out)
{
	struct abi_writer w;
	struct abi_part args;
	abi_begin(&w, out, selector, 2, &args);
	abi_address(&w, &args, a);
	abi_word(&w, &args, be);
	return abi_finish(&w);
}

static enum err address_and_u256(const uint8_t selector[4], const struct address *a, const struct u256 *v, struct buf *out)
{
	uint8_t be[32];
	u256_to_be(v, be);
	return address_and_word(selector, a, be, out);
}

enum err calls_erc20_balance_of(const struct address *owner, struct buf *out)
{
	return one_address(BALANCE_OF, owner, out);
}

enum err calls_erc20_transfer(const struct address *to, const struct u256 *value, struct buf *out)
{
	return address_and_u256(TRANSFER, to, value, out);
}

enum err calls_erc20_approve(const struct address *spender, const struct u256 *value, struct buf *out)
{
	return address_and_u256(APPROVE, spender, value, out);
}

enum err calls_erc20_allowance(const struct address *owner, const struct address *spender, struct buf *out)
{
	struct hash word;
	abi_word_from_address(spender, &word);
	return address_and_word(ALLOWANCE, owner, word.b, out);
}

bool calls_parse_approve(const void *data, size_t len, struct address *ret_spender, struct u256 *ret_value)
{
	const uint8_t *p = data;
	struct hash word;
	struct address spender;
	if (len != 4 + 2 * 32 || memcmp(p, APPROVE, 4) != 0)
		return false;
	memcpy(word.b, p + 4, sizeof(word.b));
	if (!abi_word_to_address(&word, &spender))
		return false;
	*ret_spender = spender;
	*ret_value = u256_from_be(p + 4 + 32);
	return true;
}

/* The six words both overloads start with. */
static void authorization_put(struct abi_writer *w, struct abi_part *args, const struct calls_authorization *a)
{
	abi_address(w, args, &a->from);
	abi_address(w, args, &a->to);
	abi_u256(w, args, &a->value);
	abi_u256(w, args, &a->valid_after);
	abi_u256(w, args, &a->valid_before);
	abi_word(w, args, a->nonce.b);
}

enum err calls_eip3009_transfer(const struct calls_authorization *a, const struct signature *sig, struct buf *out)
{
	struct abi_writer w;
	struct abi_part args;
	abi_begin(&w, out, TRANSFER_WITH_AUTHORIZATION, 9, &args);
	authorization_put(&w, &args, a);
	abi_uint(&w, &args, sig->b[64]);
	abi_word(&w, &args, sig->b);
	abi_word(&w, &args, sig->b + 32);
	return abi_finish(&w);
}

enum err calls_eip3009_transfer_bytes(const struct calls_authorization *a, const void *sig, size_t sig_len, struct buf *out)
{
	struct abi_writer w;
	struct abi_part args;
	abi_begin(&w, out, TRANSFER_WITH_AUTHORIZATION_BYTES, 7, &args);
	authorization_put(&w, &args, a);
	abi_bytes(&w, &args, sig, sig_len);
	return abi_finish(&w);
}

enum err calls_eip3009_state(const struct address *authorizer, const struct hash *nonce, struct buf *out)
{
	return address_and_word(AUTHORIZATION_STATE, authorizer, nonce->b, out);
}

/* What every permit ends with: value, deadline, v, r, s. */
static void permit_put(struct abi_writer *w, struct abi_part *args, const struct calls_permit *p)
{
	abi_u256(w, args, &p->value);
	abi_u256(w, args, &p->deadline);
	abi_uint(w, args, p->sig.b[64]);
	abi_word(w, args, p->sig.b);
	abi_word(w, args, p->sig.b + 32);
}

enum err calls_eip2612_permit(const struct address *owner, const struct address *spender, const struct calls_permit *p, struct buf *out)
{
	struct abi_writer w;
	struct abi_part args;
	abi_begin(&w, out, PERMIT, 7, &args);
	abi_address(&w, &args, owner);
	abi_address(&w, &args, spender);
	permit_put(&w, &args, p);
	return abi_finish(&w);
}

enum err calls_eip2612_nonces(const struct address *owner, struct buf *out)
{
	return one_address(NONCES, owner, out);
}

enum err calls_permit2_nonce_bitmap(const struct address *owner, const struct u256 *word, struct buf *out)
{
	return address_and_u256(NONCE_BITMAP, owner, word, out);
}

void calls_permit2_nonce_place(const struct u256 *nonce, struct u256 *ret_word, uint8_t *ret_bit)
{
	uint8_t be[32], word[32] = { 0 };
	u256_to_be(nonce, be);
	memcpy(word + 1, be, 31);
	*ret_bit = be[31];
	*ret_word = u256_from_be(word);
}

bool calls_permit2_nonce_used(const struct u256 *bitmap, uint8_t bit)
{
	return bitmap->limb[bit / 64] >> (bit % 64) & 1;
}

/* PermitTransferFrom, a static tuple of four words. */
static void permit2_put(struct abi_writer *w, struct abi_part *args, const struct calls_permit2 *p)
{
	abi_address(w, args, &p->token);
	abi_u256(w, args, &p->amount);
	abi_u256(w, args, &p->nonce);
	abi_u256(w, args, &p->deadline);
}

enum err calls_permit2_transfer(const struct calls_permit2 *p, const struct address *to, const struct u256 *amount,
				const struct address *owner, const void *sig, size_t sig_len, struct buf *out)
{
	struct abi_writer w;
	struct abi_part args;
	abi_begin(&w, out, PERMIT_TRANSFER_FROM, 8, &args);
	permit2_put(&w, &args, p);
	abi_address(&w, &args, to);
	abi_u256(&w, &args, amount);
	abi_address(&w, &args, owner);
	abi_bytes(&w, &args, sig, sig_len);
	return abi_finish(&w);
}

enum err calls_deposit_permit2(const struct address *owner, const struct calls_permit2 *p, const void *sig, size_t sig_len, struct buf *out)
{
	struct abi_writer w;
	struct abi_part args;
	abi_begin(&w, out, DEPOSIT_WITH_PERMIT2, 5, &args);
	abi_address(&w, &args, owner);
	abi_u256(&w, &args, &p->amount);
	abi_u256(&w, &args, &p->nonce);
	abi_u256(&w, &args, &p->deadline);
	abi_bytes(&w, &args, sig, sig_len);
	return abi_finish(&w);
}

enum err calls_deposit_permit(const struct address *owner, const struct calls_permit *p, struct buf *out)
{
	struct abi_writer w;
	struct abi_part args;
	abi_begin(&w, out, DEPOSIT_WITH_PERMIT, 6, &args);
	abi_address(&w, &args, owner);
	permit_put(&w, &args, p);
	return abi_finish(&w);
}

enum err calls_x402_settle(const struct calls_x402 *s, struct buf *out)
{
	static const uint8_t *const selectors[2][2] = { { EXACT_SETTLE, EXACT_SETTLE_WITH_PERMIT }, { UPTO_SETTLE, UPTO_SETTLE_WITH_PERMIT } };
	struct abi_writer w;
	struct abi_part args;
	abi_begin(&w, out, selectors[s->upto][s->sponsored != NULL], (s->upto ? 10u : 8u) + (s->sponsored ? 5u : 0u), &args);
	if (s->sponsored) {
		abi_u256(&w, &args, &s->sponsored->value);
		abi_u256(&w, &args, &s->sponsored->deadline);
		abi_word(&w, &args, s->sponsored->sig.b);
		abi_word(&w, &args, s->sponsored->sig.b + 32);
		abi_uint(&w, &args, s->sponsored->sig.b[64]);
	}
	permit2_put(&w, &args, &s->permit);
	if (s->upto)
		abi_u256(&w, &args, &s->upto_amount);
	abi_address(&w, &args, &s->owner);
	abi_address(&w, &args, &s->to);
	if (s->upto)
		abi_address(&w, &args, &s->upto_facilitator);
	abi_u256(&w, &args, &s->valid_after);
	abi_bytes(&w, &args, s->sig, s->sig_len);
	return abi_finish(&w);
}

enum err calls_erc1271(const struct hash *digest, const void *sig, size_t sig_len, struct buf *out)
{
	struct abi_writer w;
	struct abi_part args;
	abi_begin(&w, out, IS_VALID_SIGNATURE, 2, &args);
	abi_word(&w, &args, digest->b);
	abi_bytes(&w, &args, sig, sig_len);
	return abi_finish(&w);
}

enum err calls_aggregate3(const struct calls_item *items, size_t count, struct buf *out)
{
	struct abi_writer w;
	struct abi_part args, list, item;
	abi_begin(&w, out, AGGREGATE3, 1, &args);
	abi_array(&w, &args, count, count, &list);
	for (size_t i = 0; i < count; i++) {
		abi_tuple(&w, &list, 3, &item);
		abi_address(&w, &item, &items[i].target);
		abi_uint(&w, &item, 1); /* allowFailure */
		abi_bytes(&w, &item, items[i].data, items[i].len);
	}
	return abi_finish(&w);
}

struct reader {
	const uint8_t *p;
	size_t len, at;
};

/* The next word as a size below 2^32. */
static bool take_size(struct reader *r, size_t *ret)
{
	static const uint8_t zero[28];
	if (r->len - r->at < 32 || memcmp(r->p + r->at, zero, sizeof(zero)) != 0)
		return false;
	size_t v = 0;
	for (int i = 28; i < 32; i++)
		v = v << 8 | r->p[r->at + (size_t)i];
	r->at += 32;
	*ret = v;
	return true;
}

static bool expect_size(struct reader *r, size_t want)
{
	size_t got = 0;
	return take_size(r, &got) && got == want;
}

/* (bool, bytes): the flag, the place of the bytes, their length, the bytes, padding. */
static bool take_result(struct reader *r, struct calls_result *ret)
{
	size_t ok = 0, len = 0;
	if (!take_size(r, &ok) || ok > 1 || !expect_size(r, 2 * 32) || !take_size(r, &len) || len > r->len - r->at)
		return false;
	size_t padded = (len + 31) / 32 * 32;
	if (padded > r->len - r->at)
		return false;
	*ret = (struct calls_result){ ok == 1, r->p + r->at, len };
	r->at += padded;
	return true;
}

enum err calls_read_aggregate3(const void *p, size_t len, struct calls_result *ret, size_t count)
{
	struct reader r = { p, len, 0 };
	if (!expect_size(&r, 32) || !expect_size(&r, count))
		return ERR_BAD_FIELD;
	struct reader places = r; /* one word for each result, counted from here */
	size_t from = r.at;
	if ((r.len - r.at) / 32 < count)
		return ERR_BAD_FIELD;
	r.at += 32 * count;
	for (size_t i = 0; i < count; i++)
		if (!expect_size(&places, r.at - from) || !take_result(&r, &ret[i]))
			return ERR_BAD_FIELD;
	return r.at == r.len ? ERR_OK : ERR_BAD_FIELD;
}

/* The contract's number for a call. */
static bool settler_kind(const uint8_t selector[4], unsigned *ret)
{
	static const uint8_t *const kinds[] = { TRANSFER_WITH_AUTHORIZATION, TRANSFER_WITH_AUTHORIZATION_BYTES,
						EXACT_SETTLE,		     EXACT_SETTLE_WITH_PERMIT,
						UPTO_SETTLE,		     UPTO_SETTLE_WITH_PERMIT };
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (memcmp(selector, kinds[i], 4) == 0) {
			*ret = i;
			return true;
		}
	}
	return false;
}

enum err calls_settler_settle(const struct calls_settlement *items, size_t count, struct buf *out)
{
	struct abi_writer w;
	struct abi_part args, list, item;
	unsigned kind = 0;
	for (size_t i = 0; i < count; i++)
		if (items[i].len < 4 || !settler_kind(items[i].call, &kind))
			return ERR_BAD_FIELD;
	abi_begin(&w, out, SETTLER_SETTLE, 1, &args);
	abi_array(&w, &args, count, count, &list);
	for (size_t i = 0; i < count; i++) {
		const uint8_t *call = items[i].call;
		if (!settler_kind(call, &kind))
			panic("calls: a call changed while it was read");
		abi_tuple(&w, &list, 5, &item);
		abi_uint(&w, &item, kind);
		abi_address(&w, &item, &items[i].token);
		abi_uint(&w, &item, items[i].gas_limit);
		abi_word(&w, &item, items[i].ref.b);
		abi_bytes(&w, &item, call + 4, items[i].len - 4);
	}
	return abi_finish(&w);
}

bool calls_read_settled(const struct hash *topics, size_t topic_count, const void *data, size_t len, struct calls_settled *ret)
{
	if (topic_count != 3)
		return false;
	struct calls_settled out = { .ref = topics[2] };
	struct reader index = { topics[1].b, 32, 0 }, r = { data, len, 0 };
	struct calls_result result;
	size_t why = 0;
	if (!take_size(&index, &out.index))
		return false;
	if (hash_equal(&topics[0], &SKIPPED)) {
		if (!take_size(&r, &why) || r.at != len || why > 255)
			return false;
		out.end = CALLS_SETTLE_SKIPPED;
		out.why = (unsigned)why;
	} else {
		if (!hash_equal(&topics[0], &SETTLED) || !take_result(&r, &result) || r.at != len)
			return false;
		out.end = result.ok ? CALLS_SETTLED : CALLS_SETTLE_FAILED;
		out.reason = result.data;
		out.reason_len = result.len;
	}
	*ret = out;
	return true;
}

enum err calls_read_u256(const void *p, size_t len, struct u256 *ret)
{
	if (len != 32)
		return ERR_BAD_FIELD;
	*ret = u256_from_be(p);
	return ERR_OK;
}

enum err calls_read_bool(const void *p, size_t len, bool *ret)
{
	struct reader r = { p, len, 0 };
	size_t v = 0;
	if (len != 32 || !take_size(&r, &v) || v > 1)
		return ERR_BAD_FIELD;
	*ret = v == 1;
	return ERR_OK;
}

bool calls_erc1271_accepts(const void *p, size_t len)
{
	uint8_t magic[32] = { 0 };
	memcpy(magic, IS_VALID_SIGNATURE, sizeof(IS_VALID_SIGNATURE));
	return len == 32 && memcmp(p, magic, 32) == 0;
}
