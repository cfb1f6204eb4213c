-- Jobs: one request for one inference, from hold to capture.

CREATE TABLE gateway_instance (
	id uuid PRIMARY KEY,
	started_at timestamptz NOT NULL DEFAULT now(),
	heartbeat_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE gateway_instance IS 'running gateway processes; the jobs of a silent one are resolved by the others';
COMMENT ON COLUMN gateway_instance.id IS 'made at start; owner of leases';
COMMENT ON COLUMN gateway_instance.started_at IS 'when it started';
COMMENT ON COLUMN gateway_instance.heartbeat_at IS 'last sign of life';

CREATE TABLE job (
	id uuid PRIMARY KEY,
	account bigint NOT NULL REFERENCES account,
	api_key bigint REFERENCES api_key,
	version bigint NOT NULL REFERENCES model_version,
	author bigint NOT NULL REFERENCES account,
	policy text NOT NULL CHECK (policy IN ('none', 'signed')),
	background boolean NOT NULL,
	state text NOT NULL CHECK (state IN ('queued', 'running', 'produced', 'settled', 'failed', 'expired', 'cancelled')),
	outcome text CHECK ((outcome IS NOT NULL) = (state IN ('settled', 'failed', 'expired', 'cancelled'))),
	path text NOT NULL,
	content_type text NOT NULL,
	tensor_header_length text,
	request_hash hash32 NOT NULL,
	request_body bytea,
	input_units_max bigint NOT NULL,
	output_units_max bigint NOT NULL,
	royalty_input wei NOT NULL,
	royalty_output wei NOT NULL,
	ask_input_max wei NOT NULL,
	ask_output_max wei NOT NULL,
	fee_bps int NOT NULL,
	attempt int NOT NULL DEFAULT 0,
	lease uuid,
	deadline_at timestamptz NOT NULL,
	cancel_requested boolean NOT NULL DEFAULT false,
	created_at timestamptz NOT NULL DEFAULT now(),
	produced_at timestamptz,
	ended_at timestamptz,
	node address,
	operator bigint REFERENCES account,
	ask_input wei,
	ask_output wei,
	response_status int,
	response_type text,
	response_hash hash32,
	response_body bytea,
	receipt text,
	verdict text CHECK (verdict IN ('passed', 'failed', 'unverifiable')),
	verdict_report jsonb,
	input_units bigint,
	output_units bigint,
	charged wei,
	ask wei,
	royalty wei,
	fee wei,
	error text,
	CHECK (charged = ask + royalty + fee)
) WITH (fillfactor = 60);
COMMENT ON TABLE job IS 'one request for one inference';
COMMENT ON COLUMN job.id IS 'time-ordered uuid, in Opgate-Job';
COMMENT ON COLUMN job.account IS 'who pays';
COMMENT ON COLUMN job.api_key IS 'the key used, if any';
COMMENT ON COLUMN job.version IS 'which model version';
COMMENT ON COLUMN job.author IS 'who earns the royalty';
COMMENT ON COLUMN job.policy IS 'proof policy demanded';
COMMENT ON COLUMN job.background IS 'true: accepted by POST /v1/jobs and finished whatever becomes of the caller; false: lives with its connection';
COMMENT ON COLUMN job.state IS 'queued, running, produced, settled, or failed, expired, cancelled';
COMMENT ON COLUMN job.outcome IS 'row of the charging table that closed it';
COMMENT ON COLUMN job.path IS 'request path the node sees and hashes';
COMMENT ON COLUMN job.content_type IS 'request content type';
COMMENT ON COLUMN job.tensor_header_length IS 'Inference-Header-Content-Length, if sent';
COMMENT ON COLUMN job.request_hash IS 'requestHash of the receipt';
COMMENT ON COLUMN job.request_body IS 'kept for background jobs until they end, so that another attempt can be made';
COMMENT ON COLUMN job.input_units_max IS 'plausible bound: units above are cut';
COMMENT ON COLUMN job.output_units_max IS 'plausible bound: units above are cut';
COMMENT ON COLUMN job.royalty_input IS 'price as quoted';
COMMENT ON COLUMN job.royalty_output IS 'price as quoted';
COMMENT ON COLUMN job.ask_input_max IS 'dearest ask the hold covers';
COMMENT ON COLUMN job.ask_output_max IS 'dearest ask the hold covers';
COMMENT ON COLUMN job.fee_bps IS 'platform fee as quoted, 1/10000';
COMMENT ON COLUMN job.attempt IS 'fencing token: every later write names it';
COMMENT ON COLUMN job.lease IS 'gateway instance working on it';
COMMENT ON COLUMN job.deadline_at IS 'absolute end';
COMMENT ON COLUMN job.cancel_requested IS 'the owner asked to cancel';
COMMENT ON COLUMN job.created_at IS 'with the hold';
COMMENT ON COLUMN job.produced_at IS 'answer complete, not yet captured';
COMMENT ON COLUMN job.ended_at IS 'with the capture or void';
COMMENT ON COLUMN job.node IS 'node of the last attempt';
COMMENT ON COLUMN job.operator IS 'who earns the ask';
COMMENT ON COLUMN job.ask_input IS 'ask of that node';
COMMENT ON COLUMN job.ask_output IS 'ask of that node';
COMMENT ON COLUMN job.response_status IS 'HTTP status the node gave';
COMMENT ON COLUMN job.response_type IS 'content type of the answer';
COMMENT ON COLUMN job.response_hash IS 'responseHash as the gateway counted it';
COMMENT ON COLUMN job.response_body IS 'the answer, for background jobs and keyed requests';
COMMENT ON COLUMN job.receipt IS 'the receipt in its JSON form';
COMMENT ON COLUMN job.verdict IS 'finding on arrival';
COMMENT ON COLUMN job.verdict_report IS 'a line per check';
COMMENT ON COLUMN job.input_units IS 'units charged for';
COMMENT ON COLUMN job.output_units IS 'units charged for';
COMMENT ON COLUMN job.charged IS 'what the payer paid: ask + royalty + fee';
COMMENT ON COLUMN job.ask IS 'operator''s part';
COMMENT ON COLUMN job.royalty IS 'author''s part';
COMMENT ON COLUMN job.fee IS 'platform''s part';
COMMENT ON COLUMN job.error IS 'stable code of what went wrong';
CREATE INDEX job_account ON job (account, id);
COMMENT ON INDEX job_account IS 'GET /v1/jobs';
CREATE INDEX job_open ON job (state, created_at) WHERE state IN ('queued', 'running', 'produced');
COMMENT ON INDEX job_open IS 'the queue and the reaper';

CREATE TABLE job_attempt (
	job uuid NOT NULL REFERENCES job,
	attempt int NOT NULL,
	node address NOT NULL,
	started_at timestamptz NOT NULL DEFAULT now(),
	ended_at timestamptz,
	failure text,
	PRIMARY KEY (job, attempt)
);
COMMENT ON TABLE job_attempt IS 'which node was tried when';
COMMENT ON COLUMN job_attempt.job IS 'of which job';
COMMENT ON COLUMN job_attempt.attempt IS '1, 2, 3 …; named in ticket and receipt';
COMMENT ON COLUMN job_attempt.node IS 'who was asked';
COMMENT ON COLUMN job_attempt.started_at IS 'when';
COMMENT ON COLUMN job_attempt.ended_at IS 'when it failed';
COMMENT ON COLUMN job_attempt.failure IS 'why, NULL when it is the one that counts';

CREATE TABLE idempotency (
	account bigint NOT NULL REFERENCES account,
	route text NOT NULL,
	key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
	body_digest hash32 NOT NULL,
	job uuid NOT NULL,
	at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (account, route, key)
);
COMMENT ON TABLE idempotency IS 'Idempotency-Key of paid requests: written with the hold, so a key never runs two jobs';
COMMENT ON COLUMN idempotency.account IS 'whose key';
COMMENT ON COLUMN idempotency.route IS 'scope: the operation';
COMMENT ON COLUMN idempotency.key IS 'as sent';
COMMENT ON COLUMN idempotency.body_digest IS 'SHA-256 over what makes the request: another one under the same key is refused';
COMMENT ON COLUMN idempotency.job IS 'whose stored answer is replayed';
COMMENT ON COLUMN idempotency.at IS 'for the sweep, after 30 days';

-- Opens jobs: hold, job and idempotency key in one statement each, a status per item:
--   ok | key_revoked | insufficient | retry (only alone can tell) | key_exists
-- batch: array of objects, see db/jobs.c. Locks: available and held balances of the payers, by id.
-- A batch is small and the planner cannot know it: it would read whole tables (or whole indexes, to hash them) for a few rows, and
-- keep to that plan while they grow. So it is held to one look-up a row.
CREATE FUNCTION job_open(batch jsonb) RETURNS TABLE (ord bigint, status text) LANGUAGE plpgsql
	SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
	PERFORM FROM ledger_balance b
	WHERE b.account IN (SELECT (i->>'account')::bigint * 16 + k FROM jsonb_array_elements(batch) i, (VALUES (1), (2)) v(k))
	ORDER BY b.account FOR UPDATE;

	RETURN QUERY
	WITH item AS MATERIALIZED (
		SELECT t.o, t.i->>'id' AS jid, (t.i->>'account')::bigint AS account, (t.i->>'api_key')::bigint AS api_key, (t.i->>'hold')::numeric AS hold, t.i AS i
		FROM jsonb_array_elements(batch) WITH ORDINALITY t(i, o)
	), judged AS MATERIALIZED (
		SELECT item.*, CASE
			WHEN item.api_key IS NOT NULL AND NOT EXISTS (SELECT FROM api_key a WHERE a.id = item.api_key AND a.account = item.account
				AND a.revoked_at IS NULL AND (a.expires_at IS NULL OR a.expires_at > clock_timestamp())) THEN 'key_revoked'
			WHEN item.hold > b.amount THEN 'insufficient'
			WHEN sum(item.hold) OVER (PARTITION BY item.account ORDER BY item.o) > b.amount THEN 'retry'
			ELSE 'ok' END AS verdict
		FROM item JOIN ledger_balance b ON b.account = item.account * 16 + 1
	), keyed AS (
		INSERT INTO idempotency (account, route, key, body_digest, job)
		SELECT j.account, j.i->>'route', j.i->>'key', decode(j.i->>'body_digest', 'hex'), j.jid::uuid
		FROM judged j WHERE j.verdict = 'ok' AND j.i->>'key' IS NOT NULL
		ON CONFLICT (account, route, key) DO NOTHING RETURNING job
	), chosen AS MATERIALIZED (
		SELECT j.o, j.jid::uuid AS id, j.account, j.api_key, j.hold, j.i,
			CASE WHEN j.verdict = 'ok' AND j.i->>'key' IS NOT NULL AND NOT EXISTS (SELECT FROM keyed k WHERE k.job = j.jid::uuid)
				THEN 'key_exists' ELSE j.verdict END AS verdict
		FROM judged j
	), opened AS (
		INSERT INTO job (id, account, api_key, version, author, policy, background, state, path, content_type, tensor_header_length,
			request_hash, request_body, input_units_max, output_units_max, royalty_input, royalty_output, ask_input_max, ask_output_max,
			fee_bps, attempt, lease, deadline_at, node, operator, ask_input, ask_output)
		SELECT c.id, c.account, c.api_key, (i->>'version')::bigint, (i->>'author')::bigint, i->>'policy', (i->>'background')::boolean,
			i->>'state', i->>'path', i->>'content_type', i->>'tensor_header_length', decode(i->>'request_hash', 'hex'),
			decode(i->>'request_body', 'hex'), (i->>'input_units_max')::bigint, (i->>'output_units_max')::bigint,
			(i->>'royalty_input')::numeric, (i->>'royalty_output')::numeric, (i->>'ask_input_max')::numeric, (i->>'ask_output_max')::numeric,
			(i->>'fee_bps')::int, (i->>'attempt')::int, (i->>'lease')::uuid,
			clock_timestamp() + make_interval(secs => (i->>'timeout_ms')::bigint / 1000.0),
			decode(i->>'node', 'hex'), (i->>'operator')::bigint, (i->>'ask_input')::numeric, (i->>'ask_output')::numeric
		FROM chosen c WHERE verdict = 'ok' RETURNING id, account, attempt, node
	), attempted AS (
		INSERT INTO job_attempt (job, attempt, node) SELECT op.id, op.attempt, op.node FROM opened op WHERE op.attempt > 0
	), held AS (
		INSERT INTO hold (job, account, amount) SELECT c.id, c.account, c.hold FROM chosen c WHERE verdict = 'ok'
	), moved AS (
		INSERT INTO ledger_transfer (key, kind, job) SELECT 'hold:' || c.id, 'hold', c.id FROM chosen c WHERE verdict = 'ok' AND c.hold > 0
		RETURNING id, job
	), written AS (
		INSERT INTO ledger_entry (transfer, line, account, amount)
		SELECT m.id, l.line, c.account * 16 + l.line, CASE l.line WHEN 1 THEN -c.hold ELSE c.hold END
		FROM moved m JOIN chosen c ON c.id = m.job, (VALUES (1), (2)) l(line)
	)
	SELECT c.o, c.verdict FROM chosen c ORDER BY c.o;
END $$;

-- Closes jobs: capture or void, and the job's end, in one statement each; a status per item: ok | fenced.
-- An item names the state it expects (lease and attempt): whoever lost the lease changes nothing.
CREATE FUNCTION job_close(batch jsonb) RETURNS TABLE (ord bigint, status text) LANGUAGE plpgsql
	SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
	PERFORM FROM job j WHERE j.id IN (SELECT (i->>'id')::uuid FROM jsonb_array_elements(batch) i) ORDER BY j.id FOR UPDATE;
	PERFORM FROM ledger_balance b
	WHERE b.account IN (SELECT (i->>'account')::bigint * 16 + k FROM jsonb_array_elements(batch) i, (VALUES (1), (2)) v(k))
	ORDER BY b.account FOR UPDATE;

	RETURN QUERY
	WITH item AS MATERIALIZED (
		SELECT t.o, (t.i->>'id')::uuid AS id, t.i AS i,
			(t.i->>'ask')::numeric AS ask, (t.i->>'royalty')::numeric AS royalty, (t.i->>'fee')::numeric AS fee,
			(t.i->>'ask')::numeric + (t.i->>'royalty')::numeric + (t.i->>'fee')::numeric AS charged
		FROM jsonb_array_elements(batch) WITH ORDINALITY t(i, o)
	), live AS MATERIALIZED (
		SELECT item.*, j.account, j.author, coalesce((item.i->>'operator')::bigint, j.operator) AS operator
		FROM item JOIN job j ON j.id = item.id
		WHERE j.state IN ('queued', 'running', 'produced') AND j.lease IS NOT DISTINCT FROM (item.i->>'lease')::uuid
		  AND j.attempt = (item.i->>'attempt')::int
	), freed AS (
		UPDATE hold h SET state = CASE WHEN l.i->>'state' = 'settled' THEN 'captured' ELSE 'voided' END, captured = l.charged,
			closed_at = clock_timestamp()
		FROM live l WHERE h.job = l.id AND coalesce(h.state, '') = 'open' -- coalesce: by the job's id, never through all open holds
		RETURNING h.job, h.amount
	), ended AS (
		UPDATE job j SET state = l.i->>'state', outcome = l.i->>'outcome', ended_at = clock_timestamp(), lease = NULL, request_body = NULL,
			operator = l.operator, ask = l.ask, royalty = l.royalty, fee = l.fee, charged = l.charged,
			response_status = coalesce((l.i->>'response_status')::int, j.response_status), response_type = coalesce(l.i->>'response_type', j.response_type),
			response_hash = coalesce(decode(l.i->>'response_hash', 'hex'), j.response_hash),
			response_body = coalesce(decode(l.i->>'response_body', 'hex'), j.response_body),
			receipt = coalesce(l.i->>'receipt', j.receipt), verdict = coalesce(l.i->>'verdict', j.verdict),
			verdict_report = coalesce(l.i->'verdict_report', j.verdict_report),
			input_units = coalesce((l.i->>'input_units')::bigint, j.input_units), output_units = coalesce((l.i->>'output_units')::bigint, j.output_units),
			error = l.i->>'error'
		FROM live l WHERE j.id = l.id RETURNING j.id
	), moved AS (
		INSERT INTO ledger_transfer (key, kind, job)
		SELECT 'close:' || f.job, CASE WHEN l.i->>'state' = 'settled' THEN 'capture' ELSE 'void' END, f.job
		FROM freed f JOIN live l ON l.id = f.job WHERE f.amount > 0 RETURNING id, job
	), written AS (
		INSERT INTO ledger_entry (transfer, line, account, amount)
		SELECT m.id, p.line, p.account, p.amount
		FROM moved m JOIN freed f ON f.job = m.job JOIN live l ON l.id = m.job,
		LATERAL (VALUES (1, l.account * 16 + 2, -f.amount), (2, l.account * 16 + 1, f.amount - l.charged),
			(3, l.operator * 16 + 4, l.ask), (4, l.author * 16 + 3, l.royalty), (5, 9::bigint, l.fee)) p(line, account, amount)
		WHERE p.amount <> 0
	)
	-- By the item, not by its job: one that lost the lease can stand in the same batch as the one that ends the job.
	SELECT item.o, CASE WHEN item.o IN (SELECT l.o FROM live l) THEN 'ok' ELSE 'fenced' END FROM item ORDER BY item.o;
END $$;
