-- after: keys checks values
--
-- Which jobs of these workers were asked to stop. ARGV: workers. Gives id, mark, id, mark, …
-- What is over is swept out of the set by whoever looks.

local problem = wrong(STATE, 'hash') or wrong(ASKED, 'set')
if problem then return problem end
local ids, mine, reply, over = redis.call('SMEMBERS', ASKED), {}, {}, {}
if #ids == 0 then return reply end
for _, worker in ipairs(ARGV) do mine[worker] = true end
for i, state in pairs(many(STATE, ids)) do
  local mark = state and #state == STATE_LENGTH and string.sub(state, 1, 1) == LEASED and reason_of(state)
  if not is_asked(mark) then
    over[#over + 1] = ids[i]
  elseif mine[holder_of(state)] then
    reply[#reply + 1] = ids[i]
    reply[#reply + 1] = mark
  end
end
in_pieces('SREM', ASKED, over)
return reply
