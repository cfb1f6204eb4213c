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
	nonce text PRIMARY KEY,
	expires_at timestamptz NOT NULL
);
COMMENT ON TABLE siwx_nonce IS 'sign-in-with-x: challenges that were used. They are ours by their MAC, so those not used are written nowhere';
COMMENT ON COLUMN siwx_nonce.nonce IS 'of the challenge';
COMMENT ON COLUMN siwx_nonce.expires_at IS 'after that the challenge is refused anyway and the row can go';

CREATE INDEX payment_request ON payment (payer, request_digest);
COMMENT ON INDEX payment_request IS 'what a wallet that signed in paid for this very request';

-- payment_claim with what extensions add. Members of p beside those of payment_claim, each optional:
--   identifier, identifier_window_ms: the name of this payment. Status identified, with nothing changed: it names another payment of
--     this payer that is younger than the window, unless that was dropped, so that nothing was taken, and asked for the same.
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
	SELECT * INTO claimed FROM payment_claim(p, item);
	IF claimed.status = 'ok' AND p ? 'identifier' THEN
		INSERT INTO payment_identifier (payer, id, payment) VALUES (who, p->>'identifier', (p->>'id')::uuid)
		ON CONFLICT (payer, id) DO UPDATE SET payment = EXCLUDED.payment;
	END IF;
	RETURN QUERY SELECT claimed.status, claimed.account;
END $$;
