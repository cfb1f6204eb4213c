/* The `before` hook: who calls, may they, how often. Every handler relies on it having run. */
#ifndef OPGATE_HANDLERS_GUARD_H
#define OPGATE_HANDLERS_GUARD_H

#include "handlers/app.h"

enum err guard_before(struct request *req) WARN_UNUSED;

/* A node's signed request (header Opgate-Node: base64url of a NodeRequest in JSON form): the signature, this gateway, the
 * node named in the path, exactly this method, path and body, the moment, and a nonce never seen before. */
enum err guard_node(struct request *req, struct address *ret_node) WARN_UNUSED;

/* For what moves money: has whoever calls signed in a moment ago (payout_sign_in_ms)? Their route's scope, `payouts`, keeps keys out. */
enum err guard_fresh(struct request *req) WARN_UNUSED;

/* Scopes an API key can hold; a name outside the list is no scope. A key can never hold "keys" or "payouts". */
#define GUARD_SCOPES { "inference", "registry", "read" }

bool guard_is_admin(const struct app *app, const struct address *address);

#endif
