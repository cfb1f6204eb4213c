/* Named points in the life of a job at which a test ends the process: FAULT(name). Compiled to nothing unless built with
 * `make FAULTS=1 BUILD=build/faults`; then OPGATE_TEST_FAULT="name:count" in the environment raises SIGKILL when the point is
 * passed for the count-th time. tests/faults/kill.mjs reads the names from this table, so that each of them is killed at. */
#ifndef OPGATE_BASE_FAULT_H
#define OPGATE_BASE_FAULT_H

#define FAULT_TABLE(X) \
	X(job_opening)       /* before the statement that places the hold */ \
	X(job_opened)        /* a foreground job is committed, no node knows of it */ \
	X(job_queued)        /* a background job is committed, the caller does not know yet */ \
	X(job_acknowledged)  /* the caller of a background job is being told */ \
	X(job_claimed)       /* taken from the queue, no node knows of it */ \
	X(attempt_sent)      /* on its way to the node */ \
	X(attempt_replaced)  /* another node was written down, and knows nothing yet */ \
	X(first_event)       /* the first event of a stream came */ \
	X(answer_received)   /* the attempt ended, nothing is decided */ \
	X(verdict_made)      /* decided, nothing written */ \
	X(produced)          /* the answer is stored, not captured */ \
	X(closing)           /* before the statement that captures or voids */ \
	X(closed)            /* captured or voided, nobody was told */ \
	X(answer_sent)       /* the front was given the end */ \
	X(cancel_written)    /* the owner's wish to cancel is committed */ \
	X(partial_waiting)   /* the caller left a stream, the node's word is awaited */ \
	X(partial_received)  /* the node's word on a cut stream came */ \
	X(lane_batch_before) /* a batch of openings or closings is about to be sent */ \
	X(lane_batch_after)  /* it is committed, nobody knows yet */ \
	X(orphan_taken)      /* recovery: jobs of a dead gateway are leased */ \
	X(orphan_requeued)   /* recovery: one of them is queued again */ \
	X(orphan_closed)     /* recovery: one of them is ended */ \
	X(deposit_seen)      /* the logs of a block were read */ \
	X(deposit_written)   /* deposits and cursor are committed */ \
	X(deposit_rewound)   /* a reorganisation was noticed, what it took back is committed */ \
	X(payment_claimed)   /* x402: authorization, money and job are committed */ \
	X(payment_settling)  /* x402: it is written that the money is to be taken; the answer, if it came first, with it */ \
	X(settlement_written) /* x402: the signed transaction is committed, nobody has it */ \
	X(settlement_sent)   /* x402: the chain has it */ \
	X(settlement_mined)  /* x402: what it settled is committed */ \
	X(facilitation_claimed) /* x402, for others: authorization and gas are committed, the settler does not know */ \
	X(settlement_found_out) /* x402: the chain was asked why it did not settle a payment, nothing is written */ \
	X(settlement_bumped) /* x402: a dearer form is committed, nobody has it */ \
	X(settlement_replaced) /* x402: another transaction has its nonce, its payments are free again */ \
	X(settlement_filled) /* x402: a transaction for a missing nonce is committed, nobody has it */ \
	X(settlement_unmined) /* x402: a reorganisation is committed, what it settled is open again */ \
	X(settlement_final)  /* x402: it is not looked at any more */ \
	X(payment_closed)    /* x402: the job's end is committed, nobody was told */ \
	X(record_queued)     /* what goes on chain of a call is known */ \
	X(record_posted)     /* the events are committed, no transaction carries them */ \
	X(approval_funding)  /* x402: coin for a payer's approval: the signed transaction is committed, nobody has it */ \
	X(approval_funded)   /* x402: the chain has it */ \
	X(approval_sending)  /* x402: that the payer's approval may be sent is committed, nobody has it */ \
	X(approval_sent)     /* x402: the chain has it */ \
	X(payout_asked)      /* a payout's money left its source, who asked does not know yet */ \
	X(payout_scheduled)  /* the same by schedule */ \
	X(payout_signed)     /* its transaction is signed, nothing written */ \
	X(payout_written)    /* the signed transaction is committed, nobody has it */ \
	X(payout_sent)       /* the chain has it */ \
	X(payout_mined)      /* where it was mined is committed, nothing booked */ \
	X(payout_ending)     /* it is final, nothing booked */ \
	X(payout_ended)      /* what it paid and what it did not is booked */

#ifdef OPGATE_FAULTS
enum fault {
#define X(name) FAULT_##name,
	FAULT_TABLE(X)
#undef X
	FAULT_COUNT
};
void fault_pass(enum fault f);
#define FAULT(name) fault_pass(FAULT_##name)
#else
#define FAULT(name) ((void)0)
#endif

#endif
