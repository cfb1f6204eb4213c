/* What must be true before the gateway serves: keys, database settings that lose nothing, the right chain, and no published test key
 * anywhere but on a local development chain. Called once by main, in this order. */
#ifndef OPGATE_HANDLERS_STARTUP_H
#define OPGATE_HANDLERS_STARTUP_H

#include "base/log.h"
#include "handlers/app.h"
#include "pay/deposits.h"

struct startup_why {
	char text[320];
};

enum err startup_keys(struct app *app, struct startup_why *why) WARN_UNUSED;
/* All migrations applied; fsync, full_page_writes and synchronous_commit on. */
enum err startup_check_database(struct db *db, struct startup_why *why) WARN_UNUSED;
enum err startup_check_chain(struct app *app, struct startup_why *why) WARN_UNUSED;
enum err startup_check_names(const struct settings *settings, struct startup_why *why) WARN_UNUSED; /* model_aliases can be read */
/* x402: a receiver that is not the treasury; a Settler contract; another facilitator that is of use, and its address for `upto`. */
enum err startup_check_pay_to(struct app *app, struct startup_why *why) WARN_UNUSED;
enum err startup_check_settler(struct app *app, struct startup_why *why) WARN_UNUSED;
enum err startup_check_facilitator(struct app *app, struct address *ret_upto, struct startup_why *why) WARN_UNUSED;
/* A Payouts contract of this token and treasury, where one is set. */
enum err startup_check_payouts(struct app *app, struct startup_why *why) WARN_UNUSED;
enum err startup_open_files(struct app *app, struct startup_why *why) WARN_UNUSED;
/* Rows whose time is over: sign-in nonces, node nonces, old idempotency keys, dead instances. */
enum err startup_sweep(struct db *db) WARN_UNUSED;
enum log_level startup_log_level(const char *name);

#endif
