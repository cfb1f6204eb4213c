/* Fuzzes manifest_parse: what it accepts is exactly what manifest_text writes, so one manifest has one digest. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "blob/blob.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct manifest m = { 0 };
	struct buf out = BUF_INIT(size + 1);

	if (manifest_parse((const char *)data, size, &m) != ERR_OK)
		return 0;
	if (manifest_text(&m, &out) != ERR_OK || out.len != size || (size && memcmp(out.data, data, size) != 0))
		abort();
	for (size_t i = 0; i < m.count; i++)
		if (blob_path_check(m.files[i].path) != ERR_OK || manifest_find(&m, m.files[i].path) != &m.files[i])
			abort();
	buf_done(&out);
	manifest_done(&m);
	return 0;
}
