/* Calls whose caller wants them on chain, the events they become, and the documents those name. Everything is written before it is on the
 * wire; what became of a job is read from the job, so nobody who ends one has to think of this. */
#ifndef OPGATE_DB_RECORDS_H
#define OPGATE_DB_RECORDS_H

#include "db/payments.h"

/* Before the job is opened. input: of an individual one, else NULL. */
enum err db_record_want(struct db *db, const struct uuid *job, bool individual, const void *input, size_t input_len) WARN_UNUSED;
enum err db_records_individual_lately(struct db *db, int64_t *ret_count) WARN_UNUSED; /* within an hour */
enum err db_records_sweep(struct db *db) WARN_UNUSED; /* those whose job was never opened */

/* ---- wanted: the job has ended ---- */
struct record_ended {
	struct db_result *r;
	struct uuid job;
	bool individual;
	struct address payer;
	const char *receipt; /* NULL: there is none that may be believed */
	char *input, *output; /* individual; owned. output NULL: was not kept */
	size_t input_len, output_len;
};
void db_record_ended_done(struct record_ended *e);
/* The oldest. ERR_NOT_FOUND: none. */
enum err db_record_ended(struct db *db, struct record_ended *ret) WARN_UNUSED;
enum err db_record_drop(struct db *db, const struct uuid *job) WARN_UNUSED;

struct record_facts {
	struct hash signer, input_hash, output_hash;
	uint8_t signature[65];
	uint64_t signed_at; /* seconds */
	struct address payer;
};
/* body: the document of an individual one, or NULL. */
enum err db_record_queue(struct db *db, const struct uuid *job, const struct record_facts *f, const char *body) WARN_UNUSED;

/* ---- queued: to become events ---- */
struct record_queued {
	struct uuid job;
	struct record_facts facts;
	struct hash blob; /* individual */
};
/* Oldest first; ret_age_ms: of the first. */
enum err db_records_queued(struct db *db, bool individual, struct record_queued *ret, size_t max, size_t *ret_count, int64_t *ret_age_ms) WARN_UNUSED;
/* root NULL: one individual call, whose document `blob` is there already. With a root: `body` is the tree, `blob` its digest.
 * ERR_CONFLICT: one of them is in an event already. */
enum err db_record_post(struct db *db, const struct record_queued *calls, size_t count, const struct hash *root, const struct hash *blob, const char *body) WARN_UNUSED;

/* ---- events: to be sent ---- */
struct record_post {
	int64_t id;
	bool batch;
	struct hash root, blob;
	uint64_t size;
	struct record_facts facts; /* individual */
};
/* The oldest that is in no transaction, unless `open_max` of them are on their way. ERR_NOT_FOUND: none. */
enum err db_record_post_due(struct db *db, int open_max, struct record_post *ret) WARN_UNUSED;
/* Writes the signed transaction and ties the event to it, in one transaction. ERR_CONFLICT: the nonce is taken, or the event is under way. */
enum err db_record_post_write(struct db *db, const struct signed_tx *tx, int64_t post) WARN_UNUSED;
/* Did this transaction lose its nonce, and another one carry its event since? */
enum err db_record_post_moved(struct db *db, int64_t tx, bool *ret) WARN_UNUSED;

/* ---- reading ---- */
struct record_row {
	bool individual, has_post, has_tx_hash, is_batch;
	char status[16]; /* queued, processing, succeeded, failed */
	struct hash tx_hash, root, blob;
	int64_t size, created_ms;
};
enum err db_record_get(struct db *db, const struct uuid *job, struct record_row *ret) WARN_UNUSED; /* ERR_NOT_FOUND */
enum err db_record_blob(struct db *db, const struct hash *id, char **ret, size_t *ret_len) WARN_UNUSED; /* the caller frees. ERR_NOT_FOUND */

#endif
