/* See deposits.h. */
#include <string.h>

#include "base/mem.h"
#include "db/deposits.h"

void db_watch_push(struct db_params *p, const struct watch *w)
{
	db_int(p, w->chain_id);
	db_address(p, &w->token);
	db_address(p, &w->treasury);
}

enum err db_watch_number(struct db *db, const char *sql, const struct watch *w, uint64_t *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_watch_push(&p, w);
	e = db_query_one(db, sql, &p, &r);
	if (!e)
		*ret = (uint64_t)db_get_int(r, 0, "number");
	return e;
}

enum err db_watch_cursor(struct db *db, const struct watch *w, uint64_t start, uint64_t *ret_number, struct hash *ret_hash, bool *ret_has_hash)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	DB_PARAMS q = { 0 };
	enum err e;

	db_watch_push(&p, w);
	db_int(&p, (int64_t)start);
	e = db_exec(db, "INSERT INTO chain_cursor VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING", &p, NULL);
	if (e)
		return e;
	db_watch_push(&q, w);
	e = db_query_one(db, "SELECT c.number, (SELECT b.hash FROM chain_block b WHERE b.chain_id = $1 AND b.token = $2 AND b.treasury = $3 AND b.number = c.number)"
			     " AS hash FROM chain_cursor c WHERE c.chain_id = $1 AND c.token = $2 AND c.treasury = $3", &q, &r);
	if (e)
		return e;
	*ret_number = (uint64_t)db_get_int(r, 0, "number");
	*ret_has_hash = !db_is_null(r, 0, "hash");
	if (*ret_has_hash)
		db_get_hash(r, 0, "hash", ret_hash);
	return ERR_OK;
}

enum err db_watch_at(struct db *db, const struct watch *w, uint64_t *ret)
{
	return db_watch_number(db, "SELECT coalesce(max(number), 0) AS number FROM chain_cursor WHERE chain_id = $1 AND token = $2 AND treasury = $3", w, ret);
}

enum err db_watch_block(struct db *db, const struct watch *w, uint64_t number, struct hash *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_watch_push(&p, w);
	db_int(&p, (int64_t)number);
	e = db_query_one(db, "SELECT hash FROM chain_block WHERE chain_id = $1 AND token = $2 AND treasury = $3 AND number = $4", &p, &r);
	if (!e)
		db_get_hash(r, 0, "hash", ret);
	return e;
}

struct advance {
	const struct watch *w;
	uint64_t from, number, confirmations;
	const struct hash *hash;
	const struct deposit_seen *seen;
	size_t count;
	int64_t credited;
};

static enum err move_cursor(struct db *db, const struct watch *w, uint64_t from, uint64_t to)
{
	DB_PARAMS p = { 0 };
	int64_t rows = 0;
	enum err e;

	db_watch_push(&p, w);
	db_int(&p, (int64_t)from);
	db_int(&p, (int64_t)to);
	e = db_exec(db, "UPDATE chain_cursor SET number = $5 WHERE chain_id = $1 AND token = $2 AND treasury = $3 AND number = $4", &p, &rows);
	return e ? e : rows == 1 ? ERR_OK : ERR_CONFLICT;
}

/* Seen again after a reorganisation: the same deposit in another block; who had claimed it keeps it, unless it is another's now. The account is touched where no key
 * is: as a key it would be locked against the jobs that refer to it, which hold the balance that a credit in the same transaction needs. */
#define SQL_SEEN \
	"WITH who AS (INSERT INTO account (address) SELECT $5::bytea WHERE $10::text = 'key' OR ($10::text = 'contract' AND deposit_sender_known($5::bytea))" \
	"   ON CONFLICT (address) DO UPDATE SET created_at = account.created_at RETURNING id)" \
	" INSERT INTO deposit (chain_id, token, treasury, tx, ordinal, account, sender, amount, block_number, block_hash, state)" \
	" SELECT $1::bigint, $2, $9, $3, $4::int, (SELECT id FROM who), $5::bytea, $6::numeric, $7::bigint, $8, CASE WHEN $10::text = 'us' THEN 'internal' ELSE 'seen' END" \
	" ON CONFLICT (chain_id, token, tx, ordinal) DO UPDATE SET state = EXCLUDED.state, treasury = EXCLUDED.treasury, sender = EXCLUDED.sender, amount = EXCLUDED.amount," \
	" account = CASE WHEN deposit.claimed_at IS NULL OR deposit.sender <> EXCLUDED.sender THEN EXCLUDED.account ELSE deposit.account END," \
	" claimed_at = CASE WHEN deposit.sender = EXCLUDED.sender THEN deposit.claimed_at END, reason = NULL," \
	" block_number = EXCLUDED.block_number, block_hash = EXCLUDED.block_hash" \
	" WHERE deposit.state IN ('vanished', 'reversed')"

static enum err write_seen(struct db *db, const struct advance *a, const struct deposit_seen *d)
{
	static const char *const senders[] = { [DEPOSIT_FROM_KEY] = "key", [DEPOSIT_FROM_CONTRACT] = "contract", [DEPOSIT_FROM_NOBODY] = "nobody", [DEPOSIT_FROM_US] = "us" };
	DB_PARAMS p = { 0 };

	db_int(&p, a->w->chain_id);
	db_address(&p, &a->w->token);
	db_hash(&p, &d->tx);
	db_int(&p, d->ordinal);
	db_address(&p, &d->from);
	db_amount(&p, d->amount);
	db_int(&p, (int64_t)a->number);
	db_hash(&p, a->hash);
	db_address(&p, &a->w->treasury);
	db_text(&p, senders[d->sender]);
	return db_exec(db, SQL_SEEN, &p, NULL);
}

static enum err advance(struct db *db, void *arg)
{
	struct advance *a = arg;
	DB_PARAMS block = { 0 };
	DB_PARAMS old = { 0 };
	DB_PARAMS credit = { 0 };
	enum err e = move_cursor(db, a->w, a->from, a->number);

	db_watch_push(&block, a->w);
	db_int(&block, (int64_t)a->number);
	db_hash(&block, a->hash);
	if (!e)
		e = db_exec(db, "INSERT INTO chain_block VALUES ($1, $2, $3, $4, $5) ON CONFLICT (chain_id, token, treasury, number) DO UPDATE SET hash = EXCLUDED.hash", &block, NULL);
	for (size_t i = 0; !e && i < a->count; i++)
		e = write_seen(db, a, &a->seen[i]);
	db_watch_push(&old, a->w);
	db_int(&old, (int64_t)a->number - DB_WATCH_KEEPS);
	if (!e)
		e = db_exec(db, "DELETE FROM chain_block WHERE chain_id = $1 AND token = $2 AND treasury = $3 AND number < $4", &old, NULL);
	db_watch_push(&credit, a->w);
	db_int(&credit, (int64_t)a->number - (int64_t)a->confirmations + 1);
	if (!e)
		e = db_exec(db, "SELECT deposit_credit(id) FROM deposit WHERE chain_id = $1 AND token = $2 AND treasury = $3 AND state = 'seen' AND block_number <= $4::bigint ORDER BY account, id",
			    &credit, &a->credited);
	return e;
}

enum err db_watch_advance(struct db *db, const struct watch *w, uint64_t from, uint64_t number, const struct hash *hash, const struct deposit_seen *seen, size_t count,
			  uint64_t confirmations, int64_t *ret_credited)
{
	struct advance a = { .w = w, .from = from, .number = number, .hash = hash, .seen = seen, .count = count, .confirmations = confirmations };
	enum err e = db_transaction(db, advance, &a);

	if (!e)
		*ret_credited = a.credited;
	return e;
}

struct rewind {
	const struct watch *w;
	uint64_t from, number;
};

static enum err rewind_to(struct db *db, void *arg)
{
	struct rewind *x = arg;
	DB_PARAMS p = { 0 };
	enum err e = move_cursor(db, x->w, x->from, x->number - 1);

	db_watch_push(&p, x->w);
	db_int(&p, (int64_t)x->number);
	return e ? e : db_exec(db, "SELECT deposit_orphan($1, $2, $3, $4)", &p, NULL);
}

enum err db_watch_rewind(struct db *db, const struct watch *w, uint64_t cursor_now, uint64_t number)
{
	struct rewind x = { w, cursor_now, number };

	return db_transaction(db, rewind_to, &x);
}

#define UTC(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
#define DEPOSIT_COLUMNS \
	"id, '0x' || encode(tx, 'hex') AS tx, ordinal, '0x' || encode(sender, 'hex') AS sender, amount, block_number, state, reason, shortfall, reversals," \
	" " UTC("seen_at") " AS seen_at, " UTC("credited_at") " AS credited_at, " UTC("claimed_at") " AS claimed_at"

static json_t *text_or_null(const struct db_result *r, int i, const char *column)
{
	return db_is_null(r, i, column) ? json_null() : json_string(db_get_text(r, i, column));
}

/* Takes limit + 1 rows: the last one only says that there are more. */
static json_t *deposits_json(const struct db_result *r, int limit)
{
	json_t *list = json_must(json_array());

	for (int i = 0; i < db_rows(r) && i < limit; i++)
		json_array_append_new(list, json_must(json_pack("{s:I, s:s, s:I, s:s, s:s, s:I, s:s, s:o, s:s, s:I, s:s, s:o, s:o}", "id", (json_int_t)db_get_int(r, i, "id"), "tx",
								  db_get_text(r, i, "tx"), "ordinal", (json_int_t)db_get_int(r, i, "ordinal"), "sender",
								  db_get_text(r, i, "sender"), "amount", db_get_text(r, i, "amount"), "block",
								  (json_int_t)db_get_int(r, i, "block_number"), "state", db_get_text(r, i, "state"), "reason",
								  text_or_null(r, i, "reason"), "shortfall", db_get_text(r, i, "shortfall"), "reversals",
								  (json_int_t)db_get_int(r, i, "reversals"), "seen_at", db_get_text(r, i, "seen_at"), "credited_at",
								  text_or_null(r, i, "credited_at"), "claimed_at", text_or_null(r, i, "claimed_at"))));
	return json_must(json_pack("{s:s, s:o, s:b, s:{s:s, s:i}}", "object", "list", "data", list, "has_more", db_rows(r) > limit, "asset", "symbol", "OPG", "decimals", 18));
}

enum err db_deposits_list(struct db *db, int64_t account, int64_t after, int limit, json_t **ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, account);
	db_int(&p, after);
	db_int(&p, limit + 1);
	e = db_query(db, "SELECT " DEPOSIT_COLUMNS " FROM deposit WHERE account = $1::bigint AND ($2::bigint = 0 OR id < $2::bigint) ORDER BY id DESC LIMIT $3::int", &p, &r);
	if (!e)
		*ret = deposits_json(r, limit);
	return e;
}

enum err db_deposits_held(struct db *db, const struct address *sender, int64_t after, int limit, json_t **ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_address(&p, sender);
	db_int(&p, after);
	db_int(&p, limit + 1);
	e = db_query(db, "SELECT " DEPOSIT_COLUMNS " FROM deposit WHERE state = 'held' AND ($1::bytea IS NULL OR sender = $1::bytea) AND id > $2::bigint ORDER BY id LIMIT $3::int", &p, &r);
	if (!e)
		*ret = deposits_json(r, limit);
	return e;
}

enum err db_deposit_get(struct db *db, int64_t id, struct deposit_row *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, id);
	e = db_query_one(db, "SELECT token, treasury, sender, tx, ordinal FROM deposit WHERE id = $1::bigint", &p, &r);
	if (e)
		return e;
	db_get_address(r, 0, "token", &ret->token);
	db_get_address(r, 0, "treasury", &ret->treasury);
	db_get_address(r, 0, "sender", &ret->sender);
	db_get_hash(r, 0, "tx", &ret->tx);
	ret->ordinal = (uint32_t)db_get_int(r, 0, "ordinal");
	return ERR_OK;
}

enum err db_deposit_claim(struct db *db, int64_t id, const struct address *claimant)
{
	_cleanup_result_ struct db_result *r = NULL;
	const char *status;
	DB_PARAMS p = { 0 };
	enum err e;

	db_int(&p, id);
	db_address(&p, claimant);
	e = db_query_one(db, "SELECT deposit_claim($1::bigint, $2) AS status", &p, &r);
	if (e)
		return e;
	status = db_get_text(r, 0, "status");
	return !strcmp(status, "ok") || !strcmp(status, "again") ? ERR_OK : !strcmp(status, "missing") ? ERR_NOT_FOUND : ERR_CONFLICT;
}

#define SQL_SUMS \
	"SELECT (SELECT count(*) FROM deposit WHERE state = 'held') AS held, (SELECT count(*) FROM deposit WHERE state = 'reversed') AS reversed," \
	" (SELECT coalesce(sum(amount), 0) FROM deposit WHERE state = 'held') AS held_amount, (SELECT coalesce(sum(amount), 0) FROM deposit WHERE state = 'seen') AS seen_amount," \
	" (SELECT coalesce(sum(shortfall), 0) FROM deposit WHERE state = 'reversed') AS shortfall"

enum err db_deposit_sums(struct db *db, struct deposit_sums *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_query_one(db, SQL_SUMS, NULL, &r);

	if (!e)
		*ret = (struct deposit_sums){ .held = db_get_int(r, 0, "held"), .reversed = db_get_int(r, 0, "reversed"), .held_amount = db_get_amount(r, 0, "held_amount"),
					      .seen_amount = db_get_amount(r, 0, "seen_amount"), .shortfall = db_get_amount(r, 0, "shortfall") };
	return e;
}
