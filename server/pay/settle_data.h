/* OpenGradient's statements of inference to be settled on chain: the headers of /facilitator/settle_data, read and checked in form.
 * Whether the signature is right is for whoever puts it on chain. Pure; called by handlers. */
#ifndef OPGATE_PAY_SETTLE_DATA_H
#define OPGATE_PAY_SETTLE_DATA_H

#include "base/json.h"
#include "db/data_settlements.h"
#include "pay/x402_payload.h"

enum settle_data_type { SETTLE_DATA_PRIVATE, SETTLE_DATA_BATCH, SETTLE_DATA_INDIVIDUAL };

/* x-settlement-type in any of the spellings its clients use. ERR_BAD_REQUEST and words. */
enum err settle_data_type_read(const char *header, enum settle_data_type *ret, struct x402_why *why) WARN_UNUSED;

struct settle_data {
	json_t *root; /* owned; the texts of `row` are borrowed from it */
	struct data_settlement row;
};
/* x-settlement-data: base64 of JSON. Not for private. ERR_BAD_REQUEST and words; ret is to be released after ERR_OK only. */
enum err settle_data_read(enum settle_data_type type, const char *header, struct settle_data *ret, struct x402_why *why) WARN_UNUSED;
void settle_data_done(struct settle_data *d);

#endif
