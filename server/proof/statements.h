/* The statements opgate's parties sign, as plain structs with their document types. Times are ms since 1970. */
#ifndef OPGATE_PROOF_STATEMENTS_H
#define OPGATE_PROOF_STATEMENTS_H

#include "proof/document.h"

/* Node → everyone, about one job (shared wire decision: field names and order are fixed). */
struct receipt {
	struct uuid job_id;
	uint32_t attempt;
	struct address gateway, node;
	struct hash model_digest, request_hash, response_hash, profile_hash;
	uint16_t status;      /* HTTP status the node answered; 499 for a partial answer cut by the gateway's cancel */
	char policy[64];
	uint64_t input_units, output_units, started_at, finished_at;
};
extern const struct doc_type RECEIPT_TYPE;
/* Receipt(bytes16 jobId,uint32 attempt,address gateway,address node,bytes32 modelDigest,bytes32 requestHash,bytes32 responseHash,
 *         bytes32 profileHash,uint16 status,string policy,uint64 inputUnits,uint64 outputUnits,uint64 startedAt,uint64 finishedAt) */

/* Gateway → node, with every request (header Opgate-Ticket, base64url of the JSON form). */
struct ticket {
	struct uuid job_id;
	uint32_t attempt;
	struct address gateway, node;
	struct hash model_digest;
	char policy[64];
	struct hash request_hash;
	uint64_t expires_at;
};
extern const struct doc_type TICKET_TYPE;
/* Ticket(bytes16 jobId,uint32 attempt,address gateway,address node,bytes32 modelDigest,string policy,bytes32 requestHash,uint64 expiresAt) */

/* Node and operator → gateway: both sign the same message. */
struct registration {
	struct address node, operator_, gateway;
	char url[256];
	uint64_t issued_at;
};
extern const struct doc_type REGISTRATION_TYPE;
/* NodeRegistration(address node,address operator,address gateway,string url,uint64 issuedAt) */

/* Gateway → everyone: this key is a registered node for this model version. */
struct node_statement {
	struct address gateway, node, operator_;
	struct hash model_digest, profile_hash;
	uint64_t registered_at, issued_at;
};
extern const struct doc_type NODE_STATEMENT_TYPE;
/* NodeStatement(address gateway,address node,address operator,bytes32 modelDigest,bytes32 profileHash,uint64 registeredAt,uint64 issuedAt) */

/* Node → gateway, with each of its API calls (header Opgate-Node, base64url of the JSON form). */
struct node_request {
	struct address node, gateway;
	char method[64];
	char path[256];
	struct hash body_hash; /* SHA-256 */
	uint64_t issued_at;
	struct hash nonce;
};
extern const struct doc_type NODE_REQUEST_TYPE;
/* NodeRequest(address node,address gateway,string method,string path,bytes32 bodyHash,uint64 issuedAt,bytes32 nonce) */

/* Account → gateway: pay me there, too. */
struct payout_address {
	struct address account, to, gateway;
	uint64_t issued_at;
	struct hash nonce;
};
extern const struct doc_type PAYOUT_ADDRESS_TYPE;
/* PayoutAddress(address account,address to,address gateway,uint64 issuedAt,bytes32 nonce) */

/* requestHash: SHA-256 of "METHOD SP path LF" "content-type LF" "Inference-Header-Content-Length or empty LF" SHA-256(body). */
void request_hash(const char *method, const char *path, const char *content_type, const char *inference_header_length,
		  const void *body, size_t body_len, struct hash *ret);

#endif
