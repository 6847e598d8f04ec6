-- after: keys checks values counts lines rooms
--
-- Where a job is. ARGV: id. Gives nothing, or its state, its record and, if it is delayed, when it is due.

local job = find(ARGV[1])
if not job then return {} end
return {packed(job.state), whole(job.record), job.due or ''}
