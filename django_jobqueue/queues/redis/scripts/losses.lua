-- What becomes of the leases of dead workers.

-- Jobs of a worker that may be taken from it ({} when it holds none), and an error when a key is not what it should be.
local function losable(worker)
  local problem = wrong(held_key(worker), 'set')
  if problem then return {}, problem end
  local jobs = held_by(worker)
  for _, job in ipairs(jobs) do
    problem = wrong_line(job.queue, job.state.priority)
    if problem then return {}, problem end
  end
  return jobs
end

-- Back to the line, the attempt given back and a crash counted, or out of it when the crash budget is spent.
local function lose(now, jobs, budget, level)
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
end

local function bury(worker)
  redis.call('UNLINK', held_key(worker))
  redis.call('ZREM', WORKERS, worker)
  redis.call('HDEL', CALLS, worker)
end
