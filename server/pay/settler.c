/* See settler.h. The thread's lock guards its stop and kick flags; everything else is the thread's own or the database's. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "chain/abi.h"
#include "chain/calls.h"
#include "pay/settler.h"

#define STATEMENT_DEADLINE_MS 10000
#define OPEN_MAX 64
#define VERSIONS_MAX 16
#define RESEND_MS 4000
#define BUMP_MS 30000
#define BUSY_POLL_MS 150

/* ---- reading a receipt ---- */

/* Did our contract say that this payment's call returned? */
static bool item_ok(const struct settler_config *c, const struct chain_receipt *r, const struct settling *p)
{
	for (size_t i = 0; i < r->log_count; i++) {
		const struct chain_log *l = &r->logs[i];
		struct calls_settled said;

		if (address_equal(&l->address, &c->contract) && calls_read_settled(l->topics, l->topic_count, l->data, l->data_len, &said) &&
		    !memcmp(said.ref.b, p->id.b, sizeof(p->id.b)))
			return said.end == CALLS_SETTLED;
	}
	return false;
}

/* The token's own word that the money moved: a Transfer from the payer to us of exactly this amount that no other payment has claimed. */
static bool money_moved(const struct settler_config *c, const struct chain_receipt *r, const struct settling *p, bool *taken)
{
	uint8_t from[32] = { 0 }, to[32] = { 0 }, value[32];

	memcpy(from + 12, p->payer.b, 20);
	memcpy(to + 12, c->pay_to.b, 20);
	amount_to_be(p->amount, value);
	for (size_t i = 0; i < r->log_count; i++) {
		const struct chain_log *l = &r->logs[i];

		if (taken[i] || !address_equal(&l->address, &c->token) || l->topic_count != 3 || !hash_equal(&l->topics[0], &ABI_TRANSFER_TOPIC) ||
		    memcmp(l->topics[1].b, from, 32) != 0 || memcmp(l->topics[2].b, to, 32) != 0 || l->data_len != 32 || memcmp(l->data, value, 32) != 0)
			continue;
		taken[i] = true;
		return true;
	}
	return false;
}

/* ---- a transaction that is under way ---- */

static void tell(const struct settler_config *c, const struct settling *payments, size_t count)
{
	for (size_t i = 0; i < count; i++)
		c->ended(c->arg, &payments[i].id);
}

static void release(struct settling *payments, size_t count)
{
	for (size_t i = 0; i < count; i++)
		json_decref(payments[i].payload);
}

/* It was mined: each payment in it is settled, or the chain is asked why not. */
static enum err conclude(const struct settler_config *c, struct db *db, const struct open_tx *t, const struct chain_receipt *r)
{
	struct settling payments[SETTLER_BATCH_MAX];
	struct uuid arrived[SETTLER_BATCH_MAX];
	_cleanup_free_ bool *taken = xcalloc(r->log_count + 1, sizeof(*taken));
	size_t count = 0, arrived_count = 0;
	bool settled[SETTLER_BATCH_MAX] = { false };
	enum err e = db_settlement_payments(db, t->id, payments, SETTLER_BATCH_MAX, &count);

	if (e)
		return e;
	for (size_t i = 0; i < count; i++) {
		settled[i] = r->ok && item_ok(c, r, &payments[i]) && (amount_is_zero(payments[i].amount) || money_moved(c, r, &payments[i], taken));
		if (settled[i])
			arrived[arrived_count++] = payments[i].id;
	}
	e = db_settlement_mined(db, t->id, r->ok, r->block_number, &r->block, &r->tx, arrived, arrived_count);
	for (size_t i = 0; !e && i < count; i++)
		if (!settled[i])
			e = settler_find_out(c, db, &payments[i]);
	if (!e) {
		tell(c, payments, count);
		c->log("settled", (int64_t)arrived_count, hash_format(&r->tx).s);
	}
	release(payments, count);
	return e;
}

static void send(const struct settler_config *c, const void *raw, size_t len)
{
	enum chain_sent s = chain_send_raw(c->chain, raw, len);

	if (s != CHAIN_SENT && s != CHAIN_SENT_KNOWN && s != CHAIN_SENT_NONCE_TOO_LOW)
		c->log("send_trouble", (int64_t)s, chain_sent_name(s)); /* whatever it says: the receipts decide */
}

/* Stuck for long: the same calls under the same nonce for more. */
static enum err bump(const struct settler_config *c, struct db *db, const struct open_tx *t)
{
	struct chain_fees now, then = { 0 }, more;
	struct buf raw = BUF_INIT(TX_RAW_MAX);
	struct address sender;
	struct hash hash;
	struct tx tx;
	enum err e = tx_parse_signed(t->raw, t->raw_len, &tx, &sender, &hash);

	if (!e)
		e = chain_fees(c->chain, &c->caps, &now);
	then.priority = tx.max_priority_fee;
	then.fee = tx.max_fee;
	if (!e)
		e = chain_fees_bump(&then, &now, &c->caps, &more);
	if (e == ERR_LIMIT) {
		c->log("fee_cap_reached", (int64_t)t->nonce, "a settlement waits for cheaper gas");
		return ERR_OK;
	}
	if (!e) {
		tx.max_priority_fee = more.priority;
		tx.max_fee = more.fee;
		e = tx_sign(&tx, &c->key, &raw, &hash);
	}
	if (!e) {
		struct signed_tx signed_ = { .chain_id = c->chain_id, .sender = sender, .nonce = t->nonce, .hash = hash, .raw = raw.data, .raw_len = raw.len,
					     .max_fee = amount_from_u64(more.fee) };

		e = db_settlement_replace(db, t->id, &signed_);
	}
	if (!e)
		send(c, raw.data, raw.len);
	buf_done(&raw);
	return e;
}

/* Any of its forms may be the one that was mined. */
static enum err look_for_receipt(const struct settler_config *c, struct db *db, const struct open_tx *t)
{
	struct hash hashes[VERSIONS_MAX];
	size_t count = 0;
	enum err e = db_settlement_hashes(db, t->id, hashes, VERSIONS_MAX, &count);

	for (size_t i = 0; !e && i < count; i++) {
		struct chain_receipt r;

		e = chain_receipt(c->chain, &hashes[i], &r);
		if (e == ERR_NOT_FOUND) {
			e = ERR_OK;
			continue;
		}
		if (e)
			return e;
		e = conclude(c, db, t, &r);
		chain_receipt_done(&r);
		return e;
	}
	if (e)
		return e;
	if (t->age_ms > BUMP_MS)
		return bump(c, db, t);
	if (t->age_ms > RESEND_MS)
		send(c, t->raw, t->raw_len);
	return ERR_OK;
}

static enum err look_after(const struct settler_config *c, struct db *db, const struct open_tx *t, uint64_t head)
{
	struct chain_block block;
	enum err e;

	if (!t->mined)
		return look_for_receipt(c, db, t);
	if (head + 1 < t->block_number + c->confirmations && head >= t->block_number)
		return ERR_OK;
	e = chain_block_by_number(c->chain, t->block_number, &block);
	if (e && e != ERR_NOT_FOUND)
		return e;
	if (!e && hash_equal(&block.hash, &t->block_hash))
		return db_settlement_final(db, t->id);
	c->log("settlement_reorganised", (int64_t)t->block_number, "sent again");
	return db_settlement_unmined(db, t->id);
}

/* ---- new ones ---- */

static enum err sign_batch(const struct settler_config *c, struct db *db, const struct settling *payments, size_t count, struct buf *raw, struct signed_tx *ret)
{
	struct buf data = BUF_INIT(TX_RAW_MAX);
	struct tx tx = { .chain_id = c->chain_id, .to = c->contract };
	struct chain_fees fees;
	struct signed_tx s = { .chain_id = c->chain_id };
	uint64_t latest = 0;
	enum err e = settler_batch(c, payments, count, &data, &tx.gas);

	secret_key_address(&c->key, &s.sender);
	if (!e)
		e = chain_fees(c->chain, &c->caps, &fees);
	if (!e)
		e = chain_nonce(c->chain, &s.sender, CHAIN_LATEST, &latest);
	if (!e)
		e = db_settlement_nonce(db, c->chain_id, &s.sender, latest, &s.nonce);
	if (!e) {
		tx.nonce = s.nonce;
		tx.max_fee = fees.fee;
		tx.max_priority_fee = fees.priority;
		tx.data = (const uint8_t *)data.data;
		tx.data_len = data.len;
		e = tx_sign(&tx, &c->key, raw, &s.hash);
	}
	buf_done(&data);
	s.raw = raw->data;
	s.raw_len = raw->len;
	s.max_fee = amount_from_u64(tx.max_fee);
	if (!e)
		*ret = s;
	return e;
}

static enum err settle_new(const struct settler_config *c, struct db *db, size_t *ret_count)
{
	struct settling payments[SETTLER_BATCH_MAX];
	struct uuid ids[SETTLER_BATCH_MAX];
	struct buf raw = BUF_INIT(TX_RAW_MAX);
	struct signed_tx tx;
	size_t count = 0;
	enum err e = db_payments_settling(db, payments, SETTLER_BATCH_MAX, &count);

	*ret_count = count;
	if (e || count == 0)
		return e;
	for (size_t i = 0; i < count; i++)
		ids[i] = payments[i].id;
	e = sign_batch(c, db, payments, count, &raw, &tx);
	if (!e)
		e = db_settlement_write(db, &tx, ids, count);
	if (!e)
		send(c, raw.data, raw.len);
	release(payments, count);
	buf_done(&raw);
	return e;
}

/* ---- the thread ---- */

/* One owner for each key among all gateways: the lock lives and dies with this connection. */
static enum err own_key(const struct settler_config *c, struct db *db, bool *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	struct address sender;
	DB_PARAMS p = { 0 };
	enum err e;

	secret_key_address(&c->key, &sender);
	db_text(&p, address_format(&sender).s);
	e = db_query_one(db, "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) OR"
			     " pg_try_advisory_lock(hashtextextended('settler:' || $1, 0)) AS mine", &p, &r);
	if (!e)
		*ret = db_get_bool(r, 0, "mine");
	return e;
}

enum err settler_turn(const struct settler_config *c, struct db *db, bool *ret_busy)
{
	struct open_tx open[OPEN_MAX];
	struct address sender;
	size_t count = 0, begun = 0;
	uint64_t head = 0;
	bool mine = false;
	enum err e = own_key(c, db, &mine);

	*ret_busy = false;
	if (e || !mine)
		return e;
	secret_key_address(&c->key, &sender);
	e = settle_new(c, db, &begun);
	if (!e)
		e = db_settlements_open(db, c->chain_id, &sender, open, OPEN_MAX, &count);
	if (!e && count > 0)
		e = chain_head(c->chain, &head);
	for (size_t i = 0; i < count; i++) {
		if (!e)
			e = look_after(c, db, &open[i], head);
		*ret_busy |= !open[i].mined;
		free(open[i].raw);
	}
	*ret_busy |= begun > 0;
	return e;
}

struct settler {
	struct settler_config config;
	char *database_url;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stopping, kicked;
};

static bool wait_or_stop(struct settler *s, int64_t ms)
{
	struct timespec t;
	bool stop;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (ms % 1000) * 1000000L;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000L;
	}
	pthread_mutex_lock(&s->lock);
	while (!s->stopping && !s->kicked && pthread_cond_timedwait(&s->wake, &s->lock, &t) == 0)
		;
	s->kicked = false;
	stop = s->stopping;
	pthread_mutex_unlock(&s->lock);
	return stop;
}

static void *settler_main(void *arg)
{
	struct settler *s = arg;
	struct db *db = db_new(s->database_url, STATEMENT_DEADLINE_MS);
	int64_t failures = 0;

	for (bool busy = false; !wait_or_stop(s, busy ? BUSY_POLL_MS : s->config.poll_ms);) {
		enum err e = settler_turn(&s->config, db, &busy);

		if (e && (failures & (failures - 1)) == 0)
			s->config.log("settler_failed", failures, e == ERR_CHAIN_DOWN ? chain_error() : e == ERR_DB_DOWN ? db_error(db) : err_info(e)->code);
		failures = e ? failures + 1 : 0;
	}
	db_free(db);
	return NULL;
}

struct settler *settler_start(const struct settler_config *config)
{
	struct settler *s = xcalloc(1, sizeof(*s));
	pthread_condattr_t attr;

	s->config = *config;
	s->database_url = xstrdup(config->database_url);
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&s->thread, NULL, settler_main, s))
		abort();
	return s;
}

static void signal_thread(struct settler *s, bool stop)
{
	pthread_mutex_lock(&s->lock);
	s->kicked = true;
	s->stopping |= stop;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

void settler_kick(void *settler)
{
	signal_thread(settler, false);
}

void settler_stop(struct settler *s)
{
	if (!s)
		return;
	signal_thread(s, true);
	pthread_join(s->thread, NULL);
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	crypto_wipe(&s->config.key, sizeof(s->config.key));
	free(s->database_url);
	free(s);
}
