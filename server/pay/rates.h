/* What one OPG is worth in US dollars: one thread asks several sources, takes the median of those that agree, and writes it down for every
 * gateway (db/rates.h). Too few that agree, a jump, or silence: no new rate, and when the last one runs out, what is priced in USD is not
 * sold. Prices in OPG never depend on it. */
#ifndef OPGATE_PAY_RATES_H
#define OPGATE_PAY_RATES_H

#include "db/rates.h"
#include "pay/turns.h"

#define RATE_SOURCES_MAX 8
#define RATE_SOURCE_MAX 512

struct net;

/* "fixed:0.05", or the URL of a JSON document with a pointer (RFC 6901) to the number or decimal string in its fragment:
 * https://host/path#/data/price */
struct rate_source {
	char url[RATE_SOURCE_MAX]; /* "" when fixed */
	char pointer[RATE_SOURCE_MAX];
	struct amount fixed;
};
/* Space separated. ERR_BAD_FIELD: *ret_bad is the word that is none, or the list is longer than RATE_SOURCES_MAX. */
enum err rate_sources_parse(const char *list, struct rate_source ret[RATE_SOURCES_MAX], size_t *ret_count, char ret_bad[RATE_SOURCE_MAX]) WARN_UNUSED;

/* The value that `pointer` names in the document. ERR_BAD_JSON, ERR_NOT_FOUND, ERR_BAD_FIELD (not above 0), ERR_OVERFLOW */
enum err rate_read(const char *document, size_t len, const char *pointer, struct amount *ret) WARN_UNUSED;

/* The median of those values within deviation_bps of the median of all (of an even number: the mean of the two in the middle). More than
 * half of the `sources` asked must be among them: ERR_CONFLICT. Sorts the values. */
enum err rate_agree(struct amount *values, size_t count, size_t sources, uint32_t deviation_bps, struct amount *ret) WARN_UNUSED;

struct rates_config {
	struct net *net;
	const char *database_url;
	struct rate_source sources[RATE_SOURCES_MAX];
	size_t count;
	int64_t poll_ms, deadline_ms, max_age_ms;
	uint32_t deviation_bps, jump_bps;
	void (*log)(const char *event, int64_t number, const char *detail);
};
struct turns *rates_start(const struct rates_config *config);

#endif
