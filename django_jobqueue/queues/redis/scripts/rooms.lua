-- From room to room.

local DONE_SECONDS, DONE_JOBS, DONE_BYTES = 600, 100000, 33554432

-- Back to the very place it had.
local function give_back(id, queue, s)
  redis.call('ZADD', back_key(queue, s.priority), s.place, id)
  redis.call('ZADD', levels_key(queue), s.priority, s.priority)
  count(READY, queue, 1)
end

-- entry: when, outcome, state, length of what the worker said, that, the record. Its traits are put in when it is read; but what a
-- worker has decided to bury a client reads without a script.
local NO_WORDS = '\0\0\0\0'
local function entry(stamp, outcome, state, body, record)
  if outcome == 'D' then record = whole(record) end
  if body == '' then return stamp .. outcome .. state .. NO_WORDS .. record end
  return stamp .. outcome .. state .. struct.pack('>I4', #body) .. body .. record
end

-- Which ended executions go into the tables, by how much is recorded: 2 all, 1 failures, 0 none. Dead letters always.
local RECORDED_FROM = {D = 0, W = 0, R = 1, O = 1, C = 2, X = 2, Y = 2, S = 2}
local FINAL = {C = true, X = true, Y = true, D = true, W = true}

-- The younger generation becomes the older one, which is forgotten.
local function rotate(younger, older, since, now)
  redis.call('UNLINK', older)
  if redis.call('EXISTS', younger) == 1 then redis.call('RENAME', younger, older) end
  redis.call('HSET', META, since, string.format('%.0f', now))
end

local function is_old(since, now) return now - number(redis.call('HGET', META, since)) > DONE_SECONDS * 1000000 end

local function remember_done(now, done)
  if #done == 0 then return end
  if redis.call('HLEN', DONE) >= DONE_JOBS or is_old('done_since', now) then rotate(DONE, OLDER, 'done_since', now) end
  in_pieces('HSET', DONE, done)
  redis.call('EXPIRE', DONE, 2 * DONE_SECONDS)
end

local function remember_results(now, results, bytes)
  if #results == 0 then return end
  local all = redis.call('HINCRBY', META, 'results_bytes', bytes)
  if all > DONE_BYTES or redis.call('HLEN', RESULTS) >= DONE_JOBS or is_old('results_since', now) then
    rotate(RESULTS, OLDER_RESULTS, 'results_since', now)
    redis.call('HSET', META, 'results_bytes', bytes)
  end
  in_pieces('HSET', RESULTS, results)
  redis.call('EXPIRE', RESULTS, 2 * DONE_SECONDS)
end

-- Ended executions are noted one by one and written together: each key once. The caller has counted them out of their rooms.
-- No table for each of them, here and wherever a batch passes: eight fields in a table cost as much as an HSET.
local function endings(now, level)
  return {now = now, level = level, stamp = struct.pack('>d', now), ids = {}, keys = {}, unrecorded = {}, done = {}, results = {},
    bytes = 0, n = 0, m = 0}
end

local function note_end(all, id, state, record, unique, outcome, body)
  local to_table, final, lease_no = all.level >= RECORDED_FROM[outcome], FINAL[outcome], lease_of(state)
  if to_table then
    local m = all.m
    all.unrecorded[m + 1], all.unrecorded[m + 2] = id .. lease_no, entry(all.stamp, outcome, state, body, record)
    all.m = m + 2
  end
  if not final then return end
  local n, done = all.n + 1, all.done
  all.n, all.ids[n] = n, id
  done[2 * n - 1], done[2 * n] = id, outcome .. lease_no
  if not to_table then
    local results, kept = all.results, entry(all.stamp, outcome, state, body, record)
    local at = #results
    results[at + 1], results[at + 2] = id, kept
    all.bytes = all.bytes + #kept
  end
  if unique ~= '' then all.keys[#all.keys + 1] = unique end
end

local function write_ends(all)
  in_pieces('HSET', UNRECORDED, all.unrecorded)
  in_pieces('HDEL', JOBS, all.ids)
  in_pieces('HDEL', STATE, all.ids)
  in_pieces('HDEL', UNIQUE, all.keys)
  remember_done(all.now, all.done)
  remember_results(all.now, all.results, all.bytes)
end

-- The same for a few: {id, state (bytes), record, unique, outcome, body}.
local function finish(now, ended, level)
  local all = endings(now, level)
  for _, one in ipairs(ended) do note_end(all, one.id, one.state, one.record, one.unique, one.outcome, one.body) end
  write_ends(all)
end

-- Jobs that are due, oldest first: {id, queue, state}. One without a record is dropped by promote.
local function due_jobs(now)
  local ids = redis.call('ZRANGEBYSCORE', DELAYED, '-inf', string.format('%.0f', now), 'LIMIT', 0, CHUNK)
  if #ids == 0 then return {} end
  local records, states, due = many(JOBS, ids), many(STATE, ids), {}
  for i, id in ipairs(ids) do
    local record = records[i] or ''
    local job = {id = id, exists = record ~= '', state = state_of(record, states[i])}
    job.queue = names_of(record)
    due[i] = job
  end
  return due
end

-- To the end of the line, in this order.
local function promote(now, due)
  if #due == 0 then return end
  local ids, states, place = {}, {}, next_places(#due)
  for i, job in ipairs(due) do
    ids[i] = job.id
    if job.exists then
      local s = job.state
      place = place + 1
      s.room, s.place, s.ready_at, s.reason = READY, place, now, ' '
      states[#states + 1] = job.id
      states[#states + 1] = packed(s)
      count(WAITS, job.queue, -1)
      line_up(job.id, job.queue, s.priority, place)
    end
  end
  in_pieces('ZREM', DELAYED, ids)
  in_pieces('HSET', STATE, states)
end

-- Whether a job is at this place (a number) of a line. `own` is the state that it has, if any.
local READY_ROOM = string.byte(READY)
local function is_there(record, own, place)
  if not record or not place then return false end
  if own then return string.byte(own) == READY_ROOM and struct.unpack('>d', own, 10) == place end
  return #record < HEAD_LENGTH or struct.unpack('>d', record, 9) == place  -- one of garbage is taken at its word: it will be a dead letter
end

-- Of elements of a line (id and place, 24 bytes) the jobs that are really there: {id, place, own (their state, if any), record}
local function present(elements)
  local ids, found = {}, {}
  for i, element in ipairs(elements) do ids[i] = string.sub(element, 1, 16) end
  local records, states = many(JOBS, ids), many(STATE, ids)
  for i, element in ipairs(elements) do
    local record, own, place = records[i], states[i], string.sub(element, 17)
    if own and #own ~= STATE_LENGTH then own = nil end
    if is_there(record, own, #place == 8 and struct.unpack('>d', place)) then found[#found + 1] = {id = ids[i], place = place, own = own, record = record} end
  end
  return found
end

local function number_of(place) return struct.unpack('>d', place) end

-- Of jobs that were given back, those with the smallest places, as elements of a line.
local function given_back(queue, priority, n)
  local elements, found = {}, redis.call('ZRANGE', back_key(queue, priority), 0, n - 1, 'WITHSCORES')
  for i = 1, #found, 2 do elements[#elements + 1] = found[i] .. struct.pack('>d', tonumber(found[i + 1])) end
  return elements
end

-- The first n of the jobs that were given back and of those popped off the line; the rest of these returns to its head. Places of
-- what is still in the line are not smaller than `bound`, so of the jobs that were given back only those before it may be taken.
local function merged(line, returned, popped, n, bound)
  local first, i, j = {}, 1, 1
  while #first < n do
    local back = returned[i] and number_of(returned[i].place)
    if back and back <= bound and (not popped[j] or back < number_of(popped[j].place)) then
      first[#first + 1] = returned[i]
      i = i + 1
    elseif not popped[j] then
      break
    else
      first[#first + 1] = popped[j]
      j = j + 1
    end
  end
  for k = #popped, j, -1 do redis.call('LPUSH', line, popped[k].id .. popped[k].place) end
  return first, i - 1
end

-- Out of the set go the jobs that were taken, and what is not there any more.
local function take_back(back, given, returned, taken)
  local stays, gone = {}, {}
  for i = taken + 1, #returned do stays[returned[i].id] = true end
  for _, element in ipairs(given) do
    local id = string.sub(element, 1, -9)
    if not stays[id] then gone[#gone + 1] = id end
  end
  in_pieces('ZREM', back, gone)
end

-- The place of the last element that was popped, if the line may go on behind it.
local function bound_of(popped, size)
  if #popped < size then return math.huge end
  local place = string.sub(popped[#popped], 17)
  return #place == 8 and number_of(place) or -math.huge
end

-- Takes up to n jobs from one priority of a queue, by place. Where it finds leftovers only, it looks at ever more at once.
local function take_first(queue, priority, n)
  local line, back, jobs, size = line_key(queue, priority), back_key(queue, priority), {}, 0
  while #jobs < n do
    local wanted = math.min(n - #jobs, CHUNK)
    size = math.min(math.max(wanted, 4 * size), CHUNK)
    local popped, given = redis.call('LPOP', line, size) or {}, given_back(queue, priority, wanted)
    if #popped == 0 and #given == 0 then
      redis.call('ZREM', levels_key(queue), priority)
      break
    end
    local returned = present(given)
    local first, taken = merged(line, returned, present(popped), wanted, bound_of(popped, size))
    for _, job in ipairs(first) do jobs[#jobs + 1] = job end
    take_back(back, given, returned, taken)
  end
  return jobs
end

-- A job by its id, wherever it is; nil when there is none. `room` may be READY, WAITS or LEASED.
local function find(id)
  local record = redis.call('HGET', JOBS, id)
  if not record then return nil end
  local job = {id = id, record = record, state = state_of(record, redis.call('HGET', STATE, id))}
  job.queue, job.unique = names_of(record)
  job.due = redis.call('ZSCORE', DELAYED, id)
  return job
end

-- Takes a waiting job out of its room; its place in a line is left to be passed over, unless it was the last.
local function take_out(job)
  local s = job.state
  if s.room == WAITS then
    redis.call('ZREM', DELAYED, job.id)
  else
    redis.call('ZREM', back_key(job.queue, s.priority), job.id)
  end
  count(s.room, job.queue, -1)
end

-- Lines of a queue without a ready job hold leftovers only.
local function drop_leftovers(queue)
  if redis.call('HEXISTS', COUNTS, READY .. ':' .. queue) == 1 then return end
  for _, priority in ipairs(redis.call('ZRANGE', levels_key(queue), 0, -1)) do
    redis.call('UNLINK', line_key(queue, priority), back_key(queue, priority))
  end
  redis.call('UNLINK', levels_key(queue))
end

-- The end of a job that waited, as finish takes it, with a lease number of its own.
local function cancelled(job)
  local s = job.state
  s.lease_no, s.worker, s.claimed_at = math.min(s.lease_no + 1, 2147483647), NOBODY, 0
  return {id = job.id, state = packed(s), record = job.record, unique = job.unique, outcome = 'X', body = ''}
end

-- The jobs a worker has a lease of.
local function held_by(worker)
  local ids, jobs = redis.call('SMEMBERS', held_key(worker)), {}
  local records, states = many(JOBS, ids), many(STATE, ids)
  for i, id in ipairs(ids) do
    local s = records[i] and state_of(records[i], states[i])
    if s and s.room == LEASED and s.worker == worker then
      local queue, unique = names_of(records[i])
      jobs[#jobs + 1] = {id = id, queue = queue, unique = unique, state = s, record = records[i]}
    end
  end
  return jobs
end

-- A leased job that ends in a way its worker did not decide, as finish takes it.
local function ended_as(job, outcome)
  count(LEASED, job.queue, -1)
  return {id = job.id, state = packed(job.state), record = job.record, unique = job.unique, outcome = outcome, body = ''}
end

-- A leased job back to its place, its attempt given back; `changed` collects the states to write.
local function release(job, changed)
  local s = job.state
  s.room, s.attempt = READY, math.max(0, s.attempt - 1)
  changed[#changed + 1] = job.id
  changed[#changed + 1] = packed(s)
  count(LEASED, job.queue, -1)
  give_back(job.id, job.queue, s)
end

-- In the order of the line.
local function in_line(jobs)
  table.sort(jobs, function(a, b)
    if a.state.priority ~= b.state.priority then return a.state.priority > b.state.priority end
    return a.state.place < b.state.place
  end)
  return jobs
end

-- A leased job as a worker is told of it, one after the other in one string.
local function handed(state, id, record)
  record = whole(record)
  return struct.pack('>I4', #record) .. state .. id .. record
end
