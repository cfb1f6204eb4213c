/* What is on offer: the published models with their cheapest ready offer, the offers of one model, and who serves a version; see registry.h and
 * nodes.h. */
#include <stdio.h>

#include "db/nodes.h"
#include "db/registry_sql.h"

enum err db_models_list(struct db *db, struct arena *arena, const struct model_filter *filter, struct model_listed **ret, size_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_int(&p, filter->model);
	db_bool(&p, filter->author != NULL);
	if (filter->author) {
		registry_push_author(&p, filter->author);
	} else {
		db_text(&p, NULL);
		db_address(&p, NULL);
	}
	db_text(&p, filter->surface);
	db_int(&p, filter->before > 0 ? filter->before : INT64_MAX);
	db_int(&p, (int64_t)filter->max);
	db_int(&p, filter->node_timeout_ms);
	enum err e = db_query(db,
		"SELECT " VERSION_COLUMNS ", " MODEL_ABOUT ", o.offers, o.ask_input, o.ask_output FROM model m JOIN account a ON a.id = m.author"
		" JOIN LATERAL (SELECT * FROM model_version n WHERE n.model = m.id AND n.published_at IS NOT NULL ORDER BY n.number DESC LIMIT 1) v ON true"
		" CROSS JOIN LATERAL (SELECT count(*) AS offers,"
		" (array_agg(p.input ORDER BY p.input + p.output, f.node) FILTER (WHERE p.input + p.output IS NOT NULL))[1] AS ask_input,"
		" (array_agg(p.output ORDER BY p.input + p.output, f.node) FILTER (WHERE p.input + p.output IS NOT NULL))[1] AS ask_output"
		" FROM offer f JOIN node d ON d.address = f.node CROSS JOIN LATERAL " OFFER_OPG("f") " p WHERE f.version = v.id AND f.state = 'ready' AND d.state = 'active'"
		" AND d.heartbeat_at > now() - $8::bigint * interval '1 millisecond') o"
		" WHERE ($1::bigint = 0 OR m.id = $1::bigint) AND (NOT $2::boolean OR m.author = " AUTHOR_OF("$3", "$4") ")"
		" AND ($5::text IS NULL OR v.surface = $5::text) AND m.id < $6::bigint ORDER BY m.id DESC LIMIT $7::bigint", &p, &r);
	if (e)
		return e;
	size_t n = (size_t)db_rows(r);
	struct model_listed *rows = arena_alloc(arena, sizeof(*rows) * (n + 1));
	for (size_t i = 0; i < n; i++) {
		registry_read_model(r, (int)i, arena, &rows[i].model);
		registry_read_version(r, (int)i, &rows[i].version);
		rows[i].offers = db_get_int(r, (int)i, "offers");
		rows[i].asked = !db_is_null(r, (int)i, "ask_input");
		if (rows[i].asked) {
			rows[i].ask_input = db_get_amount(r, (int)i, "ask_input");
			rows[i].ask_output = db_get_amount(r, (int)i, "ask_output");
		}
	}
	*ret = rows;
	*ret_count = n;
	return ERR_OK;
}

#define SQL_SERVED \
	" FROM model m JOIN account a ON a.id = m.author" \
	" JOIN LATERAL (SELECT * FROM model_version n WHERE n.model = m.id AND n.published_at IS NOT NULL ORDER BY n.number DESC LIMIT 1) v ON true" \
	" JOIN LATERAL (SELECT (extract(epoch FROM greatest(max(f.updated_at), v.published_at)) * 1000)::bigint AS changed_ms" \
	" FROM offer f JOIN node d ON d.address = f.node WHERE f.version = v.id AND f.state = 'ready' AND d.state = 'active'" \
	" AND d.heartbeat_at > now() - $2::bigint * interval '1 millisecond' HAVING count(*) > 0) o ON true" \
	" WHERE ($1::text IS NULL OR v.surface = $1::text)"

enum err db_models_served(struct db *db, struct arena *arena, const char *surface, int64_t node_timeout_ms, int64_t offset, size_t max, struct model_served **ret,
			  size_t *ret_count, int64_t *ret_total)
{
	_cleanup_result_ struct db_result *r = NULL, *all = NULL;
	DB_PARAMS p = { 0 };
	enum err e;

	db_text(&p, surface);
	db_int(&p, node_timeout_ms);
	e = db_query_one(db, "SELECT count(*) AS n" SQL_SERVED, &p, &all);
	db_int(&p, offset);
	db_int(&p, (int64_t)max);
	if (!e)
		e = db_query(db, "SELECT " VERSION_COLUMNS ", o.changed_ms" SQL_SERVED " ORDER BY m.id OFFSET $3::bigint LIMIT $4::bigint", &p, &r);
	if (e)
		return e;
	*ret_count = (size_t)db_rows(r);
	*ret_total = db_get_int(all, 0, "n");
	*ret = arena_alloc(arena, sizeof(**ret) * (*ret_count + 1));
	for (size_t i = 0; i < *ret_count; i++) {
		registry_read_version(r, (int)i, &(*ret)[i].version);
		(*ret)[i].changed_at = db_get_int(r, (int)i, "changed_ms");
	}
	return ERR_OK;
}

enum err db_model_offers(struct db *db, struct arena *arena, int64_t model, int64_t node_timeout_ms, struct model_offer **ret, size_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	db_int(&p, model);
	db_int(&p, node_timeout_ms);
	enum err e = db_query(db,
		"SELECT f.node, a.address AS operator, f.currency, f.ask_input, f.ask_output, p.input, p.output, f.capacity, f.precision, f.profile_hash, v.number, v.digest"
		" FROM model_version v JOIN offer f ON f.version = v.id AND f.state = 'ready' JOIN node d ON d.address = f.node JOIN account a ON a.id = d.operator"
		" CROSS JOIN LATERAL " OFFER_OPG("f") " p WHERE v.model = $1 AND v.published_at IS NOT NULL AND d.state = 'active' AND d.heartbeat_at > now() - $2::bigint * interval '1 millisecond'"
		" ORDER BY v.number DESC, p.input + p.output NULLS LAST, f.node LIMIT 1000", &p, &r);
	if (e)
		return e;
	size_t n = (size_t)db_rows(r);
	struct model_offer *rows = arena_alloc(arena, sizeof(*rows) * (n + 1));
	for (size_t i = 0; i < n; i++) {
		int row = (int)i;
		rows[i] = (struct model_offer){
			.ask = registry_read_price(r, row, "ask_input", "ask_output"),
			.priced = !db_is_null(r, row, "input") && !db_is_null(r, row, "output"),
			.capacity = db_get_int(r, row, "capacity"),
			.version = db_get_int(r, row, "number"),
			.precision = arena_strdup(arena, db_get_text(r, row, "precision")),
		};
		if (rows[i].priced) {
			rows[i].ask_input = db_get_amount(r, row, "input");
			rows[i].ask_output = db_get_amount(r, row, "output");
		}
		db_get_address(r, row, "node", &rows[i].node);
		db_get_address(r, row, "operator", &rows[i].operator_);
		db_get_hash(r, row, "profile_hash", &rows[i].profile_hash);
		db_get_hash(r, row, "digest", &rows[i].digest);
	}
	*ret = rows;
	*ret_count = n;
	return ERR_OK;
}

/* Who serves the version that another query finds; the version stands alone when nobody does. */
#define OFFERED(version, timeout, max) \
	"SELECT v.*, c.* FROM (" version ") v LEFT JOIN LATERAL (SELECT n.address, n.url, n.operator, o.currency = 'USD' AS usd, p.input AS ask_input, p.output AS ask_output," \
	" o.capacity, o.profile_hash, (extract(epoch FROM n.registered_at) * 1000)::bigint AS registered_ms FROM offer o JOIN node n ON n.address = o.node CROSS JOIN LATERAL " OFFER_OPG("o") " p" \
	" WHERE o.version = v.id AND o.state = 'ready' AND n.state = 'active' AND n.heartbeat_at > clock_timestamp() - " timeout "::bigint * interval '1 millisecond'" \
	" AND p.input + p.output IS NOT NULL ORDER BY p.input + p.output, n.address LIMIT " max "::int) c ON true ORDER BY c.ask_input + c.ask_output, c.address"

static void read_offer(const struct db_result *r, int row, struct offer_row *ret)
{
	db_get_address(r, row, "address", &ret->node);
	snprintf(ret->url, sizeof(ret->url), "%s", db_get_text(r, row, "url"));
	ret->operator_account = db_get_int(r, row, "operator");
	ret->ask_input = db_get_amount(r, row, "ask_input");
	ret->ask_output = db_get_amount(r, row, "ask_output");
	ret->usd = db_get_bool(r, row, "usd");
	ret->capacity = db_get_int(r, row, "capacity");
	db_get_hash(r, row, "profile_hash", &ret->profile_hash);
	ret->registered_at = db_get_int(r, row, "registered_ms");
}

enum err db_version_offered(struct db *db, const char *ref, int64_t node_timeout_ms, struct version_row *ret_version, struct offer_row *ret, size_t max, size_t *ret_count)
{
	_cleanup_result_ struct db_result *r = NULL;
	DB_PARAMS p = { 0 };
	struct model_ref name;
	bool by_digest = false;
	enum err e = registry_push_version(&p, ref, &name, &by_digest);
	db_int(&p, node_timeout_ms);
	db_int(&p, (int64_t)max);
	if (!e)
		e = db_query(db, by_digest ? OFFERED(VERSION_BY_DIGEST, "$2", "$3") : OFFERED(VERSION_BY_NAME, "$6", "$7"), &p, &r);
	if (!e && db_rows(r) == 0)
		e = ERR_MODEL_NOT_FOUND;
	if (e)
		return e;
	registry_read_version(r, 0, ret_version);
	*ret_count = db_is_null(r, 0, "address") ? 0 : (size_t)db_rows(r);
	for (size_t i = 0; i < *ret_count; i++)
		read_offer(r, (int)i, &ret[i]);
	return ERR_OK;
}
