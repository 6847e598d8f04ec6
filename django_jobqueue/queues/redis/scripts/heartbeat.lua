-- after: keys checks
--
-- Makes a worker known, or keeps it alive. ARGV: worker, lease in microseconds, '1' for a new one. Gives 1; 0 when it is not known.

local problem = wrong_store()
if problem then return problem end
if ARGV[3] ~= '1' and not redis.call('ZSCORE', WORKERS, ARGV[1]) then return 0 end
redis.call('ZADD', WORKERS, string.format('%.0f', clock() + tonumber(ARGV[2])), ARGV[1])
return 1
