-- Payouts: who is paid where and when, what each payout covers, and its way from the books to the chain.

INSERT INTO ledger_account VALUES (12, 0, 'payout', false);

ALTER TABLE ledger_transfer DROP CONSTRAINT ledger_transfer_kind_check;
ALTER TABLE ledger_transfer ADD CONSTRAINT ledger_transfer_kind_check
	CHECK (kind IN ('deposit', 'deposit_reversal', 'hold', 'capture', 'void', 'x402_accepted', 'x402_settled', 'x402_dropped',
		'x402_unsettled', 'x402_lost', 'payout', 'payout_paid', 'payout_returned'));
COMMENT ON COLUMN idempotency.job IS 'whose stored answer is replayed: a job, or a withdrawal';

CREATE INDEX ledger_entry_earned ON ledger_entry (account, xid) WHERE account % 16 IN (3, 4);
COMMENT ON INDEX ledger_entry_earned IS 'what a payout of earnings covers';

CREATE TABLE payout_source (
	account bigint PRIMARY KEY REFERENCES ledger_account
);
COMMENT ON TABLE payout_source IS 'one row for each ledger account that was paid out from, locked by whoever takes from it: earnings have no balance row of their own';
COMMENT ON COLUMN payout_source.account IS 'available, author or operator of an account';

CREATE TABLE payout_setting (
	account bigint PRIMARY KEY REFERENCES account,
	schedule text NOT NULL DEFAULT 'manual' CHECK (schedule IN ('manual', 'daily', 'weekly')),
	minimum wei NOT NULL,
	next_at timestamptz,
	CHECK ((schedule = 'manual') = (next_at IS NULL))
);
COMMENT ON TABLE payout_setting IS 'how an account wants its earnings paid; no row: by hand';
COMMENT ON COLUMN payout_setting.account IS 'whose';
COMMENT ON COLUMN payout_setting.schedule IS 'manual: on demand only';
COMMENT ON COLUMN payout_setting.minimum IS 'less than this waits for the next time';
COMMENT ON COLUMN payout_setting.next_at IS 'when the schedule is due; UTC midnights, weeks from Monday';
CREATE INDEX payout_setting_due ON payout_setting (next_at) WHERE next_at IS NOT NULL;
COMMENT ON INDEX payout_setting_due IS 'the schedule';

CREATE TABLE payout_address (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	account bigint NOT NULL REFERENCES account,
	address address NOT NULL,
	nonce hash32,
	signature bytea,
	added_at timestamptz NOT NULL DEFAULT now(),
	valid_at timestamptz NOT NULL,
	chosen_at timestamptz NOT NULL,
	cancelled_at timestamptz,
	UNIQUE (account, nonce),
	CHECK ((nonce IS NULL) = (signature IS NULL))
);
COMMENT ON TABLE payout_address IS 'where an account may be paid: its own address, and those it signed for, from valid_at on';
COMMENT ON COLUMN payout_address.id IS 'internal key';
COMMENT ON COLUMN payout_address.account IS 'whose payouts';
COMMENT ON COLUMN payout_address.address IS 'receiver';
COMMENT ON COLUMN payout_address.nonce IS 'of the signed PayoutAddress: each adds an address once. NULL: the account''s own address';
COMMENT ON COLUMN payout_address.signature IS 'the account''s, over PayoutAddress: evidence';
COMMENT ON COLUMN payout_address.added_at IS 'when it was asked for';
COMMENT ON COLUMN payout_address.valid_at IS 'nothing is paid there before: time for the owner to notice and cancel';
COMMENT ON COLUMN payout_address.chosen_at IS 'the valid one that was chosen last is where payouts go';
COMMENT ON COLUMN payout_address.cancelled_at IS 'not allowed from then on';
CREATE UNIQUE INDEX payout_address_live ON payout_address (account, address) WHERE cancelled_at IS NULL;
COMMENT ON INDEX payout_address_live IS 'the allow-list, each address once';

CREATE TABLE payout (
	id uuid PRIMARY KEY,
	account bigint NOT NULL REFERENCES account,
	source bigint NOT NULL REFERENCES ledger_account,
	address address NOT NULL,
	amount wei NOT NULL CHECK (amount > 0),
	asked_by text NOT NULL CHECK (asked_by IN ('account', 'schedule')),
	state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'paid', 'returned')),
	waits_for text CHECK (waits_for IN ('funds')),
	from_xid xid8,
	upto_xid xid8,
	contract address,
	tx bigint REFERENCES settlement_tx,
	tx_hash hash32,
	log_index int,
	reason text,
	asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	ended_at timestamptz,
	UNIQUE (tx_hash, log_index),
	CHECK ((from_xid IS NULL) = (upto_xid IS NULL) AND (source % 16 IN (3, 4)) = (upto_xid IS NOT NULL)),
	CHECK ((state = 'pending') = (tx IS NULL) AND (state IN ('paid', 'returned')) = (ended_at IS NOT NULL)),
	CHECK (state <> 'paid' OR tx_hash IS NOT NULL)
);
COMMENT ON TABLE payout IS 'money on its way from the books to the chain: from its source to account 12 when asked for, from there to custody when the chain has it, or back';
COMMENT ON COLUMN payout.id IS 'random; the id under which contracts/Payouts.sol remembers it for ever';
COMMENT ON COLUMN payout.account IS 'whose money';
COMMENT ON COLUMN payout.source IS 'ledger account it was taken from: available, author or operator';
COMMENT ON COLUMN payout.address IS 'receiver on chain';
COMMENT ON COLUMN payout.amount IS 'base units';
COMMENT ON COLUMN payout.asked_by IS 'the account itself, or its schedule';
COMMENT ON COLUMN payout.state IS 'pending (booked, in no transaction), sent (in one), paid, returned (the token refused the receiver: back at its source)';
COMMENT ON COLUMN payout.waits_for IS 'funds: the treasury, or what it allows, does not cover it now';
COMMENT ON COLUMN payout.from_xid IS 'earnings: it covers exactly the captures from this writing transaction on …';
COMMENT ON COLUMN payout.upto_xid IS '… and before this one; every transaction below had ended when it was made, so the set never changes';
COMMENT ON COLUMN payout.contract IS 'contracts/Payouts.sol as deployed when it was sent';
COMMENT ON COLUMN payout.tx IS 'paying transaction';
COMMENT ON COLUMN payout.tx_hash IS 'the transaction that paid it';
COMMENT ON COLUMN payout.log_index IS 'the Transfer in that transaction''s receipt: no log proves two payouts';
COMMENT ON COLUMN payout.reason IS 'why it was returned';
COMMENT ON COLUMN payout.asked_at IS 'when the money left its source';
COMMENT ON COLUMN payout.ended_at IS 'paid or returned';
CREATE UNIQUE INDEX payout_of_earnings ON payout (source) WHERE state IN ('pending', 'sent') AND upto_xid IS NOT NULL;
COMMENT ON INDEX payout_of_earnings IS 'one at a time, so that the ranges they cover never overlap, whatever becomes of one';
CREATE INDEX payout_under_way ON payout (state, asked_at) WHERE state IN ('pending', 'sent');
COMMENT ON INDEX payout_under_way IS 'the queue';
CREATE INDEX payout_account ON payout (account, asked_at, id);
COMMENT ON INDEX payout_account IS 'GET /v1/withdrawals';
CREATE INDEX payout_covers ON payout (source, upto_xid) WHERE upto_xid IS NOT NULL AND state <> 'returned';
COMMENT ON INDEX payout_covers IS 'from an earning to its payout';
CREATE INDEX payout_tx ON payout (tx) WHERE tx IS NOT NULL;
COMMENT ON INDEX payout_tx IS 'from a transaction to its payouts';

-- Where an account's payouts go now: its own address while it has chosen no other, or the other is not valid yet.
CREATE FUNCTION payout_target(who bigint) RETURNS bytea LANGUAGE sql STABLE AS $$
	SELECT coalesce((SELECT a.address FROM payout_address a WHERE a.account = who AND a.cancelled_at IS NULL AND a.valid_at <= clock_timestamp()
	                 ORDER BY a.chosen_at DESC, a.id DESC LIMIT 1), (SELECT c.address FROM account c WHERE c.id = who))
$$;

-- Chooses where payouts go. An address that is not on the list needs the account's signature and waits. Status: ok | unknown | used.
CREATE FUNCTION payout_choose(who bigint, receiver bytea, delay_ms bigint, signed_nonce bytea, signed bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM FROM account c WHERE c.id = who FOR UPDATE;
	UPDATE payout_address a SET chosen_at = clock_timestamp() WHERE a.account = who AND a.address = receiver AND a.cancelled_at IS NULL;
	IF FOUND THEN
		RETURN 'ok';
	END IF;
	IF EXISTS (SELECT FROM account c WHERE c.id = who AND c.address = receiver) THEN
		INSERT INTO payout_address (account, address, valid_at, chosen_at) VALUES (who, receiver, clock_timestamp(), clock_timestamp());
		RETURN 'ok';
	ELSIF signed_nonce IS NULL THEN
		RETURN 'unknown';
	ELSIF EXISTS (SELECT FROM payout_address a WHERE a.account = who AND a.nonce = signed_nonce) THEN
		RETURN 'used';
	END IF;
	INSERT INTO payout_address (account, address, nonce, signature, valid_at, chosen_at)
	VALUES (who, receiver, signed_nonce, signed, clock_timestamp() + make_interval(secs => delay_ms / 1000.0), clock_timestamp());
	RETURN 'ok';
END $$;

CREATE FUNCTION payout_next(schedule text) RETURNS timestamptz LANGUAGE sql STABLE AS $$
	SELECT CASE schedule WHEN 'daily' THEN date_trunc('day', clock_timestamp(), 'UTC') + interval '24 hours'
	                     WHEN 'weekly' THEN date_trunc('week', clock_timestamp(), 'UTC') + interval '168 hours' END
$$;

-- Takes a payout's money from its source: {id, account, kind (1, 3 or 4), amount (available only; absent: all), to (absent: the chosen
-- address), minimum, asked_by, route, key, body_digest (absent: no Idempotency-Key)}. Status, with nothing changed unless it is ok:
--   ok | key_exists | address | under_way | below_minimum | insufficient
-- The row of the source is locked first: what two of them could see at once, one after the other sees rightly.
CREATE FUNCTION payout_open(p jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	who bigint := (p->>'account')::bigint;
	kind bigint := (p->>'kind')::bigint;
	src bigint := who * 16 + kind;
	receiver bytea := coalesce(decode(p->>'to', 'hex'), payout_target(who));
	total numeric := (p->>'amount')::numeric;
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
		SELECT coalesce(total, b.amount) INTO total FROM ledger_balance b WHERE b.account = src FOR UPDATE;
	ELSE
		IF EXISTS (SELECT FROM payout o WHERE o.source = src AND o.state IN ('pending', 'sent')) THEN
			RETURN 'under_way';
		END IF;
		since := coalesce((SELECT o.upto_xid FROM payout o WHERE o.source = src AND o.state = 'paid' AND o.upto_xid IS NOT NULL
			ORDER BY o.upto_xid DESC LIMIT 1), '0'::xid8);
		horizon := pg_snapshot_xmin(pg_current_snapshot());
		SELECT coalesce(sum(e.amount), 0) INTO total FROM ledger_entry e JOIN ledger_transfer f ON f.id = e.transfer
		WHERE e.account = src AND e.account % 16 IN (3, 4) AND e.xid >= since AND e.xid < horizon AND f.kind = 'capture';
	END IF;
	IF total < (p->>'minimum')::numeric OR total <= 0 THEN
		RETURN 'below_minimum';
	END IF;
	IF total > (CASE kind WHEN 1 THEN (SELECT b.amount FROM ledger_balance b WHERE b.account = src) ELSE ledger_balance_of(src) END) THEN
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

-- Opens what the schedules say is due; how many were opened. An account is looked at once for each time it was due.
CREATE FUNCTION payout_schedule(minimum numeric) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	s payout_setting;
	opened bigint := 0;
BEGIN
	FOR s IN SELECT * FROM payout_setting d WHERE d.next_at <= clock_timestamp() ORDER BY d.next_at LIMIT 100 FOR UPDATE SKIP LOCKED LOOP
		FOR kind IN 3..4 LOOP
			IF payout_open(jsonb_build_object('id', gen_random_uuid(), 'account', s.account, 'kind', kind, 'minimum', greatest(minimum, s.minimum),
				'asked_by', 'schedule')) = 'ok' THEN
				opened := opened + 1;
			END IF;
		END LOOP;
		UPDATE payout_setting d SET next_at = payout_next(d.schedule) WHERE d.account = s.account;
	END LOOP;
	RETURN opened;
END $$;

-- The end of a payout's money: into custody's place when the chain has paid it, back to its source when the token refused.
CREATE FUNCTION payout_end(which uuid, end_state text, hash bytea, log int, why text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	p payout;
	t bigint;
BEGIN
	UPDATE payout SET state = end_state, tx_hash = hash, log_index = log, reason = why, waits_for = NULL, ended_at = clock_timestamp()
	WHERE id = which AND state = 'sent' RETURNING * INTO p;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	INSERT INTO ledger_transfer (key, kind) VALUES ('payout_end:' || which, 'payout_' || end_state) RETURNING id INTO t;
	INSERT INTO ledger_entry (transfer, line, account, amount)
	VALUES (t, 1, 12, -p.amount), (t, 2, CASE end_state WHEN 'paid' THEN 8 ELSE p.source END, p.amount);
	RETURN true;
END $$;

-- A payout ends once, and what it says never changes afterwards.
CREATE FUNCTION payout_ends_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'DELETE' OR OLD.state IN ('paid', 'returned') OR NEW.id <> OLD.id OR NEW.source <> OLD.source OR NEW.amount <> OLD.amount
		OR NEW.address <> OLD.address OR NEW.upto_xid IS DISTINCT FROM OLD.upto_xid OR NEW.from_xid IS DISTINCT FROM OLD.from_xid THEN
		RAISE EXCEPTION 'payout % has ended, or would become another', OLD.id USING ERRCODE = 'OG409';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER ends_once BEFORE UPDATE OR DELETE ON payout FOR EACH ROW EXECUTE FUNCTION payout_ends_once();

-- Co-authors: what part of a model's royalty is whose, from the next capture on.
CREATE TABLE model_share (
	model bigint NOT NULL REFERENCES model,
	place smallint NOT NULL CHECK (place BETWEEN 1 AND 8),
	account bigint NOT NULL REFERENCES account,
	bps int NOT NULL CHECK (bps BETWEEN 1 AND 10000),
	PRIMARY KEY (model, place),
	UNIQUE (model, account)
);
COMMENT ON TABLE model_share IS 'co-authors of a model; its owner has what is left of 10000, and what rounding leaves';
COMMENT ON COLUMN model_share.model IS 'of which model';
COMMENT ON COLUMN model_share.place IS '1, 2, 3 …: its line in a capture is 5 more';
COMMENT ON COLUMN model_share.account IS 'who; never the owner';
COMMENT ON COLUMN model_share.bps IS 'of the royalty, in 1/10000';

CREATE FUNCTION model_share_set(which bigint, shares jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM FROM model m WHERE m.id = which FOR UPDATE;
	DELETE FROM model_share WHERE model = which;
	INSERT INTO account (address) SELECT decode(s->>'address', 'hex') FROM jsonb_array_elements(shares) s ORDER BY 1 ON CONFLICT (address) DO NOTHING;
	INSERT INTO model_share (model, place, account, bps)
	SELECT which, t.place, a.id, (t.s->>'bps')::int FROM jsonb_array_elements(shares) WITH ORDINALITY t(s, place)
	JOIN account a ON a.address = decode(t.s->>'address', 'hex');
END $$;

-- What is written must never be more than the whole, whoever writes it.
CREATE FUNCTION model_share_whole() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT sum(s.bps) FROM model_share s WHERE s.model = NEW.model) > 10000
		OR EXISTS (SELECT FROM model m WHERE m.id = NEW.model AND m.author = NEW.account) THEN
		RAISE EXCEPTION 'shares of model % are more than the whole, or name its owner', NEW.model USING ERRCODE = '23514', TABLE = 'model_share';
	END IF;
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER whole AFTER INSERT OR UPDATE ON model_share DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION model_share_whole();

ALTER TABLE job ADD COLUMN response_header_length text;
COMMENT ON COLUMN job.response_header_length IS 'Inference-Header-Content-Length of a binary tensor answer: without it nobody could read the stored bytes';

-- As in 0005, and the answer's header length is kept, and the royalty is split among co-authors: each part rounded down, the rest to the owner.
-- Closes jobs: capture or void, and the job's end, in one statement each; a status per item: ok | fenced.
-- An item names the state it expects (lease and attempt): whoever lost the lease changes nothing.
CREATE OR REPLACE FUNCTION job_close(batch jsonb) RETURNS TABLE (ord bigint, status text) LANGUAGE plpgsql
	SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
	PERFORM FROM job j WHERE j.id IN (SELECT (i->>'id')::uuid FROM jsonb_array_elements(batch) i) ORDER BY j.id FOR UPDATE;
	PERFORM FROM ledger_balance b
	WHERE b.account IN (SELECT (i->>'account')::bigint * 16 + k FROM jsonb_array_elements(batch) i, (VALUES (1), (2)) v(k))
	ORDER BY b.account FOR UPDATE;

	RETURN QUERY
	WITH item AS MATERIALIZED (
		SELECT t.o, (t.i->>'id')::uuid AS id, t.i AS i,
			(t.i->>'ask')::numeric AS ask, (t.i->>'royalty')::numeric AS royalty, (t.i->>'fee')::numeric AS fee,
			(t.i->>'ask')::numeric + (t.i->>'royalty')::numeric + (t.i->>'fee')::numeric AS charged
		FROM jsonb_array_elements(batch) WITH ORDINALITY t(i, o)
	), live AS MATERIALIZED (
		SELECT item.*, j.account, j.author, j.version, coalesce((item.i->>'operator')::bigint, j.operator) AS operator
		FROM item CROSS JOIN LATERAL (SELECT * FROM job WHERE job.id = item.id LIMIT 1) j -- LIMIT: one by one, never by reading them all
		WHERE j.state IN ('queued', 'running', 'produced')
		  AND j.lease IS NOT DISTINCT FROM (item.i->>'lease')::uuid
		  AND j.attempt = (item.i->>'attempt')::int
	), freed AS (
		UPDATE hold h SET state = CASE WHEN l.i->>'state' = 'settled' THEN 'captured' ELSE 'voided' END, captured = l.charged,
			closed_at = clock_timestamp()
		FROM live l WHERE h.job = l.id AND coalesce(h.state, '') = 'open' -- coalesce: by the job's id, never through all open holds
		RETURNING h.job, h.amount
	), ended AS (
		UPDATE job j SET state = l.i->>'state', outcome = l.i->>'outcome', ended_at = clock_timestamp(), lease = NULL, request_body = NULL,
			operator = l.operator, ask = l.ask, royalty = l.royalty, fee = l.fee, charged = l.charged,
			response_status = coalesce((l.i->>'response_status')::int, j.response_status), response_type = coalesce(l.i->>'response_type', j.response_type),
			response_header_length = coalesce(l.i->>'response_header_length', j.response_header_length),
			response_hash = coalesce(decode(l.i->>'response_hash', 'hex'), j.response_hash),
			response_body = coalesce(decode(l.i->>'response_body', 'hex'), j.response_body),
			receipt = coalesce(l.i->>'receipt', j.receipt), verdict = coalesce(l.i->>'verdict', j.verdict),
			verdict_report = coalesce(l.i->'verdict_report', j.verdict_report),
			input_units = coalesce((l.i->>'input_units')::bigint, j.input_units), output_units = coalesce((l.i->>'output_units')::bigint, j.output_units),
			error = l.i->>'error'
		FROM live l WHERE j.id = l.id RETURNING j.id
	), moved AS (
		INSERT INTO ledger_transfer (key, kind, job)
		SELECT 'close:' || f.job, CASE WHEN l.i->>'state' = 'settled' THEN 'capture' ELSE 'void' END, f.job
		FROM freed f JOIN live l ON l.id = f.job WHERE f.amount > 0 RETURNING id, job
	), shared AS MATERIALIZED (
		SELECT l.id, s.place, s.account, floor(l.royalty * s.bps / 10000) AS part
		FROM live l JOIN model_version v ON v.id = l.version JOIN model_share s ON s.model = v.model WHERE l.royalty > 0
	), written AS (
		INSERT INTO ledger_entry (transfer, line, account, amount)
		SELECT m.id, p.line, p.account, p.amount
		FROM moved m JOIN freed f ON f.job = m.job JOIN live l ON l.id = m.job,
		LATERAL (SELECT v.line, v.account, v.amount FROM (VALUES (1, l.account * 16 + 2, -f.amount), (2, l.account * 16 + 1, f.amount - l.charged),
			(3, l.operator * 16 + 4, l.ask), (4, l.author * 16 + 3, l.royalty - (SELECT coalesce(sum(s.part), 0) FROM shared s WHERE s.id = l.id)),
			(5, 9::bigint, l.fee)) v(line, account, amount)
			UNION ALL SELECT 5 + s.place, s.account * 16 + 3, s.part FROM shared s WHERE s.id = l.id) p
		WHERE p.amount <> 0
	)
	-- By the item, not by its job: one that lost the lease can stand in the same batch as the one that ends the job.
	SELECT item.o, CASE WHEN item.o IN (SELECT l.o FROM live l) THEN 'ok' ELSE 'fenced' END FROM item ORDER BY item.o;
END $$;
