-- after:
--
-- Stores one plain job: ready now, without a unique key, pushed for the first time. What push.lua does, in as few steps as it takes,
-- because most jobs come one by one. The job itself is written last: before that, a place in a line is a leftover.
-- ARGV: id, priority and what the record ends with, in one string, because a client takes its time for each argument; its traits.
-- Gives 1, or 0 when the id is known, or 2 when these traits have no number: then nothing has happened, and push.lua is asked.

local JOBS, traits, id, priority, rest = KEYS[1], ARGV[2], struct.unpack('>c16b', ARGV[1])
local queue = string.sub(traits, 14, 13 + string.byte(traits, 13))
local P = string.sub(JOBS, 1, -5)
if redis.call('HEXISTS', JOBS, id) == 1 or redis.call('HEXISTS', P .. 'done', id) == 1 or redis.call('HEXISTS', P .. 'older', id) == 1 then
  return 0
end
local number = redis.call('HGET', P .. 'traits', traits)
if not number then return 2 end
local now = redis.call('TIME')
local place = redis.call('HINCRBY', P .. 'meta', 'seq', 1)
redis.call('ZADD', P .. 'levels:' .. queue, priority, priority)
redis.call('RPUSH', P .. 'line:' .. queue .. ':' .. priority, id .. struct.pack('>d', place))
local ready = redis.call('HINCRBY', P .. 'counts', 'r:' .. queue, 1)
local head = struct.pack('>ddb', now[1] * 1000000 + now[2], place, priority)
redis.call('HSET', JOBS, id, head .. number .. '\0\0' .. string.sub(ARGV[1], rest))
if ready == 1 then redis.call('PUBLISH', P .. 'wake', queue) end
return 1
