/* Statements of inference that wait to be put on chain, one by one or as trees. Durable before anybody is told that they were taken. */
#ifndef OPGATE_DB_DATA_SETTLEMENTS_H
#define OPGATE_DB_DATA_SETTLEMENTS_H

#include "db/db.h"

#define DATA_SIGNATURE_MAX 1024
#define DATA_QUEUED_MAX 100000 /* rows that may wait */

struct data_settlement {
	bool individual;
	struct hash content; /* of everything below: the same statement again is the same row */
	struct hash tee_id, input_hash, output_hash;
	uint8_t tee_signature[DATA_SIGNATURE_MAX];
	size_t tee_signature_len;
	int64_t tee_timestamp; /* s */
	struct address eth_address; /* individual only, as are these texts; borrowed, NULL when absent */
	const char *input, *output;
};
/* Writes it, or finds the one that is there; ret_id names it. ERR_OVERLOADED: too many wait. */
enum err db_data_settlement_add(struct db *db, const struct data_settlement *d, struct uuid *ret_id) WARN_UNUSED;

struct data_settlement_row {
	struct uuid id;
	bool individual;
	char state[16], reason[128]; /* reason: "" when there is none */
	bool has_tx_hash;
	struct hash tx_hash;
	int64_t created_at, updated_at; /* ms */
};
enum err db_data_settlement_get(struct db *db, const struct uuid *id, struct data_settlement_row *ret) WARN_UNUSED; /* ERR_NOT_FOUND */

#endif
