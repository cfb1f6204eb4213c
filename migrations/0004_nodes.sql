-- Nodes, what they offer, and how they run it.

CREATE TABLE node (
	address address PRIMARY KEY,
	operator bigint NOT NULL REFERENCES account,
	url text NOT NULL CHECK (length(url) <= 255),
	registration text NOT NULL,
	operator_signature text NOT NULL,
	issued_at bigint NOT NULL,
	registered_at timestamptz NOT NULL DEFAULT now(),
	heartbeat_at timestamptz NOT NULL DEFAULT now(),
	state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'draining', 'banned'))
);
COMMENT ON TABLE node IS 'a server run by an operator, identified by the address of its signing key';
COMMENT ON COLUMN node.address IS 'address of the signing key';
COMMENT ON COLUMN node.operator IS 'who earns its ask';
COMMENT ON COLUMN node.url IS 'where the gateway reaches it';
COMMENT ON COLUMN node.registration IS 'the registration statement as the node signed it, JSON form';
COMMENT ON COLUMN node.operator_signature IS 'the operator''s signature over the same statement';
COMMENT ON COLUMN node.issued_at IS 'time the stored registration was signed, ms since 1970; only a newer one replaces it';
COMMENT ON COLUMN node.registered_at IS 'of the first registration of this key: receipts from then on may count';
COMMENT ON COLUMN node.heartbeat_at IS 'silent nodes get no work';
COMMENT ON COLUMN node.state IS 'active, draining (no new work) or banned';

CREATE TABLE execution_profile (
	hash hash32 PRIMARY KEY,
	document text NOT NULL CHECK (length(document) <= 8192)
);
COMMENT ON TABLE execution_profile IS 'how a node runs a version: engine, version, options, precision, hardware class, sampling, seed';
COMMENT ON COLUMN execution_profile.hash IS 'SHA-256 of the document''s bytes';
COMMENT ON COLUMN execution_profile.document IS 'JSON text as published by the node';

CREATE TABLE offer (
	node address NOT NULL REFERENCES node,
	version bigint NOT NULL REFERENCES model_version,
	ask_input wei NOT NULL,
	ask_output wei NOT NULL,
	capacity int NOT NULL CHECK (capacity BETWEEN 1 AND 10000),
	precision text NOT NULL DEFAULT '' CHECK (length(precision) <= 32),
	profile_hash hash32 NOT NULL REFERENCES execution_profile,
	state text NOT NULL CHECK (state IN ('ready', 'withdrawn')),
	updated_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (node, version)
);
COMMENT ON TABLE offer IS 'a node serves a version at a price';
COMMENT ON COLUMN offer.node IS 'which node';
COMMENT ON COLUMN offer.version IS 'which version';
COMMENT ON COLUMN offer.ask_input IS 'node''s price per input unit';
COMMENT ON COLUMN offer.ask_output IS 'node''s price per output unit';
COMMENT ON COLUMN offer.capacity IS 'jobs at a time';
COMMENT ON COLUMN offer.precision IS 'declared numeric precision, for people';
COMMENT ON COLUMN offer.profile_hash IS 'execution profile the receipts will name';
COMMENT ON COLUMN offer.state IS 'ready or withdrawn';
COMMENT ON COLUMN offer.updated_at IS 'last change';
CREATE INDEX offer_version ON offer (version) WHERE state = 'ready';
COMMENT ON INDEX offer_version IS 'candidates for a job';

CREATE TABLE node_nonce (
	node address NOT NULL,
	nonce hash32 NOT NULL,
	seen_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (node, nonce)
);
COMMENT ON TABLE node_nonce IS 'nonces of signed node requests, kept while their time stamps are acceptable, so none is replayed';
COMMENT ON COLUMN node_nonce.node IS 'who signed';
COMMENT ON COLUMN node_nonce.nonce IS 'from the signed request';
COMMENT ON COLUMN node_nonce.seen_at IS 'for the sweep';
CREATE INDEX node_nonce_seen ON node_nonce (seen_at);
COMMENT ON INDEX node_nonce_seen IS 'for the sweep';
