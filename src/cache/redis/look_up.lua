-- `begin` and `look_up` of record.rs. Returns the server's time in milliseconds and, where there is one, the balance.
-- KEYS: the record, the epoch. ARGV: token, life of a record, how long a read may take, life of an epoch.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epoch = redis.call('GET', KEYS[2])
local record = redis.call('HMGET', KEYS[1], 'epoch', 'until', 'balance', 'known', 'since')
if epoch and record[1] == epoch then
    if record[3] and tonumber(record[2]) > now then return {now, record[3]} end
    if not record[4] and record[5] + ARGV[3] <= now then
        redis.pcall('HSET', KEYS[1], 'token', ARGV[1], 'since', now)
    end
    return {now}
end
-- Where the memory is full nothing is begun.
if not epoch then
    epoch = time[1] .. '.' .. time[2] .. '.' .. ARGV[1]
    if redis.pcall('SET', KEYS[2], epoch, 'PX', ARGV[4])['err'] then return {now} end
end
local begun = redis.pcall('HSET', KEYS[1], 'epoch', epoch, 'seq', 0, 'token', ARGV[1], 'since', now)
if type(begun) == 'table' then return {now} end
redis.call('HDEL', KEYS[1], 'known', 'balance', 'until')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {now}
