-- `put` of record.rs. Returns the server's time in milliseconds.
-- KEYS: the record, the epoch. ARGV: seq, token or '', life of a record, balance or '', until when it may be told.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local record = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'known', 'token')
-- Of what is not here nothing old can be told.
if not record[1] then return now end
if record[1] ~= redis.call('GET', KEYS[2]) then
    redis.call('DEL', KEYS[1])
    return now
end
local seq, before = tonumber(ARGV[1]), tonumber(record[2])
if seq < before then return now end
local done
if ARGV[4] ~= '' and (record[3] or record[4] == ARGV[2]) then
    done = redis.pcall('HSET', KEYS[1], 'seq', ARGV[1], 'known', 1, 'balance', ARGV[4], 'until', ARGV[5])
elseif seq > before then
    redis.call('HDEL', KEYS[1], 'balance', 'until')
    done = redis.pcall('HSET', KEYS[1], 'seq', ARGV[1])
end
if type(done) == 'table' then
    -- The memory is full, and what can't be written must not be told as it was.
    redis.call('DEL', KEYS[1])
else
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return now
