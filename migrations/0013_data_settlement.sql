-- Jobs in the background that a wallet pays for, and what of an answered call goes on chain.

CREATE INDEX model_name ON model (name);
COMMENT ON INDEX model_name IS 'names without an author';

-- Claims an authorization for a job that is queued, and asks for its money at once: nobody works for it, or waits for an answer, before
-- it is settled. One transaction, so that no death leaves the one without the other.
CREATE FUNCTION payment_claim_background(p jsonb, item jsonb) RETURNS TABLE (status text, account bigint) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT c.status, c.account FROM payment_claim(p, item) c;
	UPDATE payment x SET amount = x.amount_max, state = CASE WHEN x.amount_max > 0 THEN 'settling' ELSE 'settled' END,
		ended_at = CASE WHEN x.amount_max > 0 THEN NULL ELSE clock_timestamp() END
	WHERE x.id = (p->>'id')::uuid AND x.state = 'claimed';
END $$;
