/* RLP and signed transactions: whatever is read is written back as the same bytes, because each value has one spelling; a
 * transaction that is read has the signer and the hash its bytes say. */
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "chain/rlp.h"
#include "chain/tx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		panic("fuzz_rlp: read and written differ");
}

static enum err rewrite(struct rlp *r, struct buf *out, int depth)
{
	while (r->len) {
		struct rlp inner = { NULL, 0 }, before = *r;
		const uint8_t *p = NULL;
		size_t len = 0, from = out->len;
		uint64_t n = 0;
		uint8_t word[32];
		enum err e;
		if (rlp_next_is_list(r)) {
			must(rlp_read_bytes(r, &p, &len) != ERR_OK && r->len == before.len);
			e = depth < 64 ? rlp_read_list(r, &inner) : ERR_LIMIT;
			if (!e)
				e = rewrite(&inner, out, depth + 1);
			if (e)
				return e;
			must(rlp_close_list(out, from) == ERR_OK);
		} else {
			e = rlp_read_bytes(r, &p, &len);
			if (e)
				return e;
			must(rlp_put_bytes(out, p, len) == ERR_OK);
			struct rlp again = before;
			if (rlp_read_uint(&again, &n) == ERR_OK) {
				out->len = from;
				must(rlp_put_uint(out, n) == ERR_OK);
			}
			again = before;
			if (rlp_read_word(&again, word) == ERR_OK) {
				out->len = from;
				must(rlp_put_word(out, word) == ERR_OK);
			}
		}
		must(out->len - from == before.len - r->len && memcmp(out->data + from, before.p, out->len - from) == 0);
	}
	return ERR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ uint8_t *exact = xmalloc(size ? size : 1); /* reading past the end must be visible */
	_cleanup_buf_ struct buf out = BUF_INIT(size + 16);
	memcpy(exact, data, size);
	struct rlp r = { exact, size };
	enum err e = rewrite(&r, &out, 0);
	(void)e;
	crypto_init();
	struct tx tx;
	struct address sender;
	struct hash hash, again;
	if (tx_parse_signed(exact, size, &tx, &sender, &hash) == ERR_OK) {
		keccak256(exact, size, &again);
		must(hash_equal(&hash, &again) && tx.max_priority_fee <= tx.max_fee);
		must(tx.data_len == 0 || (tx.data > exact && tx.data + tx.data_len <= exact + size));
	}
	return 0;
}
