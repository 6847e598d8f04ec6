-- after:
--
-- Stores jobs of one task, all or none: ready now, without unique keys, with ids that were made for this call. What push.lua does, in
-- as few steps as it takes. The jobs themselves are written last of each piece: before that, a place in a line is a leftover.
-- ARGV: priority, how many jobs, and these: id, length of what the record ends with, and that; their traits.
-- Gives 1, or 2 when these traits have no number: then nothing has happened, and push.lua is asked.

local JOBS, jobs, traits, PIECE = KEYS[1], ARGV[1], ARGV[2], 500
local queue = string.sub(traits, 14, 13 + string.byte(traits, 13))
local P = string.sub(JOBS, 1, -5)
local priority, n, at = struct.unpack('>bI4', jobs)
local first, line, levels = string.sub(jobs, at, at + 15), P .. 'line:' .. queue .. ':' .. priority, P .. 'levels:' .. queue
-- A client may call again by itself when an answer is late: the first job stands for all.
if redis.call('HEXISTS', JOBS, first) == 1 or redis.call('HEXISTS', P .. 'done', first) == 1 or redis.call('HEXISTS', P .. 'older', first) == 1 then
  return 1
end
local number = redis.call('HGET', P .. 'traits', traits)
if not number then return 2 end
-- Of another type, they stop the script before anything is written.
redis.call('LLEN', line)
redis.call('ZCARD', levels)
redis.call('HLEN', P .. 'counts')

local now = redis.call('TIME')
local place = redis.call('HINCRBY', P .. 'meta', 'seq', n) - n
local ready = redis.call('HINCRBY', P .. 'counts', 'r:' .. queue, n)
redis.call('ZADD', levels, priority, priority)
local head, middle = struct.pack('>d', now[1] * 1000000 + now[2]), struct.pack('>b', priority) .. number .. '\0\0'
local records, places, k = {}, {}, 0
for i = 1, n do
  local id, rest, own
  id, rest, at = struct.unpack('>c16I4c0', jobs, at)
  own, k = struct.pack('>d', place + i), k + 1
  places[k], records[2 * k - 1], records[2 * k] = id .. own, id, head .. own .. middle .. rest
  if k == PIECE or i == n then
    redis.call('RPUSH', line, unpack(places, 1, k))
    redis.call('HSET', JOBS, unpack(records, 1, 2 * k))
    k = 0
  end
end
if ready == n then redis.call('PUBLISH', P .. 'wake', queue) end
return 1
