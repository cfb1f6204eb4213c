/* Every call against viem's encoding of its signature, the writer of arguments with any shape, and the reading of answers. */
#include "tests/unit/unit.h"

#include "chain/abi.h"
#include "chain/calls.h"
#include "tests/unit/chain/bytes.h"
#include "tests/unit/chain/vectors.h"

/* The arguments of make_vectors.mjs. */
static const struct u256 MAX = { { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX } };
static struct address owner, to, spender, facilitator, token;
static struct u256 one_opg, five, six, deadline, deadline_1, nonce;
static struct hash auth_nonce;
static struct signature sig27, sig28;
static uint8_t sig97[97], ramp[93];

static void arguments_set(void)
{
	memset(owner.b, 0x0e, 20);
	memset(to.b, 0x3c, 20);
	memset(spender.b, 0x5e, 20);
	memset(facilitator.b, 0xfa, 20);
	memset(token.b, 0x70, 20);
	one_opg = u256_from_u64(UINT64_C(1000000000000000000));
	five = u256_from_u64(5);
	six = u256_from_u64(6);
	deadline = u256_from_u64(1893456000);
	deadline_1 = u256_from_u64(1893456001);
	nonce = MAX;
	nonce.limb[0]--;
	memset(auth_nonce.b, 0x99, 32);
	memset(sig27.b, 0xa1, 32);
	memset(sig27.b + 32, 0x52, 32);
	sig27.b[64] = 27;
	sig28 = sig27;
	sig28.b[64] = 28;
	for (size_t i = 0; i < sizeof(sig97); i++)
		sig97[i] = (uint8_t)(i * 7);
	memcpy(ramp, sig97, sizeof(ramp));
}

#define EXPECT_CALL(call, hex) \
	do { \
		struct buf out = BUF_INIT(8192); \
		assert_int_equal(call, ERR_OK); \
		expect_hex(&out, hex); \
		buf_done(&out); \
	} while (0)

static void tokens(void **state)
{
	(void)state;
	struct calls_authorization a = { .from = owner, .to = to, .nonce = auth_nonce };
	a.value = MAX;
	a.valid_before = deadline;
	struct calls_permit p = { .sig = sig28 };
	p.value = one_opg;
	p.deadline = deadline_1;
	EXPECT_CALL(calls_erc20_balance_of(&owner, &out), CALL_BALANCE_OF);
	EXPECT_CALL(calls_erc20_transfer(&to, &MAX, &out), CALL_TRANSFER);
	EXPECT_CALL(calls_erc20_approve(&spender, &MAX, &out), CALL_APPROVE);
	EXPECT_CALL(calls_erc20_allowance(&owner, &spender, &out), CALL_ALLOWANCE);
	EXPECT_CALL(calls_eip3009_transfer(&a, &sig27, &out), CALL_3009);
	EXPECT_CALL(calls_eip3009_transfer_bytes(&a, sig97, sizeof(sig97), &out), CALL_3009_BYTES);
	EXPECT_CALL(calls_eip3009_transfer_bytes(&a, NULL, 0, &out), CALL_3009_EMPTY);
	EXPECT_CALL(calls_eip3009_state(&owner, &auth_nonce, &out), CALL_3009_STATE);
	EXPECT_CALL(calls_eip2612_permit(&owner, &spender, &p, &out), CALL_2612_PERMIT);
	EXPECT_CALL(calls_eip2612_nonces(&owner, &out), CALL_2612_NONCES);
	EXPECT_CALL(calls_erc1271(&auth_nonce, sig97, sizeof(sig97), &out), CALL_1271);
}

static void permit2_and_proxies(void **state)
{
	(void)state;
	struct calls_permit sponsored = { .sig = sig28 };
	sponsored.value = one_opg;
	sponsored.deadline = deadline_1;
	struct calls_x402 s = { .permit = { .token = token }, .owner = owner, .to = to, .sig = sig27.b, .sig_len = 65 };
	s.permit.amount = one_opg;
	s.permit.nonce = nonce;
	s.permit.deadline = deadline;
	s.valid_after = five;
	EXPECT_CALL(calls_x402_settle(&s, &out), CALL_EXACT);
	s.sponsored = &sponsored;
	EXPECT_CALL(calls_x402_settle(&s, &out), CALL_EXACT_PERMIT);
	s.upto = true;
	s.upto_facilitator = facilitator;
	s.upto_amount = five;
	s.valid_after = six;
	EXPECT_CALL(calls_x402_settle(&s, &out), CALL_UPTO_PERMIT);
	s.sponsored = NULL;
	EXPECT_CALL(calls_x402_settle(&s, &out), CALL_UPTO);
	EXPECT_CALL(calls_permit2_transfer(&s.permit, &to, &five, &owner, sig27.b, 65, &out), CALL_PERMIT_TRANSFER_FROM);
	struct u256 word;
	uint8_t bit = 0;
	calls_permit2_nonce_place(&nonce, &word, &bit);
	assert_int_equal(bit, 0xfe);
	EXPECT_CALL(calls_permit2_nonce_bitmap(&owner, &word, &out), CALL_NONCE_BITMAP);
	word = (struct u256){ { 0, 0, 0, UINT64_C(1) << 62 } }; /* bit 254 */
	assert_true(calls_permit2_nonce_used(&word, bit));
	assert_false(calls_permit2_nonce_used(&word, 255));
	assert_false(calls_permit2_nonce_used(&word, 0));
	word.limb[0] = 1;
	assert_true(calls_permit2_nonce_used(&word, 0));
	assert_string_equal(address_format_eip55(&CALLS_PERMIT2).s, "0x000000000022D473030F116dDEE9F6B43aC78BA3");
	assert_string_equal(address_format_eip55(&CALLS_X402_EXACT_PROXY).s, "0x402085c248EeA27D92E8b30b2C58ed07f9E20001");
	assert_string_equal(address_format_eip55(&CALLS_X402_UPTO_PROXY).s, "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002");
	assert_string_equal(address_format_eip55(&CALLS_MULTICALL3).s, "0xcA11bde05977b3631167028862bE2a173976CA11");
}

static void approvals_are_read(void **state)
{
	(void)state;
	struct address got;
	struct u256 value;
	size_t len;
	uint8_t *p = unhex(CALL_APPROVE, &len);
	assert_true(calls_parse_approve(p, len, &got, &value));
	assert_true(address_equal(&got, &spender));
	assert_true(u256_equal(&value, &MAX));
	assert_false(calls_parse_approve(p, len - 1, &got, &value));
	p[4] = 1; /* above the address */
	assert_false(calls_parse_approve(p, len, &got, &value));
	p[4] = 0;
	p[0] ^= 1;
	assert_false(calls_parse_approve(p, len, &got, &value));
	free(p);
	p = unhex(CALL_APPROVE "00", &len);
	assert_false(calls_parse_approve(p, len, &got, &value));
	assert_false(calls_parse_approve(NULL, 0, &got, &value));
	free(p);
}

/* settle((uint8,address,bytes,bytes)[], bool, uint256[], (address,uint256)[]) */
static enum err shape_put(size_t count, struct buf *out)
{
	uint8_t selector[4];
	char head[11];
	snprintf(head, sizeof(head), "%.10s", CALL_SHAPE);
	unhex_into(head, selector, 4);
	struct abi_writer w;
	struct abi_part args, items, item, list, pairs;
	abi_begin(&w, out, selector, 4, &args);
	abi_array(&w, &args, count, count, &items);
	for (size_t i = 1; i <= count; i++) {
		abi_tuple(&w, &items, 4, &item);
		abi_uint(&w, &item, i);
		abi_address(&w, &item, &to);
		abi_bytes(&w, &item, ramp, i * 31);
		abi_bytes(&w, &item, sig27.b, i == 2 ? 0 : 65);
	}
	abi_uint(&w, &args, count > 0);
	abi_array(&w, &args, count ? 2 : 0, count ? 2 : 0, &list);
	if (count) {
		abi_uint(&w, &list, 1);
		abi_u256(&w, &list, &MAX);
	}
	abi_array(&w, &args, count ? 2 : 0, count ? 4 : 0, &pairs);
	if (count) {
		abi_address(&w, &pairs, &to);
		abi_uint(&w, &pairs, 1);
		abi_address(&w, &pairs, &owner);
		abi_uint(&w, &pairs, 2);
	}
	return abi_finish(&w);
}

static void any_shape(void **state)
{
	(void)state;
	EXPECT_CALL(shape_put(3, &out), CALL_SHAPE);
	EXPECT_CALL(shape_put(0, &out), CALL_SHAPE_EMPTY);
	struct calls_item items[] = { { to, ramp, 36 }, { owner, NULL, 0 }, { spender, ramp, 64 } };
	EXPECT_CALL(calls_aggregate3(items, 3, &out), CALL_AGGREGATE3);
	EXPECT_CALL(calls_aggregate3(NULL, 0, &out), CALL_AGGREGATE3_EMPTY);
	/* Behind other bytes; and every bound that is too small takes all of it back. */
	struct buf out = BUF_INIT(8192);
	assert_int_equal(buf_puts(&out, "abc"), ERR_OK);
	assert_int_equal(shape_put(3, &out), ERR_OK);
	size_t whole = out.len;
	buf_consume(&out, 3);
	expect_hex(&out, CALL_SHAPE);
	buf_done(&out);
	for (size_t max = 3; max < whole; max++) {
		out = BUF_INIT(max);
		assert_int_equal(buf_puts(&out, "abc"), ERR_OK);
		assert_int_equal(shape_put(3, &out), ERR_LIMIT);
		assert_int_equal(out.len, 3);
		buf_done(&out);
	}
}

static void word_too_many(void *arg)
{
	struct abi_writer w;
	struct abi_part args;
	abi_begin(&w, arg, (const uint8_t[]){ 1, 2, 3, 4 }, 1, &args);
	abi_uint(&w, &args, 1);
	abi_uint(&w, &args, 2);
}

static void word_missing(void *arg)
{
	struct abi_writer w;
	struct abi_part args;
	abi_begin(&w, arg, (const uint8_t[]){ 1, 2, 3, 4 }, 2, &args);
	abi_uint(&w, &args, 1);
	if (abi_finish(&w))
		_exit(0);
}

static void wrong_calls_end_the_process(void **state)
{
	(void)state;
	struct buf out = BUF_INIT(8192);
	assert_true(unit_aborts(word_too_many, &out));
	assert_true(unit_aborts(word_missing, &out));
	buf_done(&out);
}

static void aggregates_are_read(void **state)
{
	(void)state;
	size_t len;
	struct calls_result r[3];
	uint8_t *p = unhex(RESULT_AGGREGATE3, &len);
	assert_int_equal(calls_read_aggregate3(p, len, r, 3), ERR_OK);
	assert_true(r[0].ok && !r[1].ok && r[2].ok);
	assert_true(r[0].len == 32 && r[1].len == 36 && r[2].len == 0);
	assert_int_equal(r[0].data[0], 0x11);
	assert_memory_equal(r[1].data, ramp, 36);
	assert_int_equal(calls_read_aggregate3(p, len, r, 2), ERR_BAD_FIELD);
	for (size_t n = 0; n < len; n++) {
		uint8_t *cut = xmalloc(n ? n : 1);
		memcpy(cut, p, n);
		assert_int_equal(calls_read_aggregate3(cut, n, r, 3), ERR_BAD_FIELD);
		free(cut);
	}
	uint8_t *more = xcalloc(1, len + 32);
	memcpy(more, p, len);
	assert_int_equal(calls_read_aggregate3(more, len + 1, r, 3), ERR_BAD_FIELD);
	assert_int_equal(calls_read_aggregate3(more, len + 32, r, 3), ERR_BAD_FIELD);
	free(more);
	/* No bit of the frame may change: what changes is content, padding or a flag. */
	size_t accepted = 0;
	for (size_t bit = 0; bit < 8 * len; bit++) {
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		accepted += calls_read_aggregate3(p, len, r, 3) == ERR_OK;
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_in_range(accepted, 8 * (32 + 64), 8 * (32 + 64) + 3 + 8);
	free(p);
	p = unhex(RESULT_AGGREGATE3_EMPTY, &len);
	assert_int_equal(calls_read_aggregate3(p, len, r, 0), ERR_OK);
	assert_int_equal(calls_read_aggregate3(p, len, r, 1), ERR_BAD_FIELD);
	free(p);
	struct calls_result *many = xcalloc(1000, sizeof(*many));
	p = xcalloc(1, 64);
	p[31] = 32;
	p[62] = 1000 >> 8;
	p[63] = 1000 & 255;
	assert_int_equal(calls_read_aggregate3(p, 64, many, 1000), ERR_BAD_FIELD);
	free(p);
	free(many);
}

static void settler_calls(void **state)
{
	(void)state;
	static const char *const calls[] = { CALL_3009, CALL_3009_BYTES, CALL_EXACT, CALL_EXACT_PERMIT, CALL_UPTO, CALL_UPTO_PERMIT };
	struct calls_settlement items[COUNT_OF(calls)];
	for (size_t i = 0; i < COUNT_OF(calls); i++) {
		items[i] = (struct calls_settlement){ .token = token, .gas_limit = UINT64_MAX - i };
		items[i].call = unhex(calls[i], &items[i].len);
		memset(items[i].ref.b, (int)i, 32);
	}
	EXPECT_CALL(calls_settler_settle(items, COUNT_OF(calls), &out), CALL_SETTLER);
	struct buf out = BUF_INIT(8192);
	items[5].len = 3;
	assert_int_equal(calls_settler_settle(items, COUNT_OF(calls), &out), ERR_BAD_FIELD);
	struct calls_settlement foreign = { .call = "\x09\x5e\xa7\xb3", .len = 4 }; /* approve */
	assert_int_equal(calls_settler_settle(&foreign, 1, &out), ERR_BAD_FIELD);
	assert_int_equal(out.len, 0);
	for (size_t i = 0; i < COUNT_OF(calls); i++)
		free((void *)items[i].call);
	buf_done(&out);
}

static bool settled_read(const char *topics_hex, const char *data_hex, size_t cut, size_t bit, struct calls_settled *ret)
{
	struct hash topics[3];
	size_t len;
	unhex_into(topics_hex, topics, sizeof(topics));
	uint8_t *data = unhex(data_hex, &len);
	if (bit < 8 * sizeof(topics))
		((uint8_t *)topics)[bit / 8] ^= (uint8_t)(1u << bit % 8);
	bool ok = calls_read_settled(topics, 3, data, len - cut, ret);
	assert_true(!ok || ret->end != CALLS_SETTLE_FAILED || memcmp(ret->reason, ramp, 36) == 0);
	assert_false(calls_read_settled(topics, 2, data, len, ret));
	free(data);
	return ok;
}

static void settler_events(void **state)
{
	(void)state;
	struct calls_settled s;
	assert_true(settled_read(SETTLED_TOPICS, SETTLED_OK, 0, SIZE_MAX, &s));
	assert_true(s.end == CALLS_SETTLED && s.index == 258 && s.ref.b[0] == 0x77 && s.reason_len == 0);
	assert_true(settled_read(SETTLED_TOPICS, SETTLED_FAILED, 0, SIZE_MAX, &s));
	assert_true(s.end == CALLS_SETTLE_FAILED && s.index == 258 && s.reason_len == 36);
	assert_true(settled_read(SKIPPED_TOPICS, SKIPPED_DATA, 0, SIZE_MAX, &s));
	assert_true(s.end == CALLS_SETTLE_SKIPPED && s.index == 258 && s.why == 3);
	assert_false(settled_read(SKIPPED_TOPICS, SETTLED_OK, 0, SIZE_MAX, &s));
	assert_false(settled_read(SETTLED_TOPICS, SKIPPED_DATA, 0, SIZE_MAX, &s));
	assert_false(settled_read(SETTLED_TOPICS, SETTLED_FAILED, 1, SIZE_MAX, &s));
	assert_false(settled_read(SETTLED_TOPICS, SETTLED_FAILED, 32, SIZE_MAX, &s));
	assert_false(settled_read(SKIPPED_TOPICS, SKIPPED_DATA, 1, SIZE_MAX, &s));
	assert_false(settled_read(SKIPPED_TOPICS, SKIPPED_DATA, 32, SIZE_MAX, &s));
	assert_false(settled_read(SETTLED_TOPICS, SETTLED_OK, 0, 5, &s));       /* another event */
	assert_false(settled_read(SETTLED_TOPICS, SETTLED_OK, 0, 256 + 5, &s)); /* an index beyond any array */
}

static void answers_are_read(void **state)
{
	(void)state;
	uint8_t word[33] = { [31] = 5 }, all[32];
	struct u256 got;
	bool yes = true;
	memset(all, 0xff, sizeof(all));
	assert_int_equal(calls_read_u256(word, 32, &got), ERR_OK);
	assert_true(u256_equal(&got, &five));
	assert_int_equal(calls_read_u256(all, 32, &got), ERR_OK);
	assert_true(u256_equal(&got, &MAX));
	word[31] = 0;
	assert_int_equal(calls_read_u256(word, 31, &got), ERR_BAD_FIELD);
	assert_int_equal(calls_read_u256(word, 33, &got), ERR_BAD_FIELD);
	assert_int_equal(calls_read_u256(NULL, 0, &got), ERR_BAD_FIELD);
	assert_int_equal(calls_read_bool(word, 32, &yes), ERR_OK);
	assert_false(yes);
	word[31] = 1;
	assert_int_equal(calls_read_bool(word, 32, &yes), ERR_OK);
	assert_true(yes);
	assert_int_equal(calls_read_bool(word, 33, &yes), ERR_BAD_FIELD);
	assert_int_equal(calls_read_bool(NULL, 0, &yes), ERR_BAD_FIELD);
	word[31] = 2;
	assert_int_equal(calls_read_bool(word, 32, &yes), ERR_BAD_FIELD);
	word[31] = 1;
	word[0] = 1;
	assert_int_equal(calls_read_bool(word, 32, &yes), ERR_BAD_FIELD);
	assert_int_equal(calls_read_bool(all, 32, &yes), ERR_BAD_FIELD);

	uint8_t magic[64] = { 0x16, 0x26, 0xba, 0x7e };
	assert_true(calls_erc1271_accepts(magic, 32));
	assert_false(calls_erc1271_accepts(magic, 4));
	assert_false(calls_erc1271_accepts(magic, 31));
	assert_false(calls_erc1271_accepts(magic, 33));
	assert_false(calls_erc1271_accepts(magic, 64));
	assert_false(calls_erc1271_accepts(NULL, 0));
	magic[4] = 1;
	assert_false(calls_erc1271_accepts(magic, 32));
	magic[4] = 0;
	magic[3]++;
	assert_false(calls_erc1271_accepts(magic, 32));
	memset(magic, 0xff, 4);
	assert_false(calls_erc1271_accepts(magic, 32));
	uint8_t right[32] = { [28] = 0x16, 0x26, 0xba, 0x7e }; /* aligned as a number */
	assert_false(calls_erc1271_accepts(right, 32));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tokens),
		cmocka_unit_test(permit2_and_proxies),
		cmocka_unit_test(approvals_are_read),
		cmocka_unit_test(any_shape),
		cmocka_unit_test(wrong_calls_end_the_process),
		cmocka_unit_test(aggregates_are_read),
		cmocka_unit_test(settler_calls),
		cmocka_unit_test(settler_events),
		cmocka_unit_test(answers_are_read),
	};
	arguments_set();
	return RUN_TESTS(tests);
}
