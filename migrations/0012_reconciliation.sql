-- Reconciliation with the chain's own logs: how far they were compared, and what did not agree, where it first appeared.

ALTER TABLE deposit ADD audited_block bigint;
COMMENT ON COLUMN deposit.audited_block IS 'block whose log agreed with this row when it was final; NULL: not compared yet';
CREATE INDEX deposit_unaudited ON deposit (block_number) WHERE state IN ('credited', 'held') AND audited_block IS NULL;
COMMENT ON INDEX deposit_unaudited IS 'confirmed, log not found yet';
ALTER TABLE payment ADD audited_block bigint;
COMMENT ON COLUMN payment.audited_block IS 'block whose log agreed with this row when it was final; NULL: not compared yet';
CREATE INDEX payment_unaudited ON payment (ended_at) WHERE state IN ('settled', 'credited') AND tx_hash IS NOT NULL AND audited_block IS NULL;
COMMENT ON INDEX payment_unaudited IS 'settled, log not found yet';

-- What is undone must be found again when it comes again.
CREATE FUNCTION audit_forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.audited_block := NULL;
	RETURN NEW;
END $$;
CREATE TRIGGER audit_forget BEFORE UPDATE OF state ON deposit FOR EACH ROW
	WHEN (OLD.audited_block IS NOT NULL AND NEW.state NOT IN ('credited', 'held')) EXECUTE FUNCTION audit_forget();
CREATE TRIGGER audit_forget BEFORE UPDATE OF state ON payment FOR EACH ROW
	WHEN (OLD.audited_block IS NOT NULL AND NEW.state NOT IN ('settled', 'credited')) EXECUTE FUNCTION audit_forget();

CREATE TABLE audit_cursor (
	chain_id bigint NOT NULL,
	token address NOT NULL,
	treasury address NOT NULL,
	number bigint NOT NULL,
	at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (chain_id, token, treasury)
);
COMMENT ON TABLE audit_cursor IS 'the last block whose logs were compared with the books; moves by compare-and-set';
COMMENT ON COLUMN audit_cursor.chain_id IS 'which chain';
COMMENT ON COLUMN audit_cursor.token IS 'which token';
COMMENT ON COLUMN audit_cursor.treasury IS 'which treasury';
COMMENT ON COLUMN audit_cursor.number IS 'block number';
COMMENT ON COLUMN audit_cursor.at IS 'when it moved';

CREATE TABLE audit_block (
	chain_id bigint NOT NULL,
	token address NOT NULL,
	treasury address NOT NULL,
	number bigint NOT NULL,
	hash hash32 NOT NULL,
	PRIMARY KEY (chain_id, token, treasury, number)
);
COMMENT ON TABLE audit_block IS 'hashes of the newest blocks at which the cursor stood: a different one later sends it back';
COMMENT ON COLUMN audit_block.chain_id IS 'which chain';
COMMENT ON COLUMN audit_block.token IS 'which token';
COMMENT ON COLUMN audit_block.treasury IS 'which treasury';
COMMENT ON COLUMN audit_block.number IS 'block number';
COMMENT ON COLUMN audit_block.hash IS 'block hash then';

CREATE TABLE mismatch (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	kind text NOT NULL,
	subject text NOT NULL,
	tx hash32,
	ordinal int,
	block_number bigint,
	detail text NOT NULL,
	first_seen_at timestamptz NOT NULL DEFAULT now(),
	last_seen_at timestamptz NOT NULL DEFAULT now(),
	healed_at timestamptz,
	resolved_at timestamptz,
	resolved_by bigint REFERENCES account,
	note text,
	CHECK ((resolved_at IS NULL) = (note IS NULL))
);
COMMENT ON TABLE mismatch IS 'where ledger and chain did not agree; one that is neither healed nor resolved stops settlements and payouts';
COMMENT ON COLUMN mismatch.id IS 'internal key, in the order of their appearance';
COMMENT ON COLUMN mismatch.kind IS 'which check';
COMMENT ON COLUMN mismatch.subject IS 'what it is about: a transfer, deposit, payment or log';
COMMENT ON COLUMN mismatch.tx IS 'transaction of the log in question';
COMMENT ON COLUMN mismatch.ordinal IS 'which log of its receipt';
COMMENT ON COLUMN mismatch.block_number IS 'block of the log in question';
COMMENT ON COLUMN mismatch.detail IS 'in words';
COMMENT ON COLUMN mismatch.first_seen_at IS 'when it was first found';
COMMENT ON COLUMN mismatch.last_seen_at IS 'when it was last found';
COMMENT ON COLUMN mismatch.healed_at IS 'when it was found gone: history, no stop';
COMMENT ON COLUMN mismatch.resolved_at IS 'when an operator took responsibility: no stop any more while it lasts';
COMMENT ON COLUMN mismatch.resolved_by IS 'which operator';
COMMENT ON COLUMN mismatch.note IS 'what the operator found';
CREATE UNIQUE INDEX mismatch_open ON mismatch (kind, subject) WHERE healed_at IS NULL;
COMMENT ON INDEX mismatch_open IS 'one open row for each';

-- Are new settlements and payouts stopped? Asked before anything is signed, by every process, also right after a start.
CREATE FUNCTION settlement_stopped() RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
	RETURN EXISTS (SELECT FROM mismatch WHERE healed_at IS NULL AND resolved_at IS NULL);
END $$;

-- What reconciliation found this time: appears, stays, or (of the kinds that were looked at) is gone.
CREATE FUNCTION mismatch_report(kinds text[], news jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO mismatch AS m (kind, subject, tx, ordinal, block_number, detail)
	SELECT f->>'kind', f->>'subject', decode(f->>'tx', 'hex'), (f->>'ordinal')::int, (f->>'block')::bigint, f->>'detail' FROM jsonb_array_elements(news) f
	ON CONFLICT (kind, subject) WHERE healed_at IS NULL DO UPDATE SET last_seen_at = now(), detail = EXCLUDED.detail;
	UPDATE mismatch m SET healed_at = now() WHERE m.healed_at IS NULL AND m.kind = ANY (kinds)
		AND NOT EXISTS (SELECT FROM jsonb_array_elements(news) f WHERE f->>'kind' = m.kind AND f->>'subject' = m.subject);
END $$;

-- Transfers out of our addresses that we meant.
CREATE VIEW payout_transfer AS SELECT id::text, tx_hash, log_index, address AS recipient, amount FROM payout WHERE state = 'paid';
COMMENT ON VIEW payout_transfer IS 'payouts that are booked as paid: id, transaction, which log of its receipt, receiver, amount';

-- What may be missing on chain for a moment although the ledger has it: booked by a receipt or a log that is not final yet; and sent by
-- a Payouts contract other than `paying`, whose own total says how much it has paid.
CREATE FUNCTION custody_in_flight(paying bytea) RETURNS numeric LANGUAGE sql STABLE AS $$
	SELECT coalesce((SELECT sum(amount) FROM deposit WHERE state IN ('credited', 'held') AND audited_block IS NULL), 0)
	     + coalesce((SELECT sum(amount) FROM payment WHERE state IN ('settled', 'credited') AND tx_hash IS NOT NULL AND audited_block IS NULL), 0)
	     + coalesce((SELECT sum(amount) FROM payout WHERE state = 'sent' AND contract <> paying), 0)
$$;

-- Compares one final Transfer with the books. `means`: deposit, payment or payout (the row agrees), internal (our own money moved), stray
-- (came to pay_to unasked), in_flight (a settlement not written down yet); NULL: it does not agree, and kind and detail say how.
-- `s`: chain_id, token, treasury, pay_to, ours (all our addresses, these included), as hex.
CREATE FUNCTION audit_compare(s jsonb, m jsonb, OUT means text, OUT deposit_id bigint, OUT payment_id uuid, OUT kind text, OUT detail text) LANGUAGE plpgsql STABLE AS $$
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
END $$;

-- The same, and marks the row that agrees. NULL: nothing is wrong.
CREATE FUNCTION audit_judge(s jsonb, m jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	c record;
	block bigint := (m->>'block')::bigint;
BEGIN
	SELECT * INTO c FROM audit_compare(s, m);
	UPDATE deposit x SET audited_block = block WHERE x.id = c.deposit_id AND x.audited_block IS DISTINCT FROM block;
	UPDATE payment x SET audited_block = block WHERE x.id = c.payment_id AND x.audited_block IS DISTINCT FROM block;
	RETURN CASE WHEN c.kind IS NOT NULL THEN jsonb_build_object('kind', c.kind, 'subject', format('0x%s:%s', m->>'tx', m->>'ordinal'), 'tx', m->>'tx',
		'ordinal', m->'ordinal', 'block', m->'block', 'detail', c.detail) END;
END $$;

-- Blocks first to last for `opgate reconcile`, which marks nothing: what each log is, and the rows that should have one there and have none.
CREATE FUNCTION audit_range(s jsonb, first bigint, last bigint, movements jsonb)
RETURNS TABLE (means text, kind text, subject text, tx text, ordinal int, block bigint, value numeric, detail text) LANGUAGE sql STABLE AS $$
	(SELECT c.means, c.kind, format('0x%s:%s', e.m->>'tx', e.m->>'ordinal'), e.m->>'tx', (e.m->>'ordinal')::int, (e.m->>'block')::bigint, (e.m->>'value')::numeric, c.detail
	 FROM jsonb_array_elements(movements) WITH ORDINALITY e(m, n), LATERAL audit_compare(s, e.m) c ORDER BY e.n)
	UNION ALL
	(SELECT NULL, 'deposit_without_log', format('deposit:%s', d.id), encode(d.tx, 'hex'), d.ordinal, d.block_number, d.amount, format('deposit %s (%s, %s) has no log', d.id, d.state, d.amount)
	 FROM deposit d WHERE d.state IN ('credited', 'held') AND d.block_number BETWEEN first AND last AND d.chain_id = (s->>'chain_id')::bigint
		AND d.token = decode(s->>'token', 'hex') AND d.treasury = decode(s->>'treasury', 'hex')
		AND NOT EXISTS (SELECT FROM jsonb_array_elements(movements) m WHERE m->>'tx' = encode(d.tx, 'hex') AND (m->>'ordinal')::int = d.ordinal) ORDER BY d.id)
	UNION ALL
	(SELECT NULL, 'payment_without_log', format('payment:%s', p.id), encode(p.tx_hash, 'hex'), p.log_index, t.block_number, p.amount, format('payment %s (settled, %s) has no log', p.id, p.amount)
	 FROM settlement_tx t JOIN settlement_tx_version v ON v.tx = t.id JOIN payment p ON p.tx_hash = v.hash AND p.state IN ('settled', 'credited')
	 WHERE t.block_number BETWEEN first AND last AND t.state = 'final' AND t.chain_id = (s->>'chain_id')::bigint
		AND NOT EXISTS (SELECT FROM jsonb_array_elements(movements) m WHERE m->>'tx' = encode(p.tx_hash, 'hex') AND (m->>'ordinal')::int = p.log_index) ORDER BY p.id)
	UNION ALL
	(SELECT NULL, 'payout_without_log', format('payout:%s', p.id), encode(p.tx_hash, 'hex'), p.log_index, t.block_number, p.amount, format('payout %s (paid, %s) has no log', p.id, p.amount)
	 FROM settlement_tx t JOIN settlement_tx_version v ON v.tx = t.id JOIN payout p ON p.tx_hash = v.hash AND p.state = 'paid'
	 WHERE t.block_number BETWEEN first AND last AND t.state = 'final' AND t.chain_id = (s->>'chain_id')::bigint
		AND NOT EXISTS (SELECT FROM jsonb_array_elements(movements) m WHERE m->>'tx' = encode(p.tx_hash, 'hex') AND (m->>'ordinal')::int = p.log_index) ORDER BY p.id)
$$;
CREATE INDEX settlement_tx_block ON settlement_tx (block_number);
COMMENT ON INDEX settlement_tx_block IS 'settlements by block, for opgate reconcile';

-- Confirmed rows whose block is not between first and last, by our own word: deposits, and settlements by transactions that are not ours.
CREATE FUNCTION audit_elsewhere(s jsonb, head bigint) RETURNS TABLE (kind text, subject text, tx bytea, ordinal int, block bigint, detail text) LANGUAGE sql STABLE AS $$
	(SELECT 'deposit_without_log', format('deposit:%s', d.id), d.tx::bytea, d.ordinal, d.block_number, format('deposit %s (%s, %s) has no log', d.id, d.state, d.amount)
	 FROM deposit d WHERE d.state IN ('credited', 'held') AND d.block_number > head AND d.chain_id = (s->>'chain_id')::bigint
		AND d.token = decode(s->>'token', 'hex') AND d.treasury = decode(s->>'treasury', 'hex') ORDER BY d.id)
	UNION ALL
	(SELECT 'payment_without_log', format('payment:%s', p.id), p.tx_hash::bytea, p.log_index, NULL, format('payment %s (settled, %s) has no log', p.id, p.amount)
	 FROM payment p LEFT JOIN settlement_tx_version v ON v.hash = p.tx_hash WHERE p.state IN ('settled', 'credited') AND p.tx_hash IS NOT NULL AND v.hash IS NULL
		AND p.chain_id = (s->>'chain_id')::bigint ORDER BY p.id)
$$;

-- The blocks up to `upto` were read: compares their movements and moves the cursor. Status: ok; conflict (another process was first);
-- doubt: something does not agree, and nothing is written down before it was read a second time (`sure`), because the chain may just
-- be changing its mind.
CREATE FUNCTION audit_advance(s jsonb, before bigint, upto bigint, upto_hash bytea, movements jsonb, sure boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	news jsonb;
BEGIN
	SELECT jsonb_agg(j) INTO news FROM (SELECT audit_judge(s, e.m) AS j FROM jsonb_array_elements(movements) WITH ORDINALITY e(m, n) ORDER BY e.n) x WHERE j IS NOT NULL;
	IF news IS NOT NULL AND NOT sure THEN
		RETURN 'doubt';
	END IF;
	UPDATE audit_cursor c SET number = upto, at = now() WHERE c.chain_id = (s->>'chain_id')::bigint AND c.token = decode(s->>'token', 'hex')
		AND c.treasury = decode(s->>'treasury', 'hex') AND c.number = before;
	IF NOT FOUND THEN
		RETURN 'conflict';
	END IF;
	INSERT INTO audit_block VALUES ((s->>'chain_id')::bigint, decode(s->>'token', 'hex'), decode(s->>'treasury', 'hex'), upto, upto_hash)
		ON CONFLICT (chain_id, token, treasury, number) DO UPDATE SET hash = EXCLUDED.hash;
	DELETE FROM audit_block b WHERE b.chain_id = (s->>'chain_id')::bigint AND b.token = decode(s->>'token', 'hex') AND b.treasury = decode(s->>'treasury', 'hex')
		AND b.number < upto - 4096 AND b.number <> before;
	PERFORM mismatch_report('{}', coalesce(news, '[]'));
	RETURN 'ok';
END $$;

-- The chain gave up blocks that were compared: back to `target`, and what was found behind it is found again.
CREATE FUNCTION audit_rewind(s jsonb, before bigint, target bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	UPDATE audit_cursor c SET number = target, at = now() WHERE c.chain_id = (s->>'chain_id')::bigint AND c.token = decode(s->>'token', 'hex')
		AND c.treasury = decode(s->>'treasury', 'hex') AND c.number = before;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	DELETE FROM audit_block b WHERE b.chain_id = (s->>'chain_id')::bigint AND b.token = decode(s->>'token', 'hex') AND b.treasury = decode(s->>'treasury', 'hex')
		AND b.number > target;
	UPDATE deposit SET audited_block = NULL WHERE audited_block > target;
	UPDATE payment SET audited_block = NULL WHERE audited_block > target;
	RETURN true;
END $$;

-- Confirmed rows whose log should have been met by now (`upto`: the cursor), and open mismatches about a log: both are looked at again,
-- one by one, by their transaction. `claimed`: a row still says that this log exists.
CREATE FUNCTION audit_questions(s jsonb, upto bigint) RETURNS TABLE (mismatch bigint, kind text, subject text, tx bytea, ordinal int, block_number bigint, claimed boolean, detail text)
LANGUAGE sql STABLE AS $$
	(SELECT NULL::bigint, 'deposit_without_log', format('deposit:%s', d.id), d.tx::bytea, d.ordinal, d.block_number, true,
		format('deposit %s (%s, %s) has no log', d.id, d.state, d.amount)
	 FROM deposit d WHERE d.state IN ('credited', 'held') AND d.audited_block IS NULL AND d.block_number <= upto AND d.chain_id = (s->>'chain_id')::bigint
		AND d.token = decode(s->>'token', 'hex') AND d.treasury = decode(s->>'treasury', 'hex') ORDER BY d.id LIMIT 64)
	UNION ALL
	(SELECT NULL, 'payment_without_log', format('payment:%s', p.id), p.tx_hash::bytea, p.log_index, t.block_number, true, format('payment %s (settled, %s) has no log', p.id, p.amount)
	 FROM payment p LEFT JOIN settlement_tx_version v ON v.hash = p.tx_hash LEFT JOIN settlement_tx t ON t.id = v.tx
	 WHERE p.state IN ('settled', 'credited') AND p.tx_hash IS NOT NULL AND p.audited_block IS NULL AND p.chain_id = (s->>'chain_id')::bigint
		AND (t.id IS NULL OR (t.state = 'final' AND t.block_number <= upto)) ORDER BY p.ended_at, p.id LIMIT 64)
	UNION ALL
	(SELECT m.id, m.kind, m.subject, m.tx::bytea, m.ordinal, m.block_number,
		EXISTS (SELECT FROM deposit d WHERE d.tx = m.tx AND d.ordinal = m.ordinal AND d.state IN ('credited', 'held') AND d.chain_id = (s->>'chain_id')::bigint
			AND d.token = decode(s->>'token', 'hex'))
		OR EXISTS (SELECT FROM payment p WHERE p.tx_hash = m.tx AND p.log_index = m.ordinal AND p.state IN ('settled', 'credited')), m.detail
	 FROM mismatch m WHERE m.healed_at IS NULL AND m.tx IS NOT NULL ORDER BY m.id LIMIT 256)
$$;

-- An operator takes responsibility for what stays as it is. false: there is no such open mismatch.
CREATE FUNCTION mismatch_resolve(which bigint, who bigint, words text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	UPDATE mismatch SET resolved_at = now(), resolved_by = who, note = words WHERE id = which AND healed_at IS NULL AND resolved_at IS NULL;
	RETURN FOUND;
END $$;

-- Where the books first went wrong, when their sums say that they did: the oldest transfer, account or job.
CREATE FUNCTION books_first_wrong() RETURNS TABLE (kind text, subject text, detail text) LANGUAGE sql STABLE AS $$
	(SELECT 'ledger_sum', format('transfer:%s', e.transfer), format('the entries of transfer %s (%s, %s) sum to %s', t.id, t.kind, t.key, sum(e.amount))
	 FROM ledger_entry e JOIN ledger_transfer t ON t.id = e.transfer GROUP BY e.transfer, t.id, t.kind, t.key HAVING sum(e.amount) <> 0 ORDER BY e.transfer LIMIT 1)
	UNION ALL
	(SELECT 'balance', format('account:%s', b.account), format('the balance of ledger account %s is %s, its entries sum to %s; its newest transfer is %s', b.account, b.amount,
		coalesce(sum(e.amount), 0), max(e.transfer))
	 FROM ledger_balance b LEFT JOIN ledger_entry e ON e.account = b.account GROUP BY b.account, b.amount HAVING b.amount <> coalesce(sum(e.amount), 0) ORDER BY b.account LIMIT 1)
	UNION ALL
	(SELECT 'hold', format('account:%s', b.account), format('ledger account %s holds %s, its open holds are %s', b.account, b.amount, coalesce(sum(h.amount), 0))
	 FROM ledger_balance b LEFT JOIN hold h ON h.account * 16 + 2 = b.account AND h.state = 'open' WHERE b.account % 16 = 2
	 GROUP BY b.account, b.amount HAVING b.amount <> coalesce(sum(h.amount), 0) ORDER BY b.account LIMIT 1)
	UNION ALL
	(SELECT 'capture', format('job:%s', j.id), format('job %s charged %s, its hold captured %s, the ledger moved %s', j.id, coalesce(j.charged, 0), h.captured, coalesce(t.amount, 0))
	 FROM job j JOIN hold h ON h.job = j.id
	 LEFT JOIN LATERAL (SELECT sum(e.amount) AS amount FROM ledger_transfer x JOIN ledger_entry e ON e.transfer = x.id AND (e.account = 9 OR e.account % 16 IN (3, 4))
		WHERE x.job = j.id AND x.kind = 'capture') t ON true
	 WHERE h.state <> 'open' AND (coalesce(j.charged, 0) <> h.captured OR coalesce(t.amount, 0) <> h.captured) ORDER BY j.created_at, j.id LIMIT 1)
$$;
