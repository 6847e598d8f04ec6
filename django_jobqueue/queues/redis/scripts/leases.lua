-- after: keys checks values counts lines rooms
--
-- What a worker holds, in the order of the line. ARGV: worker. Gives for each job: state, id, record.

local jobs, reply = held_by(ARGV[1]), {}
table.sort(jobs, function(a, b)
  if a.state.priority ~= b.state.priority then return a.state.priority > b.state.priority end
  return a.state.place < b.state.place
end)
for i, job in ipairs(jobs) do reply[i] = packed(job.state) .. job.id .. job.record end
return reply
