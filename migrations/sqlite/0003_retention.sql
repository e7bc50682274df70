-- Retention: old entries and consumptions leave the database through an archive, and through nothing else.

-- What an account was at the last entry that left: from here its journal goes on.
CREATE TABLE credit_checkpoints (
    user_id    BLOB NOT NULL PRIMARY KEY CHECK (length(user_id) = 16),
    seq        INTEGER NOT NULL CHECK (seq BETWEEN 1 AND 9007199254740991),
    hash       BLOB NOT NULL CHECK (length(hash) = 32),
    -- The figures, what was left in its lots, and the holds that were pending, as JSON text.
    data       TEXT NOT NULL CHECK (json_valid(data)),
    -- When that entry was written.
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Entries up to a checkpoint that stayed, because they are an order's; and the hash of the one before, which left.
CREATE TABLE credit_kept_entries (
    user_id       BLOB NOT NULL CHECK (length(user_id) = 16),
    seq           INTEGER NOT NULL CHECK (seq BETWEEN 1 AND 9007199254740991),
    previous_hash BLOB NOT NULL CHECK (length(previous_hash) = 32),
    PRIMARY KEY (user_id, seq)
) STRICT, WITHOUT ROWID;

-- What the entries that left had booked on each counter-account: a number as text, which can pass 2^63.
CREATE TABLE credit_archived_sums (
    counter_account TEXT NOT NULL PRIMARY KEY,
    amount          TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The files of the archive.
CREATE TABLE credit_archives (
    name       TEXT NOT NULL PRIMARY KEY CHECK (name <> ''),
    kind       TEXT NOT NULL CHECK (kind IN ('transactions', 'consumptions')),
    -- Everything in it is older.
    older_than INTEGER NOT NULL,
    lines      INTEGER NOT NULL CHECK (lines > 0),
    bytes      INTEGER NOT NULL CHECK (bytes > 0),
    sha256     BLOB NOT NULL CHECK (length(sha256) = 32),
    created_at INTEGER NOT NULL,
    -- When everything in it had left the database; until then the next clean-up goes on with it.
    removed_at INTEGER
) STRICT;

-- The door of the journal: an entry leaves once its account's checkpoint has passed it, unless it is to stay.
DROP TRIGGER credit_transactions_no_delete;
CREATE TRIGGER credit_transactions_no_delete BEFORE DELETE ON credit_transactions
WHEN NOT EXISTS (SELECT 1 FROM credit_checkpoints WHERE user_id = OLD.user_id AND seq >= OLD.seq)
    OR EXISTS (SELECT 1 FROM credit_kept_entries WHERE user_id = OLD.user_id AND seq = OLD.seq)
BEGIN
    SELECT RAISE(ABORT, 'the journal credit_transactions is append-only: DELETE refused; old entries leave it with cleanup_transactions');
END;

CREATE TRIGGER credit_checkpoints_forward BEFORE UPDATE ON credit_checkpoints
WHEN NEW.user_id <> OLD.user_id OR NEW.seq <= OLD.seq BEGIN
    SELECT RAISE(ABORT, 'credit_checkpoints says what has left the journal: UPDATE refused');
END;
CREATE TRIGGER credit_checkpoints_no_delete BEFORE DELETE ON credit_checkpoints BEGIN
    SELECT RAISE(ABORT, 'credit_checkpoints says what has left the journal: DELETE refused');
END;
-- REPLACE deletes rows without telling the trigger above.
CREATE TRIGGER credit_checkpoints_no_replace BEFORE INSERT ON credit_checkpoints
WHEN EXISTS (SELECT 1 FROM credit_checkpoints WHERE user_id = NEW.user_id) BEGIN
    SELECT RAISE(ABORT, 'credit_checkpoints says what has left the journal: there is such a row already');
END;
CREATE TRIGGER credit_kept_entries_no_update BEFORE UPDATE ON credit_kept_entries BEGIN
    SELECT RAISE(ABORT, 'credit_kept_entries says what has stayed in the journal: UPDATE refused');
END;
CREATE TRIGGER credit_kept_entries_no_delete BEFORE DELETE ON credit_kept_entries BEGIN
    SELECT RAISE(ABORT, 'credit_kept_entries says what has stayed in the journal: DELETE refused');
END;
CREATE TRIGGER credit_kept_entries_no_replace BEFORE INSERT ON credit_kept_entries
WHEN EXISTS (SELECT 1 FROM credit_kept_entries WHERE user_id = NEW.user_id AND seq = NEW.seq) BEGIN
    SELECT RAISE(ABORT, 'credit_kept_entries says what has stayed in the journal: there is such a row already');
END;
CREATE TRIGGER credit_archives_no_delete BEFORE DELETE ON credit_archives BEGIN
    SELECT RAISE(ABORT, 'credit_archives says what has left the database: DELETE refused');
END;
CREATE TRIGGER credit_archives_no_replace BEFORE INSERT ON credit_archives
WHEN EXISTS (SELECT 1 FROM credit_archives WHERE name = NEW.name) BEGIN
    SELECT RAISE(ABORT, 'credit_archives says what has left the database: there is such a file already');
END;
