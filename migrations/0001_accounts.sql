-- Words every table uses, and who people are.

CREATE DOMAIN wei AS numeric(78,0) CHECK (VALUE <> 'NaN' AND VALUE BETWEEN 0 AND 170141183460469231731687303715884105727);
COMMENT ON DOMAIN wei IS 'an amount in base units of OPG, 0 to 2^127-1';
CREATE DOMAIN delta AS numeric(78,0) CHECK (VALUE <> 'NaN' AND VALUE <> 0 AND abs(VALUE) <= 170141183460469231731687303715884105727);
COMMENT ON DOMAIN delta IS 'a signed, non-zero ledger movement in base units';
CREATE DOMAIN address AS bytea CHECK (octet_length(VALUE) = 20);
COMMENT ON DOMAIN address IS 'a 20-byte EVM address';
CREATE DOMAIN hash32 AS bytea CHECK (octet_length(VALUE) = 32);
COMMENT ON DOMAIN hash32 IS 'a 32-byte digest';

CREATE TABLE account (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	address address NOT NULL UNIQUE,
	handle text UNIQUE CHECK (handle ~ '^[a-z0-9]([a-z0-9-]{0,37}[a-z0-9])?$' AND handle !~ '^0x'),
	created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE account IS 'a party, identified by its EVM address; may be consumer, author and operator at once';
COMMENT ON COLUMN account.id IS 'internal key';
COMMENT ON COLUMN account.address IS 'the identity: what signs in, what deposits come from';
COMMENT ON COLUMN account.handle IS 'chosen name used in model ids; until one is chosen the lower-case 0x address stands for it';
COMMENT ON COLUMN account.created_at IS 'first sign-in or first deposit';

CREATE TABLE siwe_nonce (
	nonce text PRIMARY KEY CHECK (length(nonce) BETWEEN 16 AND 64),
	issued_at timestamptz NOT NULL DEFAULT now(),
	expires_at timestamptz NOT NULL
);
COMMENT ON TABLE siwe_nonce IS 'sign-in nonces not yet used; every attempt deletes its row first, so each works at most once';
COMMENT ON COLUMN siwe_nonce.nonce IS 'server-made random text';
COMMENT ON COLUMN siwe_nonce.issued_at IS 'when it was handed out';
COMMENT ON COLUMN siwe_nonce.expires_at IS 'at most five minutes later; the janitor sweeps older rows';
CREATE INDEX siwe_nonce_expires ON siwe_nonce (expires_at);
COMMENT ON INDEX siwe_nonce_expires IS 'for the sweep';

CREATE TABLE api_key (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	account bigint NOT NULL REFERENCES account,
	name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
	prefix text NOT NULL,
	secret_hash hash32 NOT NULL UNIQUE,
	scopes text[] NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now(),
	expires_at timestamptz,
	revoked_at timestamptz
);
COMMENT ON TABLE api_key IS 'API keys; only the hash of the secret is kept';
COMMENT ON COLUMN api_key.id IS 'internal key, shown as the key id';
COMMENT ON COLUMN api_key.account IS 'who the key acts for';
COMMENT ON COLUMN api_key.name IS 'what the owner called it';
COMMENT ON COLUMN api_key.prefix IS 'first characters, to recognise a key in a list';
COMMENT ON COLUMN api_key.secret_hash IS 'SHA-256 of the whole key text';
COMMENT ON COLUMN api_key.scopes IS 'inference, registry, read';
COMMENT ON COLUMN api_key.created_at IS 'when it was made';
COMMENT ON COLUMN api_key.expires_at IS 'no use from then on; NULL: never';
COMMENT ON COLUMN api_key.revoked_at IS 'no use from then on; checked in every statement that spends';
CREATE INDEX api_key_account ON api_key (account, id);
COMMENT ON INDEX api_key_account IS 'GET /v1/keys';
