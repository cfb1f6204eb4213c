-- Deposits: what the watcher saw on chain, and how far it has looked.

CREATE TABLE chain_cursor (
	chain_id bigint NOT NULL,
	token address NOT NULL,
	treasury address NOT NULL,
	number bigint NOT NULL,
	PRIMARY KEY (chain_id, token, treasury)
);
COMMENT ON TABLE chain_cursor IS 'last block looked at; moves in the transaction that writes what was found';
COMMENT ON COLUMN chain_cursor.chain_id IS 'which chain';
COMMENT ON COLUMN chain_cursor.token IS 'which token';
COMMENT ON COLUMN chain_cursor.treasury IS 'which receiver';
COMMENT ON COLUMN chain_cursor.number IS 'its number; the hash is in chain_block';

CREATE TABLE chain_block (
	chain_id bigint NOT NULL,
	token address NOT NULL,
	treasury address NOT NULL,
	number bigint NOT NULL,
	hash hash32 NOT NULL,
	PRIMARY KEY (chain_id, token, treasury, number)
);
COMMENT ON TABLE chain_block IS 'hashes of the newest blocks looked at, to notice when the chain changes its mind';
COMMENT ON COLUMN chain_block.chain_id IS 'which chain';
COMMENT ON COLUMN chain_block.token IS 'which token: each watch remembers what it has seen itself';
COMMENT ON COLUMN chain_block.treasury IS 'which receiver';
COMMENT ON COLUMN chain_block.number IS 'block number';
COMMENT ON COLUMN chain_block.hash IS 'block hash when it was looked at';

CREATE TABLE deposit (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	chain_id bigint NOT NULL,
	token address NOT NULL,
	treasury address NOT NULL,
	tx hash32 NOT NULL,
	ordinal int NOT NULL,
	account bigint NOT NULL REFERENCES account,
	amount wei NOT NULL,
	block_number bigint NOT NULL,
	block_hash hash32 NOT NULL,
	state text NOT NULL CHECK (state IN ('seen', 'credited', 'vanished', 'reversed')),
	seen_at timestamptz NOT NULL DEFAULT now(),
	credited_at timestamptz,
	credits int NOT NULL DEFAULT 0,
	shortfall wei NOT NULL DEFAULT 0,
	UNIQUE (chain_id, token, tx, ordinal)
);
COMMENT ON TABLE deposit IS 'Transfer logs to the treasury; (chain, token, transaction, ordinal in its receipt) is the identity and survives re-inclusion';
COMMENT ON COLUMN deposit.id IS 'internal key';
COMMENT ON COLUMN deposit.chain_id IS 'which chain';
COMMENT ON COLUMN deposit.token IS 'which token';
COMMENT ON COLUMN deposit.treasury IS 'which receiver';
COMMENT ON COLUMN deposit.tx IS 'transaction hash';
COMMENT ON COLUMN deposit.ordinal IS 'of the log inside its transaction''s receipt';
COMMENT ON COLUMN deposit.account IS 'the sender''s account';
COMMENT ON COLUMN deposit.amount IS 'base units';
COMMENT ON COLUMN deposit.block_number IS 'where it was last seen';
COMMENT ON COLUMN deposit.block_hash IS 'evidence';
COMMENT ON COLUMN deposit.state IS 'seen (not yet confirmed), credited, vanished (reorganised away before credit), reversed (after credit)';
COMMENT ON COLUMN deposit.seen_at IS 'when first seen';
COMMENT ON COLUMN deposit.credited_at IS 'when credited';
COMMENT ON COLUMN deposit.credits IS 'times credited: more than one only after as many reversals';
COMMENT ON COLUMN deposit.shortfall IS 'part of a reversal the account could no longer cover, booked as loss';
CREATE INDEX deposit_account ON deposit (account, id);
COMMENT ON INDEX deposit_account IS 'GET /v1/deposits';
CREATE INDEX deposit_block ON deposit (chain_id, token, treasury, block_number) WHERE state IN ('seen', 'credited');
COMMENT ON INDEX deposit_block IS 'confirming and reversing';

-- Credits one confirmed deposit: the ledger key makes it once per credit number.
CREATE FUNCTION deposit_credit(which bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	d deposit;
	t bigint;
	repaid numeric;
BEGIN
	SELECT * INTO d FROM deposit WHERE id = which AND state = 'seen' FOR UPDATE;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	IF d.amount > 0 THEN
		INSERT INTO ledger_transfer (key, kind) VALUES (format('deposit:%s:%s:%s:%s:%s', d.chain_id, encode(d.token, 'hex'),
			encode(d.tx, 'hex'), d.ordinal, d.credits + 1), 'deposit') RETURNING id INTO t;
		repaid := least(d.shortfall, d.amount); -- what an earlier reversal could not take back was our loss: it comes back first
		INSERT INTO ledger_entry (transfer, line, account, amount)
		SELECT t, p.line, p.account, p.amount FROM (VALUES (1, 8::bigint, -d.amount), (2, d.account * 16 + 1, d.amount - repaid),
			(3, 10::bigint, repaid)) p(line, account, amount) WHERE p.amount <> 0;
	END IF;
	UPDATE deposit SET state = 'credited', credited_at = clock_timestamp(), credits = credits + 1, shortfall = d.shortfall - coalesce(repaid, 0) WHERE id = which;
END $$;

-- The chain took a block back: deposits seen in it vanish, credited ones are reversed as far as the account can cover.
CREATE FUNCTION deposit_orphan(chain bigint, of_token bytea, receiver bytea, from_number bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	d deposit;
	t bigint;
	covered numeric;
BEGIN
	UPDATE deposit SET state = 'vanished' WHERE chain_id = chain AND token = of_token AND treasury = receiver AND block_number >= from_number AND state = 'seen';
	FOR d IN SELECT * FROM deposit WHERE chain_id = chain AND token = of_token AND treasury = receiver AND block_number >= from_number
		AND state = 'credited' ORDER BY account FOR UPDATE LOOP
		SELECT least(b.amount, d.amount) INTO covered FROM ledger_balance b WHERE b.account = d.account * 16 + 1 FOR UPDATE;
		IF d.amount > 0 THEN
			INSERT INTO ledger_transfer (key, kind) VALUES (format('reversal:%s:%s:%s:%s:%s', d.chain_id, encode(d.token, 'hex'),
				encode(d.tx, 'hex'), d.ordinal, d.credits), 'deposit_reversal') RETURNING id INTO t;
			INSERT INTO ledger_entry (transfer, line, account, amount)
			SELECT t, p.line, p.account, p.amount FROM (VALUES (1, 8::bigint, d.amount), (2, d.account * 16 + 1, -covered),
				(3, 10::bigint, covered - d.amount)) p(line, account, amount) WHERE p.amount <> 0;
		END IF;
		UPDATE deposit SET state = 'reversed', shortfall = d.shortfall + d.amount - covered WHERE id = d.id;
	END LOOP;
	DELETE FROM chain_block WHERE chain_id = chain AND token = of_token AND treasury = receiver AND number >= from_number;
END $$;
