-- after: keys checks values counts lines rooms
--
-- The job next in line. ARGV: queue. Gives nothing, or its state, id and record.

local queue = ARGV[1]
for _, priority in ipairs(redis.call('ZREVRANGE', levels_key(queue), 0, -1)) do
  local line, from = line_key(queue, priority), 0
  local first = nil
  while not first do
    local elements = redis.call('LRANGE', line, from, from + CHUNK - 1)
    if #elements == 0 then break end
    first = present(elements)[1]
    from = from + CHUNK
  end
  local back = present(given_back(queue, priority, CHUNK))[1]
  if back and (not first or number_of(back.place) < number_of(first.place)) then first = back end
  if first then return {packed(state_of(first.record, first.own)), first.id, whole(first.record)} end
end
return {}
