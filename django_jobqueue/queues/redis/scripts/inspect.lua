-- after: keys checks values counts lines rooms seen
--
-- Looks at jobs. ARGV: how many microseconds may be late, the lease in microseconds, a cursor; or '-' and ids.
-- Gives the cursor to go on with, then for each job: id, letters of what is wrong, state, and its record if it has spent attempts or workers.
-- Letters: n in no room, t in two, o overdue, d its holder is gone, l not in its holder's list, a not where workers look
-- for what was asked to stop, k its key is another's, e it has ended.

local late, lease, is_exact = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '-'
local now, ids, records, reply = clock(), {}, {}, {'0'}
if is_exact then
  for i = 4, #ARGV do ids[#ids + 1] = ARGV[i] end
  records = many(JOBS, ids)
else
  local found = redis.call('HSCAN', JOBS, ARGV[3], 'COUNT', 100)
  reply[1] = found[1]
  for i = 1, #found[2], 2 do
    ids[#ids + 1] = found[2][i]
    records[#ids] = found[2][i + 1]
  end
end
local states = many(STATE, ids)
for i, id in ipairs(ids) do
  if records[i] then
    local job = {id = id, state = state_of(records[i], states[i]), due = redis.call('ZSCORE', DELAYED, id)}
    job.queue, job.unique = names_of(records[i])
    reply[#reply + 1] = id
    reply[#reply + 1] = wrongs(job, now, late, lease, is_exact)
    reply[#reply + 1] = packed(job.state)
    local is_spent = job.state.crashes > 0 or job.state.attempt > (job.state.room == LEASED and 1 or 0)
    reply[#reply + 1] = is_spent and whole(records[i]) or ''
  end
end
return reply
