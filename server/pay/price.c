/* See price.h. */
#include "pay/price.h"

static enum err part(struct amount per_input, uint64_t input, struct amount per_output, uint64_t output, struct amount *ret)
{
	struct amount a, b;
	enum err e = amount_mul(per_input, input, &a);

	if (!e)
		e = amount_mul(per_output, output, &b);
	return e ? e : amount_add(a, b, ret);
}

enum err price_split(const struct price *p, uint64_t input_units, uint64_t output_units, struct split *ret)
{
	struct split s;
	enum err e = part(p->ask_input, input_units, p->ask_output, output_units, &s.ask);

	if (!e)
		e = part(p->royalty_input, input_units, p->royalty_output, output_units, &s.royalty);
	if (!e)
		e = amount_add(s.ask, s.royalty, &s.total);
	if (!e)
		e = amount_share_ceil(s.total, p->fee_bps, &s.fee);
	if (!e)
		e = amount_add(s.total, s.fee, &s.total);
	if (!e)
		*ret = s;
	return e;
}
