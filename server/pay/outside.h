/* Another facilitator in place of our settler, for what is paid to us (setting facilitator_url). It is asked to verify, besides our own
 * checks, and to settle; but nothing it says is believed: a payment is settled when our own endpoint shows the money, failed when its
 * authorization was used for something else or its time is over, and until then it is pending. A facilitator that lies can make a
 * payer wait, and nothing else. One gateway at a time asks (an advisory lock); what it was asked before a death is asked again. */
#ifndef OPGATE_PAY_OUTSIDE_H
#define OPGATE_PAY_OUTSIDE_H

#include "net/net.h"
#include "pay/settler.h"
#include "pay/x402.h"

struct outside_why {
	char text[160];
};
/* What it supports: exact on our chain, or it is of no use (ERR_CONFLICT); ret_upto is its address for `upto`, zero when it has none. */
enum err outside_supported(struct net *net, const char *url, uint64_t chain_id, struct address *ret_upto, struct outside_why *why) WARN_UNUSED;

/* Would it settle this payment? Asked only when our own checks found it good. *ret_reason NULL: yes; else in `why`. ERR_CHAIN_DOWN: it
 * gave no usable answer. */
enum err outside_verify(const struct x402 *x, const struct x402_paid *paid, struct x402_why *why, const char **ret_reason) WARN_UNUSED;

/* The body of /verify and /settle for an authorization in plain form (x402_paid.stored). ERR_BAD_FIELD: it cannot be read. */
enum err outside_body(const struct x402 *x, const char *scheme, const char *method, const json_t *stored, struct amount amount, json_t **ret) WARN_UNUSED;

struct outside;
struct outside_config {
	const struct x402 *x; /* outlives it */
	const char *database_url;
	int64_t poll_ms;
	int64_t patience_ms; /* of the connection that asks (settler_own) */
	struct settler_view *view; /* kept by it */
	void (*ended)(void *arg, const struct uuid *payment, const struct hash *tx, bool closed); /* as the settler's */
	void *arg;
	void (*log)(const char *event, int64_t number, const char *detail);
};
struct outside *outside_start(const struct outside_config *config);
void outside_kick(struct outside *o); /* there is something to settle */
void outside_stop(struct outside *o); /* asks no more. Accepts NULL */
void outside_free(struct outside *o); /* after outside_stop, and after the net has stopped. Accepts NULL */

#endif
