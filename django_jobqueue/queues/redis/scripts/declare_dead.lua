-- after: keys checks values counts lines rooms losses
--
-- A worker is proved dead: what reclaim would do when its lease ends, now. ARGV: worker, crash budget, how much is recorded.
-- Gives the number of jobs moved.

local problem = wrong_store()
if problem then return problem end
local jobs
jobs, problem = losable(ARGV[1])
if problem then return problem end
lose(clock(), jobs, tonumber(ARGV[2]), tonumber(ARGV[3]))
bury(ARGV[1])
write_counts()
return #jobs
