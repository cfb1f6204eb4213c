/* See merkle.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "chain/abi.h"
#include "chain/merkle.h"

#define CALL_MAX 8192

static const uint8_t BATCH_SETTLE[4] = { 0x1b, 0x24, 0x3a, 0xe6 };      /* batchSettle(bytes32,uint256,bytes) */
static const uint8_t SETTLE_INDIVIDUAL[4] = { 0x90, 0x48, 0x0a, 0xd1 }; /* settleIndividual(bytes32,bytes32,bytes32,uint256,address,bytes,bytes) */

void merkle_leaf(const struct merkle_statement *s, struct hash *ret)
{
	static const uint8_t none[4];
	struct buf b = BUF_INIT(CALL_MAX);
	struct abi_writer w;
	struct abi_part args;
	struct hash inner;

	abi_begin(&w, &b, none, 5, &args);
	abi_word(&w, &args, s->signer.b);
	abi_word(&w, &args, s->input_hash.b);
	abi_word(&w, &args, s->output_hash.b);
	abi_bytes(&w, &args, s->signature, s->signature_len);
	abi_uint(&w, &args, s->timestamp);
	if (abi_finish(&w))
		panic("merkle: a statement larger than any signature makes it");
	keccak256(b.data + sizeof(none), b.len - sizeof(none), &inner);
	keccak256(inner.b, sizeof(inner.b), ret);
	buf_done(&b);
}

struct leaf {
	struct hash hash;
	size_t statement;
};

static int compare(const void *a, const void *b)
{
	const struct leaf *x = a, *y = b;
	int c = memcmp(x->hash.b, y->hash.b, sizeof(x->hash.b));

	return c ? c : x->statement < y->statement ? -1 : x->statement > y->statement;
}

static void parent(const struct hash *a, const struct hash *b, struct hash *ret)
{
	bool ordered = memcmp(a->b, b->b, sizeof(a->b)) < 0;
	uint8_t both[64];

	memcpy(both, ordered ? a->b : b->b, 32);
	memcpy(both + 32, ordered ? b->b : a->b, 32);
	keccak256(both, sizeof(both), ret);
}

void merkle_tree(const struct merkle_statement *statements, size_t count, struct hash *ret_tree, size_t *ret_places)
{
	_cleanup_free_ struct leaf *leaves = xcalloc(count, sizeof(*leaves));
	size_t last = 2 * count - 2;

	for (size_t i = 0; i < count; i++) {
		merkle_leaf(&statements[i], &leaves[i].hash);
		leaves[i].statement = i;
	}
	qsort(leaves, count, sizeof(*leaves), compare);
	for (size_t i = 0; i < count; i++) {
		ret_tree[last - i] = leaves[i].hash;
		ret_places[leaves[i].statement] = last - i;
	}
	for (size_t i = count - 1; i-- > 0;)
		parent(&ret_tree[2 * i + 1], &ret_tree[2 * i + 2], &ret_tree[i]);
}

static json_t *hex_json(const void *p, size_t len)
{
	_cleanup_free_ char *text = xmalloc(2 * len + 3);

	memcpy(text, "0x", 2);
	hex_encode(p, len, text + 2);
	return json_must(json_string(text));
}

char *merkle_dump(const struct merkle_statement *statements, size_t count, const struct hash *tree, const size_t *places)
{
	_cleanup_json_ json_t *o = json_must(json_pack("{s:s, s:[s,s,s,s,s], s:[], s:[]}", "format", "standard-v1", "leafEncoding", "bytes32", "bytes32", "bytes32",
						       "bytes", "uint256", "tree", "values"));

	for (size_t i = 0; i < 2 * count - 1; i++)
		json_array_append_new(json_object_get(o, "tree"), hex_json(tree[i].b, 32));
	for (size_t i = 0; i < count; i++) {
		const struct merkle_statement *s = &statements[i];
		json_t *value = json_must(json_pack("[o,o,o,o,o]", hex_json(s->signer.b, 32), hex_json(s->input_hash.b, 32), hex_json(s->output_hash.b, 32),
						    hex_json(s->signature, s->signature_len), json_sprintf("%llu", (unsigned long long)s->timestamp)));

		json_array_append_new(json_object_get(o, "values"), json_must(json_pack("{s:o, s:I}", "value", value, "treeIndex", (json_int_t)places[i])));
	}
	return json_text(o);
}

enum err merkle_batch_call(const struct hash *root, uint64_t size, const char *blob, struct buf *out)
{
	struct abi_writer w;
	struct abi_part args;

	abi_begin(&w, out, BATCH_SETTLE, 3, &args);
	abi_word(&w, &args, root->b);
	abi_uint(&w, &args, size);
	abi_bytes(&w, &args, blob, strlen(blob));
	return abi_finish(&w);
}

enum err merkle_individual_call(const struct merkle_statement *s, const struct address *payer, const char *blob, struct buf *out)
{
	struct abi_writer w;
	struct abi_part args;

	abi_begin(&w, out, SETTLE_INDIVIDUAL, 7, &args);
	abi_word(&w, &args, s->signer.b);
	abi_word(&w, &args, s->input_hash.b);
	abi_word(&w, &args, s->output_hash.b);
	abi_uint(&w, &args, s->timestamp);
	abi_address(&w, &args, payer);
	abi_bytes(&w, &args, blob, strlen(blob));
	abi_bytes(&w, &args, s->signature, s->signature_len);
	return abi_finish(&w);
}
