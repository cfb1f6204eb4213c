-- What nodes asked before, so that what was promised at a price is done by those who asked it, and by nobody else; and what payers have, so
-- that nobody asks for more.

ALTER TABLE offer ADD COLUMN before_currency currency, ADD COLUMN before_input wei, ADD COLUMN before_output wei, ADD COLUMN before_until timestamptz;
COMMENT ON COLUMN offer.before_currency IS 'of the ask before this one';
COMMENT ON COLUMN offer.before_input IS 'the ask before this one';
COMMENT ON COLUMN offer.before_output IS 'the ask before this one';
COMMENT ON COLUMN offer.before_until IS 'how long that one was offered';

-- An offer that was withdrawn and comes back was last offered when it was withdrawn.
CREATE FUNCTION offer_keep_ask() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.before_currency := OLD.currency;
	NEW.before_input := OLD.ask_input;
	NEW.before_output := OLD.ask_output;
	NEW.before_until := CASE OLD.state WHEN 'ready' THEN clock_timestamp() ELSE OLD.updated_at END;
	RETURN NEW;
END $$;
CREATE TRIGGER offer_keeps_ask BEFORE UPDATE ON offer FOR EACH ROW
	WHEN ((OLD.currency, OLD.ask_input, OLD.ask_output) IS DISTINCT FROM (NEW.currency, NEW.ask_input, NEW.ask_output)) EXECUTE FUNCTION offer_keep_ask();

CREATE TABLE usd_rate_past (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	value wei NOT NULL CHECK (value > 0),
	at timestamptz NOT NULL,
	until timestamptz NOT NULL
);
COMMENT ON TABLE usd_rate_past IS 'the rates before the newest: what was promised by one of them is done by it';
COMMENT ON COLUMN usd_rate_past.id IS 'internal key';
COMMENT ON COLUMN usd_rate_past.value IS '10^-18 USD for one OPG';
COMMENT ON COLUMN usd_rate_past.at IS 'when it was found';
COMMENT ON COLUMN usd_rate_past.until IS 'until when it was sold by; a week later it goes';
CREATE INDEX usd_rate_past_until ON usd_rate_past (until);
COMMENT ON INDEX usd_rate_past_until IS 'the rates of a time';

CREATE FUNCTION usd_rate_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO usd_rate_past (value, at, until) VALUES (OLD.value, OLD.at, least(OLD.good_until, clock_timestamp()));
	DELETE FROM usd_rate_past WHERE until < clock_timestamp() - interval '7 days';
	RETURN NULL;
END $$;
CREATE TRIGGER usd_rate_keeps AFTER UPDATE ON usd_rate FOR EACH ROW EXECUTE FUNCTION usd_rate_keep();

-- As opg_of, at this rate.
CREATE FUNCTION opg_at(of_currency text, sum numeric, rate numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN of_currency = 'OPG' THEN sum ELSE div(sum * 1000000000000000000 + rate - 1, rate) END
$$;

-- The most that a node asked itself in OPG and that is within these bounds: by any rate of that time, and, if `changed`, by the ask before
-- this one, when it was still offered then. No row: it never asked so little.
CREATE FUNCTION offer_asked(which_node bytea, which_version bigint, since timestamptz, upto timestamptz, changed boolean, most_input numeric, most_output numeric)
	RETURNS TABLE (input numeric, output numeric) LANGUAGE sql STABLE AS $$
	SELECT p.input, p.output
	FROM offer o
	CROSS JOIN LATERAL (SELECT o.currency::text AS currency, o.ask_input::numeric AS one_input, o.ask_output::numeric AS one_output
	                    UNION ALL SELECT o.before_currency::text, o.before_input::numeric, o.before_output::numeric WHERE changed AND o.before_until > since) a
	LEFT JOIN (SELECT value::numeric, at FROM usd_rate_past WHERE until >= since UNION ALL SELECT value::numeric, at FROM usd_rate WHERE good_until >= since) rate
		ON a.currency = 'USD' AND rate.at <= upto
	CROSS JOIN LATERAL (SELECT opg_at(a.currency, a.one_input, rate.value) AS input, opg_at(a.currency, a.one_output, rate.value) AS output) p
	WHERE o.node = which_node AND o.version = which_version AND p.input <= most_input AND p.output <= most_output
	ORDER BY p.input + p.output DESC LIMIT 1
$$;

-- As in 0007, and with `balance` (absent: not known), the payer's tokens as the chain said before this: status insufficient, with nothing
-- changed, when they do not cover this and what is open of theirs. What has just moved on chain and is not booked yet counts twice: then
-- the same claim is good a moment later.
CREATE OR REPLACE FUNCTION payment_claim(p jsonb, item jsonb) RETURNS TABLE (status text, account bigint) LANGUAGE plpgsql AS $$
DECLARE
	who bigint;
	t bigint;
	opened text;
	wanted numeric := (p->>'amount_max')::numeric;
	of_payer numeric;
	of_all numeric;
BEGIN
	INSERT INTO account AS a (address) VALUES (decode(p->>'payer', 'hex')) ON CONFLICT (address) DO UPDATE SET address = EXCLUDED.address RETURNING a.id INTO who;
	IF EXISTS (SELECT FROM payment x WHERE x.chain_id = (p->>'chain_id')::bigint AND x.verifier = decode(p->>'verifier', 'hex')
	           AND x.payer = decode(p->>'payer', 'hex') AND x.nonce = decode(p->>'nonce', 'hex')) THEN
		RETURN QUERY SELECT 'claimed_before', who;
		RETURN;
	END IF;
	IF wanted > 0 AND wanted + (SELECT coalesce(sum(coalesce(x.amount, x.amount_max)), 0) FROM payment x
	                            WHERE x.payer = decode(p->>'payer', 'hex') AND x.state IN ('claimed', 'settling')) > (p->>'balance')::numeric THEN
		RETURN QUERY SELECT 'insufficient', who;
		RETURN;
	END IF;
	IF p->>'payer_max' IS NOT NULL THEN
		SELECT coalesce(sum(x.amount_max) FILTER (WHERE x.account = who), 0), coalesce(sum(x.amount_max), 0) INTO of_payer, of_all
		FROM payment x WHERE x.state IN ('claimed', 'settling');
		IF of_payer + wanted > (p->>'payer_max')::numeric OR of_all + wanted > (p->>'all_max')::numeric THEN
			RETURN QUERY SELECT 'exposed', who;
			RETURN;
		END IF;
	END IF;
	IF wanted > 0 THEN
		INSERT INTO ledger_transfer (key, kind, job) VALUES ('x402:' || (p->>'id'), 'x402_accepted', (item->>'id')::uuid) RETURNING id INTO t;
		INSERT INTO ledger_entry (transfer, line, account, amount) VALUES (t, 1, 11, -wanted), (t, 2, who * 16 + 1, wanted);
	END IF;
	SELECT o.status INTO opened FROM job_open(jsonb_build_array(item || jsonb_build_object('account', who))) o;
	IF opened <> 'ok' THEN
		RAISE EXCEPTION 'the job of a payment was not opened: %', opened;
	END IF;
	INSERT INTO payment (id, chain_id, verifier, payer, nonce, account, job, request_digest, scheme, method, amount_max, payload, claim_block)
	VALUES ((p->>'id')::uuid, (p->>'chain_id')::bigint, decode(p->>'verifier', 'hex'), decode(p->>'payer', 'hex'), decode(p->>'nonce', 'hex'), who,
		(item->>'id')::uuid, decode(p->>'request_digest', 'hex'), p->>'scheme', p->>'method', wanted, p->'payload', (p->>'claim_block')::bigint);
	RETURN QUERY SELECT 'ok', who;
END $$;

-- As in 0016, and with `balance` likewise.
CREATE OR REPLACE FUNCTION payments_claim(batch jsonb) RETURNS TABLE (ord bigint, status text, value bigint) LANGUAGE plpgsql
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
			(t.i->'claim'->>'payer_max')::numeric AS payer_max, (t.i->'claim'->>'all_max')::numeric AS all_max, (t.i->'claim'->>'balance')::numeric AS balance,
			-- Not EXISTS, which may be answered by reading all of them.
			coalesce((SELECT true FROM payment_authorization x WHERE x.chain_id = (t.i->'claim'->>'chain_id')::bigint
				AND x.verifier = decode(t.i->'claim'->>'verifier', 'hex') AND x.payer = a.address AND x.nonce = decode(t.i->'claim'->>'nonce', 'hex')), false) AS claimed,
			row_number() OVER (PARTITION BY t.i->'claim'->'chain_id', t.i->'claim'->'verifier', t.i->'claim'->'payer', t.i->'claim'->'nonce' ORDER BY t.o) AS copy
		FROM jsonb_array_elements(batch) WITH ORDINALITY t(i, o) JOIN account a ON a.address = decode(t.i->'claim'->>'payer', 'hex')
	), open AS MATERIALIZED (
		SELECT x.account, sum(x.amount_max) AS served, sum(coalesce(x.amount, x.amount_max)) AS owed FROM payment x WHERE x.state IN ('claimed', 'settling') GROUP BY x.account
	), verdict AS (
		SELECT item.*, CASE
			WHEN item.claimed THEN 'claimed_before'
			WHEN item.copy > 1 THEN 'retry'
			WHEN item.wanted > 0 AND coalesce(own.owed, 0) + item.wanted > item.balance THEN 'insufficient'
			WHEN item.wanted > 0 AND coalesce(own.owed, 0) + sum(item.wanted) OVER (PARTITION BY item.who ORDER BY item.o) > item.balance THEN 'retry'
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
