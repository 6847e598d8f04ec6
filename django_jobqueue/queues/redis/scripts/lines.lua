-- The end of the line, and the delayed.

-- Places at the end of the line. `lines` collects them, so that each list is written once.
local lines = {}
local function line_up(id, queue, priority, place)
  local of_queue = lines[queue]
  if not of_queue then of_queue = {}; lines[queue] = of_queue end
  local line = of_queue[priority]
  if not line then line = {}; of_queue[priority] = line end
  line[#line + 1] = id .. struct.pack('>d', place)
  count(READY, queue, 1)
end

local function write_lines()
  for queue, of_queue in pairs(lines) do
    for priority, line in pairs(of_queue) do
      in_pieces('RPUSH', line_key(queue, priority), line)
      redis.call('ZADD', levels_key(queue), priority, priority)
    end
  end
  lines = {}
end

local function next_places(n) return redis.call('HINCRBY', META, 'seq', n) - n end

-- Delayed jobs with their due times ({score, id, score, id, ...}), and a word to sleepers when one is due before all others.
local function wait_until(dues, soonest)
  if not soonest then return end
  local next_due = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2]
  in_pieces('ZADD', DELAYED, dues)
  if not next_due or soonest < tonumber(next_due) then redis.call('PUBLISH', P .. 'wake', '') end
end
