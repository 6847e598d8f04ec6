-- after: keys
--
-- A job that is over, if it is still remembered here. ARGV: id. Gives its entry, '' when the tables have it.

local over = redis.call('HGET', DONE, ARGV[1]) or redis.call('HGET', OLDER, ARGV[1])
if not over or #over < 5 then return '' end
if #over > 5 then return string.sub(over, 6) end
return redis.call('HGET', UNRECORDED, ARGV[1] .. string.sub(over, 2, 5)) or ''
