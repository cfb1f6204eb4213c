/* Forward-only migrations, embedded at build time from migrations/NNNN_name.sql. */
#ifndef OPGATE_DB_MIGRATE_H
#define OPGATE_DB_MIGRATE_H

#include "db/db.h"

struct migration {
	const char *name; /* "0001_accounts" */
	const char *sql;
	size_t sql_len;
};
extern const struct migration MIGRATIONS[]; /* generated */
extern const size_t MIGRATIONS_COUNT;

struct migrate_why {
	char text[256];
};

/* Applies what is missing, each in its own transaction under an advisory lock; running it again changes nothing.
 * ERR_CONFLICT: an applied migration was edited, or the database is newer than this program. */
enum err db_migrate(struct db *db, size_t *ret_applied, struct migrate_why *why) WARN_UNUSED;
/* ERR_CONFLICT unless exactly our migrations are applied. */
enum err db_migrate_check(struct db *db, struct migrate_why *why) WARN_UNUSED;

#endif
