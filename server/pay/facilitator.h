/* Being a facilitator: what a seller's server asks about a payment to one of our registered payees, and whether it would be settled.
 * The checks are those of our own routes (x402.h), and then the very call the settler would send is tried on the chain. What is
 * settled goes through the settler's queue (db/facilitations.h). Called by handlers. */
#ifndef OPGATE_PAY_FACILITATOR_H
#define OPGATE_PAY_FACILITATOR_H

#include "db/facilitations.h"
#include "pay/x402.h"

#define FACILITATOR_PURPOSE "facilitator" /* of gas budgets (db/gas.h); facilitation_claim names it too */

/* Refusals of our own, besides those of x402. */
#define FACILITATOR_NOT_REGISTERED "payee_not_registered"
#define FACILITATOR_NO_GAS "gas_budget_exhausted"
#define FACILITATOR_ASSET "unsupported_asset"
#define FACILITATOR_PENDING "settlement_pending"
#define FACILITATOR_PAYEE_ONLY "payee_not_authenticated"
/* A sentence for the seller's operator; NULL for reasons that speak for themselves. */
const char *facilitator_message(const char *reason);

struct facilitator_request {
	int version;                 /* 1 or 2 */
	struct x402_payment payment; /* release with facilitator_request_done */
	struct x402_offer offer;     /* the requirements; borrowed from the body */
	struct hash digest;          /* of the authorization, the requirements and the call's name: the same call again has the same */
	const char *refusal;         /* not NULL: nothing more can be said, payment and offer are empty */
};
/* The body of /verify and /settle. Pure. ERR_BAD_REQUEST: it is not one, and `why` says so. */
enum err facilitator_request_read(json_t *body, struct facilitator_request *ret, struct x402_why *why) WARN_UNUSED;
void facilitator_request_done(struct facilitator_request *r);
/* The caller's own name for this call: the same one under another name is another call. */
void facilitator_request_name(struct facilitator_request *r, const char *name);
/* What its authorization is known by, whatever else is wrong with it. False: it has none. */
bool facilitator_key(const struct x402 *x, const struct facilitator_request *r, struct authorization_key *ret);

struct facilitator_good {
	struct x402_paid paid;   /* release with x402_paid_done */
	struct authorization_key key;
	struct amount amount;    /* what is to be moved */
	uint64_t gas;            /* units that settling it can take at most */
};
/* Would it be settled? *ret_reason NULL: yes, and ret is filled. `settle`: the requirements of `upto` name what is to be taken;
 * otherwise the maximum that was signed. */
enum err facilitator_check(const struct x402 *x, struct db *db, const struct facilitator_request *r, bool settle, struct facilitator_good *ret,
			   const char **ret_reason) WARN_UNUSED;

#endif
