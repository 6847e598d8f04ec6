-- after: keys values
--
-- Ready jobs of one queue that have another priority. ARGV: cursor, queue, priority.
-- Gives the cursor to go on with, then of each its id and the beginning of its record, which names its task: even with the longest
-- queue, unique key and name that ends before byte 2100.

local found = redis.call('HSCAN', JOBS, ARGV[1], 'COUNT', 1000)
local reply, queue, but = {found[1]}, ARGV[2], tonumber(ARGV[3])
for i = 1, #found[2], 2 do
  local id, record = found[2][i], found[2][i + 1]
  if names_of(record) == queue then
    local s = state_of(record, redis.call('HGET', STATE, id))
    if s.room == READY and s.priority ~= but then
      reply[#reply + 1] = id
      reply[#reply + 1] = string.sub(whole(record), 1, 4096)
    end
  end
end
return reply
