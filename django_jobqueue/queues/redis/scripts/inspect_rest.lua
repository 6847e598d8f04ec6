-- after: keys checks values counts lines rooms seen
--
-- Looks at what belongs to jobs. ARGV: 'state', 'delayed' or 'unique', and a cursor; or '-' and fields.
-- Gives the cursor to go on with, how many were looked at, then the fields that are of no live job.

local where, fields, next_cursor = ARGV[1], {}, '0'
if ARGV[2] == '-' then
  local key = where == 'delayed' and DELAYED or where == 'unique' and UNIQUE or STATE
  for i = 3, #ARGV do
    local is_there = redis.call(where == 'delayed' and 'ZSCORE' or 'HGET', key, ARGV[i])
    if is_there then fields[#fields + 1] = ARGV[i] end
  end
else
  local found
  if where == 'delayed' then
    found = redis.call('ZSCAN', DELAYED, ARGV[2], 'COUNT', 500)
  else
    found = redis.call('HSCAN', where == 'unique' and UNIQUE or STATE, ARGV[2], 'COUNT', 500)
  end
  next_cursor = found[1]
  for i = 1, #found[2], 2 do fields[#fields + 1] = found[2][i] end
end
local reply = {next_cursor, #fields}
for _, field in ipairs(fields) do
  if is_of_nobody(where, field) then reply[#reply + 1] = field end
end
return reply
