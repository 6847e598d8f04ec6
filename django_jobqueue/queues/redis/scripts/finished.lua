-- after: keys values
--
-- A job that is over, if it is still remembered here. ARGV: id. Gives its entry, '' when the tables have it.

local id = ARGV[1]
local over = redis.call('HGET', DONE, id) or redis.call('HGET', OLDER, id)
local waits = over and redis.call('HGET', UNRECORDED, id .. string.sub(over, 2, 5))
return whole_entry(waits or redis.call('HGET', RESULTS, id) or redis.call('HGET', OLDER_RESULTS, id) or '')
