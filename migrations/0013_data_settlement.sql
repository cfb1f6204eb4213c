-- Jobs in the background that a wallet pays for, and what of an answered call goes on chain.

CREATE INDEX model_name ON model (name);
COMMENT ON INDEX model_name IS 'names without an author';

-- Claims an authorization for a job that is queued, and asks for its money at once: nobody works for it, or waits for an answer, before
-- it is settled. One transaction, so that no death leaves the one without the other. With what extensions add (0014).
CREATE FUNCTION payment_claim_background(p jsonb, item jsonb) RETURNS TABLE (status text, account bigint) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT c.status, c.account FROM payment_claim_extended(p, item) c;
	UPDATE payment x SET amount = x.amount_max, state = CASE WHEN x.amount_max > 0 THEN 'settling' ELSE 'settled' END,
		ended_at = CASE WHEN x.amount_max > 0 THEN NULL ELSE clock_timestamp() END
	WHERE x.id = (p->>'id')::uuid AND x.state = 'claimed';
END $$;

CREATE TABLE record_blob (
	id hash32 PRIMARY KEY,
	body bytea NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE record_blob IS 'documents that events on chain name: trees, and calls with input and output. Public';
COMMENT ON COLUMN record_blob.id IS 'SHA-256 of the body; its name is this in base64url';
COMMENT ON COLUMN record_blob.body IS 'JSON';
COMMENT ON COLUMN record_blob.created_at IS 'when it was made';

CREATE TABLE record_post (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	root hash32,
	size int NOT NULL CHECK (size > 0),
	blob hash32 NOT NULL REFERENCES record_blob,
	tx bigint REFERENCES settlement_tx,
	past bigint[] NOT NULL DEFAULT '{}',
	tx_hash hash32,
	created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE record_post IS 'one event of contracts/DataSettlement.sol: the root of a tree, or one call';
COMMENT ON COLUMN record_post.id IS 'internal key';
COMMENT ON COLUMN record_post.root IS 'of the tree; absent: one call';
COMMENT ON COLUMN record_post.size IS 'how many calls it is about';
COMMENT ON COLUMN record_post.blob IS 'the tree, or the call with its input and output';
COMMENT ON COLUMN record_post.tx IS 'the transaction that carries it; absent or replaced: to be sent';
COMMENT ON COLUMN record_post.past IS 'transactions that carried it before another took their nonce: they must not carry it again';
COMMENT ON COLUMN record_post.tx_hash IS 'the form of it that was mined last';
COMMENT ON COLUMN record_post.created_at IS 'when it was made';
CREATE UNIQUE INDEX record_post_tx ON record_post (tx);
COMMENT ON INDEX record_post_tx IS 'what a transaction carries';

CREATE TABLE record (
	job uuid PRIMARY KEY,
	individual boolean NOT NULL,
	input bytea,
	state text NOT NULL DEFAULT 'wanted' CHECK (state IN ('wanted', 'queued', 'posted', 'dropped')),
	signer hash32,
	input_hash hash32,
	output_hash hash32,
	signature bytea,
	signed_at bigint,
	payer address,
	blob hash32 REFERENCES record_blob,
	post bigint REFERENCES record_post,
	created_at timestamptz NOT NULL DEFAULT now(),
	CHECK ((state IN ('queued', 'posted')) = (signer IS NOT NULL)),
	CHECK ((state = 'posted') = (post IS NOT NULL))
);
COMMENT ON TABLE record IS 'calls whose caller wants them on chain: written before the job is opened, so that none is forgotten';
COMMENT ON COLUMN record.job IS 'of which job; without a foreign key, for it is written first';
COMMENT ON COLUMN record.individual IS 'an event of its own, with input and output; else a leaf of a tree';
COMMENT ON COLUMN record.input IS 'individual: the request''s body, until the document is made';
COMMENT ON COLUMN record.state IS 'wanted (the job runs), queued (the rest is known), posted, dropped (there was no answer, or nobody signed for it)';
COMMENT ON COLUMN record.signer IS 'the node''s address in 32 bytes';
COMMENT ON COLUMN record.input_hash IS 'requestHash of the receipt';
COMMENT ON COLUMN record.output_hash IS 'responseHash of the receipt';
COMMENT ON COLUMN record.signature IS 'of the receipt';
COMMENT ON COLUMN record.signed_at IS 'finishedAt of the receipt, in seconds since 1970';
COMMENT ON COLUMN record.payer IS 'whose call it was';
COMMENT ON COLUMN record.blob IS 'individual: the document with input and output';
COMMENT ON COLUMN record.post IS 'the event it is in';
COMMENT ON COLUMN record.created_at IS 'when it was wanted';
CREATE INDEX record_open ON record (state, individual, created_at) WHERE state IN ('wanted', 'queued');
COMMENT ON INDEX record_open IS 'what is to be done';
CREATE INDEX record_individual ON record (created_at) WHERE individual;
COMMENT ON INDEX record_individual IS 'how many there were lately';
CREATE INDEX record_of_post ON record (post);
COMMENT ON INDEX record_of_post IS 'the calls of an event';

CREATE INDEX record_post_new ON record_post (id) WHERE tx IS NULL;
COMMENT ON INDEX record_post_new IS 'events that no transaction makes yet';
CREATE INDEX settlement_tx_replaced ON settlement_tx (id) WHERE state = 'replaced';
COMMENT ON INDEX settlement_tx_replaced IS 'transactions that another one took the place of';
CREATE VIEW record_post_due AS
	SELECT id FROM record_post WHERE tx IS NULL
	UNION ALL SELECT p.id FROM settlement_tx t JOIN record_post p ON p.tx = t.id WHERE t.state = 'replaced';
COMMENT ON VIEW record_post_due IS 'events that need a transaction';

-- Ties queued calls to a new event, all of them or none: a call is in one event, whatever races.
CREATE FUNCTION record_post_make(calls uuid[], tree_root bytea, document bytea) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	p bigint;
	tied int;
BEGIN
	INSERT INTO record_post (root, size, blob) VALUES (tree_root, cardinality(calls), document) RETURNING id INTO p;
	UPDATE record SET state = 'posted', post = p WHERE job = ANY (calls) AND state = 'queued' AND individual = (tree_root IS NULL);
	GET DIAGNOSTICS tied = ROW_COUNT;
	IF tied <> cardinality(calls) THEN
		RAISE EXCEPTION 'a call is in an event already' USING ERRCODE = 'OG409';
	END IF;
	RETURN p;
END $$;
