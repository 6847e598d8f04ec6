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

-- How many workers a job may bring down.
local function budget_of(job, usual)
  local own = string.byte(split(job.record) or '', 2) or 0
  return own > 0 and own or usual
end

-- Back to the line, the attempt given back and a crash counted; or over, when the crash budget is spent. One that was asked to
-- stop has: whoever killed its worker may have meant just that. `innocent`: ids of those that are not charged.
local function lose(now, jobs, budget, level, innocent)
  local changed, ended = {}, {}
  for _, job in ipairs(jobs) do
    local s = job.state
    if is_asked(s.reason) then
      ended[#ended + 1] = ended_as(job, 'Y')
    elseif innocent and innocent[job.id] then
      release(job, changed)
    else
      s.crashes = math.min(s.crashes + 1, 32767)
      if s.crashes >= budget_of(job, budget) then
        ended[#ended + 1] = ended_as(job, 'W')
      else
        ended[#ended + 1] = {id = job.id, state = packed(s), record = job.record, unique = job.unique, outcome = 'O', body = ''}
        release(job, changed)
      end
    end
  end
  in_pieces('HSET', STATE, changed)
  finish(now, ended, level)
end

local function bury(worker)
  redis.call('UNLINK', held_key(worker))
  redis.call('ZREM', WORKERS, worker)
  redis.call('HDEL', CALLS, worker)
end
