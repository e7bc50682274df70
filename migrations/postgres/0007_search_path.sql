-- A temporary table is found before any other of its name, unless the search path says otherwise, and everybody may make
-- one: a guard that looks at `credit_checkpoints` would look at the caller's. So guards name the schema of their table.

CREATE OR REPLACE FUNCTION {s}credit_entry_is_archived() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stays boolean;
BEGIN
    -- `gone` is the trigger's own: no table of that name is found before it.
    EXECUTE format('SELECT EXISTS (SELECT 1 FROM gone LEFT JOIN %1$I.credit_checkpoints c
                ON c.user_id = gone.user_id AND c.seq >= gone.seq WHERE c.user_id IS NULL)
            OR EXISTS (SELECT 1 FROM gone JOIN %1$I.credit_kept_entries k USING (user_id, seq))', TG_TABLE_SCHEMA) INTO stays;
    IF stays THEN
        RAISE EXCEPTION 'the journal %.% is append-only: DELETE refused', TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation', HINT = 'Old entries leave it with cleanup_transactions.';
    END IF;
    RETURN NULL;
END
$$;

-- This one names its table already; what it calls is to be PostgreSQL's own as well.
ALTER FUNCTION {s}credit_catalogue_has_changed() SET search_path = pg_catalog, pg_temp;
