-- The ledger. `{s}` is replaced everywhere by the quoted schema and a dot, or by nothing.
-- Every primary and unique key of account data contains the account's id, so that the tables can be distributed by it.
-- There are no foreign keys: on the hot path each would cost a look-up and a row lock per row; `verify` finds orphans.

-- A host may have functions of these two names already, made for its own tables: those stay as they are.
DO $create$ BEGIN
IF to_regprocedure('{s}gen_uuid_v7()') IS NULL THEN
CREATE FUNCTION {s}gen_uuid_v7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $function$
    -- RFC 9562, section 5.7: 48 bits of milliseconds, version 7, the fraction of the millisecond in the 12 bits of
    -- rand_a (section 6.2, method 3), variant 10, and 62 random bits taken over from a version 4 UUID.
    SELECT encode(
        set_byte(
            set_byte(
                overlay(uuid_send(gen_random_uuid())
                        PLACING substring(int8send((micros / 1000)::bigint) FROM 3) FROM 1 FOR 6),
                6, (112 | ((fraction >> 8) & 15))),
            7, (fraction & 255)),
        'hex')::uuid
    FROM (SELECT micros, ((micros % 1000) * 4096 / 1000)::int AS fraction
          FROM (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS micros) AS clock) AS parts
$function$;
END IF;
IF to_regprocedure('{s}update_updated_at_column()') IS NULL THEN
CREATE FUNCTION {s}update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    NEW.updated_at = CURRENT_TIMESTAMP;
    RETURN NEW;
END
$function$;
END IF;
END $create$;

CREATE FUNCTION {s}credit_journal_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the journal %.% is append-only: % refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'Correct a balance with an adjustment.';
END
$$;

-- What a value alone must be is said by its domain. A CHECK of a table is read from the catalogue, parsed and set up anew
-- by every statement that writes the table: fifty of them took longer than writing the rows did. Domains are kept by the
-- session. 9007199254740991 is 2^53 - 1, the largest number that JSON readers keep exactly.
CREATE DOMAIN {s}credit_ledger_amount AS bigint CHECK (VALUE BETWEEN 0 AND 9007199254740991);
CREATE DOMAIN {s}credit_ledger_positive AS bigint CHECK (VALUE BETWEEN 1 AND 9007199254740991);
CREATE DOMAIN {s}credit_ledger_balance AS bigint CHECK (VALUE BETWEEN -9007199254740991 AND 9007199254740991);
CREATE DOMAIN {s}credit_ledger_hash AS bytea CHECK (octet_length(VALUE) = 32);
CREATE DOMAIN {s}credit_ledger_text AS text CHECK (octet_length(VALUE) <= 255);
CREATE DOMAIN {s}credit_ledger_key AS text CHECK (octet_length(VALUE) BETWEEN 1 AND 255);
CREATE DOMAIN {s}credit_ledger_document AS text CHECK (octet_length(VALUE) <= 16384);
CREATE DOMAIN {s}credit_ledger_currency AS text CHECK (VALUE ~ '^[A-Z]{3}$');
CREATE DOMAIN {s}credit_ledger_source AS text CHECK (VALUE IN
    ('purchase', 'bonus', 'gift', 'subscription', 'adjustment', 'reversal', 'opening'));
CREATE DOMAIN {s}credit_ledger_status AS text CHECK (VALUE IN ('pending', 'confirmed', 'refunded', 'expired'));
CREATE DOMAIN {s}credit_ledger_kind AS text CHECK (VALUE IN ('grant', 'gift', 'consume', 'confirm', 'refund', 'reverse',
    'extend', 'expire_hold', 'expire_lot', 'adjust', 'credit_limit', 'clawback', 'order'));

CREATE TABLE {s}credit_accounts (
    user_id            uuid PRIMARY KEY,
    seq                {s}credit_ledger_positive NOT NULL,
    hash               {s}credit_ledger_hash NOT NULL,
    available          {s}credit_ledger_balance NOT NULL,
    held               {s}credit_ledger_amount NOT NULL,
    debt               {s}credit_ledger_amount NOT NULL,
    borrowed           {s}credit_ledger_amount NOT NULL,
    credit_limit       {s}credit_ledger_amount NOT NULL,
    granted            {s}credit_ledger_amount NOT NULL,
    spent              {s}credit_ledger_amount NOT NULL,
    next_hold_deadline timestamptz,
    next_lot_deadline  timestamptz,
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    CONSTRAINT credit_accounts_debt CHECK (borrowed <= debt AND available >= -debt)
) WITH (fillfactor = 50);
-- Both change rarely (once per hold TTL, or when a lot comes or goes), so that updates of the figures stay HOT.
-- expire_pending: accounts whose holds are due.
CREATE INDEX credit_accounts_hold_deadline ON {s}credit_accounts (next_hold_deadline, user_id)
    WHERE next_hold_deadline IS NOT NULL;
-- expire_lots: accounts whose lots are due.
CREATE INDEX credit_accounts_lot_deadline ON {s}credit_accounts (next_lot_deadline, user_id)
    WHERE next_lot_deadline IS NOT NULL;

CREATE TABLE {s}credit_lots (
    user_id       uuid NOT NULL,
    lot_id        uuid NOT NULL,
    source        {s}credit_ledger_source NOT NULL,
    amount        {s}credit_ledger_positive NOT NULL,
    remaining     {s}credit_ledger_amount NOT NULL,
    expired       {s}credit_ledger_amount NOT NULL,
    clawed        {s}credit_ledger_amount NOT NULL,
    claim         {s}credit_ledger_amount NOT NULL,
    -- Repeats `remaining > 0`: as the index's predicate it changes when a lot empties, and not with every use.
    open          boolean NOT NULL,
    priority      integer NOT NULL,
    expires_at    timestamptz,
    cost_minor    {s}credit_ledger_amount,
    cost_currency {s}credit_ledger_currency,
    reference     {s}credit_ledger_text,
    origin        uuid,
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (user_id, lot_id),
    CONSTRAINT credit_lots_figures CHECK (remaining + expired <= amount AND claim <= amount AND open = (remaining > 0)
        AND (cost_minor IS NULL) = (cost_currency IS NULL))
) WITH (fillfactor = 70);
-- Every command and balance: the lots of an account that have something left.
CREATE INDEX credit_lots_open ON {s}credit_lots (user_id) WHERE open;

CREATE TABLE {s}credit_consumption_logs (
    consumption_id uuid NOT NULL,
    user_id        uuid NOT NULL,
    status         {s}credit_ledger_status NOT NULL,
    amount         {s}credit_ledger_amount NOT NULL,
    captured       {s}credit_ledger_amount NOT NULL,
    reversed       {s}credit_ledger_amount NOT NULL,
    borrowed       {s}credit_ledger_amount NOT NULL,
    -- Which lots the credits came from, and how many from each.
    lot_ids        uuid[] NOT NULL,
    lot_amounts    bigint[] NOT NULL,
    feature        {s}credit_ledger_text,
    reference      {s}credit_ledger_text,
    -- A JSON object, as text: exactly what was given.
    metadata       {s}credit_ledger_document,
    -- Where the amount is a price: the quote, frozen; and the quantities that were really used, once confirmed.
    quote          {s}credit_ledger_document,
    used           {s}credit_ledger_document,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    settled_at     timestamptz,
    updated_at     timestamptz NOT NULL,
    PRIMARY KEY (consumption_id, user_id),
    CONSTRAINT credit_consumption_logs_state CHECK (cardinality(lot_ids) = cardinality(lot_amounts)
        AND (status = 'pending') = (settled_at IS NULL)
        AND reversed <= captured AND CASE status WHEN 'confirmed' THEN captured > reversed OR captured = 0
            WHEN 'refunded' THEN captured = reversed ELSE captured = 0 END)
) WITH (fillfactor = 85);
-- consumption(user): pages, newest first.
CREATE INDEX credit_consumption_logs_user ON {s}credit_consumption_logs (user_id, consumption_id);
-- Every command and balance after an account's next_hold_deadline: its due holds.
CREATE INDEX credit_consumption_logs_pending
    ON {s}credit_consumption_logs (user_id, expires_at, consumption_id) WHERE status = 'pending';

CREATE TABLE {s}credit_transactions (
    user_id         uuid NOT NULL,
    seq             {s}credit_ledger_positive NOT NULL,
    kind            {s}credit_ledger_kind NOT NULL,
    change          bigint NOT NULL,
    held_change     bigint NOT NULL,
    available       bigint NOT NULL,
    held            {s}credit_ledger_amount NOT NULL,
    counter_account text NOT NULL,
    consumption_id  uuid,
    lot_id          uuid,
    reference       {s}credit_ledger_text,
    idempotency_key {s}credit_ledger_key,
    request_hash    {s}credit_ledger_hash,
    -- What the entry changed, in full, as JSON text: the hash is over exactly these bytes.
    data            text NOT NULL,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz,
    hash            {s}credit_ledger_hash NOT NULL,
    -- Gapless by construction, so this key is also what two writers with the same idea collide on.
    PRIMARY KEY (user_id, seq),
    CONSTRAINT credit_transactions_key_and_request CHECK ((idempotency_key IS NULL) = (request_hash IS NULL))
);
-- Rule "idempotency": a key is recorded once per account.
CREATE UNIQUE INDEX credit_transactions_key ON {s}credit_transactions (user_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TABLE {s}credit_gifts (
    user_id    uuid NOT NULL,
    gift_id    uuid NOT NULL,
    amount     {s}credit_ledger_positive NOT NULL,
    reason     {s}credit_ledger_key NOT NULL,
    operator   {s}credit_ledger_text,
    expires_at timestamptz,
    created_at timestamptz NOT NULL,
    -- `gift_id` is the id of the lot that was given.
    PRIMARY KEY (user_id, gift_id)
);

-- Packages as they are now; `credit_package_versions` has each as it was.
CREATE TABLE {s}credit_packages (
    package_id     uuid PRIMARY KEY DEFAULT {s}gen_uuid_v7(),
    version        integer NOT NULL DEFAULT 1 CHECK (version >= 1),
    name           text NOT NULL CHECK (name <> ''),
    description    text NOT NULL DEFAULT '',
    price          numeric(18, 2) NOT NULL CHECK (price >= 0),
    currency       {s}credit_ledger_currency NOT NULL DEFAULT 'CNY',
    credits        {s}credit_ledger_positive NOT NULL,
    bonus_credits  {s}credit_ledger_amount NOT NULL DEFAULT 0,
    validity_days  integer CHECK (validity_days > 0),
    sort_order     integer NOT NULL DEFAULT 0,
    recommended    boolean NOT NULL DEFAULT false,
    active         boolean NOT NULL DEFAULT true,
    purchase_limit integer CHECK (purchase_limit > 0),
    created_at     timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at     timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
);

-- An order names the package and the version that was bought, and shows it for ever.
CREATE TABLE {s}credit_package_versions (
    package_id     uuid NOT NULL,
    version        integer NOT NULL CHECK (version >= 1),
    name           text NOT NULL,
    description    text NOT NULL,
    price          numeric(18, 2) NOT NULL,
    currency       {s}credit_ledger_currency NOT NULL,
    credits        {s}credit_ledger_positive NOT NULL,
    bonus_credits  {s}credit_ledger_amount NOT NULL,
    validity_days  integer,
    sort_order     integer NOT NULL,
    recommended    boolean NOT NULL,
    active         boolean NOT NULL,
    purchase_limit integer,
    created_at     timestamptz NOT NULL,
    -- When this version was saved, by the ledger's clock.
    updated_at     timestamptz NOT NULL,
    PRIMARY KEY (package_id, version)
);

-- Rate cards are never edited: a new version is added and names the instant from which it counts.
CREATE TABLE {s}credit_pricing (
    pricing_id      uuid PRIMARY KEY DEFAULT {s}gen_uuid_v7(),
    feature         {s}credit_ledger_key NOT NULL,
    version         integer NOT NULL CHECK (version >= 1),
    name            text NOT NULL DEFAULT '',
    -- The rate card, as JSON text.
    card            text NOT NULL,
    -- For one account; for everybody where NULL.
    user_id         uuid,
    effective_from  timestamptz NOT NULL,
    effective_until timestamptz CHECK (effective_until > effective_from),
    created_at      timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at      timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    UNIQUE (feature, version)
);

-- Counts the changes of packages and rate cards, whoever makes them, so that caches know when to read again.
CREATE TABLE {s}credit_catalogue (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    revision bigint NOT NULL
);
INSERT INTO {s}credit_catalogue (revision) VALUES (0);

CREATE FUNCTION {s}credit_catalogue_has_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('UPDATE %I.credit_catalogue SET revision = revision + 1', TG_TABLE_SCHEMA);
    -- Sent when the change is committed, once for all changes of a transaction.
    PERFORM pg_notify('credit_catalogue', TG_TABLE_SCHEMA);
    RETURN NULL;
END
$$;
CREATE TRIGGER credit_packages_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {s}credit_packages
    FOR EACH STATEMENT EXECUTE FUNCTION {s}credit_catalogue_has_changed();
CREATE TRIGGER credit_pricing_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {s}credit_pricing
    FOR EACH STATEMENT EXECUTE FUNCTION {s}credit_catalogue_has_changed();

CREATE FUNCTION {s}credit_version_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a version in %.% is never changed or removed: % refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'Add a new version instead.';
END
$$;
CREATE TRIGGER credit_package_versions_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON {s}credit_package_versions
    FOR EACH STATEMENT EXECUTE FUNCTION {s}credit_version_is_kept();
CREATE TRIGGER credit_pricing_a_kept BEFORE DELETE OR TRUNCATE ON {s}credit_pricing
    FOR EACH STATEMENT EXECUTE FUNCTION {s}credit_version_is_kept();
-- Only when it ends may still be said.
CREATE TRIGGER credit_pricing_b_kept BEFORE UPDATE ON {s}credit_pricing FOR EACH ROW
    WHEN ((OLD.pricing_id, OLD.feature, OLD.version, OLD.card, OLD.effective_from, OLD.user_id)
        IS DISTINCT FROM (NEW.pricing_id, NEW.feature, NEW.version, NEW.card, NEW.effective_from, NEW.user_id))
    EXECUTE FUNCTION {s}credit_version_is_kept();

-- The append-only guard stands before the updated_at trigger (triggers fire in order of name).
CREATE TRIGGER credit_transactions_append_only BEFORE UPDATE OR DELETE ON {s}credit_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION {s}credit_journal_is_append_only();
CREATE TRIGGER credit_transactions_no_truncate BEFORE TRUNCATE ON {s}credit_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION {s}credit_journal_is_append_only();
CREATE TRIGGER update_credit_transactions_updated_at BEFORE UPDATE ON {s}credit_transactions
    FOR EACH ROW EXECUTE FUNCTION {s}update_updated_at_column();
CREATE TRIGGER update_credit_consumption_logs_updated_at BEFORE UPDATE ON {s}credit_consumption_logs
    FOR EACH ROW EXECUTE FUNCTION {s}update_updated_at_column();
CREATE TRIGGER update_credit_packages_updated_at BEFORE UPDATE ON {s}credit_packages
    FOR EACH ROW EXECUTE FUNCTION {s}update_updated_at_column();
CREATE TRIGGER update_credit_pricing_updated_at BEFORE UPDATE ON {s}credit_pricing
    FOR EACH ROW EXECUTE FUNCTION {s}update_updated_at_column();
