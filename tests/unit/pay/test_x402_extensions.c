/* Extensions of x402: what is declared, and what clients send: what the official packages make of our 402 (extension_vectors.h), and
 * every way it can be wrong. */
#include "base/base64.h"
#include "extension_vectors.h"
#include "pay/x402_extensions.h"
#include "pay/x402_siwx.h"
#include "pay/x402_sponsor.h"
#include "x402_fixture.h"

/* ---- what is declared ---- */

static void test_declared(void **state)
{
	(void)state;
	static const enum x402_call calls[] = { X402_CALL_CHAT, X402_CALL_COMPLETIONS, X402_CALL_TENSORS };
	for (size_t i = 0; i < COUNT_OF(calls); i++) {
		const struct x402_declared d = { .call = calls[i], .model = "author/name", .permits = true, .approvals = true };
		int64_t max_output;
		_cleanup_json_ json_t *one = x402_extensions_json(&d), *two = x402_extensions_json(&d);
		_cleanup_free_ char *text = json_text(one), *again = json_text(two);
		const json_t *input = json_object_get(json_object_get(json_object_get(one, X402_BAZAAR), "info"), "input"), *body = json_object_get(input, "body");
		assert_string_equal(text, again);
		assert_true(strlen(text) < 4096); /* it travels in a header, twice */
		assert_int_equal(json_object_size(one), 4);
		assert_string_equal(json_string_value(json_object_get(input, "method")), "POST");
		_cleanup_free_ char *example = json_text(body);
		assert_int_equal(x402_example_size(&d, &max_output), strlen(example));
		assert_int_equal(max_output, calls[i] == X402_CALL_TENSORS ? -1 : 16);
		if (calls[i] != X402_CALL_TENSORS)
			assert_string_equal(json_string_value(json_object_get(body, "model")), "author/name");
	}
	const struct x402_declared none = { .call = X402_CALL_CHAT, .model = "a/b", .identifier_required = true };
	_cleanup_json_ json_t *few = x402_extensions_json(&none);
	assert_int_equal(json_object_size(few), 2);
	assert_true(json_is_true(json_object_get(json_object_get(json_object_get(few, X402_IDENTIFIER), "info"), "required")));
}

/* ---- payment-identifier ---- */

static void payment_of(const char *text, struct x402_payment *ret)
{
	struct x402_why why;
	_cleanup_free_ char *header = base64_encode(text, strlen(text));
	assert_int_equal(x402_payment_decode(header, ret, &why), X402_DECODED);
}

static void test_identifier(void **state)
{
	(void)state;
	static const struct {
		const char *extensions;
		enum x402_identified expected;
	} rows[] = {
		{ "null", X402_ID_NONE }, { "{}", X402_ID_NONE }, { "{\"payment-identifier\":null}", X402_ID_NONE },
		{ "{\"payment-identifier\":{\"info\":{\"required\":false}}}", X402_ID_NONE },
		{ "{\"payment-identifier\":{\"info\":{\"required\":false,\"id\":\"1234567890123456\"}}}", X402_ID_GIVEN },
		{ "{\"payment-identifier\":{\"info\":{\"id\":\"123456789012345\"}}}", X402_ID_MALFORMED },
		{ "{\"payment-identifier\":{\"info\":{\"id\":\"12345678901234 6\"}}}", X402_ID_MALFORMED },
		{ "{\"payment-identifier\":{\"info\":{\"id\":\"\"}}}", X402_ID_MALFORMED }, { "{\"payment-identifier\":{\"info\":{\"id\":null}}}", X402_ID_MALFORMED },
		{ "{\"payment-identifier\":{\"info\":{\"id\":7}}}", X402_ID_MALFORMED }, { "{\"payment-identifier\":{}}", X402_ID_MALFORMED },
		{ "{\"payment-identifier\":\"1234567890123456\"}", X402_ID_MALFORMED },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct x402_payment p;
		const char *id = NULL;
		_cleanup_free_ char *text = xasprintf("{\"x402Version\":2,\"payload\":{},\"extensions\":%s}", rows[i].extensions);
		payment_of(text, &p);
		assert_int_equal(x402_identifier_read(&p, &id), rows[i].expected);
		assert_int_equal(id != NULL, rows[i].expected == X402_ID_GIVEN);
		x402_payment_done(&p);
	}
	struct x402_payment p;
	struct x402_why why;
	const char *id = NULL;
	assert_int_equal(x402_payment_decode(NAMED, &p, &why), X402_DECODED);
	assert_int_equal(x402_identifier_read(&p, &id), X402_ID_GIVEN);
	assert_string_equal(id, "pay_7d5d747be160e280504c099d984bcfe0");
	p.version = 1;
	assert_int_equal(x402_identifier_read(&p, &id), X402_ID_NONE);
	x402_payment_done(&p);
}

/* What was declared comes back as it was; only what we say of an approval may be missing. */
static void test_echo(void **state)
{
	(void)state;
	static const struct {
		const char *extensions;
		bool ok;
	} rows[] = {
		{ "{\"eip2612GasSponsoring\":{\"info\":{\"version\":\"1\",\"from\":\"0x\"}}}", true }, { "{\"eip2612GasSponsoring\":{\"info\":{\"description\":\"mine\",\"version\":\"1\"}}}", true },
		{ "{\"eip2612GasSponsoring\":{\"info\":{\"version\":\"2\"}}}", false }, { "{\"eip2612GasSponsoring\":{}}", false }, { "{\"eip2612GasSponsoring\":7}", false },
		{ "{\"erc20ApprovalGasSponsoring\":{\"info\":{\"version\":\"1\"}}}", true }, { "{\"payment-identifier\":{\"info\":{\"required\":true}}}", false },
		{ "{\"bazaar\":{\"info\":{}}}", false }, { "{\"anything\":{\"info\":{}}}", true }, { "[]", true }, { "null", true },
	};
	const struct x402_declared d = { .call = X402_CALL_TENSORS, .model = "a/b", .permits = true, .approvals = true };
	_cleanup_json_ json_t *declared = x402_extensions_json(&d);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct x402_payment p;
		_cleanup_free_ char *text = xasprintf("{\"x402Version\":2,\"payload\":{},\"extensions\":%s}", rows[i].extensions);
		payment_of(text, &p);
		assert_int_equal(x402_payment_extensions_ok(&p, declared), rows[i].ok);
		x402_payment_done(&p);
	}
	_cleanup_free_ char *all = json_text(declared), *text = xasprintf("{\"x402Version\":2,\"payload\":{},\"extensions\":%s}", all);
	struct x402_payment p;
	payment_of(text, &p);
	assert_true(x402_payment_extensions_ok(&p, declared));
	x402_payment_done(&p);
}

/* ---- approvals ---- */

/* Reads the payment, one member of its extension's info set to raw JSON (NULL: as it is). */
static const char *sponsor_read(const char *header, int offer, const char *extension, const char *member, const char *raw, struct x402_sponsor *ret)
{
	struct x402_offer offers[OFFER_COUNT];
	struct x402_payment p;
	struct x402_auth a;
	struct x402_why why;
	offers_make(offers);
	assert_int_equal(x402_payment_decode(header, &p, &why), X402_DECODED);
	assert_int_equal(x402_payment_match(&p, offers, OFFER_COUNT), offer);
	assert_null(x402_auth_read(&p, offers[offer].scheme, &a));
	if (member) {
		json_t *value = json_loads(raw, JSON_DECODE_ANY, NULL);
		assert_non_null(value);
		assert_int_equal(json_object_set_new(json_object_get(json_object_get(json_object_get(p.root, "extensions"), extension), "info"), member, value), 0);
	}
	const char *reason = x402_sponsor_read(&p, &offers[offer], &a, VECTOR_NOW, ret);
	x402_auth_done(&a);
	x402_payment_done(&p);
	return reason;
}

static void test_permits(void **state)
{
	(void)state;
	static const struct {
		const char *member, *raw, *reason; /* reason NULL: read as no permit, "" read and not signed so */
	} rows[] = {
		{ "from", "\"" OTHER "\"", "eip2612_from_mismatch" }, { "asset", "\"" OTHER "\"", "eip2612_asset_mismatch" },
		{ "spender", "\"" OTHER "\"", "eip2612_spender_not_permit2" }, { "deadline", "\"1767225605\"", "eip2612_deadline_expired" },
		{ "deadline", "\"1767225606\"", "" }, { "amount", "\"1000000000000001\"", "" }, { "nonce", "\"6\"", "" },
		{ "amount", "\"-1\"", "invalid_eip2612_extension_format" }, { "amount", "\"0x10\"", "invalid_eip2612_extension_format" },
		{ "amount", "1000", "invalid_eip2612_extension_format" }, { "nonce", "\"5 \"", "invalid_eip2612_extension_format" },
		{ "deadline", "\"115792089237316195423570985008687907853269984665640564039457584007913129639936\"", "invalid_eip2612_extension_format" },
		{ "signature", "\"0x\"", "invalid_eip2612_extension_format" }, { "signature", "\"0x1234\"", "invalid_eip2612_extension_format" },
		{ "signature", "\"zz\"", "invalid_eip2612_extension_format" }, { "signature", "{}", "invalid_eip2612_extension_format" },
		{ "version", "\"one\"", "invalid_eip2612_extension_format" }, { "version", "\"1.\"", "invalid_eip2612_extension_format" },
		{ "from", "\"0x12\"", "invalid_eip2612_extension_format" }, { "from", "null", NULL }, { "nonce", "\"\"", NULL }, { "amount", "0", NULL }, { "signature", "false", NULL },
	};
	struct x402_sponsor s;
	assert_null(sponsor_read(PERMIT_UPTO, OFFER_UPTO, X402_EIP2612, NULL, NULL, &s));
	assert_int_equal(s.by, X402_BY_PERMIT);
	assert_true(s.key_signed);
	assert_null(sponsor_read(PERMIT_EXACT, OFFER_PERMIT2, X402_EIP2612, NULL, NULL, &s));
	assert_true(s.by == X402_BY_PERMIT && s.key_signed);
	assert_string_equal(u256_format(&s.permit.value).s, PRICE);
	assert_string_equal(u256_format(&s.nonce).s, "5");
	assert_string_equal(u256_format(&s.permit.deadline).s, "1767225900");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const char *reason = sponsor_read(PERMIT_EXACT, OFFER_PERMIT2, X402_EIP2612, rows[i].member, rows[i].raw, &s);
		if (!rows[i].reason || !*rows[i].reason) {
			assert_null(reason);
			assert_int_equal(s.by, rows[i].reason ? X402_BY_PERMIT : X402_UNSPONSORED);
			assert_true(!rows[i].reason || !s.key_signed);
		} else {
			assert_non_null(reason);
			assert_string_equal(reason, rows[i].reason);
		}
	}
}

static const struct tx APPROVE = { .chain_id = 84532, .nonce = 3, .max_priority_fee = 1000000000, .max_fee = 2000000000, .gas = 70000 };

/* A signed approval as raw JSON; `spoil` changes the transaction before it is signed, or its calldata. */
static char *approval_make(void (*spoil)(struct tx *tx, struct buf *data), const char *key_text)
{
	struct buf data = BUF_INIT(256), raw = BUF_INIT(1024);
	struct tx tx = APPROVE;
	struct secret_key key;
	struct hash hash;
	uint8_t all[32];
	memset(all, 0xff, sizeof(all));
	struct u256 max = u256_from_be(all);
	tx.to = addr(ASSET);
	assert_int_equal(calls_erc20_approve(&X402_PERMIT2_CONTRACT, &max, &data), ERR_OK);
	if (spoil)
		spoil(&tx, &data);
	tx.data = (const uint8_t *)data.data;
	tx.data_len = data.len;
	assert_int_equal(secret_key_parse(key_text, &key), ERR_OK);
	assert_int_equal(tx_sign(&tx, &key, &raw, &hash), ERR_OK);
	_cleanup_free_ char *hex = xmalloc(2 * raw.len + 1);
	hex_encode(raw.data, raw.len, hex);
	buf_done(&data);
	buf_done(&raw);
	return xasprintf("\"0x%s\"", hex);
}

static void wrong_target(struct tx *tx, struct buf *data) { (void)data; tx->to = addr(OTHER); }
static void wrong_chain(struct tx *tx, struct buf *data) { (void)data; tx->chain_id = 1; }
static void with_value(struct tx *tx, struct buf *data) { (void)data; tx->value = u256_from_u64(1); }
static void much_gas(struct tx *tx, struct buf *data) { (void)data; tx->gas = X402_APPROVE_GAS_MAX + 1; }
static void most_gas(struct tx *tx, struct buf *data) { (void)data; tx->gas = X402_APPROVE_GAS_MAX; }
static void wrong_selector(struct tx *tx, struct buf *data) { (void)tx; data->data[0] ^= 1; }
static void wrong_spender(struct tx *tx, struct buf *data) { (void)tx; data->data[4 + 31] ^= 1; }
static void dirty_spender(struct tx *tx, struct buf *data) { (void)tx; data->data[4] = 1; }
static void wrong_amount(struct tx *tx, struct buf *data) { (void)tx; data->data[4 + 32] ^= 1; }
static void one_more(struct tx *tx, struct buf *data) { (void)tx; assert_int_equal(buf_append(data, "", 1), ERR_OK); }
static void one_less(struct tx *tx, struct buf *data) { (void)tx; data->len--; }
static void no_data(struct tx *tx, struct buf *data) { (void)tx; data->len = 0; }

static void test_approval_transactions(void **state)
{
	(void)state;
	static const struct {
		void (*spoil)(struct tx *tx, struct buf *data);
		const char *reason;
	} rows[] = {
		{ NULL, NULL }, { most_gas, NULL }, { wrong_target, "erc20_approval_tx_wrong_target" }, { wrong_selector, "erc20_approval_tx_wrong_selector" },
		{ no_data, "erc20_approval_tx_wrong_selector" }, { wrong_spender, "erc20_approval_tx_wrong_spender" }, { dirty_spender, "erc20_approval_tx_invalid_calldata" },
		{ wrong_amount, "erc20_approval_tx_invalid_calldata" }, { one_more, "erc20_approval_tx_invalid_calldata" }, { one_less, "erc20_approval_tx_invalid_calldata" },
		{ wrong_chain, "erc20_approval_tx_failed" }, { with_value, "erc20_approval_tx_failed" }, { much_gas, "erc20_approval_tx_failed" },
	};
	struct x402_sponsor s;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		_cleanup_free_ char *raw = approval_make(rows[i].spoil, VECTOR_KEY);
		const char *reason = sponsor_read(APPROVAL_EXACT, OFFER_PERMIT2, X402_ERC20_APPROVAL, "signedTransaction", raw, &s);
		if (rows[i].reason) {
			assert_non_null(reason);
			assert_string_equal(reason, rows[i].reason);
			continue;
		}
		assert_null(reason);
		assert_int_equal(s.by, X402_BY_APPROVAL);
		x402_sponsor_done(&s);
	}
	_cleanup_free_ char *stranger = approval_make(NULL, "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d");
	assert_string_equal(sponsor_read(APPROVAL_EXACT, OFFER_PERMIT2, X402_ERC20_APPROVAL, "signedTransaction", stranger, &s), "erc20_approval_tx_signer_mismatch");
}

static void test_approvals(void **state)
{
	(void)state;
	static const struct {
		const char *member, *raw, *reason;
	} rows[] = {
		{ "from", "\"" OTHER "\"", "erc20_approval_from_mismatch" }, { "asset", "\"" OTHER "\"", "erc20_approval_asset_mismatch" },
		{ "spender", "\"" OTHER "\"", "erc20_approval_spender_not_permit2" }, { "amount", "\"" PRICE "\"", "erc20_approval_tx_invalid_calldata" },
		{ "amount", "\"all\"", "invalid_erc20_approval_extension_format" }, { "version", "1", "invalid_erc20_approval_extension_format" },
		{ "signedTransaction", "\"f00d\"", "invalid_erc20_approval_extension_format" }, { "signedTransaction", "\"0xf0d\"", "erc20_approval_tx_parse_failed" },
		{ "signedTransaction", "\"0x02\"", "erc20_approval_tx_parse_failed" }, { "signedTransaction", "\"0x02c0\"", "erc20_approval_tx_parse_failed" },
		{ "signedTransaction", "\"\"", NULL }, { "from", "null", NULL },
	};
	struct x402_sponsor s;
	assert_null(sponsor_read(APPROVAL_EXACT, OFFER_PERMIT2, X402_ERC20_APPROVAL, NULL, NULL, &s));
	assert_int_equal(s.by, X402_BY_APPROVAL);
	assert_true(s.tx.nonce == 3 && s.tx.gas == 70000 && s.tx.max_fee == 2000000000 && s.tx.chain_id == 84532);
	x402_sponsor_done(&s);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const char *reason = sponsor_read(APPROVAL_EXACT, OFFER_PERMIT2, X402_ERC20_APPROVAL, rows[i].member, rows[i].raw, &s);
		if (rows[i].reason)
			assert_string_equal(reason ? reason : "none", rows[i].reason);
		else
			assert_true(!reason && s.by == X402_UNSPONSORED);
	}
}

/* ---- sign-in-with-x ---- */

static const struct hash KEY = { { 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7 } };
static const struct x402_siwx SIWX = { .base_url = "http://127.0.0.1:8080", .uri = "http://127.0.0.1:8080/v1/chat/completions", .chain_id = 84532, .request = { { 9 } }, .key = &KEY };
#define NOW_MS (VECTOR_NOW * INT64_C(1000))

static void test_sign_in(void **state)
{
	(void)state;
	struct x402_signed_in in;
	struct json_why why;
	struct address payer = addr(VECTOR_PAYER);
	static const char *const headers[] = { SIWX_HEADER, SIWX_BARE };
	for (size_t i = 0; i < COUNT_OF(headers); i++) {
		assert_int_equal(x402_siwx_read(&SIWX, headers[i], NOW_MS + 1000, &in, &why), ERR_OK);
		assert_true(in.by_key && address_equal(&in.address, &payer));
		assert_int_equal(in.signature_len, 65);
		assert_int_equal(x402_siwx_read(&SIWX, headers[i], NOW_MS + SIWE_LIFETIME_MS, &in, &why), ERR_BAD_TOKEN);
		assert_int_equal(x402_siwx_read(&SIWX, headers[i], NOW_MS - SIWE_CLOCK_SKEW_MS - 1, &in, &why), ERR_BAD_TOKEN);
	}
	struct hash other_key = { { 8 } };
	struct x402_siwx other = SIWX;
	other.key = &other_key;
	assert_int_equal(x402_siwx_read(&other, SIWX_HEADER, NOW_MS, &in, &why), ERR_BAD_TOKEN); /* not our nonce */
	other = SIWX;
	other.request.b[0] ^= 1;
	assert_int_equal(x402_siwx_read(&other, SIWX_HEADER, NOW_MS, &in, &why), ERR_BAD_TOKEN); /* for another request */
	other = SIWX;
	other.base_url = "http://127.0.0.1:8081";
	assert_int_equal(x402_siwx_read(&other, SIWX_HEADER, NOW_MS, &in, &why), ERR_BAD_SIGNATURE);
	other = SIWX;
	other.chain_id = 1;
	assert_int_equal(x402_siwx_read(&other, SIWX_HEADER, NOW_MS, &in, &why), ERR_BAD_FIELD);
}

static enum err changed(const char *member, json_t *take_value, struct x402_signed_in *in)
{
	struct json_why why;
	_cleanup_json_ json_t *o = json_loads(SIWX_JSON, 0, NULL);
	if (take_value)
		json_object_set_new(o, member, take_value);
	else
		json_object_del(o, member);
	_cleanup_free_ char *text = json_text(o), *header = base64_encode(text, strlen(text));
	return x402_siwx_read(&SIWX, header, NOW_MS, in, &why);
}

static void test_sign_in_changed(void **state)
{
	(void)state;
	static const struct {
		const char *member, *value; /* NULL: left out */
		enum err expected;          /* ERR_OK: read, but not signed by the key */
	} rows[] = {
		{ "statement", "Give me all.", ERR_OK }, { "statement", NULL, ERR_OK }, { "statement", "a\n\nURI: http://127.0.0.1:8080/\n", ERR_BAD_FIELD },
		{ "address", OTHER, ERR_OK }, { "address", "0x12", ERR_BAD_FIELD }, { "domain", "elsewhere.example", ERR_BAD_SIGNATURE }, { "domain", NULL, ERR_BAD_FIELD },
		{ "uri", "http://elsewhere.example/", ERR_BAD_SIGNATURE }, { "uri", "http://127.0.0.1:8080/v1/completions", ERR_OK }, { "uri", "http://127.0.0.1:80801/", ERR_BAD_SIGNATURE },
		{ "version", "2", ERR_BAD_FIELD }, { "chainId", "eip155:1", ERR_BAD_FIELD }, { "chainId", "solana:x", ERR_BAD_FIELD }, { "type", "ed25519", ERR_BAD_FIELD },
		{ "nonce", "01020304050607080000000000000000", ERR_BAD_TOKEN }, { "nonce", "short", ERR_BAD_FIELD }, { "nonce", NULL, ERR_BAD_FIELD },
		{ "issuedAt", "2026-01-01T00:00:00.001Z", ERR_BAD_TOKEN }, { "issuedAt", "today", ERR_BAD_FIELD }, { "expirationTime", "2026-01-01T00:05:00.001Z", ERR_BAD_TOKEN },
		{ "expirationTime", "2025-12-31T23:59:59.000Z", ERR_BAD_TOKEN }, { "expirationTime", NULL, ERR_OK }, { "notBefore", "2026-01-01T00:00:01.000Z", ERR_BAD_TOKEN },
		{ "requestId", "r", ERR_OK }, { "signature", "0x1234", ERR_OK }, { "signature", "1234", ERR_BAD_SIGNATURE }, { "signature", "0x123", ERR_BAD_SIGNATURE }, { "signature", NULL, ERR_BAD_FIELD },
	};
	struct x402_signed_in in;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		enum err e = changed(rows[i].member, rows[i].value ? json_string(rows[i].value) : NULL, &in);
		assert_int_equal(e, rows[i].expected);
		assert_true(e || !in.by_key);
	}
	assert_int_equal(changed("resources", json_pack("[i]", 1), &in), ERR_BAD_FIELD);
	assert_int_equal(changed("domain", json_integer(1), &in), ERR_BAD_FIELD);
	_cleanup_free_ char *endless = xmalloc(SIWE_MESSAGE_MAX + 1);
	memset(endless, 'x', SIWE_MESSAGE_MAX);
	endless[SIWE_MESSAGE_MAX] = '\0';
	assert_int_equal(changed("statement", json_string(endless), &in), ERR_BAD_FIELD);
	struct json_why why;
	static const char *const headers[] = { "", "!!!", "bnVsbA==", "W10=", "e30=", "eyJhIjoxfSA=x" };
	for (size_t i = 0; i < COUNT_OF(headers); i++)
		assert_int_equal(x402_siwx_read(&SIWX, headers[i], NOW_MS, &in, &why), ERR_BAD_FIELD);
}

/* Our own challenge is one of ours: the same for the same request within a step of time, another for any other. */
static void test_challenge(void **state)
{
	(void)state;
	struct x402_siwx elsewhere = SIWX;
	elsewhere.request.b[31] ^= 1;
	_cleanup_json_ json_t *one = x402_siwx_challenge(&SIWX, NOW_MS + 1), *two = x402_siwx_challenge(&SIWX, NOW_MS + X402_SIWX_STEP_MS - 1),
			      *later = x402_siwx_challenge(&SIWX, NOW_MS + X402_SIWX_STEP_MS), *other = x402_siwx_challenge(&elsewhere, NOW_MS + 1);
	const json_t *info = json_object_get(one, "info"), *chain = json_array_get(json_object_get(one, "supportedChains"), 0);
	struct x402_signed_in in;
	struct json_why why;
	assert_string_equal(json_string_value(json_object_get(info, "domain")), "127.0.0.1:8080");
	assert_string_equal(json_string_value(json_object_get(chain, "chainId")), "eip155:84532");
	assert_true(json_equal(one, two) && !json_equal(one, later));
	assert_string_not_equal(json_string_value(json_object_get(info, "nonce")), json_string_value(json_object_get(json_object_get(later, "info"), "nonce")));
	assert_string_not_equal(json_string_value(json_object_get(info, "nonce")), json_string_value(json_object_get(json_object_get(other, "info"), "nonce")));
	_cleanup_json_ json_t *answer = json_deep_copy(info);
	json_object_update(answer, (json_t *)chain);
	json_object_set_new(answer, "address", json_string(VECTOR_PAYER));
	json_object_set_new(answer, "signature", json_string("0x12"));
	_cleanup_free_ char *text = json_text(answer), *header = base64_encode(text, strlen(text));
	assert_int_equal(x402_siwx_read(&SIWX, header, NOW_MS, &in, &why), ERR_OK);
	assert_int_equal(x402_siwx_read(&SIWX, header, NOW_MS + SIWE_LIFETIME_MS - 1, &in, &why), ERR_OK);
	assert_int_equal(x402_siwx_read(&elsewhere, header, NOW_MS, &in, &why), ERR_BAD_TOKEN);
	assert_int_equal(x402_siwx_read(&SIWX, header, NOW_MS, &in, &why), ERR_OK);
	assert_false(in.by_key);
	assert_string_equal(in.nonce.s, json_string_value(json_object_get(info, "nonce")));
}

int main(void)
{
	crypto_init();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_declared), cmocka_unit_test(test_identifier), cmocka_unit_test(test_echo), cmocka_unit_test(test_permits), cmocka_unit_test(test_approval_transactions),
		cmocka_unit_test(test_approvals), cmocka_unit_test(test_sign_in), cmocka_unit_test(test_sign_in_changed), cmocka_unit_test(test_challenge),
	};
	return RUN_TESTS(tests);
}
