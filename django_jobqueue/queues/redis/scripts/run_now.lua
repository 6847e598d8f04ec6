-- after: keys checks values counts lines rooms
--
-- Makes a delayed job ready. ARGV: id. Gives 1, or 0 when it is not delayed.

local problem = wrong_store()
if problem then return problem end
local job = find(ARGV[1])
if not job or not job.due then return 0 end
problem = wrong_line(job.queue, job.state.priority)
if problem then return problem end
job.exists = true
promote(clock(), {job})
write_lines()
write_counts()
return 1
