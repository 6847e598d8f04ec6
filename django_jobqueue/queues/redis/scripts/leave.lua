-- after: keys checks values counts lines rooms
--
-- A worker is gone, in good order: what it holds goes back. ARGV: worker.

local worker = ARGV[1]
local problem = wrong_store() or wrong(held_key(worker), 'set')
if problem then return problem end
local jobs, changed = held_by(worker), {}
for _, job in ipairs(jobs) do
  problem = wrong_line(job.queue, job.state.priority)
  if problem then return problem end
end
for _, job in ipairs(jobs) do release(job, changed) end
in_pieces('HSET', STATE, changed)
redis.call('UNLINK', held_key(worker))
redis.call('ZREM', WORKERS, worker)
redis.call('HDEL', CALLS, worker)
write_counts()
return #jobs
