/* The rows of the error table in err.h. Called by everyone; constant data, no locks. */
#include "base/err.h"

#include <stddef.h>

static const struct err_info ROWS[ERR_COUNT] = {
	[ERR_OK] = { "ok", 200, false, "" },
#define X(sym, code, http, retry, hint) [ERR_##sym] = { code, http, retry, hint },
	ERR_TABLE(X)
#undef X
};

const struct err_info *err_info(enum err e)
{
	/* A value outside the table is a bug; answering with the internal error keeps the caller's reply well-formed. */
	if ((unsigned)e >= ERR_COUNT)
		return &ROWS[ERR_INTERNAL];
	return &ROWS[e];
}
