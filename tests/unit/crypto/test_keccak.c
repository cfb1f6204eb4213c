/* Keccak-256: the published digests of "" and "abc", and runs around the 136-byte rate made by a separate
 * implementation that was itself checked against SHA3-256. */
#include "crypto/crypto.h"
#include "tests/unit/unit.h"

static const struct {
	size_t len; /* of the bytes 0, 1, 2 … 250, 0, 1 … */
	const char *digest;
} runs[] = {
	{ 0, "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470" },
	{ 1, "bc36789e7a1e281436464229828f817d6612f7b477d66591ff96a9e064bcc98a" },
	{ 7, "801560412425120fa609be232d6fa71c7f64f42aee7977267687dcc0a2f5aa63" },
	{ 8, "59e7c99f6be4fd053d7c99f54e371304a33213473dc41f1825b7f3ceb33841a6" },
	{ 9, "1c2876c406adb4065117127d838f839f4fe555c0106787d5cb24f6df3444e08d" },
	{ 134, "861e165162f806cd361c4421a48f205820ddf4deb02db9f041f48e179ddada97" },
	{ 135, "cbdfd9dee5faad3818d6b06f95a219fd290b0e1706f6a82e5a595b9ce9faca62" },
	{ 136, "7ce759f1ab7f9ce437719970c26b0a66ff11fe3e38e17df89cf5d29c7d7f807e" },
	{ 137, "ac73d4fae68b8453f764007c1a20ce95994187861f0c3227a3a8e99a73a3b1db" },
	{ 138, "9dff24f078dfc5f2858894ee1f79728c3e4be850a0fccc5929bba850ca98efa1" },
	{ 271, "27eceb59ebc3dc8a04a5b135be641591a7278540e4556a2ba9f408194e666ec3" },
	{ 272, "8e2476e65823b24d96ebe239f2c1534cdf763e689e2410c3b1cb0c74e6177bfc" },
	{ 273, "3f02f134370e4debb95140ef49ddd3aed8c65ff1ed83a43f1b269421f179c5f9" },
	{ 1000, "af692982e84a5a9688359025660a7857cd28ee7c8d867cfa1677baf2e6d1f63b" },
};

static uint8_t bytes[1000];

static void vectors(void **state)
{
	(void)state;
	struct hash h;
	for (size_t i = 0; i < COUNT_OF(runs); i++) {
		keccak256(bytes, runs[i].len, &h);
		assert_string_equal(hash_format(&h).s + 2, runs[i].digest);
	}
	keccak256("abc", 3, &h);
	assert_string_equal(hash_format(&h).s + 2, "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45");
	keccak256("Transfer(address,address,uint256)", 33, &h);
	assert_string_equal(hash_format(&h).s + 2, "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");
}

static void pieces_equal_the_whole(void **state)
{
	(void)state;
	struct hash whole, pieces;
	keccak256_parts(NULL, 0, &pieces);
	assert_string_equal(hash_format(&pieces).s + 2, runs[0].digest);
	for (size_t len = 0; len <= 300; len += 3) {
		keccak256(bytes, len, &whole);
		for (size_t cut = 0; cut <= len; cut++) {
			const struct bytes parts[] = { { bytes, cut }, { NULL, 0 }, { bytes + cut, (len - cut) / 2 },
						       { bytes + cut + (len - cut) / 2, len - cut - (len - cut) / 2 } };
			keccak256_parts(parts, COUNT_OF(parts), &pieces);
			assert_true(hash_equal(&whole, &pieces));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors),
		cmocka_unit_test(pieces_equal_the_whole),
	};
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i % 251);
	return RUN_TESTS(tests);
}
