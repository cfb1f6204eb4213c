-- x402 by group commit: payments that are claimed, produced, settled or closed in the same moment share one transaction. Each function
-- does for a list what its namesake does for one, with a status for each; what must be asked alone says 'retry' and changes nothing.

-- Items: {claim: as payment_claim's p, job: its item}. Status: ok, claimed_before, exposed, retry.
CREATE FUNCTION payments_claim(batch jsonb) RETURNS TABLE (ord bigint, status text, value bigint) LANGUAGE plpgsql
	SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off AS $$
DECLARE
	judged jsonb;
	refused text;
BEGIN
	INSERT INTO account (address) SELECT DISTINCT decode(i->'claim'->>'payer', 'hex') AS payer FROM jsonb_array_elements(batch) i
	WHERE NOT EXISTS (SELECT FROM account a WHERE a.address = decode(i->'claim'->>'payer', 'hex')) ORDER BY payer ON CONFLICT DO NOTHING;
	-- The payers' rows first, so that claims of one payer come one after the other.
	PERFORM FROM account a WHERE a.address IN (SELECT decode(i->'claim'->>'payer', 'hex') FROM jsonb_array_elements(batch) i) ORDER BY a.id FOR NO KEY UPDATE;

	WITH item AS MATERIALIZED (
		SELECT t.o, a.id AS who, t.i->'claim' AS p, t.i->'job' AS job, (t.i->'claim'->>'amount_max')::numeric AS wanted,
			(t.i->'claim'->>'payer_max')::numeric AS payer_max, (t.i->'claim'->>'all_max')::numeric AS all_max,
			-- Not EXISTS, which may be answered by reading all of them.
			coalesce((SELECT true FROM payment_authorization x WHERE x.chain_id = (t.i->'claim'->>'chain_id')::bigint
				AND x.verifier = decode(t.i->'claim'->>'verifier', 'hex') AND x.payer = a.address AND x.nonce = decode(t.i->'claim'->>'nonce', 'hex')), false) AS claimed,
			row_number() OVER (PARTITION BY t.i->'claim'->'chain_id', t.i->'claim'->'verifier', t.i->'claim'->'payer', t.i->'claim'->'nonce' ORDER BY t.o) AS copy
		FROM jsonb_array_elements(batch) WITH ORDINALITY t(i, o) JOIN account a ON a.address = decode(t.i->'claim'->>'payer', 'hex')
	), open AS MATERIALIZED (
		SELECT x.account, sum(x.amount_max) AS served FROM payment x WHERE x.state IN ('claimed', 'settling') GROUP BY x.account
	), verdict AS (
		SELECT item.*, CASE
			WHEN item.claimed THEN 'claimed_before'
			WHEN item.copy > 1 THEN 'retry'
			WHEN item.payer_max IS NULL THEN 'ok'
			WHEN coalesce(own.served, 0) + item.wanted > item.payer_max OR coalesce(total.served, 0) + item.wanted > item.all_max THEN 'exposed'
			WHEN coalesce(own.served, 0) + sum(item.wanted) OVER (PARTITION BY item.who ORDER BY item.o) > item.payer_max
				OR coalesce(total.served, 0) + sum(item.wanted) OVER (ORDER BY item.o) > item.all_max THEN 'retry'
			ELSE 'ok' END AS said
		FROM item LEFT JOIN open own ON own.account = item.who, (SELECT sum(served) AS served FROM open) total
	)
	SELECT jsonb_agg(jsonb_build_object('o', v.o, 'status', v.said, 'who', v.who, 'p', v.p, 'job', v.job || jsonb_build_object('account', v.who), 'wanted', v.wanted)
		ORDER BY v.o) INTO judged FROM verdict v;

	WITH ok AS MATERIALIZED (
		SELECT (e->'job'->>'id')::uuid AS job, (e->>'who')::bigint AS who, (e->>'wanted')::numeric AS wanted, e->'p'->>'id' AS id
		FROM jsonb_array_elements(judged) e WHERE e->>'status' = 'ok' AND (e->>'wanted')::numeric > 0
	), moved AS (
		INSERT INTO ledger_transfer (key, kind, job) SELECT 'x402:' || ok.id, 'x402_accepted', ok.job FROM ok RETURNING id, job
	)
	INSERT INTO ledger_entry (transfer, line, account, amount)
	SELECT m.id, l.line, CASE l.line WHEN 1 THEN 11 ELSE ok.who * 16 + 1 END, CASE l.line WHEN 1 THEN -ok.wanted ELSE ok.wanted END
	FROM moved m JOIN ok ON ok.job = m.job, (VALUES (1), (2)) l(line);

	SELECT min(o.status) INTO refused FROM job_open((SELECT coalesce(jsonb_agg(e->'job' ORDER BY (e->>'o')::bigint), '[]') FROM jsonb_array_elements(judged) e
		WHERE e->>'status' = 'ok')) o WHERE o.status <> 'ok';
	IF refused IS NOT NULL THEN
		RAISE EXCEPTION 'the job of a payment was not opened: %', refused;
	END IF;

	INSERT INTO payment (id, chain_id, verifier, payer, nonce, account, job, request_digest, scheme, method, amount_max, payload, claim_block)
	SELECT (e->'p'->>'id')::uuid, (e->'p'->>'chain_id')::bigint, decode(e->'p'->>'verifier', 'hex'), decode(e->'p'->>'payer', 'hex'),
		decode(e->'p'->>'nonce', 'hex'), (e->>'who')::bigint, (e->'job'->>'id')::uuid, decode(e->'p'->>'request_digest', 'hex'), e->'p'->>'scheme',
		e->'p'->>'method', (e->>'wanted')::numeric, e->'p'->'payload', (e->'p'->>'claim_block')::bigint
	FROM jsonb_array_elements(judged) e WHERE e->>'status' = 'ok' ORDER BY (e->>'o')::bigint;
	RETURN QUERY SELECT (e->>'o')::bigint, e->>'status', (e->>'who')::bigint FROM jsonb_array_elements(judged) e ORDER BY 1;
END $$;

-- The answer is stored, and what it costs is to be taken (nothing: settled at once). Items: as job_close's, with payment and amount.
-- Status: ok, or fenced: another process has the job, or its payment is not claimed any more.
CREATE FUNCTION payments_produce(batch jsonb) RETURNS TABLE (ord bigint, status text) LANGUAGE plpgsql
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
			ended_at = CASE WHEN l.amount > 0 THEN NULL ELSE clock_timestamp() END
		FROM item l JOIN stored s ON s.o = l.o WHERE p.id = l.payment
	)
	SELECT item.o, CASE WHEN item.o IN (SELECT s.o FROM stored s) THEN 'ok' ELSE 'fenced' END FROM item ORDER BY item.o;
END $$;

-- Items: as payment_close's, with payment, dropped and why beside them. Status: ok, or fenced.
CREATE FUNCTION payments_close(batch jsonb) RETURNS TABLE (ord bigint, status text) LANGUAGE plpgsql
	SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
	fitting jsonb;
	closed bigint[];
BEGIN
	PERFORM FROM payment p WHERE p.id IN (SELECT (i->>'payment')::uuid FROM jsonb_array_elements(batch) i) ORDER BY p.id FOR UPDATE;
	SELECT coalesce(jsonb_agg(t.i || jsonb_build_object('o', t.o) ORDER BY t.o), '[]') INTO fitting
	FROM jsonb_array_elements(batch) WITH ORDINALITY t(i, o) JOIN payment p ON p.id = (t.i->>'payment')::uuid
	WHERE (p.state IN ('claimed', 'failed')) = (t.i->>'dropped')::boolean AND p.job = (t.i->>'id')::uuid;
	SELECT coalesce(array_agg((fitting->(c.ord::int - 1)->>'o')::bigint), '{}') INTO closed FROM job_close(fitting) c WHERE c.status = 'ok';

	UPDATE payment p SET state = 'dropped', reason = coalesce(p.reason, e->>'why'), ended_at = clock_timestamp()
	FROM jsonb_array_elements(fitting) e WHERE p.id = (e->>'payment')::uuid AND (e->>'o')::bigint = ANY (closed) AND (e->>'dropped')::boolean;
	WITH back AS MATERIALIZED (
		SELECT p.*, CASE WHEN (e->>'dropped')::boolean THEN p.amount_max ELSE p.amount_max - p.amount END AS sum
		FROM jsonb_array_elements(fitting) e JOIN payment p ON p.id = (e->>'payment')::uuid WHERE (e->>'o')::bigint = ANY (closed)
	), moved AS (
		INSERT INTO ledger_transfer (key, kind, job)
		SELECT 'x402_dropped:' || b.id || CASE WHEN b.reorganised > 0 THEN ':' || b.reorganised ELSE '' END, 'x402_dropped', b.job FROM back b WHERE b.sum > 0
		RETURNING id, job
	)
	INSERT INTO ledger_entry (transfer, line, account, amount)
	SELECT m.id, l.line, CASE l.line WHEN 1 THEN b.account * 16 + 1 ELSE 11 END, CASE l.line WHEN 1 THEN -b.sum ELSE b.sum END
	FROM moved m JOIN back b ON b.job = m.job, (VALUES (1), (2)) l(line);
	RETURN QUERY SELECT t.o, CASE WHEN t.o = ANY (closed) THEN 'ok' ELSE 'fenced' END FROM jsonb_array_elements(batch) WITH ORDINALITY t(i, o) ORDER BY 1;
END $$;

-- A transaction carries these from now on: how many of them wait for one.
CREATE FUNCTION settlement_carries(ids jsonb, which bigint) RETURNS bigint LANGUAGE plpgsql
	SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off AS $$
DECLARE
	taken bigint;
BEGIN
	PERFORM FROM payment p WHERE p.id IN (SELECT i::uuid FROM jsonb_array_elements_text(ids) i) ORDER BY p.id FOR UPDATE;
	WITH p AS (
		UPDATE payment x SET tx = which FROM jsonb_array_elements_text(ids) i WHERE x.id = i::uuid AND coalesce(x.state, '') = 'settling' AND x.tx IS NULL RETURNING 1
	), f AS (
		UPDATE facilitation x SET tx = which FROM jsonb_array_elements_text(ids) i WHERE x.id = i::uuid AND coalesce(x.state, '') = 'settling' AND x.tx IS NULL RETURNING 1
	)
	SELECT (SELECT count(*) FROM p) + (SELECT count(*) FROM f) INTO taken;
	RETURN taken;
END $$;

-- The money of these moved on chain with `hash`. Items: {payment, log}. Returns those that were settled by this.
CREATE FUNCTION payments_settled(batch jsonb, hash bytea) RETURNS SETOF uuid LANGUAGE plpgsql
	SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
	done uuid[];
BEGIN
	PERFORM FROM payment p WHERE p.id IN (SELECT (i->>'payment')::uuid FROM jsonb_array_elements(batch) i) ORDER BY p.id FOR UPDATE;
	WITH settled AS (
		UPDATE payment p SET state = 'settled', tx_hash = hash, log_index = (i->>'log')::int, ended_at = clock_timestamp()
		FROM jsonb_array_elements(batch) i WHERE p.id = (i->>'payment')::uuid AND p.state = 'settling' RETURNING p.*
	), moved AS (
		INSERT INTO ledger_transfer (key, kind, job)
		SELECT 'x402_settled:' || s.id || CASE WHEN s.reorganised > 0 THEN ':' || s.reorganised ELSE '' END, 'x402_settled', s.job FROM settled s WHERE s.amount > 0
		RETURNING id, job
	), written AS (
		INSERT INTO ledger_entry (transfer, line, account, amount)
		SELECT m.id, l.line, CASE l.line WHEN 1 THEN 8 ELSE 11 END, CASE l.line WHEN 1 THEN -s.amount ELSE s.amount END
		FROM moved m JOIN settled s ON s.job = m.job, (VALUES (1), (2)) l(line)
	)
	SELECT array_agg(s.id) INTO done FROM settled s;
	RETURN QUERY SELECT unnest(done);
END $$;
