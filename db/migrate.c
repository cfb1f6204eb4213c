/* See migrate.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "crypto/crypto.h"
#include "db/migrate.h"

#define SQL_TABLE \
	"CREATE TABLE IF NOT EXISTS migration (name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());" \
	"COMMENT ON TABLE migration IS 'what was applied; an edited file no longer matches its sha256';" \
	"COMMENT ON COLUMN migration.name IS 'file name without .sql';" \
	"COMMENT ON COLUMN migration.sha256 IS 'of the file as applied';" \
	"COMMENT ON COLUMN migration.applied_at IS 'when'"

static struct hash_str checksum(const struct migration *m)
{
	struct hash h;

	sha256_of(m->sql, m->sql_len, &h);
	return hash_format(&h);
}

/* How many of ours are applied, in order; anything else is a conflict. */
static enum err count_applied(struct db *db, size_t *ret, struct migrate_why *why)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_query(db, "SELECT name, sha256 FROM migration ORDER BY name", NULL, &r);

	if (e) {
		snprintf(why->text, sizeof(why->text), "cannot read the table of migrations (run `opgate migrate`): %s", db_error(db));
		return e;
	}
	for (int i = 0; i < db_rows(r); i++) {
		const char *name = db_get_text(r, i, "name");

		if ((size_t)i >= MIGRATIONS_COUNT || strcmp(name, MIGRATIONS[i].name) != 0) {
			snprintf(why->text, sizeof(why->text), "the database has migration %s, which this program does not know: use a newer opgate", name);
			return ERR_CONFLICT;
		}
		if (strcmp(db_get_text(r, i, "sha256"), checksum(&MIGRATIONS[i]).s) != 0) {
			snprintf(why->text, sizeof(why->text), "migration %s was edited after it was applied: restore the file and add a new one", name);
			return ERR_CONFLICT;
		}
	}
	*ret = (size_t)db_rows(r);
	return ERR_OK;
}

static enum err apply(struct db *db, const struct migration *m, struct migrate_why *why)
{
	_cleanup_free_ char *script = xasprintf("BEGIN; SET LOCAL lock_timeout = '10s'; %s; INSERT INTO migration (name, sha256) VALUES ('%s', '%s'); COMMIT",
						m->sql, m->name, checksum(m).s);
	enum err e = db_script(db, script);

	if (e) {
		snprintf(why->text, sizeof(why->text), "migration %s: %s", m->name, db_error(db));
		if (db_script(db, "ROLLBACK")) {
			/* the connection is gone, and with it the transaction */
		}
	}
	return e;
}

enum err db_migrate(struct db *db, size_t *ret_applied, struct migrate_why *why)
{
	size_t done = 0, applied = 0;
	enum err e = db_script(db, "SELECT pg_advisory_lock(7016996765293437281)");

	if (!e)
		e = db_script(db, SQL_TABLE);
	if (e)
		snprintf(why->text, sizeof(why->text), "%s", db_error(db));
	else
		e = count_applied(db, &done, why);
	for (size_t i = done; !e && i < MIGRATIONS_COUNT; i++) {
		e = apply(db, &MIGRATIONS[i], why);
		applied += !e;
	}
	if (db_script(db, "SELECT pg_advisory_unlock(7016996765293437281)")) {
		/* released with the connection */
	}
	if (!e)
		*ret_applied = applied;
	return e;
}

enum err db_migrate_check(struct db *db, struct migrate_why *why)
{
	size_t done = 0;
	enum err e = count_applied(db, &done, why);

	if (!e && done != MIGRATIONS_COUNT) {
		snprintf(why->text, sizeof(why->text), "%zu migrations are missing: run `opgate migrate`", MIGRATIONS_COUNT - done);
		e = ERR_CONFLICT;
	}
	return e;
}
