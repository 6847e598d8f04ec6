-- after: keys checks values counts lines rooms
--
-- Declares silent workers dead and takes their leases: back to the line, or out of it when the crash budget is spent.
-- ARGV: crash budget, how much is recorded. Gives the number of jobs moved, and whether there may be more.

local problem = wrong_store()
if problem then return problem end
local now, budget, level = clock(), tonumber(ARGV[1]), tonumber(ARGV[2])
local silent = redis.call('ZRANGEBYSCORE', WORKERS, '-inf', '(' .. string.format('%.0f', now), 'LIMIT', 0, CHUNK)
local jobs, dead = {}, {}
for _, worker in ipairs(silent) do
  if #jobs < CHUNK then
    problem = wrong(held_key(worker), 'set')
    if problem then return problem end
    dead[#dead + 1] = worker
    for _, job in ipairs(held_by(worker)) do
      problem = wrong_line(job.queue, job.state.priority)
      if problem then return problem end
      jobs[#jobs + 1] = job
    end
  end
end

local changed, ended = {}, {}
for _, job in ipairs(jobs) do
  local s = job.state
  s.crashes = math.min(s.crashes + 1, 32767)
  local is_poison = s.crashes >= budget
  ended[#ended + 1] = {id = job.id, state = packed(s), record = job.record, unique = job.unique, outcome = is_poison and 'W' or 'O', body = ''}
  if is_poison then count(LEASED, job.queue, -1) else release(job, changed) end
end
in_pieces('HSET', STATE, changed)
finish(now, ended, level)
for _, worker in ipairs(dead) do
  redis.call('UNLINK', held_key(worker))
  redis.call('ZREM', WORKERS, worker)
  redis.call('HDEL', CALLS, worker)
end
write_counts()
return {#jobs, #dead < #silent and 1 or 0}
