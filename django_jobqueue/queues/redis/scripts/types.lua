-- after: keys checks counts
--
-- Which key is of another type than it should be; an error that names it, or nothing.

local problem = wrong_store()
if problem then return problem end
for _, queue in ipairs(names_in(READY)) do
  problem = wrong_queue(queue)
  if problem then return problem end
end
