/* See quote.h. */
#include <string.h>

#include "pay/quote.h"

/* The most it can cost at any of the candidates. */
static enum err price_ceiling(struct quote *q)
{
	q->ceiling.ask_input = q->ceiling.ask_output = AMOUNT_ZERO;
	for (size_t i = 0; i < q->candidate_count; i++) {
		q->ceiling.ask_input = amount_max(q->ceiling.ask_input, q->candidates[i].ask_input);
		q->ceiling.ask_output = amount_max(q->ceiling.ask_output, q->candidates[i].ask_output);
	}
	return price_split(&q->ceiling, (uint64_t)q->input_units_max, (uint64_t)q->output_units_max, &q->hold);
}

enum err quote_fit(struct quote *q, const struct amount *limit)
{
	enum err e;

	while (((e = price_ceiling(q)) == ERR_OVERFLOW || (!e && limit && amount_cmp(q->hold.total, *limit) > 0)) && q->candidate_count > 1)
		q->candidate_count--;
	return e;
}

static bool asks_more(const struct offer_row *o, const struct price *most)
{
	return amount_cmp(o->ask_input, most->ask_input) > 0 || amount_cmp(o->ask_output, most->ask_output) > 0;
}

enum err quote_keep(struct quote *q, struct db *db, const struct price *most, const struct asked_when *when)
{
	struct offer_row kept[CANDIDATES_MAX];
	size_t count = 0;

	for (size_t i = 0; i < q->found; i++) {
		struct offer_row *o = &kept[count];
		enum err e = ERR_OK;

		*o = q->candidates[i];
		if (asks_more(o, most))
			e = o->usd || when->changed ? db_offer_asked(db, q->version.id, &o->node, when, most->ask_input, most->ask_output, &o->ask_input, &o->ask_output)
						    : ERR_NOT_FOUND;
		if (e && e != ERR_NOT_FOUND)
			return e;
		count += !e;
	}
	if (count == 0)
		return ERR_NO_NODE;
	memcpy(q->candidates, kept, count * sizeof(kept[0]));
	q->candidate_count = q->found = count;
	return ERR_OK;
}

bool quote_varies(const struct quote *q)
{
	for (size_t i = 1; i < q->candidate_count; i++)
		if (amount_cmp(q->candidates[i].ask_input, q->candidates[0].ask_input) || amount_cmp(q->candidates[i].ask_output, q->candidates[0].ask_output))
			return true;
	return false;
}

enum err quote_find(const struct pay *pay, struct db *db, const char *ref, struct quote *q)
{
	enum err e = db_version_offered(db, ref, pay->node_timeout_ms, &q->version, q->candidates, CANDIDATES_MAX, &q->found);

	if (!e)
		q->candidate_count = q->found;
	return e;
}

enum err quote_make(const struct pay *pay, size_t body_len, int64_t max_output, struct quote *q)
{
	bool chat = !strcmp(q->version.surface, "chat");

	if (q->candidate_count == 0)
		return ERR_NO_NODE;
	if (!q->version.priced)
		return ERR_NO_RATE;
	q->ceiling = (struct price){ .royalty_input = q->version.royalty_input, .royalty_output = q->version.royalty_output, .fee_bps = pay->fee_bps };
	q->input_units_max = chat ? (int64_t)body_len : 1;
	q->output_units_max = !chat ? 0 : max_output >= 0 && max_output < q->version.max_output_units ? max_output : q->version.max_output_units;
	return quote_fit(q, NULL);
}

struct price quote_price(const struct quote *q, const struct offer_row *offer)
{
	struct price p = q->ceiling;

	p.ask_input = offer->ask_input;
	p.ask_output = offer->ask_output;
	return p;
}

/* Cheapest first (the order of candidates); among equals the one with most room. */
int quote_choose(struct pay *pay, const struct quote *q, uint32_t tried)
{
	uint32_t full = tried;

	for (;;) {
		int best = -1;
		int64_t best_running = 0;

		for (size_t i = 0; i < q->candidate_count; i++) {
			const struct offer_row *o = &q->candidates[i];
			int64_t running;

			if (full & (1u << i))
				continue;
			if (best >= 0 && (amount_cmp(o->ask_input, q->candidates[best].ask_input) || amount_cmp(o->ask_output, q->candidates[best].ask_output)))
				continue;
			running = health_running(pay->health, &o->node);
			if (best < 0 || running < best_running) {
				best = (int)i;
				best_running = running;
			}
		}
		if (best < 0 || health_acquire(pay->health, &q->candidates[best].node, q->candidates[best].capacity))
			return best;
		full |= 1u << best;
	}
}
