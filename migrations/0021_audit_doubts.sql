-- Reconciliation stops the gateway for what is wrong, and for nothing else: not for what anybody can put on chain, nor for an endpoint that lags.

ALTER TABLE mismatch ADD COLUMN block_hash hash32;
COMMENT ON COLUMN mismatch.block_hash IS 'hash of that block when the log was found: while the chain has it, the log is there, whatever an endpoint does not have';

ALTER TABLE mismatch ADD COLUMN missing numeric;
COMMENT ON COLUMN mismatch.missing IS 'how much: when it was last found or, of one that is resolved, what an operator took responsibility for; NULL: no sum';
COMMENT ON COLUMN mismatch.healed_at IS 'when it was found gone, or resolved and grown, which is another one: history, no stop';

ALTER TABLE payment ADD COLUMN missed_block bigint;
COMMENT ON COLUMN payment.missed_block IS 'head when the transaction that settled it, not one of ours, had no such log; when that is final it is looked for again, and counts';
CREATE FUNCTION audit_forget_payment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.audited_block := NULL;
	NEW.missed_block := NULL;
	RETURN NEW;
END $$;
DROP TRIGGER audit_forget ON payment;
CREATE TRIGGER audit_forget BEFORE UPDATE OF state ON payment FOR EACH ROW
	WHEN ((OLD.audited_block IS NOT NULL OR OLD.missed_block IS NOT NULL) AND NEW.state NOT IN ('settled', 'credited')) EXECUTE FUNCTION audit_forget_payment();

-- As in 0012. `means` may be nothing, too: a Transfer of nothing that no row speaks of; and a deposit that is not booked yet is in_flight.
CREATE OR REPLACE FUNCTION audit_compare(s jsonb, m jsonb, OUT means text, OUT deposit_id bigint, OUT payment_id uuid, OUT kind text, OUT detail text) LANGUAGE plpgsql STABLE AS $$
DECLARE
	hash bytea := decode(m->>'tx', 'hex');
	place int := (m->>'ordinal')::int;
	block bigint := (m->>'block')::bigint;
	value numeric := (m->>'value')::numeric;
	source bytea := decode(m->>'from', 'hex');
	named uuid := substr(m->>'ref', 1, 32)::uuid;
	d deposit;
	p payment;
BEGIN
	-- What goes to a contract of ours, or to the key that pays out, is in custody no more.
	IF s->'ours' ? (m->>'from') AND (m->>'to' = s->>'treasury' OR m->>'to' = s->>'pay_to') THEN
		means := 'internal';
	ELSIF m->>'to' = s->>'treasury' THEN
		SELECT * INTO d FROM deposit x WHERE x.chain_id = (s->>'chain_id')::bigint AND x.token = decode(s->>'token', 'hex') AND x.tx = hash AND x.ordinal = place;
		IF NOT FOUND THEN
			kind := 'deposit_missing';
			detail := format('%s from 0x%s arrived and is no deposit', value, m->>'from');
		ELSIF d.state IN ('seen', 'credited', 'held') AND d.amount = value AND d.sender = source AND d.block_number = block THEN
			IF d.state = 'seen' THEN -- with fewer confirmations than it was seen with; it is asked about when it is booked
				means := 'in_flight';
			ELSE
				means := 'deposit';
				deposit_id := d.id;
			END IF;
		ELSE
			kind := 'deposit_differs';
			detail := format('deposit %s is %s: %s from 0x%s in block %s; the log says %s from 0x%s', d.id, d.state, d.amount, encode(d.sender, 'hex'), d.block_number, value, m->>'from');
		END IF;
	ELSIF m->>'to' = s->>'pay_to' THEN
		SELECT * INTO p FROM payment x WHERE x.tx_hash = hash AND x.log_index = place;
		IF FOUND THEN
			IF p.state IN ('settled', 'credited') AND p.amount = value AND p.payer = source AND (p.method <> 'eip3009' OR m->>'nonce' IS NULL OR p.nonce = decode(m->>'nonce', 'hex'))
			   AND (named IS NULL OR named = p.id) THEN
				means := 'payment';
				payment_id := p.id;
			ELSE
				kind := 'payment_differs';
				detail := format('payment %s is %s: %s from 0x%s; the log says %s from 0x%s%s', p.id, p.state, p.amount, encode(p.payer, 'hex'), value, m->>'from',
					coalesce(' for payment ' || named, ''));
			END IF;
		ELSIF named IS NULL THEN
			means := 'stray';
		ELSE
			SELECT * INTO p FROM payment x WHERE x.id = named;
			-- What comes late is booked when its transaction is final, a moment after this.
			IF p.state IN ('claimed', 'settling') OR (p.state IN ('failed', 'dropped', 'lost') AND EXISTS (SELECT FROM settlement_tx_version v JOIN settlement_tx t ON t.id = v.tx
			   WHERE v.hash = decode(m->>'tx', 'hex') AND t.state <> 'final')) THEN
				means := 'in_flight';
			ELSE
				kind := 'payment_missing';
				detail := format('our Settler took %s from 0x%s for payment %s, which is %s', value, m->>'from', named, coalesce(p.state, 'unknown'));
			END IF;
		END IF;
	ELSIF EXISTS (SELECT FROM payout_transfer x WHERE x.tx_hash = hash AND x.log_index = place AND x.amount = value AND x.recipient = decode(m->>'to', 'hex'))
	   OR EXISTS (SELECT FROM settlement_tx_version v JOIN payout x ON x.tx = v.tx WHERE v.hash = decode(m->>'tx', 'hex') AND x.state = 'sent' AND x.amount = value
	              AND x.address = decode(m->>'to', 'hex')) THEN
		means := 'payout'; -- or soon: it is booked a moment after it is final, as this is
	ELSE
		kind := 'outflow_unknown';
		detail := format('%s left 0x%s for 0x%s and is no payout', value, m->>'from', m->>'to');
	END IF;
	-- Anybody may move nothing from and to whom they like: ERC-20 asks for no allowance.
	IF value = 0 AND kind IN ('deposit_missing', 'payment_missing', 'outflow_unknown') THEN
		means := 'nothing';
		kind := NULL;
		detail := NULL;
	END IF;
END $$;

-- As in 0012, with the block's hash.
CREATE OR REPLACE FUNCTION audit_judge(s jsonb, m jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	c record;
	block bigint := (m->>'block')::bigint;
BEGIN
	SELECT * INTO c FROM audit_compare(s, m);
	UPDATE deposit x SET audited_block = block WHERE x.id = c.deposit_id AND x.audited_block IS DISTINCT FROM block;
	UPDATE payment x SET audited_block = block WHERE x.id = c.payment_id AND x.audited_block IS DISTINCT FROM block;
	RETURN CASE WHEN c.kind IS NOT NULL THEN jsonb_build_object('kind', c.kind, 'subject', format('0x%s:%s', m->>'tx', m->>'ordinal'), 'tx', m->>'tx',
		'ordinal', m->'ordinal', 'block', m->'block', 'hash', m->'hash', 'detail', c.detail) END;
END $$;

-- As in 0012; a log that came again in another block is in that one, and more missing than was resolved is another one.
CREATE OR REPLACE FUNCTION mismatch_report(kinds text[], news jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	UPDATE mismatch m SET healed_at = now() FROM jsonb_array_elements(news) f WHERE m.healed_at IS NULL AND m.resolved_at IS NOT NULL
		AND m.kind = f->>'kind' AND m.subject = f->>'subject' AND (f->>'missing')::numeric > m.missing;
	INSERT INTO mismatch AS m (kind, subject, tx, ordinal, block_number, block_hash, missing, detail)
	SELECT f->>'kind', f->>'subject', decode(f->>'tx', 'hex'), (f->>'ordinal')::int, (f->>'block')::bigint, decode(f->>'hash', 'hex'), (f->>'missing')::numeric, f->>'detail'
	FROM jsonb_array_elements(news) f
	ON CONFLICT (kind, subject) WHERE healed_at IS NULL DO UPDATE SET last_seen_at = now(), detail = EXCLUDED.detail,
		block_number = coalesce(EXCLUDED.block_number, m.block_number), block_hash = coalesce(EXCLUDED.block_hash, m.block_hash),
		missing = CASE WHEN m.resolved_at IS NULL THEN EXCLUDED.missing ELSE coalesce(m.missing, EXCLUDED.missing) END;
	UPDATE mismatch m SET healed_at = now() WHERE m.healed_at IS NULL AND m.kind = ANY (kinds)
		AND NOT EXISTS (SELECT FROM jsonb_array_elements(news) f WHERE f->>'kind' = m.kind AND f->>'subject' = m.subject);
END $$;

-- As in 0012, with the hash of the block a mismatch was found in. `early`: nobody knows the block of this log yet, and what is not there now may
-- be there when all of today is final.
DROP FUNCTION audit_questions;
CREATE FUNCTION audit_questions(s jsonb, upto bigint) RETURNS TABLE (mismatch bigint, kind text, subject text, tx bytea, ordinal int, block_number bigint, block_hash bytea, claimed boolean,
	early boolean, detail text)
LANGUAGE sql STABLE AS $$
	(SELECT NULL::bigint, 'deposit_without_log', format('deposit:%s', d.id), d.tx::bytea, d.ordinal, d.block_number, NULL::bytea, true, false,
		format('deposit %s (%s, %s) has no log', d.id, d.state, d.amount)
	 FROM deposit d WHERE d.state IN ('credited', 'held') AND d.audited_block IS NULL AND d.block_number <= upto AND d.chain_id = (s->>'chain_id')::bigint
		AND d.token = decode(s->>'token', 'hex') AND d.treasury = decode(s->>'treasury', 'hex') ORDER BY d.id LIMIT 64)
	UNION ALL
	(SELECT NULL, 'payment_without_log', format('payment:%s', p.id), p.tx_hash::bytea, p.log_index, t.block_number, NULL, true, t.id IS NULL AND p.missed_block IS NULL,
		format('payment %s (settled, %s) has no log', p.id, p.amount)
	 FROM payment p LEFT JOIN settlement_tx_version v ON v.hash = p.tx_hash LEFT JOIN settlement_tx t ON t.id = v.tx
	 WHERE p.state IN ('settled', 'credited') AND p.tx_hash IS NOT NULL AND p.audited_block IS NULL AND p.chain_id = (s->>'chain_id')::bigint
		AND ((t.id IS NULL AND (p.missed_block IS NULL OR p.missed_block <= upto)) OR (t.state = 'final' AND t.block_number <= upto)) ORDER BY p.ended_at, p.id LIMIT 64)
	UNION ALL
	(SELECT m.id, m.kind, m.subject, m.tx::bytea, m.ordinal, m.block_number, m.block_hash::bytea,
		EXISTS (SELECT FROM deposit d WHERE d.tx = m.tx AND d.ordinal = m.ordinal AND d.state IN ('credited', 'held') AND d.chain_id = (s->>'chain_id')::bigint
			AND d.token = decode(s->>'token', 'hex'))
		OR EXISTS (SELECT FROM payment p WHERE p.tx_hash = m.tx AND p.log_index = m.ordinal AND p.state IN ('settled', 'credited')), false, m.detail
	 FROM mismatch m WHERE m.healed_at IS NULL AND m.tx IS NOT NULL ORDER BY m.id LIMIT 256)
$$;
