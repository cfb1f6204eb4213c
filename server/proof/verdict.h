/* The finding about a receipt: three-valued, one line per check. One function for the gateway on arrival, POST /v1/verify and
 * `opgate verify`: whoever knows more passes more in. What is not given is not checked, and what is needed for `passed` but
 * not given makes the verdict `unverifiable`, never `passed`.
 *
 * passed needs form, signature and registration passed and no listed check otherwise; any failed check makes it failed;
 * else any unverifiable one makes it unverifiable. */
#ifndef OPGATE_PROOF_VERDICT_H
#define OPGATE_PROOF_VERDICT_H

#include <stdbool.h>

#include "proof/statements.h"

#define VERDICT_CLOCK_SLACK_MS (2 * 60 * 1000)

enum verdict { VERDICT_PASSED, VERDICT_FAILED, VERDICT_UNVERIFIABLE };
const char *verdict_name(enum verdict v);

struct verdict_check {
	const char *name;     /* "form", "signature", "signer", "registration", "chain", "gateway", "ticket", "model", "profile",
				  "request", "response", "times", "units", "policy", "status" */
	enum verdict result;
	char detail[160];
};

#define VERDICT_CHECKS_MAX 16
struct verdict_report {
	enum verdict verdict;
	struct verdict_check checks[VERDICT_CHECKS_MAX];
	size_t count;
	bool has_receipt; /* the form was good and the fields below are set */
	struct receipt receipt;
	uint64_t chain_id;
	struct signature signature;
	struct address signer;
};

/* Everything optional: NULL or 0 means "not given". */
struct verdict_input {
	const char *receipt_text; /* required */
	size_t receipt_len;
	uint64_t chain_id;                 /* expected domain */
	const struct address *node;        /* pinned signer: makes registration known */
	const struct address *gateway;     /* pinned gateway key */
	bool own_chain, own_gateway;       /* these two are the checker's own and nobody's pin: what was made for others is not false, it cannot be checked */
	const char *statement_text;        /* NodeStatement in JSON form; needs `gateway` to count */
	size_t statement_len;
	const struct ticket *ticket;       /* what was asked: job, attempt, node, model, policy, request hash */
	const struct hash *model_digest;
	const struct hash *request_hash;   /* exactly this one … */
	const void *request_body;          /* … or the body: the hash is tried with the given path, or with each route of ours */
	size_t request_len;
	const char *request_method, *request_path, *request_content_type, *request_inference_header_length;
	const struct hash *response_hash;  /* exactly this one … */
	const void *response_body;         /* … or the bytes: tried plain, and as an event stream when they look like one */
	size_t response_len;
	const struct hash *profile_hash;
	uint64_t input_units_max, output_units_max; /* plausible bounds; above: a line says so, but the verdict does not fail (units are cut) */
	int64_t now_ms;                    /* to refuse receipts from the future (2 min slack); 0: not checked */
};

void verdict_check(const struct verdict_input *in, struct verdict_report *ret);
/* {"verdict","checks":[{"name","result","detail"}],"receipt":{…},"signer"} */
json_t *verdict_json(const struct verdict_report *report);

#endif
