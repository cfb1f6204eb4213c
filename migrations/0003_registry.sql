-- Models, their immutable versions, and the files of each.

CREATE TABLE model (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	author bigint NOT NULL REFERENCES account,
	name text NOT NULL CHECK (name ~ '^[a-zA-Z0-9][a-zA-Z0-9._-]{0,95}$'),
	title text NOT NULL DEFAULT '' CHECK (length(title) <= 200),
	description text NOT NULL DEFAULT '' CHECK (length(description) <= 20000),
	last_number int NOT NULL DEFAULT 0,
	created_at timestamptz NOT NULL DEFAULT now(),
	UNIQUE (author, name)
);
COMMENT ON TABLE model IS 'a published thing, author/name; has versions';
COMMENT ON COLUMN model.id IS 'internal key';
COMMENT ON COLUMN model.author IS 'who owns it and earns its royalty';
COMMENT ON COLUMN model.name IS 'second half of author/name';
COMMENT ON COLUMN model.title IS 'for people';
COMMENT ON COLUMN model.description IS 'for people, Markdown';
COMMENT ON COLUMN model.last_number IS 'number of the newest version, so that two drafts made at once get different ones';
COMMENT ON COLUMN model.created_at IS 'when it was created';

CREATE TABLE model_version (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	model bigint NOT NULL REFERENCES model,
	number int NOT NULL CHECK (number > 0),
	surface text NOT NULL CHECK (surface IN ('tensor', 'chat')),
	royalty_input wei NOT NULL,
	royalty_output wei NOT NULL,
	max_output_units bigint NOT NULL CHECK (max_output_units BETWEEN 0 AND 1000000),
	digest hash32 UNIQUE,
	manifest text,
	created_at timestamptz NOT NULL DEFAULT now(),
	published_at timestamptz,
	UNIQUE (model, number),
	CHECK ((published_at IS NULL) = (digest IS NULL) AND (digest IS NULL) = (manifest IS NULL))
);
COMMENT ON TABLE model_version IS 'one version of a model; immutable once published';
COMMENT ON COLUMN model_version.id IS 'internal key';
COMMENT ON COLUMN model_version.model IS 'of which model';
COMMENT ON COLUMN model_version.number IS '1, 2, 3 …';
COMMENT ON COLUMN model_version.surface IS 'tensor: Open Inference Protocol v2; chat: OpenAI chat completions';
COMMENT ON COLUMN model_version.royalty_input IS 'author''s price per input unit (token; for tensors one call)';
COMMENT ON COLUMN model_version.royalty_output IS 'author''s price per output unit (token; tensors have none)';
COMMENT ON COLUMN model_version.max_output_units IS 'bound of the hold when the caller names no max_tokens';
COMMENT ON COLUMN model_version.digest IS 'SHA-256 of the manifest; NULL while a draft';
COMMENT ON COLUMN model_version.manifest IS 'one line per file: sha256 size path, sorted by path';
COMMENT ON COLUMN model_version.created_at IS 'when the draft was made';
COMMENT ON COLUMN model_version.published_at IS 'immutable from then on';

CREATE TABLE version_file (
	version bigint NOT NULL REFERENCES model_version,
	path text NOT NULL CHECK (length(path) BETWEEN 1 AND 255),
	sha256 hash32 NOT NULL,
	size bigint NOT NULL CHECK (size >= 0),
	PRIMARY KEY (version, path)
);
COMMENT ON TABLE version_file IS 'the files of a version; contents live in the blob store under their digest';
COMMENT ON COLUMN version_file.version IS 'of which version';
COMMENT ON COLUMN version_file.path IS 'relative path in the manifest';
COMMENT ON COLUMN version_file.sha256 IS 'digest of the contents';
COMMENT ON COLUMN version_file.size IS 'bytes';

CREATE FUNCTION version_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	published timestamptz;
BEGIN
	IF TG_TABLE_NAME = 'model_version' THEN
		published := OLD.published_at;
	ELSE
		-- the row lock waits for a publication under way, and then sees it: no file slips in behind the manifest
		SELECT v.published_at INTO published FROM model_version v
			WHERE v.id = CASE WHEN TG_OP = 'INSERT' THEN NEW.version ELSE OLD.version END FOR SHARE;
		IF TG_OP = 'UPDATE' THEN
			IF NEW.version <> OLD.version THEN
				RAISE EXCEPTION 'a file stays in its version' USING ERRCODE = 'OG409';
			END IF;
		END IF;
	END IF;
	IF published IS NOT NULL THEN
		RAISE EXCEPTION 'a published version is immutable' USING ERRCODE = 'OG409';
	END IF;
	RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;
COMMENT ON FUNCTION version_is_immutable IS 'refuses every change of a published version and its files';
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON model_version FOR EACH ROW EXECUTE FUNCTION version_is_immutable();
CREATE TRIGGER immutable BEFORE INSERT OR UPDATE OR DELETE ON version_file FOR EACH ROW EXECUTE FUNCTION version_is_immutable();
CREATE INDEX model_version_published ON model_version (model, number DESC) WHERE published_at IS NOT NULL;
COMMENT ON INDEX model_version_published IS 'the newest published version of a model';
