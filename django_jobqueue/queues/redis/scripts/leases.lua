-- after: keys checks values counts lines rooms
--
-- What a worker holds, in the order of the line. ARGV: worker. Gives for each job: length of the record, state, id, record.

local reply = {}
for i, job in ipairs(in_line(held_by(ARGV[1]))) do reply[i] = handed(packed(job.state), job.id, job.record) end
return reply
