-- Reconciliation stops the gateway for what is wrong, and for nothing else: not for what anybody can put on chain, nor for an endpoint that lags.

-- As in 0012. `means` may be nothing, too: a Transfer of nothing that no row speaks of.
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
		ELSIF d.state IN ('credited', 'held') AND d.amount = value AND d.sender = source AND d.block_number = block THEN
			means := 'deposit';
			deposit_id := d.id;
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
