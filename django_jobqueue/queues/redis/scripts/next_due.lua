-- after: keys
--
-- In how many microseconds the next delayed job is due; '' when there is none.

local next_due = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2]
return next_due and string.format('%.0f', math.max(0, tonumber(next_due) - clock())) or ''
