-- A deposit by signature that never became a transaction used no nonce: its owner may sign that one again.

ALTER TABLE sponsored_deposit DROP CONSTRAINT sponsored_deposit_chain_id_method_owner_nonce_key;
CREATE UNIQUE INDEX sponsored_deposit_nonce ON sponsored_deposit (chain_id, method, owner, nonce) WHERE state <> 'failed' OR tx IS NOT NULL;
COMMENT ON INDEX sponsored_deposit_nonce IS 'a signature is sent once; one that was never sent may be given again';

CREATE OR REPLACE FUNCTION sponsored_deposit_open(d jsonb, account_max numeric, all_max numeric) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	of_account numeric;
	of_all numeric;
	cost numeric := (d->>'gas_cost')::numeric;
BEGIN
	PERFORM pg_advisory_xact_lock(hashtextextended('sponsored_deposit', 0));
	IF EXISTS (SELECT FROM sponsored_deposit s WHERE s.chain_id = (d->>'chain_id')::bigint AND s.method = d->>'method'
	           AND s.owner = decode(d->>'owner', 'hex') AND s.nonce = decode(d->>'nonce', 'hex') AND (s.state <> 'failed' OR s.tx IS NOT NULL)) THEN
		RETURN 'used';
	END IF;
	IF EXISTS (SELECT FROM sponsored_deposit s WHERE s.account = (d->>'account')::bigint AND s.state IN ('queued', 'sent')) THEN
		RETURN 'busy';
	END IF;
	SELECT coalesce(sum(s.gas_cost) FILTER (WHERE s.account = (d->>'account')::bigint), 0), coalesce(sum(s.gas_cost), 0) INTO of_account, of_all
	FROM sponsored_deposit s WHERE s.created_at > now() - interval '1 day' AND (s.state <> 'failed' OR s.tx IS NOT NULL);
	IF of_account + cost > account_max OR of_all + cost > all_max THEN
		RETURN 'gas';
	END IF;
	INSERT INTO sponsored_deposit (id, chain_id, account, owner, method, nonce, amount, valid_until, call, gas_cost)
	VALUES ((d->>'id')::uuid, (d->>'chain_id')::bigint, (d->>'account')::bigint, decode(d->>'owner', 'hex'), d->>'method', decode(d->>'nonce', 'hex'),
		(d->>'amount')::numeric, (d->>'valid_until')::bigint, decode(d->>'call', 'hex'), cost);
	RETURN 'ok';
END $$;
