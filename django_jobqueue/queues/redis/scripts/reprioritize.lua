-- after: keys checks values counts lines rooms
--
-- Gives a waiting job another priority, behind its new equals. ARGV: id, priority. Gives 1, or 0 when it does not wait.

local problem = wrong_store()
if problem then return problem end
local job, priority = find(ARGV[1]), tonumber(ARGV[2])
if not job or job.state.room == LEASED then return 0 end
local s = job.state
problem = wrong_line(job.queue, s.priority) or wrong_line(job.queue, priority)
if problem then return problem end
if s.room == READY then
  take_out(job)
  s.place, s.ready_at = next_places(1) + 1, clock()
  line_up(job.id, job.queue, priority, s.place)
end
s.priority = priority
redis.call('HSET', STATE, job.id, packed(s))
write_lines()
write_counts()
return 1
