-- after: keys checks values counts lines rooms seen
--
-- Mends what is still wrong. ARGV: the fault, then for each case two values: the id and, for lease_behind, the last number that is
-- recorded; for no_lease the worker and the id; for key_of_nobody the key and ''. wrong_count has the number of jobs that may be counted.

local problem = wrong_store()
if problem then return problem end
local fault, now = ARGV[1], clock()

local mends = {}

function mends.no_room(job)
  local s = job.state
  if s.room == READY then
    redis.call('ZADD', levels_key(job.queue), s.priority, s.priority)
    if times_in_line(job.id, job.queue, s, true) == 0 then redis.call('ZADD', back_key(job.queue, s.priority), s.place, job.id) end
  else
    redis.call('ZADD', DELAYED, string.format('%.0f', now), job.id)
  end
end

function mends.two_rooms(job)
  local s = job.state
  if s.room ~= WAITS then redis.call('ZREM', DELAYED, job.id) end
  if s.room ~= READY or times_in_line(job.id, job.queue, s, true) < 2 then return end
  redis.call('ZREM', back_key(job.queue, s.priority), job.id)
  local more = times_in_line(job.id, job.queue, s, true) - 1
  if more > 0 then redis.call('LREM', line_key(job.queue, s.priority), -more, job.id .. struct.pack('>d', s.place)) end
  if more < 0 then mends.no_room(job) end
end

function mends.not_listed(job)
  if job.state.room == LEASED then redis.call('SADD', held_key(job.state.worker), job.id) end
end

function mends.not_asked(job)
  if is_asked(job.state.reason) then redis.call('SADD', ASKED, job.id) end
end

-- The next reclaim finds only what a worker it knows of holds: so the worker becomes one that is silent.
function mends.dead_holder(job)
  if job.state.room ~= LEASED or redis.call('ZSCORE', WORKERS, job.state.worker) then return end
  redis.call('SADD', held_key(job.state.worker), job.id)
  redis.call('ZADD', WORKERS, 1, job.state.worker)
end

function mends.key_not_held(job)
  if job.unique ~= '' and redis.call('HEXISTS', UNIQUE, job.unique) == 0 then redis.call('HSET', UNIQUE, job.unique, job.id) end
end

function mends.lease_behind(job, last)
  local s = job.state
  if s.room == LEASED or s.lease_no >= tonumber(last) then return end
  s.lease_no = tonumber(last)
  redis.call('HSET', STATE, job.id, packed(s))
end

if fault == 'wrong_count' then
  if redis.call('HLEN', JOBS) > tonumber(ARGV[2]) then return 0 end
  local flat = {}
  for name, n in pairs(counted()) do
    flat[#flat + 1] = name
    flat[#flat + 1] = n
  end
  redis.call('UNLINK', COUNTS)
  in_pieces('HSET', COUNTS, flat)
  return 1
end

for i = 2, #ARGV, 2 do
  local first, second = ARGV[i], ARGV[i + 1]
  if fault == 'no_lease' then
    if not holds(first, second) then redis.call('SREM', held_key(first), second) end
  elseif fault == 'key_of_nobody' then
    if is_of_nobody('unique', first) then redis.call('HDEL', UNIQUE, first) end
  elseif fault == 'no_job' then
    if is_of_nobody('state', first) then
      redis.call('HDEL', STATE, first)
      redis.call('ZREM', DELAYED, first)
    end
  else
    local job = find(first)
    local letters = job and wrongs(job, now, 0, 0, true) or ''
    local is_wrong = fault ~= 'no_room' or string.find(letters, 'n', 1, true)
    if job and is_wrong then
      problem = wrong_line(job.queue, job.state.priority) or wrong(held_key(job.state.worker), 'set')
      if problem then return problem end
      mends[fault](job, second)
    end
  end
end
return 1
