-- Lots and borrowing holds are read in part: those that a command can touch, however many an account has.

-- Every command: the lots of an account that have something left, in the order in which they burn. Takes the place of the
-- one of migration 1, which knew no order. None of its columns ever changes.
DROP INDEX credit_lots_open;
CREATE INDEX credit_lots_open ON credit_lots (user_id, priority, ifnull(expires_at, 9223372036854775807),
    CASE source WHEN 'bonus' THEN 0 WHEN 'gift' THEN 0 ELSE 1 END, created_at, lot_id) WHERE open = 1;
-- Commands and sweeps: which of them are due. Balances: which will expire first.
CREATE INDEX credit_lots_expiry ON credit_lots (user_id, expires_at, lot_id) WHERE open = 1 AND expires_at IS NOT NULL;
-- Refunds of orders: the lots that came of an order's.
CREATE INDEX credit_lots_reversed ON credit_lots (user_id, reference) WHERE open = 1 AND source = 'reversal';
-- Commands that free credits of an account that has borrowed: which holds they pay for, in order.
CREATE INDEX credit_consumption_logs_borrowing ON credit_consumption_logs (user_id, consumption_id)
    WHERE status = 'pending' AND borrowed > 0;
