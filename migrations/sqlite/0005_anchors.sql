-- Anchors: what the heads of all journals were at a moment, as a Merkle tree whose root is kept elsewhere. Nothing here
-- needs to be believed: whoever changes a row changes the root.

-- Which ledger this is, so that another one's anchor is told from ours.
CREATE TABLE credit_ledger (
    one       INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    ledger_id BLOB NOT NULL CHECK (length(ledger_id) = 16)
) STRICT;
INSERT INTO credit_ledger (one, ledger_id) VALUES (1, randomblob(16));

CREATE TABLE credit_anchors (
    number     INTEGER NOT NULL PRIMARY KEY CHECK (number >= 1),
    -- The line of JSON that is kept elsewhere.
    record     TEXT NOT NULL,
    -- Where the journal was when it was made: the next anchor looks at what was written since.
    mark       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- The last entry of each account, as of the anchors from `number` on and before `until`.
CREATE TABLE credit_anchor_leaves (
    user_id   BLOB NOT NULL CHECK (length(user_id) = 16),
    number    INTEGER NOT NULL,
    until     INTEGER CHECK (until > number),
    bucket    INTEGER NOT NULL CHECK (bucket BETWEEN 0 AND 65535),
    seq       INTEGER NOT NULL CHECK (seq BETWEEN 1 AND 9007199254740991),
    hash      BLOB NOT NULL CHECK (length(hash) = 32),
    available INTEGER NOT NULL CHECK (available BETWEEN -9007199254740991 AND 9007199254740991),
    held      INTEGER NOT NULL CHECK (held BETWEEN 0 AND 9007199254740991),
    PRIMARY KEY (user_id, number)
) STRICT, WITHOUT ROWID;
-- anchor(): the leaves that are in a bucket now.
CREATE INDEX credit_anchor_leaves_bucket ON credit_anchor_leaves (bucket, user_id) WHERE until IS NULL;
-- prune_anchors(): the leaves that no anchor needs any more.
CREATE INDEX credit_anchor_leaves_until ON credit_anchor_leaves (until) WHERE until IS NOT NULL;

-- The hashes of 256 buckets each, and the node above them, as of the newest anchor.
CREATE TABLE credit_anchor_groups (
    group_no INTEGER NOT NULL PRIMARY KEY CHECK (group_no BETWEEN 0 AND 255),
    root     BLOB NOT NULL CHECK (length(root) = 32),
    buckets  BLOB NOT NULL CHECK (length(buckets) = 8192)
) STRICT;
