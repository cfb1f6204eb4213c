/* Where a payment's money came from when our own transaction did not bring it: whoever sends a signed authorization first, the money
 * arrives all the same. Reads logs by ranges of blocks, because public endpoints refuse long ones. Called by the settler; no locks. */
#include <string.h>

#include "base/mem.h"
#include "chain/abi.h"
#include "chain/calls.h"
#include "chain/rpc.h"
#include "chain/send.h"
#include "crypto/crypto.h"

#define RANGE_BLOCKS 2000

static struct hash word_of(const struct address *a)
{
	struct hash h = { { 0 } };

	memcpy(h.b + 12, a->b, 20);
	return h;
}

static bool pays(const struct chain_log *l, const struct chain_payment *p)
{
	struct hash from = word_of(&p->payer), to = word_of(&p->to);
	uint8_t value[32];

	amount_to_be(p->amount, value);
	return address_equal(&l->address, &p->token) && l->topic_count == 3 && hash_equal(&l->topics[0], &ABI_TRANSFER_TOPIC) && hash_equal(&l->topics[1], &from) &&
	       hash_equal(&l->topics[2], &to) && l->data_len == 32 && !memcmp(l->data, value, 32);
}

bool chain_log_pays(const struct chain_log *log, const struct chain_payment *p)
{
	return pays(log, p);
}

struct search { /* for logs */
	const struct address *contract;
	struct hash topics[3];
	size_t topic_count;
	const struct amount *amount;  /* its one word of data; NULL: whatever it says */
	const struct u256 *permit2;   /* its data is a word and a mask of nonces with this one among them; NULL: likewise */
	struct hash *txs; /* of the transactions found, in order, each once */
	size_t max, count;
};

/* Of this amount? Anybody can have a token say, for nothing, that anybody paid us nothing. */
static bool says_amount(const struct amount *amount, const json_t *data)
{
	struct hash word, value;

	amount_to_be(*amount, value.b);
	return rpc_read_hash(data, "a transfer's value", &word) == ERR_OK && hash_equal(&word, &value);
}

static bool says_nonce(const struct u256 *nonce, const json_t *data)
{
	struct buf both = BUF_INIT(64);
	struct u256 word, mask;
	uint8_t bit = 0, place[32];
	bool said = rpc_read_data(data, "invalidated nonces", &both) == ERR_OK && both.len == 64;

	if (said) {
		calls_permit2_nonce_place(nonce, &word, &bit);
		u256_to_be(&word, place);
		mask = u256_from_be((const uint8_t *)both.data + 32);
		said = memcmp(both.data, place, sizeof(place)) == 0 && calls_permit2_nonce_used(&mask, bit);
	}
	buf_done(&both);
	return said;
}

static enum err transactions_read(const json_t *logs, struct search *s)
{
	struct rpc_log l;

	if (!json_is_array(logs))
		return rpc_refuse("eth_getLogs answers no list");
	for (size_t i = 0; i < json_array_size(logs); i++) {
		enum err e = rpc_read_log(json_array_get(logs, i), &l);

		if (e)
			return e;
		if (!address_equal(&l.address, s->contract) || l.topic_count != s->topic_count || memcmp(l.topics, s->topics, s->topic_count * sizeof(struct hash)) != 0)
			return rpc_refuse("a log is not one asked for");
		if ((s->amount && !says_amount(s->amount, l.data)) || (s->permit2 && !says_nonce(s->permit2, l.data)) ||
		    (s->count > 0 && hash_equal(&s->txs[s->count - 1], &l.tx)))
			continue;
		if (s->count == s->max && s->permit2)
			return ERR_OK; /* once is enough */
		if (s->count == s->max)
			return rpc_refuse("more than %zu transactions may have paid", s->max);
		s->txs[s->count++] = l.tx;
	}
	return ERR_OK;
}

static json_t *topics_json(const struct search *s)
{
	json_t *list = json_must(json_array());

	for (size_t i = 0; i < s->topic_count; i++)
		json_array_append_new(list, json_must(json_string(hash_format(&s->topics[i]).s)));
	return list;
}

/* Each range is asked for together with the block they end with: an endpoint that has not come so far has no logs either. */
static enum err transactions_find(struct chain *c, const struct chain_payment *p, struct search *s)
{
	enum err e = ERR_OK;

	for (uint64_t from = p->from_block < p->to_block ? p->from_block : p->to_block; !e && from <= p->to_block; from += RANGE_BLOCKS) {
		uint64_t to = p->to_block - from < RANGE_BLOCKS ? p->to_block : from + RANGE_BLOCKS - 1;
		struct rpc_question q[] = {
			{ .method = "eth_getBlockByNumber", .params = json_pack("[o, b]", rpc_quantity(p->to_block), 0) },
			{ .method = "eth_getLogs", .params = json_pack("[{s:o, s:o, s:s, s:o}]", "fromBlock", rpc_quantity(from), "toBlock", rpc_quantity(to), "address",
								       address_format(s->contract).s, "topics", topics_json(s)) },
		};
		struct chain_block block;

		rpc_batch(c, q, 2);
		e = q[0].err ? q[0].err : rpc_read_block(q[0].result, p->to_block, &block);
		if (e == ERR_NOT_FOUND)
			e = rpc_refuse("the endpoint has no block %llu", (unsigned long long)p->to_block);
		if (!e)
			e = q[1].err ? q[1].err : transactions_read(q[1].result, s);
		rpc_questions_done(q, 2);
	}
	return e;
}

/* A receipt a log led to; one that is gone again is as if there had been no log. */
static enum err receipt_read(struct chain *c, const struct hash *tx, struct chain_receipt *ret)
{
	enum err e = chain_receipt(c, tx, ret);

	return e == ERR_NOT_FOUND ? rpc_refuse("a transaction with logs has no receipt") : e;
}

/* The transaction with the log `declaration` says, of this authorization. ERR_NOT_FOUND. */
static enum err authorization_find(struct chain *c, const struct chain_payment *p, const struct hash *nonce, const char *declaration, struct hash topics[3], struct hash *ret)
{
	struct search s = { .contract = &p->token, .topics = { { { 0 } }, word_of(&p->payer), *nonce }, .topic_count = 3, .txs = ret, .max = 1 };
	enum err e;

	keccak256(declaration, strlen(declaration), &s.topics[0]);
	memcpy(topics, s.topics, sizeof(s.topics));
	e = transactions_find(c, p, &s);
	return !e && s.count == 0 ? ERR_NOT_FOUND : e;
}

static bool transfers_from(const struct chain_log *l, const struct chain_payment *p)
{
	struct hash from = word_of(&p->payer);

	return address_equal(&l->address, &p->token) && l->topic_count == 3 && hash_equal(&l->topics[0], &ABI_TRANSFER_TOPIC) && hash_equal(&l->topics[1], &from);
}

/* The transfer an authorization makes stands next to its own log, behind it (before it, where a token does it the other way round): another
 * payment's in the same transaction is not taken for it. */
static enum err transfer_next_to(const struct chain_receipt *r, const struct chain_payment *p, const struct hash topics[3], uint32_t *ret)
{
	for (size_t i = 0; r->ok && i < r->log_count; i++) {
		const struct chain_log *l = &r->logs[i];
		size_t at = i + 1 < r->log_count && transfers_from(&r->logs[i + 1], p) ? i + 1 : i > 0 ? i - 1 : i;

		if (!address_equal(&l->address, &p->token) || l->topic_count != 3 || memcmp(l->topics, topics, 3 * sizeof(struct hash)) != 0)
			continue;
		*ret = (uint32_t)at;
		return at != i && pays(&r->logs[at], p) ? ERR_OK : ERR_NOT_FOUND;
	}
	return ERR_NOT_FOUND;
}

enum err chain_authorization_tx(struct chain *c, const struct chain_payment *p, const struct hash *nonce, struct chain_arrival *ret, bool *ret_seen)
{
	struct hash topics[3], tx;
	struct chain_receipt r;
	enum err e = authorization_find(c, p, nonce, "AuthorizationUsed(address,bytes32)", topics, &tx);

	*ret_seen = !e;
	if (e == ERR_NOT_FOUND) {
		e = authorization_find(c, p, nonce, "AuthorizationCanceled(address,bytes32)", topics, &tx);
		*ret_seen = !e;
		return e ? e : ERR_NOT_FOUND;
	}
	if (!e)
		e = receipt_read(c, &tx, &r);
	if (e)
		return e;
	ret->tx = tx;
	e = transfer_next_to(&r, p, topics, &ret->log);
	chain_receipt_done(&r);
	return e;
}

enum err chain_payment_logs(struct chain *c, const struct chain_payment *p, struct chain_arrival *ret, size_t max, size_t *ret_count)
{
	struct hash txs[CHAIN_PAYMENT_LOGS_MAX];
	struct search s = { .contract = &p->token, .topics = { ABI_TRANSFER_TOPIC, word_of(&p->payer), word_of(&p->to) }, .topic_count = 3, .amount = &p->amount,
			    .txs = txs, .max = CHAIN_PAYMENT_LOGS_MAX };
	size_t count = 0;
	enum err e = transactions_find(c, p, &s);

	for (size_t i = 0; !e && i < s.count; i++) {
		struct chain_receipt r;

		e = receipt_read(c, &txs[i], &r);
		if (e)
			break;
		for (size_t j = 0; !e && r.ok && j < r.log_count; j++)
			if (pays(&r.logs[j], p) && count == max)
				e = rpc_refuse("more than %zu transfers may be the payment", max);
			else if (pays(&r.logs[j], p))
				ret[count++] = (struct chain_arrival){ .tx = txs[i], .log = (uint32_t)j };
		chain_receipt_done(&r);
	}
	if (!e)
		*ret_count = count;
	return e;
}

enum err chain_permit2_invalidated(struct chain *c, const struct chain_payment *p, const struct hash *nonce, bool *ret)
{
	static const char declaration[] = "UnorderedNonceInvalidation(address,uint256,uint256)";
	struct u256 number = u256_from_be(nonce->b);
	struct hash tx;
	struct search s = { .contract = &CALLS_PERMIT2, .topics = { { { 0 } }, word_of(&p->payer) }, .topic_count = 2, .permit2 = &number, .txs = &tx, .max = 1 };
	enum err e;

	keccak256(declaration, sizeof(declaration) - 1, &s.topics[0]);
	e = transactions_find(c, p, &s);
	*ret = s.count > 0;
	return e;
}

enum err chain_log_tx(struct chain *c, const struct address *address, const struct hash topics[2], uint64_t block, struct hash *ret)
{
	_cleanup_json_ json_t *logs = NULL;
	struct rpc_log l;
	enum err e = rpc_call(c, "eth_getLogs", json_pack("[{s:o, s:o, s:s, s:[s, s]}]", "fromBlock", rpc_quantity(block), "toBlock", rpc_quantity(block), "address",
							  address_format(address).s, "topics", hash_format(&topics[0]).s, hash_format(&topics[1]).s), &logs);

	if (!e && !json_is_array(logs))
		e = rpc_refuse("eth_getLogs answers no list");
	if (!e && json_array_size(logs) == 0)
		return ERR_NOT_FOUND;
	if (!e)
		e = rpc_read_log(json_array_get(logs, 0), &l);
	if (!e && (!address_equal(&l.address, address) || l.topic_count < 2 || memcmp(l.topics, topics, 2 * sizeof(struct hash)) != 0 || l.block_number != block))
		e = rpc_refuse("a log is not one asked for");
	if (!e)
		*ret = l.tx;
	return e;
}
