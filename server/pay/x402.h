/* x402 on our own routes: what a paid route offers, and whether a payment that came is good. The words and checks are x402_*.h; this
 * asks the chain and decides between settling after the work and before it. */
#ifndef OPGATE_PAY_X402_H
#define OPGATE_PAY_X402_H

#include <stdatomic.h>

#include "chain/send.h"
#include "db/payments.h"
#include "pay/pay.h"
#include "pay/quote.h"
#include "pay/x402_check.h"
#include "pay/x402_headers.h"
#include "pay/x402_quote.h"

struct x402 { /* built once by main; NULL in app when x402 is off */
	struct chain *chain;
	uint64_t chain_id;
	struct address token, pay_to, facilitator; /* facilitator: the Settler contract */
	const char *token_name, *token_version;
	struct hash quote_key;
	uint32_t timeout_s;
	struct amount exposure_payer_max, exposure_all_max;
	_Atomic uint64_t head; /* the newest block the settler has seen */
};

#define X402_OFFERS_MAX 3

struct x402_terms { /* of one request */
	struct x402_offer offers[X402_OFFERS_MAX];
	size_t count;
	struct x402_resource resource;
	struct x402_quote quote;
	char *sealed; /* owned */
};
void x402_terms_done(struct x402_terms *t);

/* Terms for a request whose quote was made: the price at the body bound of the sealed quote, so they do not flicker with the body. */
enum err x402_terms_make(const struct x402 *x, const struct quote *q, const char *route, size_t body_len, const struct x402_resource *resource,
			 struct x402_terms *ret) WARN_UNUSED;
/* The same with a quote that was sealed earlier and still covers this job; ERR_BAD_TOKEN or ERR_DEADLINE otherwise. The job's quote gets
 * the sealed prices: what was promised is what everybody in it is paid by. */
enum err x402_terms_reopen(const struct x402 *x, struct quote *q, const char *route, size_t body_len, const struct x402_resource *resource,
			   const char *sealed, struct x402_terms *ret) WARN_UNUSED;

/* The same terms without `upto`, for work whose price is known only after the authorization's time is over. */
void x402_terms_exact_only(struct x402_terms *t);
/* The same terms with `upto` first, for clients that take the first offer they can pay and want that one. */
void x402_terms_upto_first(struct x402_terms *t);

struct x402_paid { /* a good payment */
	const struct x402_offer *offer;
	struct x402_auth auth; /* release with x402_paid_done */
	struct x402_claim_key key;
	struct amount amount; /* of the offer */
	json_t *stored;       /* the authorization in plain form, for the settler */
	bool payer_has_code;
};
void x402_paid_done(struct x402_paid *p);

/* What the payment would be claimed as, whatever else is wrong with it. False: it has no such thing. */
bool x402_claim_key(const struct x402 *x, const struct x402_payment *payment, struct x402_claim_key *ret);
/* Everything that can be said without the chain; *ret_reason NULL: go on with x402_facts_check. */
const char *x402_read(const struct x402_payment *payment, const struct x402_terms *terms, struct x402_check *ret_check, struct x402_paid *ret);
/* Asks the chain what the check needs. *ret_reason NULL: good. ERR_CHAIN_DOWN: could not be learned. */
enum err x402_ask_chain(const struct x402 *x, const struct x402_check *check, struct x402_paid *paid, const char **ret_reason) WARN_UNUSED;

#endif
