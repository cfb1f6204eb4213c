/* See x402_headers.h. */
#include "pay/x402_headers.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "pay/x402_terms.h"

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *x402_base64_encode(const void *p, size_t len)
{
	const uint8_t *b = p;
	char *out = xmalloc((len + 2) / 3 * 4 + 1), *at = out;
	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t bits = (uint32_t)b[i] << 16 | (left > 1 ? (uint32_t)b[i + 1] << 8 : 0) | (left > 2 ? b[i + 2] : 0);
		*at++ = ALPHABET[bits >> 18];
		*at++ = ALPHABET[bits >> 12 & 63];
		*at++ = left > 1 ? ALPHABET[bits >> 6 & 63] : '=';
		*at++ = left > 2 ? ALPHABET[bits & 63] : '=';
	}
	*at = '\0';
	return out;
}

static int digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

char *x402_base64_decode(const char *s, size_t len, size_t *ret_len)
{
	if (len % 4 == 0 && len > 0 && s[len - 1] == '=')
		len -= s[len - 2] == '=' ? 2 : 1;
	if (len % 4 == 1)
		return NULL;
	for (size_t i = 0; i < len; i++)
		if (digit(s[i]) < 0)
			return NULL;
	char *out = xmalloc(len / 4 * 3 + 3);
	size_t n = 0;
	uint32_t bits = 0;
	int have = 0;
	for (size_t i = 0; i < len; i++) {
		bits = bits << 6 | (uint32_t)digit(s[i]);
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[n++] = (char)(bits >> have & 255);
		}
	}
	out[n] = '\0';
	*ret_len = n;
	return out;
}

static void set_text(json_t *object, const char *key, const char *value)
{
	json_object_set_new(object, key, json_must(json_string(value)));
}

json_t *x402_receipt_json(const struct x402_receipt *r)
{
	json_t *j = json_must(json_pack("{s:b}", "success", r->success));
	const char *name = r->version == 1 ? x402_network_v1(r->chain_id) : NULL;
	if (!r->success) {
		set_text(j, "errorReason", r->error_reason);
		if (r->error_message)
			set_text(j, "errorMessage", r->error_message);
	}
	if (r->payer)
		set_text(j, "payer", address_format_eip55(r->payer).s);
	set_text(j, "transaction", r->transaction ? hash_format(r->transaction).s : "");
	set_text(j, "network", name ? name : x402_network_format(r->chain_id).s);
	if (r->amount)
		set_text(j, "amount", u256_format(r->amount).s);
	if (r->extensions && r->version != 1)
		json_object_set_new(j, "extensions", json_must(json_deep_copy(r->extensions)));
	return j;
}

char *x402_receipt_header(const struct x402_receipt *r)
{
	_cleanup_json_ json_t *j = x402_receipt_json(r);
	_cleanup_free_ char *text = json_text(j);
	return x402_base64_encode(text, strlen(text));
}

json_t *x402_verify_json(const char *reason, const char *message, const struct address *payer)
{
	json_t *j = json_must(json_pack("{s:b}", "isValid", reason == NULL));
	if (reason)
		set_text(j, "invalidReason", reason);
	if (reason && message)
		set_text(j, "invalidMessage", message);
	if (payer)
		set_text(j, "payer", address_format_eip55(payer).s);
	return j;
}

int x402_reason_status(const char *reason)
{
	return strcmp(reason, "permit2_allowance_required") == 0 ? 412 : 402;
}
