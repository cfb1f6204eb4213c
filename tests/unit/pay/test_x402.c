/* What a payment is remembered as: whoever fetches its answer again must send the same, signature included. */
#include "pay/x402.h"
#include "x402_fixture.h"

static const struct members FAR = { .before = "\"4000000000\"" };

static struct x402 gateway(void)
{
	return (struct x402){ .chain_id = 84532, .token = addr(ASSET), .pay_to = addr(PAY_TO), .facilitator = addr(FACILITATOR) };
}

/* The form, in which a payment with these members is looked for. NULL: there is none. */
static json_t *form_of(int index, const struct members *m, enum sig how, struct x402_claim_key *ret_key)
{
	struct x402_offer offers[OFFER_COUNT];
	struct x402 x = gateway();
	struct x402_payment p;
	json_t *form = NULL;
	_cleanup_free_ char *signature = signature_make(index, m, how);
	_cleanup_free_ char *payload = payload_text(index, m, signature);

	offers_make(offers);
	payment_make(2, &offers[index], payload, &p);
	assert_true(x402_claim_key(&x, &p, ret_key, &form) == (form != NULL));
	x402_payment_done(&p);
	return form;
}

/* The form it is claimed in. */
static json_t *stored_of(int index, const struct members *m, enum sig how, struct x402_claim_key *ret_key)
{
	struct x402_terms terms = { .count = OFFER_COUNT };
	struct x402_payment p;
	struct x402_check check;
	struct x402_paid paid;
	_cleanup_free_ char *signature = signature_make(index, m, how);
	_cleanup_free_ char *payload = payload_text(index, m, signature);
	json_t *stored;

	offers_make(terms.offers);
	payment_make(2, &terms.offers[index], payload, &p);
	assert_null(x402_read(&p, &terms, &check, &paid));
	*ret_key = paid.key;
	stored = json_incref(paid.stored);
	x402_paid_done(&paid);
	x402_payment_done(&p);
	return stored;
}

static void test_found_as_it_was_claimed(void **state)
{
	(void)state;
	for (int i = 0; i < OFFER_COUNT; i++)
		for (enum sig how = SIG_GOOD; how <= SIG_6492; how += SIG_6492 - SIG_GOOD) { /* plain, and wrapped */
			struct x402_claim_key claimed, looked;
			_cleanup_json_ json_t *stored = stored_of(i, &FAR, how, &claimed), *form = form_of(i, &FAR, how, &looked);

			assert_true(json_equal(stored, form));
			assert_memory_equal(claimed.nonce, looked.nonce, 32);
			assert_true(address_equal(&claimed.contract, &looked.contract) && address_equal(&claimed.payer, &looked.payer) && claimed.chain_id == looked.chain_id);
		}
}

static void test_every_member_counts(void **state)
{
	static const struct members others[] = {
		{ .before = "\"4000000000\"", .value = "\"1000000000000001\"" }, { .before = "\"4000000001\"" }, { .before = "\"4000000000\"", .after = "\"1\"" },
		{ .before = "\"4000000000\"", .to = "\"" OTHER "\"" },
	};
	static const enum sig signatures[] = { SIG_HIGH_S, SIG_V01, SIG_FLIPPED, SIG_64, SIG_66, SIG_EMPTY, SIG_ZERO, SIG_KEY, SIG_CHAIN };
	struct x402_claim_key key;

	(void)state;
	for (int i = 0; i < OFFER_COUNT; i++) {
		_cleanup_json_ json_t *good = form_of(i, &FAR, SIG_GOOD, &key);

		assert_non_null(good);
		for (size_t j = 0; j < COUNT_OF(others); j++) {
			_cleanup_json_ json_t *form = form_of(i, &others[j], SIG_DEFAULTS, &key);

			assert_false(json_equal(good, form));
		}
		for (size_t j = 0; j < COUNT_OF(signatures); j++) {
			_cleanup_json_ json_t *form = form_of(i, &FAR, signatures[j], &key);

			assert_non_null(form);
			assert_false(json_equal(good, form));
		}
		assert_null(form_of(i, &FAR, SIG_NOT_HEX, &key));
		assert_null(form_of(i, &FAR, SIG_MISSING, &key));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_found_as_it_was_claimed), cmocka_unit_test(test_every_member_counts) };

	return RUN_TESTS(tests);
}
