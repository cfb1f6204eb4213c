/* Approvals of payers that we broadcast, and the coin we give for them (erc20ApprovalGasSponsoring). They are written with the payment
 * (db_payment_claim). Called by the settler; every write is fenced by the state it expects: ERR_CONFLICT. */
#ifndef OPGATE_DB_APPROVALS_H
#define OPGATE_DB_APPROVALS_H

#include "db/payments.h"

enum approval_state { APPROVAL_WANTED, APPROVAL_FUNDING, APPROVAL_SENT };
enum top_up_state { TOP_UP_NONE, TOP_UP_SIGNED, TOP_UP_MINED, TOP_UP_REPLACED /* another transaction has its nonce */ };

struct approval_row { /* one that is not ended */
	struct hash hash;
	struct address payer;
	uint64_t nonce;       /* of the payer's account */
	struct amount top_up; /* the most we give */
	enum approval_state state;
	enum top_up_state funding;
	bool funded;          /* the top-up was mined and succeeded */
	int64_t age_ms, idle_ms; /* since it was wanted, since it was last broadcast */
	char *raw;            /* free it */
	size_t raw_len;
};
/* Oldest first. */
enum err db_approvals_open(struct db *db, uint64_t chain_id, struct approval_row *ret, size_t max, size_t *ret_count) WARN_UNUSED;
/* wanted → funding, and the signed transaction with the top-up, in one transaction. ERR_CONFLICT also: the nonce is taken. */
enum err db_approval_fund(struct db *db, const struct hash *approval, const struct signed_tx *tx) WARN_UNUSED;
enum err db_approval_send(struct db *db, const struct hash *approval) WARN_UNUSED;   /* → sent: from now on it may be on the wire */
/* Mined (why NULL), or it will not be. Gas that was set aside and not used is given back to the budget. */
enum err db_approval_end(struct db *db, const struct hash *approval, const char *why) WARN_UNUSED;
/* Payments to be settled whose approval failed. */
enum err db_payments_unapproved(struct db *db, struct settling *ret, size_t max, size_t *ret_count) WARN_UNUSED;

#endif
