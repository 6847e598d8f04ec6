-- after: keys checks values counts lines rooms claims
--
-- Settles a batch, promotes what is due, and claims the next jobs.
-- ARGV: worker, limit, how much is recorded, turn, number of the call, number of queues, the queues (none: all, beginning with the
-- turn's), then the settlements, many to a piece, because a client takes its time for each argument and each answer. Settlement: its
-- length, id, lease number, when it was claimed, outcome ('L' given back), delay in microseconds, what the worker says. Lease numbers
-- start anew when a server loses its last writes; the moment of the claim does not come again.
-- Gives: whether the worker is known ('1', '0'), in how many microseconds the next delayed job is due ('' none), for all settlements
-- the workers that held their leases (nobody: it was lost), the numbers of those that ended cancelled and not as was decided, because
-- they had been asked to stop, the traits of the claimed jobs, each with its number and its length before it, then in pieces these
-- jobs: length of the record, state, id, record.

local worker, limit, level, turn, call, n = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local problem = wrong_store() or wrong(held_key(worker), 'set')
if problem then return problem end
local now = clock()

-- A client may call again by itself when an answer is late: what the first call did must not be done, or claimed, once more.
local known_call = worker ~= NOBODY and redis.call('HGET', CALLS, worker) or ''
local is_repeat = known_call ~= '' and string.sub(known_call, 9) == call
local reply = {redis.call('ZSCORE', WORKERS, worker) and '1' or '0', '', '', '', ''}

-- what is settled: arrays side by side, see `endings`

local ids, fences, outcomes, delays, bodies, count_of = {}, {}, {}, {}, {}, 0
for i = 7 + n, #ARGV do
  local piece, at = ARGV[i], 1
  while at < #piece do
    local k, size, body = count_of + 1, nil, nil
    size, ids[k], fences[k], outcomes[k], delays[k], body = struct.unpack('>I4c16c12c1d', piece, at)
    at, count_of = at + 4 + size, k
    bodies[k] = body < at and string.sub(piece, body, at - 1) or ''
  end
end
local states, records = many(STATE, ids), many(JOBS, ids)

local function over_of(id) return redis.call('HGET', DONE, id) or redis.call('HGET', OLDER, id) end

local function has_settled(id, lease_no)
  local over, state = over_of(id), redis.call('HGET', STATE, id)
  return over and string.sub(over, 2, 5) == lease_no or state and string.byte(state) ~= IN_LEASE and lease_of(state) == lease_no
end

local taken, holders, stopped, queue_of_one, unique_of_one, checked = {}, {}, {}, {}, {}, {}
for i, id in ipairs(ids) do
  local state, record, holder = states[i], records[i], NOBODY
  local may_stop = outcomes[i] ~= 'C' and outcomes[i] ~= 'X'
  if state and record and #state == STATE_LENGTH and string.byte(state) == IN_LEASE and not taken[id] and fence_of(state) == fences[i] then
    holder, taken[id] = holder_of(state), true
    queue_of_one[i], unique_of_one[i] = names_of(record)
    if not checked[holder] then
      problem = wrong(held_key(holder), 'set')
      if problem then return problem end
      checked[holder] = true
    end
    if may_stop and is_asked(reason_of(state)) then
      outcomes[i] = 'X'
      stopped[#stopped + 1] = struct.pack('>I4', i - 1)
    end
    problem = outcomes[i] == 'L' and wrong_line(queue_of_one[i], unpacked(state).priority)
    if problem then return problem end
  elseif is_repeat and has_settled(id, string.sub(fences[i], 1, 4)) then
    holder = worker
    if may_stop and string.sub(over_of(id) or '', 1, 1) == 'X' then stopped[#stopped + 1] = struct.pack('>I4', i - 1) end
  end
  holders[i] = holder
end
reply[3], reply[4] = table.concat(holders), table.concat(stopped)

-- Queues with ready jobs, beginning with another one each time: as many as the limit can empty.
local function in_turn(turn, limit, due)
  local ready, names = {}, {}
  local all = redis.call('HGETALL', COUNTS)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'r:' then ready[string.sub(all[i], 3)] = number(all[i + 1]) end
  end
  for _, job in ipairs(due) do ready[job.queue] = (ready[job.queue] or 0) + 1 end
  for i, queue in pairs(queue_of_one) do
    if outcomes[i] == 'L' then ready[queue] = (ready[queue] or 0) + 1 end
  end
  for name, count_ in pairs(ready) do
    if count_ > 0 then names[#names + 1] = name end
  end
  table.sort(names)
  local chosen = {}
  for i = 1, #names do
    if limit <= 0 then break end
    chosen[i] = names[(turn + i - 1) % #names + 1]
    limit = limit - ready[chosen[i]]
  end
  return chosen
end

-- what is due, and the lines that are touched

local due, queues, named = due_jobs(now), {}, {}
for _, job in ipairs(due) do
  problem = wrong_line(job.queue, job.state.priority)
  if problem then return problem end
end
for i = 7, 6 + n do
  if not named[ARGV[i]] then
    named[ARGV[i]] = true
    queues[#queues + 1] = ARGV[i]
  end
end
if n == 0 then queues = in_turn(turn, limit, due) end
for _, queue in ipairs(queues) do
  problem = wrong_queue(queue)
  if problem then return problem end
end

-- settle

local ended, held, changed, dues, soonest = endings(now, level), {}, {}, {}, nil
for i, id in ipairs(ids) do
  local queue = queue_of_one[i]
  if queue then
    local outcome, holder, state = outcomes[i], holders[i], states[i]
    local theirs = held[holder]
    if not theirs then theirs = {}; held[holder] = theirs end
    theirs[#theirs + 1] = id
    if outcome == 'L' then
      release({id = id, queue = queue, state = unpacked(state)}, changed)
    else
      note_end(ended, id, state, records[i], unique_of_one[i], outcome, bodies[i])
      count(LEASED, queue, -1)
    end
    if outcome == 'R' or outcome == 'S' then
      local s, due = unpacked(state), now + delays[i]
      s.room, s.reason = WAITS, string.lower(outcome)
      if outcome == 'S' then s.attempt = math.max(0, s.attempt - 1) end
      changed[#changed + 1] = id
      changed[#changed + 1] = packed(s)
      count(WAITS, queue, 1)
      dues[#dues + 1] = string.format('%.0f', due)
      dues[#dues + 1] = id
      if not soonest or due < soonest then soonest = due end
    end
  end
end
in_pieces('HSET', STATE, changed)
for holder, theirs in pairs(held) do in_pieces('SREM', held_key(holder), theirs) end
wait_until(dues, soonest)
write_ends(ended)
write_counts()
local stamp = struct.pack('>d', now)
if reply[1] == '1' and not is_repeat then redis.call('HSET', CALLS, worker, stamp .. call) end
-- A database that is away: what has ended waits here, and more must not come until it is back.
if limit < 1 or redis.call('HLEN', UNRECORDED) > MOST_UNRECORDED then return reply end

-- promote and claim

local piece, m, piece_size, sizes, told, traits = {}, 0, 0, {}, {}, {}
local function give(state, id, record)
  local size = #record
  local prefix = sizes[size]
  if not prefix then
    prefix = struct.pack('>I4', size)
    sizes[size] = prefix
  end
  piece[m + 1], piece[m + 2], piece[m + 3], piece[m + 4] = prefix, state, id, record
  m, piece_size = m + 4, piece_size + 71 + size
  if piece_size > PIECE_BYTES then
    reply[#reply + 1] = table.concat(piece)
    piece, m, piece_size = {}, 0, 0
  end
  local high, low = string.byte(record, 18, 19)
  local number = low and 256 * high + low
  if number and number > 0 and not told[number] then
    told[number] = true
    local name = string.sub(record, 18, 19)
    traits[#traits + 1] = name .. struct.pack('>I2', #traits_of(name)) .. traits_of(name)
  end
end
local function given()
  reply[5], reply[#reply + 1] = table.concat(traits), table.concat(piece)
  return reply
end

promote(now, due)
write_lines()
write_counts()
local next_due = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2]
if next_due then reply[2] = string.format('%.0f', math.max(0, tonumber(next_due) - now)) end
if reply[1] == '0' then return reply end
if is_repeat then
  local same = {}
  for _, job in ipairs(in_line(held_by(worker))) do
    if job.state.claimed_at == struct.unpack('>d', known_call) then same[#same + 1] = job end
  end
  for _, job in ipairs(same) do give(packed(job.state), job.id, job.record) end
  return given()
end
local leases, mine, k = {}, {}, 0
local function lease(id, record, own, place, priority)
  local state = claimed(record, own, place, priority, stamp, worker)
  k = k + 1
  leases[2 * k - 1], leases[2 * k], mine[k] = id, state, id
  give(state, id, record)
end
local function take(queue, priority, most)
  if redis.call('EXISTS', back_key(queue, priority)) == 0 then
    return take_line(queue, priority, most, function(id, record, own, place) lease(id, record, own, place, priority) end)
  end
  local jobs = take_first(queue, priority, most)
  for _, job in ipairs(jobs) do lease(job.id, job.record, job.own, number_of(job.place), priority) end
  return #jobs
end
for _, queue in ipairs(queues) do
  for _, priority in ipairs(redis.call('ZREVRANGE', levels_key(queue), 0, -1)) do
    local taken = k < limit and take(queue, priority, limit - k) or 0
    count(READY, queue, -taken)
    count(LEASED, queue, taken)
  end
end
write_leases(leases, k)
in_pieces('SADD', held_key(worker), mine)
write_counts()
return given()
