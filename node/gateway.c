/* The gateway's API as the agent uses it: registration, heartbeats, offers, drain. Called by the main thread (and api_run by
 * the catalog and pusher threads); blocking, no locks. Every call of ours is a NodeRequest signed anew. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base64.h"
#include "node/agent.h"

#define API_DEADLINE_MS 10000

char *api_signature(struct agent *a, const char *method, const char *path, const void *body, size_t len)
{
	struct node_request r = { .node = a->address, .gateway = a->settings.gateway_address, .issued_at = (uint64_t)clock_wall_ms() };
	struct signature sig;
	snprintf(r.method, sizeof(r.method), "%s", method);
	snprintf(r.path, sizeof(r.path), "%s", path);
	sha256_of(body, len, &r.body_hash);
	random_bytes(r.nonce.b, sizeof(r.nonce.b));
	doc_sign(&NODE_REQUEST_TYPE, &r, (uint64_t)a->settings.chain_id, &a->key, &sig);
	_cleanup_free_ char *text = doc_write(&NODE_REQUEST_TYPE, &r, (uint64_t)a->settings.chain_id, &sig);
	char *header = xmalloc(base64url_encoded_len(strlen(text)) + 1);
	base64url_encode(text, strlen(text), header);
	return header;
}

enum err api_run(struct agent *a, const struct api_call *call, struct api_answer *ret)
{
	const char *body = call->body ? call->body : "";
	_cleanup_free_ char *url = xasprintf("%s%s", a->settings.gateway_url, call->path);
	_cleanup_free_ char *signature = call->signed_ ? api_signature(a, call->method, call->path, body, call->body_len) : NULL;
	struct net_header headers[3];
	size_t count = 0;
	headers[count++] = (struct net_header){ "Accept", "application/json" };
	if (call->body)
		headers[count++] = (struct net_header){ "Content-Type", "application/json" };
	if (signature)
		headers[count++] = (struct net_header){ "Opgate-Node", signature };
	struct net_request r = { .method = call->method, .url = url, .headers = headers, .header_count = count, .body = body,
				 .body_len = call->body_len, .deadline_ms = call->deadline_ms ? call->deadline_ms : API_DEADLINE_MS,
				 .response_max = call->response_max };
	return fetch_run(a->api, &r, NULL, call->cancel, ret);
}

/* The gateway's status as one of our errors: what can be tried again is ERR_IO. */
static enum err status_err(int status)
{
	if (status >= 200 && status < 300)
		return ERR_OK;
	if (status == 401 || status == 403 || status == 404) /* not known there, or not any more: registering says more */
		return ERR_NOT_FOUND;
	if (status == 429 || status == 408 || status >= 500)
		return ERR_IO;
	return status == 409 ? ERR_CONFLICT : ERR_BAD_REQUEST;
}

static enum err api_simple(struct agent *a, const char *event, const struct api_call *call)
{
	struct api_answer answer;
	enum err e = api_run(a, call, &answer);
	if (!e)
		e = status_err(answer.status);
	if (e && e != ERR_CANCELLED)
		LOG_EVENT(LOG_WARN, event, L_STR("error", err_info(e)->code), L_INT("status", answer.status),
			  L_STR("detail", answer.body && *answer.body ? answer.body : answer.error));
	api_answer_done(&answer);
	return e;
}

/* ---- registration ---- */

struct operator_statement {
	struct address operator_;
	int64_t issued_at;
	struct signature signature;
};

/* {"operator","issued_at","signature"}: made where the operator's key is, for this very node, gateway and URL. */
static enum err operator_file_read(const char *path, struct operator_statement *ret, struct config_why *why)
{
	char text[2048];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	if (fd >= 0)
		close(fd);
	struct { struct address operator_; int64_t issued_at; const char *signature; } raw = { .signature = "" };
	static const struct json_field fields[] = {
		{ .name = "operator", .kind = JSON_FIELD_ADDRESS, .offset = 0, .required = true },
		{ .name = "issued_at", .kind = JSON_FIELD_INT, .offset = 24, .required = true, .min = 1, .max = INT64_MAX },
		{ .name = "signature", .kind = JSON_FIELD_STR, .offset = 32, .required = true, .min = 132, .max = 132 },
	};
	_Static_assert(offsetof(__typeof__(raw), issued_at) == 24 && offsetof(__typeof__(raw), signature) == 32, "fields match");
	_cleanup_json_ json_t *j = NULL;
	struct json_why jwhy = { "cannot be read" };
	if (n < 0 || json_parse(text, (size_t)n, &j, &jwhy) || JSON_READ(j, fields, &raw, &jwhy) ||
	    signature_parse(raw.signature, &ret->signature)) {
		snprintf(why->text, sizeof(why->text), "operator_signature_file: %s", jwhy.text);
		return ERR_BAD_FIELD;
	}
	ret->operator_ = raw.operator_;
	ret->issued_at = raw.issued_at;
	return ERR_OK;
}

enum err registration_body(struct agent *a, int64_t now, char **ret, struct config_why *why)
{
	const struct node_settings *s = &a->settings;
	struct registration r = { .node = a->address, .gateway = s->gateway_address, .issued_at = (uint64_t)now };
	struct operator_statement statement;
	struct secret_key key;
	struct signature sig;
	snprintf(r.url, sizeof(r.url), "%s", a->public_url);
	if (*s->operator_key_file) {
		enum err e = secret_key_read_file(s->operator_key_file, &key);
		if (e) {
			snprintf(why->text, sizeof(why->text), "operator_key_file: %s", e == ERR_IO ? "cannot be read" : "holds no key");
			return e;
		}
		secret_key_address(&key, &r.operator_);
		doc_sign(&REGISTRATION_TYPE, &r, (uint64_t)s->chain_id, &key, &statement.signature);
		secret_key_wipe(&key);
	} else {
		enum err e = operator_file_read(s->operator_signature_file, &statement, why);
		if (e)
			return e;
		r.operator_ = statement.operator_;
		r.issued_at = (uint64_t)statement.issued_at;
		struct address signer;
		if (doc_signer(&REGISTRATION_TYPE, &r, (uint64_t)s->chain_id, &statement.signature, &signer) ||
		    !address_equal(&signer, &r.operator_)) {
			snprintf(why->text, sizeof(why->text),
				 "operator_signature_file: not the operator's signature over this node, gateway, URL and time");
			return ERR_BAD_SIGNATURE;
		}
	}
	doc_sign(&REGISTRATION_TYPE, &r, (uint64_t)s->chain_id, &a->key, &sig);
	_cleanup_free_ char *text = doc_write(&REGISTRATION_TYPE, &r, (uint64_t)s->chain_id, &sig);
	_cleanup_json_ json_t *body = json_must(json_pack("{s:s, s:s}", "registration", text, "operator_signature",
							  signature_format(&statement.signature).s));
	*ret = json_text(body);
	return ERR_OK;
}

enum err api_register(struct agent *a)
{
	struct config_why why = { "" };
	_cleanup_free_ char *body = NULL;
	enum err e = registration_body(a, clock_wall_ms(), &body, &why);
	if (e) {
		LOG_EVENT(LOG_ERROR, "node.registration_unsigned", L_STR("detail", why.text));
		return ERR_FORBIDDEN;
	}
	return api_simple(a, "node.register_failed", &(struct api_call){ .method = "POST", .path = "/v1/nodes", .body = body,
				.body_len = strlen(body), .cancel = &a->stopping });
}

/* ---- the rest ---- */

static char *node_path(const struct agent *a, const char *what)
{
	return xasprintf("/v1/nodes/%s/%s", address_format(&a->address).s, what);
}

enum err api_heartbeat(struct agent *a)
{
	_cleanup_free_ char *path = node_path(a, "heartbeat");
	return api_simple(a, "node.heartbeat_failed", &(struct api_call){ .method = "POST", .path = path, .body = "{}", .body_len = 2,
				.signed_ = true, .cancel = &a->stopping });
}

enum err api_offers(struct agent *a, const char *body)
{
	_cleanup_free_ char *path = node_path(a, "offers");
	return api_simple(a, "node.offers_failed", &(struct api_call){ .method = "PUT", .path = path, .body = body,
				.body_len = strlen(body), .signed_ = true, .cancel = &a->stopping });
}

enum err api_drain(struct agent *a)
{
	_cleanup_free_ char *path = node_path(a, "drain");
	return api_simple(a, "node.drain_failed", &(struct api_call){ .method = "POST", .path = path, .body = "{}", .body_len = 2,
				.signed_ = true, .deadline_ms = 3000 });
}
