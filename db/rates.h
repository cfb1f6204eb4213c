/* What things cost in which currency, and what one OPG is worth in US dollars. Called by pay/rates.c and handlers/rates.c; prices in USD are
 * turned into OPG inside the queries that read them (opg_of in migrations/0017_usd.sql). */
#ifndef OPGATE_DB_RATES_H
#define OPGATE_DB_RATES_H

#include "db/db.h"

/* A price as its owner named it, per input and output unit, in 10^-18 of its currency. */
struct listed_price {
	bool usd; /* or OPG */
	struct amount input, output;
};
const char *listed_currency(const struct listed_price *p); /* "OPG" or "USD" */

/* SQL: the asks of an offer in OPG, as a row (input, output); NULL while they cannot be told. */
#define OFFER_OPG(offer) "(SELECT opg_of(" offer ".currency, " offer ".ask_input) AS input, opg_of(" offer ".currency, " offer ".ask_output) AS output)"

struct usd_rate {
	struct amount value;      /* 10^-18 USD for one OPG */
	int64_t at, good_until;   /* wall ms */
	bool good;                /* by the database's clock */
};
enum err db_rate_get(struct db *db, struct usd_rate *ret) WARN_UNUSED; /* ERR_NOT_FOUND: none yet */
/* *ret_accepted is false when it jumps: it differs from a rate that is still good by more than jump_bps. */
enum err db_rate_set(struct db *db, struct amount value, int64_t max_age_ms, int64_t jump_bps, bool *ret_accepted) WARN_UNUSED;

#endif
