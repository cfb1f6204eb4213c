/* Payouts: taking the money from its source, the transactions that pay, and how each ends. Every step is in the database before it
 * is on the wire; the functions that move money are in migrations/0010_payouts.sql. */
#ifndef OPGATE_DB_PAYOUTS_H
#define OPGATE_DB_PAYOUTS_H

#include "db/payments.h"

/* ---- asking for one ---- */
enum payout_kind { PAYOUT_AVAILABLE = 1, PAYOUT_AUTHOR = 3, PAYOUT_OPERATOR = 4 }; /* the code of its source in the ledger */

struct payout_ask {
	struct uuid id;
	int64_t account;
	enum payout_kind kind;
	const struct amount *amount; /* PAYOUT_AVAILABLE only; NULL: all. Earnings are paid out whole, so that each payout names its jobs */
	const struct address *to;    /* NULL: the chosen address */
	struct amount minimum;
	const char *route, *key;     /* of Idempotency-Key; key NULL: none */
	struct hash body_digest;
};
/* ERR_CONFLICT: the key was used before. ERR_FORBIDDEN: not an address of the list, or not valid yet. ERR_IN_PROGRESS: earnings of
 * this kind are under way. ERR_LIMIT: below the minimum. ERR_INSUFFICIENT_FUNDS. Nothing changed in any of these. */
enum err db_payout_open(struct db *db, const struct payout_ask *a) WARN_UNUSED;
/* How much of that source no payout takes yet, because it came by x402 and is not final on chain (migrations/0023_final_money.sql). */
enum err db_payout_not_final(struct db *db, int64_t account, enum payout_kind kind, struct amount *ret) WARN_UNUSED;
/* Opens what schedules say is due. */
enum err db_payouts_schedule(struct db *db, struct amount minimum, int64_t *ret_opened) WARN_UNUSED;

/* ---- the sender's side ---- */
struct payout_item {
	struct uuid id;
	struct address to;
	struct amount amount;
};
/* Those in no transaction, oldest first. */
enum err db_payouts_pending(struct db *db, struct payout_item *ret, size_t max, size_t *ret_count) WARN_UNUSED;
/* Of the pending ones exactly these wait for funds. How many of them did not before. */
enum err db_payouts_waiting(struct db *db, const struct uuid *ids, size_t count, int64_t *ret_new) WARN_UNUSED;
/* What transactions that are not mined will take from the treasury, whichever key sent them. */
enum err db_payouts_unmined(struct db *db, uint64_t chain_id, struct amount *ret) WARN_UNUSED;
/* Writes the signed transaction and ties the payouts to it. ERR_CONFLICT: the nonce is taken. */
enum err db_payouts_write(struct db *db, const struct signed_tx *tx, const struct address *contract, const struct payout_item *items, size_t count) WARN_UNUSED;
/* Of one transaction, those that have not ended. */
enum err db_payouts_of_tx(struct db *db, int64_t tx, struct payout_item *ret, size_t max, size_t *ret_count) WARN_UNUSED;

struct payout_end {
	struct uuid id;
	enum { PAYOUT_AGAIN, PAYOUT_PAID, PAYOUT_RETURNED } end;
	struct hash tx; /* PAID: where the Transfer is */
	uint32_t log;
	const char *reason; /* RETURNED */
};
/* The transaction is final, and this is how its payouts ended. */
enum err db_payouts_final(struct db *db, int64_t tx, const struct payout_end *ends, size_t count) WARN_UNUSED;

/* What the contract's own total is compared with. */
struct payout_sums {
	struct amount elsewhere; /* paid through other contracts */
	struct amount most;      /* paid by this one, and what may be on its way: it cannot have paid more */
};
enum err db_payouts_sums(struct db *db, const struct address *contract, struct payout_sums *ret) WARN_UNUSED;

/* ---- where and when an account is paid ---- */
struct payout_signed { /* a PayoutAddress statement of the account */
	struct hash nonce;
	const void *signature;
	size_t len;
};
/* statement NULL: none was given. ERR_UNPROCESSABLE: the address is not on the list, so one is needed. ERR_CONFLICT: used before. */
enum err db_payout_choose(struct db *db, int64_t account, const struct address *to, const struct payout_signed *statement, int64_t delay_ms) WARN_UNUSED;
enum err db_payout_cancel(struct db *db, int64_t account, const struct address *to) WARN_UNUSED; /* ERR_NOT_FOUND */
enum err db_payout_schedule_set(struct db *db, int64_t account, const char *schedule, struct amount minimum) WARN_UNUSED;

/* ---- reading, as the API answers ---- */
enum err db_payout_settings(struct db *db, int64_t account, struct amount minimum, json_t **ret) WARN_UNUSED;
enum err db_payout_get(struct db *db, int64_t account, const struct uuid *id, json_t **ret) WARN_UNUSED; /* ERR_NOT_FOUND */
enum err db_payouts_list(struct db *db, int64_t account, const struct uuid *after, int limit, json_t **ret) WARN_UNUSED; /* after may be NULL */
enum err db_earnings(struct db *db, int64_t account, json_t **ret) WARN_UNUSED;

struct statement_query {
	int64_t account;
	int64_t from, to; /* wall ms; 0: open */
	int64_t after;    /* id of a line */
	int limit;
};
/* One row for each earning, oldest first: id, at, job, role, model, amount, payout, payout_state, transaction. At most limit + 1. */
enum err db_statement(struct db *db, const struct statement_query *q, struct db_result **ret) WARN_UNUSED;

#endif
