/* What an inference costs and who gets it. All amounts are base units; units are tokens, or calls for tensors. */
#ifndef OPGATE_PAY_PRICE_H
#define OPGATE_PAY_PRICE_H

#include "base/amount.h"

struct price { /* per unit */
	struct amount ask_input, ask_output, royalty_input, royalty_output;
	uint32_t fee_bps;
};

struct split { /* total = ask + royalty + fee */
	struct amount total, ask, royalty, fee;
};

/* ask and royalty are exact; the platform's fee is rounded up once, so the total is too. Grows with units and prices, so what is
 * captured never exceeds a hold made with the bounds. ERR_OVERFLOW. */
enum err price_split(const struct price *p, uint64_t input_units, uint64_t output_units, struct split *ret) WARN_UNUSED;

#endif
