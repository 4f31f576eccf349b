-- Checks all rules of a key and counts on all of them, or on none.
--
-- KEYS[1]: the counters of the key, a hash. Each counter is of an algorithm (`f`ixed window, `s`liding window, token `b`ucket)
-- and a window, whose length stands in the names of its fields: when the window began, or the bucket was looked at, in
-- milliseconds of this server's clock (`b`); what was counted, or is missing from the bucket (`u`); what the window before
-- counted (`p`).
-- ARGV: the cost; `1` to count it whatever is left; then for each rule its algorithm, the length of its window in
-- milliseconds, its amount, and what a bucket holds.
-- Answers for each rule: whether it has room; what can be taken now; milliseconds until what was counted is forgotten; and
-- until the cost can be taken.
local MOST = 4294967295
-- What is missing from a bucket is no whole number: a rounding error must not cost a request.
local EPSILON = 1e-9

local cost, is_spent = tonumber(ARGV[1]), ARGV[2] == '1'
local count = (#ARGV - 2) / 4
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local names = {}
for i = 1, count do
    local name = ARGV[4 * i - 1] .. ARGV[4 * i]
    names[3 * i - 2] = 'b' .. name
    names[3 * i - 1] = 'u' .. name
    names[3 * i] = 'p' .. name
end
local known = redis.call('HMGET', KEYS[1], unpack(names))

-- A counter as it is now, with what has ended left out.
local function read(i)
    local counter = {
        kind = ARGV[4 * i - 1],
        window = tonumber(ARGV[4 * i]),
        size = tonumber(ARGV[4 * i + 1]),
        begun = tonumber(known[3 * i - 2] or now),
        used = tonumber(known[3 * i - 1] or 0),
        before = tonumber(known[3 * i] or 0),
    }
    counter.rate = counter.size / counter.window
    -- A clock that was set back must not make a window longer.
    local elapsed = now - counter.begun
    if elapsed < 0 then
        elapsed, counter.begun = 0, now
    end
    if counter.kind == 'b' then
        counter.size = tonumber(ARGV[4 * i + 2])
        counter.used = math.max(0, counter.used - elapsed * counter.rate)
        counter.begun = now
    elseif counter.used + counter.before == 0 or elapsed >= 2 * counter.window
        or counter.kind == 'f' and elapsed >= counter.window then
        counter.begun, counter.used, counter.before = now, 0, 0
    elseif elapsed >= counter.window then
        counter.begun = counter.begun + counter.window
        counter.before, counter.used = counter.used, 0
    end
    return counter
end

-- What counts against the limit now.
local function spent(counter)
    if counter.kind ~= 's' then
        return counter.used
    end
    local left = counter.begun + counter.window - now
    return counter.used + math.ceil(counter.before * left / counter.window)
end

-- How long until nothing that was counted matters.
local function reset(counter)
    if counter.kind == 'b' then
        return math.ceil(counter.used / counter.rate)
    end
    local windows = (counter.kind == 's' and counter.used > 0) and 2 or 1
    return counter.begun + windows * counter.window - now
end

-- How long until the cost fits.
local function retry(counter)
    local room, window = counter.size - cost, counter.window
    if room < 0 or counter.kind == 'f' then
        return reset(counter)
    elseif counter.kind == 'b' then
        return math.ceil((counter.used - room) / counter.rate)
    end
    local left = counter.begun + window - now
    if counter.used <= room then
        return left - math.floor((room - counter.used) * window / counter.before)
    end
    return left + window - math.floor(room * window / counter.used)
end

local counters, has_room = {}, true
for i = 1, count do
    local counter = read(i)
    counter.fits = spent(counter) + cost <= counter.size + EPSILON
    counter.retry = counter.fits and 0 or retry(counter)
    has_room = has_room and counter.fits
    counters[i] = counter
end

local is_counted = cost > 0 and (has_room or is_spent)
local answer, written, longest = {}, {}, 0
for i, counter in ipairs(counters) do
    if is_counted then
        local most = counter.kind == 'b' and counter.size + counter.rate * counter.window or MOST
        counter.used = math.min(counter.used + cost, math.max(most, counter.used))
        local values = { counter.begun, counter.used, counter.before }
        for part = 1, 3 do
            written[6 * (i - 1) + 2 * part - 1] = names[3 * (i - 1) + part]
            written[6 * (i - 1) + 2 * part] = string.format('%.17g', values[part])
        end
    end
    local until_forgotten = reset(counter)
    longest = math.max(longest, until_forgotten)
    answer[4 * i - 3] = counter.fits and 1 or 0
    answer[4 * i - 2] = math.max(0, math.floor(counter.size - spent(counter) + EPSILON))
    answer[4 * i - 1] = until_forgotten
    answer[4 * i] = counter.retry
end
if is_counted then
    redis.call('HSET', KEYS[1], unpack(written))
    -- Never sooner: the key may have counters of other windows.
    if redis.call('PTTL', KEYS[1]) < longest then
        redis.call('PEXPIRE', KEYS[1], longest)
    end
end
return answer
