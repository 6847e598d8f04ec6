-- after: keys checks values counts lines rooms
--
-- A worker is gone, in good order: what it holds goes back, and what was asked to stop is over. ARGV: worker, how much is recorded.
-- Gives the number of jobs that are over.

local worker = ARGV[1]
local problem = wrong_store() or wrong(held_key(worker), 'set')
if problem then return problem end
local jobs, changed, ended = held_by(worker), {}, {}
for _, job in ipairs(jobs) do
  problem = wrong_line(job.queue, job.state.priority)
  if problem then return problem end
end
for _, job in ipairs(jobs) do
  if is_asked(job.state.reason) then ended[#ended + 1] = ended_as(job, 'X') else release(job, changed) end
end
in_pieces('HSET', STATE, changed)
finish(clock(), ended, tonumber(ARGV[2]))
redis.call('UNLINK', held_key(worker))
redis.call('ZREM', WORKERS, worker)
redis.call('HDEL', CALLS, worker)
write_counts()
return #ended
