/* Which nodes stay in a quote: none so dear that the hold leaves the limit, and never nobody. */
#include <string.h>

#include "pay/quote.h"
#include "tests/unit/unit.h"

static struct amount amount(uint64_t v)
{
	return amount_from_u64(v);
}

/* Nodes that ask this much for input, cheapest first; royalty 1000 and 10 % for the platform. */
static void quote_of(const uint64_t *asks, size_t count, struct quote *ret)
{
	*ret = (struct quote){ .ceiling = { .royalty_input = amount(1000), .fee_bps = 1000 }, .candidate_count = count, .input_units_max = 1 };
	for (size_t i = 0; i < count; i++)
		ret->candidates[i].ask_input = amount(asks[i]);
}

static void test_the_dearest_are_left_out(void **state)
{
	static const uint64_t asks[] = { 2000, 3000, 5000, 5001, UINT64_MAX };
	static const struct {
		uint64_t limit, hold;
		size_t left;
	} rows[] = {
		{ UINT64_MAX, 6602, 4 }, { 6602, 6602, 4 }, { 6601, 6600, 3 }, { 6600, 6600, 3 }, { 6599, 4400, 2 }, { 4400, 4400, 2 }, { 4399, 3300, 1 }, { 3300, 3300, 1 },
		{ 3299, 3300, 1 }, { 0, 3300, 1 }, /* the cheapest stays: the caller is told what it costs */
	};
	struct quote *q = xcalloc(1, sizeof(*q));

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct amount limit = amount(rows[i].limit);

		quote_of(asks, COUNT_OF(asks), q);
		assert_true(quote_varies(q));
		assert_int_equal(quote_fit(q, &limit), ERR_OK);
		assert_int_equal(q->candidate_count, rows[i].left);
		assert_int_equal(amount_cmp(q->hold.total, amount(rows[i].hold)), 0);
		assert_int_equal(amount_cmp(q->ceiling.ask_input, q->candidates[rows[i].left - 1].ask_input), 0);
	}
	free(q);
}

/* An ask that cannot be counted with takes its node out, and nobody else. */
static void test_absurd_asks(void **state)
{
	static const uint64_t asks[] = { 2000, 2000, 3000 };
	struct quote *q = xcalloc(1, sizeof(*q));

	(void)state;
	quote_of(asks, COUNT_OF(asks), q);
	assert_int_equal(amount_mul(amount(UINT64_MAX), UINT64_MAX / 4, &q->candidates[2].ask_input), ERR_OK);
	q->input_units_max = 1000;
	assert_int_equal(quote_fit(q, NULL), ERR_OK);
	assert_int_equal(q->candidate_count, 2);
	assert_false(quote_varies(q));
	q->candidates[0].ask_input = q->candidates[2].ask_input;
	q->candidate_count = 1;
	assert_int_equal(quote_fit(q, NULL), ERR_OVERFLOW);
	free(q);
}

/* At a promised price only those work who ask no more, those too dear to be offered beside a newcomer included. */
static void test_nobody_works_for_what_another_asked(void **state)
{
	static const uint64_t asks[] = { 100, 2000, 2001, UINT64_MAX };
	const struct asked_when now_only = { .changed = false };
	struct price most = { .ask_input = amount(2000) };
	struct quote *q = xcalloc(1, sizeof(*q));

	(void)state;
	quote_of(asks, COUNT_OF(asks), q);
	q->found = q->candidate_count;
	q->candidate_count = 1;
	assert_int_equal(quote_keep(q, NULL, &most, &now_only), ERR_OK);
	assert_int_equal(q->candidate_count, 2);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(amount_cmp(q->candidates[i].ask_input, amount(asks[i])), 0);
	q->candidates[0].ask_output = q->candidates[1].ask_output = amount(1); /* both parts count */
	assert_int_equal(quote_keep(q, NULL, &most, &now_only), ERR_NO_NODE);
	assert_int_equal(q->candidate_count, 2); /* as it was */
	free(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_the_dearest_are_left_out), cmocka_unit_test(test_absurd_asks),
					   cmocka_unit_test(test_nobody_works_for_what_another_asked) };

	return RUN_TESTS(tests);
}
