/* Extensions of x402 as HTTP: what a 402 declares, and earlier answers by the payer's own name for a payment or by signing in. Called
 * by x402.c. */
#ifndef OPGATE_HANDLERS_X402_EXTEND_H
#define OPGATE_HANDLERS_X402_EXTEND_H

#include "handlers/paid.h"

/* Everything a 402 of this request declares; new reference. */
json_t *x402_declared_json(struct request *req, const struct x402_declared *declared);
struct x402_resource x402_resource_of(struct request *req, const char *path, const char *model);
struct x402_declared x402_declared_of(struct request *req, const char *model);

/* Does the payment repeat what we declared, where it repeats it? Official servers ask this before anything else of a payment that
 * matches an offer. NULL, or the reason. */
const char *x402_echo_refusal(struct request *req, const struct x402_payment *payment, const struct x402_terms *terms);

/* The id of the payment; *ret_id NULL when it has none. ERR_BAD_FIELD: malformed, or missing where one is required. */
enum err x402_identifier_of(struct request *req, const struct x402_payment *payment, const char **ret_id) WARN_UNUSED;
/* What this name stands for: the same request is answered again, another is ERR_CONFLICT. ERR_NOT_FOUND: nothing, go on. The payer
 * must have been proven. */
enum err x402_answer_identified(struct request *req, const struct paid *p, const struct address *payer, const char *id) WARN_UNUSED;

/* Answers a wallet that signed in with what it paid for by this very request. ERR_NOT_FOUND: no header, or nothing of the kind (then
 * *ret_why may say why): go on as if it had not been sent. */
enum err x402_answer_signed_in(struct request *req, const struct paid *p, const char **ret_why) WARN_UNUSED;

#endif
