/* Which nodes can take a job and what it may cost at most: the hold. */
#ifndef OPGATE_PAY_QUOTE_H
#define OPGATE_PAY_QUOTE_H

#include "db/nodes.h"
#include "db/registry.h"
#include "pay/pay.h"
#include "pay/price.h"

#define CANDIDATES_MAX 16

struct quote {
	struct version_row version;
	struct offer_row candidates[CANDIDATES_MAX]; /* cheapest first */
	size_t candidate_count;
	size_t found;          /* of the candidates: those behind candidate_count were left out as too dear */
	struct price ceiling;  /* royalty, fee, and the dearest ask among the candidates */
	struct split hold;     /* at the bounds below */
	int64_t input_units_max, output_units_max;
};

/* The version that a caller names and who offers it now, if anybody: one question to the database. ERR_MODEL_NOT_FOUND. */
enum err quote_find(const struct pay *pay, struct db *db, const char *ref, struct quote *quote) WARN_UNUSED;
/* What was found, priced. max_output: what the caller asked for, or -1 for the version's maximum; cut to it either way. ERR_NO_NODE when nobody
 * offers the version; ERR_NO_RATE when its royalty is in USD and there is no good rate; ERR_OVERFLOW when the price is absurd. */
enum err quote_make(const struct pay *pay, size_t body_len, int64_t max_output, struct quote *quote) WARN_UNUSED;
/* Leaves out the dearest candidates until the hold is within the limit (NULL: can be counted at all), or one is left: anybody may offer a version at any ask, and
 * the hold covers the dearest. */
enum err quote_fit(struct quote *quote, const struct amount *limit) WARN_UNUSED;
/* For work at a price that was promised: only those who ask no more than `most`, too dear ones that were left out included, and those who
 * asked no more themselves `when` it was promised, at that. Nobody works for what somebody else asked. ERR_NO_NODE, with nothing changed: nobody. */
enum err quote_keep(struct quote *quote, struct db *db, const struct price *most, const struct asked_when *when) WARN_UNUSED;
bool quote_varies(const struct quote *quote); /* not all candidates ask the same */
/* Price of one candidate. */
struct price quote_price(const struct quote *quote, const struct offer_row *offer);
/* An index whose node has a free place, now taken (health_release gives it back); untried ones only: bit i of tried. -1: none. */
int quote_choose(struct pay *pay, const struct quote *quote, uint32_t tried);

#endif
