-- x402 extensions: what a client may send with a payment, and what binds us to it.

CREATE TABLE payment_identifier (
	payer address NOT NULL,
	id text NOT NULL CHECK (id ~ '^[A-Za-z0-9_-]{16,128}$'),
	payment uuid NOT NULL UNIQUE REFERENCES payment,
	PRIMARY KEY (payer, id)
);
COMMENT ON TABLE payment_identifier IS 'payment-identifier: the payer''s own name for a payment, so that a repeated request is not paid for twice';
COMMENT ON COLUMN payment_identifier.payer IS 'names of different payers have nothing to do with each other';
COMMENT ON COLUMN payment_identifier.id IS 'as the client chose it';
COMMENT ON COLUMN payment_identifier.payment IS 'the one it names now; after the window the name is free again';

CREATE TABLE siwx_nonce (
	nonce text NOT NULL,
	address address NOT NULL,
	expires_at timestamptz NOT NULL,
	PRIMARY KEY (nonce, address)
);
COMMENT ON TABLE siwx_nonce IS 'sign-in-with-x: challenges that were used. They are ours by their MAC, so those not used are written nowhere';
COMMENT ON COLUMN siwx_nonce.nonce IS 'of the challenge: the same for all who ask for the same in the same minutes';
COMMENT ON COLUMN siwx_nonce.address IS 'which wallet used it: each may once';
COMMENT ON COLUMN siwx_nonce.expires_at IS 'after that the challenge is refused anyway and the row can go';

CREATE INDEX payment_request ON payment (payer, request_digest) WHERE state <> 'dropped';
COMMENT ON INDEX payment_request IS 'what a wallet that signed in paid for this very request';

CREATE TABLE sponsored_approval (
	hash hash32 PRIMARY KEY,
	chain_id bigint NOT NULL,
	payer address NOT NULL,
	nonce bigint NOT NULL CHECK (nonce >= 0),
	raw bytea NOT NULL,
	unlimited boolean NOT NULL,
	top_up wei NOT NULL,
	gas uuid NOT NULL REFERENCES gas_reservation,
	tx bigint UNIQUE REFERENCES settlement_tx,
	state text NOT NULL DEFAULT 'wanted' CHECK (state IN ('wanted', 'funding', 'sent', 'done', 'failed')),
	reason text,
	created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	tried_at timestamptz,
	ended_at timestamptz,
	CHECK ((state IN ('done', 'failed')) = (ended_at IS NOT NULL)),
	CHECK (state <> 'funding' OR tx IS NOT NULL)
);
COMMENT ON TABLE sponsored_approval IS 'erc20ApprovalGasSponsoring: signed approvals of payers that we broadcast, and the coin we give them for it';
COMMENT ON COLUMN sponsored_approval.hash IS 'hash of the payer''s transaction';
COMMENT ON COLUMN sponsored_approval.chain_id IS 'which chain';
COMMENT ON COLUMN sponsored_approval.payer IS 'who signed it';
COMMENT ON COLUMN sponsored_approval.nonce IS 'the payer''s account nonce it uses';
COMMENT ON COLUMN sponsored_approval.raw IS 'the payer''s signed bytes, broadcast as they are';
COMMENT ON COLUMN sponsored_approval.unlimited IS 'approves all there can be, so that other payments may count on it';
COMMENT ON COLUMN sponsored_approval.top_up IS 'wei of the chain''s coin the payer lacks for it: the most we give';
COMMENT ON COLUMN sponsored_approval.gas IS 'set aside for it: the top-up and the gas of sending it';
COMMENT ON COLUMN sponsored_approval.tx IS 'our transaction with the top-up, written before it is sent';
COMMENT ON COLUMN sponsored_approval.state IS 'wanted (nothing is on the wire), funding (the top-up may be), sent (the approval may be), done (mined), failed (it will not be; what was given is gone)';
COMMENT ON COLUMN sponsored_approval.reason IS 'why it failed';
COMMENT ON COLUMN sponsored_approval.created_at IS 'with the payment';
COMMENT ON COLUMN sponsored_approval.tried_at IS 'when last broadcast';
COMMENT ON COLUMN sponsored_approval.ended_at IS 'done or failed';
CREATE UNIQUE INDEX sponsored_approval_nonce ON sponsored_approval (chain_id, payer, nonce) WHERE state <> 'failed';
COMMENT ON INDEX sponsored_approval_nonce IS 'no nonce of a payer is paid for twice';
CREATE INDEX sponsored_approval_open ON sponsored_approval (created_at) WHERE state IN ('wanted', 'funding', 'sent');
COMMENT ON INDEX sponsored_approval_open IS 'what the settler looks after';

ALTER TABLE payment ADD COLUMN approval hash32 REFERENCES sponsored_approval;
COMMENT ON COLUMN payment.approval IS 'it is settled once this one is mined';

-- As in 0009, with what has to be mined first.
CREATE OR REPLACE VIEW settlement_item AS
	SELECT id, NULL::bytea AS payee, payer::bytea, nonce::bytea, method, scheme, amount::numeric, payload, claim_block, tx, claimed_at AS since, approval::bytea
	FROM payment WHERE state = 'settling'
	UNION ALL
	SELECT id, payee::bytea, payer::bytea, nonce::bytea, method, scheme, amount::numeric, payload, claim_block, tx, created_at, NULL::bytea
	FROM facilitation WHERE state = 'settling';

-- The gas of a payment's approval: set aside in today's budgets under the payment's id, and a transaction of the payer's written down.
-- false: the budgets do not cover it, or the payer has another approval of that nonce on its way.
CREATE FUNCTION payment_sponsor(p jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	who bytea := decode(p->>'payer', 'hex');
	g jsonb := p->'gas';
	before sponsored_approval;
BEGIN
	IF g ? 'raw' THEN
		SELECT * INTO before FROM sponsored_approval a WHERE a.hash = decode(g->>'hash', 'hex')
			OR (a.chain_id = (p->>'chain_id')::bigint AND a.payer = who AND a.nonce = (g->>'nonce')::bigint AND a.state <> 'failed');
		IF FOUND THEN -- it is paid for already; this payment waits for it, too
			IF before.state = 'failed' OR NOT before.unlimited AND before.hash <> decode(g->>'hash', 'hex') THEN
				RETURN false;
			END IF;
			UPDATE payment SET approval = before.hash WHERE id = (p->>'id')::uuid;
			RETURN true;
		END IF;
	END IF;
	IF NOT gas_reserve((p->>'id')::uuid, 'sponsor', who, (g->>'wei')::numeric, (g->>'payer_max')::numeric, (g->>'all_max')::numeric) THEN
		RETURN false;
	END IF;
	IF g ? 'raw' THEN
		INSERT INTO sponsored_approval (hash, chain_id, payer, nonce, raw, unlimited, top_up, gas)
		VALUES (decode(g->>'hash', 'hex'), (p->>'chain_id')::bigint, who, (g->>'nonce')::bigint, decode(g->>'raw', 'hex'), (g->>'unlimited')::boolean,
			(g->>'top_up')::numeric, (p->>'id')::uuid);
		UPDATE payment SET approval = decode(g->>'hash', 'hex') WHERE id = (p->>'id')::uuid;
	END IF;
	RETURN true;
END $$;

-- payment_claim with the gas of its approval: both, or neither (unsponsored).
CREATE FUNCTION payment_claim_sponsored(p jsonb, item jsonb) RETURNS TABLE (status text, account bigint) LANGUAGE plpgsql AS $$
DECLARE
	claimed record;
BEGIN
	SELECT * INTO claimed FROM payment_claim(p, item);
	IF claimed.status = 'ok' AND NOT payment_sponsor(p) THEN
		RAISE EXCEPTION 'unsponsored' USING ERRCODE = 'OG429';
	END IF;
	RETURN QUERY SELECT claimed.status, claimed.account;
EXCEPTION WHEN SQLSTATE 'OG429' THEN
	RETURN QUERY SELECT 'unsponsored', 0::bigint;
END $$;

-- payment_claim with what extensions add. Members of p beside those of payment_claim, each optional:
--   identifier, identifier_window_ms: the name of this payment. Status identified, with nothing changed: it names another payment of
--     this payer that is younger than the window, unless that was dropped, so that nothing was taken, and asked for the same.
--   gas: {wei, payer_max, all_max} of an approval that comes with it, and of one that we broadcast {hash, raw, nonce, unlimited, top_up}.
CREATE FUNCTION payment_claim_extended(p jsonb, item jsonb) RETURNS TABLE (status text, account bigint) LANGUAGE plpgsql AS $$
DECLARE
	who bytea := decode(p->>'payer', 'hex');
	claimed record;
BEGIN
	-- the payer's row first, as payment_claim does it: claims of one payer come one after the other
	INSERT INTO account AS a (address) VALUES (who) ON CONFLICT (address) DO UPDATE SET address = EXCLUDED.address;
	IF EXISTS (SELECT FROM payment_identifier i JOIN payment x ON x.id = i.payment WHERE i.payer = who AND i.id = p->>'identifier'
	           AND x.claimed_at > clock_timestamp() - (p->>'identifier_window_ms')::bigint * interval '1 millisecond'
	           AND NOT (x.state = 'dropped' AND x.request_digest = decode(p->>'request_digest', 'hex'))) THEN
		RETURN QUERY SELECT 'identified', 0::bigint;
		RETURN;
	END IF;
	IF EXISTS (SELECT FROM payment_authorization a WHERE a.chain_id = (p->>'chain_id')::bigint AND a.verifier = decode(p->>'verifier', 'hex')
	           AND a.payer = who AND a.nonce = decode(p->>'nonce', 'hex')) THEN -- by a payment, or by a settlement for somebody else
		RETURN QUERY SELECT 'claimed_before', 0::bigint;
		RETURN;
	END IF;
	IF p ? 'gas' THEN
		SELECT * INTO claimed FROM payment_claim_sponsored(p, item);
	ELSE
		SELECT * INTO claimed FROM payment_claim(p, item);
	END IF;
	IF claimed.status = 'ok' AND p ? 'identifier' THEN
		INSERT INTO payment_identifier (payer, id, payment) VALUES (who, p->>'identifier', (p->>'id')::uuid)
		ON CONFLICT (payer, id) DO UPDATE SET payment = EXCLUDED.payment;
	END IF;
	RETURN QUERY SELECT claimed.status, claimed.account;
END $$;
