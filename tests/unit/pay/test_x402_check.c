/* Every check of exact (EIP-3009, Permit2), upto and version 1, with the recorded reason of each; digests against vectors. */
#include "x402_fixture.h"

struct row {
	const char *name;
	struct members m;
	enum sig sig;
	struct x402_facts facts;
	const char *reason; /* NULL: good */
	bool early;         /* known without the chain */
};

#define CONTRACT .payer_has_code = X402_YES
#define Q(s) "\"" s "\""
#define LOW "999999999999999"
#define WRAP64 "18446744073709551616"   /* 2^64 */
#define WRAP64_PRICE "18447744073709551616" /* 2^64 + price */
#define WRAP256_PRICE "115792089237316195423570985008687907853269984665640564039457585007913129639936" /* 2^256 + price */
#define WRAP256_NONCE "115792089237316195423570985008687907853269984665640564039469929686814031207826"
#define HAS(amount) .balance_known = true, .balance = { { amount, 0, 0, 0 } }
#define ALLOWS(amount) .allowance_known = true, .allowance = { { amount, 0, 0, 0 } }

static void run_row(int version, int index, const struct row *r)
{
	struct x402_offer offers[OFFER_COUNT], *o = &offers[index];
	struct x402_payment p;
	struct x402_auth a;
	struct x402_check c;
	offers_make(offers);
	_cleanup_free_ char *signature = signature_make(index, &r->m, r->sig);
	_cleanup_free_ char *payload = payload_text(index, &r->m, signature);
	payment_make(version, o, payload, &p);
	assert_true(x402_payment_match(&p, o, 1) == 0);
	bool early = true;
	const char *reason = x402_auth_read(&p, o->scheme, &a);
	if (!reason) {
		reason = x402_check_begin(o, &p, &a, VECTOR_NOW, &c);
		early = reason != NULL;
		if (!reason)
			reason = x402_check_finish(&c, &r->facts);
		x402_auth_done(&a);
	}
	x402_payment_done(&p);
	if (early != r->early || (reason == NULL) != (r->reason == NULL) || (reason && strcmp(reason, r->reason) != 0)) {
		print_error("version %d, %s: %s%s, expected %s%s\n", version, r->name, reason ? reason : "good", early ? " early" : "", r->reason ? r->reason : "good", r->early ? " early" : "");
		fail();
	}
}

static const struct row EIP3009[] = {
	{ "plain", PLAIN, SIG_GOOD, { 0 }, NULL, false },
	{ "all facts good", PLAIN, SIG_GOOD, { .payer_has_code = X402_NO, .asset_has_code = X402_YES, .nonce_used = X402_NO, .token_has_eip3009 = X402_YES, .simulation_ok = X402_YES, HAS(1000000000000000) }, NULL, false },
	{ "numbers as BigInt reads them", { .value = Q("0x38D7EA4C68000"), .after = Q("-0"), .before = "1767225900" }, SIG_GOOD, { 0 }, NULL, false },
	{ "blanks and zeros", { .value = Q(" 00001000000000000000\\n"), .after = Q("") }, SIG_GOOD, { 0 }, NULL, false },
	{ "lower-case addresses", { .from = Q("0x90f79bf6eb2c4f870365e785982e1f101e93b906"), .to = Q("0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc") }, SIG_GOOD, { 0 }, NULL, false },
	{ "upper-case address", { .from = Q("0x90F79BF6EB2C4F870365E785982E1F101E93B906") }, SIG_DEFAULTS, { 0 }, "invalid_exact_evm_signature", true },
	{ "wrong checksum", { .to = Q("0x3c44CdDdB6a900fa2b585dd299e03d12FA4293BC") }, SIG_DEFAULTS, { 0 }, "invalid_exact_evm_signature", true },
	{ "replay", PLAIN, SIG_GOOD, { .nonce_used = X402_YES }, "invalid_exact_evm_nonce_already_used", false },
	{ "replay of an emptied payer", PLAIN, SIG_GOOD, { .nonce_used = X402_YES, HAS(0) }, "invalid_exact_evm_nonce_already_used", false },
	{ "value lower", { .value = Q(LOW) }, SIG_GOOD, { 0 }, "invalid_exact_evm_payload_authorization_value_mismatch", true },
	{ "value higher", { .value = Q("1000000000000001") }, SIG_GOOD, { 0 }, "invalid_exact_evm_payload_authorization_value_mismatch", true },
	{ "value 0", { .value = Q("0") }, SIG_GOOD, { 0 }, "invalid_exact_evm_payload_authorization_value_mismatch", true },
	{ "value wraps 64 bits", { .value = Q(WRAP64_PRICE) }, SIG_GOOD, { 0 }, "invalid_exact_evm_payload_authorization_value_mismatch", true },
	{ "value wraps 64 bits, unsigned for", { .value = Q(WRAP64_PRICE) }, SIG_DEFAULTS, { 0 }, "invalid_exact_evm_signature", false },
	{ "value wraps 256 bits", { .value = Q(WRAP256_PRICE) }, SIG_DEFAULTS, { 0 }, "invalid_exact_evm_signature", true },
	{ "value negative", { .value = Q("-1") }, SIG_DEFAULTS, { 0 }, "invalid_exact_evm_signature", true },
	{ "value no number", { .value = Q("abc") }, SIG_DEFAULTS, { 0 }, "invalid_payload", true },
	{ "value missing", { .value = "null" }, SIG_DEFAULTS, { 0 }, "invalid_payload", true },
	{ "expired", { .before = Q("1767225599") }, SIG_GOOD, { 0 }, "invalid_exact_evm_payload_authorization_valid_before", true },
	{ "five seconds left", { .before = Q("1767225605") }, SIG_GOOD, { 0 }, "invalid_exact_evm_payload_authorization_valid_before", true },
	{ "six seconds left", { .before = Q("1767225606") }, SIG_GOOD, { 0 }, NULL, false },
	{ "validBefore 0", { .before = Q("0") }, SIG_GOOD, { 0 }, "invalid_exact_evm_payload_authorization_valid_before", true },
	{ "validBefore 2^64", { .before = Q(WRAP64) }, SIG_GOOD, { 0 }, NULL, false }, /* far away, not long ago */
	{ "validBefore wraps 256 bits", { .before = Q("115792089237316195423570985008687907853269984665640564039457584007914896865836") }, SIG_DEFAULTS, { 0 }, "invalid_exact_evm_signature", true },
	{ "valid from now", { .after = Q("1767225600") }, SIG_GOOD, { 0 }, NULL, false },
	{ "not yet valid", { .after = Q("1767225601") }, SIG_GOOD, { 0 }, "invalid_exact_evm_payload_authorization_valid_after", true },
	{ "validAfter 2^64", { .after = Q(WRAP64) }, SIG_GOOD, { 0 }, "invalid_exact_evm_payload_authorization_valid_after", true },
	{ "validAfter 2^256", { .after = Q("115792089237316195423570985008687907853269984665640564039457584007913129639936") }, SIG_DEFAULTS, { 0 }, "invalid_exact_evm_signature", true },
	{ "to somebody else", { .to = Q(OTHER) }, SIG_GOOD, { 0 }, "invalid_exact_evm_recipient_mismatch", true },
	{ "recipient before time and value", { .to = Q(OTHER), .before = Q("1"), .value = Q("1") }, SIG_GOOD, { 0 }, "invalid_exact_evm_recipient_mismatch", true },
	{ "before before after", { .before = Q("1"), .after = Q("1767225601") }, SIG_GOOD, { 0 }, "invalid_exact_evm_payload_authorization_valid_before", true },
	{ "after before value", { .value = Q("1"), .after = Q("1767225601") }, SIG_GOOD, { 0 }, "invalid_exact_evm_payload_authorization_valid_after", true },
	{ "a wrong signature masks the rest", { .to = Q(OTHER), .value = Q("1") }, SIG_KEY, { 0 }, "invalid_exact_evm_signature", false },
	{ "somebody else pays", { .from = Q(OTHER) }, SIG_GOOD, { 0 }, "invalid_exact_evm_signature", false },
	{ "wrong key", PLAIN, SIG_KEY, { 0 }, "invalid_exact_evm_signature", false },
	{ "wrong chain", PLAIN, SIG_CHAIN, { 0 }, "invalid_exact_evm_signature", false },
	{ "wrong contract", PLAIN, SIG_CONTRACT, { 0 }, "invalid_exact_evm_signature", false },
	{ "wrong domain", PLAIN, SIG_NAME, { 0 }, "invalid_exact_evm_signature", false },
	{ "flipped bit", PLAIN, SIG_FLIPPED, { 0 }, "invalid_exact_evm_signature", false },
	{ "64 bytes", PLAIN, SIG_64, { 0 }, "invalid_exact_evm_signature", false },
	{ "66 bytes", PLAIN, SIG_66, { 0 }, "invalid_exact_evm_signature", false },
	{ "0x", PLAIN, SIG_EMPTY, { 0 }, "invalid_exact_evm_signature", false },
	{ "not hex", PLAIN, SIG_NOT_HEX, { 0 }, "invalid_exact_evm_signature", true },
	{ "half a byte", PLAIN, SIG_ODD, { 0 }, "invalid_exact_evm_signature", true },
	{ "without 0x", PLAIN, SIG_NO_0X, { 0 }, "invalid_exact_evm_signature", true },
	{ "zeros", PLAIN, SIG_ZERO, { 0 }, "invalid_exact_evm_signature", false },
	{ "r = 0", PLAIN, SIG_R_ZERO, { 0 }, "invalid_exact_evm_signature", false },
	{ "s beyond the order", PLAIN, SIG_S_ORDER, { 0 }, "invalid_exact_evm_signature", false },
	{ "v = 29", PLAIN, SIG_V29, { 0 }, "invalid_exact_evm_signature", false },
	{ "EIP-2098 compact", PLAIN, SIG_COMPACT, { 0 }, "invalid_exact_evm_signature", false },
	{ "ReceiveWithAuthorization", PLAIN, SIG_RECEIVE, { 0 }, "invalid_exact_evm_signature", false },
	{ "signature missing", PLAIN, SIG_MISSING, { 0 }, "invalid_payload", true },
	{ "signature a number", PLAIN, SIG_NUMBER, { 0 }, "invalid_payload", true },
	{ "high s", PLAIN, SIG_HIGH_S, { 0 }, "invalid_exact_evm_transaction_simulation_failed", false },
	{ "high s, replayed", PLAIN, SIG_HIGH_S, { .nonce_used = X402_YES }, "invalid_exact_evm_nonce_already_used", false },
	{ "v = 0 or 1", PLAIN, SIG_V01, { 0 }, "invalid_exact_evm_transaction_simulation_failed", false },
	{ "v = 0 or 1 and high s", PLAIN, SIG_HIGH_V01, { 0 }, "invalid_exact_evm_transaction_simulation_failed", false },
	{ "nonce too short", { .nonce = Q("0x11") }, SIG_DEFAULTS, { 0 }, "invalid_exact_evm_signature", true },
	{ "nonce one digit short", { .nonce = Q("0x111111111111111111111111111111111111111111111111111111111111111") }, SIG_DEFAULTS, { 0 }, "invalid_exact_evm_signature", true },
	{ "nonce decimal", { .nonce = Q("7") }, SIG_DEFAULTS, { 0 }, "invalid_exact_evm_signature", true },
	{ "nonce missing", { .nonce = "null" }, SIG_DEFAULTS, { 0 }, "invalid_exact_evm_signature", true },
	{ "from missing", { .from = "null" }, SIG_DEFAULTS, { 0 }, "invalid_exact_evm_signature", true },
	{ "balance too low", PLAIN, SIG_GOOD, { HAS(999999999999999) }, "invalid_exact_evm_insufficient_balance", false },
	{ "balance enough", PLAIN, SIG_GOOD, { HAS(1000000000000000) }, NULL, false },
	{ "balance 2^64 and nothing below", PLAIN, SIG_GOOD, { .balance_known = true, .balance = { { 0, 1, 0, 0 } } }, NULL, false },
	{ "asset is no contract", PLAIN, SIG_GOOD, { .asset_has_code = X402_NO, .nonce_used = X402_YES }, "asset_not_deployed_contract", false },
	{ "a signature comes before the asset", PLAIN, SIG_KEY, { .asset_has_code = X402_NO }, "invalid_exact_evm_signature", false },
	{ "token without EIP-3009", PLAIN, SIG_GOOD, { .token_has_eip3009 = X402_NO, .nonce_used = X402_YES }, "invalid_exact_evm_eip3009_not_supported", false },
	{ "token of another name", PLAIN, SIG_GOOD, { .token_name_ok = X402_NO, .token_version_ok = X402_NO, HAS(0) }, "invalid_exact_evm_token_name_mismatch", false },
	{ "token of another version", PLAIN, SIG_GOOD, { .token_version_ok = X402_NO, HAS(0) }, "invalid_exact_evm_token_version_mismatch", false },
	{ "simulation fails", PLAIN, SIG_GOOD, { .simulation_ok = X402_NO, HAS(1000000000000000) }, "invalid_exact_evm_transaction_simulation_failed", false },
	{ "contract wallet", PLAIN, SIG_66, { CONTRACT, .erc1271_ok = X402_YES }, NULL, false },
	{ "contract wallet says no", PLAIN, SIG_66, { CONTRACT, .erc1271_ok = X402_NO }, "invalid_exact_evm_signature", false },
	{ "contract wallet not asked", PLAIN, SIG_66, { CONTRACT }, "invalid_exact_evm_signature", false },
	{ "delegated account: its key is no proof", PLAIN, SIG_GOOD, { CONTRACT, .erc1271_ok = X402_NO }, "invalid_exact_evm_signature", false },
	{ "contract wallet, wrong recipient", { .to = Q(OTHER) }, SIG_66, { CONTRACT, .erc1271_ok = X402_YES }, "invalid_exact_evm_recipient_mismatch", false },
	{ "contract wallet, no money", PLAIN, SIG_EMPTY, { CONTRACT, .erc1271_ok = X402_YES, HAS(1) }, "invalid_exact_evm_insufficient_balance", false },
	{ "wallet yet to be made", PLAIN, SIG_6492, { .payer_has_code = X402_NO }, "eip6492_factory_not_allowed", false },
	{ "wrapped, but it exists", PLAIN, SIG_6492, { CONTRACT, .erc1271_ok = X402_YES }, NULL, false },
	{ "wrapped badly", PLAIN, SIG_6492_BAD, { CONTRACT, .erc1271_ok = X402_YES }, "invalid_exact_evm_signature", true },
};

static const struct row PERMIT2[] = { /* exact and upto alike */
	{ "plain", PLAIN, SIG_GOOD, { 0 }, NULL, false },
	{ "any case of addresses", { .from = Q("0x90F79BF6EB2C4F870365E785982E1F101E93B906"), .token = Q("0x5fbdb2315678afecb367f032d93f642f64180aa3") }, SIG_DEFAULTS, { 0 }, NULL, false },
	{ "spender", { .spender = Q(OTHER) }, SIG_GOOD, { 0 }, "invalid_permit2_spender", true },
	{ "the token as spender", { .spender = Q(ASSET), .to = Q(OTHER) }, SIG_GOOD, { 0 }, "invalid_permit2_spender", true },
	{ "to", { .to = Q(OTHER), .before = Q("1") }, SIG_GOOD, { 0 }, "invalid_permit2_recipient_mismatch", true },
	{ "deadline", { .before = Q("1767225605"), .after = Q("1767225601") }, SIG_GOOD, { 0 }, "permit2_deadline_expired", true },
	{ "deadline in six seconds", { .before = Q("1767225606") }, SIG_GOOD, { 0 }, NULL, false },
	{ "deadline negative", { .before = Q("-1") }, SIG_DEFAULTS, { 0 }, "permit2_deadline_expired", true },
	{ "deadline 2^256", { .before = Q("115792089237316195423570985008687907853269984665640564039457584007914896865836") }, SIG_DEFAULTS, { 0 }, "invalid_permit2_signature", true },
	{ "not yet", { .after = Q("1767225601"), .value = Q("1") }, SIG_GOOD, { 0 }, "permit2_not_yet_valid", true },
	{ "from 2^64", { .after = Q(WRAP64) }, SIG_GOOD, { 0 }, "permit2_not_yet_valid", true },
	{ "amount lower", { .value = Q(LOW), .token = Q(OTHER) }, SIG_GOOD, { 0 }, "permit2_amount_mismatch", true },
	{ "amount higher", { .value = Q("1000000000000001") }, SIG_GOOD, { 0 }, "permit2_amount_mismatch", true },
	{ "amount wraps 64 bits", { .value = Q(WRAP64_PRICE) }, SIG_DEFAULTS, { 0 }, "permit2_amount_mismatch", true },
	{ "amount wraps 256 bits", { .value = Q(WRAP256_PRICE) }, SIG_DEFAULTS, { 0 }, "permit2_amount_mismatch", true },
	{ "token", { .token = Q(OTHER) }, SIG_GOOD, { 0 }, "permit2_token_mismatch", true },
	{ "nonce wraps 256 bits", { .nonce = Q(WRAP256_NONCE) }, SIG_DEFAULTS, { 0 }, "invalid_permit2_signature", true },
	{ "nonce written in hex", { .nonce = Q("0xAB54A98CEB1F0AD2") }, SIG_DEFAULTS, { 0 }, NULL, false },
	{ "another nonce", { .nonce = Q("1") }, SIG_DEFAULTS, { 0 }, "invalid_permit2_signature", false },
	{ "checks come before the signature", { .value = Q("1") }, SIG_KEY, { 0 }, "permit2_amount_mismatch", true },
	{ "wrong key", PLAIN, SIG_KEY, { 0 }, "invalid_permit2_signature", false },
	{ "wrong chain", PLAIN, SIG_CHAIN, { 0 }, "invalid_permit2_signature", false },
	{ "64 bytes", PLAIN, SIG_64, { 0 }, "invalid_permit2_signature", false },
	{ "EIP-2098 compact", PLAIN, SIG_COMPACT, { 0 }, "invalid_permit2_signature", false },
	{ "not hex", PLAIN, SIG_NOT_HEX, { 0 }, "invalid_permit2_signature", true },
	{ "high s: Permit2 takes it", PLAIN, SIG_HIGH_S, { 0 }, NULL, false },
	{ "high s, replayed", PLAIN, SIG_HIGH_S, { .nonce_used = X402_YES }, "permit2_simulation_failed", false },
	{ "v = 0 or 1", PLAIN, SIG_V01, { 0 }, "permit2_simulation_failed", false },
	{ "wallet yet to be made", PLAIN, SIG_6492, { .payer_has_code = X402_NO }, "invalid_permit2_signature", false },
	{ "asset is no contract", PLAIN, SIG_KEY, { .asset_has_code = X402_NO }, "asset_not_deployed_contract", false },
	{ "replay", PLAIN, SIG_GOOD, { .nonce_used = X402_YES }, "permit2_simulation_failed", false },
	{ "no proxy", PLAIN, SIG_GOOD, { .proxy_deployed = X402_NO, HAS(0) }, "permit2_proxy_not_deployed", false },
	{ "no money", PLAIN, SIG_GOOD, { HAS(999999999999999), ALLOWS(0) }, "permit2_insufficient_balance", false },
	{ "no allowance", PLAIN, SIG_GOOD, { HAS(1000000000000000), ALLOWS(999999999999999) }, "permit2_allowance_required", false },
	{ "allowance enough", PLAIN, SIG_GOOD, { HAS(1000000000000000), ALLOWS(1000000000000000) }, NULL, false },
	{ "allowance without end", PLAIN, SIG_GOOD, { .allowance_known = true, .allowance = { { 0, 0, 0, 1 } } }, NULL, false },
	{ "allowance brought along", PLAIN, SIG_GOOD, { .allowance_sponsored = true, HAS(1000000000000000), ALLOWS(0) }, NULL, false },
	{ "allowance brought along, but it reverts", PLAIN, SIG_GOOD, { .allowance_sponsored = true, .simulation_ok = X402_NO, HAS(1000000000000000), ALLOWS(0) }, "permit2_allowance_required", false },
	{ "contract wallet", PLAIN, SIG_66, { CONTRACT, .erc1271_ok = X402_YES }, NULL, false },
	{ "contract wallet says no", PLAIN, SIG_GOOD, { CONTRACT, .erc1271_ok = X402_NO }, "invalid_permit2_signature", false },
};

static const struct row PERMIT2_EXACT[] = {
	{ "upto's proxy", { .spender = Q("0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002") }, SIG_GOOD, { 0 }, "invalid_permit2_spender", true },
	{ "numbers as JSON numbers", { .before = "1767225900", .after = "0", .value = "1000000000000000" }, SIG_DEFAULTS, { 0 }, NULL, false },
	{ "witness missing", { .to = "null" }, SIG_DEFAULTS, { 0 }, "invalid_payload", true },
	{ "deadline no number", { .before = Q("soon") }, SIG_DEFAULTS, { 0 }, "invalid_payload", true },
};

static const struct row UPTO[] = {
	{ "exact's proxy", { .spender = Q("0x402085c248EeA27D92E8b30b2C58ed07f9E20001") }, SIG_GOOD, { 0 }, "invalid_permit2_spender", true },
	{ "another facilitator", { .facilitator = Q(OTHER), .before = Q("1") }, SIG_GOOD, { 0 }, "upto_facilitator_mismatch", true },
	{ "to comes before the facilitator", { .facilitator = Q(OTHER), .to = Q(OTHER) }, SIG_GOOD, { 0 }, "invalid_permit2_recipient_mismatch", true },
	{ "facilitator missing", { .facilitator = "null" }, SIG_DEFAULTS, { 0 }, "unsupported_payload_type", true },
	{ "a JSON number", { .before = "1767225900" }, SIG_DEFAULTS, { 0 }, "unsupported_payload_type", true },
	{ "an amount as a number", { .value = "1000000000000000" }, SIG_DEFAULTS, { 0 }, "unsupported_payload_type", true },
	{ "signature a number", PLAIN, SIG_NUMBER, { 0 }, "unsupported_payload_type", true },
};

static const struct row V1[] = {
	{ "plain", PLAIN, SIG_GOOD, { 0 }, NULL, false },
	{ "wrong key", { .to = Q(OTHER) }, SIG_KEY, { 0 }, "invalid_exact_evm_payload_signature", false },
	{ "high s", PLAIN, SIG_HIGH_S, { 0 }, "invalid_exact_evm_payload_signature", false },
	{ "v = 0 or 1", PLAIN, SIG_V01, { 0 }, "invalid_exact_evm_payload_signature", false },
	{ "to", { .to = Q(OTHER), .before = Q("1") }, SIG_GOOD, { 0 }, "invalid_exact_evm_payload_recipient_mismatch", true },
	{ "before", { .before = Q("1767225605"), .after = Q("1767225601") }, SIG_GOOD, { 0 }, "invalid_exact_evm_payload_authorization_valid_before", true },
	{ "after", { .after = Q("1767225601") }, SIG_GOOD, { HAS(0) }, "invalid_exact_evm_payload_authorization_valid_after", true },
	{ "balance comes before the value", { .value = Q("1") }, SIG_GOOD, { HAS(1) }, "insufficient_funds", false },
	{ "value too low", { .value = Q(LOW) }, SIG_GOOD, { HAS(1000000000000000) }, "invalid_exact_evm_payload_authorization_value", false },
	{ "more than asked", { .value = Q("1000000000000001") }, SIG_GOOD, { HAS(1000000000000001) }, NULL, false },
	{ "more than asked and than there is", { .value = Q("1000000000000001") }, SIG_GOOD, { HAS(1000000000000000) }, "insufficient_funds", false },
	{ "2^64 and the price is more than asked", { .value = Q(WRAP64_PRICE) }, SIG_GOOD, { HAS(1000000000000000) }, "insufficient_funds", false },
	{ "value wraps 256 bits", { .value = Q(WRAP256_PRICE) }, SIG_DEFAULTS, { 0 }, "invalid_exact_evm_payload_signature", true },
	{ "a JSON number", { .value = PRICE }, SIG_DEFAULTS, { 0 }, "invalid_payload", true },
	{ "replay", PLAIN, SIG_GOOD, { .nonce_used = X402_YES }, "invalid_transaction_state", false },
	{ "asset is no contract", PLAIN, SIG_GOOD, { .asset_has_code = X402_NO }, "invalid_transaction_state", false },
	{ "contract wallet", PLAIN, SIG_66, { CONTRACT, .erc1271_ok = X402_YES }, NULL, false },
	{ "contract wallet says no", PLAIN, SIG_GOOD, { CONTRACT, .erc1271_ok = X402_NO }, "invalid_exact_evm_payload_signature", false },
	{ "wallet yet to be made", PLAIN, SIG_6492, { 0 }, "invalid_exact_evm_payload_signature", false },
};

#define RUN_ROWS(version, offer, rows) for (size_t i = 0; i < COUNT_OF(rows); i++) run_row(version, offer, &(rows)[i])

static void test_eip3009(void **state)
{
	(void)state;
	RUN_ROWS(2, OFFER_EXACT, EIP3009);
}

static void test_permit2(void **state)
{
	(void)state;
	RUN_ROWS(2, OFFER_PERMIT2, PERMIT2);
	RUN_ROWS(2, OFFER_PERMIT2, PERMIT2_EXACT);
}

static void test_upto(void **state)
{
	(void)state;
	RUN_ROWS(2, OFFER_UPTO, PERMIT2);
	RUN_ROWS(2, OFFER_UPTO, UPTO);
}

static void test_v1(void **state)
{
	(void)state;
	RUN_ROWS(1, OFFER_EXACT, V1);
}

/* What a facilitator is asked about terms that do not fit the payment: no match stands before these. */
static void test_terms(void **state)
{
	(void)state;
	static const struct {
		int sent, asked, version;
		const char *scheme, *network, *name, *reason;
	} rows[] = {
		{ OFFER_EXACT, OFFER_EXACT, 2, "upto", "eip155:84532", "OPG", "invalid_exact_evm_scheme" },
		{ OFFER_EXACT, OFFER_EXACT, 2, NULL, NULL, "OPG", "invalid_exact_evm_scheme" },
		{ OFFER_EXACT, OFFER_EXACT, 2, "exact", "eip155:1", "", "invalid_exact_evm_missing_eip712_domain" },
		{ OFFER_EXACT, OFFER_EXACT, 2, "exact", "eip155:1", NULL, "invalid_exact_evm_missing_eip712_domain" },
		{ OFFER_EXACT, OFFER_EXACT, 2, "exact", "eip155:1", "OPG", "invalid_exact_evm_network_mismatch" },
		{ OFFER_EXACT, OFFER_EXACT, 2, "exact", NULL, "OPG", "invalid_exact_evm_network_mismatch" },
		{ OFFER_PERMIT2, OFFER_PERMIT2, 2, "upto", "eip155:84532", "OPG", "unsupported_payload_type" },
		{ OFFER_PERMIT2, OFFER_PERMIT2, 2, "exact", "eip155:1", NULL, "invalid_exact_evm_network_mismatch" },
		{ OFFER_UPTO, OFFER_UPTO, 2, "exact", "eip155:84532", "OPG", "invalid_upto_evm_scheme" },
		{ OFFER_UPTO, OFFER_UPTO, 2, "upto", "eip155:1", "OPG", "invalid_upto_evm_network_mismatch" },
		{ OFFER_EXACT, OFFER_EXACT, 1, "upto", "base-sepolia", "OPG", "unsupported_scheme" },
		{ OFFER_EXACT, OFFER_EXACT, 1, "exact", "base", "OPG", "invalid_network" },
		{ OFFER_EXACT, OFFER_PERMIT2, 2, "exact", "eip155:84532", "OPG", NULL }, /* exact may be paid by the other method */
		{ OFFER_PERMIT2, OFFER_EXACT, 2, "exact", "eip155:84532", "OPG", NULL },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct x402_offer offers[OFFER_COUNT];
		struct x402_payment p;
		struct x402_auth a;
		struct x402_check c;
		const struct members none = PLAIN;
		offers_make(offers);
		_cleanup_free_ char *signature = signature_make(rows[i].sent, &none, SIG_GOOD);
		_cleanup_free_ char *payload = payload_text(rows[i].sent, &none, signature);
		payment_make(rows[i].version, &offers[rows[i].asked], payload, &p);
		assert_null(x402_auth_read(&p, offers[rows[i].asked].scheme, &a));
		p.scheme = rows[i].scheme;
		p.network = rows[i].network;
		offers[rows[i].asked].name = rows[i].name;
		const char *reason = x402_check_begin(&offers[rows[i].asked], &p, &a, VECTOR_NOW, &c);
		if (rows[i].reason)
			assert_string_equal(reason, rows[i].reason);
		else
			assert_null(reason);
		x402_auth_done(&a);
		x402_payment_done(&p);
	}
}

static void test_shapes(void **state)
{
	(void)state;
	static const char *const payloads[] = { "null", "{}", "[]", "7", "\"x\"", "{\"authorization\":null}", "{\"authorization\":{}}", "{\"permit2Authorization\":null}",
						"{\"permit2Authorization\":{\"permitted\":7,\"witness\":[]}}", "{\"signature\":\"0x\"}", "{\"authorization\":\"x\",\"signature\":\"0x\"}" };
	struct x402_offer offers[OFFER_COUNT];
	offers_make(offers);
	for (size_t i = 0; i < COUNT_OF(payloads); i++)
		for (int version = 1; version <= 2; version++) {
			struct x402_payment p;
			struct x402_auth a;
			payment_make(version, &offers[OFFER_EXACT], payloads[i], &p);
			assert_string_equal(x402_auth_read(&p, X402_EXACT, &a), "invalid_payload");
			assert_string_equal(x402_auth_read(&p, X402_UPTO, &a), "unsupported_payload_type");
			x402_payment_done(&p);
		}
}

/* vectors-x402: digests and signatures of viem for this very token. */
static void test_vectors(void **state)
{
	(void)state;
	static const struct {
		int offer;
		struct members m;
		const char *digest, *signature;
	} rows[] = {
		{ OFFER_EXACT, { .before = Q("1893456000") }, "0x19b0f789e6515235ca31529e532f588c32eba8e0dfc5ea1f5d1d263f2e532998",
		  "0x881f3475d5001d5ad5d579650da203e6add1656b287c5e554e327a6cd55065c5634a0fdcc72544ad79d44d650c02f6be7e6acd4729cff864c5b5c32c3259527c1b" },
		{ OFFER_PERMIT2, { .before = Q("1893456000") }, "0x87f90ff7c1ed02f34f7becf86182d1b2b90a5d0f5f00c97cb24d75f583805019",
		  "0x02b341681557d1125623355e6024ab4e89639c2b99f4be5e3c1de394bdb3b4402cccb27ae2a78ef4b8660fb57a029bb8e081472ac157a93c132da7325dcfc70a1c" },
		{ OFFER_UPTO, { .before = Q("1893456000") }, "0x0a0d97fbc52eee27ae73dd832f3a20f70d0eecc79e43e3b4ae47e042f3839703",
		  "0x646041d998a55a86fc91531c72b1f2390cf47faa236b8b90743ed9a3c8a7418b15b51789f6e8316f3f6bf98bf9d74354c4ff377cb0831909dc7c737e0654d79f1c" },
	};
	struct address payer = addr(VECTOR_PAYER), who;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct hash digest;
		struct signature sig;
		digest_make(rows[i].offer, &rows[i].m, SIG_GOOD, &digest);
		assert_string_equal(hash_format(&digest).s, rows[i].digest);
		assert_int_equal(signature_parse(rows[i].signature, &sig), ERR_OK);
		assert_int_equal(x402_recover(&digest, sig.b, 65, &who), ERR_OK);
		assert_true(address_equal(&who, &payer));
		signature_twin(&sig); /* the same signer, other bytes */
		assert_int_equal(x402_recover(&digest, sig.b, 65, &who), ERR_OK);
		assert_true(address_equal(&who, &payer));
		assert_int_equal(x402_recover(&digest, sig.b, 64, &who), ERR_BAD_SIGNATURE);
	}
}

static void test_needs(void **state)
{
	(void)state;
	const struct members none = PLAIN;
	struct x402_offer offers[OFFER_COUNT];
	offers_make(offers);
	for (int i = 0; i < OFFER_COUNT; i++) {
		struct x402_payment p;
		struct x402_auth a;
		struct x402_check c;
		_cleanup_free_ char *signature = signature_make(i, &none, i == OFFER_EXACT ? SIG_6492 : SIG_GOOD);
		_cleanup_free_ char *payload = payload_text(i, &none, signature);
		payment_make(2, &offers[i], payload, &p);
		assert_null(x402_auth_read(&p, offers[i].scheme, &a));
		assert_null(x402_check_begin(&offers[i], &p, &a, VECTOR_NOW, &c));
		unsigned common = X402_NEED_PAYER_CODE | X402_NEED_ERC1271 | X402_NEED_ASSET_CODE | X402_NEED_NONCE | X402_NEED_BALANCE;
		assert_int_equal(c.needs, i == OFFER_EXACT ? common : common | X402_NEED_ALLOWANCE | X402_NEED_PROXY);
		assert_int_equal(c.signature_len, 65); /* the wrapping is off */
		struct u256 more = num("1000000000000001"), all = num(PRICE), zero = U256_ZERO;
		assert_null(x402_capture_refusal(&a, &all));
		assert_null(x402_capture_refusal(&a, &zero));
		assert_string_equal(x402_capture_refusal(&a, &more), "invalid_upto_evm_payload_settlement_exceeds_amount");
		x402_auth_done(&a);
		x402_payment_done(&p);
	}
	uint8_t word[32];
	struct u256 nonce = num("115792089237316195423570985008687907853269984665640564039457584007913129639682"); /* …ffffff02 */
	assert_int_equal(x402_permit2_bit(&nonce, word), 0x02);
	assert_int_equal(word[0], 0);
	assert_int_equal(word[31], 0xff);
	nonce = num("511");
	assert_int_equal(x402_permit2_bit(&nonce, word), 255);
	assert_int_equal(word[31], 1);
	assert_int_equal(word[30], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_eip3009), cmocka_unit_test(test_permit2), cmocka_unit_test(test_upto), cmocka_unit_test(test_v1), cmocka_unit_test(test_terms),
		cmocka_unit_test(test_shapes), cmocka_unit_test(test_vectors), cmocka_unit_test(test_needs),
	};
	return RUN_TESTS(tests);
}
