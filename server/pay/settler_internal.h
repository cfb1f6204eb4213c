/* Between the files of the settler; see settler.h. */
#ifndef OPGATE_PAY_SETTLER_INTERNAL_H
#define OPGATE_PAY_SETTLER_INTERNAL_H

#include "pay/settler.h"

#define SETTLER_AHEAD_MAX 64 /* transactions of a key that wait to be mined; one that is further ahead had its nonce from an endpoint that was wrong */

/* ---- settler.c ---- */
/* The payments whose calls returned, as our contract says in this receipt. */
size_t settler_said(const struct settler_config *c, const struct chain_receipt *r, struct uuid *ret, size_t max);
/* Did the call for this payment return, and is there a Transfer of the token that is `what`? Which one. */
bool settler_moved(const struct settler_config *c, const struct chain_receipt *r, const struct uuid *payment, const struct chain_payment *what, uint32_t *ret_log);
/* Payments of a transaction, mined in the block `mined`, that it did not settle: the chain is asked why not. Also after a death in the
 * middle of that. */
enum err settler_ask_about_rest(const struct settler_config *c, struct db *db, int64_t tx, uint64_t mined, uint64_t at) WARN_UNUSED;
/* Pools forget: the same bytes, now and then. */
enum err settler_send_again(const struct settler_config *c, struct db *db, const struct open_tx *t) WARN_UNUSED;
/* Of whichever form was mined. ERR_NOT_FOUND. */
enum err settler_receipt(const struct settler_config *c, struct db *db, const struct open_tx *t, struct chain_receipt *ret) WARN_UNUSED;
/* `used`: the next nonce of the key that signed it, asked before this. */
enum err settler_look_for_receipt(const struct settler_config *c, struct db *db, const struct open_tx *t, uint64_t head, uint64_t used) WARN_UNUSED;
/* What it carries gets another transaction. */
enum err settler_give_up(const struct settler_config *c, struct db *db, const struct open_tx *t, const char *event, const char *why) WARN_UNUSED;

/* What the key's transactions are for. */
const struct settler_work *settler_work_of(const struct settler_config *c);

/* ---- settler_chain.c ---- */
/* Still our chain? Its newest block, its time, and what the key has for gas. */
enum err settler_look_at_chain(const struct settler_config *c, struct chain_block *ret_head) WARN_UNUSED;
/* Do the blocks of the mined ones still belong to the chain? False: look at each. */
enum err settler_blocks_stand(const struct settler_config *c, const struct open_tx *open, size_t count, uint64_t head, bool *ret) WARN_UNUSED;
/* The last look at a transaction of payments: the receipt is read again, and what it says must be what was booked. */
enum err settler_make_final(const struct settler_config *c, struct db *db, const struct open_tx *t) WARN_UNUSED;
enum err settler_look_after_mined(const struct settler_config *c, struct db *db, const struct open_tx *t, uint64_t head, bool stands) WARN_UNUSED;
/* A nonce that no transaction of ours has and that all of them wait for. `used`: the next one on chain. */
enum err settler_fill_gap(const struct settler_config *c, struct db *db, const struct open_tx *open, size_t count, uint64_t used) WARN_UNUSED;

/* ---- settler_former.c ---- */
/* What keys that are not ours any more have open, now and then. */
enum err settler_look_after_former(const struct settler_config *c, struct db *db, uint64_t head) WARN_UNUSED;
/* One of theirs waits for longer than it should. */
enum err settler_former_stuck(const struct settler_config *c, struct db *db, const struct open_tx *t) WARN_UNUSED;

#endif
