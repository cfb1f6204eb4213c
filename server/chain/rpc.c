/* JSON-RPC 2.0 over HTTP. Called by the other files of chain/ from any thread: the only shared state is the counter of ids. */
#include "chain/rpc.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define NO_BATCHES_MS 600000

struct chain {
	struct net *net;
	char *url;
	int64_t call_deadline_ms;
	atomic_uint_fast64_t next_id;
	_Atomic int64_t no_batches_until; /* the endpoint refused one; it may have been for another reason than that it was one */
};

static _Thread_local char words[256];

const char *chain_error(void)
{
	return words;
}

enum err rpc_refuse(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	/* Words from outside end up in logs: plain ASCII only. */
	for (char *p = words; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	return ERR_CHAIN_DOWN;
}

struct chain *chain_new(struct net *net, const char *rpc_url, int64_t call_deadline_ms)
{
	struct chain *c = xcalloc(1, sizeof(*c));
	c->net = net;
	c->url = xstrdup(rpc_url);
	c->call_deadline_ms = call_deadline_ms;
	atomic_init(&c->next_id, 1);
	return c;
}

void chain_free(struct chain *c)
{
	if (!c)
		return;
	free(c->url);
	free(c);
}

static enum err answer_error(const json_t *error)
{
	const char *message = json_string_value(json_object_get(error, "message"));
	const json_t *code = json_object_get(error, "code");
	if (!message || !json_is_integer(code))
		return rpc_refuse("malformed JSON-RPC error");
	return rpc_refuse("the RPC endpoint answers error %lld: %.160s", (long long)json_integer_value(code), message);
}

/* Revert reasons are the words of contracts, and anvil passes zero characters in them on; our parser takes none. In place,
 * each \u0000 becomes \ufffd, the replacement character. */
static void zeros_replace(char *text, size_t len)
{
	for (size_t i = 0; i + 6 <= len; i++) {
		if (text[i] != '\\')
			continue;
		if (memcmp(text + i + 1, "u0000", 5) == 0)
			memcpy(text + i + 2, "fffd", 4);
		i++; /* what is escaped starts no escape */
	}
}

static enum err answer_parse(const char *text, size_t len, json_t **ret)
{
	_cleanup_free_ char *clean = NULL;
	struct json_why why = { "" };
	if (memmem(text, len, "\\u0000", 6)) {
		clean = xmalloc(len);
		memcpy(clean, text, len);
		zeros_replace(clean, len);
		text = clean;
	}
	if (json_parse(text, len, ret, &why))
		return rpc_refuse("the RPC answer is not JSON: %s", why.text);
	return ERR_OK;
}

/* ret_error, which may be NULL, as in rpc_ask. */
static enum err answer_take(const json_t *answer, uint64_t id, json_t **ret_result, json_t **ret_error)
{
	const char *version = json_string_value(json_object_get(answer, "jsonrpc"));
	if (!version || strcmp(version, "2.0") != 0)
		return rpc_refuse("the RPC answer is not JSON-RPC 2.0");
	const json_t *answer_id = json_object_get(answer, "id");
	json_t *error = json_object_get(answer, "error");
	json_t *result = json_object_get(answer, "result");
	bool ours = json_is_integer(answer_id) && json_integer_value(answer_id) >= 0 && (uint64_t)json_integer_value(answer_id) == id;
	if (error && !result && (json_is_null(answer_id) || json_is_integer(answer_id))) {
		/* id is null when the endpoint could not read ours */
		if (ours && ret_error && json_is_string(json_object_get(error, "message")) && json_is_integer(json_object_get(error, "code")))
			*ret_error = json_incref(error);
		return answer_error(error);
	}
	if (!ours)
		return rpc_refuse("the RPC answer is for another call");
	if (!result || error)
		return rpc_refuse("the RPC answer has not exactly one of result and error");
	*ret_result = json_incref(result);
	return ERR_OK;
}

static enum err answer_read(const char *text, size_t len, uint64_t id, json_t **ret_result, json_t **ret_error)
{
	_cleanup_json_ json_t *answer = NULL;
	enum err e = answer_parse(text, len, &answer);

	return e ? e : answer_take(answer, id, ret_result, ret_error);
}

enum err rpc_read_answer(const char *text, size_t len, uint64_t id, json_t **ret_result)
{
	return answer_read(text, len, id, ret_result, NULL);
}

enum err rpc_call(struct chain *c, const char *method, json_t *params, json_t **ret_result)
{
	return rpc_ask(c, method, params, ret_result, NULL);
}

static json_t *call_make(struct chain *c, const char *method, json_t *take_params, uint64_t *ret_id)
{
	*ret_id = atomic_fetch_add_explicit(&c->next_id, 1, memory_order_relaxed);
	return json_must(json_pack("{s:s, s:I, s:s, s:o}", "jsonrpc", "2.0", "id", (json_int_t)*ret_id, "method", method, "params", json_must(take_params)));
}

static enum err post(struct chain *c, const char *method, const json_t *call, struct net_answer *answer)
{
	_cleanup_free_ char *body = json_text(call);
	const struct net_header headers[] = { { "Content-Type", "application/json" }, { "Accept", "application/json" } };
	struct net_request request = {
		.method = "POST",
		.url = c->url,
		.headers = headers,
		.header_count = 2,
		.body = body,
		.body_len = strlen(body),
		.deadline_ms = c->call_deadline_ms,
		.response_max = RPC_ANSWER_MAX,
		.repeatable = true, /* questions, and signed bytes that count once however often they are sent */
	};
	enum err e = net_fetch(c->net, &request, answer);

	return e ? rpc_refuse("%s: %s: %s", method, err_info(e)->code, answer->error) : ERR_OK;
}

enum err rpc_ask(struct chain *c, const char *method, json_t *params, json_t **ret_result, json_t **ret_error)
{
	if (ret_error)
		*ret_error = NULL;
	uint64_t id = 0;
	_cleanup_json_ json_t *call = call_make(c, method, params, &id);
	struct net_answer answer = { .body = BUF_INIT(RPC_ANSWER_MAX) };
	enum err e = post(c, method, call, &answer);

	if (!e && answer.status != 200)
		e = rpc_refuse("%s: HTTP status %d", method, answer.status);
	if (!e)
		e = answer_read(answer.body.data ? answer.body.data : "", answer.body.len, id, ret_result, ret_error);
	buf_done(&answer.body);
	return e;
}

/* Each answer to its own question, in whatever order they come; one that has none, or two, is not known. */
static void answers_deal(const json_t *answers, const uint64_t *ids, struct rpc_question *q, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const json_t *own = NULL, *answer;
		size_t at, found = 0;

		json_array_foreach(answers, at, answer) {
			const json_t *id = json_object_get(answer, "id");

			if (!json_is_integer(id) || json_integer_value(id) < 0 || (uint64_t)json_integer_value(id) != ids[i])
				continue;
			own = answer;
			found++;
		}
		q[i].err = found == 1 ? answer_take(own, ids[i], &q[i].result, NULL) : rpc_refuse("%s: a batch with %zu answers to it", q[i].method, found);
	}
}

/* ret_refused: the endpoint answers, but not to batches. What says that it is busy, or not for us, says nothing about them. */
static enum err batch_try(struct chain *c, struct rpc_question *q, size_t count, bool *ret_refused)
{
	_cleanup_json_ json_t *calls = json_must(json_array()), *answers = NULL;
	struct net_answer answer = { .body = BUF_INIT(RPC_ANSWER_MAX) };
	uint64_t ids[RPC_BATCH_MAX];
	enum err e;

	for (size_t i = 0; i < count; i++)
		json_array_append_new(calls, call_make(c, q[i].method, json_incref(q[i].params), &ids[i]));
	e = post(c, q[0].method, calls, &answer);
	if (!e && (answer.status >= 500 || answer.status == 401 || answer.status == 403 || answer.status == 429))
		e = rpc_refuse("%s: HTTP status %d", q[0].method, answer.status);
	*ret_refused = !e && answer.status != 200;
	if (!e && !*ret_refused)
		e = answer_parse(answer.body.data ? answer.body.data : "", answer.body.len, &answers);
	if (!e && !*ret_refused && json_is_array(answers))
		answers_deal(answers, ids, q, count);
	else if (!e)
		*ret_refused = true;
	buf_done(&answer.body);
	return e;
}

void rpc_batch(struct chain *c, struct rpc_question *q, size_t count)
{
	bool alone = clock_mono_ms() < atomic_load(&c->no_batches_until), refused = false;
	enum err e = alone ? ERR_OK : batch_try(c, q, count, &refused);

	if (refused)
		atomic_store(&c->no_batches_until, clock_mono_ms() + NO_BATCHES_MS);
	for (size_t i = 0; i < count; i++) {
		if ((alone || refused) && !e)
			e = rpc_call(c, q[i].method, json_incref(q[i].params), &q[i].result);
		if (alone || refused || e)
			q[i].err = e; /* it is not asked again and again when it does not answer */
		json_decref(q[i].params);
		q[i].params = NULL;
	}
}

void rpc_questions_done(struct rpc_question *q, size_t count)
{
	for (size_t i = 0; i < count; i++)
		json_decref(q[i].result);
}

/* The digits after 0x, or NULL. */
static const char *hex_digits(const json_t *v, size_t *ret_len)
{
	const char *s = json_string_value(v);
	if (!s || s[0] != '0' || s[1] != 'x')
		return NULL;
	*ret_len = json_string_length(v) - 2;
	return s + 2;
}

/* "0x1f" right-aligned into size bytes: no leading zeros, no more digits than fit. */
static bool quantity_read(const json_t *v, uint8_t *ret, size_t size)
{
	size_t len = 0;
	const char *s = hex_digits(v, &len);
	if (!s || len == 0 || len > 2 * size || (len > 1 && s[0] == '0'))
		return false;
	char padded[64];
	memset(padded, '0', sizeof(padded));
	memcpy(padded + 2 * size - len, s, len);
	return hex_decode(padded, 2 * size, ret, size) == ERR_OK;
}

enum err rpc_read_quantity(const json_t *v, const char *what, uint64_t *ret)
{
	uint8_t be[8];
	if (!quantity_read(v, be, sizeof(be)))
		return rpc_refuse("%s is no quantity", what);
	uint64_t n = 0;
	for (size_t i = 0; i < sizeof(be); i++)
		n = n << 8 | be[i];
	*ret = n;
	return ERR_OK;
}

enum err rpc_read_quantity_be(const json_t *v, const char *what, uint8_t ret_be[32])
{
	uint8_t be[32];
	if (!quantity_read(v, be, sizeof(be)))
		return rpc_refuse("%s is no quantity", what);
	memcpy(ret_be, be, sizeof(be));
	return ERR_OK;
}

enum err rpc_read_hash(const json_t *v, const char *what, struct hash *ret)
{
	size_t len = 0;
	const char *s = hex_digits(v, &len);
	if (!s || hex_decode(s, len, ret->b, sizeof(ret->b)))
		return rpc_refuse("%s is no 32-byte hash", what);
	return ERR_OK;
}

enum err rpc_read_address(const json_t *v, const char *what, struct address *ret)
{
	size_t len = 0;
	const char *s = hex_digits(v, &len);
	if (!s || hex_decode(s, len, ret->b, sizeof(ret->b)))
		return rpc_refuse("%s is no address", what);
	return ERR_OK;
}

enum err rpc_read_data(const json_t *v, const char *what, struct buf *out)
{
	size_t len = 0;
	const char *s = hex_digits(v, &len);
	if (!s || len % 2)
		return rpc_refuse("%s is no data", what);
	_cleanup_free_ uint8_t *bytes = xmalloc(len / 2 + 1);
	if (hex_decode(s, len, bytes, len / 2))
		return rpc_refuse("%s is no data", what);
	if (buf_append(out, bytes, len / 2))
		return rpc_refuse("%s is longer than %zu bytes", what, out->max);
	return ERR_OK;
}

enum err rpc_read_log(const json_t *j, struct rpc_log *ret)
{
	const json_t *removed = json_object_get(j, "removed");
	if (removed && !json_is_false(removed))
		return rpc_refuse("a log was removed by a reorganisation");
	const json_t *topics = json_object_get(j, "topics");
	size_t count = json_array_size(topics);
	if (!json_is_array(topics) || count > 4)
		return rpc_refuse("a log has malformed topics");
	enum err e = rpc_read_address(json_object_get(j, "address"), "a log's address", &ret->address);
	for (size_t i = 0; i < count && !e; i++)
		e = rpc_read_hash(json_array_get(topics, i), "a log's topic", &ret->topics[i]);
	if (!e)
		e = rpc_read_hash(json_object_get(j, "transactionHash"), "a log's transaction", &ret->tx);
	if (!e)
		e = rpc_read_hash(json_object_get(j, "blockHash"), "a log's block", &ret->block);
	if (!e)
		e = rpc_read_quantity(json_object_get(j, "blockNumber"), "a log's block number", &ret->block_number);
	if (!e)
		e = rpc_read_quantity(json_object_get(j, "logIndex"), "a log's index", &ret->index);
	ret->topic_count = count;
	ret->data = json_object_get(j, "data");
	return e;
}

json_t *rpc_data(const void *p, size_t len)
{
	_cleanup_free_ char *text = xmalloc(2 + 2 * len + 1);
	memcpy(text, "0x", 2);
	hex_encode(p, len, text + 2);
	return json_must(json_string(text));
}

enum err rpc_read_block(const json_t *v, uint64_t at, struct chain_block *ret)
{
	struct chain_block b;
	enum err e;

	if (json_is_null(v) && at != UINT64_MAX)
		return ERR_NOT_FOUND;
	e = rpc_read_quantity(json_object_get(v, "number"), "block number", &b.number);
	if (!e)
		e = rpc_read_hash(json_object_get(v, "hash"), "block hash", &b.hash);
	if (!e)
		e = rpc_read_hash(json_object_get(v, "parentHash"), "parent hash", &b.parent);
	if (!e)
		e = rpc_read_quantity(json_object_get(v, "timestamp"), "block timestamp", &b.timestamp);
	if (e)
		return e;
	if (at != UINT64_MAX && b.number != at)
		return rpc_refuse("asked for block %llu, got %llu", (unsigned long long)at, (unsigned long long)b.number);
	*ret = b;
	return ERR_OK;
}

json_t *rpc_quantity(uint64_t v)
{
	char text[2 + 16 + 1];
	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)v);
	return json_must(json_string(text));
}

json_t *rpc_block_tag(uint64_t at)
{
	return at == UINT64_MAX ? json_must(json_string("latest")) : rpc_quantity(at);
}
