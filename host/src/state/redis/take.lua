-- Checks all limits of a key and counts on all of them, or on none.
--
-- KEYS[1]: the counters of the key, a hash. For each window there is the time that it began at (`b` and its length), in
-- milliseconds of this server's clock, and what was counted in it (`u` and its length).
-- ARGV: the cost; then for each limit the length of its window in milliseconds and its amount.
-- Answers with 1 if all limits had room; then for each limit what is counted now, and for how long its window goes on.
local cost = tonumber(ARGV[1])
local count = (#ARGV - 1) / 2
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local fields = {}
for i = 1, count do
    fields[2 * i - 1] = 'b' .. ARGV[2 * i]
    fields[2 * i] = 'u' .. ARGV[2 * i]
end
local known = redis.call('HMGET', KEYS[1], unpack(fields))

local begun, used, room = {}, {}, 1
for i = 1, count do
    begun[i] = tonumber(known[2 * i - 1] or now)
    used[i] = tonumber(known[2 * i] or 0)
    -- A clock that was set back must not make a window longer.
    if used[i] == 0 or now - begun[i] >= tonumber(ARGV[2 * i]) or now < begun[i] then
        begun[i] = now
        used[i] = 0
    end
    if used[i] + cost > tonumber(ARGV[2 * i + 1]) then
        room = 0
    end
end

local answer, written, longest = { room }, {}, 0
for i = 1, count do
    if room == 1 then
        used[i] = used[i] + cost
    end
    local left = begun[i] + tonumber(ARGV[2 * i]) - now
    longest = math.max(longest, left)
    written[4 * i - 3] = fields[2 * i - 1]
    written[4 * i - 2] = string.format('%.0f', begun[i])
    written[4 * i - 1] = fields[2 * i]
    written[4 * i] = string.format('%.0f', used[i])
    answer[2 * i] = used[i]
    answer[2 * i + 1] = left
end
if room == 1 and cost > 0 then
    redis.call('HSET', KEYS[1], unpack(written))
    -- Never sooner: the key may have counters of other windows.
    if redis.call('PTTL', KEYS[1]) < longest then
        redis.call('PEXPIRE', KEYS[1], longest)
    end
end
return answer
