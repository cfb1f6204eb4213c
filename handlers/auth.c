/* Sign-in: nonce, EIP-4361 message, token, refresh. The nonce of an attempt is deleted before anything else is looked at,
 * so it works at most once whatever the attempt was. */
#include <string.h>

#include "auth/jwt.h"
#include "auth/siwe.h"
#include "chain/wallet.h"
#include "crypto/crypto.h"
#include "db/accounts.h"
#include "handlers/app.h"
#include "handlers/input.h"
#include "handlers/routes.h"

enum err handle_auth_nonce(struct request *req)
{
	struct siwe_nonce nonce = siwe_nonce_new();
	int64_t expires_at;
	enum err e = db_siwe_nonce_add(request_db(req), nonce.s, SIWE_LIFETIME_MS, &expires_at);
	if (e)
		return e;
	reply_header(req, "Cache-Control", "no-store");
	reply_json(req, 200, json_must(json_pack("{s:s,s:o}", "nonce", nonce.s, "expires_at", json_time(expires_at))));
	return ERR_OK;
}

static enum err token_reply(struct request *req, const struct account_row *account, int64_t signed_in_at)
{
	struct app *app = request_app(req);
	struct token_claims claims = { .address = account->address, .account = account->id, .signed_in_at = signed_in_at };
	_cleanup_free_ char *token = token_make(app->jwt_secret, app->settings->base_url, clock_wall_ms() / 1000, &claims);
	reply_header(req, "Cache-Control", "no-store");
	reply_json(req, 200, json_must(json_pack("{s:s,s:s,s:o,s:{s:s,s:s?}}", "token", token, "token_type", "Bearer",
		"expires_at", json_time(claims.expires_at * 1000), "account", "address", address_format(&account->address).s,
		"handle", account->handle[0] ? account->handle : NULL)));
	return ERR_OK;
}

struct sign_in {
	const char *message, *signature;
};
static const struct json_field sign_in_fields[] = {
	{ .name = "message", .kind = JSON_FIELD_STR, .offset = offsetof(struct sign_in, message), .required = true, .min = 1, .max = SIWE_MESSAGE_MAX },
	{ .name = "signature", .kind = JSON_FIELD_STR, .offset = offsetof(struct sign_in, signature), .required = true, .min = 1, .max = 2 + 2 * WALLET_SIGNATURE_MAX },
};

/* Uses up every nonce of the message; was `wanted`'s among them and alive? */
static enum err nonces_use(struct request *req, const struct sign_in *in, struct siwe_nonce found[SIWE_NONCES_MAX], bool live[SIWE_NONCES_MAX], size_t *ret_count)
{
	const char *texts[SIWE_NONCES_MAX];
	size_t n = siwe_nonces_find(in->message, strlen(in->message), found);
	for (size_t i = 0; i < n; i++)
		texts[i] = found[i].s;
	*ret_count = n;
	return n == 0 ? ERR_OK : db_siwe_nonces_use(request_db(req), texts, n, live);
}

/* A key's signature; or a wallet with code says itself what it signed (ERC-1271), by the chain payments are taken on: what they leave is
 * on its account. */
static enum err signature_check(struct request *req, const struct siwe_message *m, const struct sign_in *in)
{
	struct chain *chain = request_app(req)->x402.chain;
	enum err e = siwe_verify(m, in->message, strlen(in->message), in->signature);
	uint8_t bytes[WALLET_SIGNATURE_MAX];
	bool accepts = false;
	struct hash digest;
	size_t len = 0;

	if (!e)
		return ERR_OK;
	eip191_digest(in->message, strlen(in->message), &digest);
	if (chain && !wallet_signature_read(in->signature, bytes, &len) && wallet_accepts(chain, &m->address, &digest, bytes, len, WALLET_STATEMENT_GAS, &accepts))
		return request_fail(req, ERR_CHAIN_DOWN, "signature: not made by a key, and whether it is a contract's could not be asked; sign in again later");
	return accepts ? ERR_OK : request_fail(req, e, "signature: not made by the address in the message");
}

enum err handle_auth_siwe(struct request *req)
{
	struct app *app = request_app(req);
	struct sign_in in = { 0 };
	struct siwe_nonce found[SIWE_NONCES_MAX];
	bool live[SIWE_NONCES_MAX] = { false }, known = false;
	size_t count;
	struct siwe_message m;
	struct json_why why;
	struct account_row account;
	enum err e = INPUT_READ(req, sign_in_fields, &in);
	if (e)
		return e;
	if ((e = nonces_use(req, &in, found, live, &count)))
		return e;
	if ((e = siwe_parse(in.message, strlen(in.message), &m, &why)))
		return request_fail(req, e, "%s", why.text);
	for (size_t i = 0; i < count; i++)
		known = known || (live[i] && strcmp(found[i].s, m.nonce.s) == 0);
	if (!known)
		return request_fail(req, ERR_BAD_TOKEN, "message: the nonce is unknown, used or expired; get a new one from /v1/auth/nonce");
	if ((e = siwe_check(&m, app->settings->base_url, (uint64_t)app->settings->chain_id, clock_wall_ms(), &why)))
		return request_fail(req, e, "%s", why.text);
	if ((e = signature_check(req, &m, &in)))
		return e;
	if ((e = db_account_signed_in(request_db(req), &m.address, &account)))
		return e;
	return token_reply(req, &account, clock_wall_ms() / 1000);
}

enum err handle_auth_refresh(struct request *req)
{
	const struct principal *p = req->principal;
	struct account_row account;
	if (p->api_key) /* or a key could turn itself into a token, which holds every scope */
		return request_fail(req, ERR_FORBIDDEN, "only a token can be refreshed");
	if (p->signed_in_at + TOKEN_SESSION_S <= clock_wall_ms() / 1000)
		return request_fail(req, ERR_BAD_TOKEN, "the sign-in is too old to refresh");
	enum err e = db_account_get(request_db(req), p->account, &account);
	return e ? e : token_reply(req, &account, p->signed_in_at);
}
