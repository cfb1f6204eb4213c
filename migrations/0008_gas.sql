-- Gas that we spend for others: how much of it is set aside, for whom, on which day.

CREATE TABLE gas_day (
	day date NOT NULL,
	purpose text NOT NULL,
	wei wei NOT NULL,
	PRIMARY KEY (day, purpose)
);
COMMENT ON TABLE gas_day IS 'gas set aside on one day for one purpose, for everybody together';
COMMENT ON COLUMN gas_day.day IS 'UTC day of the reservation, not of the use';
COMMENT ON COLUMN gas_day.purpose IS 'what it is spent on';
COMMENT ON COLUMN gas_day.wei IS 'wei of the chain''s coin: what was used, and for what is still reserved the whole reservation';

CREATE TABLE gas_subject_day (
	day date NOT NULL,
	purpose text NOT NULL,
	subject address NOT NULL,
	wei wei NOT NULL,
	PRIMARY KEY (day, purpose, subject)
);
COMMENT ON TABLE gas_subject_day IS 'gas set aside on one day for one purpose and one address';
COMMENT ON COLUMN gas_subject_day.day IS 'UTC day of the reservation, not of the use';
COMMENT ON COLUMN gas_subject_day.purpose IS 'what it is spent on';
COMMENT ON COLUMN gas_subject_day.subject IS 'for whom';
COMMENT ON COLUMN gas_subject_day.wei IS 'as in gas_day: these add up to that';

CREATE TABLE gas_reservation (
	id uuid PRIMARY KEY,
	day date NOT NULL,
	purpose text NOT NULL,
	subject address NOT NULL,
	reserved wei NOT NULL,
	used wei,
	reserved_at timestamptz NOT NULL DEFAULT now(),
	settled_at timestamptz,
	CHECK ((used IS NULL) = (settled_at IS NULL))
);
COMMENT ON TABLE gas_reservation IS 'one row for each intended use of gas, written before anything is sent: what dies in between stays reserved';
COMMENT ON COLUMN gas_reservation.id IS 'chosen by who reserves, so that asking twice reserves once';
COMMENT ON COLUMN gas_reservation.day IS 'which day''s budget';
COMMENT ON COLUMN gas_reservation.purpose IS 'what it is spent on';
COMMENT ON COLUMN gas_reservation.subject IS 'for whom';
COMMENT ON COLUMN gas_reservation.reserved IS 'the most it can cost';
COMMENT ON COLUMN gas_reservation.used IS 'what it cost; absent: not known yet, all of it counts';
COMMENT ON COLUMN gas_reservation.reserved_at IS 'when it was set aside';
COMMENT ON COLUMN gas_reservation.settled_at IS 'when what it cost was known';

-- true: set aside (also when it was before, under this id). false: refused, and nothing changed. Everybody who reserves for a purpose
-- takes the row of the day first, so the sums are looked at one after the other and no two reservations share the last of a budget.
CREATE FUNCTION gas_reserve(which uuid, why text, whom bytea, amount numeric, subject_max numeric, all_max numeric) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
	of_all numeric;
	of_subject numeric;
	before gas_reservation;
BEGIN
	INSERT INTO gas_day VALUES (today, why, 0) ON CONFLICT DO NOTHING;
	SELECT g.wei INTO of_all FROM gas_day g WHERE g.day = today AND g.purpose = why FOR UPDATE;
	SELECT * INTO before FROM gas_reservation r WHERE r.id = which;
	IF FOUND THEN
		IF (before.purpose, before.subject::bytea, before.reserved::numeric) IS DISTINCT FROM (why, whom, amount) THEN
			RAISE EXCEPTION 'gas reservation % was made for something else', which USING ERRCODE = 'OG409';
		END IF;
		RETURN true;
	END IF;
	SELECT coalesce(sum(s.wei), 0) INTO of_subject FROM gas_subject_day s WHERE s.day = today AND s.purpose = why AND s.subject = whom;
	IF of_all + amount > all_max OR of_subject + amount > subject_max THEN
		RETURN false;
	END IF;
	INSERT INTO gas_reservation (id, day, purpose, subject, reserved) VALUES (which, today, why, whom, amount);
	UPDATE gas_day g SET wei = g.wei + amount WHERE g.day = today AND g.purpose = why;
	INSERT INTO gas_subject_day AS s VALUES (today, why, whom, amount) ON CONFLICT (day, purpose, subject) DO UPDATE SET wei = s.wei + amount;
	RETURN true;
END $$;

-- What it cost replaces what was reserved, in the budget of the day it was reserved on. Once: later calls change nothing.
CREATE FUNCTION gas_settle(which uuid, cost numeric) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	r gas_reservation;
BEGIN
	SELECT * INTO r FROM gas_reservation x WHERE x.id = which;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'gas reservation % is unknown', which USING ERRCODE = 'OG404';
	END IF;
	PERFORM FROM gas_day g WHERE g.day = r.day AND g.purpose = r.purpose FOR UPDATE;
	UPDATE gas_reservation x SET used = cost, settled_at = clock_timestamp() WHERE x.id = which AND x.used IS NULL;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	UPDATE gas_day g SET wei = g.wei - r.reserved + cost WHERE g.day = r.day AND g.purpose = r.purpose;
	UPDATE gas_subject_day s SET wei = s.wei - r.reserved + cost WHERE s.day = r.day AND s.purpose = r.purpose AND s.subject = r.subject;
END $$;
