/* The charging table: one row for each way a job can end. docs/CHARGING.md is this table for people (a test compares them);
 * the code that ends a job picks a row and nothing else decides what is charged.
 * Columns: symbol, name, job state, what is charged, the error a caller sees, when. */
#ifndef OPGATE_PAY_CHARGING_H
#define OPGATE_PAY_CHARGING_H

#include <stdio.h>

#include "base/err.h"

enum charge {
	CHARGE_NOTHING, /* the hold is voided */
	CHARGE_UNITS,   /* units of the receipt, cut to what is plausible: node its ask, author the royalty, platform the fee */
	CHARGE_COUNTED, /* the same, output cut to what the gateway itself counted and passed on */
};

#define OUTCOME_TABLE(X) \
	X(DELIVERED, "delivered", "settled", UNITS, OK, "a complete answer whose receipt passed") \
	X(UNPROVEN, "unproven", "settled", COUNTED, OK, "policy none: a complete answer without a valid receipt") \
	X(PARTIAL, "partial", "settled", COUNTED, CANCELLED, "the caller left or cancelled a stream after its first event, and the node signed for what it had sent") \
	X(CLIENT_LEFT, "client_left", "cancelled", NOTHING, CANCELLED, "the caller left before the first byte, or left or cancelled a stream and no valid partial receipt came in time") \
	X(CANCELLED_QUEUED, "cancelled_queued", "cancelled", NOTHING, CANCELLED, "cancelled by its owner while queued") \
	X(CANCELLED_RUNNING, "cancelled_running", "cancelled", NOTHING, CANCELLED, "cancelled by its owner while running, before an event of a stream reached the caller") \
	X(REJECTED, "rejected", "failed", NOTHING, UNPROCESSABLE, "the node answered that the request is bad (status 4xx)") \
	X(NODE_FAILED, "node_failed", "failed", NOTHING, NODE_FAILED, "no node gave a usable answer: refused, unreachable, stalled, garbled, too large, status 5xx") \
	X(NODE_BROKE, "node_broke", "failed", NOTHING, NODE_FAILED, "the node broke off after the first event of a stream") \
	X(EMPTY_OUTPUT, "empty_output", "failed", NOTHING, NODE_FAILED, "the node answered success with nothing in it") \
	X(BAD_RECEIPT, "bad_receipt", "failed", NOTHING, BAD_RECEIPT, "policy signed: the verdict on the receipt is failed") \
	X(NO_RECEIPT, "no_receipt", "failed", NOTHING, BAD_RECEIPT, "policy signed: no receipt came, or its verdict is unverifiable") \
	X(DEADLINE_QUEUED, "deadline_queued", "expired", NOTHING, DEADLINE, "the deadline passed while queued") \
	X(DEADLINE_RUNNING, "deadline_running", "expired", NOTHING, DEADLINE, "the deadline passed while running") \
	X(SETTLEMENT_FAILED, "settlement_failed", "failed", NOTHING, PAYMENT_FAILED, "x402: the chain refused the payment; an answer that was made is not given, a job in the background is not run") \
	X(GATEWAY_LOST, "gateway_lost", "failed", NOTHING, INTERNAL, "the gateway process serving this connection died; a job accepted in the background is run again instead") \
	X(INTERNAL_ERROR, "internal_error", "failed", NOTHING, INTERNAL, "the gateway could not do its part")

enum outcome {
#define X(sym, ...) OUTCOME_##sym,
	OUTCOME_TABLE(X)
#undef X
	OUTCOME_COUNT
};

struct outcome_row {
	const char *name, *state;
	enum charge charge;
	enum err err; /* what a caller that still listens is told */
	const char *when;
};
const struct outcome_row *outcome_row(enum outcome o);
void charging_print_markdown(FILE *out); /* the table of docs/CHARGING.md */

#endif
