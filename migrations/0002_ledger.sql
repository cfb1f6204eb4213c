-- The books: double entry, append-only. The database itself refuses what would break them:
--   a transfer whose entries do not sum to zero, an overdraft, a change or deletion of anything written,
--   a balance written by anything but the entries.
-- Entries are signed: positive is in favour of the account. Assets (custody) are the mirror and run negative.

CREATE TABLE ledger_account (
	id bigint PRIMARY KEY,
	owner bigint NOT NULL,
	kind text NOT NULL,
	guarded boolean NOT NULL
);
COMMENT ON TABLE ledger_account IS 'id = owner * 16 + code of the kind, so that no lookup is needed; owner 0 is the platform';
COMMENT ON COLUMN ledger_account.id IS 'owner * 16 + code';
COMMENT ON COLUMN ledger_account.owner IS 'account.id, or 0';
COMMENT ON COLUMN ledger_account.kind IS '1 available, 2 held, 3 author, 4 operator; platform: 8 custody, 9 fee, 10 loss';
COMMENT ON COLUMN ledger_account.guarded IS 'can be overdrawn, so its balance is materialised, locked and bounded';

INSERT INTO ledger_account VALUES (8, 0, 'custody', false), (9, 0, 'fee', false), (10, 0, 'loss', false);

CREATE FUNCTION ledger_account_open() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO ledger_account VALUES
		(NEW.id * 16 + 1, NEW.id, 'available', true), (NEW.id * 16 + 2, NEW.id, 'held', true),
		(NEW.id * 16 + 3, NEW.id, 'author', false), (NEW.id * 16 + 4, NEW.id, 'operator', false);
	INSERT INTO ledger_balance (account, amount) VALUES (NEW.id * 16 + 1, 0), (NEW.id * 16 + 2, 0);
	RETURN NEW;
END $$;
CREATE TRIGGER ledger_account_open AFTER INSERT ON account FOR EACH ROW EXECUTE FUNCTION ledger_account_open();

CREATE TABLE ledger_transfer (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	key text NOT NULL UNIQUE,
	kind text NOT NULL CHECK (kind IN ('deposit', 'deposit_reversal', 'hold', 'capture', 'void')),
	job uuid,
	at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE ledger_transfer IS 'one movement of money; its entries sum to zero';
COMMENT ON COLUMN ledger_transfer.id IS 'internal key, also the order of listing';
COMMENT ON COLUMN ledger_transfer.key IS 'what makes it happen once: hold:<job>, close:<job>, deposit:<chain>:<token>:<tx>:<ordinal> …';
COMMENT ON COLUMN ledger_transfer.kind IS 'what it is';
COMMENT ON COLUMN ledger_transfer.job IS 'the job it belongs to, if any';
COMMENT ON COLUMN ledger_transfer.at IS 'when';
CREATE INDEX ledger_transfer_job ON ledger_transfer (job) WHERE job IS NOT NULL;
COMMENT ON INDEX ledger_transfer_job IS 'from a job to its money';

CREATE TABLE ledger_entry (
	transfer bigint NOT NULL REFERENCES ledger_transfer,
	line smallint NOT NULL,
	account bigint NOT NULL REFERENCES ledger_account,
	amount delta NOT NULL,
	xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
	PRIMARY KEY (transfer, line)
);
COMMENT ON TABLE ledger_entry IS 'the lines of a transfer; all lines of one transfer are inserted by one statement';
COMMENT ON COLUMN ledger_entry.transfer IS 'of which transfer';
COMMENT ON COLUMN ledger_entry.line IS '1, 2, 3 …';
COMMENT ON COLUMN ledger_entry.account IS 'whose';
COMMENT ON COLUMN ledger_entry.amount IS 'positive: in favour of the account';
COMMENT ON COLUMN ledger_entry.xid IS 'writing transaction: the horizon that folding goes by';
CREATE INDEX ledger_entry_account ON ledger_entry (account, transfer);
COMMENT ON INDEX ledger_entry_account IS 'GET /v1/transfers, tails of folded balances';

CREATE TABLE ledger_balance (
	account bigint PRIMARY KEY REFERENCES ledger_account,
	amount wei NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE ledger_balance IS 'balances of guarded accounts: moved only by the trigger on ledger_entry; the domain refuses an overdraft';
COMMENT ON COLUMN ledger_balance.account IS 'a guarded ledger account';
COMMENT ON COLUMN ledger_balance.amount IS 'sum of its entries, never negative';

CREATE TABLE ledger_fold (
	account bigint PRIMARY KEY REFERENCES ledger_account,
	amount numeric(78,0) NOT NULL,
	upto xid8 NOT NULL
);
COMMENT ON TABLE ledger_fold IS 'balances of append-only accounts up to a transaction horizon; entries from there on are the tail';
COMMENT ON COLUMN ledger_fold.account IS 'an unguarded ledger account';
COMMENT ON COLUMN ledger_fold.amount IS 'sum of entries with xid below upto';
COMMENT ON COLUMN ledger_fold.upto IS 'horizon: every transaction below it has ended';

-- Zero sum, and the guarded balances follow the entries. The lock order is the account id.
CREATE FUNCTION ledger_entry_inserted() RETURNS trigger LANGUAGE plpgsql
	SET enable_seqscan = off AS $$
DECLARE
	bad bigint;
	broke bigint;
BEGIN
	-- LATERAL: one index look-up a transfer, whatever the planner believes; as a join it would read every entry ever made.
	SELECT n.transfer INTO bad FROM (SELECT DISTINCT transfer FROM added) n
	CROSS JOIN LATERAL (SELECT sum(e.amount) AS total FROM ledger_entry e WHERE e.transfer = n.transfer) own WHERE own.total <> 0 LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'entries of transfer % do not sum to zero', bad USING ERRCODE = '23514', TABLE = 'ledger_entry';
	END IF;
	PERFORM FROM ledger_balance b WHERE b.account IN (SELECT n.account FROM added n) ORDER BY b.account FOR UPDATE;
	SELECT b.account INTO broke FROM ledger_balance b
	JOIN (SELECT account, sum(amount) AS moved FROM added GROUP BY account) d ON d.account = b.account
	WHERE b.amount + d.moved < 0 LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'account % would be overdrawn', broke USING ERRCODE = 'OG001';
	END IF;
	UPDATE ledger_balance b SET amount = b.amount + d.moved
	FROM (SELECT account, sum(amount) AS moved FROM added GROUP BY account) d WHERE b.account = d.account;
	RETURN NULL;
END $$;
CREATE TRIGGER ledger_entry_inserted AFTER INSERT ON ledger_entry REFERENCING NEW TABLE AS added
	FOR EACH STATEMENT EXECUTE FUNCTION ledger_entry_inserted();

CREATE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = '42501';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entry FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_transfer FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_account FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only();

-- A balance moves only inside the trigger of its entries (trigger depth 2 here: this trigger within that one).
CREATE FUNCTION ledger_balance_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'INSERT' AND pg_trigger_depth() >= 2 AND NEW.amount = 0 THEN
		RETURN NEW;
	ELSIF TG_OP = 'UPDATE' AND pg_trigger_depth() >= 2 AND NEW.account = OLD.account THEN
		RETURN NEW;
	END IF;
	RAISE EXCEPTION 'balances follow entries only' USING ERRCODE = '42501';
END $$;
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON ledger_balance FOR EACH ROW EXECUTE FUNCTION ledger_balance_guard();

-- An ended movement cannot lose its lines, and a transfer without lines would hide: checked at commit.
CREATE FUNCTION ledger_transfer_has_entries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM ledger_entry WHERE transfer = NEW.id) THEN
		RAISE EXCEPTION 'transfer % has no entries', NEW.id USING ERRCODE = '23514', TABLE = 'ledger_transfer';
	END IF;
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER has_entries AFTER INSERT ON ledger_transfer DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION ledger_transfer_has_entries();

-- Balance of an append-only account: fold + tail.
CREATE FUNCTION ledger_balance_of(which bigint) RETURNS numeric LANGUAGE sql STABLE AS $$
	SELECT coalesce((SELECT amount FROM ledger_fold WHERE account = which), 0)
	     + coalesce((SELECT sum(e.amount) FROM ledger_entry e WHERE e.account = which
	                 AND e.xid >= coalesce((SELECT upto FROM ledger_fold WHERE account = which), '0'::xid8)), 0)
$$;

-- Moves the tails into the folds up to the transaction horizon; run by one process at a time.
CREATE FUNCTION ledger_fold_now() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	horizon xid8 := pg_snapshot_xmin(pg_current_snapshot());
BEGIN
	INSERT INTO ledger_fold (account, amount, upto) SELECT id, 0, '0'::xid8 FROM ledger_account WHERE NOT guarded
		ON CONFLICT (account) DO NOTHING;
	UPDATE ledger_fold f SET upto = horizon, amount = f.amount + coalesce(
		(SELECT sum(e.amount) FROM ledger_entry e WHERE e.account = f.account AND e.xid >= f.upto AND e.xid < horizon), 0)
	WHERE f.upto < horizon;
END $$;

CREATE TABLE hold (
	job uuid PRIMARY KEY,
	account bigint NOT NULL REFERENCES account,
	amount wei NOT NULL,
	captured wei NOT NULL DEFAULT 0 CHECK (captured <= amount),
	state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'captured', 'voided')),
	opened_at timestamptz NOT NULL DEFAULT now(),
	closed_at timestamptz,
	CHECK ((state = 'open') = (closed_at IS NULL)),
	CHECK (state = 'captured' OR captured = 0)
);
COMMENT ON TABLE hold IS 'money reserved for a job; captured or voided once';
COMMENT ON COLUMN hold.job IS 'for which job';
COMMENT ON COLUMN hold.account IS 'whose money';
COMMENT ON COLUMN hold.amount IS 'how much was reserved; may be 0 for free models';
COMMENT ON COLUMN hold.captured IS 'how much was taken, never more than amount';
COMMENT ON COLUMN hold.state IS 'open, captured or voided';
COMMENT ON COLUMN hold.opened_at IS 'when reserved';
COMMENT ON COLUMN hold.closed_at IS 'when captured or voided';
CREATE INDEX hold_open ON hold (account) WHERE state = 'open';
COMMENT ON INDEX hold_open IS 'held = sum of open holds';

CREATE FUNCTION hold_closes_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'DELETE' OR OLD.state <> 'open' OR NEW.job <> OLD.job OR NEW.account <> OLD.account OR NEW.amount <> OLD.amount THEN
		RAISE EXCEPTION 'hold of job % is closed', OLD.job USING ERRCODE = 'OG409';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER closes_once BEFORE UPDATE OR DELETE ON hold FOR EACH ROW EXECUTE FUNCTION hold_closes_once();
