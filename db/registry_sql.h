/* Columns, look-ups and readers shared by registry.c and market.c, and nobody else. Tables go by m (model), a (account of the author)
 * and v (model_version). */
#ifndef OPGATE_DB_REGISTRY_SQL_H
#define OPGATE_DB_REGISTRY_SQL_H

#include "db/registry.h"

#define MODEL_NAMED "m.id AS model, m.author, coalesce(a.handle, '0x' || encode(a.address, 'hex')) AS owner, a.address AS author_address, m.name"
#define MODEL_ABOUT "m.title, m.description, (extract(epoch FROM m.created_at) * 1000)::bigint AS model_created_ms"
#define VERSION_COLUMNS \
	MODEL_NAMED ", v.id, v.number, v.surface, v.currency, v.royalty_input AS listed_input, v.royalty_output AS listed_output," \
	" opg_of(v.currency, v.royalty_input) AS royalty_input, opg_of(v.currency, v.royalty_output) AS royalty_output, v.max_output_units, v.digest," \
	" (extract(epoch FROM v.created_at) * 1000)::bigint AS created_ms," \
	" coalesce((extract(epoch FROM v.published_at) * 1000)::bigint, 0) AS published_ms"
#define VERSION_TABLES "model_version v JOIN model m ON m.id = v.model JOIN account a ON a.id = m.author"
/* The account of an author given as a handle or as an address, the other NULL; each half is an index look-up. */
#define AUTHOR_OF(handle, address) \
	"(SELECT id FROM account WHERE handle = " handle "::text UNION ALL SELECT id FROM account WHERE address = " address "::bytea)"

/* The published version that a caller names: by a digest, or by the five parameters of a name. */
#define VERSION_BY_DIGEST "SELECT " VERSION_COLUMNS " FROM " VERSION_TABLES " WHERE v.digest = $1"
#define VERSION_BY_NAME \
	"SELECT " VERSION_COLUMNS " FROM " VERSION_TABLES " WHERE m.author = " AUTHOR_OF("$1", "$2") " AND m.name = $3 AND v.published_at IS NOT NULL" \
	" AND ($4::bigint = 0 OR v.number = $4::bigint) AND ($5::bytea IS NULL OR v.digest = $5::bytea) ORDER BY v.number DESC LIMIT 1"

/* The parameters of one of them, which point into *ret_name. ERR_MODEL_NOT_FOUND: this cannot be a version's name. */
enum err registry_push_version(struct db_params *p, const char *ref, struct model_ref *ret_name, bool *ret_by_digest) WARN_UNUSED;
void registry_push_author(struct db_params *p, const struct model_ref *ref); /* two parameters: handle, address */
void registry_read_model(const struct db_result *r, int row, struct arena *arena, struct model_row *ret);
/* The price in the named columns; `currency` goes with it. */
struct listed_price registry_read_price(const struct db_result *r, int row, const char *input, const char *output);
void registry_read_version(const struct db_result *r, int row, struct version_row *ret);

#endif
