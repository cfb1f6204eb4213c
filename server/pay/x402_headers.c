/* See x402_headers.h. */
#include "pay/x402_headers.h"

#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "pay/x402_terms.h"

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
	return base64_encode(text, strlen(text));
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
