/* What every handler can reach: the parts gateway.c built. Read-only after start except where a part says otherwise. */
#ifndef OPGATE_HANDLERS_APP_H
#define OPGATE_HANDLERS_APP_H

#include "chain/pair.h"
#include "crypto/crypto.h"
#include "db/db.h"
#include "handlers/settings.h"
#include "http/http.h"
#include "pay/pay.h"
#include "pay/settler.h"
#include "pay/x402.h"

struct blob_store;
struct chain;
struct net;
struct outside;
struct reconciler;
struct turns;
struct waiters;

#define APP_OWN_MAX 9

struct app {
	struct settings *settings;
	struct http_server *http;
	struct blob_store *blobs;
	struct net *trusted; /* chain RPC */
	struct net *hostile; /* nodes */
	struct chain *chain, *chain_2; /* chain_2 NULL: one RPC endpoint */
	struct chain_pair watcher_chains, auditor_chains;
	struct turns *deposits, *audit;
	struct reconciler *reconciler;
	struct turns *rates; /* NULL: no sources */
	struct waiters *waiters;
	struct pay pay;
	struct x402 x402; /* what is paid to us; chain NULL: off */
	struct x402 facilitator; /* what we settle for others; chain NULL: no settling key */
	struct settler_view settler_view;
	struct turns *settler; /* NULL: no settling key */
	struct settler_view outside_view;
	struct outside *outside; /* NULL: the settler settles what is paid to us */
	bool records_on; /* there is a contract for what callers want on chain */
	struct address own[APP_OWN_MAX]; /* treasury, pay_to, the contracts we use and the payout key: what comes from them is no deposit, and nothing is paid out to them */
	size_t own_count;
	struct settler_view payouts_view;
	struct turns *payouts; /* NULL: this gateway sends none */
	struct secret_key gateway_key, settler_key, payout_key;
	struct address gateway, settler_sender, payout_sender; /* their addresses; zero for a key that is not set */
	uint8_t jwt_secret[32];
};

static inline struct app *request_app(const struct request *req)
{
	return req->app;
}

void app_own_addresses(struct app *app); /* sets them; once, when the keys are read */

/* The calling worker's own connection (opened lazily by db.c). */
static inline struct db *request_db(const struct request *req)
{
	(void)req;
	return http_worker_state();
}

/* Who is calling; attached by the `before` hook for ROUTE_ACCOUNT (never NULL there) and ROUTE_OPTIONAL (may be NULL). */
struct principal {
	int64_t account;
	struct address address;
	int64_t api_key; /* 0: signed in with a token */
	int64_t signed_in_at; /* seconds since 1970; 0 with a key */
	bool admin;
};
/* A node, for ROUTE_NODE. */
struct node_principal {
	struct address node;
};

#endif
