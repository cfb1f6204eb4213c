/* See startup.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "blob/blob.h"
#include "chain/contracts.h"
#include "db/migrate.h"
#include "db/records.h"
#include "handlers/model_names.h"
#include "handlers/pages.h"
#include "handlers/startup.h"
#include "pay/outside.h"

/* Accounts of the published development mnemonic ("test test … junk"), m/44'/60'/0'/0/0 … 10. Everybody has their keys. */
static const char *const PUBLISHED[] = {
	"0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266", "0x70997970c51812dc3a010c7d01b50e0d17dc79c8", "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc",
	"0x90f79bf6eb2c4f870365e785982e1f101e93b906", "0x15d34aaf54267db7d7c367839aaf71a00a2c6a65", "0x9965507d1a55bcc2695c58ba16fb37d819b0a4dc",
	"0x976ea74026e726554db657fa54763abd0c3a0aa9", "0x14dc79964da2c08b23698b3d3cc7ca32193d9955", "0x23618e81e3f5cdf7f54c3d65f7fbc0abf5b21e8f",
	"0xa0ee7a142d267c1f36714e4a8f75612f20a79720", "0xbcd4042de499d14e55001ccbb24a551f3b954096",
};

static bool is_published(const struct address *a)
{
	for (size_t i = 0; i < sizeof(PUBLISHED) / sizeof(PUBLISHED[0]); i++)
		if (!strcmp(address_format(a).s, PUBLISHED[i]))
			return true;
	return false;
}

#define REFUSE(why, e, ...) (snprintf((why)->text, sizeof((why)->text), __VA_ARGS__), (e))

/* A key that sends transactions; an empty setting is none. */
static enum err read_sender(const char *path, const char *setting, struct secret_key *ret_key, struct address *ret_address, struct startup_why *why)
{
	enum err e = *path ? secret_key_read_file(path, ret_key) : ERR_OK;

	if (e)
		return REFUSE(why, e, "%s: %s cannot be read as 64 hex digits", setting, path);
	if (*path)
		secret_key_address(ret_key, ret_address);
	return ERR_OK;
}

enum err startup_keys(struct app *app, struct startup_why *why)
{
	struct secret_key jwt;
	enum err e = secret_key_read_file(app->settings->gateway_key_file, &app->gateway_key);

	if (e)
		return REFUSE(why, e, "gateway_key_file: %s cannot be read as 64 hex digits (opgate keygen makes one)", app->settings->gateway_key_file);
	secret_key_address(&app->gateway_key, &app->gateway);
	e = secret_key_read_file(app->settings->jwt_secret_file, &jwt);
	if (e)
		return REFUSE(why, e, "jwt_secret_file: %s cannot be read as 64 hex digits", app->settings->jwt_secret_file);
	memcpy(app->jwt_secret, jwt.b, sizeof(app->jwt_secret));
	secret_key_wipe(&jwt);
	e = read_sender(app->settings->settler_key_file, "settler_key_file", &app->settler_key, &app->settler_sender, why);
	if (!e)
		e = read_sender(app->settings->payout_key_file, "payout_key_file", &app->payout_key, &app->payout_sender, why);
	if (!e && *app->settings->payout_key_file && address_equal(&app->payout_sender, &app->settler_sender))
		return REFUSE(why, ERR_CONFLICT, "payout_key_file: it is the settling key; each needs transaction counts of its own");
	return e;
}

enum err startup_check_database(struct db *db, struct startup_why *why)
{
	_cleanup_result_ struct db_result *r = NULL;
	struct migrate_why migrations = { "" };
	enum err e = db_migrate_check(db, &migrations);

	if (e)
		return REFUSE(why, e, "database: %s", migrations.text);
	e = db_query(db, "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting NOT IN ('on', 'remote_apply')",
		     NULL, &r);
	if (e)
		return REFUSE(why, e, "database: %s", db_error(db));
	if (db_rows(r) > 0)
		return REFUSE(why, ERR_CONFLICT, "database: %s is %s; acknowledged money could be lost in a crash. Set it to on", db_get_text(r, 0, "name"),
			      db_get_text(r, 0, "setting"));
	return ERR_OK;
}

static bool is_loopback_url(const char *url)
{
	static const char *const hosts[] = { "127.0.0.1", "localhost", "[::1]" };
	const char *p = strstr(url, "://");

	for (size_t i = 0; p && i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		size_t n = strlen(hosts[i]);

		if (!strncasecmp(p + 3, hosts[i], n) && (p[3 + n] == ':' || p[3 + n] == '/' || p[3 + n] == 0))
			return true;
	}
	return false;
}

/* Published keys are for a local anvil only: a loopback endpoint that says it is anvil and whose genesis is the recorded one. */
static enum err check_published(struct app *app, const struct hash *genesis, struct startup_why *why)
{
	const struct settings *s = app->settings;
	static const struct hash none;
	char version[128] = "";

	if (!is_published(&app->gateway) && !is_published(&s->treasury) && !is_published(&app->settler_sender) && !is_published(&app->payout_sender) && !is_published(&s->pay_to))
		return ERR_OK;
	if (!is_loopback_url(s->rpc_url) || (*s->rpc_url_2 && !is_loopback_url(s->rpc_url_2)) || chain_client_version(app->chain, version) || strncmp(version, "anvil/", 6) != 0 || hash_equal(&s->genesis_hash, &none) ||
	    !hash_equal(&s->genesis_hash, genesis))
		return REFUSE(why, ERR_FORBIDDEN, "a configured key, treasury or pay_to is a published test account, which is accepted only with a loopback rpc_url that says it is "
						  "anvil and has the genesis_hash recorded at deployment");
	return ERR_OK;
}

/* The second endpoint must be one of the same chain: everything it says is compared with the first. */
static enum err check_second(struct app *app, const struct hash *genesis, struct startup_why *why)
{
	struct chain_block block;
	uint64_t id = 0;
	enum err e = chain_id(app->chain_2, &id);

	if (e)
		return REFUSE(why, e, "rpc_url_2: no answer from the chain: %s", chain_error());
	if (id != (uint64_t)app->settings->chain_id)
		return REFUSE(why, ERR_CONFLICT, "chain_id: the endpoint of rpc_url_2 is chain %llu, not %lld", (unsigned long long)id, (long long)app->settings->chain_id);
	e = chain_block_by_number(app->chain_2, 0, &block);
	if (e)
		return REFUSE(why, e, "rpc_url_2: %s", chain_error());
	if (!hash_equal(&block.hash, genesis))
		return REFUSE(why, ERR_CONFLICT, "rpc_url_2: its block 0 is %s, that of rpc_url is another", hash_format(&block.hash).s);
	return ERR_OK;
}

enum err startup_check_chain(struct app *app, struct startup_why *why)
{
	const struct settings *s = app->settings;
	struct chain_block genesis;
	static const struct hash none;
	bool has_code = false;
	uint64_t id = 0;
	enum err e = chain_id(app->chain, &id);

	if (e)
		return REFUSE(why, e, "rpc_url: no answer from the chain: %s", chain_error());
	if (id != (uint64_t)s->chain_id)
		return REFUSE(why, ERR_CONFLICT, "chain_id: the endpoint is chain %llu, not %lld", (unsigned long long)id, (long long)s->chain_id);
	e = chain_block_by_number(app->chain, 0, &genesis);
	if (!e)
		e = chain_has_code(app->chain, &s->opg_token, &has_code);
	if (e)
		return REFUSE(why, e, "rpc_url: %s", chain_error());
	if (!has_code)
		return REFUSE(why, ERR_CONFLICT, "opg_token: there is no contract at %s", address_format(&s->opg_token).s);
	if (!hash_equal(&s->genesis_hash, &none) && !hash_equal(&s->genesis_hash, &genesis.hash))
		return REFUSE(why, ERR_CONFLICT, "genesis_hash: block 0 of the endpoint is %s", hash_format(&genesis.hash).s);
	e = app->chain_2 ? check_second(app, &genesis.hash, why) : ERR_OK;
	return e ? e : check_published(app, &genesis.hash, why);
}

enum err startup_check_pay_to(struct app *app, struct startup_why *why)
{
	const struct settings *s = app->settings;

	if (address_is_zero(&s->pay_to) || address_equal(&s->pay_to, &s->treasury))
		return REFUSE(why, ERR_CONFLICT, "pay_to: x402 needs a receiver of its own; the treasury's transfers are deposits");
	return ERR_OK;
}

enum err startup_check_names(const struct settings *settings, struct startup_why *why)
{
	const char *bad = model_names_bad(settings->model_aliases);

	return bad ? REFUSE(why, ERR_BAD_FIELD, "model_aliases: \"%.60s\" does not begin with name=author/model", bad) : ERR_OK;
}

/* One that is not ours, or whose owner has not let the key in, would refuse everything, after the work. */
static enum err check_callable(struct app *app, const char *name, const struct address *contract, const struct address *key, struct startup_why *why)
{
	bool has_code = false, callable = false;
	enum err e = chain_has_code(app->chain, contract, &has_code);

	if (!e && has_code)
		e = contract_lets_call(app->chain, contract, key, &callable);
	if (e)
		return REFUSE(why, e, "rpc_url: %s", chain_error());
	if (!has_code)
		return REFUSE(why, ERR_CONFLICT, "%s: there is no contract at %s", name, address_format(contract).s);
	if (!callable)
		return REFUSE(why, ERR_CONFLICT, "%s: the contract at %s does not let the key %s call it; its owner does that by setCaller", name, address_format(contract).s,
			      address_format(key).s);
	return ERR_OK;
}

/* Does it move this token, from or to this treasury? */
static enum err check_moves(struct app *app, const char *name, const struct address *contract, enum contract_names treasury_as, struct startup_why *why)
{
	const struct settings *s = app->settings;
	bool token = false, treasury = false;
	enum err e = contract_names(app->chain, contract, CONTRACT_TOKEN, &s->opg_token, &token);

	if (!e)
		e = contract_names(app->chain, contract, treasury_as, &s->treasury, &treasury);
	if (e)
		return REFUSE(why, e, "rpc_url: %s", chain_error());
	return token && treasury ? ERR_OK
				 : REFUSE(why, ERR_CONFLICT, "%s: the contract at %s was not deployed for opg_token and treasury", name, address_format(contract).s);
}

enum err startup_check_settler(struct app *app, struct startup_why *why)
{
	const struct settings *s = app->settings;
	enum err e = check_callable(app, "settler_contract", &s->settler_contract, &app->settler_sender, why);

	if (!e && !address_is_zero(&s->depositor_contract))
		e = check_moves(app, "depositor_contract", &s->depositor_contract, CONTRACT_TREASURY, why);
	if (!e && !address_is_zero(&s->record_contract))
		e = check_callable(app, "record_contract", &s->record_contract, &app->settler_sender, why);
	app->records_on = !e && !address_is_zero(&s->record_contract);
	return e;
}

enum err startup_check_facilitator(struct app *app, struct address *ret_upto, struct startup_why *why)
{
	struct outside_why said = { "" };
	enum err e = outside_supported(app->trusted, app->settings->facilitator_url, (uint64_t)app->settings->chain_id, ret_upto, &said);

	return e ? REFUSE(why, e, "facilitator_url: %s", said.text) : ERR_OK;
}

enum err startup_check_payouts(struct app *app, struct startup_why *why)
{
	const struct settings *s = app->settings;
	enum err e;

	if (address_is_zero(&s->payouts_contract))
		return *s->payout_key_file ? REFUSE(why, ERR_CONFLICT, "payouts_contract: there is a payout_key_file, and nothing it could call") : ERR_OK;
	e = check_moves(app, "payouts_contract", &s->payouts_contract, CONTRACT_SOURCE, why);
	return e || !*s->payout_key_file ? e : check_callable(app, "payouts_contract", &s->payouts_contract, &app->payout_sender, why);
}

enum err startup_open_files(struct app *app, struct startup_why *why)
{
	enum err e = blob_store_open(app->settings->blob_dir, &app->blobs);

	if (e)
		return REFUSE(why, e, "blob_dir: %s cannot be opened", app->settings->blob_dir);
	e = pages_load(app->settings->public_dir);
	if (e)
		return REFUSE(why, e, "public_dir: %s lacks the pages", app->settings->public_dir);
	return ERR_OK;
}

enum err startup_sweep(struct db *db)
{
	enum err e = db_exec(db, "DELETE FROM siwe_nonce WHERE expires_at < now()", NULL, NULL);

	if (!e)
		e = db_exec(db, "DELETE FROM siwx_nonce WHERE expires_at < now()", NULL, NULL);
	if (!e)
		e = db_exec(db, "DELETE FROM node_nonce WHERE seen_at < now() - interval '10 minutes'", NULL, NULL);
	if (!e)
		e = db_records_sweep(db);
	if (!e)
		e = db_exec(db, "DELETE FROM idempotency WHERE at < now() - interval '30 days'", NULL, NULL);
	if (!e)
		e = db_exec(db, "DELETE FROM gateway_instance g WHERE heartbeat_at < now() - interval '1 day' AND NOT EXISTS (SELECT FROM job j WHERE j.lease = g.id)",
			    NULL, NULL);
	return e;
}

enum log_level startup_log_level(const char *name)
{
	static const char *const names[] = { [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcasecmp(name, names[i]))
			return (enum log_level)i;
	return LOG_INFO;
}
