-- x402: money that came after all. A payment was given up, because the chain had refused it or another's transaction had taken its
-- place; then a reorganisation let our own transaction through. Once that is final, the money is the payer's.

ALTER TABLE ledger_transfer DROP CONSTRAINT ledger_transfer_kind_check;
ALTER TABLE ledger_transfer ADD CONSTRAINT ledger_transfer_kind_check
	CHECK (kind IN ('deposit', 'deposit_reversal', 'deposit_claimed', 'hold', 'capture', 'void', 'x402_accepted', 'x402_settled', 'x402_dropped',
		'x402_unsettled', 'x402_lost', 'x402_late', 'payout', 'payout_paid', 'payout_returned'));

ALTER TABLE payment DROP CONSTRAINT payment_state_check;
ALTER TABLE payment ADD CONSTRAINT payment_state_check
	CHECK (state IN ('claimed', 'settling', 'settled', 'failed', 'dropped', 'lost', 'credited'));
COMMENT ON COLUMN payment.state IS 'claimed (job runs), settling (to be taken on chain), settled, failed (the chain refused it; its job is still open), dropped (never taken), lost (a reorganisation undid it after the answer was given, and it did not come again), credited (dropped, and the money came after all: it is on the payer''s account)';

-- True: booked now, or before. False: its job is still open, come again.
CREATE FUNCTION payment_late(which uuid, hash bytea, log int) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	p payment;
BEGIN
	SELECT * INTO p FROM payment WHERE id = which FOR UPDATE;
	IF p.state = 'dropped' THEN
		UPDATE payment SET state = 'credited', tx_hash = hash, log_index = log, ended_at = clock_timestamp() WHERE id = which;
		PERFORM payment_move(p, 'x402_late', 8, p.account * 16 + 1, p.amount);
	ELSIF p.state = 'lost' THEN -- our loss comes back
		UPDATE payment SET state = 'settled', tx_hash = hash, log_index = log, ended_at = clock_timestamp() WHERE id = which;
		PERFORM payment_move(p, 'x402_late', 8, 10, p.amount);
	END IF;
	RETURN p.state IN ('dropped', 'lost', 'settled', 'credited');
END $$;

-- One owner for each address (a settling key's, a receiver's) among all processes: the lock lives and dies with this connection.
CREATE FUNCTION settler_own(whose text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	RETURN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) OR pg_try_advisory_lock(hashtextextended('settler:' || whose, 0));
END $$;

-- What there is to begin for the settling key, in one look: most of the time most of it is nothing. PL/pgSQL, which keeps its plans.
CREATE FUNCTION settler_agenda(OUT stopped boolean, OUT settling boolean, OUT approvals boolean, OUT deposits boolean, OUT records boolean) LANGUAGE plpgsql STABLE AS $$
BEGIN
	SELECT settlement_stopped(), EXISTS (SELECT FROM settlement_item WHERE tx IS NULL),
		EXISTS (SELECT FROM sponsored_approval WHERE state IN ('wanted', 'funding', 'sent')),
		EXISTS (SELECT FROM sponsored_deposit WHERE state = 'queued'),
		EXISTS (SELECT FROM record WHERE state IN ('wanted', 'queued')) OR EXISTS (SELECT FROM record_post_due)
	INTO stopped, settling, approvals, deposits, records;
END $$;
