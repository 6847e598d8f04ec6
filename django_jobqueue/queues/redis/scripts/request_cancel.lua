-- after: keys checks values
--
-- Asks a running job to stop. ARGV: id, 'c' or, to have it killed, 'k'. Gives 1, or 0 when it does not run.
-- The mark stands in its state and is gone with the lease; the set is where workers look for it.

local problem = wrong(JOBS, 'hash') or wrong(STATE, 'hash') or wrong(ASKED, 'set')
if problem then return problem end
local id, mark = ARGV[1], ARGV[2]
local record, state = redis.call('HGET', JOBS, id), redis.call('HGET', STATE, id)
if not record or not state or #state ~= STATE_LENGTH or string.sub(state, 1, 1) ~= LEASED then return 0 end
if reason_of(state) == 'k' then mark = 'k' end
redis.call('HSET', STATE, id, string.sub(state, 1, 22) .. mark .. string.sub(state, 24))
redis.call('SADD', ASKED, id)
return 1
