/* Trees over statements, against what OpenZeppelin's StandardMerkleTree makes of the same three. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "chain/merkle.h"
#include "tests/unit/unit.h"

static const char *const TREE[] = {
	"0xd1c9763e96617519d036487b9c48bd73063a84aa75905f1f2f80787ee6ef7e90", "0x35f35496865f4b2cf7c29b284fcf333b2d8b8e0231b6558e2c376af7e5b81ba9",
	"0x9b4b84e13dc1e62bd196b36d0cc8b4039379232db4d865b0413ef82963a8c1ce", "0x7a6c4548d3e66810ca7566419dfe23067b1a9eed4edde5934bd4442c02bfd1c1",
	"0x28f5b718b7cc300b61b8eda4f136bf65ec8e7c4084e871377cf540d5e99a0705",
};

static struct hash hash(const char *text)
{
	struct hash h;

	assert_int_equal(hash_parse(text, &h), ERR_OK);
	return h;
}

static struct merkle_statement statement(int n)
{
	static const uint8_t signature[] = { 0xab, 0xab, 0xab, 0xab };
	struct merkle_statement s = { .input_hash = hash("0x6394d7aa325c41bd78ad198eafe273fd483b5bb451ec0454b24b147b1dd947d1"),
				      .output_hash = hash("0x7624778dedc75f8b322b9fa1632a610d40b85e106c7d9bf0e743a9ce291b9c6f"), .signature = signature,
				      .signature_len = sizeof(signature), .timestamp = 1700000000u + (unsigned)n };

	memset(s.signer.b, 0x11 * n, sizeof(s.signer.b));
	return s;
}

static void test_three(void **state)
{
	const struct merkle_statement s[] = { statement(1), statement(2), statement(3) };
	struct hash tree[5], leaf;
	size_t places[3];

	(void)state;
	merkle_leaf(&s[0], &leaf);
	assert_string_equal(hash_format(&leaf).s, TREE[3]);
	merkle_tree(s, 3, tree, places);
	for (size_t i = 0; i < 5; i++)
		assert_string_equal(hash_format(&tree[i]).s, TREE[i]);
	assert_int_equal(places[0], 3);
	assert_int_equal(places[1], 2);
	assert_int_equal(places[2], 4);
}

static void test_dump(void **state)
{
	const struct merkle_statement s[] = { statement(1), statement(2) };
	struct hash tree[3];
	size_t places[2];

	(void)state;
	merkle_tree(s, 2, tree, places);
	_cleanup_free_ char *text = merkle_dump(s, 2, tree, places);
	_cleanup_json_ json_t *j = json_loads(text, 0, NULL);
	const json_t *value = json_array_get(json_object_get(j, "values"), 1);
	assert_string_equal(json_string_value(json_object_get(j, "format")), "standard-v1");
	assert_int_equal(json_array_size(json_object_get(j, "tree")), 3);
	assert_int_equal(json_integer_value(json_object_get(value, "treeIndex")), places[1]);
	assert_string_equal(json_string_value(json_array_get(json_object_get(value, "value"), 3)), "0xabababab");
	assert_string_equal(json_string_value(json_array_get(json_object_get(value, "value"), 4)), "1700000002");
	merkle_tree(s, 1, tree, places); /* one leaf is its own root */
	merkle_leaf(&s[0], &tree[1]);
	assert_true(hash_equal(&tree[0], &tree[1]));
	assert_int_equal(places[0], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_three), cmocka_unit_test(test_dump) };

	crypto_init();
	return RUN_TESTS(tests);
}
