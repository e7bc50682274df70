-- Payments: each settles one order. The claim is written with the order that it settled, in the statement that moves its
-- credits, and its key refuses a second order for the same payment, whoever settles it.

CREATE TABLE {s}credit_payment_claims (
    channel        {s}credit_ledger_key NOT NULL,
    -- The channel's own name for the payment.
    transaction_id {s}credit_ledger_key NOT NULL,
    order_no       {s}credit_ledger_order_no NOT NULL,
    user_id        uuid NOT NULL,
    PRIMARY KEY (channel, transaction_id)
);
-- verify: the claims of an account beside its orders; each order has one.
CREATE UNIQUE INDEX credit_payment_claims_order ON {s}credit_payment_claims (user_id, order_no);
-- What was settled before. Of orders that one payment has settled already the oldest keeps it; verify names the others.
INSERT INTO {s}credit_payment_claims (channel, transaction_id, order_no, user_id)
    SELECT channel, transaction_id, order_no, user_id FROM {s}credit_orders
    WHERE transaction_id IS NOT NULL ORDER BY order_no, user_id
    ON CONFLICT DO NOTHING;

-- create_order: how many of an account's orders wait for a payment.
CREATE INDEX credit_orders_waiting ON {s}credit_orders (user_id) WHERE status IN ('created', 'paying');
