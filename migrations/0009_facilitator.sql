-- Settling for others: payees, what is settled to them, and statements of inference to be put on chain. No money of ours, no ledger.

CREATE TABLE payment_authorization (
	chain_id bigint NOT NULL,
	verifier address NOT NULL,
	payer address NOT NULL,
	nonce hash32 NOT NULL,
	PRIMARY KEY (chain_id, verifier, payer, nonce)
);
COMMENT ON TABLE payment_authorization IS 'every authorization anybody brought us: it pays us or somebody else, never both';
COMMENT ON COLUMN payment_authorization.chain_id IS 'which chain';
COMMENT ON COLUMN payment_authorization.verifier IS 'the contract that keeps the nonce';
COMMENT ON COLUMN payment_authorization.payer IS 'who signed';
COMMENT ON COLUMN payment_authorization.nonce IS 'as a 256-bit number';

INSERT INTO payment_authorization SELECT chain_id, verifier, payer, nonce FROM payment;

-- In the table's own trigger, so that no way of writing a claim can forget it.
CREATE FUNCTION payment_authorization_claim() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO payment_authorization VALUES (NEW.chain_id, NEW.verifier, NEW.payer, NEW.nonce);
	RETURN NEW;
END $$;
CREATE TRIGGER payment_claims_authorization BEFORE INSERT ON payment FOR EACH ROW EXECUTE FUNCTION payment_authorization_claim();

CREATE INDEX payment_tx ON payment (tx);
COMMENT ON INDEX payment_tx IS 'what one transaction carries';

CREATE TABLE payee (
	address address PRIMARY KEY,
	account bigint NOT NULL REFERENCES account,
	proven_at timestamptz NOT NULL,
	registered_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE payee IS 'addresses we settle to for others';
COMMENT ON COLUMN payee.address IS 'receives the money';
COMMENT ON COLUMN payee.account IS 'who registered it';
COMMENT ON COLUMN payee.proven_at IS 'when the address itself agreed to that account: a newer word of it wins';
COMMENT ON COLUMN payee.registered_at IS 'when this account registered it';
CREATE INDEX payee_account ON payee (account);
COMMENT ON INDEX payee_account IS 'the payees of an account';

CREATE TABLE facilitation (
	id uuid PRIMARY KEY,
	version smallint NOT NULL CHECK (version IN (1, 2)),
	chain_id bigint NOT NULL,
	verifier address NOT NULL,
	payer address NOT NULL,
	nonce hash32 NOT NULL,
	payee address NOT NULL,
	request_digest hash32 NOT NULL,
	scheme text NOT NULL CHECK (scheme IN ('exact', 'upto')),
	method text NOT NULL CHECK (method IN ('eip3009', 'permit2')),
	amount_max wei NOT NULL,
	amount wei NOT NULL,
	payload jsonb NOT NULL,
	state text NOT NULL CHECK (state IN ('settling', 'settled', 'failed')),
	claim_block bigint NOT NULL,
	tx bigint REFERENCES settlement_tx,
	tx_hash hash32,
	log_index int,
	reorganised int NOT NULL DEFAULT 0,
	reason text,
	created_at timestamptz NOT NULL DEFAULT now(),
	updated_at timestamptz NOT NULL DEFAULT now(),
	UNIQUE (chain_id, verifier, payer, nonce),
	UNIQUE (tx_hash, log_index),
	CHECK (amount <= amount_max)
);
COMMENT ON TABLE facilitation IS 'one row for each authorization settled for somebody else, written before it is sent: the settler takes it as it takes a payment';
COMMENT ON COLUMN facilitation.id IS 'random; names the job, and its reservation of gas';
COMMENT ON COLUMN facilitation.version IS 'of the protocol it was asked in';
COMMENT ON COLUMN facilitation.chain_id IS 'which chain';
COMMENT ON COLUMN facilitation.verifier IS 'the contract that keeps the nonce: the token (EIP-3009) or Permit2';
COMMENT ON COLUMN facilitation.payer IS 'who signed';
COMMENT ON COLUMN facilitation.nonce IS 'as a 256-bit number; never the signature, which has twins';
COMMENT ON COLUMN facilitation.payee IS 'a registered payee; the money goes from payer to payee and never through us';
COMMENT ON COLUMN facilitation.request_digest IS 'the same call again gets the same result; another call with this authorization gets nothing';
COMMENT ON COLUMN facilitation.scheme IS 'exact or upto';
COMMENT ON COLUMN facilitation.method IS 'how the money moves';
COMMENT ON COLUMN facilitation.amount_max IS 'what was signed for';
COMMENT ON COLUMN facilitation.amount IS 'what is settled';
COMMENT ON COLUMN facilitation.payload IS 'the authorization and its signature, as needed to settle';
COMMENT ON COLUMN facilitation.state IS 'settling (to be taken on chain), settled, failed (the chain refused it); a reorganisation puts it back to settling';
COMMENT ON COLUMN facilitation.claim_block IS 'a block not after the claim: whoever used the authorization did so later';
COMMENT ON COLUMN facilitation.tx IS 'settling transaction';
COMMENT ON COLUMN facilitation.tx_hash IS 'the transaction that moved the money, ours or somebody else''s';
COMMENT ON COLUMN facilitation.log_index IS 'which Transfer of that transaction''s receipt: no log pays twice';
COMMENT ON COLUMN facilitation.reorganised IS 'how often its settlement was undone';
COMMENT ON COLUMN facilitation.reason IS 'why it failed';
COMMENT ON COLUMN facilitation.created_at IS 'when it was asked for';
COMMENT ON COLUMN facilitation.updated_at IS 'of the last change of state';
CREATE INDEX facilitation_open ON facilitation (created_at) WHERE state = 'settling';
COMMENT ON INDEX facilitation_open IS 'the settler''s queue';
CREATE INDEX facilitation_tx ON facilitation (tx);
COMMENT ON INDEX facilitation_tx IS 'what one transaction carries';
CREATE TRIGGER facilitation_claims_authorization BEFORE INSERT ON facilitation FOR EACH ROW EXECUTE FUNCTION payment_authorization_claim();

-- What the settler takes to the chain, whoever it pays. Ids are random: no two of either kind are equal.
CREATE VIEW settlement_item AS
	SELECT id, NULL::bytea AS payee, payer::bytea, nonce::bytea, method, scheme, amount::numeric, payload, claim_block, tx, claimed_at AS since
	FROM payment WHERE state = 'settling'
	UNION ALL
	SELECT id, payee::bytea, payer::bytea, nonce::bytea, method, scheme, amount::numeric, payload, claim_block, tx, created_at
	FROM facilitation WHERE state = 'settling';
COMMENT ON VIEW settlement_item IS 'payments to us (no payee) and settlements for others that are to be taken on chain';

-- Status: ok; or, with nothing changed: unregistered, claimed_before, no_gas. Gas for it is set aside in the same transaction, under its id.
CREATE FUNCTION facilitation_claim(p jsonb, gas numeric, gas_payee_max numeric, gas_all_max numeric) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	receiver bytea := decode(p->>'payee', 'hex');
	wanted numeric := (p->>'amount')::numeric;
BEGIN
	IF NOT EXISTS (SELECT FROM payee WHERE address = receiver) THEN
		RETURN 'unregistered';
	END IF;
	IF EXISTS (SELECT FROM payment_authorization a WHERE a.chain_id = (p->>'chain_id')::bigint AND a.verifier = decode(p->>'verifier', 'hex')
	           AND a.payer = decode(p->>'payer', 'hex') AND a.nonce = decode(p->>'nonce', 'hex')) THEN
		RETURN 'claimed_before';
	END IF;
	IF wanted > 0 AND NOT gas_reserve((p->>'id')::uuid, 'facilitator', receiver, gas, gas_payee_max, gas_all_max) THEN
		RETURN 'no_gas';
	END IF;
	INSERT INTO facilitation (id, version, chain_id, verifier, payer, nonce, payee, request_digest, scheme, method, amount_max, amount, payload, state, claim_block)
	VALUES ((p->>'id')::uuid, (p->>'version')::smallint, (p->>'chain_id')::bigint, decode(p->>'verifier', 'hex'), decode(p->>'payer', 'hex'),
		decode(p->>'nonce', 'hex'), receiver, decode(p->>'request_digest', 'hex'), p->>'scheme', p->>'method', (p->>'amount_max')::numeric, wanted, p->'payload',
		CASE WHEN wanted > 0 THEN 'settling' ELSE 'settled' END, (p->>'claim_block')::bigint);
	RETURN 'ok';
END $$;

CREATE FUNCTION facilitation_settled(which uuid, hash bytea, log int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	UPDATE facilitation SET state = 'settled', tx_hash = hash, log_index = log, reason = NULL, updated_at = clock_timestamp() WHERE id = which AND state = 'settling';
	RETURN FOUND;
END $$;

CREATE FUNCTION facilitation_failed(which uuid, why text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	f facilitation;
BEGIN
	UPDATE facilitation SET state = 'failed', reason = why, updated_at = clock_timestamp() WHERE id = which AND state = 'settling' RETURNING * INTO f;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	IF f.tx IS NULL THEN
		PERFORM gas_settle(which, 0); -- it was never sent
	END IF;
	RETURN true;
END $$;

-- The money of one settlement came, or never will, whoever it pays.
CREATE FUNCTION settlement_arrived(which uuid, hash bytea, log int) RETURNS boolean LANGUAGE sql AS
	$$ SELECT CASE WHEN payment_settled(which, hash, log) THEN true ELSE facilitation_settled(which, hash, log) END $$;
CREATE FUNCTION settlement_refused(which uuid, why text) RETURNS boolean LANGUAGE sql AS
	$$ SELECT CASE WHEN payment_failed(which, why) THEN true ELSE facilitation_failed(which, why) END $$;

-- A reorganisation took the transaction back. What it settled for others is open again; what failed in it is, too, because the
-- transaction is sent again and may succeed in another block.
CREATE FUNCTION settlement_taken_back(which bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF NOT settlement_unmined(which) THEN
		RETURN false;
	END IF;
	UPDATE facilitation SET state = 'settling', tx_hash = NULL, log_index = NULL, reason = NULL, reorganised = reorganised + 1, updated_at = clock_timestamp()
	WHERE tx = which AND state IN ('settled', 'failed');
	RETURN true;
END $$;

-- What a transaction cost is shared by all it carried, rounded up; the shares of those settled for others replace their reservations.
CREATE FUNCTION settlement_gas_used(which bigint, cost numeric) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	carried bigint;
	one uuid;
BEGIN
	PERFORM FROM facilitation f WHERE f.tx = which;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	carried := (SELECT count(*) FROM payment p WHERE p.tx = which) + (SELECT count(*) FROM facilitation f WHERE f.tx = which);
	FOR one IN SELECT f.id FROM facilitation f JOIN gas_reservation r ON r.id = f.id WHERE f.tx = which AND r.used IS NULL ORDER BY r.day, f.id LOOP
		PERFORM gas_settle(one, ceil(cost / carried));
	END LOOP;
END $$;

CREATE TABLE data_settlement (
	id uuid PRIMARY KEY,
	type text NOT NULL CHECK (type IN ('batch', 'individual')),
	content hash32 NOT NULL UNIQUE,
	tee_id hash32 NOT NULL,
	input_hash hash32 NOT NULL,
	output_hash hash32 NOT NULL,
	tee_signature bytea NOT NULL,
	tee_timestamp bigint NOT NULL CHECK (tee_timestamp >= 0),
	eth_address address,
	input text,
	output text,
	state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'processing', 'succeeded', 'failed')),
	tx bigint REFERENCES settlement_tx,
	tx_hash hash32,
	reason text,
	created_at timestamptz NOT NULL DEFAULT now(),
	updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE data_settlement IS 'signed statements of inference to be put on chain, one by one or as trees';
COMMENT ON COLUMN data_settlement.id IS 'random; names the job';
COMMENT ON COLUMN data_settlement.type IS 'batch or individual; what is private is not kept';
COMMENT ON COLUMN data_settlement.content IS 'SHA-256 of type and statement: the same one again is the same job';
COMMENT ON COLUMN data_settlement.tee_id IS 'Keccak-256 of the signing key';
COMMENT ON COLUMN data_settlement.input_hash IS 'of the request, as signed';
COMMENT ON COLUMN data_settlement.output_hash IS 'of the answer, as signed';
COMMENT ON COLUMN data_settlement.tee_signature IS 'RSA-PSS, raw bytes';
COMMENT ON COLUMN data_settlement.tee_timestamp IS 'seconds since 1970, as signed';
COMMENT ON COLUMN data_settlement.eth_address IS 'individual: whose request it was';
COMMENT ON COLUMN data_settlement.input IS 'individual: the request';
COMMENT ON COLUMN data_settlement.output IS 'individual: the answer';
COMMENT ON COLUMN data_settlement.state IS 'queued, processing, succeeded or failed';
COMMENT ON COLUMN data_settlement.tx IS 'the transaction that carries it';
COMMENT ON COLUMN data_settlement.tx_hash IS 'its hash, once mined';
COMMENT ON COLUMN data_settlement.reason IS 'why it failed';
COMMENT ON COLUMN data_settlement.created_at IS 'when it was asked for';
COMMENT ON COLUMN data_settlement.updated_at IS 'of the last change of state';
CREATE INDEX data_settlement_queue ON data_settlement (type, created_at) WHERE state = 'queued';
COMMENT ON INDEX data_settlement_queue IS 'what is to be put on chain next';
