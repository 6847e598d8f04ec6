-- Is a job where its state says? For inspect and mend.

local function place_at(line, index)
  local element = redis.call('LINDEX', line, index)
  return element and #element == 24 and struct.unpack('>d', string.sub(element, 17)) or nil
end

-- How long a line is, and its first and last place. Kept for one look; what mends asks anew.
local ends = {}
local function ends_of(line, is_exact)
  local known = not is_exact and ends[line]
  if not known then
    local high = redis.call('LLEN', line)
    known = {high, high > 0 and place_at(line, 0), high > 0 and place_at(line, -1)}
    ends[line] = known
  end
  return unpack(known)
end

-- Where a place is in a line, nil if it is nowhere. The places of a line grow and are nearly dense, so a guess lands close; in a line
-- of a million jobs some probes instead of a walk.
local function index_of(line, place, is_exact)
  local high, first, last = ends_of(line, is_exact)
  local low
  if not first or not last then return nil end
  if first == place then return 0 end
  if last == place then return high - 1 end
  low, high = 0, high - 1
  for probe = 1, 64 do
    if high - low < 2 or place < first or place > last then return nil end
    local share = probe % 3 == 0 and 0.5 or (place - first) / (last - first)
    local guess = math.max(low + 1, math.min(high - 1, low + math.floor(share * (high - low) + 0.5)))
    local there = place_at(line, guess)
    if not there then return nil end
    if there == place then return guess end
    if there < place then low, first = guess, there else high, last = guess, there end
  end
end

-- How often a claim would find a ready job. `is_exact`: also in a line whose places don't grow.
local function times_in_line(id, queue, s, is_exact)
  local line, element = line_key(queue, s.priority), id .. struct.pack('>d', s.place)
  if not redis.call('ZSCORE', levels_key(queue), s.priority) then return 0 end
  local back = redis.call('ZSCORE', back_key(queue, s.priority), id)
  local times = back and tonumber(back) == s.place and 1 or 0
  local index = index_of(line, s.place, is_exact) or is_exact and redis.call('LPOS', line, element)
  if not index then return times end
  for _, one in ipairs(redis.call('LRANGE', line, math.max(0, index - 1), index + 1)) do
    if one == element then times = times + 1 end
  end
  return times
end

-- Letters for what is wrong with a job, see inspect.lua.
local function wrongs(job, now, late, lease, is_exact)
  local s, id, found = job.state, job.id, {}
  if s.room == READY then
    local times = times_in_line(id, job.queue, s, is_exact)
    if times == 0 then found[#found + 1] = 'n' end
    if times > 1 or job.due then found[#found + 1] = 't' end
  elseif s.room == WAITS then
    if not job.due then found[#found + 1] = 'n' end
    if job.due and tonumber(job.due) < now - late - lease then found[#found + 1] = 'o' end
  else
    local deadline = redis.call('ZSCORE', WORKERS, s.worker)
    if job.due then found[#found + 1] = 't' end
    if not deadline and s.claimed_at < now - late or deadline and tonumber(deadline) < now - late then found[#found + 1] = 'd' end
    if deadline and redis.call('SISMEMBER', held_key(s.worker), id) == 0 then found[#found + 1] = 'l' end
    if is_asked(s.reason) and redis.call('SISMEMBER', ASKED, id) == 0 then found[#found + 1] = 'a' end
  end
  if job.unique ~= '' and redis.call('HGET', UNIQUE, job.unique) ~= id then found[#found + 1] = 'k' end
  if is_over(redis.call('HGET', DONE, id) or redis.call('HGET', OLDER, id), s.lease_no) then found[#found + 1] = 'e' end
  return table.concat(found)
end

-- How many jobs are really in each room of each queue: "r:<queue>" -> n.
local function counted()
  local numbers, cursor = {}, '0'
  repeat
    local found = redis.call('HSCAN', JOBS, cursor, 'COUNT', CHUNK)
    local ids, rows = {}, found[2]
    for i = 1, #rows, 2 do ids[#ids + 1] = rows[i] end
    local states = many(STATE, ids)
    for i = 1, #ids do
      local queue = names_of(rows[2 * i])
      local name = state_of(rows[2 * i], states[i]).room .. ':' .. queue
      numbers[name] = (numbers[name] or 0) + 1
    end
    cursor = found[1]
  until cursor == '0'
  return numbers
end

-- Whether what stands in state, delayed or unique is of no live job.
local function is_of_nobody(where, field)
  if where ~= 'unique' then return redis.call('HEXISTS', JOBS, field) == 0 end
  local record = redis.call('HGET', JOBS, redis.call('HGET', UNIQUE, field) or '')
  return not record or select(2, names_of(record)) ~= field
end

local function holds(worker, id)
  local record = redis.call('HGET', JOBS, id)
  local s = record and state_of(record, redis.call('HGET', STATE, id))
  return s and s.room == LEASED and s.worker == worker
end
