-- after: keys checks values counts lines rooms
--
-- Ends a job that waits. ARGV: id, how much is recorded. Gives 1, or 0 when it does not wait.

local problem = wrong_store()
if problem then return problem end
local job = find(ARGV[1])
if not job or job.state.room == LEASED then return 0 end
problem = wrong_line(job.queue, job.state.priority)
if problem then return problem end
take_out(job)
finish(clock(), {cancelled(job)}, tonumber(ARGV[2]))
write_counts()
drop_leftovers(job.queue)
return 1
