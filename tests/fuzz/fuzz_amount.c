/* Fuzzes money: the parser against a judge that only looks at the text, and arithmetic against its own laws.
 * Input: decimal text, optionally '/' and a second one; the first bytes also serve as basis points. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/amount.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static bool text_is_amount(const char *s, size_t len)
{
	static const char max[] = "170141183460469231731687303715884105727";
	if (len == 0 || len > 39 || (len > 1 && s[0] == '0'))
		return false;
	for (size_t i = 0; i < len; i++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	return len < 39 || memcmp(s, max, 39) <= 0;
}

static bool parse(const char *s, size_t len, struct amount *ret)
{
	bool ok = amount_parse(s, len, ret) == ERR_OK;
	must(ok == text_is_amount(s, len));
	if (ok) {
		struct amount_str text = amount_format(*ret);
		must(strlen(text.s) == len && memcmp(text.s, s, len) == 0);
	}
	return ok;
}

static void check_pair(struct amount a, struct amount b)
{
	struct amount sum, back;
	int order = amount_cmp(a, b);
	must(order == -amount_cmp(b, a));
	must((amount_sub(a, b, &back) == ERR_OK) == (order >= 0));
	if (order >= 0) {
		must(amount_add(back, b, &sum) == ERR_OK && amount_cmp(sum, a) == 0);
	}
	if (amount_add(a, b, &sum) == ERR_OK) {
		must(amount_sub(sum, b, &back) == ERR_OK && amount_cmp(back, a) == 0);
		must(amount_cmp(sum, a) >= 0 && amount_cmp(sum, b) >= 0);
	}
	must(amount_cmp(amount_min(a, b), amount_max(a, b)) <= 0);
}

static void check_shares(struct amount a, uint32_t bps)
{
	struct amount lo, hi, gap, rest, whole;
	must(amount_share_floor(a, 10000, &whole) == ERR_OK && amount_cmp(whole, a) == 0);
	enum err e = amount_share_floor(a, bps, &lo), up = amount_share_ceil(a, bps, &hi);
	must(bps > 10000 || (e == ERR_OK && up == ERR_OK));
	must(up != ERR_OK || e == ERR_OK);
	if (up)
		return;
	must(amount_sub(hi, lo, &gap) == ERR_OK && amount_cmp(gap, amount_from_u64(1)) <= 0);
	if (bps > 10000)
		return;
	must(amount_cmp(hi, a) <= 0);
	must(amount_share_ceil(a, 10000 - bps, &rest) == ERR_OK);
	must(amount_add(lo, rest, &whole) == ERR_OK && amount_cmp(whole, a) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *s = (const char *)data;
	const char *slash = memchr(s, '/', size);
	size_t first = slash ? (size_t)(slash - s) : size;
	struct amount a, b, back;
	uint8_t word[32];
	uint32_t bps = 0;
	if (!parse(s, first, &a))
		return 0;
	amount_to_be(a, word);
	must(amount_from_be(word, &back) == ERR_OK && amount_cmp(back, a) == 0);
	for (size_t i = 0; i < first; i++)
		bps = bps * 31 + data[i];
	check_shares(a, bps);
	check_shares(a, bps % 10001);
	if (slash && parse(slash + 1, size - first - 1, &b))
		check_pair(a, b);
	return 0;
}
