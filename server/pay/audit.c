/* See audit.h. No locks: one thread takes the turns; the database decides between processes. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/metrics.h"
#include "crypto/crypto.h"
#include "pay/audit.h"

json_t *audit_scope(const struct watch *w, const struct address *pay_to, const struct address *own, size_t own_count)
{
	json_t *list = json_must(json_array());

	json_array_append_new(list, json_hex(w->treasury.b, 20));
	for (size_t i = 0; i < own_count; i++)
		json_array_append_new(list, json_hex(own[i].b, 20));
	return json_must(json_pack("{s:I, s:o, s:o, s:o, s:o}", "chain_id", (json_int_t)w->chain_id, "token", json_hex(w->token.b, 20), "treasury", json_hex(w->treasury.b, 20),
				   "pay_to", address_is_zero(pay_to) ? json_must(json_string("none")) : json_hex(pay_to->b, 20), "ours", list));
}

json_t *audit_movement_json(const struct chain_movement *m)
{
	json_t *o = json_must(json_pack("{s:o, s:I, s:I, s:o, s:o, s:o, s:s}", "tx", json_hex(m->tx.b, 32), "ordinal", (json_int_t)m->ordinal, "block", (json_int_t)m->block_number,
					"hash", json_hex(m->block.b, 32), "from", json_hex(m->from.b, 20), "to", json_hex(m->to.b, 20), "value", u256_format(&m->value).s));

	if (m->has_ref)
		json_object_set_new(o, "ref", json_hex(m->ref.b, 32));
	if (m->has_nonce)
		json_object_set_new(o, "nonce", json_hex(m->nonce.b, 32));
	return o;
}

static struct movements_filter filter_of(const struct audit_config *c)
{
	struct movements_filter f = { .token = c->watch.token, .ours = { c->watch.treasury, c->pay_to }, .ours_count = address_is_zero(&c->pay_to) ? 1 : 2, .settler = c->settler };

	return f;
}

/* ---- the chain changed its mind about what was compared ---- */

/* Is the block the cursor stands on still there? If not, back to the newest one we stood on that is. */
static enum err check_ground(const struct audit_config *c, struct db *db, const json_t *scope, uint64_t at, bool *ret_moved)
{
	uint64_t number = at, target = c->from_block ? c->from_block - 1 : 0;
	struct chain_block block;
	struct hash ours;
	bool first = true;
	enum err e;

	*ret_moved = false;
	for (;; first = false) {
		e = db_audit_block(db, &c->watch, number, &number, &ours);
		if (e == ERR_NOT_FOUND)
			break;
		if (!e)
			e = chain_pair_block(c->pair, number, &block);
		if (e && (e != ERR_NOT_FOUND || first))
			return e;
		if (!e && hash_equal(&block.hash, &ours)) {
			target = number;
			break;
		}
		if (number == 0)
			break;
		number--;
	}
	if (first)
		return ERR_OK;
	*ret_moved = true;
	c->log("audit_goes_back", (int64_t)target, "the chain gave up blocks that were compared");
	return db_audit_rewind(db, scope, at, target < at ? target : at);
}

/* ---- new blocks ---- */

static enum err compare_blocks(const struct audit_config *c, struct db *db, const json_t *scope, uint64_t at, uint64_t final, uint64_t *ret_at)
{
	const struct movements_filter f = filter_of(c);
	_cleanup_free_ struct chain_movement *list = NULL;
	struct chain_block block;
	size_t count = 0;
	uint64_t last = chain_pair_range(c->pair, at + 1, final);
	_cleanup_json_ json_t *movements = json_must(json_array());
	enum err e = chain_pair_movements(c->pair, &f, at + 1, last, &block, &list, &count);

	if (!e) {
		for (size_t i = 0; i < count; i++)
			json_array_append_new(movements, audit_movement_json(&list[i]));
		e = db_audit_advance(db, scope, at, last, &block.hash, movements, c->memory->doubt);
	}
	c->memory->doubt = e == ERR_IN_PROGRESS;
	if (e)
		return e;
	metric_set(METRIC_AUDIT_BLOCK, (int64_t)last);
	*ret_at = last;
	return ERR_OK;
}

/* ---- what did not agree is looked at again ---- */

/* The movement at this place of the transaction's receipt. ERR_NOT_FOUND: there is none. */
static enum err movement_find(const struct audit_config *c, const struct audit_question *q, struct chain_movement *ret)
{
	const struct movements_filter f = filter_of(c);
	_cleanup_free_ struct chain_movement *list = NULL;
	struct chain_receipt r;
	size_t count = 0;
	enum err e = chain_receipt(c->pair->first, &q->tx, &r);

	if (e)
		return e;
	chain_movements_of(&f, &r, &list, &count);
	chain_receipt_done(&r);
	for (size_t i = 0; i < count; i++)
		if (list[i].ordinal == q->ordinal) {
			*ret = list[i];
			return ERR_OK;
		}
	return ERR_NOT_FOUND;
}

static json_t *question_json(const struct audit_question *q)
{
	json_t *o = json_must(json_pack("{s:s, s:s, s:s, s:o, s:I}", "kind", q->kind, "subject", q->subject, "detail", q->detail, "tx", json_hex(q->tx.b, 32), "ordinal",
					(json_int_t)q->ordinal));

	if (q->block_number)
		json_object_set_new(o, "block", json_integer((json_int_t)q->block_number));
	return o;
}

/* A log that was found stays while its block does: an endpoint that has no receipt may lag, or have forgotten. ERR_IN_PROGRESS: it is there,
 * or that cannot be said; what was written down without a hash waits for an operator. */
static enum err log_gone(const struct audit_config *c, const struct audit_question *q)
{
	struct chain_block block;
	enum err e;

	if (strstr(q->kind, "_without_log")) /* none was ever found, and no row says any more that there is one */
		return ERR_OK;
	if (!q->has_hash)
		return ERR_IN_PROGRESS;
	e = chain_pair_block(c->pair, q->block_number, &block);
	if (e)
		return e == ERR_NOT_FOUND ? ERR_IN_PROGRESS : e;
	return hash_equal(&block.hash, &q->block_hash) ? ERR_IN_PROGRESS : ERR_OK;
}

/* Nobody knows the block of this log; by what is the newest one now it must have been there. */
static enum err missed_early(const struct audit_config *c, struct db *db, const struct audit_question *q)
{
	uint64_t head = 0;
	enum err e = chain_head(c->pair->first, &head);

	if (!e)
		e = db_audit_missed(db, q, head);
	return e ? e : ERR_IN_PROGRESS;
}

/* A log that is there is judged again; one that is not is missed while a row says that it exists. *ret_found: what is wrong, or NULL.
 * ERR_IN_PROGRESS: its block is not final, the cursor will come to it; or nothing new is known. */
static enum err ask_again(const struct audit_config *c, struct db *db, const json_t *scope, const struct audit_question *q, uint64_t at, json_t **ret_found)
{
	_cleanup_json_ json_t *movement = NULL;
	struct chain_movement m;
	enum err e = movement_find(c, q, &m);

	*ret_found = NULL;
	if (e == ERR_NOT_FOUND && q->early)
		return missed_early(c, db, q);
	if (e == ERR_NOT_FOUND && q->claimed) {
		*ret_found = question_json(q);
		return ERR_OK;
	}
	if (e == ERR_NOT_FOUND)
		return log_gone(c, q);
	if (e || m.block_number > at)
		return e ? e : ERR_IN_PROGRESS;
	movement = audit_movement_json(&m);
	return db_audit_judge(db, scope, movement, ret_found);
}

static bool same_mismatch(const json_t *found, const struct audit_question *q)
{
	return !strcmp(json_string_value(json_object_get(found, "kind")), q->kind) && !strcmp(json_string_value(json_object_get(found, "subject")), q->subject);
}

/* A row whose block is just being given up is no mismatch: what is missed counts when it was missed the last time, too. */
static enum err report_missing(const struct audit_config *c, struct db *db, const json_t *found)
{
	_cleanup_free_ char *text = json_text(found);
	struct hash missing, before = c->memory->missing;

	sha256_of(text, strlen(text), &missing);
	c->memory->missing = missing;
	return json_array_size(found) > 0 && hash_equal(&missing, &before) ? db_mismatch_report(db, NULL, 0, found) : ERR_OK;
}

static enum err look_again(const struct audit_config *c, struct db *db, const json_t *scope, uint64_t at)
{
	struct audit_question *list = NULL;
	size_t count = 0;
	_cleanup_json_ json_t *found = json_must(json_array());
	enum err e = db_audit_questions(db, scope, at, &list, &count);

	for (size_t i = 0; !e && i < count; i++) {
		json_t *one = NULL;

		e = ask_again(c, db, scope, &list[i], at, &one);
		if (e == ERR_IN_PROGRESS) {
			e = ERR_OK;
			continue;
		}
		if (!e && list[i].mismatch && !(one && same_mismatch(one, &list[i])) && !(one && list[i].claimed)) {
			c->log("mismatch_healed", list[i].mismatch, list[i].detail);
			e = db_mismatch_heal(db, list[i].mismatch);
		}
		if (!e && one && !list[i].mismatch)
			json_array_append_new(found, one);
		else
			json_decref(one);
	}
	audit_questions_free(list, count);
	return e ? e : report_missing(c, db, found);
}

/* ---- the thread ---- */

/* How far the watcher has confirmed: behind that, every deposit must be booked. */
static enum err final_block(const struct audit_config *c, struct db *db, uint64_t *ret)
{
	uint64_t head = 0, watched = 0;
	bool has_hash;
	struct hash h;
	enum err e = chain_head(c->pair->first, &head);

	if (!e)
		e = db_watch_cursor(db, &c->watch, c->from_block ? c->from_block - 1 : 0, &watched, &h, &has_hash);
	if (e)
		return e;
	if (watched < head)
		head = watched;
	*ret = head + 1 > c->confirmations ? head + 1 - c->confirmations : 0;
	return ERR_OK;
}

enum err audit_step(const struct audit_config *c, struct db *db, bool *ret_more)
{
	_cleanup_json_ json_t *scope = audit_scope(&c->watch, &c->pay_to, c->own, c->own_count);
	uint64_t at = 0, final = 0;
	bool moved = false;
	enum err e = final_block(c, db, &final);

	*ret_more = false;
	if (!e)
		e = db_audit_cursor(db, &c->watch, c->from_block ? c->from_block - 1 : 0, &at);
	if (!e && final > at)
		e = check_ground(c, db, scope, at, &moved);
	if (e || moved) {
		*ret_more = moved;
		return e;
	}
	if (final > at) {
		e = compare_blocks(c, db, scope, at, final, &at);
		*ret_more = !e && final > at;
	}
	return e ? e : look_again(c, db, scope, at);
}

/* Another gateway may be first; an endpoint that lags is waited for; what is in doubt is read again. */
static enum err audit_turn(const void *config, struct db *db, bool *ret_busy)
{
	const struct audit_config *c = config;
	bool stopped = false;
	enum err e = audit_step(c, db, ret_busy);

	if (e == ERR_CONFLICT || e == ERR_NOT_FOUND || e == ERR_IN_PROGRESS) {
		*ret_busy = false;
		e = ERR_OK;
	}
	if (settlement_stopped(db, &stopped) == ERR_OK && stopped)
		atomic_store(c->stopped, true); /* taken back by reconcile() when all holds */
	return e;
}

struct turns *audit_start(const struct audit_config *config)
{
	const struct turns_config turns = { .database_url = config->database_url, .poll_ms = config->poll_ms, .busy_ms = 0, .turn = audit_turn, .log = config->log,
					    .name = "audit" };

	return turns_start(&turns, config, sizeof(*config));
}
