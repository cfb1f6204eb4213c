/* The gateway: reads the settings, builds the parts, runs, drains. The only file that knows every layer; read start() and stop()
 * for the order of life. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "blob/blob.h"
#include "chain/chain.h"
#include "db/ledger.h"
#include "handlers/app.h"
#include "handlers/files.h"
#include "handlers/guard.h"
#include "handlers/pages.h"
#include "handlers/routes.h"
#include "handlers/startup.h"
#include "handlers/waiters.h"
#include "net/net.h"
#include "pay/audit.h"
#include "pay/deposits.h"
#include "pay/outside.h"
#include "pay/payouts.h"
#include "pay/rates.h"
#include "pay/reconciler.h"
#include "pay/records.h"
#include "pay/run.h"
#include "pay/settler.h"
#include "server/gateway.h"

#define STATEMENT_DEADLINE_MS 10000
#define RPC_DEADLINE_MS 5000
#define HOUSEKEEPING_MS 30000
#define RECHECK_MS 2000

struct gateway {
	struct settings settings;
	struct app app;
	struct db *db; /* the janitor's, which is the main thread */
	struct audit_memory audit_memory;
	deadline_ms next_words; /* about books that do not hold; the reconciler's, as the next */
	int64_t words_about;    /* the last mismatch they were about */
	struct records_config records;
};

/* ---- what the parts tell the log ---- */

static void log_job(const char *event, const struct uuid *job, const char *detail)
{
	LOG_EVENT(LOG_INFO, event, L_STR("job", uuid_format(job).s), L_STR("detail", detail));
}

static void log_deposits(const char *event, int64_t number, const char *detail)
{
	LOG_EVENT(*detail ? LOG_WARN : LOG_INFO, event, L_INT("number", number), L_STR("detail", detail));
}

static void after_request(struct request *req, int status, int64_t us)
{
	if (status >= 500)
		LOG_EVENT(LOG_WARN, "request", L_STR("request_id", req->id), L_STR("route", req->route ? req->route->name : ""), L_INT("status", status), L_INT("us", us));
	else
		LOG_EVENT(LOG_DEBUG, "request", L_STR("request_id", req->id), L_STR("route", req->route ? req->route->name : ""), L_INT("status", status), L_INT("us", us));
}

static void *worker_new(void *app)
{
	return db_new(((struct app *)app)->settings->database_url, STATEMENT_DEADLINE_MS);
}

static void worker_free(void *db)
{
	db_free(db);
}

static void job_ended(void *app, const struct uuid *job)
{
	waiters_notify(app, job);
}

/* ---- start ---- */

static enum err start_pay(struct gateway *g)
{
	const struct settings *s = &g->settings;
	struct app *app = &g->app;

	app->pay = (struct pay){
		.lane = lane_start(s->database_url, STATEMENT_DEADLINE_MS), .nodes = app->hostile, .health = health_new(), .runs = runs_new(),
		.gateway_key = app->gateway_key, .gateway = app->gateway, .chain_id = (uint64_t)s->chain_id, .instance = uuid_new(),
		.fee_bps = (uint32_t)s->platform_fee_bps, .job_timeout_ms = s->job_timeout_ms, .stall_timeout_ms = s->stall_timeout_ms,
		.node_timeout_ms = s->node_timeout_ms, .instance_timeout_ms = s->instance_timeout_ms, .attempts_max = (int)s->attempts_max,
		.job_ended = job_ended, .job_ended_arg = app, .log_job = log_job,
	};
	app->waiters = waiters_new();
	return db_instance_beat(g->db, &app->pay.instance);
}

static enum err start_http(struct gateway *g)
{
	const struct settings *s = &g->settings;
	struct http_config http = {
		.host = s->listen_host, .port = (uint16_t)s->listen_port, .daemons = (unsigned)s->http_daemons, .workers = (unsigned)s->workers,
		.queue_max = (unsigned)s->queue_max, .connections_max = (unsigned)s->connections_max, .header_timeout_ms = 15000,
		.request_timeout_ms = 600000, .handler_timeout_ms = s->job_timeout_ms + 30000, .routes = ROUTE_TABLE, .route_count = ROUTE_TABLE_COUNT,
		.cors_origin = *s->cors_origin ? s->cors_origin : NULL, .app = &g->app, .before = guard_before, .after = after_request,
		.worker_new = worker_new, .worker_free = worker_free, .upload = FILES_SINK,
	};
	enum err e = http_start(&http, &g->app.http);

	if (!e)
		g->app.pay.http = g->app.http;
	return e;
}

static void start_deposits(struct gateway *g)
{
	const struct settings *s = &g->settings;
	struct app *app = &g->app;
	const struct watch watch = { .chain_id = s->chain_id, .token = s->opg_token, .treasury = s->treasury };
	struct deposits_config deposits = {
		.pair = &app->watcher_chains, .database_url = s->database_url, .watch = watch, .own = app->own, .own_count = app->own_count,
		.from_block = (uint64_t)s->deposit_from_block, .confirmations = (uint64_t)s->deposit_confirmations, .poll_ms = s->poll_ms, .log = log_deposits,
	};
	struct audit_config audit = {
		.pair = &app->auditor_chains, .database_url = s->database_url, .watch = watch, .own = app->own, .own_count = app->own_count, .pay_to = s->pay_to, .settler = s->settler_contract,
		.from_block = deposits.from_block, .confirmations = deposits.confirmations, .poll_ms = s->poll_ms, .stopped = &app->pay.stopped, .memory = &g->audit_memory, .log = log_deposits,
	};

	app->deposits = deposits_start(&deposits);
	app->audit = audit_start(&audit);
}

static void saw_books(void *arg, const struct reconciliation *r)
{
	struct gateway *g = arg;
	const json_t *first = json_array_get(r->mismatches, 0);
	int64_t about = r->ok ? 0 : json_integer_value(json_object_get(first, "id"));

	if (!r->ok && (about != g->words_about || deadline_passed(g->next_words))) {
		g->next_words = deadline_in(HOUSEKEEPING_MS);
		LOG_EVENT(LOG_ERROR, "reconciliation_failed", L_STR("ledger_sum", r->books.ledger_sum), L_INT("wrong_balances", r->books.wrong_balances),
			  L_INT("wrong_holds", r->books.wrong_holds), L_INT("wrong_captures", r->books.wrong_captures), L_INT("custody_short", r->custody == CUSTODY_SHORT),
			  L_INT("payouts_wrong", r->custody != CUSTODY_UNKNOWN && !r->payouts_ok), L_INT("mismatches", r->stopping),
			  L_STR("first", json_string_value(json_object_get(first, "detail"))));
	}
	g->words_about = about;
}

static void start_reconciler(struct gateway *g)
{
	const struct settings *s = &g->settings;
	struct app *app = &g->app;
	const struct reconciler_config config = {
		.database_url = s->database_url, .pay = &app->pay, .saw = saw_books, .arg = g, .log = log_deposits,
		.with = { .chain = app->chain, .watcher = &app->watcher_chains, .auditor = &app->auditor_chains, .pay_to = s->pay_to,
			  .watch = { .chain_id = s->chain_id, .token = s->opg_token, .treasury = s->treasury }, .payouts = s->payouts_contract,
			  .gas_payer = app->settler_sender },
	};

	app->reconciler = reconciler_start(&config);
}

static void log_rates(const char *event, int64_t number, const char *detail)
{
	LOG_EVENT(LOG_WARN, event, L_INT("number", number), L_STR("detail", detail));
}

static enum err start_rates(struct gateway *g, struct startup_why *why)
{
	const struct settings *s = &g->settings;
	struct rates_config rates = { .net = g->app.trusted, .database_url = s->database_url, .poll_ms = s->usd_poll_ms, .deadline_ms = RPC_DEADLINE_MS,
				      .max_age_ms = s->usd_max_age_ms, .deviation_bps = (uint32_t)s->usd_deviation_bps, .jump_bps = (uint32_t)s->usd_jump_bps, .log = log_rates };
	char bad[RATE_SOURCE_MAX];

	if (rate_sources_parse(s->usd_sources, rates.sources, &rates.count, bad)) {
		snprintf(why->text, sizeof(why->text), "usd_sources: must be at most %d of fixed:0.05 or https://host/path#/pointer", RATE_SOURCES_MAX);
		return ERR_BAD_FIELD;
	}
	if (rates.count)
		g->app.rates = rates_start(&rates);
	return ERR_OK;
}

static void settle_now(void *arg)
{
	struct app *app = arg;

	if (app->outside)
		outside_kick(app->outside);
	else
		turns_kick(app->settler);
}

static void payment_ended(void *app, const struct uuid *payment, const struct hash *tx, bool closed)
{
	runs_payment_ended(&((struct app *)app)->pay, payment, tx, closed);
	waiters_notify(app, payment); /* or a settlement for somebody else */
}

static void log_settler(const char *event, int64_t number, const char *detail)
{
	LOG_EVENT(strcmp(event, "settled") ? LOG_WARN : LOG_INFO, event, L_INT("number", number), L_STR("detail", detail));
}

/* Our own settler: for others, and for us unless another facilitator does that. */
static enum err start_settler(struct gateway *g, struct startup_why *why)
{
	const struct settings *s = &g->settings;
	struct app *app = &g->app;
	struct settler_config settler = {
		.chain = app->chain, .database_url = s->database_url, .chain_id = (uint64_t)s->chain_id, .token = s->opg_token, .pay_to = s->pay_to,
		.contract = s->settler_contract, .depositor = s->depositor_contract, .confirmations = (uint64_t)s->deposit_confirmations,
		.answer_confirmations = (uint64_t)s->settlement_confirmations, .patience_ms = s->settlement_patience_ms, .gas_min = s->gas_balance_min,
		.caps = { .priority = (uint64_t)s->gas_priority_max, .fee = (uint64_t)s->gas_fee_max }, .poll_ms = s->poll_ms, .ended = payment_ended, .arg = app,
		.log = log_settler, .key = app->settler_key, .from = app->settler_sender, .view = &app->settler_view, .others_only = *s->facilitator_url,
		.more = records_turn, .more_arg = &g->records,
	};
	enum err e = startup_check_settler(app, why);

	if (!e)
		e = settler_look(&settler);
	if (e)
		return e;
	app->facilitator = app->x402;
	app->settler = settler_start(&settler);
	return ERR_OK;
}

/* Approvals are paid for by whoever settles, and another facilitator was asked for none. */
static enum err start_outside(struct gateway *g, struct startup_why *why)
{
	const struct settings *s = &g->settings;
	struct app *app = &g->app;
	const struct outside_config outside = { .x = &app->x402, .database_url = s->database_url, .poll_ms = s->poll_ms, .patience_ms = s->settlement_patience_ms,
						.ended = payment_ended, .arg = app, .log = log_settler, .view = &app->outside_view };
	const struct settler_config watching = { .chain = app->chain, .chain_id = (uint64_t)s->chain_id, .view = &app->outside_view, .log = log_settler };
	struct chain_block head;
	enum err e = startup_check_facilitator(app, &app->x402.facilitator, why);

	if (!e)
		e = settler_watch(&watching, &head);
	if (e)
		return e;
	app->x402.view = &app->outside_view;
	app->x402.outside = app->trusted;
	app->x402.outside_url = s->facilitator_url;
	app->x402.sponsor_payer_max = app->x402.sponsor_all_max = (struct amount){ 0 };
	app->outside = outside_start(&outside);
	return ERR_OK;
}

/* Only with a settling key or another facilitator. The quote key is our own secret's; several gateways share it. */
static enum err start_x402(struct gateway *g, struct startup_why *why)
{
	const struct settings *s = &g->settings;
	struct app *app = &g->app;
	bool token_permits = false;
	enum err e;

	if (!*s->settler_key_file && !*s->facilitator_url)
		return ERR_OK;
	e = startup_check_pay_to(app, why);
	if (!e)
		e = x402_token_permits(app->chain, &s->opg_token, &token_permits);
	if (e)
		return e;
	app->x402 = (struct x402){ .chain = app->chain, .facts = chain_facts_new(app->chain, &s->opg_token), .chain_id = (uint64_t)s->chain_id, .token = s->opg_token,
				   .pay_to = s->pay_to, .facilitator = s->settler_contract, .sender = app->settler_sender, .token_name = "OPG", .token_version = "1",
				   .token_permits = token_permits, .timeout_s = 300, .exposure_payer_max = s->x402_exposure_payer,
				   .exposure_all_max = s->x402_exposure_all, .view = &app->settler_view, .identifier_required = s->x402_identifier_required,
				   .gas_caps = { .priority = (uint64_t)s->gas_priority_max, .fee = (uint64_t)s->gas_fee_max },
				   .sponsor_payer_max = s->gas_sponsor_per_payer_day, .sponsor_all_max = s->gas_sponsor_per_day };
	hmac_sha256(app->jwt_secret, sizeof(app->jwt_secret), "x402 quote", 10, &app->x402.quote_key);
	g->records = (struct records_config){ .contract = s->record_contract, .batch_max = s->record_batch_max, .batch_wait_ms = s->record_batch_wait_ms };
	hmac_sha256(app->jwt_secret, sizeof(app->jwt_secret), "x402 sign-in", 12, &app->x402.siwx_key);
	if (*s->settler_key_file)
		e = start_settler(g, why);
	if (!e && *s->facilitator_url)
		e = start_outside(g, why);
	app->pay.settle_now = settle_now;
	app->pay.settle_now_arg = app;
	app->pay.payment_wait_ms = s->payment_wait_ms;
	return e;
}

static void log_payouts(const char *event, int64_t number, const char *detail)
{
	LOG_EVENT(*detail ? LOG_WARN : LOG_INFO, event, L_INT("number", number), L_STR("detail", detail));
}

/* Only when a payout key is configured: one gateway may send for all. */
static enum err start_payouts(struct gateway *g, struct startup_why *why)
{
	const struct settings *s = &g->settings;
	struct app *app = &g->app;
	struct payouts_config payouts = {
		.sender = { .work = &PAYOUTS_WORK, .chain = app->chain, .database_url = s->database_url, .chain_id = (uint64_t)s->chain_id, .token = s->opg_token,
			    .contract = s->payouts_contract, .key = app->payout_key, .from = app->payout_sender, .confirmations = (uint64_t)s->deposit_confirmations,
			    .answer_confirmations = 1, .patience_ms = s->settlement_patience_ms, .gas_min = s->gas_balance_min, .view = &app->payouts_view,
			    .caps = { .priority = (uint64_t)s->gas_priority_max, .fee = (uint64_t)s->gas_fee_max }, .poll_ms = s->poll_ms, .log = log_payouts },
		.treasury = s->treasury, .minimum = s->payout_minimum, .stopped = &app->pay.stopped,
	};
	enum err e = startup_check_payouts(app, why);

	if (!e && *s->payout_key_file)
		app->payouts = payouts_start(&payouts);
	return e;
}

static enum err start(struct gateway *g)
{
	const struct settings *s = &g->settings;
	struct net_config trusted = { .reactors = 1, .connections_per_host_max = 8 };
	struct net_config hostile = { .reactors = (unsigned)s->reactors, .hostile = true, .allow_private = s->allow_private_nodes, .connections_per_host_max = 512 };
	struct startup_why why = { "" };
	enum err e;

	g->app.settings = &g->settings;
	g->db = db_new(s->database_url, STATEMENT_DEADLINE_MS);
	e = startup_check_names(s, &why);
	if (!e)
		e = startup_keys(&g->app, &why);
	app_own_addresses(&g->app);
	if (!e)
		e = startup_check_database(g->db, &why);
	if (!e)
		e = net_start(&trusted, &g->app.trusted);
	if (!e)
		e = net_start(&hostile, &g->app.hostile);
	if (!e) {
		g->app.chain = chain_new(g->app.trusted, s->rpc_url, RPC_DEADLINE_MS);
		g->app.chain_2 = *s->rpc_url_2 ? chain_new(g->app.trusted, s->rpc_url_2, RPC_DEADLINE_MS) : NULL;
		g->app.watcher_chains = g->app.auditor_chains = (struct chain_pair){ .first = g->app.chain, .second = g->app.chain_2 };
		e = startup_check_chain(&g->app, &why);
	}
	if (!e)
		e = startup_open_files(&g->app, &why);
	if (!e)
		e = start_pay(g);
	if (!e)
		e = start_x402(g, &why);
	if (!e)
		e = start_payouts(g, &why);
	if (!e)
		e = start_rates(g, &why);
	if (!e)
		start_reconciler(g);
	if (!e && (e = start_http(g)))
		snprintf(why.text, sizeof(why.text), "listen_host, listen_port: cannot listen on %s port %lld; is it taken?", s->listen_host, (long long)s->listen_port);
	if (e) {
		LOG_EVENT(LOG_ERROR, "start_refused", L_STR("code", err_info(e)->code), L_STR("why", why.text));
		return e;
	}
	start_deposits(g);
	LOG_EVENT(LOG_INFO, "listening", L_STR("host", s->listen_host), L_INT("port", http_port(g->app.http)), L_STR("gateway", address_format(&g->app.gateway).s),
		  L_STR("instance", uuid_format(&g->app.pay.instance).s));
	return ERR_OK;
}

/* ---- run: the janitor ---- */

static void housekeeping(struct gateway *g)
{
	enum err e = db_fold(g->db);

	if (!e)
		e = startup_sweep(g->db);
	if (e)
		LOG_EVENT(LOG_WARN, "housekeeping_failed", L_STR("code", err_info(e)->code), L_STR("why", db_error(g->db)));
}

static void run(struct gateway *g, const sigset_t *signals)
{
	const struct timespec turn = { .tv_sec = g->settings.poll_ms / 1000, .tv_nsec = (g->settings.poll_ms % 1000) * 1000000L };
	deadline_ms next_housekeeping = deadline_in(0), next_recheck = deadline_in(0);
	int64_t failures = 0;

	for (;;) {
		int sig = sigtimedwait(signals, NULL, &turn);
		enum err e;

		if (sig == SIGTERM || sig == SIGINT)
			return;
		e = runs_tick(&g->app.pay, g->db);
		if (e && (failures & (failures - 1)) == 0)
			LOG_EVENT(LOG_WARN, "janitor_failed", L_STR("code", err_info(e)->code), L_STR("why", db_error(g->db)), L_INT("times", failures + 1));
		failures = e ? failures + 1 : 0;
		waiters_tick(&g->app, g->db, false);
		if (deadline_passed(next_housekeeping)) {
			housekeeping(g);
			next_housekeeping = deadline_in(HOUSEKEEPING_MS);
		}
		/* A reorganisation takes settled money away for a moment, and nothing is sold until it is known to be back or owed again; and the auditor
		 * can find something in between. What healed stops nobody for long. */
		if (atomic_load(&g->app.pay.stopped) && deadline_passed(next_recheck)) {
			reconciler_kick(g->app.reconciler);
			next_recheck = deadline_in(RECHECK_MS);
		}
	}
}

/* ---- stop: no new work, running jobs end, then the parts in reverse ---- */

/* What runs goes on, with the housekeeping it needs (signs of life, cancellations), until it has ended or time is up. */
static void drain(struct gateway *g)
{
	struct app *app = &g->app;
	deadline_ms deadline = deadline_in(g->settings.drain_timeout_ms);
	size_t runs = runs_count(app->pay.runs), requests = 0;

	LOG_EVENT(LOG_INFO, "draining", L_INT("running", runs));
	atomic_store(&app->pay.draining, true);
	do {
		waiters_tick(app, g->db, true); /* they get the job as it stands; a queued one is run after the restart */
		if (runs_tick(&app->pay, g->db))
			LOG_EVENT(LOG_WARN, "janitor_failed", L_STR("why", db_error(g->db)));
		requests = http_drain(app->http, deadline_in(100));
		runs = runs_count(app->pay.runs);
	} while ((runs || requests) && !deadline_passed(deadline));
	atomic_store(&app->pay.leaving, true);
	if (runs_tick(&app->pay, g->db)) /* partial receipts nobody will wait for any more */
		LOG_EVENT(LOG_WARN, "janitor_failed", L_STR("why", db_error(g->db)));
	LOG_EVENT(LOG_INFO, "drained", L_INT("runs_left", runs), L_INT("requests_left", requests));
}

static void stop(struct gateway *g)
{
	struct app *app = &g->app;

	if (app->http)
		drain(g);
	outside_stop(app->outside);
	turns_stop(app->settler); /* what is written is sent by the next process; runs may still kick it */
	turns_stop(app->payouts);
	turns_stop(app->audit);
	reconciler_stop(app->reconciler);
	turns_stop(app->deposits);
	turns_stop(app->rates);
	net_stop(app->hostile); /* what is left of the runs ends now, through the workers */
	if (app->http)
		http_stop(app->http);
	turns_free(app->settler);
	turns_free(app->payouts);
	turns_free(app->audit);
	reconciler_free(app->reconciler);
	turns_free(app->deposits);
	turns_free(app->rates);
	lane_stop(app->pay.lane);
	health_free(app->pay.health);
	runs_free(app->pay.runs);
	waiters_free(app->waiters);
	chain_facts_free(app->x402.facts);
	chain_free(app->chain_2);
	chain_free(app->chain);
	net_stop(app->trusted);
	outside_free(app->outside);
	blob_store_close(app->blobs);
	db_free(g->db);
	crypto_wipe(&app->gateway_key, sizeof(app->gateway_key));
	crypto_wipe(&app->settler_key, sizeof(app->settler_key));
	crypto_wipe(&app->payout_key, sizeof(app->payout_key));
	LOG_EVENT(LOG_INFO, "stopped", L_STR("gateway", address_format(&app->gateway).s));
}

int gateway_serve(const char *config_path)
{
	static struct gateway g;
	struct config_why why;
	sigset_t signals;
	enum err e;

	if (config_load(SETTINGS, SETTINGS_COUNT, config_path, &g.settings, &why)) {
		fprintf(stderr, "opgate: %s\n", why.text);
		return 2;
	}
	crypto_init();
	log_set_level(startup_log_level(g.settings.log_level));
	/* Blocked before any thread exists, so that only sigtimedwait sees them. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	e = start(&g);
	if (!e)
		run(&g, &signals);
	stop(&g);
	config_free(SETTINGS, SETTINGS_COUNT, &g.settings);
	return e ? 1 : 0;
}
