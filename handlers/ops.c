/* What operators and load balancers ask. */
#include "base/metrics.h"
#include "handlers/app.h"
#include "handlers/routes.h"

enum err handle_livez(struct request *req)
{
	reply_json(req, 200, json_must(json_pack("{s:s}", "status", "ok")));
	return ERR_OK;
}

enum err handle_readyz(struct request *req)
{
	bool database = db_exec(request_db(req), "SELECT 1", NULL, NULL) == ERR_OK;
	bool books = !atomic_load(&request_app(req)->pay.stopped);
	bool x402 = request_app(req)->x402.chain && !x402_closed(&request_app(req)->x402); /* only a detail: keys are served without it */

	reply_json(req, database && books ? 200 : 503, json_must(json_pack("{s:s, s:{s:b, s:b, s:b}}", "status", database && books ? "ok" : "unavailable", "checks",
									     "database", database, "reconciliation", books, "x402", x402)));
	return ERR_OK;
}

enum err handle_metrics(struct request *req)
{
	struct buf out = BUF_INIT(64 * 1024);
	enum err e = metrics_render(&out);

	if (!e)
		reply_bytes(req, 200, "text/plain; version=0.0.4", arena_memdup(req->arena, out.data, out.len), out.len);
	buf_done(&out);
	return e;
}
