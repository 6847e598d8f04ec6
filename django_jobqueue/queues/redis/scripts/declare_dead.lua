-- after: keys checks values counts lines rooms losses
--
-- A worker is proved dead: what reclaim would do when its lease ends, now. ARGV: worker, crash budget, how much is recorded,
-- ids of jobs that it had not started, one behind the other: they go back uncharged. Gives the number of jobs moved.

local problem = wrong_store()
if problem then return problem end
local jobs, innocent = nil, {}
for at = 1, #ARGV[4], 16 do innocent[string.sub(ARGV[4], at, at + 15)] = true end
jobs, problem = losable(ARGV[1])
if problem then return problem end
lose(clock(), jobs, tonumber(ARGV[2]), tonumber(ARGV[3]), innocent)
bury(ARGV[1])
write_counts()
return #jobs
