-- Adds to a number, absent counting as 0.
--
-- KEYS[1]: the entry, as `write.lua` has it. ARGV: what is added, the new version, and milliseconds until an entry that
-- is made now expires (0: never).
-- Answers with the sum, as text because numbers are less exact here; with nothing if there is none.
local is_new = redis.call('EXISTS', KEYS[1]) == 0
local sum = redis.pcall('HINCRBY', KEYS[1], 'v', ARGV[1])
if type(sum) == 'table' and sum.err then
    return false
end
redis.call('HSET', KEYS[1], 'n', ARGV[2])
if is_new and ARGV[3] ~= '0' then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return redis.call('HGET', KEYS[1], 'v')
