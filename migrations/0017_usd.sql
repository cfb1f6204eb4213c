-- Prices in US dollars. A royalty or an ask is in OPG or in USD, in whole numbers of 10^-18 of its currency; what is in USD becomes OPG when it
-- is read, by the rate below. A job and a sealed quote keep the OPG prices they were made with: that locks the rate.

CREATE DOMAIN currency AS text CHECK (VALUE IN ('OPG', 'USD'));

ALTER TABLE model_version ADD COLUMN currency currency NOT NULL DEFAULT 'OPG';
COMMENT ON COLUMN model_version.currency IS 'of its royalty';
ALTER TABLE offer ADD COLUMN currency currency NOT NULL DEFAULT 'OPG';
COMMENT ON COLUMN offer.currency IS 'of its asks';

CREATE TABLE usd_rate (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	value wei NOT NULL CHECK (value > 0),
	at timestamptz NOT NULL,
	good_until timestamptz NOT NULL
);
COMMENT ON TABLE usd_rate IS 'what one OPG is worth; one row, the newest';
COMMENT ON COLUMN usd_rate.one IS 'there is only one';
COMMENT ON COLUMN usd_rate.value IS '10^-18 USD for one OPG';
COMMENT ON COLUMN usd_rate.at IS 'when it was found';
COMMENT ON COLUMN usd_rate.good_until IS 'nothing is sold by it any more from then on';

-- Accepts a rate, unless it jumps: while the last one is still good, a new one may differ from it by at most jump_bps. A jump that lasts is
-- accepted when the last rate has run out; until then nothing that is priced in USD is sold by a rate that may be a mistake or a trick.
CREATE FUNCTION usd_rate_set(new_value numeric, max_age_ms bigint, jump_bps bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	r usd_rate;
BEGIN
	SELECT * INTO r FROM usd_rate FOR UPDATE;
	IF FOUND AND r.good_until > clock_timestamp() AND abs(new_value - r.value) * 10000 > r.value::numeric * jump_bps THEN
		RETURN false;
	END IF;
	INSERT INTO usd_rate (value, at, good_until) VALUES (new_value, clock_timestamp(), clock_timestamp() + max_age_ms * interval '1 millisecond')
	ON CONFLICT (one) DO UPDATE SET value = EXCLUDED.value, at = EXCLUDED.at, good_until = EXCLUDED.good_until;
	RETURN true;
END $$;

CREATE FUNCTION opg_of_usd(sum numeric) RETURNS numeric LANGUAGE sql STABLE AS $$
	SELECT CASE WHEN x.opg <= 170141183460469231731687303715884105727 THEN x.opg END
	FROM usd_rate r, LATERAL (SELECT div(sum * 1000000000000000000 + r.value::numeric - 1, r.value::numeric) AS opg) x
	WHERE r.good_until > clock_timestamp()
$$;

-- A sum in base units of OPG, rounded up; NULL while there is no good rate, or when it is past what an amount can be. No query of its own:
-- so it becomes part of the query that asks.
CREATE FUNCTION opg_of(of_currency text, sum numeric) RETURNS numeric LANGUAGE sql STABLE AS $$
	SELECT CASE WHEN of_currency = 'OPG' THEN sum ELSE opg_of_usd(sum) END
$$;
