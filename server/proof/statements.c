/* The types of the statements, as data, and the request hash. Called by the gateway, the agent and `opgate verify`; constant
 * data, no locks. A field's place here is its place in the signature: never reorder. */
#include "proof/statements.h"

#include <string.h>

#define FIELD(kind_, name_, type_, member_) { .name = name_, .kind = kind_, .offset = offsetof(struct type_, member_) }
#define TYPE(text, list) { .type = text, .fields = list, .field_count = sizeof(list) / sizeof((list)[0]) }

static const struct doc_field RECEIPT_FIELDS[] = {
	FIELD(DOC_BYTES16, "jobId", receipt, job_id),
	FIELD(DOC_UINT32, "attempt", receipt, attempt),
	FIELD(DOC_ADDRESS, "gateway", receipt, gateway),
	FIELD(DOC_ADDRESS, "node", receipt, node),
	FIELD(DOC_BYTES32, "modelDigest", receipt, model_digest),
	FIELD(DOC_BYTES32, "requestHash", receipt, request_hash),
	FIELD(DOC_BYTES32, "responseHash", receipt, response_hash),
	FIELD(DOC_BYTES32, "profileHash", receipt, profile_hash),
	FIELD(DOC_UINT16, "status", receipt, status),
	FIELD(DOC_STRING, "policy", receipt, policy),
	FIELD(DOC_UINT64, "inputUnits", receipt, input_units),
	FIELD(DOC_UINT64, "outputUnits", receipt, output_units),
	FIELD(DOC_UINT64, "startedAt", receipt, started_at),
	FIELD(DOC_UINT64, "finishedAt", receipt, finished_at),
};

const struct doc_type RECEIPT_TYPE =
	TYPE("Receipt(bytes16 jobId,uint32 attempt,address gateway,address node,bytes32 modelDigest,bytes32 requestHash,"
	     "bytes32 responseHash,bytes32 profileHash,uint16 status,string policy,uint64 inputUnits,uint64 outputUnits,"
	     "uint64 startedAt,uint64 finishedAt)",
	     RECEIPT_FIELDS);

static const struct doc_field TICKET_FIELDS[] = {
	FIELD(DOC_BYTES16, "jobId", ticket, job_id),
	FIELD(DOC_UINT32, "attempt", ticket, attempt),
	FIELD(DOC_ADDRESS, "gateway", ticket, gateway),
	FIELD(DOC_ADDRESS, "node", ticket, node),
	FIELD(DOC_BYTES32, "modelDigest", ticket, model_digest),
	FIELD(DOC_STRING, "policy", ticket, policy),
	FIELD(DOC_BYTES32, "requestHash", ticket, request_hash),
	FIELD(DOC_UINT64, "expiresAt", ticket, expires_at),
};

const struct doc_type TICKET_TYPE =
	TYPE("Ticket(bytes16 jobId,uint32 attempt,address gateway,address node,bytes32 modelDigest,string policy,"
	     "bytes32 requestHash,uint64 expiresAt)",
	     TICKET_FIELDS);

static const struct doc_field REGISTRATION_FIELDS[] = {
	FIELD(DOC_ADDRESS, "node", registration, node),
	FIELD(DOC_ADDRESS, "operator", registration, operator_),
	FIELD(DOC_ADDRESS, "gateway", registration, gateway),
	FIELD(DOC_TEXT, "url", registration, url),
	FIELD(DOC_UINT64, "issuedAt", registration, issued_at),
};

const struct doc_type REGISTRATION_TYPE =
	TYPE("NodeRegistration(address node,address operator,address gateway,string url,uint64 issuedAt)", REGISTRATION_FIELDS);

static const struct doc_field NODE_STATEMENT_FIELDS[] = {
	FIELD(DOC_ADDRESS, "gateway", node_statement, gateway),
	FIELD(DOC_ADDRESS, "node", node_statement, node),
	FIELD(DOC_ADDRESS, "operator", node_statement, operator_),
	FIELD(DOC_BYTES32, "modelDigest", node_statement, model_digest),
	FIELD(DOC_BYTES32, "profileHash", node_statement, profile_hash),
	FIELD(DOC_UINT64, "registeredAt", node_statement, registered_at),
	FIELD(DOC_UINT64, "issuedAt", node_statement, issued_at),
};

const struct doc_type NODE_STATEMENT_TYPE =
	TYPE("NodeStatement(address gateway,address node,address operator,bytes32 modelDigest,bytes32 profileHash,"
	     "uint64 registeredAt,uint64 issuedAt)",
	     NODE_STATEMENT_FIELDS);

static const struct doc_field NODE_REQUEST_FIELDS[] = {
	FIELD(DOC_ADDRESS, "node", node_request, node),
	FIELD(DOC_ADDRESS, "gateway", node_request, gateway),
	FIELD(DOC_STRING, "method", node_request, method),
	FIELD(DOC_TEXT, "path", node_request, path),
	FIELD(DOC_BYTES32, "bodyHash", node_request, body_hash),
	FIELD(DOC_UINT64, "issuedAt", node_request, issued_at),
	FIELD(DOC_BYTES32, "nonce", node_request, nonce),
};

const struct doc_type NODE_REQUEST_TYPE =
	TYPE("NodeRequest(address node,address gateway,string method,string path,bytes32 bodyHash,uint64 issuedAt,bytes32 nonce)",
	     NODE_REQUEST_FIELDS);

static const struct doc_field PAYOUT_ADDRESS_FIELDS[] = {
	FIELD(DOC_ADDRESS, "account", payout_address, account),
	FIELD(DOC_ADDRESS, "to", payout_address, to),
	FIELD(DOC_ADDRESS, "gateway", payout_address, gateway),
	FIELD(DOC_UINT64, "issuedAt", payout_address, issued_at),
	FIELD(DOC_BYTES32, "nonce", payout_address, nonce),
};

const struct doc_type PAYOUT_ADDRESS_TYPE =
	TYPE("PayoutAddress(address account,address to,address gateway,uint64 issuedAt,bytes32 nonce)", PAYOUT_ADDRESS_FIELDS);

void request_hash(const char *method, const char *path, const char *content_type, const char *inference_header_length,
		  const void *body, size_t body_len, struct hash *ret)
{
	struct hash inner;
	sha256_of(body, body_len, &inner);
	const char *lines[] = { method, " ", path, "\n", content_type ? content_type : "", "\n",
				inference_header_length ? inference_header_length : "", "\n" };
	struct sha256 *s = sha256_new();
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		sha256_update(s, lines[i], strlen(lines[i]));
	sha256_update(s, inner.b, sizeof(inner.b));
	sha256_final(s, ret);
	sha256_free(s);
}
