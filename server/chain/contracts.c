/* See contracts.h. */
#include <string.h>

#include "chain/abi.h"
#include "chain/contracts.h"
#include "chain/send.h"

#define CALL_GAS 200000

static const uint8_t NAMES[][4] = {
	[CONTRACT_TOKEN] = { 0xfc, 0x0c, 0x54, 0x6a },	  /* token() */
	[CONTRACT_SOURCE] = { 0x67, 0xe8, 0x28, 0xbf },	  /* source() */
	[CONTRACT_TREASURY] = { 0x61, 0xd0, 0x27, 0xb3 }, /* treasury() */
};
static const uint8_t IS_CALLER[4] = { 0x7a, 0xc0, 0x7d, 0xcc }; /* isCaller(address) */

/* Does it answer exactly this word? */
static enum err answers(struct chain *c, const struct address *contract, const struct buf *call, const struct hash *word, bool *ret)
{
	const struct chain_message m = { .to = *contract, .data = call->data, .len = call->len, .gas = CALL_GAS };
	struct buf answer = BUF_INIT(4096);
	bool ran = false;
	enum err e = chain_simulate(c, &m, UINT64_MAX, &answer, &ran);

	if (!e)
		*ret = ran && answer.len == sizeof(word->b) && !memcmp(answer.data, word->b, sizeof(word->b));
	buf_done(&answer);
	return e;
}

enum err contract_names(struct chain *c, const struct address *contract, enum contract_names what, const struct address *expected, bool *ret)
{
	struct buf call = BUF_INIT(64);
	struct abi_writer w;
	struct abi_part args;
	struct hash word;
	enum err e;

	abi_begin(&w, &call, NAMES[what], 0, &args);
	abi_word_from_address(expected, &word);
	e = abi_finish(&w);
	if (!e)
		e = answers(c, contract, &call, &word, ret);
	buf_done(&call);
	return e;
}

enum err contract_lets_call(struct chain *c, const struct address *contract, const struct address *key, bool *ret)
{
	const struct hash yes = { .b = { [31] = 1 } };
	struct buf call = BUF_INIT(64);
	struct abi_writer w;
	struct abi_part args;
	enum err e;

	abi_begin(&w, &call, IS_CALLER, 1, &args);
	abi_address(&w, &args, key);
	e = abi_finish(&w);
	if (!e)
		e = answers(c, contract, &call, &yes, ret);
	buf_done(&call);
	return e;
}
