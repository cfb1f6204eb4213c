/* SQL of nodes, offers and profiles; see nodes.h. */
#include "db/nodes.h"

#include <stdio.h>
#include <string.h>

#include "db/accounts.h"

#define MS(column) "(extract(epoch FROM " column ") * 1000)::bigint"
#define NODE_COLUMNS \
	"n.address, a.address AS operator, n.url, n.state, " MS("n.registered_at") " AS registered_ms, " MS("n.heartbeat_at") " AS heartbeat_ms, " \
	MS("clock_timestamp() - n.heartbeat_at") " AS age_ms"
#define NODE_FROM " FROM node n JOIN account a ON a.id = n.operator "

/* ---- registration ---- */

enum err db_node_registration_known(struct db *db, const struct address *node, const char *text, bool *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_address(&p, node);
	db_text(&p, text);
	enum err e = db_query_one(db, "SELECT EXISTS (SELECT FROM node WHERE address = $1 AND registration = $2) AS known", &p, &r);
	if (!e)
		*ret = db_get_bool(r, 0, "known");
	return e;
}

/* Why nothing was written. */
static enum err register_refused(struct db *db, const struct node_registration *registration)
{
	struct node_row row;
	bool known = false;
	enum err e = db_node_get(db, &registration->node, &row);
	if (e)
		return e;
	if (strcmp(row.state, "banned") == 0)
		return ERR_FORBIDDEN;
	e = db_node_registration_known(db, &registration->node, registration->text, &known);
	return e ? e : known ? ERR_OK : ERR_CONFLICT;
}

enum err db_node_register(struct db *db, const struct node_registration *registration)
{
	DB_PARAMS p = { 0 };
	int64_t n = 0;
	struct account_row operator_;
	enum err e = db_account_ensure(db, &registration->operator_, &operator_);
	if (e)
		return e;
	db_address(&p, &registration->node);
	db_int(&p, operator_.id);
	db_text(&p, registration->url);
	db_text(&p, registration->text);
	db_text(&p, registration->operator_signature);
	db_int(&p, registration->issued_at);
	e = db_exec(db,
		"INSERT INTO node (address, operator, url, registration, operator_signature, issued_at) VALUES ($1, $2, $3, $4, $5, $6)"
		" ON CONFLICT (address) DO UPDATE SET operator = EXCLUDED.operator, url = EXCLUDED.url, registration = EXCLUDED.registration,"
		" operator_signature = EXCLUDED.operator_signature, issued_at = EXCLUDED.issued_at, heartbeat_at = now(), state = 'active'"
		" WHERE node.issued_at < EXCLUDED.issued_at AND node.state <> 'banned'", &p, &n);
	return e || n == 1 ? e : register_refused(db, registration);
}

/* ---- nodes ---- */

static void node_read(const struct db_result *r, int row, struct node_row *ret)
{
	db_get_address(r, row, "address", &ret->address);
	db_get_address(r, row, "operator", &ret->operator_);
	snprintf(ret->url, sizeof(ret->url), "%s", db_get_text(r, row, "url"));
	snprintf(ret->state, sizeof(ret->state), "%s", db_get_text(r, row, "state"));
	ret->registered_at = db_get_int(r, row, "registered_ms");
	ret->heartbeat_at = db_get_int(r, row, "heartbeat_ms");
	ret->heartbeat_age_ms = db_get_int(r, row, "age_ms");
}

enum err db_node_get(struct db *db, const struct address *node, struct node_row *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_address(&p, node);
	enum err e = db_query_one(db, "SELECT " NODE_COLUMNS NODE_FROM "WHERE n.address = $1", &p, &r);
	if (!e)
		node_read(r, 0, ret);
	return e;
}

enum err db_nodes_list(struct db *db, const struct address *after, struct node_row *ret, size_t max, size_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_address(&p, after);
	db_int(&p, (int64_t)max);
	enum err e = db_query(db, "SELECT " NODE_COLUMNS NODE_FROM "WHERE $1::bytea IS NULL OR n.address > $1 ORDER BY n.address LIMIT $2", &p, &r);
	if (e)
		return e;
	for (int i = 0; i < db_rows(r); i++)
		node_read(r, i, &ret[i]);
	*ret_count = (size_t)db_rows(r);
	return ERR_OK;
}

/* One row changed, or why not. */
static enum err node_changed(struct db *db, const struct address *node, enum err e, int64_t n)
{
	struct node_row row;
	if (e || n == 1)
		return e;
	e = db_node_get(db, node, &row);
	return e ? e : ERR_FORBIDDEN;
}

enum err db_node_heartbeat(struct db *db, const struct address *node)
{
	DB_PARAMS p = { 0 };
	int64_t n = 0;
	db_address(&p, node);
	enum err e = db_exec(db, "UPDATE node SET heartbeat_at = clock_timestamp(), state = 'active' WHERE address = $1 AND state <> 'banned'", &p, &n);
	return node_changed(db, node, e, n);
}

enum err db_node_drain(struct db *db, const struct address *node)
{
	DB_PARAMS p = { 0 };
	int64_t n = 0;
	db_address(&p, node);
	enum err e = db_exec(db, "UPDATE node SET state = 'draining' WHERE address = $1 AND state <> 'banned'", &p, &n);
	return node_changed(db, node, e, n);
}

/* ---- offers ---- */

struct replace {
	const struct address *node;
	const struct offer_new *offers;
	size_t count, bad;
};

static enum err offer_write(struct db *db, const struct address *node, const struct offer_new *o)
{
	DB_PARAMS profile = { 0 };
	DB_PARAMS p = { 0 };
	int64_t n = 0;
	db_hash(&profile, &o->profile_hash);
	db_text(&profile, o->profile);
	enum err e = db_exec(db, "INSERT INTO execution_profile (hash, document) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING", &profile, NULL);
	if (e)
		return e;
	db_address(&p, node);
	db_hash(&p, &o->digest);
	db_text(&p, listed_currency(&o->ask));
	db_amount(&p, o->ask.input);
	db_amount(&p, o->ask.output);
	db_int(&p, o->capacity);
	db_text(&p, o->precision);
	db_hash(&p, &o->profile_hash);
	e = db_exec(db,
		"INSERT INTO offer (node, version, currency, ask_input, ask_output, capacity, precision, profile_hash, state)"
		" SELECT $1, v.id, $3, $4, $5, $6, $7, $8, 'ready' FROM model_version v WHERE v.digest = $2"
		" ON CONFLICT (node, version) DO UPDATE SET currency = EXCLUDED.currency, ask_input = EXCLUDED.ask_input, ask_output = EXCLUDED.ask_output,"
		" capacity = EXCLUDED.capacity, precision = EXCLUDED.precision, profile_hash = EXCLUDED.profile_hash, state = 'ready',"
		" updated_at = now()", &p, &n);
	return e ? e : n == 1 ? ERR_OK : ERR_UNPROCESSABLE;
}

static enum err replace_run(struct db *db, void *arg)
{
	struct replace *rp = arg;
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_address(&p, rp->node);
	/* The lock puts two replacements of one node in order. */
	enum err e = db_query_one(db, "SELECT state FROM node WHERE address = $1 FOR UPDATE", &p, &r);
	if (e)
		return e;
	if (strcmp(db_get_text(r, 0, "state"), "banned") == 0)
		return ERR_FORBIDDEN;
	e = db_exec(db, "UPDATE offer SET state = 'withdrawn', updated_at = now() WHERE node = $1 AND state = 'ready'", &p, NULL);
	for (size_t i = 0; !e && i < rp->count; i++) {
		rp->bad = i;
		e = offer_write(db, rp->node, &rp->offers[i]);
	}
	return e;
}

enum err db_offers_replace(struct db *db, const struct address *node, const struct offer_new *offers, size_t count, size_t *ret_bad)
{
	struct replace rp = { .node = node, .offers = offers, .count = count };
	enum err e = db_transaction(db, replace_run, &rp);
	*ret_bad = rp.bad;
	return e;
}

static json_t *offer_json(const struct db_result *r, int row)
{
	_cleanup_free_ char *model = xasprintf("%s/%s", db_get_text(r, row, "author"), db_get_text(r, row, "name"));
	struct hash digest, profile;
	db_get_hash(r, row, "digest", &digest);
	db_get_hash(r, row, "profile_hash", &profile);
	_cleanup_free_ char *digest_text = xasprintf("sha256:%s", hash_format(&digest).s + 2);
	return json_must(json_pack("{s:s, s:I, s:s, s:s, s:{s:s, s:s, s:s}, s:I, s:s, s:s, s:s}", "model", model, "version",
		(json_int_t)db_get_int(r, row, "number"), "digest", digest_text, "surface", db_get_text(r, row, "surface"), "ask", "currency", db_get_text(r, row, "currency"), "input",
		amount_format(db_get_amount(r, row, "ask_input")).s, "output", amount_format(db_get_amount(r, row, "ask_output")).s, "capacity",
		(json_int_t)db_get_int(r, row, "capacity"), "precision", db_get_text(r, row, "precision"), "profile_hash", hash_format(&profile).s,
		"state", db_get_text(r, row, "state")));
}

enum err db_offers_of_node(struct db *db, const struct address *node, json_t **ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_address(&p, node);
	enum err e = db_query(db,
		"SELECT coalesce(a.handle, '0x' || encode(a.address, 'hex')) AS author, m.name, v.number, v.digest, v.surface, o.currency, o.ask_input, o.ask_output,"
		" o.capacity, o.precision, o.profile_hash, o.state FROM offer o JOIN model_version v ON v.id = o.version JOIN model m ON m.id = v.model"
		" JOIN account a ON a.id = m.author WHERE o.node = $1 ORDER BY o.state, o.version LIMIT 1000", &p, &r);
	if (e)
		return e;
	json_t *list = json_must(json_array());
	for (int i = 0; i < db_rows(r); i++)
		json_array_append_new(list, offer_json(r, i));
	*ret = list;
	return ERR_OK;
}

enum err db_offer_asked(struct db *db, int64_t version_id, const struct address *node, const struct asked_when *when, struct amount most_input,
			struct amount most_output, struct amount *ret_input, struct amount *ret_output)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_address(&p, node);
	db_int(&p, version_id);
	db_int(&p, when->since);
	db_int(&p, when->until);
	db_bool(&p, when->changed);
	db_amount(&p, most_input);
	db_amount(&p, most_output);
	enum err e = db_query_one(db, "SELECT input, output FROM offer_asked($1, $2, to_timestamp($3::bigint / 1000.0), to_timestamp($4::bigint / 1000.0), $5, $6, $7)", &p, &r);
	if (e)
		return e;
	*ret_input = db_get_amount(r, 0, "input");
	*ret_output = db_get_amount(r, 0, "output");
	return ERR_OK;
}

enum err db_node_registered(struct db *db, const struct address *node, const struct hash *digest, struct node_registered *ret)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_address(&p, node);
	db_hash(&p, digest);
	enum err e = db_query_one(db,
		"SELECT a.address AS operator, n.operator AS operator_account, o.profile_hash, " MS("n.registered_at") " AS registered_ms,"
		" o.state = 'ready' AS ready" NODE_FROM "JOIN offer o ON o.node = n.address JOIN model_version v ON v.id = o.version"
		" WHERE n.address = $1 AND v.digest = $2", &p, &r);
	if (e)
		return e;
	db_get_address(r, 0, "operator", &ret->operator_);
	ret->operator_account = db_get_int(r, 0, "operator_account");
	db_get_hash(r, 0, "profile_hash", &ret->profile_hash);
	ret->registered_at = db_get_int(r, 0, "registered_ms");
	ret->ready = db_get_bool(r, 0, "ready");
	return ERR_OK;
}

enum err db_profile_get(struct db *db, const struct hash *hash, char **ret_document)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_hash(&p, hash);
	enum err e = db_query_one(db, "SELECT document FROM execution_profile WHERE hash = $1", &p, &r);
	if (!e)
		*ret_document = xstrdup(db_get_text(r, 0, "document"));
	return e;
}
