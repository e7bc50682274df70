-- Anchors: what the heads of all journals were at a moment, as a Merkle tree whose root is kept elsewhere. Nothing here
-- needs to be believed: whoever changes a row changes the root.

-- Which ledger this is, so that another one's anchor is told from ours.
CREATE TABLE {s}credit_ledger (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    ledger_id uuid NOT NULL
);
INSERT INTO {s}credit_ledger (ledger_id) VALUES (gen_random_uuid());

CREATE TABLE {s}credit_anchors (
    number     bigint PRIMARY KEY CHECK (number >= 1),
    -- The line of JSON that is kept elsewhere.
    record     text NOT NULL,
    -- Where the journal was when it was made: the next anchor looks at what was written since.
    mark       text NOT NULL,
    created_at timestamptz NOT NULL
);

-- The last entry of each account, as of the anchors from `number` on and before `until`.
CREATE TABLE {s}credit_anchor_leaves (
    user_id   uuid NOT NULL,
    number    bigint NOT NULL,
    until     bigint CHECK (until > number),
    bucket    integer NOT NULL CHECK (bucket BETWEEN 0 AND 65535),
    seq       {s}credit_ledger_positive NOT NULL,
    hash      {s}credit_ledger_hash NOT NULL,
    available {s}credit_ledger_balance NOT NULL,
    held      {s}credit_ledger_amount NOT NULL,
    PRIMARY KEY (user_id, number)
);
-- anchor(): the leaves that are in a bucket now.
CREATE INDEX credit_anchor_leaves_bucket ON {s}credit_anchor_leaves (bucket, user_id) WHERE until IS NULL;
-- prune_anchors(): the leaves that no anchor needs any more.
CREATE INDEX credit_anchor_leaves_until ON {s}credit_anchor_leaves (until) WHERE until IS NOT NULL;

-- The hashes of 256 buckets each, and the node above them, as of the newest anchor.
CREATE TABLE {s}credit_anchor_groups (
    group_no integer PRIMARY KEY CHECK (group_no BETWEEN 0 AND 255),
    root     {s}credit_ledger_hash NOT NULL,
    buckets  bytea NOT NULL CHECK (octet_length(buckets) = 8192)
);

-- anchor(): what was written since the last one. A BRIN index has an entry for so many pages, not for each row.
CREATE INDEX credit_transactions_time ON {s}credit_transactions USING brin (created_at)
    WITH (pages_per_range = 16, autosummarize = on);
