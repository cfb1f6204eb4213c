/* Shared by conn.c and values.c only. */
#ifndef OPGATE_DB_INTERNAL_H
#define OPGATE_DB_INTERNAL_H

#include <libpq-fe.h>

#include "db/db.h"

enum err db_run(struct db *db, const char *sql, const struct db_params *p, PGresult **ret) WARN_UNUSED;

#endif
