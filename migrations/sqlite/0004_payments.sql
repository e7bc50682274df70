-- Payments: each settles one order. The claim is written with the order that it settled, in the transaction that moves its
-- credits, and its key refuses a second order for the same payment, whoever settles it.

CREATE TABLE credit_payment_claims (
    channel        TEXT NOT NULL CHECK (length(CAST(channel AS BLOB)) BETWEEN 1 AND 255),
    -- The channel's own name for the payment.
    transaction_id TEXT NOT NULL CHECK (length(CAST(transaction_id AS BLOB)) BETWEEN 1 AND 255),
    order_no       TEXT NOT NULL CHECK (length(order_no) = 32 AND order_no NOT GLOB '*[^0-9a-f]*'),
    user_id        BLOB NOT NULL CHECK (length(user_id) = 16),
    PRIMARY KEY (channel, transaction_id)
) STRICT, WITHOUT ROWID;
-- verify: the claims of an account beside its orders; each order has one.
CREATE UNIQUE INDEX credit_payment_claims_order ON credit_payment_claims (user_id, order_no);
-- What was settled before. Of orders that one payment has settled already the oldest keeps it; verify names the others.
INSERT OR IGNORE INTO credit_payment_claims (channel, transaction_id, order_no, user_id)
    SELECT channel, transaction_id, order_no, user_id FROM credit_orders
    WHERE transaction_id IS NOT NULL ORDER BY order_no, user_id;

-- create_order: how many of an account's orders wait for a payment.
CREATE INDEX credit_orders_waiting ON credit_orders (user_id) WHERE status IN ('created', 'paying');
