/* See x402_terms.h. Key order follows what the official servers send. */
#include "pay/x402_terms.h"

#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "crypto/crypto.h"
#include "pay/x402_headers.h"

/* The EVM networks the version 1 packages have names for. */
static const struct {
	const char *name;
	uint64_t chain_id;
} V1_NETWORKS[] = {
	{ "base-sepolia", 84532 }, { "base", 8453 }, { "abstract", 2741 }, { "abstract-testnet", 11124 }, { "avalanche-fuji", 43113 },
	{ "avalanche", 43114 }, { "iotex", 4689 }, { "sei", 1329 }, { "sei-testnet", 1328 }, { "polygon", 137 }, { "polygon-amoy", 80002 },
	{ "peaq", 3338 }, { "story", 1514 }, { "educhain", 41923 }, { "skale-base-sepolia", 324705682 },
};

struct x402_network_str x402_network_format(uint64_t chain_id)
{
	struct x402_network_str out;
	snprintf(out.s, sizeof(out.s), "eip155:%llu", (unsigned long long)chain_id);
	return out;
}

enum err x402_network_parse(const char *s, uint64_t *ret_chain_id)
{
	struct u256 id;
	uint64_t v;
	if (!s || strncmp(s, "eip155:", 7) != 0 || u256_parse(s + 7, strnlen(s + 7, 32), 10, &id) || u256_to_u64(&id, &v))
		return ERR_BAD_FIELD;
	if (strcmp(x402_network_format(v).s, s) != 0)
		return ERR_BAD_FIELD;
	*ret_chain_id = v;
	return ERR_OK;
}

const char *x402_network_v1(uint64_t chain_id)
{
	for (size_t i = 0; i < sizeof(V1_NETWORKS) / sizeof(V1_NETWORKS[0]); i++)
		if (V1_NETWORKS[i].chain_id == chain_id)
			return V1_NETWORKS[i].name;
	return NULL;
}

enum err x402_network_v1_parse(const char *name, uint64_t *ret_chain_id)
{
	for (size_t i = 0; name && i < sizeof(V1_NETWORKS) / sizeof(V1_NETWORKS[0]); i++)
		if (strcmp(V1_NETWORKS[i].name, name) == 0) {
			*ret_chain_id = V1_NETWORKS[i].chain_id;
			return ERR_OK;
		}
	return ERR_BAD_FIELD;
}

const char *x402_scheme_name(enum x402_scheme scheme)
{
	return scheme == X402_UPTO ? "upto" : "exact";
}

const char *x402_method_name(enum x402_method method)
{
	return method == X402_EIP3009 ? "eip3009" : "permit2";
}

static void set_text(json_t *object, const char *key, const char *value)
{
	json_object_set_new(object, key, json_must(json_string(value)));
}

static json_t *extra_json(const struct x402_offer *offer)
{
	json_t *extra = json_must(json_object());
	set_text(extra, "name", offer->name);
	set_text(extra, "version", offer->version);
	if (offer->method == X402_PERMIT2)
		set_text(extra, "assetTransferMethod", "permit2");
	if (offer->scheme == X402_UPTO)
		set_text(extra, "facilitatorAddress", address_format_eip55(&offer->facilitator).s);
	if (offer->payment_flow)
		set_text(extra, "paymentFlow", offer->payment_flow);
	if (offer->quote)
		set_text(extra, "quote", offer->quote);
	return extra;
}

json_t *x402_offer_json(const struct x402_offer *offer)
{
	json_t *j = json_must(json_object());
	set_text(j, "scheme", x402_scheme_name(offer->scheme));
	set_text(j, "network", x402_network_format(offer->chain_id).s);
	set_text(j, "amount", u256_format(&offer->amount).s);
	set_text(j, "asset", address_format_eip55(&offer->asset).s);
	set_text(j, "payTo", address_format_eip55(&offer->pay_to).s);
	json_object_set_new(j, "maxTimeoutSeconds", json_must(json_integer(offer->max_timeout_s)));
	json_object_set_new(j, "extra", extra_json(offer));
	return j;
}

bool x402_offer_in_v1(const struct x402_offer *offer)
{
	return offer->scheme == X402_EXACT && offer->method == X402_EIP3009 && x402_network_v1(offer->chain_id);
}

json_t *x402_offer_json_v1(const struct x402_offer *offer, const struct x402_resource *resource)
{
	json_t *j = json_must(json_object());
	set_text(j, "scheme", x402_scheme_name(offer->scheme));
	set_text(j, "network", x402_network_v1(offer->chain_id));
	set_text(j, "maxAmountRequired", u256_format(&offer->amount).s);
	set_text(j, "resource", resource->url);
	set_text(j, "description", resource->description);
	set_text(j, "mimeType", resource->mime_type);
	set_text(j, "payTo", address_format_eip55(&offer->pay_to).s);
	json_object_set_new(j, "maxTimeoutSeconds", json_must(json_integer(offer->max_timeout_s)));
	set_text(j, "asset", address_format_eip55(&offer->asset).s);
	if (resource->method)
		json_object_set_new(j, "outputSchema", json_must(json_pack("{s:{s:s,s:s,s:b}}", "input", "type", "http", "method", resource->method, "discoverable", 1)));
	json_object_set_new(j, "extra", extra_json(offer));
	return j;
}

/* A number of seconds as JSON has it: whole, positive, below 2^32. */
static bool read_seconds(const json_t *j, uint32_t *ret)
{
	double d = json_number_value(j);
	if (!json_is_number(j) || !(d >= 1 && d <= UINT32_MAX) || d != (double)(uint32_t)d)
		return false;
	*ret = (uint32_t)d;
	return true;
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static enum err extra_read(const json_t *extra, struct x402_offer *o)
{
	const char *method = text_of(extra, "assetTransferMethod"), *facilitator = text_of(extra, "facilitatorAddress");
	o->name = text_of(extra, "name");
	o->version = text_of(extra, "version");
	o->payment_flow = text_of(extra, "paymentFlow");
	o->quote = text_of(extra, "quote");
	o->method = o->scheme == X402_UPTO || (method && strcmp(method, "permit2") == 0) ? X402_PERMIT2 : X402_EIP3009;
	return o->scheme == X402_UPTO ? address_parse(facilitator, &o->facilitator) : ERR_OK;
}

enum err x402_offer_read(const json_t *requirements, int version, struct x402_offer *ret)
{
	struct x402_offer o = { .scheme = X402_EXACT };
	const char *scheme = text_of(requirements, "scheme"), *network = text_of(requirements, "network");
	const char *amount = text_of(requirements, version == 1 ? "maxAmountRequired" : "amount");
	if (!scheme || !amount || (strcmp(scheme, "exact") != 0 && (version == 1 || strcmp(scheme, "upto") != 0)))
		return ERR_BAD_FIELD;
	if (strcmp(scheme, "upto") == 0)
		o.scheme = X402_UPTO;
	if (version == 1 ? x402_network_v1_parse(network, &o.chain_id) : x402_network_parse(network, &o.chain_id))
		return ERR_BAD_FIELD;
	if (u256_parse(amount, strlen(amount), 10, &o.amount) || address_parse(text_of(requirements, "asset"), &o.asset) ||
	    address_parse(text_of(requirements, "payTo"), &o.pay_to) || !read_seconds(json_object_get(requirements, "maxTimeoutSeconds"), &o.max_timeout_s))
		return ERR_BAD_FIELD;
	if (extra_read(json_object_get(requirements, "extra"), &o))
		return ERR_BAD_FIELD;
	*ret = o;
	return ERR_OK;
}

char *x402_required_json(const struct x402_offer *offers, size_t count, const struct x402_resource *resource, const char *error, const json_t *extensions)
{
	_cleanup_json_ json_t *j = json_must(json_pack("{s:i,s:s,s:{s:s,s:s,s:s}}", "x402Version", 2, "error", error, "resource", "url", resource->url,
						       "description", resource->description, "mimeType", resource->mime_type));
	json_t *accepts = json_must(json_array());
	for (size_t i = 0; i < count; i++)
		json_array_append_new(accepts, x402_offer_json(&offers[i]));
	json_object_set_new(j, "accepts", accepts);
	if (extensions)
		json_object_set_new(j, "extensions", json_must(json_deep_copy(extensions)));
	return json_text(j);
}

char *x402_required_header(const struct x402_offer *offers, size_t count, const struct x402_resource *resource, const char *error, const json_t *extensions)
{
	_cleanup_free_ char *text = x402_required_json(offers, count, resource, error, extensions);
	return base64_encode(text, strlen(text));
}

char *x402_required_body_v1(const struct x402_offer *offers, size_t count, const struct x402_resource *resource, const char *error, const struct address *payer)
{
	_cleanup_json_ json_t *j = json_must(json_pack("{s:i,s:s}", "x402Version", 1, "error", error));
	json_t *accepts = json_must(json_array());
	for (size_t i = 0; i < count; i++)
		if (x402_offer_in_v1(&offers[i]))
			json_array_append_new(accepts, x402_offer_json_v1(&offers[i], resource));
	json_object_set_new(j, "accepts", accepts);
	if (payer)
		set_text(j, "payer", address_format_eip55(payer).s);
	return json_text(j);
}
