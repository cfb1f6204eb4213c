/* What the chain says about payers before their payments are believed: code, nonce, balance, allowance, all of one block and in one
 * call. Callers that come while calls are under way share the next one, and when several came together lately the first waits a moment for
 * the others, so that under load a check costs a fraction of a call; one that comes alone waits for nobody. Called by payment checks from
 * any thread. */
#ifndef OPGATE_CHAIN_FACTS_H
#define OPGATE_CHAIN_FACTS_H

#include "base/u256.h"
#include "chain/chain.h"

#define CHAIN_FACTS_MAX 64 /* payers in one call */

struct chain_facts_line; /* where callers gather, for one endpoint and token */
struct chain_facts_line *chain_facts_new(struct chain *c, const struct address *token);
void chain_facts_free(struct chain_facts_line *line); /* nobody asks any more; accepts NULL */

struct chain_ask {
	struct address payer;
	bool permit2;      /* else EIP-3009 */
	struct hash place; /* of the nonce: itself, or the word of Permit2's bitmap */
};
struct chain_facts {
	bool known; /* false: the token or Permit2 does not answer, and nothing below says anything */
	bool has_code;
	struct u256 nonce;     /* authorizationState: 0 or 1; or the word of the bitmap */
	struct u256 balance;
	struct u256 allowance; /* for Permit2; permit2 only */
};
/* At the newest block. What comes is known; ERR_CHAIN_DOWN: not learned. */
enum err chain_facts_ask(struct chain_facts_line *line, const struct chain_ask *ask, struct chain_facts *ret) WARN_UNUSED;

/* All of them in one call, as the line makes it. At most CHAIN_FACTS_MAX. */
enum err chain_facts_read(struct chain *c, const struct address *token, const struct chain_ask *asks, size_t count, struct chain_facts *ret) WARN_UNUSED;

#endif
