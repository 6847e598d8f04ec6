-- How many jobs are in each room; a script writes each change once, at its end.

local delta = {[READY] = {}, [WAITS] = {}, [LEASED] = {}}
local function count(room, queue, n) delta[room][queue] = (delta[room][queue] or 0) + n end

-- Wakes workers for each queue that had no ready job and has one now: where there were some, they are up already.
local function write_counts()
  for room, changes in pairs(delta) do
    for queue, n in pairs(changes) do
      local total = n ~= 0 and redis.call('HINCRBY', COUNTS, room .. ':' .. queue, n)
      if total and total <= 0 then redis.call('HDEL', COUNTS, room .. ':' .. queue) end
      if total and n > 0 and total <= n and room == READY then redis.call('PUBLISH', P .. 'wake', queue) end
    end
    delta[room] = {}
  end
end

-- queue names with jobs in a room, by name
local function names_in(room)
  local names, all = {}, redis.call('HGETALL', COUNTS)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == room .. ':' and number(all[i + 1]) > 0 then names[#names + 1] = string.sub(all[i], 3) end
  end
  table.sort(names)
  return names
end
