/* Balances, movements, deposits, and whether the books hold. */
#include <stdlib.h>

#include "db/deposits.h"
#include "db/ledger.h"
#include "db/rates.h"
#include "handlers/input.h"
#include "handlers/routes.h"
#include "handlers/app.h"
#include "pay/reconciler.h"

static int64_t caller(const struct request *req)
{
	return ((const struct principal *)req->principal)->account;
}

enum err handle_balance_get(struct request *req)
{
	struct balance b;
	enum err e = db_balance(request_db(req), caller(req), &b);

	if (!e)
		reply_json(req, 200, json_must(json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:s, s:i}}", "available", amount_format(b.available).s, "held",
							 amount_format(b.held).s, "earned", "author", amount_format(b.author).s, "operator",
							 amount_format(b.operator_).s, "asset", "symbol", "OPG", "decimals", 18)));
	return e;
}

static enum err list(struct request *req, enum err (*read)(struct db *, int64_t, int64_t, int, json_t **))
{
	int64_t after = 0;
	size_t limit = 0;
	json_t *body = NULL;
	enum err e = input_page(req, 50, 200, &limit, &after);

	if (!e)
		e = read(request_db(req), caller(req), after, (int)limit, &body);
	if (!e)
		reply_json(req, 200, body);
	return e;
}

enum err handle_rates_get(struct request *req)
{
	struct usd_rate r = { .good = false };
	enum err e = db_rate_get(request_db(req), &r);
	bool none = e == ERR_NOT_FOUND;

	if (e && !none)
		return e;
	reply_json(req, 200, json_must(json_pack("{s:s, s:s?, s:i, s:b, s:o, s:o}", "pair", "OPG/USD", "rate", none ? NULL : amount_format(r.value).s, "decimals", 18,
						 "good", r.good, "at", json_time(r.at), "good_until", json_time(r.good_until))));
	return ERR_OK;
}

enum err handle_transfers_list(struct request *req)
{
	return list(req, db_transfers);
}

enum err handle_deposits_list(struct request *req)
{
	return list(req, db_deposits_list);
}

enum err handle_reconciliation(struct request *req)
{
	json_t *body;
	enum err e = reconciler_ask(request_app(req)->reconciler, &body);

	if (!e)
		reply_json(req, 200, body);
	return e;
}
