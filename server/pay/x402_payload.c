/* See x402_payload.h. Reading follows JSON.parse, not our own strict parser: numbers are doubles and the last of two equal keys
 * counts, because that is what the client's own library and every other x402 server will have seen. */
#include "pay/x402_payload.h"

#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/mem.h"
#include "pay/x402_headers.h"

/* Numbers as JavaScript has them: one kind, doubles. */
static bool json_same(const json_t *a, const json_t *b)
{
	const char *key;
	json_t *value;
	if (json_is_number(a) && json_is_number(b))
		return json_number_value(a) == json_number_value(b);
	if (json_typeof(a) != json_typeof(b))
		return false;
	if (json_is_array(a)) {
		if (json_array_size(a) != json_array_size(b))
			return false;
		for (size_t i = 0; i < json_array_size(a); i++)
			if (!json_same(json_array_get(a, i), json_array_get(b, i)))
				return false;
		return true;
	}
	if (!json_is_object(a))
		return json_equal(a, b);
	if (json_object_size(a) != json_object_size(b))
		return false;
	json_object_foreach((json_t *)a, key, value) {
		const json_t *other = json_object_get(b, key);
		if (!other || !json_same(value, other))
			return false;
	}
	return true;
}

/* Everything `expected` has, `actual` has too, down to any depth of objects. */
static bool json_contains(const json_t *expected, const json_t *actual)
{
	const char *key;
	json_t *value;
	if (!actual)
		return false;
	if (!json_is_object(expected))
		return json_same(expected, actual);
	if (!json_is_object(actual))
		return false;
	json_object_foreach((json_t *)expected, key, value)
		if (!json_contains(value, json_object_get(actual, key)))
			return false;
	return true;
}

static void why_set(struct x402_why *why, const char *text)
{
	snprintf(why->text, sizeof(why->text), "%s", text);
	for (char *p = why->text; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
}

/* "Unsupported x402 version: " and the value in JavaScript's words. */
static void why_version(struct x402_why *why, const json_t *version)
{
	char text[96], number[40];
	const char *value = "[object Object]";
	if (!version) {
		value = "undefined";
	} else if (json_is_string(version)) {
		value = json_string_value(version);
	} else if (json_is_number(version)) {
		snprintf(number, sizeof(number), "%.15g", json_number_value(version));
		value = number;
	} else if (!json_is_object(version) && !json_is_array(version)) {
		value = json_is_null(version) ? "null" : json_is_true(version) ? "true" : "false";
	}
	snprintf(text, sizeof(text), "Unsupported x402 version: %s", value);
	why_set(why, text);
}

/* Falsy in JavaScript: such a payment is no payment. */
static bool is_nothing(const json_t *j)
{
	return json_is_null(j) || json_is_false(j) || (json_is_number(j) && json_number_value(j) == 0) || (json_is_string(j) && json_string_length(j) == 0);
}

/* Blanks around a header's value are not part of it, but those behind it are still there. */
static json_t *header_parse(const char *header)
{
	header = header ? header + strspn(header, " \t") : NULL;
	size_t len = header ? strlen(header) : 0, text_len;
	while (len && strchr(" \t", header[len - 1]))
		len--;
	_cleanup_free_ char *text = len ? base64_decode(header, len, &text_len) : NULL;
	json_error_t error;
	return text ? json_loadb(text, text_len, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &error) : NULL;
}

static void payment_fill(json_t *take_root, int version, struct x402_payment *ret)
{
	*ret = (struct x402_payment){ .root = take_root, .version = version };
	const json_t *accepted = json_object_get(take_root, "accepted");
	if (version == 2 && json_is_object(accepted))
		ret->accepted = accepted;
	const json_t *terms = version == 2 ? ret->accepted : take_root;
	ret->scheme = json_string_value(json_object_get(terms, "scheme"));
	ret->network = json_string_value(json_object_get(terms, "network"));
	ret->payload = json_object_get(take_root, "payload");
	ret->extensions = json_object_get(take_root, "extensions");
}

enum x402_decoded x402_payment_decode(const char *header, struct x402_payment *ret, struct x402_why *why)
{
	json_t *root = header_parse(header);
	if (!root || is_nothing(root)) {
		json_decref(root);
		why_set(why, X402_UNPAID_TEXT);
		return X402_UNPAID;
	}
	const json_t *version = json_object_get(root, "x402Version");
	double v = json_is_number(version) ? json_number_value(version) : 0;
	if (v != 1 && v != 2) {
		why_version(why, version);
		json_decref(root);
		return X402_REFUSED;
	}
	/* Version 1 in version 2's header knows no `accepted`, so it will match nothing. */
	payment_fill(root, 2, ret);
	if (v == 1)
		ret->accepted = NULL;
	return X402_DECODED;
}

enum x402_decoded x402_payment_decode_v1(const char *header, struct x402_payment *ret, struct x402_why *why)
{
	if (!header || !header[strspn(header, " \t")]) {
		why_set(why, X402_UNPAID_TEXT_V1);
		return X402_UNPAID;
	}
	json_t *root = header_parse(header);
	/* Version 1's servers do not look at x402Version: they set it. */
	if (!json_is_object(root)) {
		json_decref(root);
		why_set(why, "Invalid or malformed payment header");
		return X402_REFUSED;
	}
	payment_fill(root, 1, ret);
	return X402_DECODED;
}

enum x402_decoded x402_payment_from_json(json_t *payload, struct x402_payment *ret, struct x402_why *why)
{
	const json_t *version = json_object_get(payload, "x402Version");
	double v = json_is_number(version) ? json_number_value(version) : 0;
	if (v != 1 && v != 2) {
		why_version(why, version);
		return X402_REFUSED;
	}
	payment_fill(json_incref(payload), (int)v, ret);
	return X402_DECODED;
}

void x402_payment_done(struct x402_payment *p)
{
	json_decref(p->root);
	*p = (struct x402_payment){ .root = NULL };
}

static bool offer_matches(const struct x402_offer *offer, const json_t *accepted)
{
	_cleanup_json_ json_t *ours = x402_offer_json(offer);
	_cleanup_json_ json_t *theirs = json_copy((json_t *)accepted);
	const json_t *extra = json_object_get(ours, "extra");
	if (!json_contains(extra, json_object_get(accepted, "extra")))
		return false;
	json_object_del(ours, "extra");
	json_object_del(theirs, "extra");
	return json_same(ours, theirs);
}

int x402_payment_match(const struct x402_payment *p, const struct x402_offer *offers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (p->version == 2) {
			if (p->accepted && offer_matches(&offers[i], p->accepted))
				return (int)i;
		} else if (x402_offer_in_v1(&offers[i]) && p->scheme && p->network && strcmp(p->scheme, "exact") == 0 &&
			   strcmp(p->network, x402_network_v1(offers[i].chain_id)) == 0) {
			return (int)i;
		}
	}
	return -1;
}

const char *x402_payment_quote(const struct x402_payment *p)
{
	return json_string_value(json_object_get(json_object_get(p->accepted, "extra"), "quote"));
}

/* An extension's `info`, or the whole value where it has none. */
static const json_t *info_of(const json_t *extension)
{
	const json_t *info = json_object_get(extension, "info");
	return info ? info : extension;
}

/* Members that need not come back as they are: those of sign-in-with-x are new in every 402, so a client can only repeat old ones; and
 * the 2.11 clients send an approval instead of what we said of it, not with it. */
static json_t *info_stable(const char *key, const json_t *extension)
{
	json_t *info = json_must(json_copy((json_t *)info_of(extension)));
	if (strcmp(key, "sign-in-with-x") == 0 && json_is_object(info)) {
		json_object_del(info, "nonce");
		json_object_del(info, "issuedAt");
		json_object_del(info, "expirationTime");
	}
	if (strcmp(key, "eip2612GasSponsoring") == 0 || strcmp(key, "erc20ApprovalGasSponsoring") == 0)
		json_object_del(info, "description");
	return info;
}

bool x402_payment_extensions_ok(const struct x402_payment *p, const json_t *advertised)
{
	const char *key;
	json_t *value;
	if (p->version != 2 || !json_is_object(p->extensions))
		return true;
	json_object_foreach((json_t *)p->extensions, key, value) {
		const json_t *ours = json_object_get(advertised, key);
		if (!ours)
			continue;
		_cleanup_json_ json_t *expected = info_stable(key, ours), *actual = info_stable(key, value);
		if (!json_contains(expected, actual))
			return false;
	}
	return true;
}

const json_t *x402_payment_extension(const struct x402_payment *p, const char *key)
{
	return json_object_get(json_object_get(p->extensions, key), "info");
}

const char *x402_payment_identifier(const struct x402_payment *p)
{
	const char *id = json_string_value(json_object_get(x402_payment_extension(p, "payment-identifier"), "id"));
	size_t len = id ? strnlen(id, 129) : 0;
	if (len < 16 || len > 128)
		return NULL;
	return strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == len ? id : NULL;
}
