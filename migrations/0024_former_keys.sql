-- Settling keys that were replaced: whoever looks after what one of them sent has it for that long and no longer.

CREATE FUNCTION settler_release(whose text) RETURNS boolean LANGUAGE sql AS $$
	SELECT pg_advisory_unlock(hashtextextended('settler:' || whose, 0));
$$;
COMMENT ON FUNCTION settler_release IS 'the lock that settler_own took, once';
