-- Orders: packages that somebody buys through a payment channel. An order is written with the entry that made or changed
-- it, in the transaction that moves its credits; `data` is the order as that entry has it, and the other columns repeat
-- what queries and people look for.

CREATE TABLE credit_orders (
    -- 32 hexadecimal digits: what payment channels know the order by.
    order_no       TEXT NOT NULL CHECK (length(order_no) = 32 AND order_no NOT GLOB '*[^0-9a-f]*'),
    user_id        BLOB NOT NULL CHECK (length(user_id) = 16),
    status         TEXT NOT NULL CHECK (status IN
        ('created', 'paying', 'paid', 'closed', 'refunding', 'refunded', 'partially_refunded')),
    channel        TEXT NOT NULL CHECK (length(CAST(channel AS BLOB)) BETWEEN 1 AND 255),
    package_id     BLOB NOT NULL CHECK (length(package_id) = 16),
    price_minor    INTEGER NOT NULL CHECK (price_minor BETWEEN 0 AND 9007199254740991),
    currency       TEXT NOT NULL CHECK (currency GLOB '[A-Z][A-Z][A-Z]'),
    credits        INTEGER NOT NULL CHECK (credits BETWEEN 1 AND 9007199254740991),
    bonus_credits  INTEGER NOT NULL CHECK (bonus_credits BETWEEN 0 AND 9007199254740991),
    -- Money that is back or on its way back.
    refunded_minor INTEGER NOT NULL CHECK (refunded_minor BETWEEN 0 AND price_minor),
    transaction_id TEXT CHECK (length(CAST(transaction_id AS BLOB)) <= 255),
    lot_id         BLOB CHECK (length(lot_id) = 16),
    bonus_lot_id   BLOB CHECK (length(bonus_lot_id) = 16),
    data           TEXT NOT NULL CHECK (json_valid(data)),
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    paid_at        INTEGER,
    PRIMARY KEY (order_no, user_id),
    CHECK (status NOT IN ('created', 'paying', 'closed') OR (transaction_id IS NULL AND lot_id IS NULL)),
    CHECK (status NOT IN ('paid', 'partially_refunded') OR (transaction_id IS NOT NULL AND lot_id IS NOT NULL)),
    CHECK (bonus_lot_id IS NULL OR lot_id IS NOT NULL)
) STRICT;
-- orders(user): pages, newest first; the orders of a package that can't be bought without limit.
CREATE INDEX credit_orders_user ON credit_orders (user_id, order_no);
-- reconcile_orders: what waits for a payment or a refund.
CREATE INDEX credit_orders_open ON credit_orders (order_no) WHERE status IN ('created', 'paying', 'refunding');
