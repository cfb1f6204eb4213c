/* What every handler can reach: the parts main.c built. Read-only after start except where a part says otherwise. */
#ifndef OPGATE_HANDLERS_APP_H
#define OPGATE_HANDLERS_APP_H

#include "crypto/crypto.h"
#include "db/db.h"
#include "handlers/settings.h"
#include "http/http.h"
#include "pay/pay.h"
#include "pay/x402.h"

struct blob_store;
struct chain;
struct net;
struct turns;
struct waiters;

struct app {
	struct settings *settings;
	struct http_server *http;
	struct blob_store *blobs;
	struct net *trusted; /* chain RPC */
	struct net *hostile; /* nodes */
	struct chain *chain;
	struct turns *deposits;
	struct waiters *waiters;
	struct pay pay;
	struct x402 x402; /* chain NULL: off */
	struct turns *settler; /* NULL: x402 is off */
	bool records_on; /* there is a contract for what callers want on chain */
	struct records_waiting *records_waiting;
	struct secret_key gateway_key, settler_key;
	struct address gateway, settler_sender; /* their addresses; the latter zero when x402 is off */
	uint8_t jwt_secret[32];
};

static inline struct app *request_app(const struct request *req)
{
	return req->app;
}

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
