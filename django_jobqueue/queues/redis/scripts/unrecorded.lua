-- after: keys values
--
-- Ended executions the tables don't have yet, older than so many microseconds. ARGV: cursor, that age.
-- Gives the cursor to go on with, then field and entry of each.

local now, found = clock(), redis.call('HSCAN', UNRECORDED, ARGV[1], 'COUNT', 500)
local reply = {found[1]}
for i = 1, #found[2], 2 do
  local value = found[2][i + 1]
  if #value < 8 or not (now - struct.unpack('>d', value) < tonumber(ARGV[2])) then  -- garbage may be no number
    reply[#reply + 1] = found[2][i]
    reply[#reply + 1] = whole_entry(value)
  end
end
return reply
