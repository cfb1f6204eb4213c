/* See records.h. No locks: the settler's thread. */
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/fault.h"
#include "base/mem.h"
#include "chain/abi.h"
#include "chain/merkle.h"
#include "pay/records.h"
#include "pay/x402_headers.h"
#include "proof/statements.h"

#define COLLECT_MAX 64 /* a turn */
#define SINGLES_MAX 16
#define OPEN_MAX 16    /* events on their way; the settler looks after 64 transactions, and payments come first */
#define EVENT_GAS 120000
#define BYTE_GAS 16
#define CALL_MAX 8192

/* ---- jobs that ended ---- */

static json_t *bytes_json(const char *p, size_t len)
{
	_cleanup_free_ char *text = base64_encode(p, len);

	return json_must(json_string(text));
}

/* Text as text; what is none in base64, under a name that says so. */
static void set_content(json_t *o, const char *name, const char *name_of_bytes, const char *p, size_t len)
{
	json_t *text = p ? json_stringn(p, len) : json_null();

	if (text)
		json_object_set_new(o, name, text);
	else
		json_object_set_new(o, name_of_bytes, bytes_json(p, len));
}

char *records_document(const struct record_ended *ended, const struct record_facts *f)
{
	_cleanup_json_ json_t *o = json_must(json_object());
	bool fits = ended->output && ended->output_len <= RECORD_OUTPUT_MAX;
	_cleanup_json_ json_t *timestamp = json_sprintf("%llu", (unsigned long long)f->signed_at);

	set_content(o, "input", "inputBase64", ended->input, ended->input_len);
	set_content(o, "output", "outputBase64", fits ? ended->output : NULL, ended->output_len);
	json_object_set_new(o, "inputHash", json_must(json_string(hash_format(&f->input_hash).s)));
	json_object_set_new(o, "outputHash", json_must(json_string(hash_format(&f->output_hash).s)));
	json_object_set_new(o, "teeSignature", bytes_json((const char *)f->signature, sizeof(f->signature)));
	json_object_set_new(o, "teeId", json_must(json_string(hash_format(&f->signer).s)));
	json_object_set(o, "timestamp", timestamp);
	json_object_set_new(o, "ethAddress", json_must(json_string(address_format(&f->payer).s)));
	json_object_set_new(o, "receipt", json_must(json_string(ended->receipt)));
	return json_text(o);
}

/* What the receipt says; false: there is none that may be believed, so there is nothing to put on chain. */
static bool read_facts(const struct record_ended *ended, struct record_facts *ret)
{
	struct receipt receipt;
	struct signature signature;
	struct json_why why;
	uint64_t chain_id = 0;

	if (!ended->receipt || doc_read(&RECEIPT_TYPE, ended->receipt, strlen(ended->receipt), &receipt, &chain_id, &signature, &why))
		return false;
	*ret = (struct record_facts){ .input_hash = receipt.request_hash, .output_hash = receipt.response_hash, .signed_at = receipt.finished_at / 1000, .payer = ended->payer };
	abi_word_from_address(&receipt.node, &ret->signer);
	memcpy(ret->signature, signature.b, sizeof(ret->signature));
	return true;
}

static enum err collect(struct db *db)
{
	enum err e = ERR_OK;

	for (int i = 0; !e && i < COLLECT_MAX; i++) {
		struct record_ended ended = { 0 };
		struct record_facts facts;

		e = db_record_ended(db, &ended);
		if (e)
			break;
		if (!read_facts(&ended, &facts)) {
			e = db_record_drop(db, &ended.job);
		} else {
			_cleanup_free_ char *document = ended.individual ? records_document(&ended, &facts) : NULL;

			e = db_record_queue(db, &ended.job, &facts, document);
			FAULT(record_queued);
		}
		db_record_ended_done(&ended);
	}
	return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* ---- events ---- */

static enum err post(struct db *db, const struct record_queued *calls, size_t count, const struct hash *root, const struct hash *blob, const char *body)
{
	enum err e = db_record_post(db, calls, count, root, blob, body);

	FAULT(record_posted);
	return e;
}

static enum err post_singles(struct db *db)
{
	struct record_queued calls[SINGLES_MAX];
	size_t count = 0;
	int64_t age = 0;
	enum err e = db_records_queued(db, true, calls, SINGLES_MAX, &count, &age);

	for (size_t i = 0; !e && i < count; i++)
		e = post(db, &calls[i], 1, NULL, &calls[i].blob, NULL);
	return e;
}

static struct merkle_statement statement_of(const struct record_facts *f)
{
	return (struct merkle_statement){ .signer = f->signer, .input_hash = f->input_hash, .output_hash = f->output_hash, .signature = f->signature,
					  .signature_len = sizeof(f->signature), .timestamp = f->signed_at };
}

static enum err post_tree(struct db *db, const struct record_queued *calls, size_t count)
{
	_cleanup_free_ struct merkle_statement *statements = xcalloc(count, sizeof(*statements));
	_cleanup_free_ struct hash *tree = xcalloc(2 * count - 1, sizeof(*tree));
	_cleanup_free_ size_t *places = xcalloc(count, sizeof(*places));
	_cleanup_free_ char *dump = NULL;
	struct hash blob;

	for (size_t i = 0; i < count; i++)
		statements[i] = statement_of(&calls[i].facts);
	merkle_tree(statements, count, tree, places);
	dump = merkle_dump(statements, count, tree, places);
	sha256_of(dump, strlen(dump), &blob);
	return post(db, calls, count, &tree[0], &blob, dump);
}

/* A tree is made when it is full, or its first call has waited long enough. */
static enum err post_batch(const struct records_config *r, struct db *db)
{
	size_t max = (size_t)r->batch_max, count = 0;
	_cleanup_free_ struct record_queued *calls = xcalloc(max, sizeof(*calls));
	int64_t age = 0;
	enum err e = db_records_queued(db, false, calls, max, &count, &age);

	if (!e && count > 0 && (count == max || age >= r->batch_wait_ms))
		e = post_tree(db, calls, count);
	return e;
}

/* ---- sending ---- */

static enum err event_call(const struct record_post *p, struct buf *out)
{
	const struct merkle_statement s = statement_of(&p->facts);
	char blob[44];

	base64url_encode(p->blob.b, sizeof(p->blob.b), blob);
	return p->batch ? merkle_batch_call(&p->root, p->size, blob, out) : merkle_individual_call(&s, &p->facts.payer, blob, out);
}

/* Asked first whether it would work: a contract that does not know our key must not cost us gas again and again. */
static enum err would_work(const struct settler_config *c, const struct tx *tx, bool *ret)
{
	struct chain_message m = { .from = c->from, .to = tx->to, .data = tx->data, .len = tx->data_len, .gas = tx->gas };
	struct buf answer = BUF_INIT(4096);
	enum err e = chain_simulate(c->chain, &m, UINT64_MAX, &answer, ret);

	buf_done(&answer);
	return e;
}

static enum err send_event(const struct settler_config *c, struct db *db, struct tx *tx, int64_t post)
{
	struct buf raw = BUF_INIT(TX_RAW_MAX);
	struct signed_tx signed_;
	bool works = false;
	enum err e = would_work(c, tx, &works);

	if (!e && !works) {
		c->log("record_refused", post, "record_contract would revert: does it know the settling key?");
		e = ERR_UNPROCESSABLE;
	}
	if (!e)
		e = settler_sign(c, db, tx, &raw, &signed_);
	if (!e)
		e = db_record_post_write(db, &signed_, post);
	FAULT(settlement_written);
	if (!e)
		settler_send(c, raw.data, raw.len);
	FAULT(settlement_sent);
	buf_done(&raw);
	return e;
}

static enum err send_due(const struct settler_config *c, const struct records_config *r, struct db *db)
{
	enum err e = ERR_OK;

	for (int i = 0; !e && i < OPEN_MAX; i++) {
		struct buf data = BUF_INIT(CALL_MAX);
		struct tx tx = { .to = r->contract };
		struct record_post post;

		e = db_record_post_due(db, OPEN_MAX, &post);
		if (e)
			break;
		e = event_call(&post, &data);
		tx.gas = EVENT_GAS + BYTE_GAS * data.len;
		tx.data = (const uint8_t *)data.data;
		tx.data_len = data.len;
		if (!e)
			e = send_event(c, db, &tx, post.id);
		buf_done(&data);
	}
	return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err records_turn(const struct settler_config *c, struct db *db)
{
	const struct records_config *r = c->more_arg;
	enum err e;

	if (address_is_zero(&r->contract))
		return ERR_OK;
	e = collect(db);
	if (!e)
		e = post_singles(db);
	if (!e)
		e = post_batch(r, db);
	return e ? e : send_due(c, r, db);
}
