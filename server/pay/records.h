/* Puts what callers want on chain there (contracts/DataSettlement.sol): roots of trees over many calls, and single calls. It takes turns
 * with the settler, in its thread and by its key, so there is one owner and one line of nonces; each step is in the database before the
 * next, and the next turn goes on where a death left off. */
#ifndef OPGATE_PAY_RECORDS_H
#define OPGATE_PAY_RECORDS_H

#include "db/records.h"
#include "pay/settler.h"

#define RECORD_INPUT_MAX (256u << 10)  /* of an individual call: its document is kept for good */
#define RECORD_OUTPUT_MAX (1u << 20)   /* beyond it the document has the hash only */

struct records_config {
	struct address contract; /* DataSettlement; zero: off */
	int64_t batch_max, batch_wait_ms;
};

/* A settler_config's `more`; its more_arg is a struct records_config. */
enum err records_turn(const struct settler_config *c, struct db *db) WARN_UNUSED;

/* The document of an individual call, as JSON with the members of OpenGradient's; the caller frees. For tests. */
char *records_document(const struct record_ended *ended, const struct record_facts *facts);

#endif
