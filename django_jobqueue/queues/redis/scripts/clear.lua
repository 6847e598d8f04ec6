-- after: keys checks values counts lines rooms
--
-- Removes waiting jobs, a thousand at most. ARGV: '1' and a queue, or '0' and '' for all; how much is recorded; where to go on among
-- the delayed. Gives how many were removed, and where to go on ('' when nothing is left).

local problem = wrong_store()
if problem then return problem end
local is_one, level, from = ARGV[1] == '1', tonumber(ARGV[3]), tonumber(ARGV[4])
local queues = is_one and {ARGV[2]} or names_in(READY)
for _, queue in ipairs(queues) do
  problem = wrong_queue(queue)
  if problem then return problem end
end

local removed = {}
for _, queue in ipairs(queues) do
  for _, priority in ipairs(redis.call('ZREVRANGE', levels_key(queue), 0, -1)) do
    if #removed < CHUNK then
      for _, job in ipairs(take_first(queue, priority, CHUNK - #removed)) do
        job.queue, job.state, job.unique = queue, state_of(job.record, job.own), select(2, names_of(job.record))
        count(READY, queue, -1)
        removed[#removed + 1] = job
      end
    end
  end
end
local next_from = from
if #removed < CHUNK then
  local ids = redis.call('ZRANGE', DELAYED, from, from + CHUNK - 1)
  local records, states = many(JOBS, ids), many(STATE, ids)
  next_from = #ids < CHUNK and '' or from
  for i, id in ipairs(ids) do
    local record = records[i] or ''
    local queue, unique = names_of(record)
    if is_one and queue ~= ARGV[2] then
      next_from = next_from ~= '' and next_from + 1 or ''
    else
      redis.call('ZREM', DELAYED, id)
      if record ~= '' then
        count(WAITS, queue, -1)
        removed[#removed + 1] = {id = id, queue = queue, unique = unique, state = state_of(record, states[i]), record = record}
      end
    end
  end
end

-- One that has run leaves a record: its id is over for good. One that has not leaves no trace.
local ended, ids, keys = {}, {}, {}
for _, job in ipairs(removed) do
  if job.state.lease_no > 0 then
    ended[#ended + 1] = cancelled(job)
  else
    ids[#ids + 1] = job.id
    if job.unique ~= '' then keys[#keys + 1] = job.unique end
  end
end
in_pieces('HDEL', JOBS, ids)
in_pieces('HDEL', STATE, ids)
in_pieces('HDEL', UNIQUE, keys)
finish(clock(), ended, level)
write_counts()
return {#removed, tostring(next_from)}
