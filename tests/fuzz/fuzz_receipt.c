/* Receipts and the other statements from anybody: no input may crash, and what is accepted is spelled as we write it.
 *   clang -fsanitize=fuzzer,address,undefined … tests/fuzz/fuzz_receipt.c with the proof, net, crypto and base layers */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "proof/verdict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one_type(const struct doc_type *type, const char *text, size_t len)
{
	union {
		struct receipt receipt;
		struct ticket ticket;
		struct registration registration;
		struct node_statement statement;
		struct node_request request;
	} m;
	struct signature sig;
	struct json_why why;
	uint64_t chain_id;
	if (doc_read(type, text, len, &m, &chain_id, &sig, &why))
		return;
	_cleanup_free_ char *again = doc_write(type, &m, chain_id, &sig);
	if (strlen(again) != len || memcmp(again, text, len) != 0)
		panic("fuzz_receipt: two spellings of one statement");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	crypto_init();
	const char *text = (const char *)data;
	const struct doc_type *types[] = { &RECEIPT_TYPE, &TICKET_TYPE, &REGISTRATION_TYPE, &NODE_STATEMENT_TYPE, &NODE_REQUEST_TYPE };
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		one_type(types[i], text, size);
	/* The same bytes as receipt, statement, request and response: a verdict without a pin is never `passed`. */
	struct verdict_report rep;
	struct verdict_input in = { .receipt_text = text, .receipt_len = size, .statement_text = text, .statement_len = size,
				    .request_body = text, .request_len = size, .response_body = text, .response_len = size };
	verdict_check(&in, &rep);
	if (rep.verdict == VERDICT_PASSED)
		panic("fuzz_receipt: passed without a pin");
	json_decref(verdict_json(&rep));
	return 0;
}
