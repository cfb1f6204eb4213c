/* x402 on our own routes: what a paid route offers, and whether a payment that came is good. The words and checks are x402_*.h; this
 * asks the chain and decides between settling after the work and before it. */
#ifndef OPGATE_PAY_X402_H
#define OPGATE_PAY_X402_H

#include "chain/facts.h"
#include "chain/send.h"
#include "db/payments.h"
#include "pay/pay.h"
#include "pay/quote.h"
#include "pay/settler.h"
#include "pay/x402_check.h"
#include "pay/x402_extensions.h"
#include "pay/x402_headers.h"
#include "pay/x402_quote.h"
#include "pay/x402_sponsor.h"

struct net;

struct x402 { /* built once by main; NULL in app when x402 is off */
	struct chain *chain;
	struct chain_facts_line *facts;
	uint64_t chain_id;
	struct address token, pay_to, facilitator; /* facilitator: the Settler contract; zero: no upto */
	struct address sender; /* the settling key's */
	const char *token_name, *token_version;
	struct hash quote_key, siwx_key;
	struct chain_fee_caps gas_caps;
	struct amount sponsor_payer_max, sponsor_all_max; /* wei a day for approvals; either zero: none is paid for */
	bool token_permits; /* the token knows EIP-2612 */
	bool identifier_required; /* payments without a payment-identifier are refused */
	uint32_t timeout_s;
	struct amount exposure_payer_max, exposure_all_max;
	struct net *outside; /* not NULL: another facilitator settles what is paid to us (outside.h), and `facilitator` is its own */
	const char *outside_url;
	const struct settler_view *view; /* what the settler sees of the chain */
};

/* Can what is accepted now be settled? NULL, or why not. */
const char *x402_closed(const struct x402 *x);
int64_t x402_now_s(const struct x402 *x); /* by the chain's clock: the contracts judge deadlines by it */

#define X402_OFFERS_MAX 3

struct x402_terms { /* of one request */
	struct x402_offer offers[X402_OFFERS_MAX];
	size_t count;
	struct x402_resource resource;
	struct x402_quote quote;
	char *sealed; /* owned */
	int64_t now_s; /* on the chain's clock */
	struct x402_declared declared; /* what the 402 says beside the offers; filled by whoever knows the route */
};
void x402_terms_done(struct x402_terms *t);

/* Terms for a request whose quote was made: the price at the body bound of the sealed quote, so they do not flicker with the body. */
enum err x402_terms_make(const struct x402 *x, const struct quote *q, const char *route, size_t body_len, const struct x402_resource *resource,
			 struct x402_terms *ret) WARN_UNUSED;
/* The same with a quote that was sealed earlier, still covers this job and is still served by somebody who asks no more or asked no more
 * when it was sealed; ERR_BAD_TOKEN or ERR_DEADLINE otherwise. The job's quote keeps those, and gets the sealed prices. */
enum err x402_terms_reopen(const struct x402 *x, struct db *db, struct quote *q, const char *route, size_t body_len, const struct x402_resource *resource,
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
	bool payer_has_code, balance_known;
	struct amount balance; /* of the payer, when the chain was asked */
	struct x402_sponsor sponsor; /* an approval that came with it */
	bool sponsored;              /* it is needed and good, and would cost us `gas` */
	struct payment_gas gas;
};
void x402_paid_done(struct x402_paid *p);

/* What the payment would be claimed as, whatever else is wrong with it, and the form it would be stored in (a new reference). False:
 * it has no such thing. */
bool x402_claim_key(const struct x402 *x, const struct x402_payment *payment, struct x402_claim_key *ret, json_t **ret_form);
/* Everything that can be said without the chain; *ret_reason NULL: go on with x402_facts_check. */
const char *x402_read(const struct x402_payment *payment, const struct x402_terms *terms, struct x402_check *ret_check, struct x402_paid *ret);
/* The same for one offer, whatever terms the payment repeats: those who ask a facilitator have compared them. No extensions. */
const char *x402_read_for(const struct x402_payment *payment, const struct x402_offer *offer, int64_t now_s, struct x402_check *ret_check,
			  struct x402_paid *ret);
/* Asks the chain what the check needs. */
enum err x402_ask_facts(const struct x402 *x, const struct x402_check *check, struct x402_paid *paid, struct x402_facts *ret) WARN_UNUSED;
/* And judges. *ret_reason NULL: good. ERR_CHAIN_DOWN: could not be learned. */
enum err x402_ask_chain(const struct x402 *x, const struct x402_check *check, struct x402_paid *paid, const char **ret_reason) WARN_UNUSED;
/* Has the token EIP-2612? Clients that are told so sign a permit, whatever the token says. */
enum err x402_token_permits(struct chain *chain, const struct address *token, bool *ret) WARN_UNUSED;
/* The part of x402_ask_chain about the approval that came along: *ret_reason NULL: good, and paid->gas says what it costs us. */
enum err x402_sponsor_ask(const struct x402 *x, const struct x402_check *check, struct x402_paid *paid, const char **ret_reason) WARN_UNUSED;

/* The refusal of an authorization that was used before. */
const char *x402_used_reason(enum x402_method method);

#endif
