/* See reconcile_command.h. Called by main; one thread. Nothing is written and nothing is remembered: everything on chain is read again,
 * range by range, and each range is compared with the rows of its blocks in one statement. It may run while gateways do: only blocks
 * that the deposit watcher has confirmed are looked at. */
#include "handlers/reconcile_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "db/migrate.h"
#include "handlers/app.h"
#include "handlers/startup.h"
#include "pay/audit.h"

#define STATEMENT_DEADLINE_MS 120000
#define RPC_DEADLINE_MS 20000

struct work {
	struct app app;
	struct settings settings;
	struct db *db;
	struct watch watch;
	struct movements_filter filter;
	json_t *scope;
	uint64_t from, to, head;
	struct u256 in[2], out[2];     /* of treasury and pay_to */
	int64_t differences, movements;
	json_t *counts, *sums;         /* by what the logs mean */
	struct startup_why why;
};

/* Words of ours hold no line breaks and no double quotes. */
static void difference(struct work *w, const char *kind, const char *subject, const char *tx, int64_t log, int64_t block, const char *detail)
{
	printf("difference kind=%s subject=%s", kind, subject);
	if (block >= 0)
		printf(" block=%lld", (long long)block);
	if (tx)
		printf(" tx=%s%s log=%lld", strncmp(tx, "0x", 2) ? "0x" : "", tx, (long long)log);
	printf(" detail=\"%s\"\n", detail);
	fflush(stdout);
	w->differences++;
}

static enum err sum_movement(struct work *w, const struct chain_movement *m)
{
	enum err e = ERR_OK;

	for (size_t i = 0; !e && i < w->filter.ours_count; i++) {
		if (address_equal(&m->to, &w->filter.ours[i]))
			e = u256_add(&w->in[i], &m->value, &w->in[i]);
		if (!e && address_equal(&m->from, &w->filter.ours[i]))
			e = u256_add(&w->out[i], &m->value, &w->out[i]);
	}
	return e;
}

static void count_log(struct work *w, const struct db_result *r, int i)
{
	const char *means = db_get_text(r, i, "means");
	struct u256 value = u256_from_u64(0), sum = u256_from_u64(0);
	const char *text = db_get_text(r, i, "value"), *before = json_string_value(json_object_get(w->sums, means));

	json_object_set_new(w->counts, means, json_integer(json_integer_value(json_object_get(w->counts, means)) + 1));
	if (u256_parse(text, strlen(text), 10, &value) || (before && u256_parse(before, strlen(before), 10, &sum)) || u256_add(&sum, &value, &sum))
		return; /* above 2^256: no token has that */
	json_object_set_new(w->sums, means, json_string(u256_format(&sum).s));
}

static enum err compare_range(struct work *w, uint64_t first, uint64_t last)
{
	_cleanup_result_ struct db_result *r = NULL;
	_cleanup_json_ json_t *movements = json_must(json_array());
	struct chain_movement *list = NULL;
	struct chain_block block;
	size_t count = 0;
	enum err e = chain_pair_movements(&w->app.auditor_chains, &w->filter, first, last, &block, &list, &count);

	for (size_t i = 0; !e && i < count; i++) {
		e = sum_movement(w, &list[i]);
		json_array_append_new(movements, audit_movement_json(&list[i]));
	}
	free(list);
	if (!e)
		e = db_audit_range(w->db, w->scope, first, last, movements, &r);
	if (e)
		return e;
	w->movements += (int64_t)count;
	for (int i = 0; i < db_rows(r); i++) {
		if (db_is_null(r, i, "kind"))
			count_log(w, r, i);
		else
			difference(w, db_get_text(r, i, "kind"), db_get_text(r, i, "subject"), db_get_text(r, i, "tx"), db_get_int(r, i, "ordinal"),
				   db_get_int(r, i, "block"), db_get_text(r, i, "detail"));
	}
	return ERR_OK;
}

static enum err compare_all(struct work *w)
{
	for (uint64_t at = w->from; at <= w->to;) {
		uint64_t last = chain_pair_range(&w->app.auditor_chains, at, w->to);
		enum err e = compare_range(w, at, last);

		if (e == ERR_NOT_FOUND)
			snprintf(w->why.text, sizeof(w->why.text), "an endpoint has no block %llu yet", (unsigned long long)last);
		if (e == ERR_CHAIN_DOWN && last > at && atomic_load(&w->app.auditor_chains.state) != PAIR_DISAGREE)
			continue; /* and asks for fewer */
		if (e)
			return e;
		fprintf(stderr, "opgate: blocks %llu to %llu of %llu compared, %lld differences\n", (unsigned long long)at, (unsigned long long)last,
			(unsigned long long)w->to, (long long)w->differences);
		at = last + 1;
	}
	return ERR_OK;
}

/* Rows that name a block beyond the chain, or none: is there a log for them at all? */
static enum err compare_elsewhere(struct work *w)
{
	_cleanup_result_ struct db_result *r = NULL;
	enum err e = db_audit_elsewhere(w->db, w->scope, w->head, &r);

	for (int i = 0; !e && i < db_rows(r); i++) {
		struct chain_receipt receipt;
		struct hash tx;
		bool there = false;

		db_get_hash(r, i, "tx", &tx);
		e = chain_receipt(w->app.chain, &tx, &receipt);
		if (!e) { /* then the log itself was compared, or is of a block that was not */
			struct chain_movement *list = NULL;
			size_t count = 0;

			chain_movements_of(&w->filter, &receipt, &list, &count);
			for (size_t k = 0; k < count; k++)
				there |= list[k].ordinal == (uint32_t)db_get_int(r, i, "ordinal");
			free(list);
			chain_receipt_done(&receipt);
		}
		e = e == ERR_NOT_FOUND ? ERR_OK : e;
		if (!e && !there)
			difference(w, db_get_text(r, i, "kind"), db_get_text(r, i, "subject"), hash_format(&tx).s, db_get_int(r, i, "ordinal"),
				   db_is_null(r, i, "block") ? -1 : db_get_int(r, i, "block"), db_get_text(r, i, "detail"));
	}
	return e;
}

/* What the logs add up to against balanceOf; an endpoint without old states says nothing. */
static void compare_balances(struct work *w, json_t *ret)
{
	static const char *const names[] = { "treasury", "pay_to" };

	for (size_t i = 0; i < w->filter.ours_count; i++) {
		struct amount before = AMOUNT_ZERO, now;
		struct u256 sum;
		bool known = (w->from == 0 || chain_token_balance(w->app.chain, &w->watch.token, &w->filter.ours[i], w->from - 1, &before) == ERR_OK) &&
			     chain_token_balance(w->app.chain, &w->watch.token, &w->filter.ours[i], w->to, &now) == ERR_OK;

		json_object_set_new(ret, names[i], known ? json_string(amount_format(now).s) : json_null());
		sum = u256_from_amount(before);
		if (!known || u256_add(&sum, &w->in[i], &sum))
			continue;
		if (u256_sub(&sum, &w->out[i], &sum))
			sum = u256_from_u64(0);
		struct u256 balance = u256_from_amount(now);

		if (!u256_equal(&sum, &balance)) {
			_cleanup_free_ char *words = xasprintf("%s owns %s at block %llu; its transfers add up to %s", names[i], amount_format(now).s,
							       (unsigned long long)w->to, u256_format(&sum).s);
			difference(w, "balance", names[i], NULL, 0, (int64_t)w->to, words);
		}
	}
}

static enum err compare_custody(struct work *w)
{
	_cleanup_free_ char *words = NULL;
	enum err e = db_audit_custody(w->db, &words);

	if (!e && *words)
		difference(w, "custody", "ledger", NULL, 0, -1, words);
	return e;
}

/* Up to which block everything must be booked. What there is nothing to compare with, or with an endpoint that is behind the books, cannot be
 * checked. */
static enum err find_last(struct work *w)
{
	const uint64_t confirmations = (uint64_t)w->settings.deposit_confirmations;
	uint64_t watched = 0, booked = 0;
	enum err e = db_watch_at(w->db, &w->watch, &watched);

	if (!e)
		e = db_audit_booked(w->db, &w->watch, &booked);
	if (!e)
		e = chain_head(w->app.chain, &w->head);
	if (e)
		return e;
	if (w->head < booked) {
		snprintf(w->why.text, sizeof(w->why.text), "rpc_url is at block %llu, the books are at %llu", (unsigned long long)w->head, (unsigned long long)booked);
		return ERR_CHAIN_DOWN;
	}
	if (watched == 0 || watched + 1 < confirmations || watched + 1 - confirmations < w->from) {
		snprintf(w->why.text, sizeof(w->why.text), "no gateway has confirmed block %llu yet: watched is block %llu", (unsigned long long)w->from, (unsigned long long)watched);
		return ERR_NOT_FOUND;
	}
	w->to = watched + 1 - confirmations;
	return ERR_OK;
}

/* Whom to ask, and about what. */
static enum err prepare(struct work *w, const char *from)
{
	const struct settings *s = &w->settings;
	const struct net_config trusted = { .reactors = 1, .connections_per_host_max = 4 };
	struct migrate_why migrations = { "" };
	struct u256 first;
	enum err e;

	w->app.settings = &w->settings;
	app_own_addresses(&w->app);
	w->db = db_new(s->database_url, STATEMENT_DEADLINE_MS);
	e = db_migrate_check(w->db, &migrations);
	if (e)
		snprintf(w->why.text, sizeof(w->why.text), "database: %s", migrations.text);
	if (!e)
		e = db_exec(w->db, "SET default_transaction_read_only = on", NULL, NULL);
	if (!e)
		e = net_start(&trusted, &w->app.trusted);
	if (e)
		return e;
	w->app.chain = chain_new(w->app.trusted, s->rpc_url, RPC_DEADLINE_MS);
	w->app.chain_2 = *s->rpc_url_2 ? chain_new(w->app.trusted, s->rpc_url_2, RPC_DEADLINE_MS) : NULL;
	w->app.auditor_chains = (struct chain_pair){ .first = w->app.chain, .second = w->app.chain_2 };
	w->watch = (struct watch){ .chain_id = s->chain_id, .token = s->opg_token, .treasury = s->treasury };
	w->filter = (struct movements_filter){ .token = s->opg_token, .ours = { s->treasury, s->pay_to }, .ours_count = address_is_zero(&s->pay_to) ? 1 : 2,
					       .settler = s->settler_contract };
	w->scope = audit_scope(&w->watch, &s->pay_to, w->app.own, w->app.own_count);
	w->counts = json_must(json_object());
	w->sums = json_must(json_object());
	w->from = (uint64_t)s->deposit_from_block;
	if (from && (u256_parse(from, strlen(from), 10, &first) || u256_to_u64(&first, &w->from))) {
		snprintf(w->why.text, sizeof(w->why.text), "--from: not a block number");
		return ERR_BAD_FIELD;
	}
	e = startup_check_chain(&w->app, &w->why);
	return e ? e : find_last(w);
}

static void finish(struct work *w)
{
	json_decref(w->scope);
	json_decref(w->counts);
	json_decref(w->sums);
	chain_free(w->app.chain);
	chain_free(w->app.chain_2);
	if (w->app.trusted)
		net_stop(w->app.trusted);
	db_free(w->db);
	config_free(SETTINGS, SETTINGS_COUNT, &w->settings);
}

static void print_end(struct work *w, json_t *balances)
{
	json_t *end = json_must(json_pack("{s:I, s:I, s:I, s:O, s:O, s:O, s:I, s:b}", "from", (json_int_t)w->from, "to", (json_int_t)w->to, "logs", (json_int_t)w->movements, "counts",
					  w->counts, "sums", w->sums, "balances", balances, "differences", (json_int_t)w->differences, "exact", w->differences == 0));
	_cleanup_free_ char *text = json_text(end);

	printf("%s\n", text);
	json_decref(end);
}

int reconcile_command(const char *config_path, const char *from)
{
	struct work *w = xcalloc(1, sizeof(*w));
	_cleanup_free_ struct work *owned = w;
	_cleanup_json_ json_t *balances = json_must(json_object());
	struct config_why config_why;
	int status;
	enum err e;

	if (config_load(SETTINGS, SETTINGS_COUNT, config_path, &w->settings, &config_why)) {
		fprintf(stderr, "opgate: %s\n", config_why.text);
		return 2;
	}
	crypto_init();
	e = prepare(w, from);
	if (!e)
		e = compare_all(w);
	if (!e)
		e = compare_elsewhere(w);
	if (!e)
		e = compare_custody(w);
	if (e) {
		fprintf(stderr, "opgate: could not check: %s: %s\n", err_info(e)->code, *w->why.text ? w->why.text : e == ERR_CHAIN_DOWN ? chain_error() : db_error(w->db));
		status = 2;
	} else {
		compare_balances(w, balances);
		print_end(w, balances);
		status = w->differences ? 1 : 0;
	}
	finish(w);
	return status;
}
