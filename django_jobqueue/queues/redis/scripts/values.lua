-- What stands in a record and in a state.

-- record: its head is created_at, place, priority, number of its traits, length of the unique key, and that. Without a number (0) its
-- traits follow, with their length before them: so it comes and goes, and so it stays when there are too many numbers.
-- traits: version, how many workers the job may bring down (0: what is usual), ten bytes, length of the queue's name, and that.
local HEAD_LENGTH, NO_NUMBER, MOST_TRAITS = 21, '\0\0', 10000

local function head(record)
  if #record < HEAD_LENGTH then return 0, 0, 0 end  -- garbage
  return struct.unpack('>ddb', record)
end

local texts, queues = {}, {}
local function traits_of(number)
  local text = texts[number]
  if not text then
    text = redis.call('HGET', TRAITS, number) or ''
    texts[number] = text
  end
  return text
end

local function queue_of(traits)
  local queue = queues[traits]
  if not queue then
    queue = #traits >= 13 and string.sub(traits, 14, 13 + string.byte(traits, 13)) or 'default'
    queues[traits] = queue
  end
  return queue
end

-- The traits of a record, its unique key, and where the rest begins; nil for garbage.
local function split(record)
  if #record < HEAD_LENGTH then return nil end
  local number, from, unique = string.sub(record, 18, 19), HEAD_LENGTH + 1, ''
  if string.sub(record, 20, 21) ~= '\0\0' then
    from = from + struct.unpack('>I2', record, 20)
    unique = string.sub(record, HEAD_LENGTH + 1, from - 1)
  end
  if number ~= NO_NUMBER then return traits_of(number), unique, from end
  if #record < from + 1 then return nil end
  local size = struct.unpack('>I2', record, from)
  return string.sub(record, from + 2, from + 1 + size), unique, from + 2 + size
end

-- Most records have a number and no key: their bytes tell, and no string is made.
local queues_by_number = {}
local function names_of(record)
  local high, low, long, short = string.byte(record, 18, 21)
  local number = long == 0 and short == 0 and 256 * high + low
  local known = number and queues_by_number[number]
  if known then return known, '' end
  local traits, unique = split(record)
  if not traits then return 'default', '' end
  local queue = queue_of(traits)
  if number and number > 0 then queues_by_number[number] = queue end
  return queue, unique
end

-- a record with its traits inside
local function whole(record)
  if string.sub(record, 18, 19) == NO_NUMBER then return record end
  local traits, _, from = split(record)
  if not traits then return record end
  return string.sub(record, 1, 17) .. NO_NUMBER .. string.sub(record, 20, from - 1) .. struct.pack('>I2', #traits) .. traits
    .. string.sub(record, from)
end

-- A record inside an entry (see rooms.lua) likewise.
local function whole_entry(entry)
  if #entry < 64 then return entry end  -- garbage
  local from = 65 + struct.unpack('>I4', entry, 61)
  return string.sub(entry, 1, from - 1) .. whole(string.sub(entry, from))
end

-- state: room, ready_at, place, priority, attempt, crashes, reason, lease number, claimed_at, worker. The hot paths take it apart by
-- its bytes: the room is the first; 2 to 18 are of a fresh job what its record begins with, 10 to 17 the place; 23 is the reason; the
-- lease number and the moment of the claim, 24 to 35, are what a settlement has to name; the worker is the last 16.
local STATE_LENGTH, IN_LEASE = 51, string.byte(LEASED)
local function packed(s)
  return struct.pack('>c1ddbI2I2c1I4dc16', s.room, s.ready_at, s.place, s.priority, s.attempt, s.crashes, s.reason, s.lease_no,
    s.claimed_at, s.worker)
end

local function fence_of(state) return string.sub(state, 24, 35) end
local function lease_of(state) return string.sub(state, 24, 27) end
local function reason_of(state) return string.sub(state, 23, 23) end
local function holder_of(state) return string.sub(state, 36) end

local function unpacked(value)
  local s = {}
  s.room, s.ready_at, s.place, s.priority, s.attempt, s.crashes, s.reason, s.lease_no, s.claimed_at, s.worker =
    struct.unpack('>c1ddbI2I2c1I4dc16', value)
  return s
end

-- A leased job has no reason to wait; there stands instead whether it was asked to stop ('c'), or is to be killed ('k'). Then it
-- completes or is cancelled, and nothing else.
local function is_asked(reason) return reason == 'c' or reason == 'k' end

-- the state of a job, also of one that has none of its own
local function state_of(record, value)
  local room = value and #value == STATE_LENGTH and string.sub(value, 1, 1)
  if room == READY or room == WAITS or room == LEASED then return unpacked(value) end
  local created, place, priority = head(record)
  return {room = place > 0 and READY or WAITS, priority = priority, place = place, ready_at = created, attempt = 0, lease_no = 0,
    crashes = 0, reason = ' ', claimed_at = 0, worker = NOBODY}
end
