-- Out of the line, into a worker's hands.

local FIRST_CLAIM = struct.pack('>I2I2c1I4', 1, 0, ' ', 1)

-- The state of a job that is claimed now: `own` is the one it had, if any.
local function claimed(record, own, place, priority, stamp, worker)
  if own then
    local attempt, crashes, reason, lease_no = struct.unpack('>I2I2c1I4', own, 19)
    local numbers = struct.pack('>I2I2c1I4', math.min(attempt + 1, 32767), crashes, reason, math.min(lease_no + 1, 2147483647))
    return LEASED .. string.sub(own, 2, 18) .. numbers .. stamp .. worker
  end
  local begin = #record >= HEAD_LENGTH and string.sub(record, 1, 17) or stamp .. struct.pack('>db', place, priority)
  return LEASED .. begin .. FIRST_CLAIM .. stamp .. worker
end

-- A server keeps a hash of short values in one piece, up to 512 of them by default, and searches it from its beginning for each field.
-- One longer value, there for a moment, makes it a table.
local FEW, TOO_LONG = 16, string.rep(' ', 65)
local function write_leases(leases, n)
  local is_small = n > FEW and redis.call('HLEN', STATE) <= 512
  if is_small then redis.call('HSET', STATE, '', TOO_LONG) end
  in_pieces('HSET', STATE, leases)
  if is_small then redis.call('HDEL', STATE, '') end
end

-- As `take_first`, for a line to which nothing was given back: `take` gets id, record, own and place of each job. Gives how many.
local function take_line(queue, priority, n, take)
  local line, taken, size = line_key(queue, priority), 0, 0
  while taken < n do
    size = math.min(math.max(n - taken, 4 * size), CHUNK)
    local popped, ids, places, rest = redis.call('LPOP', line, size) or {}, {}, {}, {}
    if #popped == 0 then
      redis.call('ZREM', levels_key(queue), priority)
      break
    end
    for i, element in ipairs(popped) do
      if #element == 24 then ids[i], places[i] = struct.unpack('>c16d', element) else ids[i] = element end
    end
    local records, states = many(JOBS, ids), many(STATE, ids)
    for i, id in ipairs(ids) do
      local record, own, place = records[i], states[i], places[i]
      if own and #own ~= STATE_LENGTH then own = nil end
      if is_there(record, own, place) then
        if taken < n then
          take(id, record, own, place)
          taken = taken + 1
        else
          rest[#rest + 1] = popped[i]
        end
      end
    end
    for i = #rest, 1, -1 do redis.call('LPUSH', line, rest[i]) end
  end
  return taken
end
