-- after: keys checks values counts lines rooms seen
--
-- Do the numbers add up? ARGV: up to how many jobs are counted one by one; of more, only the sums are compared.
-- Gives how many jobs there are, ready (as counted by us), delayed, running, and the workers, one after the other; then the counts that
-- are wrong.

local jobs, kept = redis.call('HLEN', JOBS), {}
local sums = {[READY] = 0, [WAITS] = 0, [LEASED] = 0}
local all = redis.call('HGETALL', COUNTS)
for i = 1, #all, 2 do
  kept[all[i]] = number(all[i + 1])
  local room = string.sub(all[i], 1, 1)
  if sums[room] then sums[room] = sums[room] + kept[all[i]] end
end
local delayed, running, workers = redis.call('ZCARD', DELAYED), 0, redis.call('ZRANGE', WORKERS, 0, -1)
for _, worker in ipairs(workers) do running = running + redis.call('SCARD', held_key(worker)) end
local reply = {jobs, sums[READY], delayed, running, table.concat(workers)}
if jobs <= tonumber(ARGV[1]) then
  local real = counted()
  for name, n in pairs(kept) do
    if n ~= (real[name] or 0) then reply[#reply + 1] = name end
  end
  for name in pairs(real) do
    if not kept[name] then reply[#reply + 1] = name end
  end
elseif sums[WAITS] ~= delayed or sums[LEASED] ~= running or sums[READY] ~= jobs - delayed - running then
  reply[#reply + 1] = 'of all queues'
end
return reply
