-- after: keys checks values counts lines rooms
--
-- Gives jobs that have been ready for so long the highest priority that waits in their queue; they keep their place, and so stand
-- among those that were given back. ARGV: queue, microseconds, how many at most. Gives how many.

local queue, most = ARGV[1], tonumber(ARGV[3])
local problem = wrong_store() or wrong_queue(queue)
if problem then return problem end
local since = clock() - tonumber(ARGV[2])

-- The first jobs of a level: those that were given back, and those of its list. Where the list has leftovers only, they go, as a claim
-- would have it: from a line that starves nobody claims, and what is behind them must be found the next time.
local function first_of(priority, n)
  local key = line_key(queue, priority)
  local line = redis.call('LRANGE', key, 0, n - 1)
  local waiting = present(line)
  if #line > 0 and #waiting == 0 then redis.call('LPOP', key, #line) end
  return present(given_back(queue, priority, n)), waiting
end

local function ready_at(job)
  if job.own then return unpacked(job.own).ready_at end
  return #job.record >= 8 and number_of(job.record) or 0
end

local levels, top = redis.call('ZREVRANGE', levels_key(queue), 0, -1), nil
for _, priority in ipairs(levels) do
  local returned, waiting = first_of(priority, CHUNK)
  if returned[1] or waiting[1] then top = priority break end
end
if not top then return 0 end

-- All of them are read before the first is moved: the top's own set is among what is read.
local lifted = {}
for i = #levels, 1, -1 do
  local priority = levels[i]
  if priority == top or #lifted >= most then break end
  local returned, waiting = first_of(priority, most - #lifted)
  local old = {}
  for _, job in ipairs(returned) do
    if ready_at(job) <= since then old[#old + 1] = {job = job, back = priority} end
  end
  for _, job in ipairs(waiting) do
    if ready_at(job) <= since then old[#old + 1] = {job = job, line = priority} end
  end
  table.sort(old, function(a, b) return number_of(a.job.place) < number_of(b.job.place) end)
  for _, one in ipairs(old) do
    if #lifted < most then lifted[#lifted + 1] = one end
  end
end

local states, places, gone = {}, {}, {}
for _, one in ipairs(lifted) do
  local job = one.job
  local s = state_of(job.record, job.own)
  s.room, s.priority, s.place = READY, tonumber(top), number_of(job.place)
  states[#states + 1] = job.id
  states[#states + 1] = packed(s)
  places[#places + 1] = string.format('%.0f', s.place)
  places[#places + 1] = job.id
  if one.back then redis.call('ZREM', back_key(queue, one.back), job.id) end
  if one.line then redis.call('LREM', line_key(queue, one.line), 1, job.id .. job.place) end
end
in_pieces('HSET', STATE, states)
in_pieces('ZADD', back_key(queue, top), places)
return #lifted
