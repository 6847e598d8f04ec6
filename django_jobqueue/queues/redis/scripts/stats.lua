-- after: keys checks values counts lines rooms
--
-- How many jobs are in each room. ARGV: '1' and a queue, or '0' and '' for all.
-- Gives for each queue: its name, ready, delayed, running, how many microseconds its oldest ready job has been ready.

local now, reply, names, seen = clock(), {}, {}, {}
for _, room in ipairs({READY, WAITS, LEASED}) do
  for _, name in ipairs(names_in(room)) do
    if not seen[name] and (ARGV[1] == '0' or ARGV[2] == name) then
      seen[name] = true
      names[#names + 1] = name
    end
  end
end

-- The first of each priority; a line of leftovers is looked at as far as a claim would in one go.
local function oldest(queue)
  local moment = now
  for _, priority in ipairs(redis.call('ZRANGE', levels_key(queue), 0, -1)) do
    local elements = redis.call('LRANGE', line_key(queue, priority), 0, CHUNK - 1)
    local first, back = present(elements)[1], present(given_back(queue, priority, 100))[1]
    if first then moment = math.min(moment, state_of(first.record, first.own).ready_at) end
    if back then moment = math.min(moment, state_of(back.record, back.own).ready_at) end
  end
  return now - moment
end

for _, name in ipairs(names) do
  reply[#reply + 1] = name
  for _, room in ipairs({READY, WAITS, LEASED}) do
    reply[#reply + 1] = number(redis.call('HGET', COUNTS, room .. ':' .. name))
  end
  reply[#reply + 1] = string.format('%.0f', oldest(name))
end
return reply
