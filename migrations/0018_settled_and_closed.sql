-- A group of payments in fewer steps: a settling transaction is written by one statement, and what it settled is booked by one, in which
-- the jobs whose answers wait for their money end, too.

ALTER TABLE payment ADD COLUMN closing jsonb;
COMMENT ON COLUMN payment.closing IS 'how its job ends when the money comes, as job_close takes it: from when its answer is stored';

-- As in 0016, and the answer's end is kept for the moment its money comes.
CREATE OR REPLACE FUNCTION payments_produce(batch jsonb) RETURNS TABLE (ord bigint, status text) LANGUAGE plpgsql
	SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
	PERFORM FROM payment p WHERE p.id IN (SELECT (i->>'payment')::uuid FROM jsonb_array_elements(batch) i) ORDER BY p.id FOR UPDATE;
	RETURN QUERY
	WITH item AS MATERIALIZED (
		SELECT t.o, (t.i->>'id')::uuid AS id, (t.i->>'payment')::uuid AS payment, (t.i->>'amount')::numeric AS amount, t.i AS i
		FROM jsonb_array_elements(batch) WITH ORDINALITY t(i, o)
	), stored AS (
		UPDATE job j SET state = 'produced', produced_at = clock_timestamp(), response_status = (l.i->>'response_status')::int,
			response_type = l.i->>'response_type', response_header_length = l.i->>'response_header_length', response_hash = decode(l.i->>'response_hash', 'hex'),
			response_body = decode(l.i->>'response_body', 'hex'), receipt = l.i->>'receipt', verdict = l.i->>'verdict',
			verdict_report = l.i->'verdict_report', input_units = (l.i->>'input_units')::bigint, output_units = (l.i->>'output_units')::bigint
		FROM item l JOIN payment p ON p.id = l.payment
		WHERE j.id = l.id AND p.job = j.id AND p.state = 'claimed' AND j.state = 'running' AND j.lease = (l.i->>'lease')::uuid AND j.attempt = (l.i->>'attempt')::int
		RETURNING l.o
	), asked AS (
		UPDATE payment p SET state = CASE WHEN l.amount > 0 THEN 'settling' ELSE 'settled' END, amount = l.amount,
			closing = l.i - ARRAY['response_status', 'response_type', 'response_header_length', 'response_hash', 'response_body', 'receipt', 'verdict',
				'verdict_report', 'amount'],
			ended_at = CASE WHEN l.amount > 0 THEN NULL ELSE clock_timestamp() END
		FROM item l JOIN stored s ON s.o = l.o WHERE p.id = l.payment
	)
	SELECT item.o, CASE WHEN item.o IN (SELECT s.o FROM stored s) THEN 'ok' ELSE 'fenced' END FROM item ORDER BY item.o;
END $$;

-- The next nonce's transaction and its first form.
CREATE FUNCTION settlement_insert(chain bigint, whose bytea, its_nonce bigint, hash bytea, raw bytea, max_fee numeric) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	t bigint;
BEGIN
	INSERT INTO settlement_tx (chain_id, sender, nonce) VALUES (chain, whose, its_nonce) RETURNING id INTO t;
	INSERT INTO settlement_tx_version (hash, tx, raw, max_fee) VALUES (hash, t, raw, max_fee);
	RETURN t;
END $$;

-- The same, and it carries these payments: all of them, or nothing is written.
CREATE FUNCTION settlement_write(chain bigint, whose bytea, its_nonce bigint, hash bytea, raw bytea, max_fee numeric, ids jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	t bigint := settlement_insert(chain, whose, its_nonce, hash, raw, max_fee);
BEGIN
	IF settlement_carries(ids, t) <> jsonb_array_length(ids) THEN
		RAISE EXCEPTION 'a payment of transaction % waits for none any more', t USING ERRCODE = 'OG409';
	END IF;
	RETURN t;
END $$;

-- A mined transaction says that it settled these: they are its own, even if a later one was to try again. Returns what it carries that is not
-- ended.
CREATE FUNCTION settlement_takes_over(which bigint, ids jsonb) RETURNS SETOF settlement_item LANGUAGE plpgsql
	SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off AS $$
DECLARE
	carried uuid[] := ARRAY(SELECT s.id FROM settlement_item s WHERE s.tx = which);
	one uuid;
BEGIN
	FOR one IN SELECT DISTINCT i::uuid FROM jsonb_array_elements_text(ids) i WHERE i::uuid <> ALL (carried) LOOP
		UPDATE payment p SET tx = which WHERE p.id = one AND p.state = 'settling';
		UPDATE facilitation f SET tx = which WHERE f.id = one AND f.state = 'settling';
	END LOOP;
	RETURN QUERY SELECT * FROM settlement_item s WHERE s.tx = which ORDER BY s.id;
END $$;

-- A transaction was mined, here and for so much gas, and the money of these moved in it: items as payments_settled's. The jobs whose answers are
-- stored end with it: returns the payments whose jobs did. What keeps a job from ending does not keep its money from being booked.
CREATE FUNCTION settlement_mined(which bigint, ok boolean, number bigint, block bytea, hash bytea, cost numeric, batch jsonb) RETURNS SETOF uuid LANGUAGE plpgsql
	SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
	settled uuid[];
	one jsonb;
	ends jsonb;
BEGIN
	UPDATE settlement_tx SET state = 'mined', succeeded = ok, block_number = number, block_hash = block WHERE id = which AND state = 'signed';
	IF NOT FOUND THEN
		RAISE EXCEPTION 'settlement transaction % is not under way', which USING ERRCODE = 'OG409';
	END IF;
	PERFORM settlement_gas_used(which, cost);
	UPDATE record_post SET tx_hash = hash WHERE tx = which; -- which form of it was mined, for the event that it carries
	IF jsonb_array_length(batch) = 0 THEN
		RETURN;
	END IF;
	SELECT coalesce(array_agg(id), '{}') INTO settled FROM payments_settled(batch, hash) id;
	FOR one IN SELECT i FROM jsonb_array_elements(batch) i WHERE (i->>'payment')::uuid <> ALL (settled) LOOP
		IF NOT settlement_arrived((one->>'payment')::uuid, hash, (one->>'log')::int) THEN -- one for others, or it says what is wrong with it
			RAISE EXCEPTION 'settlement % is not under way', one->>'payment' USING ERRCODE = 'OG409';
		END IF;
	END LOOP;
	SELECT coalesce(jsonb_agg(p.closing || '{"dropped": false}'), '[]') INTO ends FROM payment p WHERE p.id = ANY (settled) AND p.closing IS NOT NULL;
	BEGIN
		RETURN QUERY SELECT (ends->(c.ord::int - 1)->>'payment')::uuid FROM payments_close(ends) c WHERE c.status = 'ok';
	EXCEPTION WHEN OTHERS THEN
		RAISE WARNING 'jobs of settlement transaction % did not end with it: %', which, SQLERRM;
	END;
END $$;

-- As in 0015, without a list of all locks each turn: who has it takes it once more, which only counts.
CREATE OR REPLACE FUNCTION settler_own(whose text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	RETURN pg_try_advisory_lock(hashtextextended('settler:' || whose, 0));
END $$;

-- Jobs to be resolved by somebody else than who had them; each is taken over. Only a job whose owner is silent, or that is past its deadline (with
-- grace for its owner to end it); a queued one only when past its deadline, asked to cancel, or never to be paid.
CREATE FUNCTION jobs_reap(me uuid, instance_timeout_ms bigint, at_most int) RETURNS SETOF uuid LANGUAGE plpgsql
	SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off AS $$
DECLARE
	one uuid;
BEGIN
	FOR one IN
		SELECT j.id FROM job j LEFT JOIN gateway_instance g ON g.id = j.lease WHERE j.state IN ('queued', 'running', 'produced') AND (
			(j.state = 'queued' AND (j.cancel_requested OR clock_timestamp() > j.deadline_at
				OR EXISTS (SELECT FROM payment p WHERE p.job = j.id AND p.state = 'failed')))
			OR (j.state <> 'queued' AND (g.id IS NULL OR g.heartbeat_at < clock_timestamp() - make_interval(secs => instance_timeout_ms / 1000.0)
				OR clock_timestamp() > j.deadline_at + interval '10 seconds')))
		AND NOT EXISTS (SELECT FROM payment p WHERE p.job = j.id AND p.state = 'settling') -- its end is the chain's to say
		ORDER BY j.created_at LIMIT at_most FOR UPDATE OF j SKIP LOCKED
	LOOP
		UPDATE job SET lease = me, attempt = attempt + 1 WHERE id = one;
		RETURN NEXT one;
	END LOOP;
END $$;

-- As in 0015: approvals are looked at while some are under way, or payments wait for one.
CREATE OR REPLACE FUNCTION settler_agenda(OUT stopped boolean, OUT settling boolean, OUT approvals boolean, OUT deposits boolean, OUT records boolean) LANGUAGE plpgsql STABLE AS $$
BEGIN
	SELECT settlement_stopped(), EXISTS (SELECT FROM settlement_item WHERE tx IS NULL),
		EXISTS (SELECT FROM sponsored_approval WHERE state IN ('wanted', 'funding', 'sent'))
			OR EXISTS (SELECT FROM payment WHERE state = 'settling' AND tx IS NULL AND approval IS NOT NULL),
		EXISTS (SELECT FROM sponsored_deposit WHERE state = 'queued'),
		EXISTS (SELECT FROM record WHERE state IN ('wanted', 'queued')) OR EXISTS (SELECT FROM record_post_due)
	INTO stopped, settling, approvals, deposits, records;
END $$;
