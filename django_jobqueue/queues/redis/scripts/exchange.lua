-- after: keys checks values counts lines rooms
--
-- Settles a batch, promotes what is due, and claims the next jobs.
-- ARGV: worker, limit, how much is recorded, turn, number of the call, number of queues, the queues (none: all, beginning with the
-- turn's), then the settlements, many to a piece, because a client takes its time for each argument and each answer. Settlement: its
-- length, id, lease number, when it was claimed, outcome ('L' given back), delay in microseconds, what the worker says. Lease numbers
-- start anew when a server loses its last writes; the moment of the claim does not come again.
-- Gives: whether the worker is known ('1', '0'), in how many microseconds the next delayed job is due ('' none), for all settlements
-- the workers that held their leases (nobody: it was lost) and then the numbers of those that ended cancelled and not as was decided,
-- because they had been asked to stop, then in pieces the claimed jobs: length of the record, state, id, record.

local worker, limit, level, turn, call, n = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local problem = wrong_store() or wrong(held_key(worker), 'set')
if problem then return problem end
local now = clock()

-- A client may call again by itself when an answer is late: what the first call did must not be done, or claimed, once more.
local known_call = worker ~= NOBODY and redis.call('HGET', CALLS, worker) or ''
local is_repeat = known_call ~= '' and string.sub(known_call, 9) == call
local reply = {redis.call('ZSCORE', WORKERS, worker) and '1' or '0', '', ''}

-- what is settled

local settlements, ids = {}, {}
for i = 7 + n, #ARGV do
  local piece, at = ARGV[i], 1
  while at < #piece do
    local one, size, body = {}, nil, nil
    size, one.id, one.lease_no, one.claimed_at, one.outcome, one.delay, body = struct.unpack('>I4c16c4c8c1d', piece, at)
    at = at + 4 + size
    one.body = string.sub(piece, body, at - 1)
    settlements[#settlements + 1] = one
    ids[#ids + 1] = one.id
  end
end
local states, records = many(STATE, ids), many(JOBS, ids)

local function has_settled(one)
  local over = redis.call('HGET', DONE, one.id) or redis.call('HGET', OLDER, one.id)
  local state = redis.call('HGET', STATE, one.id)
  return over and string.sub(over, 2, 5) == one.lease_no
    or state and string.sub(state, 1, 1) ~= LEASED and string.sub(state, 21, 24) == one.lease_no
end

local function has_stopped(one)
  local over = redis.call('HGET', DONE, one.id) or redis.call('HGET', OLDER, one.id)
  return over and string.sub(over, 1, 1) == 'X'
end

local taken, checked, holders, stopped = {}, {}, {}, {}
for i, one in ipairs(settlements) do
  local state, record, holder = states[i], records[i], NOBODY
  if state and record and #state == STATE_LENGTH and string.sub(state, 1, 1) == LEASED and not taken[one.id]
      and string.sub(state, 21, 24) == one.lease_no and string.sub(state, 28, 35) == one.claimed_at then
    holder = string.sub(state, 36)
    one.state, one.record, taken[one.id] = state, record, true
    one.queue, one.unique = names_of(record)
    if not checked[holder] then
      problem = wrong(held_key(holder), 'set')
      if problem then return problem end
      checked[holder] = true
    end
    if one.outcome ~= 'C' and one.outcome ~= 'X' and is_asked(string.sub(state, 27, 27)) then
      one.outcome = 'X'
      stopped[#stopped + 1] = struct.pack('>I4', i - 1)
    end
    problem = one.outcome == 'L' and wrong_line(one.queue, unpacked(state).priority)
    if problem then return problem end
  end
  if holder == NOBODY and is_repeat and has_settled(one) then
    holder = worker
    if one.outcome ~= 'C' and one.outcome ~= 'X' and has_stopped(one) then stopped[#stopped + 1] = struct.pack('>I4', i - 1) end
  end
  holders[i] = holder
end
reply[3] = table.concat(holders) .. table.concat(stopped)

-- Queues with ready jobs, beginning with another one each time: as many as the limit can empty.
local function in_turn(turn, limit, due, settlements)
  local ready, names = {}, {}
  local all = redis.call('HGETALL', COUNTS)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'r:' then ready[string.sub(all[i], 3)] = number(all[i + 1]) end
  end
  for _, job in ipairs(due) do ready[job.queue] = (ready[job.queue] or 0) + 1 end
  for _, one in ipairs(settlements) do
    if one.state and one.outcome == 'L' then ready[one.queue] = (ready[one.queue] or 0) + 1 end
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
if n == 0 then queues = in_turn(turn, limit, due, settlements) end
for _, queue in ipairs(queues) do
  problem = wrong_queue(queue)
  if problem then return problem end
end

-- settle

local ended, held, changed, dues, soonest = {}, {}, {}, {}, nil
for _, one in ipairs(settlements) do
  if one.state then
    local outcome, holder = one.outcome, string.sub(one.state, 36)
    local theirs = held[holder]
    if not theirs then theirs = {}; held[holder] = theirs end
    theirs[#theirs + 1] = one.id
    if outcome == 'L' then
      release({id = one.id, queue = one.queue, state = unpacked(one.state)}, changed)
    else
      ended[#ended + 1] = one
      count(LEASED, one.queue, -1)
    end
    if outcome == 'R' or outcome == 'S' then
      local s, due = unpacked(one.state), now + one.delay
      s.room, s.reason = WAITS, string.lower(outcome)
      if outcome == 'S' then s.attempt = math.max(0, s.attempt - 1) end
      changed[#changed + 1] = one.id
      changed[#changed + 1] = packed(s)
      count(WAITS, one.queue, 1)
      dues[#dues + 1] = string.format('%.0f', due)
      dues[#dues + 1] = one.id
      if not soonest or due < soonest then soonest = due end
    end
  end
end
in_pieces('HSET', STATE, changed)
for holder, theirs in pairs(held) do in_pieces('SREM', held_key(holder), theirs) end
wait_until(dues, soonest)
finish(now, ended, level)
write_counts()
local stamp = struct.pack('>d', now)
if reply[1] == '1' and not is_repeat then redis.call('HSET', CALLS, worker, stamp .. call) end
-- A database that is away: what has ended waits here, and more must not come until it is back.
if limit < 1 or redis.call('HLEN', UNRECORDED) > MOST_UNRECORDED then return reply end

-- promote and claim

local piece, piece_size = {}, 0
local function give(state, id, record)
  local job = handed(state, id, record)
  piece[#piece + 1], piece_size = job, piece_size + #job
  if piece_size > PIECE_BYTES then
    reply[#reply + 1] = table.concat(piece)
    piece, piece_size = {}, 0
  end
end
local function given()
  reply[#reply + 1] = table.concat(piece)
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
    if string.sub(packed(job.state), 28, 35) == string.sub(known_call, 1, 8) then same[#same + 1] = job end
  end
  for _, job in ipairs(same) do give(packed(job.state), job.id, job.record) end
  return given()
end
local leases, mine = {}, {}
for _, queue in ipairs(queues) do
  for _, priority in ipairs(redis.call('ZREVRANGE', levels_key(queue), 0, -1)) do
    local jobs = #mine < limit and take_first(queue, priority, limit - #mine) or {}
    for _, job in ipairs(jobs) do
      local state = claimed(job, priority, stamp, worker)
      leases[#leases + 1] = job.id
      leases[#leases + 1] = state
      mine[#mine + 1] = job.id
      give(state, job.id, job.record)
    end
    count(READY, queue, -#jobs)
    count(LEASED, queue, #jobs)
  end
end
in_pieces('HSET', STATE, leases)
in_pieces('SADD', held_key(worker), mine)
write_counts()
return given()
