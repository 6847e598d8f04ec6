-- after: keys
--
-- Whether this id lives, or ended lately. ARGV: id.

local id = ARGV[1]
return math.max(redis.call('HEXISTS', JOBS, id), redis.call('HEXISTS', DONE, id), redis.call('HEXISTS', OLDER, id))
