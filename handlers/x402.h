/* Paid requests without an account: x402 terms, payments and receipts as HTTP. Called by paid.c and front.c. */
#ifndef OPGATE_HANDLERS_X402_H
#define OPGATE_HANDLERS_X402_H

#include "handlers/paid.h"

#define X402_REPLAY_MS 3600000 /* how long a payment fetches its answer again */

/* Answers with terms, runs the job on a good payment, or says what became of an earlier one. */
enum err x402_run(struct request *req, struct paid *p) WARN_UNUSED;
/* PAYMENT-RESPONSE (or X-PAYMENT-RESPONSE) and Opgate-Payment of an ended run; while the chain has not said, the whole answer:
 * 202 with the status link, and true is returned. */
bool x402_answer(struct request *req, const struct run_end *end);
/* The same for a stream that begins: its payment is settled already, or will be found under Opgate-Payment. p may be NULL. */
void x402_begin(struct request *req, const struct run_payment *p);
/* The words of an error, with why the money did not come, or where it is when it was taken first. */
const char *x402_detail(struct request *req, const struct run_end *end, const char *detail);
/* The answer an earlier payment has paid for, or what became of it; the caller has made sure whose it is and that the request is the same. */
enum err x402_answer_earlier(struct request *req, const struct paid *p, const struct payment_row *row) WARN_UNUSED;

#endif
