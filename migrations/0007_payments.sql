-- x402: payments by signed authorizations, and the transactions that settle them.

INSERT INTO ledger_account VALUES (11, 0, 'x402_unsettled', false);

ALTER TABLE ledger_transfer DROP CONSTRAINT ledger_transfer_kind_check;
ALTER TABLE ledger_transfer ADD CONSTRAINT ledger_transfer_kind_check
	CHECK (kind IN ('deposit', 'deposit_reversal', 'hold', 'capture', 'void', 'x402_accepted', 'x402_settled', 'x402_dropped',
		'x402_unsettled', 'x402_lost'));

CREATE TABLE settlement_tx (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	chain_id bigint NOT NULL,
	sender address NOT NULL,
	nonce bigint NOT NULL CHECK (nonce >= 0),
	state text NOT NULL DEFAULT 'signed' CHECK (state IN ('signed', 'mined', 'final', 'replaced')),
	succeeded boolean,
	block_number bigint,
	block_hash hash32,
	created_at timestamptz NOT NULL DEFAULT now(),
	UNIQUE (chain_id, sender, nonce),
	CHECK ((state IN ('signed', 'replaced')) = (block_hash IS NULL))
);
COMMENT ON TABLE settlement_tx IS 'transactions of our settling keys: one row for each nonce, written before anything is sent';
COMMENT ON COLUMN settlement_tx.id IS 'internal key';
COMMENT ON COLUMN settlement_tx.chain_id IS 'which chain';
COMMENT ON COLUMN settlement_tx.sender IS 'address of the settling key';
COMMENT ON COLUMN settlement_tx.nonce IS 'account nonce: this table is the only source of it';
COMMENT ON COLUMN settlement_tx.state IS 'signed (may be on the wire), mined, final, or replaced: another transaction took its nonce, its payments got a new one';
COMMENT ON COLUMN settlement_tx.succeeded IS 'status of its receipt, once mined';
COMMENT ON COLUMN settlement_tx.block_number IS 'where it was mined';
COMMENT ON COLUMN settlement_tx.block_hash IS 'a different hash later means a reorganisation';
COMMENT ON COLUMN settlement_tx.created_at IS 'when the nonce was taken';
CREATE INDEX settlement_tx_open ON settlement_tx (sender, nonce) WHERE state IN ('signed', 'mined');
COMMENT ON INDEX settlement_tx_open IS 'what the settler looks after';

CREATE TABLE settlement_tx_version (
	hash hash32 PRIMARY KEY,
	tx bigint NOT NULL REFERENCES settlement_tx,
	raw bytea NOT NULL,
	max_fee wei NOT NULL,
	sent_at timestamptz NOT NULL DEFAULT now(),
	tried_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE settlement_tx_version IS 'every signed form of a transaction: replacements keep the nonce, and any of them may be mined';
COMMENT ON COLUMN settlement_tx_version.hash IS 'transaction hash';
COMMENT ON COLUMN settlement_tx_version.tx IS 'of which transaction';
COMMENT ON COLUMN settlement_tx_version.raw IS 'signed bytes, sent again as they are';
COMMENT ON COLUMN settlement_tx_version.max_fee IS 'max fee per gas of this form, wei of the chain''s coin';
COMMENT ON COLUMN settlement_tx_version.sent_at IS 'when first sent';
COMMENT ON COLUMN settlement_tx_version.tried_at IS 'when last sent';
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
	state text NOT NULL DEFAULT 'claimed' CHECK (state IN ('claimed', 'settling', 'settled', 'failed', 'dropped', 'lost')),
	claim_block bigint NOT NULL,
	tx bigint REFERENCES settlement_tx,
	tx_hash hash32,
	log_index int,
	reorganised int NOT NULL DEFAULT 0,
	reason text,
	claimed_at timestamptz NOT NULL DEFAULT now(),
	ended_at timestamptz,
	UNIQUE (chain_id, verifier, payer, nonce),
	UNIQUE (tx_hash, log_index),
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
COMMENT ON COLUMN payment.state IS 'claimed (job runs), settling (to be taken on chain), settled, failed (the chain refused it; its job is still open), dropped (never taken), lost (a reorganisation undid it after the answer was given, and it did not come again)';
COMMENT ON COLUMN payment.claim_block IS 'a block not after the claim: whoever used the authorization did so later';
COMMENT ON COLUMN payment.tx IS 'settling transaction';
COMMENT ON COLUMN payment.tx_hash IS 'the transaction that moved the money, ours or somebody else''s';
COMMENT ON COLUMN payment.log_index IS 'which Transfer of that transaction''s receipt: no log pays twice';
COMMENT ON COLUMN payment.reorganised IS 'how often a settlement of it was undone';
COMMENT ON COLUMN payment.reason IS 'why it was dropped';
COMMENT ON COLUMN payment.claimed_at IS 'before the work';
COMMENT ON COLUMN payment.ended_at IS 'settled or dropped';
CREATE INDEX payment_open ON payment (state, claimed_at) WHERE state IN ('claimed', 'settling');
COMMENT ON INDEX payment_open IS 'the settler''s queue';
CREATE INDEX payment_exposed ON payment (payer) WHERE state IN ('claimed', 'settling');
COMMENT ON INDEX payment_exposed IS 'what a payer has been served without settlement';

-- Claims an authorization and opens its job in one transaction: the money is booked as owed to us (11), credited to the payer's account
-- and held at once. Status: ok; or, with nothing changed, claimed_before; or exposed: payer_max or all_max (absent: no limit) would be
-- passed by what is served before it is settled. The payer's row is locked first, so their own claims cannot pass the limit side by side;
-- those of others can pass all_max by as much as is claimed in the same instant.
CREATE FUNCTION payment_claim(p jsonb, item jsonb) RETURNS TABLE (status text, account bigint) LANGUAGE plpgsql AS $$
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

-- One movement of a payment's money. A settlement that was undone and came again has a key of its own.
CREATE FUNCTION payment_move(p payment, what text, from_account bigint, to_account bigint, sum numeric) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	t bigint;
BEGIN
	IF sum > 0 THEN
		INSERT INTO ledger_transfer (key, kind, job)
		VALUES (what || ':' || p.id || CASE WHEN p.reorganised > 0 THEN ':' || p.reorganised ELSE '' END, what, p.job) RETURNING id INTO t;
		INSERT INTO ledger_entry (transfer, line, account, amount) VALUES (t, 1, from_account, -sum), (t, 2, to_account, sum);
	END IF;
END $$;

-- The money moved on chain: what was owed to us is in custody now.
CREATE FUNCTION payment_settled(which uuid, hash bytea, log int) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	p payment;
BEGIN
	UPDATE payment SET state = 'settled', tx_hash = hash, log_index = log, ended_at = clock_timestamp() WHERE id = which AND state = 'settling' RETURNING * INTO p;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	PERFORM payment_move(p, 'x402_settled', 8, 11, p.amount);
	RETURN true;
END $$;

-- It will never come. Its job is closed by whoever waits for it; was it closed before (a reorganisation), the loss is ours.
CREATE FUNCTION payment_failed(which uuid, why text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	p payment;
BEGIN
	UPDATE payment SET state = 'failed', reason = why WHERE id = which AND state = 'settling' RETURNING * INTO p;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	IF EXISTS (SELECT FROM job j WHERE j.id = p.job AND j.outcome IS NOT NULL) THEN
		UPDATE payment SET state = 'lost', ended_at = clock_timestamp() WHERE id = which;
		PERFORM payment_move(p, 'x402_lost', 10, 11, p.amount);
	END IF;
	RETURN true;
END $$;

-- A reorganisation took the transaction back: it is sent again, and what it settled is owed to us once more.
CREATE FUNCTION settlement_unmined(which bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	p payment;
BEGIN
	UPDATE settlement_tx SET state = 'signed', succeeded = NULL, block_number = NULL, block_hash = NULL WHERE id = which AND state = 'mined';
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	FOR p IN SELECT * FROM payment WHERE tx = which AND state = 'settled' ORDER BY id FOR UPDATE LOOP
		PERFORM payment_move(p, 'x402_unsettled', 11, 8, p.amount);
		UPDATE payment SET state = 'settling', tx_hash = NULL, log_index = NULL, ended_at = NULL, reorganised = reorganised + 1 WHERE id = p.id;
	END LOOP;
	RETURN true;
END $$;

-- Closes the job of a payment and takes back from the payer's account what will never arrive, in one transaction.
-- dropped: nothing arrives. Otherwise only what was signed for and not settled (upto) is taken back.
CREATE FUNCTION payment_close(which uuid, item jsonb, dropped boolean, why text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	p payment;
	closed text;
BEGIN
	SELECT * INTO p FROM payment WHERE id = which FOR UPDATE;
	SELECT c.status INTO closed FROM job_close(jsonb_build_array(item)) c;
	IF closed <> 'ok' THEN
		RETURN closed;
	END IF;
	IF (p.state IN ('claimed', 'failed')) <> dropped THEN
		RAISE EXCEPTION 'payment % is %', which, p.state USING ERRCODE = 'OG409';
	END IF;
	IF dropped THEN
		UPDATE payment SET state = 'dropped', reason = coalesce(p.reason, why), ended_at = clock_timestamp() WHERE id = which;
	END IF;
	PERFORM payment_move(p, 'x402_dropped', p.account * 16 + 1, 11, CASE WHEN dropped THEN p.amount_max ELSE p.amount_max - p.amount END);
	RETURN closed;
END $$;
