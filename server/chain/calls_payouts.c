/* Calls and events of contracts/Payouts.sol; see calls.h. Pure. */
#include <string.h>

#include "chain/abi.h"
#include "chain/calls.h"

static const uint8_t PAY[4] = { 0x76, 0xf3, 0x8c, 0x32 };        /* pay((bytes32,address,uint256)[]) */
static const uint8_t END_OF[4] = { 0xdb, 0xc2, 0xd5, 0xb7 };     /* endOf(bytes32) */
static const uint8_t TOTAL_PAID[4] = { 0xe7, 0xb0, 0xf6, 0x66 }; /* totalPaid() */

/* keccak256 of Paid(bytes32,address,uint256,bool) and Skipped(bytes32,uint8) */
const struct hash CALLS_PAYOUTS_PAID = { { 0x40, 0x82, 0x47, 0xe8, 0x9d, 0x39, 0x87, 0x1c, 0x0c, 0xb4, 0x76, 0x8c, 0x90, 0x19, 0x98, 0x73,
					   0x31, 0x56, 0x88, 0xa6, 0x38, 0xcb, 0x09, 0xe6, 0xf8, 0xee, 0xb7, 0xa3, 0x2a, 0x5c, 0xf1, 0xeb } };
static const struct hash SKIPPED = { { 0x16, 0x75, 0x15, 0x37, 0x9e, 0xc2, 0x91, 0x33, 0xd6, 0x2e, 0x15, 0x79, 0x8d, 0xd6, 0xc9, 0x0f,
				       0x69, 0x20, 0x36, 0xc7, 0x14, 0xde, 0x5d, 0x7c, 0x9c, 0x36, 0xfe, 0x3e, 0xd9, 0x2a, 0xde, 0x5b } };

enum err calls_payouts_pay(const struct calls_payout *items, size_t count, struct buf *out)
{
	struct abi_writer w;
	struct abi_part args, list;

	abi_begin(&w, out, PAY, 1, &args);
	abi_array(&w, &args, count, count * 3, &list);
	for (size_t i = 0; i < count; i++) {
		abi_word(&w, &list, items[i].id.b);
		abi_address(&w, &list, &items[i].to);
		abi_u256(&w, &list, &items[i].amount);
	}
	return abi_finish(&w);
}

enum err calls_payouts_end_of(const struct hash *id, struct buf *out)
{
	struct abi_writer w;
	struct abi_part args;

	abi_begin(&w, out, END_OF, 1, &args);
	abi_word(&w, &args, id->b);
	return abi_finish(&w);
}

enum err calls_payouts_total(struct buf *out)
{
	struct abi_writer w;
	struct abi_part args;

	abi_begin(&w, out, TOTAL_PAID, 0, &args);
	return abi_finish(&w);
}

enum err calls_read_end_of(const void *p, size_t len, bool *ret_ended, uint64_t *ret_block)
{
	const uint8_t *words = p;
	uint64_t end = 0, block = 0;
	struct u256 v;

	if (len != 64)
		return ERR_BAD_FIELD;
	v = u256_from_be(words);
	if (u256_to_u64(&v, &end) || end > 2)
		return ERR_BAD_FIELD;
	v = u256_from_be(words + 32);
	if (u256_to_u64(&v, &block))
		return ERR_BAD_FIELD;
	*ret_ended = end != 0;
	*ret_block = block;
	return ERR_OK;
}

static bool read_paid(const struct hash *topics, const uint8_t *p, struct calls_paid_out *ret)
{
	struct calls_paid_out paid = { .id = topics[1] };
	struct u256 ok = u256_from_be(p + 32);
	uint64_t flag = 0;

	if (!abi_word_to_address(&topics[2], &paid.to) || u256_to_u64(&ok, &flag) || flag > 1)
		return false;
	paid.amount = u256_from_be(p);
	paid.end = flag ? CALLS_PAID : CALLS_PAY_REFUSED;
	*ret = paid;
	return true;
}

bool calls_read_paid_out(const struct hash *topics, size_t topic_count, const void *data, size_t len, struct calls_paid_out *ret)
{
	struct u256 why;
	uint64_t v = 0;

	if (topic_count == 3 && len == 64 && hash_equal(&topics[0], &CALLS_PAYOUTS_PAID))
		return read_paid(topics, data, ret);
	if (topic_count != 2 || len != 32 || !hash_equal(&topics[0], &SKIPPED))
		return false;
	why = u256_from_be(data);
	if (u256_to_u64(&why, &v) || v > CALLS_PAY_NOT_ENOUGH_GAS)
		return false;
	*ret = (struct calls_paid_out){ .id = topics[1], .end = CALLS_PAY_SKIPPED, .why = (unsigned)v };
	return true;
}
