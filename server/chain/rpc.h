/* JSON-RPC 2.0 over HTTP, and strict readers of its values. Used inside chain/ (and by its fuzzer) only. Every reader returns
 * ERR_CHAIN_DOWN with words in chain_error() for anything but the exact form. */
#ifndef OPGATE_CHAIN_RPC_H
#define OPGATE_CHAIN_RPC_H

#include "base/buf.h"
#include "base/hex.h"
#include "base/json.h"
#include "chain/chain.h"

#define RPC_ANSWER_MAX ((size_t)32 << 20) /* a receipt of nothing but logs has 15 MiB; see CHAIN_RECEIPT_LOGS_MAX */

/* Sets the words for this thread; returns ERR_CHAIN_DOWN. */
enum err rpc_refuse(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* One call. Takes over params (an array). ret_result may be JSON null; the caller drops it. */
enum err rpc_call(struct chain *c, const char *method, json_t *params, json_t **ret_result) WARN_UNUSED;

/* The same, and when the endpoint answered this very call with a JSON-RPC error, that object (code and message are there; the
 * caller drops it). ret_error is NULL after every other failure: then nothing is known about what the call did. */
enum err rpc_ask(struct chain *c, const char *method, json_t *params, json_t **ret_result, json_t **ret_error) WARN_UNUSED;

/* Several calls in one HTTP request, or (when the endpoint takes no batches) one after the other until one fails. They need not be
 * answered from one block. */
#define RPC_BATCH_MAX 4
struct rpc_question {
	const char *method;
	json_t *params; /* an array; rpc_batch takes it over */
	enum err err;
	json_t *result; /* NULL with err */
};
void rpc_batch(struct chain *c, struct rpc_question *q, size_t count);
void rpc_questions_done(struct rpc_question *q, size_t count);

/* The answer to the call `id`, from its bytes. */
enum err rpc_read_answer(const char *text, size_t len, uint64_t id, json_t **ret_result) WARN_UNUSED;

/* Values. `what` names them in the words. */
enum err rpc_read_quantity(const json_t *v, const char *what, uint64_t *ret) WARN_UNUSED; /* "0x1f": no leading zeros */
enum err rpc_read_quantity_be(const json_t *v, const char *what, uint8_t ret_be[32]) WARN_UNUSED;
enum err rpc_read_hash(const json_t *v, const char *what, struct hash *ret) WARN_UNUSED;
enum err rpc_read_address(const json_t *v, const char *what, struct address *ret) WARN_UNUSED;
enum err rpc_read_data(const json_t *v, const char *what, struct buf *out) WARN_UNUSED; /* appends */

struct rpc_log {
	struct address address;
	struct hash topics[4];
	size_t topic_count;
	struct hash tx, block;
	uint64_t block_number, index; /* in the block */
	const json_t *data;           /* not looked at; borrowed */
};
enum err rpc_read_log(const json_t *j, struct rpc_log *ret) WARN_UNUSED; /* a removed log is refused */

/* The block `at`, or (UINT64_MAX) any. ERR_NOT_FOUND: JSON null, there is no block `at`. */
enum err rpc_read_block(const json_t *v, uint64_t at, struct chain_block *ret) WARN_UNUSED;

json_t *rpc_quantity(uint64_t v);
json_t *rpc_data(const void *p, size_t len); /* "0x…" */
json_t *rpc_block_tag(uint64_t at); /* UINT64_MAX: "latest" */

#endif
