-- What came by x402 leaves by a payout only once it is final on chain: one block is enough for an answer, not for money that does not come
-- back. Deposits wait for deposit_confirmations before they are credited; this is the same for payments.

CREATE INDEX payment_undoable ON payment (account, claimed_at)
	WHERE audited_block IS NULL AND (state = 'settling' OR (state = 'settled' AND tx_hash IS NOT NULL));
COMMENT ON INDEX payment_undoable IS 'what a payout must not take yet: few, because the auditor comes by when blocks are final';
CREATE INDEX payment_lost ON payment (account) WHERE state = 'lost';
COMMENT ON INDEX payment_lost IS 'what a payout must never take';

-- Final: our transaction that moved it is, or the auditor has met its log where blocks are, whoever sent it.
CREATE VIEW payment_not_final AS
	SELECT p.id, p.account, p.claimed_at, p.amount - coalesce(j.charged, 0) AS credited
	FROM payment p JOIN job j ON j.id = p.job
	WHERE p.audited_block IS NULL AND (p.state = 'settling' OR (p.state = 'settled' AND p.tx_hash IS NOT NULL)) AND j.outcome IS NOT NULL
		-- Not EXISTS, which may be answered by reading all of them.
		AND NOT (p.state = 'settled' AND coalesce((SELECT t.state = 'final' FROM settlement_tx_version v JOIN settlement_tx t ON t.id = v.tx WHERE v.hash = p.tx_hash), false));
COMMENT ON VIEW payment_not_final IS 'payments whose jobs ended and whose money a reorganisation can take back, or has: what came by them is not paid out';

-- The first writing transaction of these earnings that is not final. Spent is spent by the account, not by the payment: whatever it paid since a
-- payment that is not final may have been paid with it. Times are those at which transactions began, so a minute is added.
CREATE FUNCTION payout_earned_upto(src bigint, since xid8, horizon xid8) RETURNS xid8 LANGUAGE plpgsql STABLE
	SET enable_seqscan = off AS $$
DECLARE
	oldest timestamptz := (SELECT min(n.claimed_at) - interval '1 minute' FROM payment_not_final n);
BEGIN
	IF oldest IS NULL THEN
		RETURN horizon;
	END IF;
	RETURN coalesce((SELECT e.xid FROM ledger_entry e JOIN ledger_transfer f ON f.id = e.transfer
		WHERE e.account = src AND e.xid >= since AND e.xid < horizon AND f.kind = 'capture' AND f.at >= oldest
			AND coalesce((SELECT true FROM payment_not_final n WHERE n.account = (SELECT h.account / 16 FROM ledger_entry h WHERE h.transfer = e.transfer AND h.line = 1)
				AND n.claimed_at <= f.at + interval '1 minute' LIMIT 1), false)
		ORDER BY e.xid LIMIT 1), horizon);
END $$;

-- From where on these earnings are in no payout that was paid.
CREATE FUNCTION payout_since(src bigint) RETURNS xid8 LANGUAGE sql STABLE AS $$
	SELECT coalesce((SELECT o.upto_xid FROM payout o WHERE o.source = src AND o.state = 'paid' AND o.upto_xid IS NOT NULL
		ORDER BY o.upto_xid DESC LIMIT 1), '0'::xid8)
$$;

CREATE FUNCTION payout_earned(src bigint, since xid8, horizon xid8) RETURNS numeric LANGUAGE sql STABLE AS $$
	SELECT coalesce(sum(e.amount), 0) FROM ledger_entry e JOIN ledger_transfer f ON f.id = e.transfer
	WHERE e.account = src AND e.xid >= since AND e.xid < horizon AND f.kind = 'capture'
$$;

-- How much of a source a payout does not take, because it is not final. What was lost on chain and is on an account never is.
CREATE FUNCTION payout_not_final(who bigint, kind bigint) RETURNS numeric LANGUAGE plpgsql STABLE AS $$
DECLARE
	src bigint := who * 16 + kind;
	since xid8 := payout_since(src);
	horizon xid8 := pg_snapshot_xmin(pg_current_snapshot());
BEGIN
	IF kind <> 1 THEN
		RETURN payout_earned(src, payout_earned_upto(src, since, horizon), horizon);
	END IF;
	RETURN (SELECT coalesce(sum(n.credited), 0) FROM payment_not_final n WHERE n.account = who)
		+ (SELECT coalesce(sum(p.amount - coalesce(j.charged, 0)), 0) FROM payment p JOIN job j ON j.id = p.job WHERE p.account = who AND p.state = 'lost');
END $$;

-- As in 0010, and without what is not final. The balance is locked before that is asked: what is credited later is not in it.
CREATE OR REPLACE FUNCTION payout_open(p jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	who bigint := (p->>'account')::bigint;
	kind bigint := (p->>'kind')::bigint;
	src bigint := who * 16 + kind;
	receiver bytea := coalesce(decode(p->>'to', 'hex'), payout_target(who));
	total numeric := (p->>'amount')::numeric;
	most numeric;
	since xid8;
	horizon xid8;
	t bigint;
BEGIN
	INSERT INTO payout_source VALUES (src) ON CONFLICT (account) DO NOTHING;
	PERFORM FROM payout_source s WHERE s.account = src FOR UPDATE;
	IF p->>'key' IS NOT NULL AND EXISTS (SELECT FROM idempotency i WHERE i.account = who AND i.route = p->>'route' AND i.key = p->>'key') THEN
		RETURN 'key_exists';
	END IF;
	IF NOT EXISTS (SELECT FROM account c WHERE c.id = who AND c.address = receiver) AND NOT EXISTS (SELECT FROM payout_address a
		WHERE a.account = who AND a.address = receiver AND a.cancelled_at IS NULL AND a.valid_at <= clock_timestamp()) THEN
		RETURN 'address';
	END IF;
	IF kind = 1 THEN
		SELECT b.amount INTO most FROM ledger_balance b WHERE b.account = src FOR UPDATE;
		most := most - payout_not_final(who, kind);
		total := coalesce(total, most);
	ELSE
		IF EXISTS (SELECT FROM payout o WHERE o.source = src AND o.state IN ('pending', 'sent')) THEN
			RETURN 'under_way';
		END IF;
		since := payout_since(src);
		horizon := payout_earned_upto(src, since, pg_snapshot_xmin(pg_current_snapshot()));
		total := payout_earned(src, since, horizon);
		most := ledger_balance_of(src);
	END IF;
	IF total < (p->>'minimum')::numeric OR total <= 0 THEN
		RETURN 'below_minimum';
	END IF;
	IF total > most THEN
		RETURN 'insufficient';
	END IF;
	IF p->>'key' IS NOT NULL THEN
		INSERT INTO idempotency (account, route, key, body_digest, job)
		VALUES (who, p->>'route', p->>'key', decode(p->>'body_digest', 'hex'), (p->>'id')::uuid) ON CONFLICT (account, route, key) DO NOTHING;
		IF NOT FOUND THEN
			RETURN 'key_exists';
		END IF;
	END IF;
	INSERT INTO payout (id, account, source, address, amount, asked_by, from_xid, upto_xid)
	VALUES ((p->>'id')::uuid, who, src, receiver, total, p->>'asked_by', since, horizon);
	INSERT INTO ledger_transfer (key, kind) VALUES ('payout:' || (p->>'id'), 'payout') RETURNING id INTO t;
	INSERT INTO ledger_entry (transfer, line, account, amount) VALUES (t, 1, src, -total), (t, 2, 12, total);
	RETURN 'ok';
END $$;

-- A settlement for others is good for one sale, so that it succeeded is said once to calls that do not say which call they are.
ALTER TABLE facilitation ADD COLUMN told_at timestamptz;
COMMENT ON COLUMN facilitation.told_at IS 'when a call without a key of its own was told that it is settled: no other such call is';
UPDATE facilitation SET told_at = updated_at WHERE state = 'settled';

ALTER TABLE payee ADD COLUMN keyed_at timestamptz;
COMMENT ON COLUMN payee.keyed_at IS 'since when its owner says himself what upto takes for it; NULL: anybody who has the authorization may';
