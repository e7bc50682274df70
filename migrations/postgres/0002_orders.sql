-- Orders: packages that somebody buys through a payment channel. An order is written with the entry that made or changed
-- it, in the statement that moves its credits; `data` is the order as that entry has it, and the other columns repeat
-- what queries and people look for.

CREATE DOMAIN {s}credit_ledger_order_status AS text CHECK (VALUE IN
    ('created', 'paying', 'paid', 'closed', 'refunding', 'refunded', 'partially_refunded'));
-- 32 hexadecimal digits: what payment channels know the order by.
CREATE DOMAIN {s}credit_ledger_order_no AS text COLLATE "C" CHECK (VALUE ~ '^[0-9a-f]{32}$');

CREATE TABLE {s}credit_orders (
    order_no       {s}credit_ledger_order_no NOT NULL,
    user_id        uuid NOT NULL,
    status         {s}credit_ledger_order_status NOT NULL,
    channel        {s}credit_ledger_key NOT NULL,
    package_id     uuid NOT NULL,
    price_minor    {s}credit_ledger_amount NOT NULL,
    currency       {s}credit_ledger_currency NOT NULL,
    credits        {s}credit_ledger_positive NOT NULL,
    bonus_credits  {s}credit_ledger_amount NOT NULL,
    -- Money that is back or on its way back.
    refunded_minor {s}credit_ledger_amount NOT NULL,
    transaction_id {s}credit_ledger_text,
    lot_id         uuid,
    bonus_lot_id   uuid,
    data           text NOT NULL,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    paid_at        timestamptz,
    PRIMARY KEY (order_no, user_id),
    CONSTRAINT credit_orders_state CHECK (refunded_minor <= price_minor
        AND (status NOT IN ('created', 'paying', 'closed') OR (transaction_id IS NULL AND lot_id IS NULL))
        AND (status NOT IN ('paid', 'partially_refunded') OR (transaction_id IS NOT NULL AND lot_id IS NOT NULL))
        AND (bonus_lot_id IS NULL OR lot_id IS NOT NULL))
);
-- orders(user): pages, newest first; the orders of a package that can't be bought without limit.
CREATE INDEX credit_orders_user ON {s}credit_orders (user_id, order_no);
-- reconcile_orders: what waits for a payment or a refund.
CREATE INDEX credit_orders_open ON {s}credit_orders (order_no) WHERE status IN ('created', 'paying', 'refunding');
