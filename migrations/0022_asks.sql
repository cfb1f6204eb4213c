-- What nodes asked before, so that what was promised at a price is done by those who asked it, and by nobody else.

ALTER TABLE offer ADD COLUMN before_currency currency, ADD COLUMN before_input wei, ADD COLUMN before_output wei, ADD COLUMN before_until timestamptz;
COMMENT ON COLUMN offer.before_currency IS 'of the ask before this one';
COMMENT ON COLUMN offer.before_input IS 'the ask before this one';
COMMENT ON COLUMN offer.before_output IS 'the ask before this one';
COMMENT ON COLUMN offer.before_until IS 'how long that one was offered';

-- An offer that was withdrawn and comes back was last offered when it was withdrawn.
CREATE FUNCTION offer_keep_ask() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.before_currency := OLD.currency;
	NEW.before_input := OLD.ask_input;
	NEW.before_output := OLD.ask_output;
	NEW.before_until := CASE OLD.state WHEN 'ready' THEN clock_timestamp() ELSE OLD.updated_at END;
	RETURN NEW;
END $$;
CREATE TRIGGER offer_keeps_ask BEFORE UPDATE ON offer FOR EACH ROW
	WHEN ((OLD.currency, OLD.ask_input, OLD.ask_output) IS DISTINCT FROM (NEW.currency, NEW.ask_input, NEW.ask_output)) EXECUTE FUNCTION offer_keep_ask();

CREATE TABLE usd_rate_past (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	value wei NOT NULL CHECK (value > 0),
	at timestamptz NOT NULL,
	until timestamptz NOT NULL
);
COMMENT ON TABLE usd_rate_past IS 'the rates before the newest: what was promised by one of them is done by it';
COMMENT ON COLUMN usd_rate_past.id IS 'internal key';
COMMENT ON COLUMN usd_rate_past.value IS '10^-18 USD for one OPG';
COMMENT ON COLUMN usd_rate_past.at IS 'when it was found';
COMMENT ON COLUMN usd_rate_past.until IS 'until when it was sold by; a week later it goes';
CREATE INDEX usd_rate_past_until ON usd_rate_past (until);
COMMENT ON INDEX usd_rate_past_until IS 'the rates of a time';

CREATE FUNCTION usd_rate_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO usd_rate_past (value, at, until) VALUES (OLD.value, OLD.at, least(OLD.good_until, clock_timestamp()));
	DELETE FROM usd_rate_past WHERE until < clock_timestamp() - interval '7 days';
	RETURN NULL;
END $$;
CREATE TRIGGER usd_rate_keeps AFTER UPDATE ON usd_rate FOR EACH ROW EXECUTE FUNCTION usd_rate_keep();

-- As opg_of, at this rate.
CREATE FUNCTION opg_at(of_currency text, sum numeric, rate numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN of_currency = 'OPG' THEN sum ELSE div(sum * 1000000000000000000 + rate - 1, rate) END
$$;

-- The most that a node asked itself in OPG and that is within these bounds: by any rate of that time, and, if `changed`, by the ask before
-- this one, when it was still offered then. No row: it never asked so little.
CREATE FUNCTION offer_asked(which_node bytea, which_version bigint, since timestamptz, upto timestamptz, changed boolean, most_input numeric, most_output numeric)
	RETURNS TABLE (input numeric, output numeric) LANGUAGE sql STABLE AS $$
	SELECT p.input, p.output
	FROM offer o
	CROSS JOIN LATERAL (SELECT o.currency::text AS currency, o.ask_input::numeric AS one_input, o.ask_output::numeric AS one_output
	                    UNION ALL SELECT o.before_currency::text, o.before_input::numeric, o.before_output::numeric WHERE changed AND o.before_until > since) a
	LEFT JOIN (SELECT value::numeric, at FROM usd_rate_past WHERE until >= since UNION ALL SELECT value::numeric, at FROM usd_rate WHERE good_until >= since) rate
		ON a.currency = 'USD' AND rate.at <= upto
	CROSS JOIN LATERAL (SELECT opg_at(a.currency, a.one_input, rate.value) AS input, opg_at(a.currency, a.one_output, rate.value) AS output) p
	WHERE o.node = which_node AND o.version = which_version AND p.input <= most_input AND p.output <= most_output
	ORDER BY p.input + p.output DESC LIMIT 1
$$;
