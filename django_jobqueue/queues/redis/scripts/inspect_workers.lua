-- after: keys checks values counts lines rooms seen
--
-- Looks at workers. ARGV: workers. Gives for each when its lease ends ('' unknown), how many ids its list has, and those of them that
-- it does not hold, one after the other.

local now, reply = clock(), {}
for _, worker in ipairs(ARGV) do
  local ids, strange = redis.call('SMEMBERS', held_key(worker)), {}
  for _, id in ipairs(ids) do
    if not holds(worker, id) then strange[#strange + 1] = id end
  end
  local deadline = redis.call('ZSCORE', WORKERS, worker)
  reply[#reply + 1] = deadline and string.format('%.0f', math.max(0, tonumber(deadline) - now)) or ''
  reply[#reply + 1] = #ids
  reply[#reply + 1] = table.concat(strange)
end
return reply
