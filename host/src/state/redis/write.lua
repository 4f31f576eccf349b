-- Writes an entry: a hash of its value (`v`) and its version (`n`).
--
-- KEYS[1]: the entry. ARGV: the value, its version, milliseconds until it expires (0: never), and the version that must be
-- there: `*` for any, nothing for none.
-- Answers with 1, or with 0 if another version is there.
if ARGV[4] ~= '*' and (redis.call('HGET', KEYS[1], 'n') or '') ~= ARGV[4] then
    return 0
end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'n', ARGV[2])
if ARGV[3] == '0' then
    redis.call('PERSIST', KEYS[1])
else
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
