-- What was looked at row by row and can be looked at as a set.

-- The accounts and transfers that entries name are there: one look for all of them, where two foreign keys locked a parent for each line. Both
-- parents are append-only, so that what is there when the entries are written stays.
ALTER TABLE ledger_entry DROP CONSTRAINT ledger_entry_transfer_fkey, DROP CONSTRAINT ledger_entry_account_fkey;
CREATE FUNCTION ledger_entry_parents() RETURNS trigger LANGUAGE plpgsql
	SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
	bad bigint;
BEGIN
	SELECT n.account INTO bad FROM added n WHERE NOT EXISTS (SELECT FROM ledger_account a WHERE a.id = n.account) LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'there is no ledger account %', bad USING ERRCODE = '23503', TABLE = 'ledger_entry';
	END IF;
	SELECT n.transfer INTO bad FROM added n WHERE NOT EXISTS (SELECT FROM ledger_transfer t WHERE t.id = n.transfer) LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'there is no transfer %', bad USING ERRCODE = '23503', TABLE = 'ledger_entry';
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER ledger_entry_parents AFTER INSERT ON ledger_entry REFERENCING NEW TABLE AS added
	FOR EACH STATEMENT EXECUTE FUNCTION ledger_entry_parents();

-- What audit_judge does, for a list of movements: what does not agree, in their order, or NULL.
CREATE FUNCTION audit_judge_all(s jsonb, movements jsonb) RETURNS jsonb LANGUAGE plpgsql
	SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
	found jsonb;
BEGIN
	WITH judged AS MATERIALIZED (
		SELECT e.n, e.m, (e.m->>'block')::bigint AS block, c.* FROM jsonb_array_elements(movements) WITH ORDINALITY e(m, n), LATERAL audit_compare(s, e.m) c
	), deposits AS (
		UPDATE deposit x SET audited_block = j.block FROM judged j WHERE x.id = j.deposit_id AND x.audited_block IS DISTINCT FROM j.block
	), payments AS (
		UPDATE payment x SET audited_block = j.block FROM judged j WHERE x.id = j.payment_id AND x.audited_block IS DISTINCT FROM j.block
	)
	SELECT jsonb_agg(jsonb_build_object('kind', j.kind, 'subject', format('0x%s:%s', j.m->>'tx', j.m->>'ordinal'), 'tx', j.m->>'tx',
		'ordinal', j.m->'ordinal', 'block', j.m->'block', 'hash', j.m->'hash', 'detail', j.detail) ORDER BY j.n)
	INTO found FROM judged j WHERE j.kind IS NOT NULL;
	RETURN found;
END $$;

-- As in 0021.
CREATE OR REPLACE FUNCTION audit_judge(s jsonb, m jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT audit_judge_all(s, jsonb_build_array(m))->0;
$$;

-- As in 0012.
CREATE OR REPLACE FUNCTION audit_advance(s jsonb, before bigint, upto bigint, upto_hash bytea, movements jsonb, sure boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	news jsonb := audit_judge_all(s, movements);
BEGIN
	IF news IS NOT NULL AND NOT sure THEN
		RETURN 'doubt';
	END IF;
	UPDATE audit_cursor c SET number = upto, at = now() WHERE c.chain_id = (s->>'chain_id')::bigint AND c.token = decode(s->>'token', 'hex')
		AND c.treasury = decode(s->>'treasury', 'hex') AND c.number = before;
	IF NOT FOUND THEN
		RETURN 'conflict';
	END IF;
	INSERT INTO audit_block VALUES ((s->>'chain_id')::bigint, decode(s->>'token', 'hex'), decode(s->>'treasury', 'hex'), upto, upto_hash)
		ON CONFLICT (chain_id, token, treasury, number) DO UPDATE SET hash = EXCLUDED.hash;
	DELETE FROM audit_block b WHERE b.chain_id = (s->>'chain_id')::bigint AND b.token = decode(s->>'token', 'hex') AND b.treasury = decode(s->>'treasury', 'hex')
		AND b.number < upto - 4096 AND b.number <> before;
	PERFORM mismatch_report('{}', coalesce(news, '[]'));
	RETURN 'ok';
END $$;
