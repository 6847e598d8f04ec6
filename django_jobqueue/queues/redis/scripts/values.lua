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

local function names_of(record)
  local traits, unique = split(record)
  if not traits then return 'default', '' end
  return queue_of(traits), unique
end

-- a record with its traits inside
local function whole(record)
  if string.sub(record, 18, 19) == NO_NUMBER then return record end
  local traits, _, from = split(record)
  if not traits then return record end
  return string.sub(record, 1, 17) .. NO_NUMBER .. string.sub(record, 20, from - 1) .. struct.pack('>I2', #traits) .. traits
    .. string.sub(record, from)
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
