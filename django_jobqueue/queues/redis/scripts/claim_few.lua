-- after:
--
-- Claims the few jobs that wait in one line, for a worker that settles nothing: what exchange.lua does, in as few steps as it takes,
-- because an idle worker is told of each job by itself, and until this has ended the job waits. What is not plain is left to
-- exchange.lua: delayed jobs that are due, jobs that were claimed or given back before, several lines, many jobs, a repeated call.
-- ARGV: worker, limit (at least 1), number of the call, the queues (none: all).
-- Gives in how many microseconds the next delayed job is due ('' none), the traits of the jobs and the jobs, both as exchange.lua does;
-- or 0: nothing has happened, ask exchange.lua.

local FEW, HEAD_LENGTH, MOST_UNRECORDED = 16, 21, 100000
local JOBS, worker, limit, call, queues = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3], {}
local P = string.sub(JOBS, 1, -5)
local COUNTS, STATE, CALLS = P .. 'counts', P .. 'state', P .. 'calls'

local now, due = redis.call('TIME'), redis.call('ZRANGE', P .. 'delayed', 0, 0, 'WITHSCORES')[2]
now = now[1] * 1000000 + now[2]
if due then
  due = tonumber(due) - now
  if not (due > 0) then return 0 end
  due = string.format('%.0f', due)
end
if not redis.call('ZSCORE', P .. 'workers', worker) or redis.call('HLEN', P .. 'unrecorded') > MOST_UNRECORDED then return 0 end
if string.sub(redis.call('HGET', CALLS, worker) or '', 9) == call then return 0 end

-- Which line is it?
if #ARGV == 3 then
  local all = redis.call('HGETALL', COUNTS)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'r:' then queues[#queues + 1] = string.sub(all[i], 3) end
  end
else
  for i = 4, #ARGV do queues[i - 3] = ARGV[i] end
end
local queue, levels, priority
for _, name in ipairs(queues) do
  local found = redis.call('ZRANGE', P .. 'levels:' .. name, 0, 1)
  if found[1] then
    if found[2] or (queue and queue ~= name) then return 0 end
    queue, levels, priority = name, P .. 'levels:' .. name, found[1]
  end
end
if not queue then return {due or '', '', ''} end
local line, held, ready = P .. 'line:' .. queue .. ':' .. priority, P .. 'held:' .. worker, 'r:' .. queue
local most = math.min(limit, FEW + 1)
local elements = redis.call('LRANGE', line, 0, most - 1)
local n = #elements
if n == 0 or n > FEW or redis.call('EXISTS', P .. 'back:' .. queue .. ':' .. priority) == 1 then return 0 end

-- Are all of them plain?
local ids, places = {}, {}
for i = 1, n do
  if #elements[i] ~= 24 then return 0 end
  ids[i], places[i] = struct.unpack('>c16d', elements[i])
end
local records, states = redis.call('HMGET', JOBS, unpack(ids)), redis.call('HMGET', STATE, unpack(ids))
local stamp, leases, piece, told, traits = struct.pack('>d', now), {}, {}, {}, ''
for i = 1, n do
  local record = records[i]
  if not record or states[i] or #record < HEAD_LENGTH or struct.unpack('>d', record, 9) ~= places[i] then return 0 end
  local number = string.sub(record, 18, 19)
  if number ~= '\0\0' and not told[number] then
    local text = redis.call('HGET', P .. 'traits', number) or ''
    traits, told[number] = traits .. number .. struct.pack('>I2', #text) .. text, true
  end
  -- see `claimed` in claims.lua
  local state = 'l' .. string.sub(record, 1, 17) .. '\0\1\0\0 \0\0\0\1' .. stamp .. worker
  leases[2 * i - 1], leases[2 * i] = ids[i], state
  piece[i] = struct.pack('>I4', #record) .. state .. ids[i] .. record
end
local left = (tonumber(redis.call('HGET', COUNTS, ready) or '') or 0) - n
redis.call('SCARD', held)  -- of another type, it stops the script before anything is written

redis.call('HINCRBY', COUNTS, 'l:' .. queue, n)
if left > 0 then redis.call('HINCRBY', COUNTS, ready, -n) else redis.call('HDEL', COUNTS, ready) end
redis.call('LPOP', line, n)
if n < most then redis.call('ZREM', levels, priority) end
redis.call('HSET', STATE, unpack(leases))
redis.call('SADD', held, unpack(ids))
redis.call('HSET', CALLS, worker, stamp .. call)
return {due or '', traits, table.concat(piece)}
