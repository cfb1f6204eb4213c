/* The receipts of x402: PAYMENT-RESPONSE (version 2) and X-PAYMENT-RESPONSE (version 1), the answers of a facilitator's /verify
 * and /settle. Called by handlers; pure functions. */
#ifndef OPGATE_PAY_X402_HEADERS_H
#define OPGATE_PAY_X402_HEADERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hex.h"
#include "base/u256.h"

struct x402_receipt {
	int version; /* 1 or 2 */
	bool success;
	const char *error_reason, *error_message; /* failure; the message may be NULL */
	const struct address *payer;              /* NULL: unknown, left out */
	const struct hash *transaction;           /* NULL: none, written as "" */
	uint64_t chain_id;
	const struct u256 *amount;                /* what was captured (upto); NULL: left out */
	const json_t *extensions;                 /* NULL: left out; version 2 only */
};

json_t *x402_receipt_json(const struct x402_receipt *r);
char *x402_receipt_header(const struct x402_receipt *r); /* base64; the caller frees */

/* VerifyResponse: reason NULL means valid. message and payer may be NULL. */
json_t *x402_verify_json(const char *reason, const char *message, const struct address *payer);

/* The status a refusal is answered with: 412 when the payer must first approve Permit2, else 402. */
int x402_reason_status(const char *reason);

#endif
