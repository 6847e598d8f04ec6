-- after: keys checks values counts lines rooms
--
-- Makes delayed jobs ready that are due, so many at once. Gives how many.

local problem = wrong_store()
if problem then return problem end
local now = clock()
local due = due_jobs(now)
for _, job in ipairs(due) do
  problem = wrong_line(job.queue, job.state.priority)
  if problem then return problem end
end
promote(now, due)
write_lines()
write_counts()
return #due
