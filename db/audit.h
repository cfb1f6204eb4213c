/* Reconciliation's own rows: how far the chain's logs were compared with the books, and what did not agree. Cursor moves are
 * compare-and-set in the transaction that writes what was found, so several processes may compare. */
#ifndef OPGATE_DB_AUDIT_H
#define OPGATE_DB_AUDIT_H

#include "db/deposits.h"

/* Are new settlements and payouts stopped? To be asked before anything is signed: it holds in every process, also right after a start. */
enum err settlement_stopped(struct db *db, bool *ret) WARN_UNUSED;

/* `scope` is {"chain_id", "token", "treasury", "pay_to", "ours": […]}, addresses as hex without 0x: see audit_judge. */
enum err db_audit_cursor(struct db *db, const struct watch *w, uint64_t start, uint64_t *ret) WARN_UNUSED; /* made at `start` when there is none */
enum err db_audit_at(struct db *db, const struct watch *w, uint64_t *ret) WARN_UNUSED; /* the same, made nowhere: 0 */
/* The newest block the books know of, watched or with a settlement: an endpoint that has not come so far says nothing about them. */
enum err db_audit_booked(struct db *db, const struct watch *w, uint64_t *ret) WARN_UNUSED;
/* The newest block not after `number` whose hash we remember. ERR_NOT_FOUND. */
enum err db_audit_block(struct db *db, const struct watch *w, uint64_t number, uint64_t *ret_number, struct hash *ret_hash) WARN_UNUSED;
/* ERR_CONFLICT: another process was first. ERR_IN_PROGRESS: something does not agree; read the blocks again and be `sure`. movements: [{"tx","ordinal","block","hash","from","to","value","ref"?,"nonce"?}]. */
enum err db_audit_advance(struct db *db, const json_t *scope, uint64_t before, uint64_t upto, const struct hash *hash, const json_t *movements, bool sure) WARN_UNUSED;
enum err db_audit_rewind(struct db *db, const json_t *scope, uint64_t before, uint64_t target) WARN_UNUSED;

struct audit_question { /* a row or an open mismatch whose log is to be looked at again */
	int64_t mismatch;   /* 0: a row */
	struct hash tx;
	uint32_t ordinal;
	bool claimed; /* a row says that the log exists */
	bool early;   /* of a payment in a block we do not know: that it is not there says nothing yet */
	char *kind, *subject, *detail;
	uint64_t block_number; /* 0: unknown */
	bool has_hash;         /* a log was found in this block */
	struct hash block_hash;
};
void audit_questions_free(struct audit_question *list, size_t count);
enum err db_audit_questions(struct db *db, const json_t *scope, uint64_t upto, struct audit_question **ret, size_t *ret_count) WARN_UNUSED;
/* Asked early, and not there: to be asked again when all up to `head` is final. */
enum err db_audit_missed(struct db *db, const struct audit_question *q, uint64_t head) WARN_UNUSED;
/* One movement against the books; *ret NULL: they agree. New reference. */
enum err db_audit_judge(struct db *db, const json_t *scope, const json_t *movement, json_t **ret) WARN_UNUSED;

/* Reading only, for `opgate reconcile`: what each movement of these blocks is, and rows without one. Columns of audit_range. */
enum err db_audit_range(struct db *db, const json_t *scope, uint64_t first, uint64_t last, const json_t *movements, struct db_result **ret) WARN_UNUSED;
/* Confirmed rows that name no block we compared. Columns of audit_elsewhere. */
enum err db_audit_elsewhere(struct db *db, const json_t *scope, uint64_t head, struct db_result **ret) WARN_UNUSED;
/* Does the ledger's custody equal what the rows say arrived and left? *ret_words "" when it does; freed by the caller. */
enum err db_audit_custody(struct db *db, char **ret_words) WARN_UNUSED;

/* found: [{"kind","subject","detail","tx"?,"ordinal"?,"block"?,"hash"?,"missing"?}]. Open ones of these kinds that are not found are healed. */
enum err db_mismatch_report(struct db *db, const char *const *kinds, size_t kind_count, const json_t *found) WARN_UNUSED;
enum err db_mismatch_heal(struct db *db, int64_t id) WARN_UNUSED;
enum err db_mismatch_resolve(struct db *db, int64_t id, int64_t account, const char *note) WARN_UNUSED; /* ERR_NOT_FOUND */
enum err db_books_first_wrong(struct db *db, json_t **ret) WARN_UNUSED; /* as `found` above */

/* For GET /v1/reconciliation: open ones first, then the newest history. */
enum err db_mismatches(struct db *db, int64_t *ret_stopping, int64_t *ret_of_books, json_t **ret) WARN_UNUSED;

struct in_flight {
	int64_t signed_, mined; /* transactions */
	int64_t settling;       /* payments to be settled */
	struct amount settling_amount;
	struct amount unproven; /* booked, log not final: custody_in_flight() */
	struct amount unattributed;
};
/* payouts: the contract whose total is asked, or zero. */
enum err db_in_flight(struct db *db, const struct address *payouts, struct in_flight *ret) WARN_UNUSED;

#endif
