/* RLP: the examples of the specification, every edge of a length, and each way to spell something twice. */
#include "tests/unit/unit.h"

#include "chain/rlp.h"
#include "tests/unit/chain/bytes.h"

static void writes(void **state)
{
	(void)state;
	struct buf b = BUF_INIT(1 << 20);
	uint8_t be[32] = { 0 };
	assert_int_equal(rlp_put_bytes(&b, "dog", 3), ERR_OK);
	assert_int_equal(rlp_put_bytes(&b, NULL, 0), ERR_OK);
	assert_int_equal(rlp_put_bytes(&b, "\x00", 1), ERR_OK);
	assert_int_equal(rlp_put_bytes(&b, "\x7f\x80", 1), ERR_OK);
	assert_int_equal(rlp_put_bytes(&b, "\x80", 1), ERR_OK);
	assert_int_equal(rlp_put_uint(&b, 0), ERR_OK);
	assert_int_equal(rlp_put_uint(&b, 15), ERR_OK);
	assert_int_equal(rlp_put_uint(&b, 1024), ERR_OK);
	assert_int_equal(rlp_put_uint(&b, UINT64_MAX), ERR_OK);
	assert_int_equal(rlp_put_word(&b, be), ERR_OK);
	be[31] = 1;
	assert_int_equal(rlp_put_word(&b, be), ERR_OK);
	be[29] = 9;
	assert_int_equal(rlp_put_word(&b, be), ERR_OK);
	expect_hex(&b, "0x83646f6780007f8180800f82040088ffffffffffffffff800183090001");
	buf_reset(&b);
	/* [ [], [[]], [ [], [[]] ] ] */
	assert_int_equal(rlp_close_list(&b, 0), ERR_OK);
	assert_int_equal(rlp_close_list(&b, b.len), ERR_OK);
	assert_int_equal(rlp_close_list(&b, 1), ERR_OK);
	size_t at = b.len;
	assert_int_equal(rlp_close_list(&b, b.len), ERR_OK);
	size_t inner = b.len;
	assert_int_equal(rlp_close_list(&b, b.len), ERR_OK);
	assert_int_equal(rlp_close_list(&b, inner), ERR_OK);
	assert_int_equal(rlp_close_list(&b, at), ERR_OK);
	assert_int_equal(rlp_close_list(&b, 0), ERR_OK);
	expect_hex(&b, "0xc7c0c1c0c3c0c1c0");
	buf_done(&b);
}

/* Both kinds, around every length where the head grows: written and read again. */
static void lengths(void **state)
{
	(void)state;
	static const struct { size_t len; const char *bytes_head, *list_head; } rows[] = {
		{ 0, "80", "c0" }, { 2, "82", "c2" }, { 55, "b7", "f7" }, { 56, "b838", "f838" }, { 255, "b8ff", "f8ff" },
		{ 256, "b90100", "f90100" }, { 65535, "b9ffff", "f9ffff" }, { 65536, "ba010000", "fa010000" },
	};
	uint8_t *zeros = xcalloc(65536, 1);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct buf b = BUF_INIT(1 << 17);
		char head[19];
		assert_int_equal(rlp_put_bytes(&b, zeros, rows[i].len), ERR_OK);
		hex_encode(b.data, b.len - rows[i].len, head);
		assert_string_equal(head, rows[i].bytes_head);
		struct rlp r = { (const uint8_t *)b.data, b.len }, list;
		const uint8_t *p;
		size_t n;
		assert_int_equal(rlp_read_bytes(&r, &p, &n), ERR_OK);
		assert_int_equal(n, rows[i].len);
		assert_int_equal(r.len, 0);
		r = (struct rlp){ (const uint8_t *)b.data, b.len - (rows[i].len > 0) }; /* one byte short */
		assert_int_equal(rlp_read_bytes(&r, &p, &n), rows[i].len ? ERR_BAD_FIELD : ERR_OK);
		buf_reset(&b);
		assert_int_equal(buf_append(&b, zeros, rows[i].len), ERR_OK);
		assert_int_equal(rlp_close_list(&b, 0), ERR_OK);
		hex_encode(b.data, b.len - rows[i].len, head);
		assert_string_equal(head, rows[i].list_head);
		r = (struct rlp){ (const uint8_t *)b.data, b.len };
		assert_true(rlp_next_is_list(&r));
		assert_int_equal(rlp_read_bytes(&r, &p, &n), ERR_BAD_FIELD);
		assert_int_equal(rlp_read_list(&r, &list), ERR_OK);
		assert_int_equal(list.len, rows[i].len);
		assert_int_equal(r.len, 0);
		assert_false(rlp_next_is_list(&r));
		buf_done(&b);
	}
	free(zeros);
}

static void full_buffers(void **state)
{
	(void)state;
	struct buf b = BUF_INIT(57);
	uint8_t bytes[64] = { 0 };
	assert_int_equal(rlp_put_bytes(&b, bytes, 56), ERR_LIMIT); /* the head would fit */
	assert_int_equal(b.len, 0);
	assert_int_equal(rlp_put_bytes(&b, bytes, 55), ERR_OK);
	assert_int_equal(rlp_close_list(&b, 0), ERR_LIMIT);
	assert_int_equal(b.len, 56);
	buf_done(&b);
}

static void refuses(void **state)
{
	(void)state;
	static const char *const items[] = {
		"0x", "0x8100", "0x817f", /* a byte with a head it does not need */
		"0xb800", "0xb83700", "0xb90038", "0xf800", "0xf90038", /* a length with too long a form */
		"0x81", "0x82ff", "0xb8", "0xb9ff", "0xc1", "0xf8", "0xf838", "0xbf", "0xff", /* short of bytes */
		"0xbfffffffffffffffff", "0xffffffffffffffffff", "0xbf8000000000000000", "0xbb7fffffff",
		"0xbf000000000000003800", "0xb90100",
	};
	for (size_t i = 0; i < COUNT_OF(items); i++) {
		size_t len, n = 7;
		uint8_t *p = unhex(items[i], &len);
		struct rlp r = { p, len }, list = { NULL, 0 };
		const uint8_t *got = NULL;
		if (rlp_read_bytes(&r, &got, &n) != ERR_BAD_FIELD || rlp_read_list(&r, &list) != ERR_BAD_FIELD)
			fail_msg("accepted %s", items[i]);
		assert_true(r.p == p && r.len == len && !got && n == 7 && !list.p);
		free(p);
	}
}

/* All bytes are there, but the length is spelled longer than it needs to be. */
static void refuses_long_spellings(void **state)
{
	(void)state;
	static const struct { uint8_t head[4]; size_t head_len, len; } rows[] = {
		{ { 0xb8, 55 }, 2, 55 }, { { 0xb8, 1 }, 2, 1 }, { { 0xb9, 0, 56 }, 3, 56 }, { { 0xf8, 55 }, 2, 55 }, { { 0xf9, 0, 200 }, 3, 200 },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint8_t bytes[256] = { 0 };
		memcpy(bytes, rows[i].head, rows[i].head_len);
		struct rlp r = { bytes, rows[i].head_len + rows[i].len }, list;
		const uint8_t *p;
		size_t n;
		assert_int_equal(rlp_read_bytes(&r, &p, &n), ERR_BAD_FIELD);
		assert_int_equal(rlp_read_list(&r, &list), ERR_BAD_FIELD);
	}
}

static void numbers(void **state)
{
	(void)state;
	static const struct { const char *hex; enum err e; uint64_t v; } rows[] = {
		{ "0x80", ERR_OK, 0 }, { "0x01", ERR_OK, 1 }, { "0x7f", ERR_OK, 127 }, { "0x8180", ERR_OK, 128 },
		{ "0x88ffffffffffffffff", ERR_OK, UINT64_MAX }, { "0x00", ERR_BAD_FIELD, 0 }, { "0x820001", ERR_BAD_FIELD, 0 },
		{ "0x89010000000000000000", ERR_BAD_FIELD, 0 }, { "0xc0", ERR_BAD_FIELD, 0 },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		size_t len;
		uint64_t v = 99;
		uint8_t *p = unhex(rows[i].hex, &len);
		struct rlp r = { p, len };
		assert_int_equal(rlp_read_uint(&r, &v), rows[i].e);
		assert_true(rows[i].e ? v == 99 && r.len == len : v == rows[i].v && r.len == 0);
		free(p);
	}
	uint8_t word[32], wide[34] = { 0x80 + 32, 0xff }, fixed[2] = { 0 };
	struct rlp r = { wide, 33 };
	assert_int_equal(rlp_read_word(&r, word), ERR_OK);
	assert_memory_equal(word, wide + 1, 32);
	wide[0] = 0x80 + 33;
	r = (struct rlp){ wide, 34 };
	assert_int_equal(rlp_read_word(&r, word), ERR_BAD_FIELD);
	r = (struct rlp){ (const uint8_t *)"\x82\x01\x02\x83zzz", 7 };
	assert_int_equal(rlp_read_fixed(&r, fixed, 2), ERR_OK);
	assert_int_equal(fixed[1], 2);
	assert_int_equal(rlp_read_fixed(&r, fixed, 2), ERR_BAD_FIELD);
	assert_int_equal(r.len, 4);
	assert_int_equal(fixed[1], 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes), cmocka_unit_test(lengths), cmocka_unit_test(full_buffers), cmocka_unit_test(refuses),
		cmocka_unit_test(refuses_long_spellings), cmocka_unit_test(numbers),
	};
	return RUN_TESTS(tests);
}
