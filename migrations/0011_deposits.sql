-- Deposits: whose they are when the sender cannot say so by signing in, and deposits whose gas we pay.

INSERT INTO ledger_account VALUES (15, 0, 'unattributed', false);
COMMENT ON COLUMN ledger_account.kind IS '1 available, 2 held, 3 author, 4 operator; platform: 8 custody, 9 fee, 10 loss, 11 x402_unsettled, 12 payout, 15 unattributed (arrived, owed to whoever proves to have sent it)';

ALTER TABLE ledger_transfer DROP CONSTRAINT ledger_transfer_kind_check;
ALTER TABLE ledger_transfer ADD CONSTRAINT ledger_transfer_kind_check
	CHECK (kind IN ('deposit', 'deposit_reversal', 'deposit_claimed', 'hold', 'capture', 'void', 'x402_accepted', 'x402_settled', 'x402_dropped',
		'x402_unsettled', 'x402_lost', 'payout', 'payout_paid', 'payout_returned'));

ALTER TABLE account ADD signed_in_at timestamptz;
COMMENT ON COLUMN account.signed_in_at IS 'last sign-in: proof that somebody holds its key; NULL: only seen as a sender or payer';
COMMENT ON COLUMN account.created_at IS 'first sign-in, deposit or payment';
UPDATE account a SET signed_in_at = a.created_at WHERE a.handle IS NOT NULL OR EXISTS (SELECT FROM api_key k WHERE k.account = a.id);

ALTER TABLE deposit ALTER account DROP NOT NULL;
ALTER TABLE deposit ADD sender address, ADD reason text, ADD claimed_at timestamptz, ADD reversals int NOT NULL DEFAULT 0;
UPDATE deposit d SET sender = a.address FROM account a WHERE a.id = d.account;
ALTER TABLE deposit ALTER sender SET NOT NULL;
ALTER TABLE deposit DROP CONSTRAINT deposit_state_check;
ALTER TABLE deposit ADD CONSTRAINT deposit_state_check CHECK (state IN ('seen', 'credited', 'held', 'internal', 'vanished', 'reversed'));
ALTER TABLE deposit ADD CONSTRAINT deposit_owner_check CHECK (CASE state WHEN 'credited' THEN account IS NOT NULL WHEN 'held' THEN account IS NULL ELSE true END);
COMMENT ON COLUMN deposit.account IS 'whose it is: the sender''s account, or the one a claim named; NULL: nobody''s yet, or our own money';
COMMENT ON COLUMN deposit.sender IS 'from of the Transfer';
COMMENT ON COLUMN deposit.state IS 'seen (not yet confirmed), credited, held (confirmed, the sender is a contract nobody signed in for), internal (our own money moved), vanished (reorganised away before credit), reversed (after it)';
COMMENT ON COLUMN deposit.reason IS 'why it is reversed or held, in words';
COMMENT ON COLUMN deposit.claimed_at IS 'when its sender signed it over to the account';
COMMENT ON COLUMN deposit.reversals IS 'how often a confirmed one was taken back';
COMMENT ON COLUMN deposit.credits IS 'times booked: more than one only after as many reversals';
CREATE INDEX deposit_held ON deposit (sender, id) WHERE state = 'held';
COMMENT ON INDEX deposit_held IS 'GET /v1/deposits/held';
CREATE INDEX deposit_reversed ON deposit (id) WHERE state = 'reversed';
COMMENT ON INDEX deposit_reversed IS 'what reconciliation shows';

-- Has somebody proven to act for this address: by signing in, or by a payment the token itself accepted?
CREATE FUNCTION deposit_sender_known(who bytea) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT EXISTS (SELECT FROM account a WHERE a.address = who AND a.signed_in_at IS NOT NULL)
	    OR EXISTS (SELECT FROM payment p WHERE p.payer = who AND p.state = 'settled')
$$;

-- Books one confirmed deposit: the ledger key makes it once per credit number. Without an owner it is held in account 15.
CREATE OR REPLACE FUNCTION deposit_credit(which bigint) RETURNS void LANGUAGE plpgsql AS $$
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
		SELECT t, p.line, p.account, p.amount FROM (VALUES (1, 8::bigint, -d.amount), (2, coalesce(d.account * 16 + 1, 15), d.amount - repaid),
			(3, 10::bigint, repaid)) p(line, account, amount) WHERE p.amount <> 0;
	END IF;
	UPDATE deposit SET state = CASE WHEN d.account IS NULL THEN 'held' ELSE 'credited' END, credited_at = CASE WHEN d.account IS NULL THEN NULL ELSE clock_timestamp() END,
		reason = CASE WHEN d.account IS NULL THEN 'the sender is a contract or nobody; its claim by signature is awaited' END,
		credits = credits + 1, shortfall = d.shortfall - coalesce(repaid, 0) WHERE id = which;
END $$;

-- The chain took a block back: deposits seen in it vanish, confirmed ones are reversed as far as their account can cover.
CREATE OR REPLACE FUNCTION deposit_orphan(chain bigint, of_token bytea, receiver bytea, from_number bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	d deposit;
	t bigint;
	covered numeric;
BEGIN
	UPDATE deposit SET state = 'vanished' WHERE chain_id = chain AND token = of_token AND treasury = receiver AND block_number >= from_number
		AND state IN ('seen', 'internal');
	FOR d IN SELECT * FROM deposit WHERE chain_id = chain AND token = of_token AND treasury = receiver AND block_number >= from_number
		AND state IN ('credited', 'held') ORDER BY account FOR UPDATE LOOP
		covered := d.amount;
		IF d.account IS NOT NULL THEN
			SELECT least(b.amount, d.amount) INTO covered FROM ledger_balance b WHERE b.account = d.account * 16 + 1 FOR UPDATE;
		END IF;
		IF d.amount > 0 THEN
			INSERT INTO ledger_transfer (key, kind) VALUES (format('reversal:%s:%s:%s:%s:%s', d.chain_id, encode(d.token, 'hex'),
				encode(d.tx, 'hex'), d.ordinal, d.credits), 'deposit_reversal') RETURNING id INTO t;
			INSERT INTO ledger_entry (transfer, line, account, amount)
			SELECT t, p.line, p.account, p.amount FROM (VALUES (1, 8::bigint, d.amount), (2, coalesce(d.account * 16 + 1, 15), -covered),
				(3, 10::bigint, covered - d.amount)) p(line, account, amount) WHERE p.amount <> 0;
		END IF;
		UPDATE deposit SET state = 'reversed', reversals = reversals + 1, shortfall = d.shortfall + d.amount - covered,
			reason = format('the chain gave up block %s after the deposit was confirmed', d.block_number) WHERE id = d.id;
	END LOOP;
	DELETE FROM chain_block WHERE chain_id = chain AND token = of_token AND treasury = receiver AND number >= from_number;
END $$;
DROP INDEX deposit_block;
CREATE INDEX deposit_block ON deposit (chain_id, token, treasury, block_number) WHERE state IN ('seen', 'credited', 'held', 'internal');
COMMENT ON INDEX deposit_block IS 'confirming and reversing';

-- Its sender signed a held deposit over to an account. Status: ok; again (the same claim before); taken; not_held; missing.
CREATE FUNCTION deposit_claim(which bigint, claimant bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	d deposit;
	who bigint;
	t bigint;
BEGIN
	SELECT * INTO d FROM deposit WHERE id = which FOR UPDATE;
	IF NOT FOUND THEN
		RETURN 'missing';
	END IF;
	INSERT INTO account AS a (address) VALUES (claimant) ON CONFLICT (address) DO UPDATE SET created_at = a.created_at RETURNING a.id INTO who;
	IF d.claimed_at IS NOT NULL THEN
		RETURN CASE WHEN d.account = who THEN 'again' ELSE 'taken' END;
	ELSIF d.state <> 'held' THEN
		RETURN 'not_held';
	END IF;
	IF d.amount > 0 THEN
		INSERT INTO ledger_transfer (key, kind) VALUES (format('claim:%s:%s:%s:%s:%s', d.chain_id, encode(d.token, 'hex'), encode(d.tx, 'hex'),
			d.ordinal, d.credits), 'deposit_claimed') RETURNING id INTO t;
		INSERT INTO ledger_entry (transfer, line, account, amount) VALUES (t, 1, 15, -d.amount), (t, 2, who * 16 + 1, d.amount);
	END IF;
	UPDATE deposit SET state = 'credited', account = who, credited_at = clock_timestamp(), claimed_at = clock_timestamp(), reason = NULL WHERE id = which;
	RETURN 'ok';
END $$;

CREATE TABLE sponsored_deposit (
	id uuid PRIMARY KEY,
	chain_id bigint NOT NULL,
	account bigint NOT NULL REFERENCES account,
	owner address NOT NULL,
	method text NOT NULL CHECK (method IN ('permit2', 'permit')),
	nonce hash32 NOT NULL,
	amount wei NOT NULL,
	valid_until bigint NOT NULL,
	call bytea NOT NULL,
	gas_cost wei NOT NULL,
	state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sent', 'done', 'failed')),
	tx bigint REFERENCES settlement_tx,
	reason text,
	created_at timestamptz NOT NULL DEFAULT now(),
	ended_at timestamptz,
	UNIQUE (chain_id, method, owner, nonce),
	CHECK ((state IN ('done', 'failed')) = (ended_at IS NOT NULL))
);
COMMENT ON TABLE sponsored_deposit IS 'deposits by signature whose gas our settling key pays; what arrives is credited by its Transfer like any other';
COMMENT ON COLUMN sponsored_deposit.id IS 'random';
COMMENT ON COLUMN sponsored_deposit.chain_id IS 'which chain';
COMMENT ON COLUMN sponsored_deposit.account IS 'who asked: the owner''s account';
COMMENT ON COLUMN sponsored_deposit.owner IS 'who signed, whose tokens move';
COMMENT ON COLUMN sponsored_deposit.method IS 'a Permit2 transfer with our witness, or an EIP-2612 permit';
COMMENT ON COLUMN sponsored_deposit.nonce IS 'of the signature, as a 256-bit number: it is sent once';
COMMENT ON COLUMN sponsored_deposit.amount IS 'base units';
COMMENT ON COLUMN sponsored_deposit.valid_until IS 'deadline of the signature, seconds since 1970';
COMMENT ON COLUMN sponsored_deposit.call IS 'what is sent to contracts/Depositor.sol';
COMMENT ON COLUMN sponsored_deposit.gas_cost IS 'the most its gas can cost, wei of the chain''s coin: what the limits count';
COMMENT ON COLUMN sponsored_deposit.state IS 'queued (written, not signed), sent (has a transaction), done (mined), failed';
COMMENT ON COLUMN sponsored_deposit.tx IS 'its transaction';
COMMENT ON COLUMN sponsored_deposit.reason IS 'why it failed';
COMMENT ON COLUMN sponsored_deposit.created_at IS 'when it was asked for';
COMMENT ON COLUMN sponsored_deposit.ended_at IS 'when it was mined or given up';
CREATE UNIQUE INDEX sponsored_deposit_one ON sponsored_deposit (account) WHERE state IN ('queued', 'sent');
COMMENT ON INDEX sponsored_deposit_one IS 'one in flight for each account';
CREATE INDEX sponsored_deposit_day ON sponsored_deposit (created_at);
COMMENT ON INDEX sponsored_deposit_day IS 'daily gas limits';
CREATE INDEX sponsored_deposit_tx ON sponsored_deposit (tx) WHERE tx IS NOT NULL;
COMMENT ON INDEX sponsored_deposit_tx IS 'what a transaction carried';

-- Writes the intent. Status: ok; busy (one of this account is under way); used (this signature was given before); gas (a daily limit
-- is reached). Whoever spends gas takes the same lock first, so no two share the last of a day's budget.
CREATE FUNCTION sponsored_deposit_open(d jsonb, account_max numeric, all_max numeric) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	of_account numeric;
	of_all numeric;
	cost numeric := (d->>'gas_cost')::numeric;
BEGIN
	PERFORM pg_advisory_xact_lock(hashtextextended('sponsored_deposit', 0));
	IF EXISTS (SELECT FROM sponsored_deposit s WHERE s.chain_id = (d->>'chain_id')::bigint AND s.method = d->>'method'
	           AND s.owner = decode(d->>'owner', 'hex') AND s.nonce = decode(d->>'nonce', 'hex')) THEN
		RETURN 'used';
	END IF;
	IF EXISTS (SELECT FROM sponsored_deposit s WHERE s.account = (d->>'account')::bigint AND s.state IN ('queued', 'sent')) THEN
		RETURN 'busy';
	END IF;
	SELECT coalesce(sum(s.gas_cost) FILTER (WHERE s.account = (d->>'account')::bigint), 0), coalesce(sum(s.gas_cost), 0) INTO of_account, of_all
	FROM sponsored_deposit s WHERE s.created_at > now() - interval '1 day' AND (s.state <> 'failed' OR s.tx IS NOT NULL);
	IF of_account + cost > account_max OR of_all + cost > all_max THEN
		RETURN 'gas';
	END IF;
	INSERT INTO sponsored_deposit (id, chain_id, account, owner, method, nonce, amount, valid_until, call, gas_cost)
	VALUES ((d->>'id')::uuid, (d->>'chain_id')::bigint, (d->>'account')::bigint, decode(d->>'owner', 'hex'), d->>'method', decode(d->>'nonce', 'hex'),
		(d->>'amount')::numeric, (d->>'valid_until')::bigint, decode(d->>'call', 'hex'), cost);
	RETURN 'ok';
END $$;

-- It follows its transaction: mined, taken back by a reorganisation, or its nonce used by another (then it is signed again).
CREATE FUNCTION sponsored_deposit_follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.state = 'mined' THEN
		UPDATE sponsored_deposit SET state = CASE WHEN NEW.succeeded THEN 'done' ELSE 'failed' END, ended_at = clock_timestamp(),
			reason = CASE WHEN NOT NEW.succeeded THEN 'the transaction was reverted' END WHERE tx = NEW.id AND state = 'sent';
	ELSIF NEW.state = 'signed' THEN
		-- Never in the way of what came later: one that is open by now stays the one in flight.
		UPDATE sponsored_deposit s SET state = 'sent', ended_at = NULL, reason = NULL WHERE s.tx = NEW.id AND s.state IN ('done', 'failed')
			AND NOT EXISTS (SELECT FROM sponsored_deposit o WHERE o.account = s.account AND o.state IN ('queued', 'sent'));
	ELSIF NEW.state = 'replaced' THEN
		UPDATE sponsored_deposit SET state = 'queued', tx = NULL WHERE tx = NEW.id AND state = 'sent';
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER sponsored_deposit_follow AFTER UPDATE OF state ON settlement_tx FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state)
	EXECUTE FUNCTION sponsored_deposit_follow();
