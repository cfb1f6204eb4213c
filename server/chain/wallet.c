/* See wallet.h. */
#include <string.h>

#include "base/hex.h"
#include "chain/calls.h"
#include "chain/send.h"
#include "chain/wallet.h"

enum err wallet_signature_read(const char *hex, uint8_t bytes[WALLET_SIGNATURE_MAX], size_t *ret_len)
{
	size_t digits = strncmp(hex, "0x", 2) == 0 ? strlen(hex + 2) : 0;

	if (digits == 0 || digits % 2 != 0 || digits / 2 > WALLET_SIGNATURE_MAX)
		return ERR_BAD_FIELD;
	*ret_len = digits / 2;
	return hex_decode(hex + 2, digits, bytes, *ret_len) ? ERR_BAD_FIELD : ERR_OK;
}

enum err wallet_accepts(struct chain *c, const struct address *wallet, const struct hash *digest, const void *signature, size_t len, uint64_t gas, bool *ret)
{
	struct buf call = BUF_INIT(WALLET_SIGNATURE_MAX + 512), answer = BUF_INIT(4096);
	bool ran = false;
	enum err e = calls_erc1271(digest, signature, len, &call);

	if (!e) {
		const struct chain_message m = { .to = *wallet, .data = call.data, .len = call.len, .gas = gas };

		e = chain_simulate(c, &m, UINT64_MAX, &answer, &ran);
	}
	if (!e)
		*ret = ran && calls_erc1271_accepts(answer.data, answer.len);
	buf_done(&call);
	buf_done(&answer);
	return e;
}
