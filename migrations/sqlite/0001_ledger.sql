-- The ledger. The twin of migrations/postgres/0001_ledger.sql: same tables, same columns, same checks.
-- Ids are 16 bytes, times are microseconds since 1970-01-01T00:00:00Z, booleans are 0 and 1, money is in minor units.
-- Functions and clauses are those of SQLite 3.37 (STRICT), so that older tools than ours can open the file too.
-- There are no foreign keys, as in PostgreSQL; `verify` finds orphans.
-- CHECKs spell lists as CASE: for IN, SQLite builds and drops a table of the list with every statement.

-- WITHOUT ROWID where every row is found by its key and is small: one b-tree instead of a table and its index.
CREATE TABLE credit_accounts (
    user_id            BLOB NOT NULL PRIMARY KEY CHECK (length(user_id) = 16),
    seq                INTEGER NOT NULL CHECK (seq BETWEEN 1 AND 9007199254740991),
    hash               BLOB NOT NULL CHECK (length(hash) = 32),
    available          INTEGER NOT NULL CHECK (available BETWEEN -9007199254740991 AND 9007199254740991),
    held               INTEGER NOT NULL CHECK (held BETWEEN 0 AND 9007199254740991),
    debt               INTEGER NOT NULL CHECK (debt BETWEEN 0 AND 9007199254740991),
    borrowed           INTEGER NOT NULL CHECK (borrowed BETWEEN 0 AND debt),
    credit_limit       INTEGER NOT NULL CHECK (credit_limit BETWEEN 0 AND 9007199254740991),
    granted            INTEGER NOT NULL CHECK (granted BETWEEN 0 AND 9007199254740991),
    spent              INTEGER NOT NULL CHECK (spent BETWEEN 0 AND 9007199254740991),
    next_hold_deadline INTEGER,
    next_lot_deadline  INTEGER,
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    CHECK (available >= -debt)
) STRICT, WITHOUT ROWID;
-- expire_pending: accounts whose holds are due.
CREATE INDEX credit_accounts_hold_deadline ON credit_accounts (next_hold_deadline, user_id)
    WHERE next_hold_deadline IS NOT NULL;
-- expire_lots: accounts whose lots are due.
CREATE INDEX credit_accounts_lot_deadline ON credit_accounts (next_lot_deadline, user_id)
    WHERE next_lot_deadline IS NOT NULL;

CREATE TABLE credit_lots (
    user_id       BLOB NOT NULL CHECK (length(user_id) = 16),
    lot_id        BLOB NOT NULL CHECK (length(lot_id) = 16),
    source        TEXT NOT NULL CHECK (CASE source WHEN 'purchase' THEN 1 WHEN 'bonus' THEN 1 WHEN 'gift' THEN 1
        WHEN 'subscription' THEN 1 WHEN 'adjustment' THEN 1 WHEN 'reversal' THEN 1 WHEN 'opening' THEN 1
        ELSE 0 END),
    amount        INTEGER NOT NULL CHECK (amount BETWEEN 1 AND 9007199254740991),
    remaining     INTEGER NOT NULL CHECK (remaining BETWEEN 0 AND 9007199254740991),
    expired       INTEGER NOT NULL CHECK (expired BETWEEN 0 AND 9007199254740991),
    clawed        INTEGER NOT NULL CHECK (clawed BETWEEN 0 AND 9007199254740991),
    claim         INTEGER NOT NULL CHECK (claim BETWEEN 0 AND 9007199254740991),
    -- Repeats `remaining > 0`: as the index's predicate it changes when a lot empties, and not with every use.
    open          INTEGER NOT NULL CHECK (open = (remaining > 0)),
    priority      INTEGER NOT NULL CHECK (priority BETWEEN -2147483648 AND 2147483647),
    expires_at    INTEGER,
    cost_minor    INTEGER CHECK (cost_minor BETWEEN 0 AND 9007199254740991),
    cost_currency TEXT CHECK (cost_currency GLOB '[A-Z][A-Z][A-Z]'),
    reference     TEXT CHECK (length(CAST(reference AS BLOB)) <= 255),
    origin        BLOB CHECK (length(origin) = 16),
    created_at    INTEGER NOT NULL,
    PRIMARY KEY (user_id, lot_id),
    CHECK (remaining + expired <= amount),
    CHECK (claim <= amount),
    CHECK ((cost_minor IS NULL) = (cost_currency IS NULL))
) STRICT, WITHOUT ROWID;
-- Every command and balance: the lots of an account that have something left.
CREATE INDEX credit_lots_open ON credit_lots (user_id) WHERE open = 1;

CREATE TABLE credit_consumption_logs (
    consumption_id BLOB NOT NULL CHECK (length(consumption_id) = 16),
    user_id        BLOB NOT NULL CHECK (length(user_id) = 16),
    status         TEXT NOT NULL CHECK (CASE status WHEN 'pending' THEN 1 WHEN 'confirmed' THEN 1
        WHEN 'refunded' THEN 1 WHEN 'expired' THEN 1 ELSE 0 END),
    amount         INTEGER NOT NULL CHECK (amount BETWEEN 0 AND 9007199254740991),
    captured       INTEGER NOT NULL CHECK (captured BETWEEN 0 AND 9007199254740991),
    reversed       INTEGER NOT NULL CHECK (reversed BETWEEN 0 AND captured),
    borrowed       INTEGER NOT NULL CHECK (borrowed BETWEEN 0 AND 9007199254740991),
    -- Which lots the credits came from, and how many from each: a JSON array of [id, amount].
    pins           TEXT NOT NULL CHECK (json_valid(pins)),
    feature        TEXT CHECK (length(CAST(feature AS BLOB)) <= 255),
    reference      TEXT CHECK (length(CAST(reference AS BLOB)) <= 255),
    -- A JSON object, as text: exactly what was given.
    metadata       TEXT CHECK (length(CAST(metadata AS BLOB)) <= 16384),
    -- Where the amount is a price: the quote, frozen; and the quantities that were really used, once confirmed.
    quote          TEXT CHECK (length(CAST(quote AS BLOB)) <= 16384),
    used           TEXT CHECK (length(CAST(used AS BLOB)) <= 16384),
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    settled_at     INTEGER,
    updated_at     INTEGER NOT NULL,
    PRIMARY KEY (consumption_id, user_id),
    CHECK ((status = 'pending') = (settled_at IS NULL)),
    CHECK (status = 'confirmed' OR status = 'refunded' OR captured = 0),
    CHECK (status <> 'confirmed' OR captured > reversed OR captured = 0),
    CHECK (status <> 'refunded' OR captured = reversed)
) STRICT;
-- consumption(user): pages, newest first.
CREATE INDEX credit_consumption_logs_user ON credit_consumption_logs (user_id, consumption_id);
-- Every command and balance after an account's next_hold_deadline: its due holds.
CREATE INDEX credit_consumption_logs_pending
    ON credit_consumption_logs (user_id, expires_at, consumption_id) WHERE status = 'pending';

CREATE TABLE credit_transactions (
    user_id         BLOB NOT NULL CHECK (length(user_id) = 16),
    seq             INTEGER NOT NULL CHECK (seq BETWEEN 1 AND 9007199254740991),
    kind            TEXT NOT NULL CHECK (CASE kind WHEN 'grant' THEN 1 WHEN 'gift' THEN 1 WHEN 'consume' THEN 1
        WHEN 'confirm' THEN 1 WHEN 'refund' THEN 1 WHEN 'reverse' THEN 1 WHEN 'extend' THEN 1
        WHEN 'expire_hold' THEN 1 WHEN 'expire_lot' THEN 1 WHEN 'adjust' THEN 1 WHEN 'credit_limit' THEN 1
        WHEN 'clawback' THEN 1 WHEN 'order' THEN 1 ELSE 0 END),
    change          INTEGER NOT NULL,
    held_change     INTEGER NOT NULL,
    available       INTEGER NOT NULL,
    held            INTEGER NOT NULL CHECK (held BETWEEN 0 AND 9007199254740991),
    counter_account TEXT NOT NULL,
    consumption_id  BLOB CHECK (length(consumption_id) = 16),
    lot_id          BLOB CHECK (length(lot_id) = 16),
    reference       TEXT CHECK (length(CAST(reference AS BLOB)) <= 255),
    idempotency_key TEXT CHECK (length(CAST(idempotency_key AS BLOB)) BETWEEN 1 AND 255),
    request_hash    BLOB CHECK (length(request_hash) = 32),
    -- What the entry changed, in full, as JSON text: the hash is over exactly these bytes.
    data            TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER,
    hash            BLOB NOT NULL CHECK (length(hash) = 32),
    -- Gapless by construction, so this key is also what two writers with the same idea collide on.
    PRIMARY KEY (user_id, seq),
    CHECK ((idempotency_key IS NULL) = (request_hash IS NULL))
) STRICT;
-- Rule "idempotency": a key is recorded once per account.
CREATE UNIQUE INDEX credit_transactions_key ON credit_transactions (user_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TABLE credit_gifts (
    user_id    BLOB NOT NULL CHECK (length(user_id) = 16),
    gift_id    BLOB NOT NULL CHECK (length(gift_id) = 16),
    amount     INTEGER NOT NULL CHECK (amount BETWEEN 1 AND 9007199254740991),
    reason     TEXT NOT NULL CHECK (length(CAST(reason AS BLOB)) BETWEEN 1 AND 255),
    operator   TEXT CHECK (length(CAST(operator AS BLOB)) <= 255),
    expires_at INTEGER,
    created_at INTEGER NOT NULL,
    -- `gift_id` is the id of the lot that was given.
    PRIMARY KEY (user_id, gift_id)
) STRICT, WITHOUT ROWID;

-- Packages as they are now; `credit_package_versions` has each as it was.
CREATE TABLE credit_packages (
    package_id     BLOB NOT NULL PRIMARY KEY CHECK (length(package_id) = 16),
    version        INTEGER NOT NULL CHECK (version >= 1),
    name           TEXT NOT NULL CHECK (name <> ''),
    description    TEXT NOT NULL DEFAULT '',
    -- The currency's minor unit: 990 is 9.90 CNY.
    price_minor    INTEGER NOT NULL CHECK (price_minor >= 0),
    currency       TEXT NOT NULL DEFAULT 'CNY' CHECK (currency GLOB '[A-Z][A-Z][A-Z]'),
    credits        INTEGER NOT NULL CHECK (credits BETWEEN 1 AND 9007199254740991),
    bonus_credits  INTEGER NOT NULL DEFAULT 0 CHECK (bonus_credits BETWEEN 0 AND 9007199254740991),
    validity_days  INTEGER CHECK (validity_days > 0),
    sort_order     INTEGER NOT NULL DEFAULT 0,
    recommended    INTEGER NOT NULL DEFAULT 0 CHECK (recommended IN (0, 1)),
    active         INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
    purchase_limit INTEGER CHECK (purchase_limit > 0),
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL
) STRICT;

-- An order names the package and the version that was bought, and shows it for ever.
CREATE TABLE credit_package_versions (
    package_id     BLOB NOT NULL CHECK (length(package_id) = 16),
    version        INTEGER NOT NULL CHECK (version >= 1),
    name           TEXT NOT NULL,
    description    TEXT NOT NULL,
    price_minor    INTEGER NOT NULL,
    currency       TEXT NOT NULL CHECK (currency GLOB '[A-Z][A-Z][A-Z]'),
    credits        INTEGER NOT NULL CHECK (credits BETWEEN 1 AND 9007199254740991),
    bonus_credits  INTEGER NOT NULL CHECK (bonus_credits BETWEEN 0 AND 9007199254740991),
    validity_days  INTEGER,
    sort_order     INTEGER NOT NULL,
    recommended    INTEGER NOT NULL,
    active         INTEGER NOT NULL,
    purchase_limit INTEGER,
    created_at     INTEGER NOT NULL,
    -- When this version was saved, by the ledger's clock.
    updated_at     INTEGER NOT NULL,
    PRIMARY KEY (package_id, version)
) STRICT;

-- Rate cards are never edited: a new version is added and names the instant from which it counts.
CREATE TABLE credit_pricing (
    pricing_id      BLOB NOT NULL PRIMARY KEY CHECK (length(pricing_id) = 16),
    feature         TEXT NOT NULL CHECK (length(CAST(feature AS BLOB)) BETWEEN 1 AND 255),
    version         INTEGER NOT NULL CHECK (version >= 1),
    name            TEXT NOT NULL DEFAULT '',
    -- The rate card, as JSON text.
    card            TEXT NOT NULL CHECK (json_valid(card)),
    -- For one account; for everybody where NULL.
    user_id         BLOB CHECK (length(user_id) = 16),
    effective_from  INTEGER NOT NULL,
    effective_until INTEGER CHECK (effective_until > effective_from),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    UNIQUE (feature, version)
) STRICT;

-- Counts the changes of packages and rate cards, whoever makes them, so that caches know when to read again.
CREATE TABLE credit_catalogue (
    one      INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL
) STRICT;
INSERT INTO credit_catalogue (one, revision) VALUES (1, 0);
CREATE TRIGGER credit_packages_inserted AFTER INSERT ON credit_packages BEGIN
    UPDATE credit_catalogue SET revision = revision + 1;
END;
CREATE TRIGGER credit_packages_updated AFTER UPDATE ON credit_packages BEGIN
    UPDATE credit_catalogue SET revision = revision + 1;
END;
CREATE TRIGGER credit_packages_deleted AFTER DELETE ON credit_packages BEGIN
    UPDATE credit_catalogue SET revision = revision + 1;
END;
CREATE TRIGGER credit_pricing_inserted AFTER INSERT ON credit_pricing BEGIN
    UPDATE credit_catalogue SET revision = revision + 1;
END;
CREATE TRIGGER credit_pricing_updated AFTER UPDATE ON credit_pricing BEGIN
    UPDATE credit_catalogue SET revision = revision + 1;
END;

CREATE TRIGGER credit_package_versions_no_update BEFORE UPDATE ON credit_package_versions BEGIN
    SELECT RAISE(ABORT, 'a version in credit_package_versions is never changed: UPDATE refused; add a new version');
END;
CREATE TRIGGER credit_package_versions_no_delete BEFORE DELETE ON credit_package_versions BEGIN
    SELECT RAISE(ABORT, 'a version in credit_package_versions is never removed: DELETE refused');
END;
-- REPLACE deletes rows without telling the triggers above and below.
CREATE TRIGGER credit_package_versions_no_replace BEFORE INSERT ON credit_package_versions
WHEN EXISTS (SELECT 1 FROM credit_package_versions WHERE package_id = NEW.package_id AND version = NEW.version)
BEGIN
    SELECT RAISE(ABORT, 'a version in credit_package_versions is never changed: there is such a version already');
END;
CREATE TRIGGER credit_pricing_no_replace BEFORE INSERT ON credit_pricing
WHEN EXISTS (SELECT 1 FROM credit_pricing WHERE pricing_id = NEW.pricing_id)
    OR EXISTS (SELECT 1 FROM credit_pricing WHERE feature = NEW.feature AND version = NEW.version)
BEGIN
    SELECT RAISE(ABORT, 'a version in credit_pricing is never changed: there is such a version already');
END;
-- Only when it ends may still be said.
CREATE TRIGGER credit_pricing_no_update BEFORE UPDATE ON credit_pricing
WHEN OLD.pricing_id IS NOT NEW.pricing_id OR OLD.feature IS NOT NEW.feature OR OLD.version IS NOT NEW.version
    OR OLD.card IS NOT NEW.card OR OLD.effective_from IS NOT NEW.effective_from OR OLD.user_id IS NOT NEW.user_id
BEGIN
    SELECT RAISE(ABORT, 'a version in credit_pricing is never changed: UPDATE refused; add a new version');
END;
CREATE TRIGGER credit_pricing_no_delete BEFORE DELETE ON credit_pricing BEGIN
    SELECT RAISE(ABORT, 'a version in credit_pricing is never removed: DELETE refused');
END;

-- The journal is append-only. A trigger also switches off the short cut by which DELETE without WHERE drops all rows.
CREATE TRIGGER credit_transactions_no_update BEFORE UPDATE ON credit_transactions BEGIN
    SELECT RAISE(ABORT, 'the journal credit_transactions is append-only: UPDATE refused; correct a balance with an adjustment');
END;
CREATE TRIGGER credit_transactions_no_delete BEFORE DELETE ON credit_transactions BEGIN
    SELECT RAISE(ABORT, 'the journal credit_transactions is append-only: DELETE refused; correct a balance with an adjustment');
END;
-- REPLACE deletes rows without telling the trigger above.
CREATE TRIGGER credit_transactions_no_replace BEFORE INSERT ON credit_transactions
WHEN EXISTS (SELECT 1 FROM credit_transactions WHERE user_id = NEW.user_id AND seq = NEW.seq)
    OR (NEW.idempotency_key IS NOT NULL AND EXISTS (SELECT 1 FROM credit_transactions
        WHERE user_id = NEW.user_id AND idempotency_key = NEW.idempotency_key))
BEGIN
    SELECT RAISE(ABORT, 'the journal credit_transactions is append-only: there is such an entry already');
END;
