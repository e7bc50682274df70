-- What `scripts/bench` measures one caller against: all the work of `consume` in one call.
--
-- Locks the account, looks the key up, burns lots in order, updates lots and account, inserts the log and the journal's
-- entry with its hash, and returns the consumption's id.
CREATE OR REPLACE FUNCTION bench_consume(of_user uuid, credits bigint, for_feature text, key text, request bytea)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    account credit_accounts%ROWTYPE;
    lot record;
    id uuid;
    wanted bigint := credits;
    taken bigint;
    lot_ids uuid[] := '{}';
    lot_amounts bigint[] := '{}';
    changes text := '';
    pins text := '';
    entry text;
    at timestamptz := clock_timestamp();
    due timestamptz := at + interval '1 hour';
    new_hash bytea;
BEGIN
    SELECT * INTO account FROM credit_accounts WHERE user_id = of_user FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such account';
    END IF;
    SELECT consumption_id INTO id FROM credit_transactions WHERE user_id = of_user AND idempotency_key = key;
    IF FOUND THEN
        RETURN id;
    END IF;
    IF account.next_hold_deadline <= at OR account.next_lot_deadline <= at THEN
        RAISE EXCEPTION 'something is due, which this function leaves to others';
    END IF;
    IF credits > account.available + account.credit_limit THEN
        RAISE EXCEPTION 'insufficient credits';
    END IF;
    FOR lot IN
        SELECT lot_id, remaining FROM credit_lots
        WHERE user_id = of_user AND open AND (expires_at IS NULL OR expires_at > at)
        ORDER BY priority, expires_at, created_at, lot_id
    LOOP
        taken := least(lot.remaining, wanted);
        UPDATE credit_lots SET remaining = remaining - taken, open = remaining > taken
        WHERE user_id = of_user AND lot_id = lot.lot_id;
        lot_ids := lot_ids || lot.lot_id;
        lot_amounts := lot_amounts || taken;
        changes := concat_ws(',', nullif(changes, ''), format('{"lot":"%s","remaining":-%s}', lot.lot_id, taken));
        pins := concat_ws(',', nullif(pins, ''), format('{"lot_id":"%s","amount":%s}', lot.lot_id, taken));
        wanted := wanted - taken;
        EXIT WHEN wanted = 0;
    END LOOP;
    IF wanted > 0 THEN
        RAISE EXCEPTION 'borrowing is left out here';
    END IF;
    id := gen_random_uuid();
    entry := format('{"lots":[%s],"hold":{"status":"pending","pins":[%s],"expires_at":"%s"},"feature":"%s"}',
        changes, pins, due, for_feature);
    account.seq := account.seq + 1;
    account.available := account.available - credits;
    account.held := account.held + credits;
    new_hash := sha256(account.hash || uuid_send(of_user) || int8send(account.seq)
        || int8send((extract(epoch FROM at) * 1000000)::bigint) || int8send(-credits) || int8send(credits)
        || int8send(account.available) || int8send(account.held) || 'consume' || 'held' || uuid_send(id)
        || convert_to(key, 'UTF8') || request || convert_to(entry, 'UTF8'));
    UPDATE credit_accounts SET seq = account.seq, hash = new_hash, available = account.available, held = account.held,
        next_hold_deadline = least(next_hold_deadline, due), updated_at = at WHERE user_id = of_user;
    INSERT INTO credit_consumption_logs (consumption_id, user_id, status, amount, captured, reversed, borrowed, lot_ids,
        lot_amounts, feature, created_at, expires_at, updated_at)
    VALUES (id, of_user, 'pending', credits, 0, 0, 0, lot_ids, lot_amounts, for_feature, at, due, at);
    INSERT INTO credit_transactions (user_id, seq, kind, change, held_change, available, held, counter_account,
        consumption_id, idempotency_key, request_hash, data, created_at, hash)
    VALUES (of_user, account.seq, 'consume', -credits, credits, account.available, account.held, 'held', id, key, request,
        entry, at, new_hash);
    RETURN id;
END
$$;
