/* Which transaction used an EIP-3009 authorization, and did it pay us? Called by the settler; no locks. */
#include <string.h>

#include "base/mem.h"
#include "chain/abi.h"
#include "chain/rpc.h"
#include "chain/send.h"
#include "crypto/crypto.h"
#include "crypto/crypto.h"

static struct hash word_of(const struct address *a)
{
	struct hash h = { { 0 } };

	memcpy(h.b + 12, a->b, 20);
	return h;
}

static bool pays(const struct chain_receipt *r, const struct address *token, const struct hash *from, const struct hash *to, struct amount amount)
{
	uint8_t value[32];

	amount_to_be(amount, value);
	for (size_t i = 0; i < r->log_count; i++) {
		const struct chain_log *l = &r->logs[i];

		if (address_equal(&l->address, token) && l->topic_count == 3 && hash_equal(&l->topics[0], &ABI_TRANSFER_TOPIC) && hash_equal(&l->topics[1], from) &&
		    hash_equal(&l->topics[2], to) && l->data_len == 32 && !memcmp(l->data, value, 32))
			return true;
	}
	return false;
}

enum err chain_authorization_tx(struct chain *c, const struct address *token, const struct address *payer, const struct hash *nonce, const struct address *to,
				struct amount amount, struct hash *ret)
{
	static const char declaration[] = "AuthorizationUsed(address,bytes32)";
	struct hash topic, from = word_of(payer), to_word = word_of(to);
	_cleanup_json_ json_t *logs = NULL;
	struct chain_receipt r;
	struct rpc_log l;
	bool paid;
	enum err e;

	keccak256(declaration, sizeof(declaration) - 1, &topic);
	e = rpc_call(c, "eth_getLogs", json_pack("[{s:s, s:s, s:s, s:[s, s, s]}]", "fromBlock", "earliest", "toBlock", "latest", "address", address_format(token).s,
						 "topics", hash_format(&topic).s, hash_format(&from).s, hash_format(nonce).s), &logs);
	if (e)
		return e;
	if (!json_is_array(logs) || json_array_size(logs) > 1)
		return rpc_refuse("an authorization was used more than once");
	if (json_array_size(logs) == 0)
		return ERR_NOT_FOUND;
	e = rpc_read_log(json_array_get(logs, 0), &l);
	if (!e && (!address_equal(&l.address, token) || l.topic_count != 3 || !hash_equal(&l.topics[2], nonce)))
		e = rpc_refuse("a log is not the one asked for");
	if (!e)
		e = chain_receipt(c, &l.tx, &r);
	if (e)
		return e;
	paid = r.ok && pays(&r, token, &from, &to_word, amount);
	chain_receipt_done(&r);
	if (!paid)
		return ERR_NOT_FOUND;
	*ret = l.tx;
	return ERR_OK;
}
