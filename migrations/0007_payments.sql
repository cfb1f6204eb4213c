-- x402: payments by signed authorizations, and the transactions that settle them.

INSERT INTO ledger_account VALUES (11, 0, 'x402_unsettled', false);

ALTER TABLE ledger_transfer DROP CONSTRAINT ledger_transfer_kind_check;
ALTER TABLE ledger_transfer ADD CONSTRAINT ledger_transfer_kind_check
	CHECK (kind IN ('deposit', 'deposit_reversal', 'hold', 'capture', 'void', 'x402_accepted', 'x402_settled', 'x402_dropped'));

CREATE TABLE settlement_tx (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	chain_id bigint NOT NULL,
	sender address NOT NULL,
	nonce bigint NOT NULL CHECK (nonce >= 0),
	state text NOT NULL DEFAULT 'signed' CHECK (state IN ('signed', 'mined', 'final')),
	succeeded boolean,
	block_number bigint,
	block_hash hash32,
	created_at timestamptz NOT NULL DEFAULT now(),
	UNIQUE (chain_id, sender, nonce),
	CHECK ((state = 'signed') = (block_hash IS NULL))
);
COMMENT ON TABLE settlement_tx IS 'transactions of our settling keys: one row for each nonce, written before anything is sent';
COMMENT ON COLUMN settlement_tx.id IS 'internal key';
COMMENT ON COLUMN settlement_tx.chain_id IS 'which chain';
COMMENT ON COLUMN settlement_tx.sender IS 'address of the settling key';
COMMENT ON COLUMN settlement_tx.nonce IS 'account nonce: this table is the only source of it';
COMMENT ON COLUMN settlement_tx.state IS 'signed (may be on the wire), mined, final';
COMMENT ON COLUMN settlement_tx.succeeded IS 'status of its receipt, once mined';
COMMENT ON COLUMN settlement_tx.block_number IS 'where it was mined';
COMMENT ON COLUMN settlement_tx.block_hash IS 'a different hash later means a reorganisation';
COMMENT ON COLUMN settlement_tx.created_at IS 'when the nonce was taken';
CREATE INDEX settlement_tx_open ON settlement_tx (sender, nonce) WHERE state <> 'final';
COMMENT ON INDEX settlement_tx_open IS 'what the settler looks after';

CREATE TABLE settlement_tx_version (
	hash hash32 PRIMARY KEY,
	tx bigint NOT NULL REFERENCES settlement_tx,
	raw bytea NOT NULL,
	max_fee wei NOT NULL,
	sent_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE settlement_tx_version IS 'every signed form of a transaction: replacements keep the nonce, and any of them may be mined';
COMMENT ON COLUMN settlement_tx_version.hash IS 'transaction hash';
COMMENT ON COLUMN settlement_tx_version.tx IS 'of which transaction';
COMMENT ON COLUMN settlement_tx_version.raw IS 'signed bytes, sent again as they are';
COMMENT ON COLUMN settlement_tx_version.max_fee IS 'max fee per gas of this form, wei of the chain''s coin';
COMMENT ON COLUMN settlement_tx_version.sent_at IS 'when first sent';
CREATE INDEX settlement_tx_version_tx ON settlement_tx_version (tx);
COMMENT ON INDEX settlement_tx_version_tx IS 'all forms of one transaction';

CREATE TABLE payment (
	id uuid PRIMARY KEY,
	chain_id bigint NOT NULL,
	verifier address NOT NULL,
	payer address NOT NULL,
	nonce hash32 NOT NULL,
	account bigint NOT NULL REFERENCES account,
	job uuid NOT NULL UNIQUE REFERENCES job,
	request_digest hash32 NOT NULL,
	scheme text NOT NULL CHECK (scheme IN ('exact', 'upto')),
	method text NOT NULL CHECK (method IN ('eip3009', 'permit2')),
	amount_max wei NOT NULL,
	amount wei,
	payload jsonb NOT NULL,
	state text NOT NULL DEFAULT 'claimed' CHECK (state IN ('claimed', 'settling', 'settled', 'failed', 'dropped')),
	tx bigint REFERENCES settlement_tx,
	tx_hash hash32,
	reason text,
	claimed_at timestamptz NOT NULL DEFAULT now(),
	ended_at timestamptz,
	UNIQUE (chain_id, verifier, payer, nonce),
	CHECK (amount IS NULL OR amount <= amount_max)
);
COMMENT ON TABLE payment IS 'one row for each x402 authorization, written before any work: racing copies run the model once';
COMMENT ON COLUMN payment.id IS 'random; names the status link';
COMMENT ON COLUMN payment.chain_id IS 'which chain';
COMMENT ON COLUMN payment.verifier IS 'the contract that keeps the nonce: the token (EIP-3009) or Permit2';
COMMENT ON COLUMN payment.payer IS 'who signed';
COMMENT ON COLUMN payment.nonce IS 'as a 256-bit number; never the signature, which has twins';
COMMENT ON COLUMN payment.account IS 'the payer''s account: what is settled and not earned is credited there';
COMMENT ON COLUMN payment.job IS 'the one job it pays for';
COMMENT ON COLUMN payment.request_digest IS 'the same payment with the same request gets the same answer; another request gets nothing';
COMMENT ON COLUMN payment.scheme IS 'exact or upto';
COMMENT ON COLUMN payment.method IS 'how the money moves';
COMMENT ON COLUMN payment.amount_max IS 'what was signed for';
COMMENT ON COLUMN payment.amount IS 'what is settled';
COMMENT ON COLUMN payment.payload IS 'the authorization and its signature, as needed to settle';
COMMENT ON COLUMN payment.state IS 'claimed (job runs), settling (to be taken on chain), settled, failed (the chain refused it; its job is still open), dropped (never taken)';
COMMENT ON COLUMN payment.tx IS 'settling transaction';
COMMENT ON COLUMN payment.tx_hash IS 'the transaction that moved the money, ours or somebody else''s';
COMMENT ON COLUMN payment.reason IS 'why it was dropped';
COMMENT ON COLUMN payment.claimed_at IS 'before the work';
COMMENT ON COLUMN payment.ended_at IS 'settled or dropped';
CREATE INDEX payment_open ON payment (state, claimed_at) WHERE state IN ('claimed', 'settling');
COMMENT ON INDEX payment_open IS 'the settler''s queue';
CREATE INDEX payment_exposed ON payment (payer) WHERE state IN ('claimed', 'settling');
COMMENT ON INDEX payment_exposed IS 'what a payer has been served without settlement';

-- Claims an authorization and opens its job in one transaction: the money is booked as owed to us (11), credited to the payer's account
-- and held at once. Status: that of job_open, or 'claimed_before' with nothing changed.
CREATE FUNCTION payment_claim(p jsonb, item jsonb) RETURNS TABLE (status text, account bigint) LANGUAGE plpgsql AS $$
DECLARE
	who bigint;
	t bigint;
	opened text;
BEGIN
	INSERT INTO account AS a (address) VALUES (decode(p->>'payer', 'hex')) ON CONFLICT (address) DO UPDATE SET address = EXCLUDED.address RETURNING a.id INTO who;
	IF EXISTS (SELECT FROM payment x WHERE x.chain_id = (p->>'chain_id')::bigint AND x.verifier = decode(p->>'verifier', 'hex')
	           AND x.payer = decode(p->>'payer', 'hex') AND x.nonce = decode(p->>'nonce', 'hex')) THEN
		RETURN QUERY SELECT 'claimed_before', who;
		RETURN;
	END IF;
	IF (p->>'amount_max')::numeric > 0 THEN
		INSERT INTO ledger_transfer (key, kind, job) VALUES ('x402:' || (p->>'id'), 'x402_accepted', (item->>'id')::uuid) RETURNING id INTO t;
		INSERT INTO ledger_entry (transfer, line, account, amount)
			VALUES (t, 1, 11, -(p->>'amount_max')::numeric), (t, 2, who * 16 + 1, (p->>'amount_max')::numeric);
	END IF;
	SELECT o.status INTO opened FROM job_open(jsonb_build_array(item || jsonb_build_object('account', who))) o;
	IF opened <> 'ok' THEN
		RAISE EXCEPTION 'the job of a payment was not opened: %', opened USING ERRCODE = 'OG409';
	END IF;
	-- A racing copy waits here for the first and then fails on the unique key, taking its own job with it.
	INSERT INTO payment (id, chain_id, verifier, payer, nonce, account, job, request_digest, scheme, method, amount_max, payload)
	VALUES ((p->>'id')::uuid, (p->>'chain_id')::bigint, decode(p->>'verifier', 'hex'), decode(p->>'payer', 'hex'), decode(p->>'nonce', 'hex'), who,
		(item->>'id')::uuid, decode(p->>'request_digest', 'hex'), p->>'scheme', p->>'method', (p->>'amount_max')::numeric, p->'payload');
	RETURN QUERY SELECT 'ok', who;
END $$;

-- The money moved on chain: what was owed to us is in custody now. For upto, what was not taken is dropped with it.
CREATE FUNCTION payment_settled(which uuid, hash bytea) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	p payment;
	t bigint;
BEGIN
	UPDATE payment SET state = 'settled', tx_hash = hash, ended_at = clock_timestamp() WHERE id = which AND state = 'settling' RETURNING * INTO p;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	IF p.amount > 0 THEN
		INSERT INTO ledger_transfer (key, kind, job) VALUES ('x402_settled:' || which, 'x402_settled', p.job) RETURNING id INTO t;
		INSERT INTO ledger_entry (transfer, line, account, amount) VALUES (t, 1, 8, -p.amount), (t, 2, 11, p.amount);
	END IF;
	RETURN true;
END $$;

-- Closes the job of a payment and takes back from the payer's account what will never arrive, in one transaction.
-- dropped: nothing arrives. Otherwise only what was signed for and not settled (upto) is taken back.
CREATE FUNCTION payment_close(which uuid, item jsonb, dropped boolean, why text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	p payment;
	t bigint;
	missing numeric;
	closed text;
BEGIN
	SELECT * INTO p FROM payment WHERE id = which FOR UPDATE;
	SELECT c.status INTO closed FROM job_close(jsonb_build_array(item)) c;
	IF closed <> 'ok' THEN
		RETURN closed;
	END IF;
	IF dropped THEN
		UPDATE payment SET state = 'dropped', reason = coalesce(why, reason), ended_at = clock_timestamp() WHERE id = which AND state IN ('claimed', 'failed');
		IF NOT FOUND THEN
			RAISE EXCEPTION 'payment % is %', which, p.state USING ERRCODE = 'OG409';
		END IF;
		missing := p.amount_max;
	ELSE
		missing := p.amount_max - p.amount;
	END IF;
	IF missing > 0 THEN
		INSERT INTO ledger_transfer (key, kind, job) VALUES ('x402_dropped:' || which, 'x402_dropped', p.job) RETURNING id INTO t;
		INSERT INTO ledger_entry (transfer, line, account, amount) VALUES (t, 1, p.account * 16 + 1, -missing), (t, 2, 11, missing);
	END IF;
	RETURN closed;
END $$;
