-- Shared by all scripts: put in front of each by scripts.py.
--
-- The keys of one store. All begin with the hash tag {prefix}, so they are in one slot of a cluster. In this order in KEYS:
--
--   jobs        hash    id -> record                 written once, gone when the job is over
--   state       hash    id -> state                  of jobs that are not simply "pushed, waiting for the first time"
--   delayed     zset    id by due time               DELAYED
--   workers     zset    worker by deadline           who is alive; one heartbeat covers all leases
--   counts      hash    "r:<queue>" "d:" "l:" -> n   how many jobs are READY, DELAYED, LEASED
--   unique      hash    unique key -> id             of live jobs
--   unrecorded  hash    id lease_no -> entry         ended executions the tables don't have yet
--   done        hash    id -> entry, or its head     jobs that are over, the younger generation
--   older       hash    the same                     the older generation; both expire
--   meta        hash    seq, done_since, done_bytes
--
-- and, made from the names in them (a script can't know beforehand which it will need):
--
--   levels:<queue>           zset  the priorities that have jobs
--   line:<queue>:<priority>  list  READY: id and place (24 bytes), first in, first out
--   back:<queue>:<priority>  zset  jobs given back, by their old place: they go before all later ones
--   held:<worker>            set   ids leased to this worker
--
-- Ids and workers are 16 bytes, times microseconds since 1970 on this server's clock, places a counter. What a record or an
-- entry holds behind its head is never looked at here. An element of a line whose place is not the job's current one is a
-- leftover of a job that was cancelled or moved, and is passed over.
--
-- Every script reads and checks before it writes: an error in the middle would not be rolled back.

local JOBS, STATE, DELAYED, WORKERS, COUNTS, UNIQUE, UNRECORDED, DONE, OLDER, META = unpack(KEYS)
local P = string.sub(JOBS, 1, -5)
local TYPES = {'hash', 'hash', 'zset', 'zset', 'hash', 'hash', 'hash', 'hash', 'hash', 'hash'}
local READY, WAITS, LEASED = 'r', 'd', 'l'
local CHUNK = 1000
local DONE_SECONDS, DONE_JOBS, DONE_BYTES = 600, 100000, 33554432
local NOBODY = string.rep('\0', 16)

local function line_key(queue, priority) return P .. 'line:' .. queue .. ':' .. priority end
local function back_key(queue, priority) return P .. 'back:' .. queue .. ':' .. priority end
local function levels_key(queue) return P .. 'levels:' .. queue end
local function held_key(worker) return P .. 'held:' .. worker end

local function wrong(key, want)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= want then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. want .. ' of this queue')
  end
end

local function wrong_store()
  for i, want in ipairs(TYPES) do
    local problem = wrong(KEYS[i], want)
    if problem then return problem end
  end
end

local function wrong_line(queue, priority)
  return wrong(levels_key(queue), 'zset') or wrong(line_key(queue, priority), 'list') or wrong(back_key(queue, priority), 'zset')
end

local function wrong_queue(queue)
  local problem = wrong(levels_key(queue), 'zset')
  if problem then return problem end
  for _, priority in ipairs(redis.call('ZREVRANGE', levels_key(queue), 0, -1)) do
    problem = wrong_line(queue, priority)
    if problem then return problem end
  end
end

local function clock()
  local now = redis.call('TIME')
  return now[1] * 1000000 + now[2]
end

-- values that may be more than a call takes: in pieces
local function in_pieces(command, key, values, piece)
  for first = 1, #values, piece or CHUNK do
    redis.call(command, key, unpack(values, first, math.min(#values, first + (piece or CHUNK) - 1)))
  end
end

local function many(key, ids)
  local found = {}
  for first = 1, #ids, CHUNK do
    local piece = redis.call('HMGET', key, unpack(ids, first, math.min(#ids, first + CHUNK - 1)))
    for i, value in ipairs(piece) do found[first + i - 1] = value end
  end
  return found
end

-- record: its head is created_at, place, priority, lengths of the queue's name and of the unique key, and these two
local function head(record)
  if #record >= 20 then
    local created, place, priority, queue, unique = struct.unpack('>ddbBI2', record)
    if #record >= 20 + queue + unique then
      return created, place, priority, string.sub(record, 21, 20 + queue), string.sub(record, 21 + queue, 20 + queue + unique)
    end
  end
  return 0, 0, 0, 'default', ''  -- garbage
end

local function names_of(record)
  local _, _, _, queue, unique = head(record)
  return queue, unique
end

-- state: room, priority, place, ready_at, attempt, lease number, crashes, reason, claimed_at, worker. The hot paths take it apart
-- by its bytes: the room is the first, the place 3 to 10, the lease number 21 to 24, the worker the last 16.
local STATE_LENGTH = 51
local function packed(s)
  return struct.pack('>c1bddI2I4I2c1dc16', s.room, s.priority, s.place, s.ready_at, s.attempt, s.lease_no, s.crashes, s.reason,
    s.claimed_at, s.worker)
end

local function unpacked(value)
  local s = {}
  s.room, s.priority, s.place, s.ready_at, s.attempt, s.lease_no, s.crashes, s.reason, s.claimed_at, s.worker =
    struct.unpack('>c1bddI2I4I2c1dc16', value)
  return s
end

-- the state of a job, also of one that has none of its own
local function state_of(record, value)
  local room = value and #value == STATE_LENGTH and string.sub(value, 1, 1)
  if room == READY or room == WAITS or room == LEASED then return unpacked(value) end
  local created, place, priority = head(record)
  return {room = place > 0 and READY or WAITS, priority = priority, place = place, ready_at = created, attempt = 0, lease_no = 0,
    crashes = 0, reason = ' ', claimed_at = 0, worker = NOBODY}
end

local delta = {[READY] = {}, [WAITS] = {}, [LEASED] = {}}
local function count(room, queue, n) delta[room][queue] = (delta[room][queue] or 0) + n end

-- Wakes workers for each queue that had no ready job and has one now: where there were some, they are up already.
local function write_counts()
  for room, changes in pairs(delta) do
    for queue, n in pairs(changes) do
      local total = n ~= 0 and redis.call('HINCRBY', COUNTS, room .. ':' .. queue, n)
      if total and total <= 0 then redis.call('HDEL', COUNTS, room .. ':' .. queue) end
      if total and n > 0 and total <= n and room == READY then redis.call('PUBLISH', P .. 'wake', queue) end
    end
    delta[room] = {}
  end
end

local function number(text) return tonumber(text or '') or 0 end

-- queue names with jobs in a room, by name
local function names_in(room)
  local names, all = {}, redis.call('HGETALL', COUNTS)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == room .. ':' and number(all[i + 1]) > 0 then names[#names + 1] = string.sub(all[i], 3) end
  end
  table.sort(names)
  return names
end
