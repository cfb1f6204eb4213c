/* The one error table. Every function that can fail returns enum err; every error a client sees comes from a row here.
 * Columns: symbol, stable wire code, HTTP status, may the caller retry, hint for the caller. Nothing in this table charges:
 * what an ended job costs is the charging table's business (pay/charging.h). */
#ifndef OPGATE_BASE_ERR_H
#define OPGATE_BASE_ERR_H

#include <stdbool.h>

#define WARN_UNUSED __attribute__((warn_unused_result))

#define ERR_TABLE(X) \
	/* caller's fault */ \
	X(BAD_REQUEST, "bad_request", 400, false, "fix the request") \
	X(BAD_JSON, "bad_json", 400, false, "send one JSON value: UTF-8, no duplicate keys, no trailing bytes") \
	X(BAD_FIELD, "bad_field", 400, false, "fix the named field") \
	X(UNKNOWN_FIELD, "unknown_field", 400, false, "remove the named field") \
	X(UNAUTHENTICATED, "unauthenticated", 401, false, "send Authorization: Bearer with an API key or a token from /v1/auth/siwe") \
	X(BAD_KEY, "invalid_api_key", 401, false, "the key is unknown, revoked, expired or mistyped") \
	X(BAD_TOKEN, "invalid_token", 401, false, "sign in again") \
	X(BAD_SIGNATURE, "bad_signature", 401, false, "sign exactly the stated data with the stated key") \
	X(INSUFFICIENT_FUNDS, "insufficient_funds", 402, false, "deposit OPG, then try again") \
	X(PAYMENT_REQUIRED, "payment_required", 402, false, "pay with one of the offered terms (x402), or send an API key") \
	X(PAYMENT_FAILED, "payment_failed", 402, false, "the payment was not taken; sign a new one") \
	X(PAYMENT_PENDING, "payment_pending", 503, true, "do not pay again; ask the status link") \
	X(FORBIDDEN, "forbidden", 403, false, "this key or account may not do that") \
	X(NOT_FOUND, "not_found", 404, false, "check the path") \
	X(MODEL_NOT_FOUND, "model_not_found", 404, false, "GET /v1/models lists what exists") \
	X(METHOD_NOT_ALLOWED, "method_not_allowed", 405, false, "see the Allow header") \
	X(REQUEST_TIMEOUT, "request_timeout", 408, true, "send the whole request sooner") \
	X(CONFLICT, "conflict", 409, false, "the resource is not in a state that allows this") \
	X(IN_PROGRESS, "in_progress", 409, true, "the first request with this Idempotency-Key is still running") \
	X(LENGTH_REQUIRED, "length_required", 411, false, "send Content-Length") \
	X(TOO_LARGE, "too_large", 413, false, "send less") \
	X(URI_TOO_LONG, "uri_too_long", 414, false, "shorten the URL") \
	X(UNSUPPORTED_MEDIA, "unsupported_media_type", 415, false, "send the documented content type") \
	X(KEY_REUSED, "idempotency_key_reused", 422, false, "use a new Idempotency-Key for another request") \
	X(UNPROCESSABLE, "unprocessable", 422, false, "the request is well-formed but cannot be done") \
	X(RATE_LIMITED, "rate_limited", 429, true, "slow down") \
	X(HEADERS_TOO_LARGE, "headers_too_large", 431, false, "send smaller headers") \
	/* ours or a node's, transient */ \
	X(NODE_FAILED, "node_failed", 502, true, "the node failed; nothing was charged") \
	X(BAD_RECEIPT, "bad_receipt", 502, true, "the node's receipt did not verify; nothing was charged") \
	X(NO_NODE, "no_node", 503, true, "no node serves this model right now") \
	X(NO_RATE, "no_rate", 503, true, "its price is in USD and there is no current rate; try again after Retry-After seconds") \
	X(OVERLOADED, "overloaded", 503, true, "try again after Retry-After seconds") \
	X(DB_DOWN, "database_unavailable", 503, true, "try again after Retry-After seconds") \
	X(CHAIN_DOWN, "chain_unavailable", 503, true, "try again after Retry-After seconds") \
	X(STOPPING, "stopping", 503, true, "this gateway is shutting down") \
	X(SETTLEMENT_STOPPED, "settlement_stopped", 503, true, "reconciliation failed; paid work is stopped until it is resolved") \
	X(DEADLINE, "deadline_exceeded", 504, true, "the deadline passed; nothing was charged") \
	/* ours, final */ \
	X(INTERNAL, "internal_error", 500, false, "report the request id") \
	X(HTTP_VERSION, "http_version_not_supported", 505, false, "use HTTP/1.1") \
	/* never on the wire: between modules */ \
	X(LIMIT, "limit", 500, false, "a bound was reached") \
	X(OVERFLOW, "overflow", 500, false, "a number left its range") \
	X(IO, "io", 500, true, "an input or output operation failed") \
	X(CANCELLED, "cancelled", 500, false, "cancelled by the other side")

enum err {
	ERR_OK = 0,
#define X(sym, code, http, retry, hint) ERR_##sym,
	ERR_TABLE(X)
#undef X
	ERR_COUNT
};

struct err_info {
	const char *code;
	int http_status;
	bool retryable;
	const char *hint;
};

/* The row of an error; ERR_OK has code "ok". Never NULL. */
const struct err_info *err_info(enum err e);

#endif
