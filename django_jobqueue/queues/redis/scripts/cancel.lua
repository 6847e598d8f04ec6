-- after: keys checks values counts lines rooms
--
-- Ends a job that waits. ARGV: id, how much is recorded, eight bytes that are this call's alone. Gives 1, or 0 when it does not
-- wait. A client may repeat a call whose answer was late: the last calls that ended something are kept, and say 1 again.

local KEPT = 256

local problem = wrong_store()
if problem then return problem end
local calls = redis.call('HGET', META, 'cancels') or ''
for at = 1, #calls, 8 do
  if string.sub(calls, at, at + 7) == ARGV[3] then return 1 end
end
local job = find(ARGV[1])
if not job or job.state.room == LEASED then return 0 end
problem = wrong_line(job.queue, job.state.priority)
if problem then return problem end
take_out(job)
finish(clock(), {cancelled(job)}, tonumber(ARGV[2]))
write_counts()
drop_leftovers(job.queue)
redis.call('HSET', META, 'cancels', string.sub(calls .. ARGV[3], -8 * KEPT))
return 1
