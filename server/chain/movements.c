/* See movements.h. Called by reconciliation and by `opgate reconcile`. The list of logs only says which transactions to look at;
 * their receipts must tell the same story, and give each log its place, its neighbours and our Settler's word about it. */
#include "chain/movements.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "chain/abi.h"
#include "chain/calls.h"
#include "chain/rpc.h"

struct place { /* of a log that concerns us */
	struct hash tx, block;
	uint64_t block_number, index;
};

static bool is_ours(const struct movements_filter *f, const struct address *a)
{
	for (size_t i = 0; i < f->ours_count; i++)
		if (address_equal(a, &f->ours[i]))
			return true;
	return false;
}

static json_t *ours_words(const struct movements_filter *f)
{
	json_t *list = json_must(json_array());

	for (size_t i = 0; i < f->ours_count; i++) {
		struct hash word;

		abi_word_from_address(&f->ours[i], &word);
		json_array_append_new(list, json_must(json_string(hash_format(&word).s)));
	}
	return list;
}

/* A Transfer of the token with parties that are addresses? */
static bool transfer_of(const struct movements_filter *f, const struct address *emitter, const struct hash *topics, size_t count, struct address *from, struct address *to)
{
	return address_equal(emitter, &f->token) && count == 3 && hash_equal(&topics[0], &ABI_TRANSFER_TOPIC) && abi_word_to_address(&topics[1], from) &&
	       abi_word_to_address(&topics[2], to);
}

/* topics: [Transfer, from, to] with our addresses in one of the places. */
static json_t *logs_params(const struct movements_filter *f, bool incoming, uint64_t first, uint64_t last)
{
	json_t *topics = json_must(json_pack("[s, o, o]", hash_format(&ABI_TRANSFER_TOPIC).s, incoming ? json_null() : ours_words(f), incoming ? ours_words(f) : json_null()));

	return json_pack("[{s:o, s:o, s:s, s:o}]", "fromBlock", rpc_quantity(first), "toBlock", rpc_quantity(last), "address", address_format(&f->token).s, "topics", topics);
}

static enum err places_read(const json_t *logs, const struct movements_filter *f, bool incoming, uint64_t first, uint64_t last, struct place **list, size_t *count)
{
	enum err e = json_is_array(logs) ? ERR_OK : rpc_refuse("eth_getLogs answers no list");

	*list = xrealloc(*list, (*count + json_array_size(logs) + 1) * sizeof(**list));
	for (size_t i = 0; !e && i < json_array_size(logs); i++) {
		struct address from, to;
		struct rpc_log l;

		e = rpc_read_log(json_array_get(logs, i), &l);
		if (!e && (!transfer_of(f, &l.address, l.topics, l.topic_count, &from, &to) || !is_ours(f, incoming ? &to : &from) || l.block_number < first || l.block_number > last))
			e = rpc_refuse("a log is not one asked for");
		if (!e)
			(*list)[(*count)++] = (struct place){ .tx = l.tx, .block = l.block, .block_number = l.block_number, .index = l.index };
	}
	return e;
}

/* In one request: some endpoints answer [] for blocks they do not have yet, and that they do not have them shows. */
static enum err logs_read(struct chain *c, const struct movements_filter *f, uint64_t first, uint64_t last, struct chain_block *ret_last, struct place **list, size_t *count)
{
	struct rpc_question q[] = {
		{ .method = "eth_getBlockByNumber", .params = json_pack("[o, b]", rpc_quantity(last), 0) },
		{ .method = "eth_getLogs", .params = logs_params(f, true, first, last) },
		{ .method = "eth_getLogs", .params = logs_params(f, false, first, last) },
	};
	enum err e;

	rpc_batch(c, q, 3);
	e = q[0].err ? q[0].err : rpc_read_block(q[0].result, last, ret_last);
	for (size_t i = 1; !e && i < 3; i++)
		e = q[i].err ? q[i].err : places_read(q[i].result, f, i == 1, first, last, list, count);
	rpc_questions_done(q, 3);
	return e;
}

static int place_compare(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->block_number != y->block_number)
		return x->block_number < y->block_number ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* A transfer between two of our addresses is in both lists. */
static size_t places_unique(struct place *list, size_t count)
{
	size_t kept = 0;

	qsort(list, count, sizeof(*list), place_compare);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || place_compare(&list[kept - 1], &list[i]) != 0)
			list[kept++] = list[i];
	return kept;
}

/* The authorization a token says it used, next to the transfer it made. */
static void nonce_read(const struct movements_filter *f, const struct chain_receipt *r, size_t at, struct chain_movement *m)
{
	static const char declaration[] = "AuthorizationUsed(address,bytes32)";
	struct hash topic, word;

	keccak256(declaration, sizeof(declaration) - 1, &topic);
	abi_word_from_address(&m->from, &word);
	for (size_t i = at > 0 ? at - 1 : 0; i < r->log_count && i <= at + 1 && !m->has_nonce; i++) {
		const struct chain_log *l = &r->logs[i];

		if (address_equal(&l->address, &f->token) && l->topic_count == 3 && hash_equal(&l->topics[0], &topic) && hash_equal(&l->topics[1], &word)) {
			m->has_nonce = true;
			m->nonce = l->topics[2];
		}
	}
}

/* Our Settler reports each item after its logs: the first report behind a transfer is about it, unless another transfer comes first. */
static void ref_read(const struct movements_filter *f, const struct chain_receipt *r, size_t at, struct chain_movement *m)
{
	struct calls_settled said;

	for (size_t i = at + 1; !address_is_zero(&f->settler) && i < r->log_count; i++) {
		const struct chain_log *l = &r->logs[i];
		struct address from, to;

		if (transfer_of(f, &l->address, l->topics, l->topic_count, &from, &to) && is_ours(f, &to))
			return;
		if (!address_equal(&l->address, &f->settler) || !calls_read_settled(l->topics, l->topic_count, l->data, l->data_len, &said))
			continue;
		m->has_ref = said.end == CALLS_SETTLED;
		m->ref = said.ref;
		return;
	}
}

void chain_movements_of(const struct movements_filter *f, const struct chain_receipt *r, struct chain_movement **ret, size_t *ret_count)
{
	struct chain_movement *list = xcalloc(r->log_count + 1, sizeof(*list));
	size_t count = 0;

	for (size_t i = 0; r->ok && i < r->log_count; i++) {
		const struct chain_log *l = &r->logs[i];
		struct chain_movement m = { .tx = r->tx, .block = r->block, .block_number = r->block_number, .ordinal = (uint32_t)i };

		if (!transfer_of(f, &l->address, l->topics, l->topic_count, &m.from, &m.to) || l->data_len != 32 || (!is_ours(f, &m.from) && !is_ours(f, &m.to)))
			continue;
		m.value = u256_from_be(l->data);
		nonce_read(f, r, i, &m);
		ref_read(f, r, i, &m);
		list[count++] = m;
	}
	*ret = list;
	*ret_count = count;
}

/* The movements of the transaction that `places` begins with, of which it has `count`. */
static enum err tx_read(struct chain *c, const struct movements_filter *f, const struct place *places, size_t count, struct chain_movement *ret)
{
	_cleanup_free_ struct chain_movement *list = NULL;
	struct chain_receipt r;
	size_t found = 0;
	enum err e = chain_receipt(c, &places[0].tx, &r);

	if (e)
		return e == ERR_NOT_FOUND ? rpc_refuse("a transaction with logs has no receipt") : e;
	chain_movements_of(f, &r, &list, &found);
	if (!hash_equal(&r.block, &places[0].block) || found != count)
		e = rpc_refuse("the logs of the blocks and of a receipt differ");
	else
		memcpy(ret, list, count * sizeof(*list));
	chain_receipt_done(&r);
	return e;
}

enum err chain_movements(struct chain *c, const struct movements_filter *f, uint64_t first, uint64_t last, struct chain_block *ret_last, struct chain_movement **ret,
			 size_t *ret_count)
{
	_cleanup_free_ struct place *places = NULL;
	struct chain_movement *list;
	struct chain_block block;
	size_t count = 0;
	enum err e = logs_read(c, f, first, last, &block, &places, &count);

	if (e)
		return e;
	count = places_unique(places, count);
	list = xcalloc(count + 1, sizeof(*list));
	for (size_t at = 0; !e && at < count;) {
		size_t n = 1;

		while (at + n < count && hash_equal(&places[at + n].tx, &places[at].tx))
			n++;
		e = tx_read(c, f, places + at, n, list + at);
		at += n;
	}
	if (e) {
		free(list);
		return e;
	}
	*ret_last = block;
	*ret = list;
	*ret_count = count;
	return ERR_OK;
}
