/* Answers of an RPC endpoint: no bytes may crash, and what is refused leaves words. The answer's result is read as each kind
 * of value. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "chain/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_json_ json_t *result = NULL;
	enum err e = rpc_read_answer((const char *)data, size, 1, &result);
	if (e) {
		if (result || !chain_error()[0])
			panic("fuzz_rpc: refused without words, or not wholly");
		return 0;
	}
	uint64_t n;
	struct hash h;
	struct address a;
	struct buf b = BUF_INIT(4096);
	if (rpc_read_quantity(result, "quantity", &n) == ERR_OK) {
		_cleanup_json_ json_t *again = rpc_quantity(n);
		if (strcasecmp(json_string_value(again), json_string_value(result)) != 0)
			panic("fuzz_rpc: two spellings of one quantity");
	}
	e = rpc_read_hash(result, "hash", &h);
	e = rpc_read_address(result, "address", &a);
	e = rpc_read_data(result, "data", &b);
	(void)e;
	buf_done(&b);
	return 0;
}
