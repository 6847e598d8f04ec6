-- The keys of one store. All begin with the hash tag {prefix}, so they are in one slot of a cluster. KEYS has the first of them,
-- which says where the script runs; the others are made from it.
--
--   jobs        hash    id -> record                 written once, gone when the job is over
--   traits      hash    number -> traits, and back   what many jobs have in common, under a number of two bytes
--   state       hash    id -> state                  of jobs that are not simply "pushed, waiting for the first time"
--   delayed     zset    id by due time               DELAYED
--   workers     zset    worker by deadline           who is alive; one heartbeat covers all leases
--   counts      hash    "r:<queue>" "d:" "l:" -> n   how many jobs are READY, DELAYED, LEASED
--   unique      hash    unique key -> id             of live jobs
--   unrecorded  hash    id lease_no -> entry         ended executions the tables don't have yet
--   done        hash    id -> outcome, lease number  jobs that are over, the younger generation
--   older       hash    the same                     the older generation; both expire
--   results     hash    id -> entry                  of those that the tables don't get, the younger generation
--   older_results       the same                     the older one
--   asked       set     ids                          running jobs that were asked to stop, and some that are over
--   calls       hash    worker -> moment, number     its last exchange, by which a repeated one is known
--   meta        hash    seq, done_since, results_since, results_bytes, cancels (the last calls of cancel)
--
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
--
-- A script says in its first line which of these shared files are put in front of it.

local JOBS = KEYS[1]
local P = string.sub(JOBS, 1, -5)
local TRAITS = P .. 'traits'
local STATE, DELAYED, WORKERS, COUNTS, UNIQUE = P .. 'state', P .. 'delayed', P .. 'workers', P .. 'counts', P .. 'unique'
local UNRECORDED, DONE, OLDER, CALLS, META = P .. 'unrecorded', P .. 'done', P .. 'older', P .. 'calls', P .. 'meta'
local RESULTS, OLDER_RESULTS, ASKED = P .. 'results', P .. 'older_results', P .. 'asked'
local READY, WAITS, LEASED = 'r', 'd', 'l'
local CHUNK = 1000
local PIECE_BYTES = 1048576
local MOST_UNRECORDED = 100000
local NOBODY = string.rep('\0', 16)

local function line_key(queue, priority) return P .. 'line:' .. queue .. ':' .. priority end
local function back_key(queue, priority) return P .. 'back:' .. queue .. ':' .. priority end
local function levels_key(queue) return P .. 'levels:' .. queue end
local function held_key(worker) return P .. 'held:' .. worker end

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

-- Of a finished job's head (outcome, lease number): whether a job with this last lease number is the same, or was brought back.
local function is_over(over, lease_no)
  if not over or #over < 5 then return false end
  local outcome, last = struct.unpack('>c1I4', over)
  return not ((outcome == 'D' or outcome == 'W') and lease_no > 0 and lease_no >= last)
end

local function number(text) return tonumber(text or '') or 0 end
