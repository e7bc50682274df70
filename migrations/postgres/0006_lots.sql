-- Lots and borrowing holds are read in part: those that a command can touch, however many an account has.

-- Every command: the lots of an account that have something left, in the order in which they burn. Takes the place of the
-- one of migration 1, which knew no order. None of its columns ever changes.
DROP INDEX {s}credit_lots_open;
CREATE INDEX credit_lots_open ON {s}credit_lots (user_id, priority, expires_at, (source NOT IN ('bonus', 'gift')),
    created_at, lot_id) WHERE open;
-- Commands and sweeps: which of them are due. Balances: which will expire first.
CREATE INDEX credit_lots_expiry ON {s}credit_lots (user_id, expires_at, lot_id) WHERE open AND expires_at IS NOT NULL;
-- Refunds of orders: the lots that came of an order's.
CREATE INDEX credit_lots_reversed ON {s}credit_lots (user_id, reference) WHERE open AND source = 'reversal';
-- Commands that free credits of an account that has borrowed: which holds they pay for, in order.
CREATE INDEX credit_consumption_logs_borrowing ON {s}credit_consumption_logs (user_id, consumption_id)
    WHERE status = 'pending' AND borrowed > 0;
