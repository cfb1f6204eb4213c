/* See x402_siwx.h. The header is JSON; from its members the text that was signed is put together again as every CAIP-122 client
 * does it for EVM chains (EIP-4361), and that text, not the members, is what is then read and checked (auth/siwe.h). */
#include "pay/x402_siwx.h"

#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/clock.h"
#include "pay/x402_headers.h"
#include "pay/x402_terms.h"

#define NONCE 16 /* bytes of the MAC */

static enum err refuse(struct json_why *why, enum err e, const char *words)
{
	snprintf(why->text, sizeof(why->text), "sign-in-with-x: %.140s", words);
	return e;
}

/* ---- the challenge ---- */

static struct siwe_nonce nonce_at(const struct x402_siwx *s, int64_t issued_ms)
{
	struct siwe_nonce nonce;
	struct hash mac;
	uint8_t text[4 + sizeof(s->request.b) + 8] = "siwx";

	memcpy(text + 4, s->request.b, sizeof(s->request.b));
	for (int i = 0; i < 8; i++)
		text[4 + sizeof(s->request.b) + i] = (uint8_t)((uint64_t)issued_ms >> (56 - 8 * i));
	hmac_sha256(s->key->b, sizeof(s->key->b), text, sizeof(text), &mac);
	hex_encode(mac.b, NONCE, nonce.s);
	return nonce;
}

static bool nonce_ours(const struct x402_siwx *s, const char *nonce, int64_t issued_ms)
{
	const struct siwe_nonce ours = nonce_at(s, issued_ms);

	return strlen(nonce) == 2 * NONCE && crypto_equal(nonce, ours.s, 2 * NONCE);
}

#define SCHEMA \
	"{'$schema':'https://json-schema.org/draft/2020-12/schema','type':'object','properties':{'domain':{'type':'string'},'address':{'type':'string'}," \
	"'statement':{'type':'string'},'uri':{'type':'string'},'version':{'type':'string'},'chainId':{'type':'string'},'type':{'type':'string'},'nonce':{'type':'string'}," \
	"'issuedAt':{'type':'string'},'expirationTime':{'type':'string'},'resources':{'type':'array','items':{'type':'string'}},'signature':{'type':'string'}}," \
	"'required':['domain','address','uri','version','chainId','type','nonce','issuedAt','signature']}"

json_t *x402_siwx_challenge(const struct x402_siwx *s, int64_t now_ms)
{
	const int64_t issued_ms = now_ms - now_ms % X402_SIWX_STEP_MS;
	const struct siwe_nonce nonce = nonce_at(s, issued_ms);
	const char *host = strstr(s->base_url, "://");

	host = host ? host + 3 : s->base_url;
	return json_must(json_pack("{s:{s:s%,s:s,s:s,s:s,s:s,s:s,s:s,s:[s]},s:[{s:s,s:s}],s:o}", "info", "domain", host, (int)strcspn(host, "/?#"), "uri", s->uri, "version",
				   "1", "statement", "Get again what this wallet has paid for.", "nonce", nonce.s, "issuedAt", time_format_rfc3339(issued_ms).s, "expirationTime",
				   time_format_rfc3339(issued_ms + SIWE_LIFETIME_MS).s, "resources", s->uri, "supportedChains", "chainId", x402_network_format(s->chain_id).s,
				   "type", "eip191", "schema", json_quoted(SCHEMA)));
}

/* ---- the answer ---- */

static const char *member(const json_t *o, const char *name)
{
	return json_string_value(json_object_get(o, name));
}

static enum err put_line(struct buf *text, const char *label, const char *value)
{
	return value ? buf_printf(text, "\n%s%s", label, value) : ERR_OK;
}

/* The message as it was shown and signed; ERR_LIMIT when it is too long to be one. */
static enum err message_text(const json_t *o, uint64_t chain_id, struct buf *text)
{
	static const char *const labels[][2] = { { "notBefore", "Not Before: " }, { "requestId", "Request ID: " } };
	const json_t *resources = json_object_get(o, "resources"), *one;
	const char *statement = member(o, "statement");
	size_t i;
	enum err e = buf_printf(text, "%s wants you to sign in with your Ethereum account:\n%s\n\n", member(o, "domain"), member(o, "address"));

	if (!e && statement)
		e = buf_printf(text, "%s\n", statement);
	if (!e)
		e = buf_printf(text, "\nURI: %s\nVersion: %s\nChain ID: %llu\nNonce: %s\nIssued At: %s", member(o, "uri"), member(o, "version"), (unsigned long long)chain_id,
			       member(o, "nonce"), member(o, "issuedAt"));
	if (!e)
		e = put_line(text, "Expiration Time: ", member(o, "expirationTime"));
	for (i = 0; !e && i < 2; i++)
		e = put_line(text, labels[i][1], member(o, labels[i][0]));
	if (!e && json_array_size(resources) > 0)
		e = buf_puts(text, "\nResources:");
	json_array_foreach((json_t *)resources, i, one)
		if (!e)
			e = json_is_string(one) ? buf_printf(text, "\n- %s", json_string_value(one)) : ERR_BAD_FIELD;
	return e;
}

static enum err header_read(const struct x402_siwx *s, const char *header, json_t **ret, struct json_why *why)
{
	static const char *const needed[] = { "domain", "address", "uri", "version", "chainId", "type", "nonce", "issuedAt", "signature" };
	_cleanup_json_ json_t *o = NULL;
	size_t len = 0;
	_cleanup_free_ char *text = base64_decode(header, strlen(header), &len);
	struct json_why unread;

	if (!text || json_parse(text, len, &o, &unread) || !json_is_object(o))
		return refuse(why, ERR_BAD_FIELD, "the header must be base64 of a JSON object");
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (!member(o, needed[i]))
			return refuse(why, ERR_BAD_FIELD, "a member is missing");
	if (strcmp(member(o, "chainId"), x402_network_format(s->chain_id).s) != 0 || strcmp(member(o, "type"), "eip191") != 0)
		return refuse(why, ERR_BAD_FIELD, "another chain or kind of signature than was offered");
	*ret = json_incref(o);
	return ERR_OK;
}

static enum err text_check(const struct x402_siwx *s, const struct buf *text, const char *signature, int64_t now_ms, struct x402_signed_in *in, struct json_why *why)
{
	struct siwe_message m;
	struct json_why detail;
	enum err e = siwe_parse(text->data, text->len, &m, &detail);

	if (!e)
		e = siwe_check(&m, s->base_url, s->chain_id, now_ms, &detail);
	if (e)
		return refuse(why, e, detail.text);
	if (!nonce_ours(s, m.nonce.s, m.issued_at))
		return refuse(why, ERR_BAD_TOKEN, "the nonce is not one of ours");
	in->address = m.address;
	in->nonce = m.nonce;
	eip191_digest(text->data, text->len, &in->digest);
	in->by_key = siwe_verify(&m, text->data, text->len, signature) == ERR_OK;
	return ERR_OK;
}

enum err x402_siwx_read(const struct x402_siwx *s, const char *header, int64_t now_ms, struct x402_signed_in *ret, struct json_why *why)
{
	_cleanup_json_ json_t *o = NULL;
	_cleanup_buf_ struct buf text = BUF_INIT(SIWE_MESSAGE_MAX);
	enum err e = header_read(s, header, &o, why);

	if (e)
		return e;
	if (wallet_signature_read(member(o, "signature"), ret->signature, &ret->signature_len))
		return refuse(why, ERR_BAD_SIGNATURE, "the signature is not hex");
	if (message_text(o, s->chain_id, &text))
		return refuse(why, ERR_BAD_FIELD, "the message is too long or malformed");
	return text_check(s, &text, member(o, "signature"), now_ms, ret, why);
}
