-- An account that many jobs pay into is read by its tail, not by all it ever got; and only accounts that moved are folded.

-- The strongest lock first: a payout that reads the entries before it adds its own would wait for the index, and this for the payout.
DROP INDEX ledger_entry_earned;
CREATE INDEX ledger_entry_tail ON ledger_entry (account, xid);
COMMENT ON INDEX ledger_entry_tail IS 'by writing transaction: tails of folded balances, what a payout of earnings covers';

CREATE TABLE ledger_folded (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	transfer bigint NOT NULL
);
COMMENT ON TABLE ledger_folded IS 'how far folding has come; its row is the lock of who folds';
COMMENT ON COLUMN ledger_folded.one IS 'there is one row';
COMMENT ON COLUMN ledger_folded.transfer IS 'transfers up to here that were there are folded; one that came later with a lower id is a tail until its account moves again';
INSERT INTO ledger_folded (transfer) SELECT coalesce(max(id), 0) FROM ledger_transfer;

-- Moves the tails of the accounts that moved into their folds, up to the transaction horizon. What it leaves is read as tail: it only has to
-- come by often enough. Another process at it: nothing to do.
CREATE OR REPLACE FUNCTION ledger_fold_now() RETURNS void LANGUAGE plpgsql
	SET enable_seqscan = off AS $$
DECLARE
	at_once CONSTANT bigint := 100000;
	before bigint;
	upto_transfer bigint;
	moved bigint[];
	horizon xid8;
BEGIN
	SELECT f.transfer INTO before FROM ledger_folded f WHERE f.one FOR UPDATE SKIP LOCKED;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	SELECT max(t.id) INTO upto_transfer FROM (SELECT id FROM ledger_transfer WHERE id > before ORDER BY id LIMIT at_once) t;
	IF upto_transfer IS NULL THEN
		RETURN;
	END IF;
	moved := ARRAY(SELECT DISTINCT e.account FROM ledger_entry e WHERE e.transfer > before AND e.transfer <= upto_transfer AND e.account % 16 NOT IN (1, 2)
		ORDER BY e.account);
	horizon := pg_snapshot_xmin(pg_current_snapshot());
	INSERT INTO ledger_fold (account, amount, upto) SELECT a, 0, '0'::xid8 FROM unnest(moved) a ON CONFLICT (account) DO NOTHING;
	UPDATE ledger_fold f SET upto = horizon, amount = f.amount + coalesce(
		(SELECT sum(e.amount) FROM ledger_entry e WHERE e.account = f.account AND e.xid >= f.upto AND e.xid < horizon), 0)
	WHERE f.account = ANY (moved) AND f.upto < horizon;
	UPDATE ledger_folded SET transfer = coalesce((SELECT min(e.transfer) - 1 FROM ledger_entry e
		WHERE e.transfer > before AND e.transfer <= upto_transfer AND e.xid >= horizon), upto_transfer) WHERE one;
END $$;
