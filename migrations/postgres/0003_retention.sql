-- Retention: old entries and consumptions leave the database through an archive, and through nothing else.

-- What an account was at the last entry that left: from here its journal goes on.
CREATE TABLE {s}credit_checkpoints (
    user_id    uuid PRIMARY KEY,
    seq        {s}credit_ledger_positive NOT NULL,
    hash       {s}credit_ledger_hash NOT NULL,
    -- The figures, what was left in its lots, and the holds that were pending, as JSON text.
    data       text NOT NULL,
    -- When that entry was written.
    created_at timestamptz NOT NULL
);

-- Entries up to a checkpoint that stayed, because they are an order's; and the hash of the one before, which left.
CREATE TABLE {s}credit_kept_entries (
    user_id       uuid NOT NULL,
    seq           {s}credit_ledger_positive NOT NULL,
    previous_hash {s}credit_ledger_hash NOT NULL,
    PRIMARY KEY (user_id, seq)
);

-- What the entries that left had booked on each counter-account.
CREATE TABLE {s}credit_archived_sums (
    counter_account text PRIMARY KEY,
    amount          numeric NOT NULL
);

-- The files of the archive.
CREATE TABLE {s}credit_archives (
    name       text PRIMARY KEY CHECK (name <> ''),
    kind       text NOT NULL CHECK (kind IN ('transactions', 'consumptions')),
    -- Everything in it is older.
    older_than timestamptz NOT NULL,
    lines      bigint NOT NULL CHECK (lines > 0),
    bytes      bigint NOT NULL CHECK (bytes > 0),
    sha256     {s}credit_ledger_hash NOT NULL,
    created_at timestamptz NOT NULL,
    -- When everything in it had left the database; until then the next clean-up goes on with it.
    removed_at timestamptz
);

-- When a consumption last changed is told by the ledger's clock: clean-ups go by it. The trigger is for other writers.
DROP TRIGGER update_credit_consumption_logs_updated_at ON {s}credit_consumption_logs;
CREATE TRIGGER update_credit_consumption_logs_updated_at BEFORE UPDATE ON {s}credit_consumption_logs
    FOR EACH ROW WHEN (NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at)
    EXECUTE FUNCTION {s}update_updated_at_column();

-- The door of the journal: an entry leaves once its account's checkpoint has passed it, unless it is to stay.
CREATE FUNCTION {s}credit_entry_is_archived() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM gone LEFT JOIN {s}credit_checkpoints c ON c.user_id = gone.user_id AND c.seq >= gone.seq
            WHERE c.user_id IS NULL)
        OR EXISTS (SELECT 1 FROM gone JOIN {s}credit_kept_entries k USING (user_id, seq)) THEN
        RAISE EXCEPTION 'the journal %.% is append-only: DELETE refused', TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation', HINT = 'Old entries leave it with cleanup_transactions.';
    END IF;
    RETURN NULL;
END
$$;
DROP TRIGGER credit_transactions_append_only ON {s}credit_transactions;
CREATE TRIGGER credit_transactions_append_only BEFORE UPDATE ON {s}credit_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION {s}credit_journal_is_append_only();
CREATE TRIGGER credit_transactions_archived AFTER DELETE ON {s}credit_transactions
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION {s}credit_entry_is_archived();

CREATE FUNCTION {s}credit_checkpoint_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% says what has left the journal: % refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER credit_checkpoints_forward BEFORE UPDATE ON {s}credit_checkpoints FOR EACH ROW
    WHEN (NEW.user_id <> OLD.user_id OR NEW.seq <= OLD.seq) EXECUTE FUNCTION {s}credit_checkpoint_is_kept();
CREATE TRIGGER credit_checkpoints_kept BEFORE DELETE OR TRUNCATE ON {s}credit_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION {s}credit_checkpoint_is_kept();
CREATE TRIGGER credit_kept_entries_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON {s}credit_kept_entries
    FOR EACH STATEMENT EXECUTE FUNCTION {s}credit_checkpoint_is_kept();
CREATE TRIGGER credit_archives_kept BEFORE DELETE OR TRUNCATE ON {s}credit_archives
    FOR EACH STATEMENT EXECUTE FUNCTION {s}credit_checkpoint_is_kept();
