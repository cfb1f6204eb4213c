/* Keys that were replaced: what one of them sent is read, sent again and made final as ever; only nobody can sign for it any more. Another
 * gateway that still has the key looks after it itself. See settler.h. */
#include <stdlib.h>

#include "base/clock.h"
#include "chain/send.h"
#include "pay/settler_internal.h"

#define LOOK_MAX 16 /* in one turn, which should not last */

static enum err addressee(const struct open_tx *t, struct address *ret)
{
	struct address sender;
	struct hash hash;
	struct tx tx;
	enum err e = tx_parse_signed(t->raw, t->raw_len, &tx, &sender, &hash);

	if (!e)
		*ret = tx.to;
	return e;
}

/* Our own key can do it again when that cannot do it twice: an authorization is used once, whoever uses it; and what a payout contract has paid
 * it does not pay again, which another contract would. */
static bool can_be_repeated(const struct settler_config *c, const struct open_tx *t)
{
	struct address to;

	return c->work ? addressee(t, &to) == ERR_OK && address_equal(&to, &c->contract) : t->unsettled;
}

enum err settler_former_stuck(const struct settler_config *c, struct db *db, const struct open_tx *t)
{
	bool tried = clock_mono_ms() - c->view->former_since_ms > c->patience_ms; /* it could be mined since we send it again */

	if (tried && can_be_repeated(c, t))
		return settler_give_up(c, db, t, "former_key_given_up", "a key that was replaced had sent it; it gets another transaction");
	if (tried && t->idle_ms >= c->patience_ms / 8)
		c->log("former_key_stuck", (int64_t)t->nonce, address_format(&t->sender).s);
	return settler_send_again(c, db, t);
}

static enum err look_at(const struct settler_config *c, struct db *db, const struct open_tx *t, uint64_t head)
{
	uint64_t used = 0;
	enum err e = chain_nonce(c->chain, &t->sender, CHAIN_LATEST, &used);

	if (e)
		return e;
	return t->mined ? settler_look_after_mined(c, db, t, head, false) : settler_look_for_receipt(c, db, t, head, used);
}

static enum err look_after(const struct settler_config *c, struct db *db, const struct open_tx *t, uint64_t head)
{
	bool mine = false;
	enum err released, e = db_settler_own(db, &t->sender, settler_idle_ms(c), &mine);

	if (e || !mine)
		return e;
	e = look_at(c, db, t, head);
	released = db_settler_release(db, &t->sender);
	return e ? e : released;
}

enum err settler_look_after_former(const struct settler_config *c, struct db *db, uint64_t head)
{
	struct open_tx open[LOOK_MAX];
	size_t count = 0;
	int64_t now = clock_mono_ms();
	enum err e;

	if (c->view->former_ms && now - c->view->former_ms < c->patience_ms / 8)
		return ERR_OK;
	c->view->former_ms = now;
	if (!c->view->former_since_ms)
		c->view->former_since_ms = now;
	e = db_settlements_former(db, c->chain_id, &c->from, c->work != NULL, open, LOOK_MAX, &count);
	for (size_t i = 0; i < count; i++) {
		if (!e)
			e = look_after(c, db, &open[i], head);
		free(open[i].raw);
	}
	return e;
}
