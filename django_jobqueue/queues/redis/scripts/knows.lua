-- after: keys
--
-- Whether this id lives, or ended lately. ARGV: id, its last lease number: the death of a job that is brought back does not count.

if redis.call('HEXISTS', JOBS, ARGV[1]) == 1 then return 1 end
return is_over(redis.call('HGET', DONE, ARGV[1]) or redis.call('HGET', OLDER, ARGV[1]), tonumber(ARGV[2])) and 1 or 0
