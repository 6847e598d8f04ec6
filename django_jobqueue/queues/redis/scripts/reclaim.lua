-- after: keys checks values counts lines rooms losses
--
-- Declares silent workers dead and takes their leases: back to the line, or out of it when the crash budget is spent.
-- ARGV: crash budget, how much is recorded. Gives the number of jobs moved, and whether there may be more.

local problem = wrong_store()
if problem then return problem end
local now, budget, level = clock(), tonumber(ARGV[1]), tonumber(ARGV[2])
local silent = redis.call('ZRANGEBYSCORE', WORKERS, '-inf', '(' .. string.format('%.0f', now), 'LIMIT', 0, CHUNK)
local jobs, dead = {}, {}
for _, worker in ipairs(silent) do
  if #jobs < CHUNK then
    local theirs
    theirs, problem = losable(worker)
    if problem then return problem end
    dead[#dead + 1] = worker
    for _, job in ipairs(theirs) do jobs[#jobs + 1] = job end
  end
end

lose(now, jobs, budget, level)
for _, worker in ipairs(dead) do bury(worker) end
write_counts()
return {#jobs, #dead < #silent and 1 or 0}
