-- after: keys values
--
-- How jobs are. ARGV: their ids, one after the other. Gives for each its state, '' when it is over or unknown.

local ids, found = {}, {}
for at = 1, #ARGV[1], 16 do ids[#ids + 1] = string.sub(ARGV[1], at, at + 15) end
local records, states = many(JOBS, ids), many(STATE, ids)
for i = 1, #ids do found[i] = records[i] and packed(state_of(records[i], states[i])) or '' end
return found
