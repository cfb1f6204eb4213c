/* EIP-1559 transactions, see tx.h. Called by the settler (signing) and by payment checks (reading); pure. */
#include "chain/tx.h"

#include <string.h>

#include "chain/rlp.h"

#define TYPE 0x02

/* The nine fields that are signed, without their list. */
static enum err fields_put(struct buf *b, const struct tx *tx)
{
	uint8_t value[32];
	u256_to_be(&tx->value, value);
	enum err e = rlp_put_uint(b, tx->chain_id);
	if (!e)
		e = rlp_put_uint(b, tx->nonce);
	if (!e)
		e = rlp_put_uint(b, tx->max_priority_fee);
	if (!e)
		e = rlp_put_uint(b, tx->max_fee);
	if (!e)
		e = rlp_put_uint(b, tx->gas);
	if (!e)
		e = rlp_put_bytes(b, tx->to.b, sizeof(tx->to.b));
	if (!e)
		e = rlp_put_word(b, value);
	if (!e)
		e = rlp_put_bytes(b, tx->data, tx->data_len);
	return e ? e : rlp_close_list(b, b->len); /* no access list */
}

/* keccak256 of the type and of the fields as a list: what is signed. */
static enum err digest_make(const void *fields, size_t len, struct hash *ret)
{
	_cleanup_buf_ struct buf list = BUF_INIT(TX_RAW_MAX);
	enum err e = buf_append(&list, fields, len);
	if (!e)
		e = rlp_close_list(&list, 0);
	if (e)
		return e;
	const uint8_t type = TYPE;
	const struct bytes parts[] = { { &type, 1 }, { list.data, list.len } };
	keccak256_parts(parts, 2, ret);
	return ERR_OK;
}

enum err tx_sign(const struct tx *tx, const struct secret_key *key, struct buf *raw, struct hash *ret_hash)
{
	if (tx->max_priority_fee > tx->max_fee)
		return ERR_BAD_FIELD;
	_cleanup_buf_ struct buf list = BUF_INIT(TX_RAW_MAX - 1);
	struct hash digest, hash;
	struct signature sig;
	enum err e = fields_put(&list, tx);
	if (!e)
		e = digest_make(list.data, list.len, &digest);
	if (e)
		return e;
	ecdsa_sign(key, &digest, &sig);
	e = rlp_put_uint(&list, (uint64_t)(sig.b[64] - 27));
	if (!e)
		e = rlp_put_word(&list, sig.b);
	if (!e)
		e = rlp_put_word(&list, sig.b + 32);
	if (!e)
		e = rlp_close_list(&list, 0);
	if (e)
		return e;
	const uint8_t type = TYPE;
	const struct bytes parts[] = { { &type, 1 }, { list.data, list.len } };
	keccak256_parts(parts, 2, &hash);
	size_t from = raw->len;
	e = buf_append(raw, &type, 1);
	if (!e && (e = buf_append(raw, list.data, list.len)))
		raw->len = from;
	if (!e)
		*ret_hash = hash;
	return e;
}

static enum err fields_read(struct rlp *r, struct tx *tx)
{
	struct rlp access = { NULL, 1 };
	uint8_t value[32] = { 0 };
	enum err e = rlp_read_uint(r, &tx->chain_id);
	if (!e)
		e = rlp_read_uint(r, &tx->nonce);
	if (!e)
		e = rlp_read_uint(r, &tx->max_priority_fee);
	if (!e)
		e = rlp_read_uint(r, &tx->max_fee);
	if (!e)
		e = rlp_read_uint(r, &tx->gas);
	if (!e)
		e = rlp_read_fixed(r, tx->to.b, sizeof(tx->to.b));
	if (!e)
		e = rlp_read_word(r, value);
	if (!e)
		e = rlp_read_bytes(r, &tx->data, &tx->data_len);
	if (!e)
		e = rlp_read_list(r, &access);
	tx->value = u256_from_be(value);
	if (!e && (access.len || tx->max_priority_fee > tx->max_fee))
		e = ERR_BAD_FIELD;
	return e;
}

enum err tx_parse_signed(const void *raw, size_t len, struct tx *ret_tx, struct address *ret_sender, struct hash *ret_hash)
{
	const uint8_t *p = raw;
	if (len < 2 || len > TX_RAW_MAX || p[0] != TYPE)
		return ERR_BAD_FIELD;
	struct rlp rest = { p + 1, len - 1 }, fields = { NULL, 0 };
	enum err e = rlp_read_list(&rest, &fields);
	if (e || rest.len)
		return ERR_BAD_FIELD;
	struct tx tx = { 0 };
	struct signature sig;
	uint64_t y = 2;
	const uint8_t *signed_from = fields.p;
	e = fields_read(&fields, &tx);
	size_t signed_len = (size_t)(fields.p - signed_from);
	if (!e)
		e = rlp_read_uint(&fields, &y);
	if (!e)
		e = rlp_read_word(&fields, sig.b);
	if (!e)
		e = rlp_read_word(&fields, sig.b + 32);
	if (e || y > 1 || fields.len)
		return ERR_BAD_FIELD;
	sig.b[64] = (uint8_t)(27 + y);
	/* Canonical fields, so their bytes are what was signed. */
	struct hash digest;
	struct address sender;
	e = digest_make(signed_from, signed_len, &digest);
	if (!e)
		e = ecdsa_recover(&digest, &sig, &sender);
	if (e)
		return e;
	keccak256(raw, len, ret_hash);
	*ret_tx = tx;
	*ret_sender = sender;
	return ERR_OK;
}
