/* Deposits that could not be attributed: who holds what, and giving one to the account its sender names; and an operator's word about
 * a mismatch. */
#include <string.h>

#include "base/mem.h"
#include "chain/wallet.h"
#include "db/audit.h"
#include "db/deposits.h"
#include "handlers/app.h"
#include "handlers/input.h"
#include "handlers/routes.h"


enum err handle_deposits_held(struct request *req)
{
	const char *sender_text = request_query(req, "sender");
	struct address sender;
	int64_t after = 0;
	size_t limit = 0;
	json_t *body = NULL;
	enum err e = input_page(req, 50, 200, &limit, &after);

	if (!e && sender_text && address_parse(sender_text, &sender))
		e = request_fail(req, ERR_BAD_FIELD, "sender: must be an address");
	if (!e)
		e = db_deposits_held(request_db(req), sender_text ? &sender : NULL, after, (int)limit, &body);
	if (!e)
		reply_json(req, 200, body);
	return e;
}

struct claim {
	struct address account;
	const char *signature;
};
static const struct json_field claim_fields[] = {
	{ .name = "account", .kind = JSON_FIELD_ADDRESS, .offset = offsetof(struct claim, account), .required = true },
	{ .name = "signature", .kind = JSON_FIELD_STR, .offset = offsetof(struct claim, signature), .required = true, .min = 4, .max = 2 + 2 * WALLET_SIGNATURE_MAX },
};

/* What the sender signs: this very log, of this treasury, to this account. */
static struct hash claim_digest(uint64_t chain_id, const struct deposit_row *d, const struct address *account)
{
	struct hash domain, digest;
	struct eip712 s;

	eip712_domain("opgate", "1", chain_id, NULL, &domain);
	eip712_begin(&s, "DepositClaim(address token,address treasury,bytes32 transaction,uint64 ordinal,address account)");
	eip712_address(&s, &d->token);
	eip712_address(&s, &d->treasury);
	eip712_hash(&s, &d->tx);
	eip712_uint(&s, d->ordinal);
	eip712_address(&s, account);
	eip712_digest(&s, &domain, &digest);
	return digest;
}

/* By the sender's key, or by what the sender's own contract calls a signature (ERC-1271). */
static enum err claim_check(struct request *req, const struct deposit_row *d, const struct claim *in)
{
	struct app *app = request_app(req);
	struct hash digest = claim_digest((uint64_t)app->settings->chain_id, d, &in->account);
	uint8_t bytes[WALLET_SIGNATURE_MAX];
	struct signature sig;
	struct address signer;
	bool accepts = false;
	size_t len = 0;
	enum err e;

	if (wallet_signature_read(in->signature, bytes, &len))
		return request_fail(req, ERR_BAD_FIELD, "signature: must be 0x and hex digits");
	if (!signature_parse(in->signature, &sig) && !ecdsa_recover(&digest, &sig, &signer) && address_equal(&signer, &d->sender))
		return ERR_OK;
	e = wallet_accepts(app->chain, &d->sender, &digest, bytes, len, WALLET_STATEMENT_GAS, &accepts);
	return e || accepts ? e : request_fail(req, ERR_BAD_SIGNATURE, "signature: the sender of this deposit did not sign this claim");
}

enum err handle_deposits_claim(struct request *req)
{
	struct deposit_row d;
	struct claim in = { 0 };
	int64_t id = 0;
	enum err e = INPUT_READ(req, claim_fields, &in);

	if (!e && !input_uint(request_param(req, "id"), &id))
		e = ERR_NOT_FOUND;
	if (!e)
		e = db_deposit_get(request_db(req), id, &d);
	if (!e && address_is_zero(&in.account))
		e = request_fail(req, ERR_BAD_FIELD, "account: must not be the zero address");
	if (!e)
		e = claim_check(req, &d, &in);
	if (!e) {
		e = db_deposit_claim(request_db(req), id, &in.account);
		if (e == ERR_CONFLICT)
			return request_fail(req, e, "this deposit is not held: it is not confirmed, or was credited before");
	}
	if (!e)
		reply_json(req, 200, json_must(json_pack("{s:I, s:s, s:s}", "id", (json_int_t)id, "account", address_format(&in.account).s, "state", "credited")));
	return e;
}

/* ---- an operator's word ---- */

struct resolve {
	const char *note;
};
static const struct json_field resolve_fields[] = {
	{ .name = "note", .kind = JSON_FIELD_STR, .offset = offsetof(struct resolve, note), .required = true, .min = 1, .max = 1000 },
};

enum err handle_mismatches_resolve(struct request *req)
{
	const struct principal *p = req->principal;
	struct resolve in = { 0 };
	int64_t id = 0;
	enum err e = INPUT_READ(req, resolve_fields, &in);

	if (!e && !input_uint(request_param(req, "id"), &id))
		e = ERR_NOT_FOUND;
	if (!e)
		e = db_mismatch_resolve(request_db(req), id, p->account, in.note);
	if (!e)
		reply_json(req, 200, json_must(json_pack("{s:I, s:s, s:s}", "id", (json_int_t)id, "state", "resolved", "note", in.note)));
	return e;
}
